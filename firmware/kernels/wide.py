"""Descriptors of the kernels on int16 activations that multiply: convolutions and matrices, with int8 weights ("16x8").

They walk as int8's do, over elements of two bytes. TFLite sums in 64 bits, or in 32 where the bias is int32.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

import numpy as np

from secateur.firmware.kernels.batch import ElementByElement, first_element
from secateur.firmware.kernels.convolution import Conv2d, DepthwiseConv2d, FullyConnected, geometry
from secateur.firmware.kernels.descriptor import Arguments, Call, Constant, Ints, Kernel, Params, Ref, nhwc
from secateur.firmware.kernels.matrix import BatchMatmul, TransposeConv
from secateur.models.fixed_point import activation_range
from secateur.models.program import Op, Program
from secateur.models.reference_int16 import HIGH, LOW, matmul_pair, sums_wrap, weighted_pairs
from secateur.models.reference_matrix import matrices

INT32 = np.iinfo(np.int32)


class Wide(Kernel):
    """A kernel on int16 that reads and writes in the order of `like`, one on int8."""

    like: Kernel

    def refuses(self, program: Program, op: Op) -> str | None:
        types = [program.tensors[i].dtype for i in (*op.inputs, *op.outputs) if i >= 0]
        return None if set(types) == {"int16"} and not program.shape_only else "types " + ", ".join(types)

    def whole(self, program: Program, tensor: int) -> Ref:
        return Ref(tensor, program.bytes_of(tensor) - 2 if self.descending else 0)

    def overlap_bytes(self, program: Program, op: Op, position: int) -> int:
        like = self.like.walks[1] if self.descending else self.like
        return 2 * like.overlap_bytes(program, op, position)

    def constant_bytes(self, program: Program, op: Op) -> int:
        return sum(t.size_bytes for i in op.inputs if i >= 0 and (t := program.tensors[i]).data is not None)

    def work(self, program: Program, op: Op) -> dict[str, int]:
        return self.like.work(program, op)


def bias_table(values: Ints) -> Constant:
    """Of int32_t where all fit."""
    fits = bool(((values >= INT32.min) & (values <= INT32.max)).all())
    return Constant("bias", "int32_t" if fits else "int64_t", values)


def clamp(program: Program, op: Op) -> dict[str, int]:
    """The fields of a fused activation."""
    low, high = activation_range(op.options.activation, program.tensors[op.outputs[0]].scale, 0, LOW, HIGH)
    return {"low": low, "high": high}


class Weighted(Wide):
    """Constant int8 weights; a table of biases, multipliers and shifts. `biases`: types that TFLite takes."""

    biases: tuple[str, ...] = ("int32", "int64")
    one_multiplier = False  # where there is one weight scale

    def refuses(self, program: Program, op: Op) -> str | None:
        x, weights, out = (program.tensors[i] for i in (op.inputs[0], op.inputs[1], op.outputs[0]))
        types = (x.dtype, weights.dtype, out.dtype)
        if types != ("int16", "int8", "int16") or program.shape_only:
            return "types " + ", ".join(types)
        if weights.data is None:
            return "weights are computed, not constant"
        if weights.quantization is None or any(weights.quantization.zero_point):
            return "weights with a zero point or without a scale"
        if len(op.inputs) > 2 and op.inputs[2] >= 0 and program.tensors[op.inputs[2]].dtype not in self.biases:
            return f"a bias of {program.tensors[op.inputs[2]].dtype}, where TFLite takes {' or '.join(self.biases)}"
        return None

    def constant_bytes(self, program: Program, op: Op) -> int:
        bias = self._bias(program, op)
        multipliers = len(self._pairs(program, op))
        return program.tensors[op.inputs[1]].elements + bias.size_bytes + 5 * multipliers

    def _bias(self, program: Program, op: Op) -> Constant:
        data = program.tensors[op.inputs[2]].data if len(op.inputs) > 2 and op.inputs[2] >= 0 else None
        channels = program.tensors[op.outputs[0]].shape[-1]
        return bias_table(np.zeros(channels, np.int64) if data is None else data.astype(np.int64).ravel())

    def _pairs(self, program: Program, op: Op) -> list[tuple[int, int]]:
        pairs = weighted_pairs(program, op)
        if len(pairs) == 1 and not self.one_multiplier:
            pairs *= program.tensors[op.outputs[0]].shape[-1]
        return pairs

    @abstractmethod
    def _params(self, program: Program, op: Op) -> dict[str, int]:
        """The fields of the kernel's own."""

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        weights, bias, pairs = program.tensors[op.inputs[1]].data, self._bias(program, op), self._pairs(program, op)
        assert weights is not None
        params: Params = {
            **self._params(program, op), **clamp(program, op), "sum_wraps": int(sums_wrap(program, op)),
            "wide_bias": int(bias.ctype == "int64_t"),
        }  # fmt: skip
        arguments: Arguments = (
            Ref(op.inputs[0]),
            Constant("weights", "int8_t", weights),
            bias,
            Constant("multiplier", "int32_t", np.array([m for m, _ in pairs], np.int64)),
            Constant("shift", "int8_t", np.array([s for _, s in pairs], np.int64)),
        )
        return (Call(f"sec_{self.name}", f"sec_{self.name}_params", params, arguments, Ref(op.outputs[0])),)


