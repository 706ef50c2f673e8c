"""Descriptors of float32 kernels with the shapes and access orders of their int8 relatives: four bytes an element.

Their arithmetic is `models/reference_float.py`, in the same order of operations. All walk upwards.
"""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from secateur.firmware.kernels.batch import first_element
from secateur.firmware.kernels.convolution import Conv2d, FullyConnected, geometry, windows
from secateur.firmware.kernels.descriptor import (
    Arguments,
    Block,
    Call,
    Constant,
    Kernel,
    Params,
    Ref,
    Windows,
    block_overlap,
    nhwc,
    overlap,
)
from secateur.firmware.kernels.matrix import TransposeConv
from secateur.models.program import Op, Program, op_macs
from secateur.models.reference_float import activation_range_f32
from secateur.models.reference_matrix import matrices

FLOAT_BYTES = 4


class FloatKernel(Kernel):
    """Operands and results of float32, where the program is not one to be quantized.

    Bytes are four times those of a kernel that walks int8 in the same way.
    """

    own_type = True
    both_ways = False

    def answers(self, program: Program, op: Op) -> bool:
        if op.kind not in self.kinds or program.shape_only:
            return False
        return program.tensors[op.inputs[0]].dtype == "float32"

    def needs(self, program: Program, op: Op) -> tuple[str, ...]:
        return ("float32",)

    def refuses(self, program: Program, op: Op) -> str | None:
        tensors = [program.tensors[i] for i in (*op.inputs, *op.outputs) if i >= 0]
        if {t.dtype for t in tensors} != {"float32"}:
            return "types " + ", ".join(t.dtype for t in tensors)
        return None

    def overlap_bytes(self, program: Program, op: Op, position: int) -> int:
        return FLOAT_BYTES * self.overlap_elements(program, op, position)

    @abstractmethod
    def overlap_elements(self, program: Program, op: Op, position: int) -> int:
        """`overlap_bytes` in elements."""

    def constant_bytes(self, program: Program, op: Op) -> int:
        return 0


def table(program: Program, tensor: int, role: str) -> Constant:
    data = program.tensors[tensor].data
    assert data is not None
    return Constant(role, "float", data)


def operand(program: Program, tensor: int, role: str) -> Ref | Constant:
    """An activation, or a constant's table."""
    return Ref(tensor) if program.tensors[tensor].data is None else table(program, tensor, role)


def bias(program: Program, op: Op) -> Constant:
    """Zeros where there is none: added last, they change no sum."""
    if len(op.inputs) > 2 and op.inputs[2] >= 0:
        return table(program, op.inputs[2], "bias")
    return Constant("bias", "float", np.zeros(program.tensors[op.outputs[0]].shape[-1], np.float32))


def clamps(op: Op) -> Params:
    """The fields of a fused activation."""
    low, high = activation_range_f32(op.options.activation)
    return {"low": low, "high": high}


