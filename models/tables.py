"""Int8 functions of one int8 value as tables of 256 entries, bit for bit TensorFlow Lite Micro's reference arithmetic.

The compiler evaluates the arithmetic once for every possible input, so the device only looks values up. GELU is not in
TensorFlow Lite Micro: it follows LiteRT's reference kernel.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from secateur.models.fixed_point import (
    INT32_MAX,
    Int32,
    activation_range,
    exp_negative,
    high_mul_int,
    one_over_one_plus,
    quantize_multiplier,
    reciprocal_q2,
    requantize,
    rounding_shift_right,
    saturate32,
)
from secateur.models.program import Options, Tensor

INPUTS: Int32 = np.arange(-128, 128, dtype=np.int64)
ROOT_BITS = 20
"""More that RSQRT has of a root before it is rescaled."""
TABLE_KINDS = ("LOGISTIC", "TANH", "ELU", "GELU", "HARD_SWISH", "LEAKY_RELU", "ABS", "RSQRT", "DIV")
Q31 = 1 << 31


def table(kind: str, options: Options, x: Tensor, out: Tensor, divisor: int = 0, b: Tensor | None = None) -> Int32:
    """The int8 outputs for inputs -128..127, (256,).

    `divisor`, `b`: of DIV, the quantized constant that is divided by, and its tensor.
    """
    if kind != "DIV":
        return np.clip(_FUNCTIONS[kind](options, x, out), -128, 127)
    return np.clip(_div(x, out, divisor, b), *activation_range(options.activation, out.scale, out.zero_point))


def _logistic(options: Options, x: Tensor, out: Tensor) -> Int32:
    value, radius, q4 = _to_q4(x)
    positive = one_over_one_plus(exp_negative(-np.abs(q4), 4))
    q0 = np.where(q4 > 0, positive, INT32_MAX - positive)
    q0 = np.where(q4 == 0, 1 << 30, q0)
    inside = np.clip(rounding_shift_right(q0, 31 - 8) - 128, -128, 127)
    return np.where(value <= -radius, -128, np.where(value >= radius, 127, inside))


def _tanh(options: Options, x: Tensor, out: Tensor) -> Int32:
    value, radius, q4 = _to_q4(x)
    # tanh(-a) = -(1 - exp(-2a)) / (1 + exp(-2a)); doubling moves the binary point, the raw value stays
    e = exp_negative(-np.abs(q4), 5)
    negative = saturate32((reciprocal_q2(e) - (1 << 29)) << 2)
    q0 = np.where(q4 == 0, 0, np.where(q4 < 0, -negative, negative))
    inside = np.clip(rounding_shift_right(q0, 31 - 7), -128, 127)
    return np.where(value <= -radius, -128, np.where(value >= radius, 127, inside))


def _to_q4(x: Tensor) -> tuple[Int32, int, Int32]:
    """(input less its zero point, the radius beyond which the function is flat, the input in Q4.27)."""
    multiplier, shift = quantize_multiplier(float(x.scale) * (1 << 27))
    value = INPUTS - x.zero_point
    radius = math.floor(15 * (1 << 27) / 2.0**shift)
    inside = np.clip(value, -radius, radius)
    return value, radius, requantize(inside, multiplier, shift)


def _by_float(function: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]) -> Callable[..., Int32]:
    """A kernel that fills its table in float32."""

    def fill(options: Options, x: Tensor, out: Tensor) -> Int32:
        real = np.float32(x.scale) * (INPUTS - x.zero_point).astype(np.float32)
        scaled = function(real).astype(np.float32) * (np.float32(1) / np.float32(out.scale))
        return np.asarray(_half_away(scaled) + out.zero_point, np.int64)

    return fill


def _half_away(x: npt.NDArray[np.float32]) -> Int32:
    return np.asarray(np.where(x < 0, np.ceil(x - np.float32(0.5)), np.floor(x + np.float32(0.5))), np.int64)


def _elu(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.asarray(np.where(x < 0, np.expm1(np.minimum(x, 0).astype(np.float64)), x), np.float32)


def _gelu(options: Options, x: Tensor, out: Tensor) -> Int32:
    def exact(v: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        half = np.array([0.5 * (1 + math.erf(float(t) * math.sqrt(0.5))) for t in v])
        return np.asarray(v * half, np.float32)

    def approximate(v: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        w = v.astype(np.float64)
        return np.asarray(0.5 * w * (1 + np.tanh(math.sqrt(2 / math.pi) * (w + 0.044715 * w**3))), np.float32)

    return _by_float(approximate if options.approximate else exact)(options, x, out)


def _hard_swish(options: Options, x: Tensor, out: Tensor) -> Int32:
    """x * relu6(x + 3) / 6 in 16-bit fixed point, the input with 7 more bits."""
    hires_scale = x.scale / 128.0
    out_multiplier, out_shift = quantize_multiplier(hires_scale / out.scale)
    relu_multiplier, relu_shift = quantize_multiplier(hires_scale / (3.0 / 32768.0))
    hires = (INPUTS - x.zero_point) << 7
    preshift = _high_mul16(hires, _narrow(out_multiplier))
    gate = hires
    if relu_shift > 0:
        gate = np.clip(gate << (relu_shift - 1), -32768, 32767)
    gate = _high_mul16(gate, _narrow(relu_multiplier))
    if relu_shift > 0:
        gate = np.clip(gate << 1, -32768, 32767)
    if relu_shift < 0:
        gate = rounding_shift_right(gate, -relu_shift)
    gate = (gate + 32768) >> 1
    product = gate * preshift
    found = np.where(product >= 0, product >> 15, -((-product) >> 15))  # C's division truncates
    if out_shift > 0:
        return np.asarray(np.clip(found << out_shift, -32768, 32767) + out.zero_point, np.int64)
    return rounding_shift_right(found, -out_shift) + out.zero_point


def _narrow(multiplier: int) -> int:
    """An int32 multiplier rounded to 16 bits."""
    return 32767 if multiplier >= INT32_MAX - (1 << 15) else (multiplier + (1 << 15)) >> 16


def _high_mul16(a: Int32, b: int) -> Int32:
    product = a * b
    total = product + np.where(product >= 0, 1 << 14, 1 - (1 << 14))
    return np.minimum(np.where(total >= 0, total >> 15, -((-total) >> 15)), 32767)


def _leaky_relu(options: Options, x: Tensor, out: Tensor) -> Int32:
    identity = quantize_multiplier(x.scale / out.scale)
    alpha = quantize_multiplier(x.scale * options.alpha / out.scale)
    value = INPUTS - x.zero_point
    return np.where(value >= 0, requantize(value, *identity), requantize(value, *alpha)) + out.zero_point


def _abs(options: Options, x: Tensor, out: Tensor) -> Int32:
    value = np.abs(INPUTS - x.zero_point)
    if x.scale != out.scale:
        value = requantize(value, *quantize_multiplier(x.scale / out.scale))
    return value + out.zero_point


def _rsqrt(options: Options, x: Tensor, out: Tensor) -> Int32:
    """1 / sqrt(x); the largest value where x is not positive (TensorFlow Lite Micro stops there)."""
    return rsqrt(INPUTS - x.zero_point, rsqrt_pair(x, out), 127 - out.zero_point) + out.zero_point


def rsqrt_pair(x: Tensor, out: Tensor) -> tuple[int, int]:
    """(multiplier, shift) of RSQRT's integer result; nothing is rounded to single precision on the way."""
    return quantize_multiplier(1 / (math.sqrt(x.scale) * out.scale))


