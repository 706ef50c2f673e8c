"""Descriptors of the kernels on int16 activations without weights: element by element, rows, windows, reductions."""

from __future__ import annotations

from secateur.firmware.kernels.binary import Maximum, Minimum, SquaredDifference, Sub
from secateur.firmware.kernels.descriptor import Arguments, Call, Constant, Kernel, Params, Ref, nhwc
from secateur.firmware.kernels.elementwise import Add, Binary, Mul, Requantize, Softmax, strides
from secateur.firmware.kernels.pooling import AveragePool, MaxPool, Pool
from secateur.firmware.kernels.reduction import ReduceMax, ReduceMin, ReduceSum, loops, refuse_axes, walk_of
from secateur.firmware.kernels.tables import Prelu
from secateur.firmware.kernels.wide import Repeated, Wide, clamp
from secateur.models.fixed_point import quantize_multiplier
from secateur.models.program import Op, Program, Tensor
from secateur.models.reference_int16 import (
    HIGH,
    LEFT_SHIFT,
    LOW,
    binary_pairs,
    curve_scale,
    prelu_pairs,
    relu6_range,
    softmax_pair,
    softmax_tables,
    unary_pairs,
)
from secateur.models.reference_recurrent import SIGMOID
from secateur.models.reference_reduction import mean_multiplier
from secateur.models.tables import ROOT_BITS, rsqrt_pair

OUTPUT_SCALE = 1 / 32768
UNIT = (1 << 30, 1)  # a rescaling by 1


class BinaryS16(Wide):
    """Two operands, either of them broadcast or constant."""

    header, both_ways = "sec_binary_s16.h", True
    like: Binary

    def refuses(self, program: Program, op: Op) -> str | None:
        if any(len(program.tensors[i].shape) > 4 for i in op.inputs):
            return "more than four dimensions"
        return super().refuses(program, op)

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        out = program.tensors[op.outputs[0]]
        params: dict[str, int | tuple[int, ...]] = {**dict(zip("nhwc", nhwc(out), strict=True)), "step": self.step}
        arguments: list[Ref | Constant] = []
        for role, i in zip("ab", op.inputs, strict=True):
            x = program.tensors[i]
            sign = self.step if x.data is None else 1  # a constant's table is turned round instead
            params[f"{role}_stride"] = tuple(sign * s for s in strides(x, out))
            turned = None if x.data is None else x.data.ravel()[:: self.step]
            arguments.append(self.whole(program, i) if turned is None else Constant(role, "int16_t", turned))
        function, output = f"sec_{self.name}", self.whole(program, op.outputs[0])
        params |= self._arithmetic(program, op)
        return (Call(function, "sec_binary_s16_params", params, tuple(arguments), output),)

    def _arithmetic(self, program: Program, op: Op) -> dict[str, int]:
        found = clamp(program, op) | {"left_shift": LEFT_SHIFT[op.kind]}
        for role, (multiplier, shift) in binary_pairs(program, op).items():
            found |= {f"{role}_multiplier": multiplier, f"{role}_shift": shift}
        return found


class ExtremeS16(BinaryS16):
    """The larger or smaller of the quantized values: all three tensors have one scale."""

    def refuses(self, program: Program, op: Op) -> str | None:
        return _refuse_scales(program, op.inputs, op) or super().refuses(program, op)

    def _arithmetic(self, program: Program, op: Op) -> dict[str, int]:
        return {}


def _refuse_scales(program: Program, inputs: tuple[int, ...], op: Op) -> str | None:
    if len({program.tensors[i].quantization for i in (*inputs, op.outputs[0])}) > 1:
        return "input and output scales differ"
    return None


class AddS16(BinaryS16):
    name, kinds, like = "add_s16", Add.kinds, Add()


class SubS16(BinaryS16):
    name, kinds, like = "sub_s16", Sub.kinds, Sub()


class MulS16(BinaryS16):
    name, kinds, like = "mul_s16", Mul.kinds, Mul()


