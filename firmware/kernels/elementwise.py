"""Descriptors of element-by-element kernels: add, mul, requantize (QUANTIZE, RELU, RELU6), softmax."""

from __future__ import annotations

import math
from abc import ABC

import numpy as np

from secateur.firmware.kernels.descriptor import (
    Call,
    Constant,
    Ints,
    Kernel,
    Params,
    Ref,
    compute_types,
    nhwc,
    overlap,
    overlap_descending,
)
from secateur.models.fixed_point import activation_range, quantize_multiplier
from secateur.models.program import Op, Program, Tensor


def strides(tensor: Tensor, output: Tensor) -> tuple[int, ...]:
    """Elements from one output position to the next along (n, h, w, c); 0 where the tensor is broadcast."""
    shape, wanted = nhwc(tensor), nhwc(output)
    step, found = 1, []
    for size, out in zip(reversed(shape), reversed(wanted), strict=True):
        found.append(step if size == out else 0)
        step *= size
    return tuple(reversed(found))


def addresses(tensor: Tensor, output: Tensor) -> Ints:
    """The element of `tensor` read for each output element, in order."""
    grid = np.zeros(nhwc(output), np.int64)
    for axis, (size, step) in enumerate(zip(nhwc(output), strides(tensor, output), strict=True)):
        shape = [1] * 4
        shape[axis] = size
        grid += (np.arange(size) * step).reshape(shape)
    return grid.ravel()


def refuse_types(program: Program, op: Op) -> str | None:
    tensors = [program.tensors[i] for i in (*op.inputs, *op.outputs) if i >= 0]
    if {t.dtype for t in tensors} != compute_types(program):
        return "types " + ", ".join(t.dtype for t in tensors)
    return None


class Binary(Kernel):
    """Two operands, either of them broadcast or constant. `params_type`: where it is not the kernel's own."""

    params_type = ""
    both_ways = True

    def refuses(self, program: Program, op: Op) -> str | None:
        if any(len(program.tensors[i].shape) > 4 for i in op.inputs):
            return "more than four dimensions"
        return refuse_types(program, op)

    def overlap_bytes(self, program: Program, op: Op, position: int) -> int:
        out = program.tensors[op.outputs[0]]
        x = program.tensors[op.inputs[position]]
        if x.shape == out.shape:
            return out.elements
        read = addresses(x, out)
        if self.descending:
            return overlap_descending(np.arange(out.elements, 0, -1), read[::-1] + 1, out.elements, x.elements)
        return overlap(np.arange(out.elements), read, out.elements)

    def constant_bytes(self, program: Program, op: Op) -> int:
        tables = [program.tensors[i] for i in op.inputs if program.tensors[i].data is not None]
        return sum(t.elements for t in tables)

    def work(self, program: Program, op: Op) -> dict[str, int]:
        return {"output": program.tensors[op.outputs[0]].elements}

    def _call(self, program: Program, op: Op, params: Params) -> tuple[Call, ...]:
        a, b = (program.tensors[i] for i in op.inputs)
        out = program.tensors[op.outputs[0]]
        low, high = activation_range(op.options.activation, out.scale, out.zero_point)
        sizes: Params = dict(zip("nhwc", nhwc(out), strict=True))
        shared: Params = {
            "a_stride": self._strides(a, out), "b_stride": self._strides(b, out), "a_offset": -a.zero_point,
            "b_offset": -b.zero_point, "output_offset": out.zero_point, "low": low, "high": high, "step": self.step,
        }  # fmt: skip
        arguments = tuple(
            self.whole(program, i) if t.data is None else Constant(role, "int8_t", t.data.ravel()[:: self.step])
            for i, t, role in ((op.inputs[0], a, "a"), (op.inputs[1], b, "b"))
        )
        function, output = f"sec_{self.name}", self.whole(program, op.outputs[0])
        params_type = self.params_type or f"{function}_params"
        return (Call(function, params_type, {**sizes, **shared, **params}, arguments, output),)

    def _strides(self, tensor: Tensor, output: Tensor) -> tuple[int, ...]:
        """Of the walk; a constant's table is turned round instead."""
        sign = self.step if tensor.data is None else 1
        return tuple(sign * s for s in strides(tensor, output))