def rsqrt(x: Int32, pair: tuple[int, int], largest: int) -> Int32:
    """1 / sqrt(x) rescaled, `largest` where x is not positive."""
    found = {}
    for value in np.unique(x).tolist():
        inverse, shift = inverse_sqrt(value)
        root = requantize(np.array([1]), inverse, shift + ROOT_BITS)
        found[value] = int(requantize(root, pair[0], pair[1] - ROOT_BITS)[0]) if value > 0 else largest
    return np.array([found[value] for value in x.ravel().tolist()], np.int64).reshape(x.shape)


def inverse_sqrt(value: int) -> tuple[int, int]:
    """(multiplier, shift) of 1 / sqrt(value), five Newton-Raphson steps in Q3.28."""
    if value <= 1:
        return INT32_MAX, 0
    shift = 11
    while value >= 1 << 29:
        value //= 4
        shift += 1
    pairs = (32 - value.bit_length() - 1) // 2 - 1
    shift -= pairs
    value <<= 2 * pairs
    x_in = value >> 1
    half_in = int(rounding_shift_right(np.array(x_in), 1))
    x = 1 << 28
    for _ in range(5):
        cubed = _rescale(high_mul_int(high_mul_int(x, x), x), 9, 3)
        x = _rescale(high_mul_int((1 << 28) + (1 << 27), x) - high_mul_int(half_in, cubed), 6, 3)
    x = high_mul_int(x, 1518500250)
    if shift < 0:
        x <<= -shift
        shift = 0
    return x, -shift


def _rescale(x: int, bits: int, wanted: int) -> int:
    """From `bits` integer bits to `wanted` fewer, saturating."""
    return max(-Q31, min(INT32_MAX, x << (bits - wanted)))


def _div(x: Tensor, out: Tensor, divisor: int, b: Tensor | None) -> Int32:
    """x / divisor; 0 is refused before."""
    assert b is not None and divisor != b.zero_point, "a divisor of 0"
    real = float(np.float64(x.scale) / (np.float64(b.scale) * np.float64(out.scale)))
    multiplier, shift = quantize_multiplier(real)
    value, by = INPUTS - x.zero_point, divisor - b.zero_point
    if by < 0:
        value, by = -value, -by
    leading = 32 - by.bit_length()
    bits_over_unit = 31 - leading
    inverse = int(one_over_one_plus(np.array((by << leading) - Q31))[()])
    found = []
    for v in value.tolist():
        headroom = _headroom(v)
        quotient = high_mul_int(v << headroom, inverse)
        total_shift = shift - bits_over_unit - headroom
        product = high_mul_int(quotient, multiplier)
        found.append(int(rounding_shift_right(np.array(product), -total_shift)) + out.zero_point)
    return np.array(found, np.int64)


def _headroom(value: int) -> int:
    """Leading bits of an int32 that equal its sign, less the sign itself."""
    return 31 - (value if value >= 0 else ~value).bit_length()


def div_shift(x: Tensor, out: Tensor, divisor: int, b: Tensor) -> int:
    """The least total shift of DIV for any input but 0: below -31 TFLite's C has no defined result."""
    _, shift = quantize_multiplier(float(np.float64(x.scale) / (np.float64(b.scale) * np.float64(out.scale))))
    by = divisor - b.zero_point
    values = (INPUTS - x.zero_point) * (1 if by > 0 else -1)
    return shift - (abs(by).bit_length() - 1) - max(_headroom(v) for v in values.tolist() if v)


_FUNCTIONS: dict[str, Callable[[Options, Tensor, Tensor], Int32]] = {
    "LOGISTIC": _logistic, "TANH": _tanh, "ELU": _by_float(_elu), "GELU": _gelu, "HARD_SWISH": _hard_swish,
    "LEAKY_RELU": _leaky_relu, "ABS": _abs, "RSQRT": _rsqrt,
}  # fmt: skip
