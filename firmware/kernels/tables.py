"""Descriptors of functions of one value: a table of 256 outputs, and PRELU, whose slope differs by channel."""

from __future__ import annotations

import numpy as np

from secateur.firmware.kernels.descriptor import Call, Constant, Kernel, Params, Ref, compute_types, nhwc
from secateur.firmware.kernels.elementwise import refuse_types, strides
from secateur.models.fixed_point import quantize_multiplier
from secateur.models.program import Op, Program
from secateur.models.tables import TABLE_KINDS, table


class Table(Kernel):
    """Everything that maps one int8 to one int8 by the same rule for all elements."""

    name, header, kinds = "table_s8", "sec_table_s8.h", TABLE_KINDS

    def refuses(self, program: Program, op: Op) -> str | None:
        if op.kind == "DIV":
            divisor = program.tensors[op.inputs[1]]
            if divisor.data is None or divisor.elements != 1:
                return "a divisor that is not one constant"
            if int(divisor.data.ravel()[0]) == divisor.zero_point:
                return "a divisor of 0"
        types = {program.tensors[i].dtype for i in (op.inputs[0], *op.outputs)}
        return None if types == compute_types(program) else "types " + ", ".join(sorted(types))

    def overlap_bytes(self, program: Program, op: Op, position: int) -> int:
        return program.tensors[op.outputs[0]].elements

    def constant_bytes(self, program: Program, op: Op) -> int:
        return 256

    def work(self, program: Program, op: Op) -> dict[str, int]:
        return {"output": program.tensors[op.outputs[0]].elements}

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        x, out = program.tensors[op.inputs[0]], program.tensors[op.outputs[0]]
        divisor, b = 0, None
        if op.kind == "DIV":
            b = program.tensors[op.inputs[1]]
            assert b.data is not None
            divisor = int(b.data.ravel()[0])
        values = table(op.kind, op.options, x, out, divisor, b)
        arguments = (Ref(op.inputs[0]), Constant("table", "int8_t", values))
        return (Call("sec_table_s8", "sec_table_s8_params", {"elements": out.elements}, arguments, Ref(op.outputs[0])),)


class Prelu(Kernel):
    name, header, kinds = "prelu_s8", "sec_prelu_s8.h", ("PRELU",)

    def refuses(self, program: Program, op: Op) -> str | None:
        if program.tensors[op.inputs[1]].data is None:
            return "slopes are computed, not constant"
        return refuse_types(program, op)

    def overlap_bytes(self, program: Program, op: Op, position: int) -> int:
        return program.tensors[op.outputs[0]].elements

    def constant_bytes(self, program: Program, op: Op) -> int:
        return program.tensors[op.inputs[1]].elements

    def work(self, program: Program, op: Op) -> dict[str, int]:
        return {"output": program.tensors[op.outputs[0]].elements}

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        x, alpha, out = (program.tensors[i] for i in (*op.inputs, op.outputs[0]))
        assert alpha.data is not None
        identity = quantize_multiplier(float(np.float64(x.scale) / np.float64(out.scale)))
        product = quantize_multiplier(float(np.float64(x.scale) * np.float64(alpha.scale) / np.float64(out.scale)))
        params: Params = {
            **dict(zip("nhwc", nhwc(out), strict=True)), "alpha_stride": strides(alpha, out),
            "input_offset": -x.zero_point, "alpha_offset": -alpha.zero_point, "output_offset": out.zero_point,
            "identity_multiplier": identity[0], "identity_shift": identity[1], "alpha_multiplier": product[0],
            "alpha_shift": product[1],
        }  # fmt: skip
        arguments = (Ref(op.inputs[0]), Constant("alpha", "int8_t", alpha.data))
        return (Call("sec_prelu_s8", "sec_prelu_s8_params", params, arguments, Ref(op.outputs[0])),)