class SquaredDifferenceS16(BinaryS16):
    name, kinds, like = "squared_difference_s16", SquaredDifference.kinds, SquaredDifference()


class MaximumS16(ExtremeS16):
    name, kinds, like = "maximum_s16", Maximum.kinds, Maximum()


class MinimumS16(ExtremeS16):
    name, kinds, like = "minimum_s16", Minimum.kinds, Minimum()


class UnaryS16(Wide):
    """One value to one value, by two multipliers and a clamp."""

    name, header, like = "leaky_relu_s16", "sec_unary_s16.h", Requantize()
    kinds: tuple[str, ...] = ("RELU", "LEAKY_RELU")

    def refuses(self, program: Program, op: Op) -> str | None:
        if op.options.alpha < 0:
            return "a negative slope"
        return super().refuses(program, op)

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        positive, negative = self._pairs(program, op)
        low, high = self._range(program, op)
        params: Params = {
            "elements": program.tensors[op.outputs[0]].elements, "low": low, "high": high,
            "positive_multiplier": positive[0], "positive_shift": positive[1],
            "negative_multiplier": negative[0], "negative_shift": negative[1],
        }  # fmt: skip
        call = Call(f"sec_{self.name}", "sec_unary_s16_params", params, (Ref(op.inputs[0]),), Ref(op.outputs[0]))
        return (call,)

    def _pairs(self, program: Program, op: Op) -> tuple[tuple[int, int], tuple[int, int]]:
        return unary_pairs(program, op)

    def _range(self, program: Program, op: Op) -> tuple[int, int]:
        return (0 if op.kind == "RELU" else LOW), HIGH


class AbsS16(UnaryS16):
    name, kinds = "abs_s16", ("ABS",)

    def _pairs(self, program: Program, op: Op) -> tuple[tuple[int, int], tuple[int, int]]:
        x, out = (program.tensors[i] for i in (op.inputs[0], op.outputs[0]))
        return (UNIT, UNIT) if x.scale == out.scale else unary_pairs(program, op)


class RsqrtS16(Wide):
    name, header, kinds, like = "rsqrt_s16", "sec_rsqrt_s16.h", ("RSQRT",), Requantize()

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        multiplier, shift = rsqrt_pair(*(program.tensors[i] for i in (op.inputs[0], op.outputs[0])))
        params = {
            "elements": program.tensors[op.outputs[0]].elements, "multiplier": multiplier, "shift": shift - ROOT_BITS,
        }  # fmt: skip
        return (Call("sec_rsqrt_s16", "sec_rsqrt_s16_params", params, (Ref(op.inputs[0]),), Ref(op.outputs[0])),)


class ClampS16(UnaryS16):
    """RELU6 in its input's scale."""

    name, kinds = "clamp_s16", ("RELU6",)

    def refuses(self, program: Program, op: Op) -> str | None:
        return _refuse_scales(program, op.inputs, op) or super().refuses(program, op)

    def _pairs(self, program: Program, op: Op) -> tuple[tuple[int, int], tuple[int, int]]:
        return (0, 0), (0, 0)

    def _range(self, program: Program, op: Op) -> tuple[int, int]:
        return relu6_range(program.tensors[op.inputs[0]])


class PreluS16(Wide):
    """Slopes of int8."""

    name, header, kinds, like = "prelu_s16", "sec_unary_s16.h", Prelu.kinds, Prelu()

    def refuses(self, program: Program, op: Op) -> str | None:
        types = [program.tensors[i].dtype for i in (*op.inputs, op.outputs[0])]
        if types != ["int16", "int8", "int16"] or program.shape_only:
            return "types " + ", ".join(types)
        return "slopes are computed, not constant" if program.tensors[op.inputs[1]].data is None else None

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        alpha, out = (program.tensors[i] for i in (op.inputs[1], op.outputs[0]))
        assert alpha.data is not None
        identity, product = prelu_pairs(program, op)
        params: Params = {
            **dict(zip("nhwc", nhwc(out), strict=True)), "alpha_stride": strides(alpha, out),
            "alpha_offset": -alpha.zero_point, "identity_multiplier": identity[0], "identity_shift": identity[1],
            "alpha_multiplier": product[0], "alpha_shift": product[1],
        }  # fmt: skip
        arguments: Arguments = (Ref(op.inputs[0]), Constant("alpha", "int8_t", alpha.data))
        return (Call("sec_prelu_s16", "sec_prelu_s16_params", params, arguments, Ref(op.outputs[0])),)


