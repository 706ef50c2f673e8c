"""Reference arithmetic of int16 activations ("16x8": int8 weights): TFLite Micro's, or LiteRT's where that lacks it.

Zero points are 0. Sums of products are 64 bits wide and rescaled with a multiplier of 15 bits, unless the bias is
int32: then they wrap in 32 bits and are rescaled as int8's are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from secateur.models.fixed_point import (
    activation_range,
    quantize_multiplier,
    reduced_multiplier,
    requantize,
    requantize_wide,
    wrap32,
)
from secateur.models.program import Op, Program, Tensor
from secateur.models.reference_recurrent import sigmoid16, tanh16
from secateur.models.reference_reduction import mean_multiplier
from secateur.models.tables import rsqrt, rsqrt_pair

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
LOW, HIGH = -32768, 32767
SUM_LIMIT = 1 << 47
"""Below it a 64-bit sum may be rescaled."""


def finish(program: Program, op: Op, x: Ints) -> Ints:
    """Clamped to the fused activation."""
    out = program.tensors[op.outputs[0]]
    low, high = activation_range(op.options.activation, out.scale, 0, LOW, HIGH)
    return np.asarray(np.clip(x, low, high), np.int64)


def sums_wrap(program: Program, op: Op) -> bool:
    """Sums are 32 bits wide: the bias is int32."""
    return len(op.inputs) > 2 and op.inputs[2] >= 0 and program.tensors[op.inputs[2]].dtype == "int32"


def weighted_pairs(program: Program, op: Op) -> list[tuple[int, int]]:
    """(multiplier, shift), one a weight scale; multipliers of wide sums are reduced."""
    x, weights, out = (program.tensors[i] for i in (op.inputs[0], op.inputs[1], op.outputs[0]))
    assert weights.quantization is not None
    scales = np.asarray(weights.quantization.scale, np.float32)
    products = np.float64(x.scale) * scales.astype(np.float64)
    pairs = [quantize_multiplier(float(p / np.float64(out.scale))) for p in products]
    return pairs if sums_wrap(program, op) else [(reduced_multiplier(m), s) for m, s in pairs]


def weighted(program: Program, op: Op, x: list[Any], sums: Callable[[Ints, Ints], Ints]) -> Ints:
    """CONV_2D, DEPTHWISE_CONV_2D, TRANSPOSE_CONV, FULLY_CONNECTED; `sums` multiplies input and weights."""
    acc = sums(x[0].astype(np.int64), x[1].astype(np.int64))
    if len(x) > 2 and x[2] is not None:
        acc = acc + x[2].astype(np.int64)
    multiplier, shift = np.array(weighted_pairs(program, op), np.int64).T
    if sums_wrap(program, op):
        return finish(program, op, requantize(wrap32(acc), multiplier, shift))
    return finish(program, op, requantize_wide(acc, multiplier, shift))


def batch_matmul(program: Program, op: Op, x: list[Any]) -> Ints:
    """Matrix products."""
    left, right = (
        np.swapaxes(v.astype(np.int64), -1, -2) if adjoint else v.astype(np.int64)
        for v, adjoint in zip(x, op.options.adjoint, strict=True)
    )
    multiplier, shift = matmul_pair(program, op)
    return finish(program, op, requantize_wide(left @ right, multiplier, shift))


def matmul_pair(program: Program, op: Op) -> tuple[int, int]:
    a, b, out = (program.tensors[i] for i in (*op.inputs[:2], op.outputs[0]))
    multiplier, shift = quantize_multiplier(float(np.float64(a.scale) * np.float64(b.scale) / np.float64(out.scale)))
    return reduced_multiplier(multiplier), shift


# -- two operands


def binary_pairs(program: Program, op: Op) -> dict[str, tuple[int, int]]:
    """(multiplier, shift) of each operand, a and b, and of the output; operands of MUL are not rescaled."""
    a, b, out = (np.float64(program.tensors[i].scale) for i in (*op.inputs, *op.outputs))
    if op.kind == "MUL":
        return {"a": (0, 0), "b": (0, 0), "output": quantize_multiplier(float(a * b / out))}
    twice = 2 * max(a, b)
    real = twice * twice / out if op.kind == "SQUARED_DIFFERENCE" else twice / ((1 << LEFT_SHIFT[op.kind]) * out)
    found = {"a": a / twice, "b": b / twice, "output": real}
    return {role: quantize_multiplier(float(value)) for role, value in found.items()}


LEFT_SHIFT = {"ADD": 15, "SUB": 15, "SQUARED_DIFFERENCE": 0, "MUL": 0}


def binary(program: Program, op: Op, x: list[Any]) -> Ints:
    """ADD, SUB, MUL, SQUARED_DIFFERENCE."""
    pairs = binary_pairs(program, op)
    a, b = (v.astype(np.int64) for v in x)
    if op.kind == "MUL":
        found = a * b
    else:
        a, b = (requantize(v << LEFT_SHIFT[op.kind], *pairs[role]) for v, role in ((a, "a"), (b, "b")))
        found = a + b if op.kind == "ADD" else a - b
        found = found * found if op.kind == "SQUARED_DIFFERENCE" else found
    return finish(program, op, requantize(found, *pairs["output"]))


def extreme(program: Program, op: Op, x: list[Any]) -> Ints:
    """MAXIMUM and MINIMUM."""
    return np.asarray((np.maximum if op.kind == "MAXIMUM" else np.minimum)(x[0], x[1]), np.int64)


# -- one operand


def unary_pairs(program: Program, op: Op) -> tuple[tuple[int, int], tuple[int, int]]:
    """(multiplier, shift) of positive and of negative values."""
    x, out = (np.float64(program.tensors[i].scale) for i in (op.inputs[0], op.outputs[0]))
    positive = quantize_multiplier(float(x / out))
    return positive, quantize_multiplier(float(x * op.options.alpha / out)) if op.kind == "LEAKY_RELU" else positive


def unary(program: Program, op: Op, x: list[Any]) -> Ints:
    """RELU, LEAKY_RELU and ABS: rescaled, negative values their own way."""
    source, out = program.tensors[op.inputs[0]], program.tensors[op.outputs[0]]
    value = x[0].astype(np.int64)
    if op.kind == "ABS":
        value = np.abs(value)
        if source.scale == out.scale:
            return np.asarray(np.clip(value, LOW, HIGH), np.int64)
    positive, negative = unary_pairs(program, op)
    found = np.where(value >= 0, requantize(value, *positive), requantize(value, *negative))
    return np.asarray(np.clip(found, 0 if op.kind == "RELU" else LOW, HIGH), np.int64)


def inverse_root(program: Program, op: Op, x: list[Any]) -> Ints:
    """RSQRT; the largest value where x is not positive (TensorFlow Lite Micro stops at negative ones)."""
    pair = rsqrt_pair(*(program.tensors[i] for i in (op.inputs[0], op.outputs[0])))
    return np.asarray(np.clip(rsqrt(x[0].astype(np.int64), pair, HIGH), LOW, HIGH), np.int64)


def relu6_range(x: Tensor) -> tuple[int, int]:
    """Where RELU6 clamps."""
    return activation_range("RELU6", x.scale, 0, LOW, HIGH)


def relu6(program: Program, op: Op, x: list[Any]) -> Ints:
    """Clamped in the input's scale."""
    low, high = relu6_range(program.tensors[op.inputs[0]])
    return np.asarray(np.clip(x[0].astype(np.int64), low, high), np.int64)


