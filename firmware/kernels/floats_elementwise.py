"""Descriptors of float32 kernels without weights: element by element, by rows, reductions, resizing."""

from __future__ import annotations

import numpy as np

from secateur.firmware.kernels.descriptor import Call, Kernel, Params, Ref, nhwc, overlap
from secateur.firmware.kernels.elementwise import addresses, strides
from secateur.firmware.kernels.floats import FLOAT_BYTES, FloatKernel, clamps, operand
from secateur.firmware.kernels.reduction import arg_element, arg_sizes, loops, refuse_axes, walk_of
from secateur.models.program import Op, Program
from secateur.models.reference_float import activation_range_f32, bilinear_between, bilinear_positions


class BinaryFloat(FloatKernel):
    """Two operands, either of them broadcast or constant. PRELU is one: its second operand are the slopes."""

    header = "sec_binary_f32.h"

    def __init__(self, kind: str) -> None:
        self.name, self.kinds = f"{kind.lower()}_f32", (kind,)

    def refuses(self, program: Program, op: Op) -> str | None:
        if any(len(program.tensors[i].shape) > 4 for i in op.inputs):
            return "more than four dimensions"
        return super().refuses(program, op)

    def overlap_elements(self, program: Program, op: Op, position: int) -> int:
        out, x = program.tensors[op.outputs[0]], program.tensors[op.inputs[position]]
        if x.shape == out.shape:
            return out.elements
        return overlap(np.arange(out.elements), addresses(x, out), out.elements)

    def constant_bytes(self, program: Program, op: Op) -> int:
        return sum(t.size_bytes for i in op.inputs if (t := program.tensors[i]).data is not None)

    def work(self, program: Program, op: Op) -> dict[str, int]:
        return {"output": program.tensors[op.outputs[0]].elements}

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        a, b, out = (program.tensors[i] for i in (*op.inputs, op.outputs[0]))
        params: Params = {
            **dict(zip("nhwc", nhwc(out), strict=True)), "a_stride": strides(a, out), "b_stride": strides(b, out),
            **clamps(op),
        }  # fmt: skip
        arguments = (operand(program, op.inputs[0], "a"), operand(program, op.inputs[1], "b"))
        return (Call(f"sec_{self.name}", "sec_binary_f32_params", params, arguments, Ref(op.outputs[0])),)


class UnaryFloat(FloatKernel):
    """A function of one value."""

    header = "sec_unary_f32.h"

    def __init__(self, name: str, *kinds: str) -> None:
        self.name, self.kinds = name, kinds

    def overlap_elements(self, program: Program, op: Op, position: int) -> int:
        return program.tensors[op.outputs[0]].elements

    def work(self, program: Program, op: Op) -> dict[str, int]:
        return {"output": program.tensors[op.outputs[0]].elements}

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        low, high = activation_range_f32(op.kind)
        params: Params = {
            "elements": program.tensors[op.outputs[0]].elements, "low": low, "high": high,
            "alpha": float(np.float32(op.options.alpha)),
        }  # fmt: skip
        return (Call(f"sec_{self.name}", "sec_unary_f32_params", params, (Ref(op.inputs[0]),), Ref(op.outputs[0])),)


class GeluFloat(UnaryFloat):
    """GELU, or its approximation by tanh."""

    def __init__(self, name: str, approximate: bool) -> None:
        super().__init__(name, "GELU")
        self.approximate = approximate

    def answers(self, program: Program, op: Op) -> bool:
        return super().answers(program, op) and op.options.approximate == self.approximate


