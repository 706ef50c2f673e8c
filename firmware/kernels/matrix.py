"""Descriptors of TRANSPOSE_CONV, BATCH_MATMUL, and FULLY_CONNECTED whose weights are computed or have a zero point."""

from __future__ import annotations

import numpy as np

from secateur.firmware.kernels.convolution import output_stage
from secateur.firmware.kernels.descriptor import (
    NEVER,
    Arguments,
    Call,
    Constant,
    Ints,
    Kernel,
    Params,
    Ref,
    compute_types,
    nhwc,
    overlap,
)
from secateur.firmware.kernels.elementwise import refuse_types
from secateur.models.fixed_point import quantize_multiplier
from secateur.models.program import Op, Program, op_macs
from secateur.models.reference_matrix import Matrices, matrices


class TransposeConv(Kernel):
    name, header, kinds = "transpose_conv_s8", "sec_transpose_conv_s8.h", ("TRANSPOSE_CONV",)

    def refuses(self, program: Program, op: Op) -> str | None:
        weights = program.tensors[op.inputs[1]]
        if weights.data is None:
            return "weights are computed, not constant"
        if weights.quantization is not None and any(weights.quantization.zero_point):
            return "weights with a zero point"
        types = {program.tensors[i].dtype for i in (*op.inputs[:2], op.outputs[0])}
        return None if types == compute_types(program) else "types " + ", ".join(sorted(types))

    def overlap_bytes(self, program: Program, op: Op, position: int) -> int:
        n, in_h, in_w, in_c = nhwc(program.tensors[op.inputs[0]])
        _, out_h, out_w, out_c = nhwc(program.tensors[op.outputs[0]])
        _, k_h, k_w, _ = nhwc(program.tensors[op.inputs[1]])
        o = op.options
        rows = _first(out_h, in_h, k_h, o.stride[0], o.padding.top)
        columns = _first(out_w, in_w, k_w, o.stride[1], o.padding.left)
        address = (rows[:, None] * in_w + columns) * in_c
        one = np.where((rows[:, None] == NEVER) | (columns == NEVER), NEVER, address)
        batch = np.arange(n)[:, None, None] * in_h * in_w * in_c
        read = np.repeat(np.where(one == NEVER, NEVER, one + batch).ravel(), out_c)
        return overlap(np.arange(len(read)), read, len(read))

    def constant_bytes(self, program: Program, op: Op) -> int:
        channels = program.tensors[op.outputs[0]].shape[-1]
        return program.tensors[op.inputs[1]].elements + 9 * channels

    def work(self, program: Program, op: Op) -> dict[str, int]:
        out = program.tensors[op.outputs[0]]
        _, k_h, k_w, _ = program.tensors[op.inputs[1]].shape
        return {"mac": op_macs(program, op), "tap": out.elements * k_h * k_w, "output": out.elements}

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        x, weights, out = (program.tensors[i] for i in (*op.inputs[:2], op.outputs[0]))
        assert weights.data is not None and weights.quantization is not None
        n, in_h, in_w, in_c = nhwc(x)
        _, out_h, out_w, out_c = nhwc(out)
        o = op.options
        params: Params = {
            "n": n, "in_h": in_h, "in_w": in_w, "in_c": in_c, "out_h": out_h, "out_w": out_w, "out_c": out_c,
            "k_h": weights.shape[1], "k_w": weights.shape[2], "stride_h": o.stride[0], "stride_w": o.stride[1],
            "pad_top": o.padding.top, "pad_left": o.padding.left, "input_offset": -x.zero_point,
            **output_stage(program, op),
        }  # fmt: skip
        scales = weights.quantization.scale * (out_c if len(weights.quantization.scale) == 1 else 1)
        pairs = [
            quantize_multiplier(float(np.float64(x.scale) * np.float64(s) / np.float64(out.scale))) for s in scales
        ]
        arguments: Arguments = (
            Ref(op.inputs[0]),
            Constant("weights", "int8_t", weights.data),
            Constant("bias", "int32_t", _bias(program, op, out_c)),
            Constant("multiplier", "int32_t", np.array([m for m, _ in pairs], np.int64)),
            Constant("shift", "int8_t", np.array([s for _, s in pairs], np.int64)),
        )
        return (Call("sec_transpose_conv_s8", "sec_transpose_conv_s8_params", params, arguments, Ref(op.outputs[0])),)