def prelu_pairs(program: Program, op: Op) -> tuple[tuple[int, int], tuple[int, int]]:
    x, alpha, out = (np.float64(program.tensors[i].scale) for i in (*op.inputs, *op.outputs))
    return quantize_multiplier(float(x / out)), quantize_multiplier(float(x * alpha / out))


def prelu(program: Program, op: Op, x: list[Any]) -> Ints:
    """Slopes of int8."""
    value, alpha = x[0].astype(np.int64), x[1].astype(np.int64) - program.tensors[op.inputs[1]].zero_point
    identity, product = prelu_pairs(program, op)
    found = np.where(value >= 0, requantize(value, *identity), requantize(value * alpha, *product))
    return np.asarray(np.clip(found, LOW, HIGH), np.int64)


def curve_scale(kind: str, scale: float) -> tuple[int, int]:
    """(multiplier, right shift) that bring an input of LOGISTIC or TANH to the table's 1/3 * 2^-12.

    A power of two near 2^-12 (TANH: or 2^-11) is taken as that power; others are cut off to 15 bits.
    """
    log2 = np.float32(math.log(np.float32(scale))) * np.float32(np.float32(1) / np.float32(math.log(2.0)))
    whole = int(math.copysign(math.floor(abs(float(log2)) + 0.5), float(log2)))
    left = 12 + whole
    if abs(np.float32(log2) - np.float32(whole)) < np.float32(1e-3) and (left == 0 or (kind == "TANH" and left == 1)):
        return 3 << left, 0
    multiplier, shift = float(np.float32(scale)) * 4096.0 * 3.0, 0
    while multiplier <= 32767.0 / 2.0 and shift <= 30:
        shift += 1
        multiplier *= 2.0
    return int(multiplier), shift


def curve(program: Program, op: Op, x: list[Any]) -> Ints:
    """LOGISTIC and TANH: sigmoid's table, linear in between."""
    pair = curve_scale(op.kind, program.tensors[op.inputs[0]].scale)
    return (sigmoid16 if op.kind == "LOGISTIC" else tanh16)(x[0].astype(np.int64), *pair)


# -- softmax


