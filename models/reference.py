"""Our reference interpreter: the exact meaning of a Program, in plain numpy, one operator at a time.

It shares nothing with the C kernels but `fixed_point.py`, and is slow on purpose. The tests prove it equal to
TensorFlow Lite Micro; where TFLM's wheel does not exist it is the golden runtime.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from secateur.models.fixed_point import (
    activation_range,
    exp_negative,
    high_mul,
    one_over_one_plus,
    quantize_multiplier,
    requantize,
    rounding_shift_right,
    wrap32,
)
from secateur.models.program import DTYPES, Op, Program, Tensor, pack, unpack
from secateur.models.reference_float import compute_float, is_float, recurrent_float
from secateur.models.reference_gather import gather
from secateur.models.reference_int16 import RULES as INT16_RULES
from secateur.models.reference_int16 import limits, weighted
from secateur.models.reference_matrix import batch_matmul, transpose_conv, transpose_conv_sums
from secateur.models.reference_recurrent import lstm, svdf
from secateur.models.reference_reduction import arg_extreme, l2_normalization, reduce_extreme, reduce_sum
from secateur.models.reference_resize import resize_bilinear
from secateur.models.reference_types import cast, dequantize, quantize
from secateur.models.tables import TABLE_KINDS, table

Ints = npt.NDArray[np.int64]


def run_reference(program: Program, samples: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """Outputs (n, output bytes) of an exact Program for samples (n, input bytes), its calls in that order."""
    states = {s.before: s.initial for s in program.states}
    outputs = []
    for sample in samples:
        values = run_values(program, sample, states)
        states = {s.before: values[s.after] for s in program.states}
        outputs.append(pack(program, program.outputs, [values[i] for i in program.outputs]))
    return np.stack(outputs)


def run_values(
    program: Program,
    sample: npt.NDArray[np.int8],
    states: Mapping[int, npt.NDArray[Any]] | None = None,
    given: Mapping[int, npt.NDArray[Any]] | None = None,
) -> dict[int, npt.NDArray[Any]]:
    """Every activation of one inference, by tensor index. `sample`: the inputs as one piece of bytes.

    `states`: value of each state's `before`; the initial ones where None. `given`: activations that are not computed.
    """
    if states is None:
        states = {s.before: s.initial for s in program.states}
    values: dict[int, Any] = dict(states)
    values |= dict(zip(program.inputs, unpack(program, program.inputs, sample), strict=True))
    values |= given or {}
    for op in program.ops:
        if op.outputs[0] in values:
            continue
        operands = [values[i] if i in values else program.tensors[i].data if i >= 0 else None for i in op.inputs]
        found: tuple[npt.NDArray[Any], ...]
        if op.kind in _RECURRENT:
            found = (recurrent_float if is_float(program, op) else _RECURRENT[op.kind])(program, op, operands)
        else:
            found = (_compute(program, op, operands),)
        for i, value in zip(op.outputs, found, strict=True):
            out = program.tensors[i]
            values[i] = value.reshape(out.shape).astype(DTYPES[out.dtype])
    for s in program.states:  # a state may end as a constant
        values.setdefault(s.after, program.tensors[s.after].data)
    return values


def _compute(program: Program, op: Op, x: list[Any]) -> npt.NDArray[Any]:
    source, out = program.tensors[op.inputs[0]], program.tensors[op.outputs[0]]
    if is_float(program, op):
        return compute_float(program, op, x)
    if source.dtype == "int16":
        found = _int16(program, op, x, out)
        if found is not None:
            return found
    if op.kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
        return _weighted(program, op, x, source, out)
    if op.kind == "ADD":
        return _add(program, op, x, out)
    if op.kind == "MUL":
        a, b = (x[i].astype(np.int64) - program.tensors[op.inputs[i]].zero_point for i in (0, 1))
        real = program.tensors[op.inputs[0]].scale * program.tensors[op.inputs[1]].scale / out.scale
        return _finish(requantize(a * b, *quantize_multiplier(real)), op.options.activation, out)
    if op.kind in ("MAX_POOL_2D", "AVERAGE_POOL_2D"):
        return _pool(op, x[0], out)
    if op.kind in ("RESHAPE", "SQUEEZE", "EXPAND_DIMS"):
        return np.asarray(x[0])
    if op.kind == "CONCATENATION":
        return np.concatenate(x, axis=op.options.axis)
    if op.kind in ("PAD", "PADV2"):
        value = 0 if out.quantization is None else out.zero_point
        amounts = [(int(a), int(b)) for a, b in x[1]]
        return np.pad(x[0], amounts, constant_values=x[2].ravel()[0] if op.kind == "PADV2" else value)
    if op.kind == "STRIDED_SLICE":
        o = op.options
        ranges = zip(o.begin, out.shape, o.strides, strict=True)
        return np.asarray(x[0][np.ix_(*(b + s * np.arange(n) for b, n, s in ranges))])
    if op.kind == "QUANTIZE" and {source.dtype, out.dtype} != {"int8"}:
        return quantize(program, op, x)
    if op.kind in ("QUANTIZE", "RELU", "RELU6"):
        moved = requantize(x[0].astype(np.int64) - source.zero_point, *quantize_multiplier(source.scale / out.scale))
        return _finish(moved, "NONE" if op.kind == "QUANTIZE" else op.kind, out)
    if op.kind == "SOFTMAX":
        return _softmax(op, x[0], source)
    if op.kind in TABLE_KINDS:
        divisor = int(x[1].ravel()[0]) if op.kind == "DIV" else 0
        b = program.tensors[op.inputs[1]] if op.kind == "DIV" else None
        return np.asarray(table(op.kind, op.options, source, out, divisor, b)[x[0].astype(np.int64) + 128])
    if op.kind in ("SUB", "SQUARED_DIFFERENCE"):
        return _difference(program, op, x, out)
    if op.kind in ("MAXIMUM", "MINIMUM"):
        return np.asarray((np.maximum if op.kind == "MAXIMUM" else np.minimum)(x[0], x[1]), np.int64)
    if op.kind == "PRELU":
        return _prelu(program, op, x, out)
    if op.kind == "TRANSPOSE":
        return np.asarray(x[0].transpose(op.options.permutation))
    if op.kind == "BROADCAST_TO":
        return np.asarray(np.broadcast_to(x[0], out.shape))
    if op.kind == "TAKE":
        four = x[0].reshape((1,) * (4 - x[0].ndim) + x[0].shape)
        index = [np.arange(n) if t is None else t for n, t in zip(four.shape, x[1:], strict=True)]
        return np.asarray(four[np.ix_(*index)])
    if op.kind in _ELSEWHERE:
        return _ELSEWHERE[op.kind](program, op, x)
    raise AssertionError(f"no reference arithmetic for {op.kind}")


def _int16(program: Program, op: Op, x: list[Any], out: Tensor) -> Ints | None:
    """What is not the same for all types, of int16 activations."""
    if op.kind in INT16_RULES:
        return INT16_RULES[op.kind](program, op, x)
    if op.kind == "FULLY_CONNECTED":
        return weighted(program, op, x, lambda a, w: a.reshape(-1, w.shape[1]) @ w.T)
    if op.kind == "TRANSPOSE_CONV":
        return weighted(program, op, x, lambda a, w: transpose_conv_sums(program, op, a, w))
    if op.kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        return weighted(program, op, x, lambda a, w: _accumulate(op, a, w, out))
    assert op.kind in _SAME_IN_INT16, f"no reference arithmetic for {op.kind} of int16"
    return None


_SAME_IN_INT16 = (
    "MAX_POOL_2D", "AVERAGE_POOL_2D", "REDUCE_MAX", "REDUCE_MIN", "ARG_MAX", "ARG_MIN", "QUANTIZE", "DEQUANTIZE",
    "CAST", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "CONCATENATION", "PAD", "PADV2", "STRIDED_SLICE", "TRANSPOSE",
    "BROADCAST_TO", "TAKE", "GATHER",
)  # fmt: skip
"""Kinds that move or compare values, change their type, or find their limits in it."""


_ELSEWHERE: dict[str, Callable[[Program, Op, list[Any]], npt.NDArray[Any]]] = {
    "MEAN": reduce_sum, "SUM": reduce_sum, "REDUCE_MAX": reduce_extreme, "REDUCE_MIN": reduce_extreme,
    "ARG_MAX": arg_extreme, "ARG_MIN": arg_extreme, "L2_NORMALIZATION": l2_normalization,
    "RESIZE_BILINEAR": resize_bilinear, "BATCH_MATMUL": batch_matmul, "TRANSPOSE_CONV": transpose_conv,
    "DEQUANTIZE": dequantize, "CAST": cast, "GATHER": gather,
}  # fmt: skip
_RECURRENT: dict[str, Callable[[Program, Op, list[Any]], tuple[Ints, ...]]] = {
    "SVDF": svdf, "UNIDIRECTIONAL_SEQUENCE_LSTM": lstm,
}  # fmt: skip


def _finish(x: Ints, activation: str, out: Tensor) -> Ints:
    low, high = activation_range(activation, out.scale, out.zero_point)
    return np.clip(x + out.zero_point, low, high)


def _weighted(program: Program, op: Op, x: list[Any], source: Tensor, out: Tensor) -> Ints:
    weights = program.tensors[op.inputs[1]]
    assert weights.quantization is not None
    scales = np.asarray(weights.quantization.scale, np.float32)
    real = [float(np.float64(source.scale) * np.float64(s) / np.float64(out.scale)) for s in scales]
    pairs = np.array([quantize_multiplier(r) for r in real], np.int64)
    bias = x[2].astype(np.int64) if len(x) > 2 and x[2] is not None else 0
    if op.kind == "FULLY_CONNECTED":
        rows = x[0].astype(np.int64).reshape(-1, weights.shape[1]) - source.zero_point
        acc = wrap32(rows @ (x[1].astype(np.int64) - weights.zero_point).T + bias)
    else:
        acc = wrap32(_accumulate(op, x[0].astype(np.int64) - source.zero_point, x[1].astype(np.int64), out) + bias)
    return _finish(requantize(acc, pairs[:, 0], pairs[:, 1]), op.options.activation, out)


def _accumulate(op: Op, x: Ints, weights: Ints, out: Tensor) -> Ints:
    """Sums of products (n, out_h, out_w, out_c) of an input whose zero is 0."""
    o, (n, out_h, out_w, out_c) = op.options, out.shape
    p = o.padding
    x = np.pad(x, ((0, 0), (p.top, p.bottom), (p.left, p.right), (0, 0)))
    acc = np.zeros((n, out_h, out_w, out_c), np.int64)
    for ky in range(weights.shape[1]):
        for kx in range(weights.shape[2]):
            y, z = ky * o.dilation[0], kx * o.dilation[1]
            tap = x[
                :,
                y : y + (out_h - 1) * o.stride[0] + 1 : o.stride[0],
                z : z + (out_w - 1) * o.stride[1] + 1 : o.stride[1],
            ]
            if op.kind == "DEPTHWISE_CONV_2D":
                acc += np.repeat(tap, out_c // tap.shape[3], axis=3) * weights[0, ky, kx]
                continue
            groups = tap.shape[3] // weights.shape[3]
            for g, (part, w) in enumerate(
                zip(np.split(tap, groups, 3), np.split(weights[:, ky, kx], groups), strict=True)
            ):
                size = out_c // groups
                acc[..., g * size : (g + 1) * size] += part @ w.T
    return acc


def _add(program: Program, op: Op, x: list[Any], out: Tensor) -> Ints:
    a, b = (program.tensors[i] for i in op.inputs)
    twice = 2 * max(np.float64(a.scale), np.float64(b.scale))
    total: Any = 0
    for value, tensor in zip(x, (a, b), strict=True):
        shifted = (value.astype(np.int64) - tensor.zero_point) << 20
        total = total + requantize(shifted, *quantize_multiplier(float(tensor.scale / twice)))
    real = float(twice / ((1 << 20) * np.float64(out.scale)))
    return _finish(requantize(total, *quantize_multiplier(real)), op.options.activation, out)


def _difference(program: Program, op: Op, x: list[Any], out: Tensor) -> Ints:
    """SUB and SQUARED_DIFFERENCE: both operands on twice the larger scale, with 20 or 7 more bits."""
    a, b = (program.tensors[i] for i in op.inputs)
    square = op.kind == "SQUARED_DIFFERENCE"
    bits = 7 if square else 20
    twice = 2 * max(np.float64(a.scale), np.float64(b.scale))
    scaled = [
        requantize((v.astype(np.int64) - t.zero_point) << bits, *quantize_multiplier(float(t.scale / twice)))
        for v, t in zip(x, (a, b), strict=True)
    ]
    found = scaled[0] - scaled[1]
    real = twice * twice / ((1 << 2 * bits) * out.scale) if square else twice / ((1 << bits) * out.scale)
    rescaled = requantize(found * found if square else found, *quantize_multiplier(float(real)))
    return _finish(rescaled, op.options.activation, out)


def _prelu(program: Program, op: Op, x: list[Any], out: Tensor) -> Ints:
    source, slopes = (program.tensors[i] for i in op.inputs)
    value, alpha = x[0].astype(np.int64) - source.zero_point, x[1].astype(np.int64) - slopes.zero_point
    positive = requantize(value, *quantize_multiplier(float(np.float64(source.scale) / np.float64(out.scale))))
    real = float(np.float64(source.scale) * np.float64(slopes.scale) / np.float64(out.scale))
    return _finish(np.where(value >= 0, positive, requantize(value * alpha, *quantize_multiplier(real))), "NONE", out)


def _pool(op: Op, x: npt.NDArray[Any], out: Tensor) -> Ints:
    o = op.options
    found = np.zeros(out.shape, np.int64)
    for y in range(out.shape[1]):
        for z in range(out.shape[2]):
            y0, z0 = y * o.stride[0] - o.padding.top, z * o.stride[1] - o.padding.left
            window = x[:, max(0, y0) : y0 + o.kernel[0], max(0, z0) : z0 + o.kernel[1]].astype(np.int64)
            if op.kind == "MAX_POOL_2D":
                found[:, y, z] = window.max(axis=(1, 2))
            else:
                total, count = window.sum(axis=(1, 2)), window.shape[1] * window.shape[2]
                found[:, y, z] = np.sign(total) * ((np.abs(total) + count // 2) // count)
    low, high = activation_range(o.activation, out.scale, out.zero_point, *limits(out))
    return np.clip(found, low, high)


def _softmax(op: Op, x: npt.NDArray[np.int8], source: Tensor) -> Ints:
    """Fixed-point softmax: exponentials of Q5.26 differences, summed in Q12.19, reciprocal by Newton-Raphson."""
    real = min(op.options.beta * source.scale * (1 << 26), float((1 << 31) - 1))
    multiplier, left = quantize_multiplier(real)
    least = -math.floor(31 * (1 << 26) / (1 << left))
    rows = x.reshape(-1, x.shape[-1]).astype(np.int64)
    diff = rows - rows.max(axis=1, keepdims=True)
    far = np.arange(-255, 1)  # every difference of two int8 values: exponentials are looked up
    powers = np.where(far < least, 0, exp_negative(high_mul(np.maximum(far, least) << left, multiplier), 5))
    total = rounding_shift_right(powers, 12)[diff + 255].sum(axis=1, keepdims=True)
    # from a sum of 512 on TFLite's arithmetic ends; every output is less than half a step
    ends = total >= 1 << 28
    headroom = 32 - np.frexp(np.where(ends, 1, total).astype(np.float64))[1]  # frexp: the bit length of an integer
    scale = one_over_one_plus((total << headroom) - (1 << 31))
    exponent = 12 - headroom + 31 - 8
    found = np.minimum(127, rounding_shift_right(high_mul(powers[diff + 255], scale), exponent) - 128)
    return np.where((diff < least) | ends, -128, found)
