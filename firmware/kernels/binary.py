"""Descriptors of SUB, SQUARED_DIFFERENCE, MAXIMUM and MINIMUM: two operands, either of them broadcast or constant."""

from __future__ import annotations

import numpy as np

from secateur.firmware.kernels.descriptor import Call, Params
from secateur.firmware.kernels.elementwise import Binary
from secateur.models.fixed_point import quantize_multiplier
from secateur.models.program import Op, Program

UNSCALED: Params = {
    "left_shift": 0, "a_multiplier": 0, "a_shift": 0, "b_multiplier": 0, "b_shift": 0, "output_multiplier": 0,
    "output_shift": 0,
}  # fmt: skip


class Difference(Binary):
    """Operands brought to one scale with `left_shift` more bits, as ADD does it."""

    header, params_type = "sec_binary_s8.h", "sec_binary_s8_params"
    left_shift: int

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        a, b, out = (np.float64(program.tensors[i].scale) for i in (*op.inputs, *op.outputs))
        twice = 2 * max(a, b)
        found: dict[str, int] = {"left_shift": self.left_shift}
        for role, real in (("a", a / twice), ("b", b / twice), ("output", self.output_scale(float(twice), float(out)))):
            found[f"{role}_multiplier"], found[f"{role}_shift"] = quantize_multiplier(float(real))
        return self._call(program, op, found)

    def output_scale(self, twice: float, out: float) -> float:
        return twice / ((1 << self.left_shift) * out)


class Sub(Difference):
    name, kinds, left_shift = "sub_s8", ("SUB",), 20


class SquaredDifference(Difference):
    name, kinds, left_shift = "squared_difference_s8", ("SQUARED_DIFFERENCE",), 7

    def output_scale(self, twice: float, out: float) -> float:
        return twice * twice / ((1 << 2 * self.left_shift) * out)


class Extreme(Binary):
    """The larger or smaller of the quantized values: all three tensors have one scale."""

    header, params_type = "sec_binary_s8.h", "sec_binary_s8_params"

    def refuses(self, program: Program, op: Op) -> str | None:
        if len({program.tensors[i].quantization for i in (*op.inputs, *op.outputs)}) > 1:
            return "input and output scales differ"
        return super().refuses(program, op)

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        return self._call(program, op, UNSCALED)


class Maximum(Extreme):
    name, kinds = "maximum_s8", ("MAXIMUM",)


class Minimum(Extreme):
    name, kinds = "minimum_s8", ("MINIMUM",)
