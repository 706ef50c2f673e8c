"""Descriptor of UNIDIRECTIONAL_SEQUENCE_LSTM on int16 activations with int8 weights."""

from __future__ import annotations

import numpy as np

from secateur.firmware.kernels.descriptor import Arguments, Call, Constant, Params, Ref
from secateur.firmware.kernels.recurrent import Lstm
from secateur.firmware.kernels.wide import bias_table
from secateur.models.program import Op, Program
from secateur.models.reference_recurrent import GATES, SIGMOID, lstm_scales


class LstmS16(Lstm):
    name, header, dtype = "lstm_s16", "sec_lstm_s16.h", "int16"

    def overlap_bytes(self, program: Program, op: Op, position: int) -> int:
        return 2 * super().overlap_bytes(program, op, position)

    def constant_bytes(self, program: Program, op: Op) -> int:
        weights = sum(program.tensors[i].elements for i in op.inputs[1:9])
        return weights + self._bias(program, op).size_bytes + 2 * len(SIGMOID)

    @staticmethod
    def _bias(program: Program, op: Op) -> Constant:
        return bias_table(np.stack([np.asarray(program.tensors[i].data, np.int64) for i in op.inputs[9:13]]))

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        hidden = program.tensors[op.inputs[13]]
        rows, inputs, units = self.sizes(program, op)
        data = [np.asarray(program.tensors[i].data, np.int64) for i in op.inputs[1:9]]
        bias, s = self._bias(program, op), lstm_scales(program, op)
        params: Params = {
            "rows": rows, "batch": hidden.elements // units, "inputs": inputs, "units": units,
            "multiplier": [m for m, _ in s.gates], "shift": [k for _, k in s.gates],
            "recurrent_multiplier": [m for m, _ in s.recurrent], "recurrent_shift": [k for _, k in s.recurrent],
            "forget_multiplier": s.forget[0], "forget_shift": s.forget[1],
            "update_multiplier": s.update[0], "update_shift": s.update[1],
            "hidden_multiplier": s.hidden[0], "hidden_shift": s.hidden[1],
            "cell_clip": max(s.cell_clip, 0), "tanh_multiplier": s.tanh[0], "tanh_shift": s.tanh[1],
            "time_major": int(op.options.time_major), "wide_bias": int(bias.ctype == "int64_t"),
        }  # fmt: skip
        arguments: Arguments = (
            Ref(op.inputs[0]),
            Constant("weights", "int8_t", np.stack(data[:GATES])),
            Constant("recurrent", "int8_t", np.stack(data[GATES:])),
            bias,
            Constant("sigmoid", "uint16_t", SIGMOID),
            Ref(op.inputs[13]),
            Ref(op.inputs[14]),
        )
        after = (Ref(op.outputs[1]), Ref(op.outputs[2]))
        return (Call("sec_lstm_s16", "sec_lstm_s16_params", params, arguments, Ref(op.outputs[0]), after),)