def _refuse_output(out: Tensor) -> str | None:
    if out.quantization is not None and (out.scale != OUTPUT_SCALE or out.zero_point):
        return "an output scale other than 1/32768 with zero point 0"
    return None


class CurveS16(Wide):
    """LOGISTIC and TANH by the table of 256 values that LSTMs have too."""

    header, like = "sec_curve_s16.h", Requantize()

    def refuses(self, program: Program, op: Op) -> str | None:
        found = super().refuses(program, op) or _refuse_output(program.tensors[op.outputs[0]])
        if found is None and curve_scale(op.kind, program.tensors[op.inputs[0]].scale)[0] > HIGH:
            return "an input scale above 2.6"
        return found

    def constant_bytes(self, program: Program, op: Op) -> int:
        return 2 * len(SIGMOID)

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        multiplier, shift = curve_scale(op.kind, program.tensors[op.inputs[0]].scale)
        params = {"elements": program.tensors[op.outputs[0]].elements, "multiplier": multiplier, "shift": shift}
        arguments: Arguments = (Ref(op.inputs[0]), Constant("sigmoid", "uint16_t", SIGMOID))
        return (Call(f"sec_{self.name}", "sec_curve_s16_params", params, arguments, Ref(op.outputs[0])),)


class LogisticS16(CurveS16):
    name, kinds = "logistic_s16", ("LOGISTIC",)


class TanhS16(CurveS16):
    name, kinds = "tanh_s16", ("TANH",)


class SoftmaxS16(Wide):
    name, header, kinds, like = "softmax_s16", "sec_softmax_s16.h", Softmax.kinds, Softmax()

    def refuses(self, program: Program, op: Op) -> str | None:
        return super().refuses(program, op) or _refuse_output(program.tensors[op.outputs[0]])

    def constant_bytes(self, program: Program, op: Op) -> int:
        return sum(2 * len(table) for table in softmax_tables())

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        out = program.tensors[op.outputs[0]]
        multiplier, shift = softmax_pair(op, program.tensors[op.inputs[0]].scale)
        params = {"rows": out.elements // out.shape[-1], "depth": out.shape[-1], "multiplier": multiplier,
                  "shift": shift}  # fmt: skip
        exp_table, inverse_table = softmax_tables()
        arguments: Arguments = (
            Ref(op.inputs[0]),
            Constant("exp", "int16_t", exp_table),
            Constant("inverse", "int16_t", inverse_table),
        )
        return (Call("sec_softmax_s16", "sec_softmax_s16_params", params, arguments, Ref(op.outputs[0])),)


class PoolS16(Wide):
    header, both_ways = "sec_pool_s16.h", True
    like: Pool

    def refuses(self, program: Program, op: Op) -> str | None:
        if nhwc(program.tensors[op.inputs[0]])[0] != 1:
            return "batch above 1"
        return _refuse_scales(program, op.inputs, op) or super().refuses(program, op)

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        x, out, o = program.tensors[op.inputs[0]], program.tensors[op.outputs[0]], op.options
        _, in_h, in_w, c = nhwc(x)
        _, out_h, out_w, _ = nhwc(out)
        top, left = o.padding.top, o.padding.left
        if self.descending:  # what the last window's taps leave below and to the right of the input
            top = (out_h - 1) * o.stride[0] + o.kernel[0] - top - in_h
            left = (out_w - 1) * o.stride[1] + o.kernel[1] - left - in_w
        params: Params = {
            "in_h": in_h, "in_w": in_w, "c": c, "out_h": out_h, "out_w": out_w, "k_h": o.kernel[0],
            "k_w": o.kernel[1], "stride_h": o.stride[0], "stride_w": o.stride[1], "pad_top": top, "pad_left": left,
            "step": self.step, **clamp(program, op),
        }  # fmt: skip
        arguments, output = (self.whole(program, op.inputs[0]),), self.whole(program, op.outputs[0])
        return (Call(f"sec_{self.name}", "sec_pool_s16_params", params, arguments, output),)