class OneBatchElement(Weighted):
    both_ways = True

    def refuses(self, program: Program, op: Op) -> str | None:
        if nhwc(program.tensors[op.inputs[0]])[0] != 1:
            return "batch above 1"
        return super().refuses(program, op)


class Conv2dS16(OneBatchElement):
    name, header, kinds, like = "conv2d_s16", "sec_conv2d_s16.h", Conv2d.kinds, Conv2d()

    def _params(self, program: Program, op: Op) -> dict[str, int]:
        groups = program.tensors[op.inputs[0]].shape[-1] // program.tensors[op.inputs[1]].shape[-1]
        return geometry(program, op) | {"groups": groups, "step": self.step}


class DepthwiseConv2dS16(OneBatchElement):
    name, header = "depthwise_conv2d_s16", "sec_depthwise_conv2d_s16.h"
    kinds, like, biases = DepthwiseConv2d.kinds, DepthwiseConv2d(), ("int64",)

    def _params(self, program: Program, op: Op) -> dict[str, int]:
        g = geometry(program, op)
        return g | {"depth_multiplier": g["out_c"] // g["in_c"], "step": self.step}


class FullyConnectedS16(Weighted):
    name, header, kinds = "fully_connected_s16", "sec_fully_connected_s16.h", FullyConnected.kinds
    like, both_ways, one_multiplier = FullyConnected(), True, True

    def _params(self, program: Program, op: Op) -> dict[str, int]:
        outputs, inputs = program.tensors[op.inputs[1]].shape
        batch = program.tensors[op.outputs[0]].elements // outputs
        per_row = int(len(self._pairs(program, op)) > 1)
        return {"batch": batch, "in": inputs, "out": outputs, "per_row": per_row, "step": self.step}


class TransposeConvS16(Weighted):
    name, header, kinds = "transpose_conv_s16", "sec_transpose_conv_s16.h", TransposeConv.kinds
    like, biases = TransposeConv(), ("int64",)

    def _params(self, program: Program, op: Op) -> dict[str, int]:
        n, in_h, in_w, in_c = nhwc(program.tensors[op.inputs[0]])
        _, out_h, out_w, out_c = nhwc(program.tensors[op.outputs[0]])
        _, k_h, k_w, _ = nhwc(program.tensors[op.inputs[1]])
        o = op.options
        return {
            "n": n, "in_h": in_h, "in_w": in_w, "in_c": in_c, "out_h": out_h, "out_w": out_w, "out_c": out_c,
            "k_h": k_h, "k_w": k_w, "stride_h": o.stride[0], "stride_w": o.stride[1], "pad_top": o.padding.top,
            "pad_left": o.padding.left,
        }  # fmt: skip


class BatchMatmulS16(Wide):
    """Both operands are int16, either of them computed."""

    name, header, kinds, like = "batch_matmul_s16", "sec_batch_matmul_s16.h", BatchMatmul.kinds, BatchMatmul()

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        m = matrices(program, op)
        multiplier, shift = matmul_pair(program, op)
        params: Params = {
            "batch": m.batch, "a_batch": m.a_batch, "b_batch": m.b_batch, "rows": m.rows, "columns": m.columns,
            "depth": m.depth, "a_row": m.a_row, "a_step": m.a_step, "b_column": m.b_column, "b_step": m.b_step,
            "multiplier": multiplier, "shift": shift, **clamp(program, op),
        }  # fmt: skip
        operands: list[Ref | Constant] = []
        for role, i in zip("ab", op.inputs, strict=True):
            data = program.tensors[i].data
            operands.append(Ref(i) if data is None else Constant(role, "int16_t", data))
        function = f"sec_{self.name}"
        return (Call(function, f"{function}_params", params, tuple(operands), Ref(op.outputs[0])),)


class Repeated(ElementByElement):
    """A call for each."""

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        element = first_element(program, op)
        (call,) = self.one.calls(element, op)
        x, out = (element.bytes_of(i) for i in (op.inputs[0], op.outputs[0]))
        return tuple(
            replace(
                call,
                arguments=(Ref(op.inputs[0], i * x), *call.arguments[1:]),
                output=Ref(op.outputs[0], i * out),
            )
            for i in range(program.tensors[op.outputs[0]].shape[0])
        )


class Conv2dRepeatedS16(Repeated):
    name, header, kinds, one = "conv2d_repeated_s16", Conv2dS16.header, Conv2dS16.kinds, Conv2dS16()


class DepthwiseConv2dRepeatedS16(Repeated):
    name, header = "depthwise_conv2d_repeated_s16", DepthwiseConv2dS16.header
    kinds, one = DepthwiseConv2dS16.kinds, DepthwiseConv2dS16()


WIDE: tuple[Kernel, ...] = (
    Conv2dS16(), DepthwiseConv2dS16(), FullyConnectedS16(), TransposeConvS16(), BatchMatmulS16(), Conv2dRepeatedS16(),
    DepthwiseConv2dRepeatedS16(),
)  # fmt: skip