def lookup_table(function: Callable[[Floats], Floats], top: float, least: float, out_top: float) -> Ints:
    """`function` at 513 places from `least` to `top`, in 16 bits of a range up to `out_top`, all in float32.

    Halfway between two places the straight line is off the curve; half of that is taken off the first of them.
    """
    step = (np.float32(top) - np.float32(least)) / np.float32(512)
    half = step / np.float32(2)
    places = np.float32(least) + np.arange(513, dtype=np.float32) * step
    scale = np.float32(65536) / np.float32(np.float32(out_top) * HIGH - np.float32(out_top) * LOW)
    values = function(places) * scale
    first, following = _half_away(values[:-1]), values[1:]
    line = _half_away((following + first) / np.float32(2))
    middle = _half_away(function(places[:-1] + half) * scale)
    found = first - _half_away((line - middle) / np.float32(2))
    last = _half_away(function(np.array([top], np.float32)) * scale)
    return np.asarray(np.clip(np.concatenate([found, last]), LOW, HIGH), np.int64)


def _half_away(x: Floats) -> Floats:
    return np.asarray(np.copysign(np.floor(np.abs(x.astype(np.float64)) + 0.5), x), np.float32)


@cache
def softmax_tables() -> tuple[Ints, Ints]:
    """(exp from -10 to 0, 1 / (1 + x) from 0 to 1), each 513 values in Q0.15."""
    ten, one, two = (np.float32(n) / np.float32(65535) for n in (10, 1, 2))

    def exp(x: Floats) -> Floats:
        return np.exp(x.astype(np.float64)).astype(np.float32)

    def inverse(x: Floats) -> Floats:
        return np.asarray(np.float32(1) / (np.float32(1) + x), np.float32)

    return (
        lookup_table(exp, float(ten * np.float32(0)), float(ten * np.float32(-65535)), float(two)),
        lookup_table(inverse, float(one * np.float32(65535)), 0.0, float(two)),
    )


def look_up(value: Ints, table: Ints) -> Ints:
    """Of int16 values: nine bits find the place, seven the point on the line to the next."""
    index = 256 + (value >> 7)
    slope = table[index + 1] - table[index]
    return np.asarray(table[index] + ((slope * (value & 0x7F) + 64) >> 7), np.int64)


SOFTMAX_STEPS = 65535.0 / 10.0
"""Of the table of exponentials, in a difference of 1."""


def softmax_pair(op: Op, scale: float) -> tuple[int, int]:
    """(multiplier, shift) that bring a difference to 10 / 65535."""
    return quantize_multiplier(float(np.float64(scale) * np.float64(op.options.beta) / (10.0 / 65535.0)))


def softmax(program: Program, op: Op, x: list[Any]) -> Ints:
    """Exponentials of differences and the reciprocal of their sum from two tables."""
    pair = softmax_pair(op, program.tensors[op.inputs[0]].scale)
    exp_table, inverse_table = softmax_tables()
    rows = x[0].astype(np.int64).reshape(-1, x[0].shape[-1])
    scaled = requantize(rows - rows.max(axis=1, keepdims=True), *pair)
    powers = look_up(np.clip(scaled + HIGH, LOW, HIGH), exp_table)
    found = np.zeros_like(rows)
    for row, result in zip(powers, found, strict=True):
        total = int(row.sum())
        headroom = 32 - total.bit_length()
        shifted = ((total << (headroom - 1)) + (1 << 13)) >> 14
        inverse = look_up(np.clip(np.array(shifted - 3 * (1 << 15)), LOW, HIGH), inverse_table)
        right = 31 - headroom
        result[:] = np.clip((row * inverse + (1 << (right - 1))) >> right, 0, HIGH)
    return np.asarray(found, np.int64)


# -- reductions


def reduce_sum(program: Program, op: Op, x: list[Any]) -> Ints:
    """SUM and MEAN over any axes."""
    over = tuple(sorted({int(a) % x[0].ndim for a in x[1].ravel()}))
    count = int(np.prod([x[0].shape[a] for a in over], dtype=np.int64))
    pair = quantize_multiplier(program.tensors[op.inputs[0]].scale / program.tensors[op.outputs[0]].scale)
    if op.kind == "MEAN":
        pair = mean_multiplier(*pair, count)
    total = x[0].astype(np.int64).sum(axis=over)
    return np.asarray(np.clip(requantize(total, *pair), LOW, HIGH), np.int64)


Rule = Callable[[Program, Op, list[Any]], Ints]
RULES: dict[str, Rule] = {
    "BATCH_MATMUL": batch_matmul, "ADD": binary, "SUB": binary, "MUL": binary, "SQUARED_DIFFERENCE": binary,
    "MAXIMUM": extreme, "MINIMUM": extreme, "RELU": unary, "LEAKY_RELU": unary, "ABS": unary, "RELU6": relu6,
    "RSQRT": inverse_root,
    "PRELU": prelu, "LOGISTIC": curve, "TANH": curve, "SOFTMAX": softmax, "SUM": reduce_sum, "MEAN": reduce_sum,
}  # fmt: skip
"""Operators with weights and pools are in reference.py, which shares their loops."""


def limits(tensor: Tensor) -> tuple[int, int]:
    """The type's own, of int8 or int16."""
    return (LOW, HIGH) if tensor.dtype == "int16" else (-128, 127)