class MaxPoolS16(PoolS16):
    name, kinds, like = "max_pool_s16", MaxPool.kinds, MaxPool()


class AveragePoolS16(PoolS16):
    name, kinds, like = "average_pool_s16", AveragePool.kinds, AveragePool()


class MaxPoolRepeatedS16(Repeated):
    name, header, kinds, one = "max_pool_repeated_s16", PoolS16.header, MaxPool.kinds, MaxPoolS16()


class AveragePoolRepeatedS16(Repeated):
    name, header, kinds, one = "average_pool_repeated_s16", PoolS16.header, AveragePool.kinds, AveragePoolS16()


class ReduceS16(Wide):
    """One output element after the other, each over all that it is made of."""

    header = "sec_reduce_s16.h"
    first = 0

    def refuses(self, program: Program, op: Op) -> str | None:
        x, out = program.tensors[op.inputs[0]], program.tensors[op.outputs[0]]
        if (x.dtype, out.dtype) != ("int16", "int16") or program.shape_only:
            return f"types {x.dtype}, {out.dtype}"
        return refuse_axes(program, op)

    def constant_bytes(self, program: Program, op: Op) -> int:
        return 0

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        found = walk_of(program, op)
        multiplier, shift = self._pair(program, op, found.count)
        params: Params = {**loops(found), "first": self.first, "multiplier": multiplier, "shift": shift}
        function = f"sec_{self.name}"
        return (Call(function, "sec_reduce_s16_params", params, (Ref(op.inputs[0]),), Ref(op.outputs[0])),)

    def _pair(self, program: Program, op: Op, count: int) -> tuple[int, int]:
        return 0, 0


class ReduceSumS16(ReduceS16):
    name, kinds, like = "reduce_sum_s16", ReduceSum.kinds, ReduceSum()

    def _pair(self, program: Program, op: Op, count: int) -> tuple[int, int]:
        pair = quantize_multiplier(program.tensors[op.inputs[0]].scale / program.tensors[op.outputs[0]].scale)
        return mean_multiplier(*pair, count) if op.kind == "MEAN" else pair


class ReduceExtremeS16(ReduceS16):
    """Compares quantized values: input and output have one scale."""

    def refuses(self, program: Program, op: Op) -> str | None:
        return _refuse_scales(program, op.inputs[:1], op) or super().refuses(program, op)


class ReduceMaxS16(ReduceExtremeS16):
    name, kinds, like, first = "reduce_max_s16", ReduceMax.kinds, ReduceMax(), LOW


class ReduceMinS16(ReduceExtremeS16):
    name, kinds, like, first = "reduce_min_s16", ReduceMin.kinds, ReduceMin(), HIGH


WIDE_ELEMENTWISE: tuple[Kernel, ...] = (
    AddS16(), SubS16(), MulS16(), SquaredDifferenceS16(), MaximumS16(), MinimumS16(), UnaryS16(), AbsS16(), ClampS16(),
    RsqrtS16(), PreluS16(), LogisticS16(), TanhS16(), SoftmaxS16(), MaxPoolS16(), AveragePoolS16(),
    MaxPoolRepeatedS16(), AveragePoolRepeatedS16(), ReduceSumS16(), ReduceMaxS16(), ReduceMinS16(),
)  # fmt: skip