def batched(program: Program, op: Op, one: int) -> int:
    """Elements that may be shared by a kernel that takes batch element after batch element, from those of one."""
    batch = program.tensors[op.outputs[0]].shape[0]
    x, out = (program.tensors[i].elements // batch for i in (op.inputs[0], op.outputs[0]))
    apart = out - one
    return max(0, batch * out - max(apart, apart + (batch - 1) * (out - x)))


class FloatWeights(FloatKernel):
    """Constant weights, and a bias that comes last."""

    def refuses(self, program: Program, op: Op) -> str | None:
        if program.tensors[op.inputs[1]].data is None:
            return "weights are computed, not constant"
        return super().refuses(program, op)

    def constant_bytes(self, program: Program, op: Op) -> int:
        elements = program.tensors[op.inputs[1]].elements + program.tensors[op.outputs[0]].shape[-1]
        return FLOAT_BYTES * elements

    def _call(self, program: Program, op: Op, params: Params) -> tuple[Call, ...]:
        function = f"sec_{self.name}"
        arguments: Arguments = (Ref(op.inputs[0]), table(program, op.inputs[1], "weights"), bias(program, op))
        return (Call(function, f"{function}_params", {**params, **clamps(op)}, arguments, Ref(op.outputs[0])),)


class Conv2dFloat(FloatWeights):
    name, header, kinds = "conv2d_f32", "sec_conv2d_f32.h", ("CONV_2D",)
    like = Conv2d()

    def overlap_elements(self, program: Program, op: Op, position: int) -> int:
        return batched(program, op, self.like.overlap_bytes(program, op, position))

    def work(self, program: Program, op: Op) -> dict[str, int]:
        batch = program.tensors[op.outputs[0]].shape[0]
        return {name: batch * count for name, count in self.like.work(first_element(program, op), op).items()}

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        groups = program.tensors[op.inputs[0]].shape[-1] // program.tensors[op.inputs[1]].shape[-1]
        batch = program.tensors[op.outputs[0]].shape[0]
        return self._call(program, op, {"n": batch, **geometry(program, op), "groups": groups})


class DepthwiseConv2dFloat(FloatWeights):
    name, header, kinds = "depthwise_conv2d_f32", "sec_depthwise_conv2d_f32.h", ("DEPTHWISE_CONV_2D",)

    def overlap_elements(self, program: Program, op: Op, position: int) -> int:
        g = geometry(program, op)
        depth = g["out_c"] // g["in_c"]
        blocks = tuple(Block(c, c + 1, c // depth, c // depth + 1) for c in range(g["out_c"]))
        one = block_overlap(windows(program, op), blocks, g["in_c"], g["out_c"], False)
        return batched(program, op, one)

    def work(self, program: Program, op: Op) -> dict[str, int]:
        out, weights = program.tensors[op.outputs[0]], program.tensors[op.inputs[1]]
        return {"tap": out.elements * weights.shape[1] * weights.shape[2], "output": out.elements}

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        g = geometry(program, op)
        batch = program.tensors[op.outputs[0]].shape[0]
        return self._call(program, op, {"n": batch, **g, "depth_multiplier": g["out_c"] // g["in_c"]})


class TransposeConvFloat(FloatWeights):
    name, header, kinds = "transpose_conv_f32", "sec_transpose_conv_f32.h", ("TRANSPOSE_CONV",)
    like = TransposeConv()

    def overlap_elements(self, program: Program, op: Op, position: int) -> int:
        return self.like.overlap_bytes(program, op, position)

    def work(self, program: Program, op: Op) -> dict[str, int]:
        return self.like.work(program, op)

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        n, in_h, in_w, in_c = nhwc(program.tensors[op.inputs[0]])
        _, out_h, out_w, out_c = nhwc(program.tensors[op.outputs[0]])
        _, k_h, k_w, _ = nhwc(program.tensors[op.inputs[1]])
        o = op.options
        params: Params = {
            "n": n, "in_h": in_h, "in_w": in_w, "in_c": in_c, "out_h": out_h, "out_w": out_w, "out_c": out_c,
            "k_h": k_h, "k_w": k_w, "stride_h": o.stride[0], "stride_w": o.stride[1], "pad_top": o.padding.top,
            "pad_left": o.padding.left,
        }  # fmt: skip
        return self._call(program, op, params)


class FullyConnectedFloat(FloatWeights):
    name, header, kinds = "fully_connected_f32", "sec_fully_connected_f32.h", ("FULLY_CONNECTED",)
    like = FullyConnected()

    def overlap_elements(self, program: Program, op: Op, position: int) -> int:
        return self.like.overlap_bytes(program, op, position)

    def work(self, program: Program, op: Op) -> dict[str, int]:
        return self.like.work(program, op)

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        outputs, inputs = program.tensors[op.inputs[1]].shape
        batch = program.tensors[op.outputs[0]].elements // outputs
        return self._call(program, op, {"batch": batch, "in": inputs, "out": outputs})


class MatmulFloat(FloatKernel):
    """Products of matrices read through steps; either of them may be constant."""

    header = "sec_batch_matmul_f32.h"

    def overlap_elements(self, program: Program, op: Op, position: int) -> int:
        read = matrices(program, op).reads(position)
        return overlap(np.arange(len(read)), read, len(read))

    def constant_bytes(self, program: Program, op: Op) -> int:
        return sum(t.size_bytes for i in op.inputs[:2] if (t := program.tensors[i]).data is not None)

    def work(self, program: Program, op: Op) -> dict[str, int]:
        return {"mac": op_macs(program, op), "output": program.tensors[op.outputs[0]].elements}

    def _products(self, program: Program, op: Op, function: str, *more: Constant) -> tuple[Call, ...]:
        m = matrices(program, op)
        params: Params = {
            "batch": m.batch, "a_batch": m.a_batch, "b_batch": m.b_batch, "rows": m.rows, "columns": m.columns,
            "depth": m.depth, "a_row": m.a_row, "a_step": m.a_step, "b_column": m.b_column, "b_step": m.b_step,
            **clamps(op),
        }  # fmt: skip
        arguments = (operand(program, op.inputs[0], "a"), operand(program, op.inputs[1], "b"), *more)
        return (Call(function, "sec_batch_matmul_f32_params", params, arguments, Ref(op.outputs[0])),)


class BatchMatmulFloat(MatmulFloat):
    name, kinds = "batch_matmul_f32", ("BATCH_MATMUL",)

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        return self._products(program, op, "sec_batch_matmul_f32")


class FullyConnectedComputedFloat(MatmulFloat):
    """Stands after the kernel for constant weights."""

    name, kinds = "fully_connected_computed_f32", ("FULLY_CONNECTED",)

    def constant_bytes(self, program: Program, op: Op) -> int:
        return super().constant_bytes(program, op) + FLOAT_BYTES * program.tensors[op.outputs[0]].shape[-1]

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        return self._products(program, op, "sec_batch_matmul_bias_f32", bias(program, op))


class PoolFloat(FloatKernel):
    header = "sec_pool_f32.h"

    def overlap_elements(self, program: Program, op: Op, position: int) -> int:
        _, in_h, in_w, c = nhwc(program.tensors[op.inputs[0]])
        _, out_h, out_w, _ = nhwc(program.tensors[op.outputs[0]])
        o = op.options
        read = Windows((out_h, out_w), (in_h, in_w), o.kernel, o.stride, (1, 1), (o.padding.top, o.padding.left))
        one = block_overlap(read, tuple(Block(i, i + 1, i, i + 1) for i in range(c)), c, c, False)
        return batched(program, op, one)

    def work(self, program: Program, op: Op) -> dict[str, int]:
        outputs = program.tensors[op.outputs[0]].elements
        return {"tap": outputs * op.options.kernel[0] * op.options.kernel[1], "output": outputs}

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        n, in_h, in_w, c = nhwc(program.tensors[op.inputs[0]])
        _, out_h, out_w, _ = nhwc(program.tensors[op.outputs[0]])
        o = op.options
        params: Params = {
            "n": n, "in_h": in_h, "in_w": in_w, "c": c, "out_h": out_h, "out_w": out_w, "k_h": o.kernel[0],
            "k_w": o.kernel[1], "stride_h": o.stride[0], "stride_w": o.stride[1], "pad_top": o.padding.top,
            "pad_left": o.padding.left, **clamps(op),
        }  # fmt: skip
        return (Call(f"sec_{self.name}", "sec_pool_f32_params", params, (Ref(op.inputs[0]),), Ref(op.outputs[0])),)


class MaxPoolFloat(PoolFloat):
    name, kinds = "max_pool_f32", ("MAX_POOL_2D",)


class AveragePoolFloat(PoolFloat):
    name, kinds = "average_pool_f32", ("AVERAGE_POOL_2D",)


FLOATS: tuple[Kernel, ...] = (
    Conv2dFloat(),
    DepthwiseConv2dFloat(),
    TransposeConvFloat(),
    FullyConnectedFloat(),
    BatchMatmulFloat(),
    FullyConnectedComputedFloat(),
    MaxPoolFloat(),
    AveragePoolFloat(),
)