class Add(Binary):
    name, header, kinds = "add_s8", "sec_add_s8.h", ("ADD",)

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        a, b, out = (np.float64(program.tensors[i].scale) for i in (*op.inputs, *op.outputs))
        twice = 2 * max(a, b)
        left_shift = 20
        found: dict[str, int | tuple[int, ...]] = {"left_shift": left_shift}
        for role, real in (("a", a / twice), ("b", b / twice), ("output", twice / ((1 << left_shift) * out))):
            found[f"{role}_multiplier"], found[f"{role}_shift"] = quantize_multiplier(float(real))
        return self._call(program, op, found)


class Mul(Binary):
    name, header, kinds = "mul_s8", "sec_mul_s8.h", ("MUL",)

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        a, b, out = (np.float64(program.tensors[i].scale) for i in (*op.inputs, *op.outputs))
        multiplier, shift = quantize_multiplier(float(a * b / out))
        return self._call(program, op, {"multiplier": multiplier, "shift": shift})


class Requantize(Kernel):
    name, header, kinds = "requantize_s8", "sec_requantize_s8.h", ("QUANTIZE", "RELU", "RELU6")
    both_ways = True

    def refuses(self, program: Program, op: Op) -> str | None:
        x, out = program.tensors[op.inputs[0]], program.tensors[op.outputs[0]]
        if op.kind == "RELU6" and x.quantization != out.quantization:
            return "input and output scales differ"
        return refuse_types(program, op)

    def overlap_bytes(self, program: Program, op: Op, position: int) -> int:
        return program.tensors[op.outputs[0]].elements

    def constant_bytes(self, program: Program, op: Op) -> int:
        return 0

    def work(self, program: Program, op: Op) -> dict[str, int]:
        return {"output": program.tensors[op.outputs[0]].elements}

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        x, out = program.tensors[op.inputs[0]], program.tensors[op.outputs[0]]
        activation = {"QUANTIZE": "NONE"}.get(op.kind, op.kind)
        low, high = activation_range(activation, out.scale, out.zero_point)
        multiplier, shift = quantize_multiplier(x.scale / out.scale)
        params = {
            "elements": out.elements, "input_zero_point": x.zero_point, "output_offset": out.zero_point,
            "multiplier": multiplier, "shift": shift, "low": low, "high": high, "step": self.step,
        }  # fmt: skip
        return (
            Call(
                "sec_requantize_s8",
                "sec_requantize_s8_params",
                params,
                (self.whole(program, op.inputs[0]),),
                self.whole(program, op.outputs[0]),
            ),
        )


class RowByRow(Kernel, ABC):
    """A whole row of the last axis is read before its elements are read again and written one by one."""

    def overlap_bytes(self, program: Program, op: Op, position: int) -> int:
        # a row is read for the last time element by element, just before each is written
        return program.tensors[op.outputs[0]].elements

    def constant_bytes(self, program: Program, op: Op) -> int:
        return 0

    def work(self, program: Program, op: Op) -> dict[str, int]:
        out = program.tensors[op.outputs[0]]
        return {"output": out.elements, "row": out.elements // out.shape[-1]}


class Softmax(RowByRow):
    name, header, kinds = "softmax_s8", "sec_softmax_s8.h", ("SOFTMAX",)

    def refuses(self, program: Program, op: Op) -> str | None:
        out = program.tensors[op.outputs[0]]
        if out.quantization is not None and (out.scale != 1 / 256 or out.zero_point != -128):
            return "an output scale other than 1/256 with zero point -128"
        return refuse_types(program, op)

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        x, out = program.tensors[op.inputs[0]], program.tensors[op.outputs[0]]
        integer_bits = 5  # differences in Q5.26: exp(-32) is nothing
        real = min(op.options.beta * x.scale * (1 << (31 - integer_bits)), float((1 << 31) - 1))
        multiplier, left_shift = quantize_multiplier(real)
        radius = ((1 << integer_bits) - 1) * (1 << (31 - integer_bits)) / (1 << left_shift)
        params = {
            "rows": out.elements // out.shape[-1], "depth": out.shape[-1], "multiplier": multiplier,
            "left_shift": left_shift, "diff_min": -math.floor(radius),
        }  # fmt: skip
        return (Call("sec_softmax_s8", "sec_softmax_s8_params", params, (Ref(op.inputs[0]),), Ref(op.outputs[0])),)
