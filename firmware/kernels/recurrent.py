"""Descriptors of operators with memory: SVDF and UNIDIRECTIONAL_SEQUENCE_LSTM. Further outputs are the states after."""

from __future__ import annotations

import numpy as np

from secateur.firmware.kernels.descriptor import Arguments, Call, Constant, Ints, Kernel, Params, Ref, overlap
from secateur.models.fixed_point import wrap32
from secateur.models.program import Op, Program
from secateur.models.reference_recurrent import GATES, SIGMOID, lstm_scales, svdf_multipliers


class Recurrent(Kernel):
    """`states`: position of each state among the inputs, in the order of the further outputs."""

    states: tuple[int, ...]

    def overlap_of(self, program: Program, op: Op, position: int, output: int) -> int:
        if output == 0:
            return self.overlap_bytes(program, op, position)
        # every element is read before the place of any later one is written
        return program.bytes_of(op.outputs[output]) if position == self.states[output - 1] else 0


class Svdf(Recurrent):
    name, header, kinds, states = "svdf_s8", "sec_svdf_s8.h", ("SVDF",), (4,)

    def refuses(self, program: Program, op: Op) -> str | None:
        found = program.tensors[op.inputs[0]].dtype
        return None if found == "int8" else f"types {found}"

    def overlap_bytes(self, program: Program, op: Op, position: int) -> int:
        if position != 0:
            return 0
        (batch, inputs), (_, units) = (program.tensors[i].shape for i in (op.inputs[0], op.outputs[0]))
        return overlap(np.arange(batch * units), np.repeat(np.arange(batch) * inputs, units), batch * units)

    def constant_bytes(self, program: Program, op: Op) -> int:
        return sum(program.tensors[i].size_bytes for i in op.inputs[1:4])

    def work(self, program: Program, op: Op) -> dict[str, int]:
        x, feature, time = (program.tensors[i] for i in op.inputs[:3])
        batch = x.shape[0]
        outputs = program.tensors[op.outputs[0]].elements
        return {"mac": batch * feature.elements, "memory": batch * time.elements, "output": outputs}

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        x, feature, time, bias, state = (program.tensors[i] for i in op.inputs)
        out = program.tensors[op.outputs[0]]
        assert feature.data is not None and time.data is not None and bias.data is not None
        entering, leaving = svdf_multipliers(program, op)
        params: Params = {
            "batch": x.shape[0], "inputs": x.shape[1], "units": out.shape[1], "rank": op.options.rank,
            "memory": time.shape[1], "input_zero_point": x.zero_point, "state_zero_point": state.zero_point,
            "output_offset": out.zero_point, "feature_multiplier": entering[0], "feature_shift": entering[1],
            "time_multiplier": leaving[0], "time_shift": leaving[1],
        }  # fmt: skip
        arguments: Arguments = (
            Ref(op.inputs[0]),
            Constant("feature", "int8_t", feature.data),
            Constant("time", f"{time.dtype}_t", time.data),
            Constant("bias", "int32_t", bias.data),
            Ref(op.inputs[4]),
        )
        function = "sec_svdf_s8" if state.dtype == "int8" else "sec_svdf_s16"
        return (Call(function, "sec_svdf_s8_params", params, arguments, Ref(op.outputs[0]), (Ref(op.outputs[1]),)),)


class Lstm(Recurrent):
    name, header, kinds, states = "lstm_s8", "sec_lstm_s8.h", ("UNIDIRECTIONAL_SEQUENCE_LSTM",), (13, 14)
    dtype = "int8"

    def refuses(self, program: Program, op: Op) -> str | None:
        found = program.tensors[op.inputs[0]].dtype
        return None if found == self.dtype else f"types {found}"

    def overlap_bytes(self, program: Program, op: Op, position: int) -> int:
        if position != 0:
            return 0
        rows, inputs, units = self.sizes(program, op)
        return overlap(np.arange(rows * units), np.repeat(np.arange(rows) * inputs, units), rows * units)

    def constant_bytes(self, program: Program, op: Op) -> int:
        _, inputs, units = self.sizes(program, op)
        return GATES * units * (inputs + units + 2 * 4) + 2 * len(SIGMOID)

    def work(self, program: Program, op: Op) -> dict[str, int]:
        rows, inputs, units = self.sizes(program, op)
        return {"mac": rows * GATES * units * (inputs + units), "output": rows * units}

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        x, hidden = program.tensors[op.inputs[0]], program.tensors[op.inputs[13]]
        rows, inputs, units = self.sizes(program, op)
        data: list[Ints] = [np.asarray(program.tensors[i].data, np.int64) for i in op.inputs[1:13]]
        weights, recurrent, bias = (np.stack(data[i : i + GATES]) for i in (0, GATES, 2 * GATES))
        s = lstm_scales(program, op)
        params: Params = {
            "rows": rows, "batch": hidden.elements // units, "inputs": inputs, "units": units,
            "multiplier": [m for m, _ in s.gates], "shift": [k for _, k in s.gates],
            "recurrent_multiplier": [m for m, _ in s.recurrent], "recurrent_shift": [k for _, k in s.recurrent],
            "forget_multiplier": s.forget[0], "forget_shift": s.forget[1],
            "update_multiplier": s.update[0], "update_shift": s.update[1],
            "hidden_multiplier": s.hidden[0], "hidden_shift": s.hidden[1], "hidden_offset": hidden.zero_point,
            "cell_clip": max(s.cell_clip, 0), "tanh_multiplier": s.tanh[0], "tanh_shift": s.tanh[1],
            "time_major": int(op.options.time_major),
        }  # fmt: skip
        arguments: Arguments = (
            Ref(op.inputs[0]),
            Constant("weights", "int8_t", weights),
            Constant("recurrent", "int8_t", recurrent),
            Constant("bias", "int32_t", wrap32(bias - x.zero_point * weights.sum(axis=2))),
            Constant("recurrent_bias", "int32_t", wrap32(-hidden.zero_point * recurrent.sum(axis=2))),
            Constant("sigmoid", "uint16_t", SIGMOID),
            Ref(op.inputs[13]),
            Ref(op.inputs[14]),
        )
        after = (Ref(op.outputs[1]), Ref(op.outputs[2]))
        return (Call("sec_lstm_s8", "sec_lstm_s8_params", params, arguments, Ref(op.outputs[0]), after),)

    @staticmethod
    def sizes(program: Program, op: Op) -> tuple[int, int, int]:
        """(rows, inputs, units): a row is one step of one batch element."""
        shape, out = program.tensors[op.inputs[0]].shape, program.tensors[op.outputs[0]].shape
        return shape[0] * shape[1], shape[2], out[2]