class Matmul(Kernel):
    """Products of matrices read through steps."""

    header = "sec_batch_matmul_s8.h"

    def overlap_bytes(self, program: Program, op: Op, position: int) -> int:
        read = matrices(program, op).reads(position)
        return overlap(np.arange(len(read)), read, len(read))

    def constant_bytes(self, program: Program, op: Op) -> int:
        return sum(t.elements for i in op.inputs[:2] if (t := program.tensors[i]).data is not None)

    def work(self, program: Program, op: Op) -> dict[str, int]:
        return {"mac": op_macs(program, op), "output": program.tensors[op.outputs[0]].elements}

    def _params(self, program: Program, op: Op) -> Params:
        a, b, out = (program.tensors[i] for i in (*op.inputs[:2], op.outputs[0]))
        m: Matrices = matrices(program, op)
        real = float(np.float64(a.scale) * np.float64(b.scale) / np.float64(out.scale))
        multiplier, shift = quantize_multiplier(real)
        return {
            "batch": m.batch, "a_batch": m.a_batch, "b_batch": m.b_batch, "rows": m.rows, "columns": m.columns,
            "depth": m.depth, "a_row": m.a_row, "a_step": m.a_step, "b_column": m.b_column, "b_step": m.b_step,
            "a_offset": -a.zero_point, "b_offset": -b.zero_point, "multiplier": multiplier, "shift": shift,
            **output_stage(program, op),
        }  # fmt: skip

    @staticmethod
    def _operands(program: Program, op: Op) -> Arguments:
        found: list[Ref | Constant] = []
        for role, i in zip("ab", op.inputs, strict=False):
            data = program.tensors[i].data
            found.append(Ref(i) if data is None else Constant(role, "int8_t", data))
        return tuple(found)


class BatchMatmul(Matmul):
    name, kinds = "batch_matmul_s8", ("BATCH_MATMUL",)

    def refuses(self, program: Program, op: Op) -> str | None:
        return refuse_types(program, op)

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        params, operands = self._params(program, op), self._operands(program, op)
        return (Call("sec_batch_matmul_s8", "sec_batch_matmul_s8_params", params, operands, Ref(op.outputs[0])),)


class FullyConnectedComputed(Matmul):
    """Stands after the kernel for constant weights, which folds zero points into the bias."""

    name, kinds = "fully_connected_computed_s8", ("FULLY_CONNECTED",)

    def refuses(self, program: Program, op: Op) -> str | None:
        quantization = program.tensors[op.inputs[1]].quantization
        if quantization is not None and quantization.per_channel:
            return "weights with a scale an output that are computed or have a zero point"
        types = {program.tensors[i].dtype for i in (*op.inputs[:2], op.outputs[0])}
        return None if types == compute_types(program) else "types " + ", ".join(sorted(types))

    def constant_bytes(self, program: Program, op: Op) -> int:
        return super().constant_bytes(program, op) + 4 * program.tensors[op.outputs[0]].shape[-1]

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        bias = Constant("bias", "int32_t", _bias(program, op, program.tensors[op.outputs[0]].shape[-1]))
        params, operands = self._params(program, op), (*self._operands(program, op), bias)
        return (Call("sec_batch_matmul_bias_s8", "sec_batch_matmul_s8_params", params, operands, Ref(op.outputs[0])),)


def _bias(program: Program, op: Op, channels: int) -> Ints:
    data = program.tensors[op.inputs[2]].data if len(op.inputs) > 2 and op.inputs[2] >= 0 else None
    return np.zeros(channels, np.int64) if data is None else np.asarray(data, np.int64)


def _first(out: int, size: int, kernel: int, stride: int, pad: int) -> Ints:
    """The first input position along an axis that reaches each output position, NEVER where none does."""
    reach = np.arange(out)[:, None] + pad - np.arange(kernel)
    good = (reach >= 0) & (reach % stride == 0) & (reach // stride < size)
    found: Ints = np.where(good, reach // stride, NEVER).min(axis=1)
    return found