class RowFloat(FloatKernel):
    """A whole row of the last axis is read before its elements are read again and written one by one."""

    header = "sec_row_f32.h"

    def overlap_elements(self, program: Program, op: Op, position: int) -> int:
        return program.tensors[op.outputs[0]].elements

    def work(self, program: Program, op: Op) -> dict[str, int]:
        out = program.tensors[op.outputs[0]]
        return {"output": out.elements, "row": out.elements // out.shape[-1]}

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        out = program.tensors[op.outputs[0]]
        rows = out.elements // out.shape[-1]
        params: Params = {"rows": rows, "depth": out.shape[-1], "beta": float(np.float32(op.options.beta))}
        return (Call(f"sec_{self.name}", "sec_row_f32_params", params, (Ref(op.inputs[0]),), Ref(op.outputs[0])),)


class SoftmaxFloat(RowFloat):
    name, kinds = "softmax_f32", ("SOFTMAX",)


class L2NormalizationFloat(RowFloat):
    name, kinds = "l2_normalization_f32", ("L2_NORMALIZATION",)

    def refuses(self, program: Program, op: Op) -> str | None:
        if op.options.activation != "NONE":
            return f"a fused {op.options.activation}"
        return super().refuses(program, op)


class ReduceFloat(FloatKernel):
    """One output element after the other, each over all that it is made of."""

    header = "sec_reduce_f32.h"

    def __init__(self, name: str, first: float, *kinds: str) -> None:
        self.name, self.first, self.kinds = name, first, kinds

    def refuses(self, program: Program, op: Op) -> str | None:
        return refuse_axes(program, op) or refuse_ends(program, op)

    def overlap_elements(self, program: Program, op: Op, position: int) -> int:
        starts = walk_of(program, op).starts()
        return overlap(np.arange(len(starts)), starts, len(starts))

    def work(self, program: Program, op: Op) -> dict[str, int]:
        x, out = program.tensors[op.inputs[0]], program.tensors[op.outputs[0]]
        return {"tap": x.elements, "output": out.elements}

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        found = walk_of(program, op)
        count = float(found.count if op.kind == "MEAN" else 1)
        params: Params = {**loops(found), "first": self.first, "count": count}
        return (Call(f"sec_{self.name}", "sec_reduce_f32_params", params, (Ref(op.inputs[0]),), Ref(op.outputs[0])),)


class ArgFloat(FloatKernel):
    name, header, kinds = "arg_f32", "sec_arg_f32.h", ("ARG_MAX", "ARG_MIN")

    def refuses(self, program: Program, op: Op) -> str | None:
        out = program.tensors[op.outputs[0]].dtype
        return None if out in ("int32", "int64") else f"types float32, {out}"

    def overlap_bytes(self, program: Program, op: Op, position: int) -> int:
        outer, size, inner = arg_sizes(program, op)
        starts = (np.arange(outer)[:, None] * size * inner + np.arange(inner)).ravel()
        each = arg_element(program, op)
        return overlap(np.arange(len(starts)) * each, starts * FLOAT_BYTES, len(starts) * each)

    def overlap_elements(self, program: Program, op: Op, position: int) -> int:
        return self.overlap_bytes(program, op, position) // arg_element(program, op)

    def work(self, program: Program, op: Op) -> dict[str, int]:
        return {"tap": program.tensors[op.inputs[0]].elements, "output": program.tensors[op.outputs[0]].elements}

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        outer, size, inner = arg_sizes(program, op)
        params: Params = {
            "outer": outer, "size": size, "inner": inner, "wide": int(arg_element(program, op) == 8),
            "largest": int(op.kind == "ARG_MAX"),
        }  # fmt: skip
        return (Call("sec_arg_f32", "sec_arg_f32_params", params, (Ref(op.inputs[0]),), Ref(op.outputs[0])),)


class ResizeBilinearFloat(FloatKernel):
    name, header, kinds = "resize_bilinear_f32", "sec_resize_bilinear_f32.h", ("RESIZE_BILINEAR",)

    def refuses(self, program: Program, op: Op) -> str | None:
        return refuse_ends(program, op)

    def overlap_elements(self, program: Program, op: Op, position: int) -> int:
        n, in_h, in_w, c = nhwc(program.tensors[op.inputs[0]])
        _, out_h, out_w, _ = nhwc(program.tensors[op.outputs[0]])
        rows, columns = bilinear_between(in_h, out_h, op.options)[0], bilinear_between(in_w, out_w, op.options)[0]
        pixels = (np.arange(n)[:, None, None] * in_h + rows[:, None]) * in_w + columns
        read = (pixels[..., None] * c + np.arange(c)).ravel()
        return overlap(np.arange(len(read)), read, len(read))

    def work(self, program: Program, op: Op) -> dict[str, int]:
        n, out_h, out_w, c = nhwc(program.tensors[op.outputs[0]])
        return {"output": n * out_h * out_w * c, "pixel": n * out_h * out_w}

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        n, in_h, in_w, c = nhwc(program.tensors[op.inputs[0]])
        _, out_h, out_w, _ = nhwc(program.tensors[op.outputs[0]])
        (y_scale, shift), (x_scale, _) = (
            bilinear_positions(*pair, op.options) for pair in ((in_h, out_h), (in_w, out_w))
        )
        params: Params = {
            "n": n, "in_h": in_h, "in_w": in_w, "c": c, "out_h": out_h, "out_w": out_w,
            "y_scale": float(y_scale), "x_scale": float(x_scale), "shift": float(shift),
        }  # fmt: skip
        function = "sec_resize_bilinear_f32"
        return (Call(function, f"{function}_params", params, (Ref(op.inputs[0]),), Ref(op.outputs[0])),)


def refuse_ends(program: Program, op: Op) -> str | None:
    """Operands that only say how, like axes, have types of their own."""
    types = {program.tensors[i].dtype for i in (op.inputs[0], op.outputs[0])}
    return None if types == {"float32"} else "types " + ", ".join(sorted(types))


LARGEST = float(np.finfo(np.float32).max)
SIMPLE = ("LEAKY_RELU", "ABS", "NEG", "SQUARE", "HARD_SWISH", "ELU", "LOGISTIC", "TANH", "EXP", "LOG", "SQRT", "RSQRT")

ELEMENTWISE: tuple[Kernel, ...] = (
    *(BinaryFloat(k) for k in ("ADD", "SUB", "MUL", "DIV", "SQUARED_DIFFERENCE", "MAXIMUM", "MINIMUM", "PRELU")),
    UnaryFloat("relu_f32", "RELU"),
    UnaryFloat("clamped_f32", "RELU6", "RELU_N1_TO_1"),
    *(UnaryFloat(f"{k.lower()}_f32", k) for k in SIMPLE),
    GeluFloat("gelu_f32", approximate=False),
    GeluFloat("gelu_tanh_f32", approximate=True),
    SoftmaxFloat(),
    L2NormalizationFloat(),
    ReduceFloat("reduce_sum_f32", 0.0, "SUM", "MEAN"),
    ReduceFloat("reduce_max_f32", -LARGEST, "REDUCE_MAX"),
    ReduceFloat("reduce_min_f32", LARGEST, "REDUCE_MIN"),
    ArgFloat(),
    ResizeBilinearFloat(),
)
