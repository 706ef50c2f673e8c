"""Descriptors of float32 operators with memory. Their arithmetic is `models/reference_float_recurrent.py`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from secateur.firmware.kernels.descriptor import Arguments, Call, Constant, Kernel, Params, Ref
from secateur.firmware.kernels.floats import FloatKernel, table
from secateur.firmware.kernels.recurrent import Lstm, Recurrent, Svdf
from secateur.models.program import Op, Program
from secateur.models.reference_recurrent import GATES

ENDS = {"NONE": (0, 0.0, 0.0), "RELU": (1, 0.0, 0.0), "RELU6": (2, 0.0, 6.0), "RELU_N1_TO_1": (2, -1.0, 1.0)}
"""Of an activation: how many ends it has, and those."""


class SvdfFloat(FloatKernel, Recurrent):
    name, header, kinds, states = "svdf_f32", "sec_svdf_f32.h", ("SVDF",), (4,)
    like = Svdf()

    def overlap_elements(self, program: Program, op: Op, position: int) -> int:
        return self.like.overlap_bytes(program, op, position)

    def constant_bytes(self, program: Program, op: Op) -> int:
        return self.like.constant_bytes(program, op)

    def work(self, program: Program, op: Op) -> dict[str, int]:
        return self.like.work(program, op)

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        x, time, found = (program.tensors[i] for i in (op.inputs[0], op.inputs[2], op.outputs[0]))
        clamped, low, high = ENDS[op.options.activation]
        params: Params = {
            "batch": x.shape[0], "inputs": x.shape[1], "units": found.shape[1], "rank": op.options.rank,
            "memory": time.shape[1], "low": low, "high": high, "clamped": clamped,
        }  # fmt: skip
        tables = zip(op.inputs[1:4], ("feature", "time", "bias"), strict=True)
        constants = tuple(table(program, i, role) for i, role in tables)
        arguments: Arguments = (Ref(op.inputs[0]), *constants, Ref(op.inputs[4]))
        out, after = Ref(op.outputs[0]), Ref(op.outputs[1])
        return (Call("sec_svdf_f32", "sec_svdf_f32_params", params, arguments, out, (after,)),)


class LstmFloat(FloatKernel, Recurrent):
    name, header, kinds, states = "lstm_f32", "sec_lstm_f32.h", ("UNIDIRECTIONAL_SEQUENCE_LSTM",), (13, 14)
    like = Lstm()

    def overlap_elements(self, program: Program, op: Op, position: int) -> int:
        return self.like.overlap_bytes(program, op, position)

    def constant_bytes(self, program: Program, op: Op) -> int:
        return sum(program.tensors[i].size_bytes for i in op.inputs[1:13])

    def work(self, program: Program, op: Op) -> dict[str, int]:
        return self.like.work(program, op)

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        rows, inputs, units = self.like.sizes(program, op)
        params: Params = {
            "rows": rows, "batch": program.tensors[op.inputs[13]].elements // units, "inputs": inputs,
            "units": units, "cell_clip": max(op.options.cell_clip, 0.0), "time_major": int(op.options.time_major),
        }  # fmt: skip
        parts = zip(("weights", "recurrent", "bias"), range(1, 13, GATES), strict=True)
        constants = tuple(
            Constant(role, "float", np.stack([self._data(program, i) for i in op.inputs[first : first + GATES]]))
            for role, first in parts
        )
        arguments: Arguments = (Ref(op.inputs[0]), *constants, Ref(op.inputs[13]), Ref(op.inputs[14]))
        out, after = Ref(op.outputs[0]), (Ref(op.outputs[1]), Ref(op.outputs[2]))
        return (Call("sec_lstm_f32", "sec_lstm_f32_params", params, arguments, out, after),)

    @staticmethod
    def _data(program: Program, tensor: int) -> npt.NDArray[np.float32]:
        data = program.tensors[tensor].data
        assert data is not None
        return np.asarray(data, np.float32)


RECURRENT: tuple[Kernel, ...] = (SvdfFloat(), LstmFloat())
