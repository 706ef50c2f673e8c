"""The fixed-point arithmetic of TensorFlow Lite's integer kernels, double rounding (gemmlowp).

One place for both sides: the code generator's constants and the reference interpreter's loops.
Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", 2018, section 2.2, and the behaviour of TFLite Micro that the tests compare with.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Int32 = npt.NDArray[np.int64]  # int32 values carried in int64, so that products cannot wrap unseen

INT32_MAX = (1 << 31) - 1


def quantize_multiplier(real: float) -> tuple[int, int]:
    """real = multiplier * 2**(shift - 31), multiplier in [2**30, 2**31), or (0, 0) for what rounds to 0.

    >>> quantize_multiplier(0.5)
    (1073741824, 0)
    """
    if real == 0.0:
        return 0, 0
    mantissa, shift = math.frexp(real)
    # Half away from zero, as C's round(): Python's rounds half to even.
    fixed = math.floor(mantissa * (1 << 31) + 0.5)
    if fixed == 1 << 31:
        fixed //= 2
        shift += 1
    if shift < -31:
        return 0, 0
    return fixed, shift


def high_mul(a: npt.NDArray[Any] | int, b: npt.NDArray[Any] | int) -> Int32:
    """SaturatingRoundingDoublingHighMul: round(a * b / 2**31), half away from zero for positives, int32 in."""
    product = np.asarray(a, dtype=np.int64) * b
    nudge = np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    total = product + nudge
    quotient = np.where(total >= 0, total >> 31, -((-total) >> 31))  # C division truncates towards zero
    return np.minimum(quotient, INT32_MAX)


def high_mul_int(a: int, b: int) -> int:
    """`high_mul` of two Python numbers, for loops whose every step needs the one before: no arrays are made.

    >>> high_mul_int(1 << 30, 1 << 30)
    536870912
    """
    product = a * b
    total = product + ((1 << 30) if product >= 0 else 1 - (1 << 30))
    return min(total >> 31 if total >= 0 else -(-total >> 31), INT32_MAX)


def rounding_shift_right(x: npt.NDArray[Any], exponent: npt.NDArray[Any] | int) -> Int32:
    """RoundingDivideByPOT: x / 2**exponent, ties away from zero."""
    x = np.asarray(x, dtype=np.int64)
    mask = (np.int64(1) << np.asarray(exponent, dtype=np.int64)) - 1
    threshold = (mask >> 1) + (x < 0)
    return np.asarray((x >> exponent) + ((x & mask) > threshold), dtype=np.int64)


def requantize(x: npt.NDArray[Any], multiplier: npt.NDArray[Any] | int, shift: npt.NDArray[Any] | int) -> Int32:
    """MultiplyByQuantizedMultiplier, the double-rounding one."""
    left = np.maximum(shift, 0)
    right = np.maximum(-np.asarray(shift), 0)
    shifted = wrap32(np.asarray(x, dtype=np.int64) << left)
    return rounding_shift_right(high_mul(shifted, multiplier), right)


def reduced_multiplier(multiplier: int) -> int:
    """A multiplier of 31 bits rounded to 15, as 64-bit sums take it."""
    return 0x7FFF if multiplier >= 0x7FFF0000 else (multiplier + (1 << 15)) >> 16


def requantize_wide(x: npt.NDArray[Any], multiplier: npt.NDArray[Any] | int, shift: npt.NDArray[Any] | int) -> Int32:
    """MultiplyByQuantizedMultiplier of an int64 below 2**47: a `reduced_multiplier`, one rounding, the low 32 bits."""
    right = 15 - np.asarray(shift, dtype=np.int64)
    return wrap32((np.asarray(x, dtype=np.int64) * multiplier + (np.int64(1) << (right - 1))) >> right)


def wrap32(x: npt.NDArray[Any]) -> Int32:
    """Two's-complement int32 wrap of an int64 array."""
    return ((np.asarray(x, dtype=np.int64) + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)


def activation_range(
    activation: str, scale: float, zero_point: int, low: int = -128, high: int = 127
) -> tuple[int, int]:
    """(lowest, highest) output of a fused activation in a type from `low` to `high`, in float32 as TFLite does."""

    def quantize(value: float) -> int:
        ratio = np.float32(value) / np.float32(scale)
        return zero_point + int(math.copysign(math.floor(abs(ratio) + np.float32(0.5)), ratio))

    if activation in ("RELU", "RELU6"):
        low = max(low, quantize(0.0))
    if activation == "RELU6":
        high = min(high, quantize(6.0))
    if activation == "RELU_N1_TO_1":
        low, high = max(low, quantize(-1.0)), min(high, quantize(1.0))
    return low, high


def exp_negative(a: npt.NDArray[Any], integer_bits: int) -> Int32:
    """exp(a) in Q0.31 for a <= 0 with `integer_bits` integer bits (4 or 5): Taylor around -1/8, then factors by bit."""
    fraction_bits = 31 - integer_bits
    quarter = 1 << (fraction_bits - 2)
    fraction = (a & (quarter - 1)) - quarter
    x = (fraction << integer_bits) + (1 << 28)
    x2 = high_mul(x, x)
    x3, x4 = high_mul(x2, x), high_mul(x2, x2)
    tail = rounding_shift_right(high_mul(rounding_shift_right(x4, 2) + x3, 715827883) + x2, 1)
    result = 1895147668 + high_mul(x + tail, 1895147668)
    remainder = fraction - a
    factors = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
    for k, factor in enumerate(factors[: integer_bits + 2]):
        result = np.where(remainder & (quarter << k), high_mul(result, factor), result)
    return np.where(a == 0, INT32_MAX, result)


def reciprocal_q2(x: npt.NDArray[Any]) -> Int32:
    """2 / (1 + x) in Q2.29 for x in [0, 1) in Q0.31, by three Newton-Raphson steps from 48/17 - 32/17 d."""
    half = (np.asarray(x, np.int64) + (1 << 31)) // 2
    y = 1515870810 + high_mul(half, -1010580540)
    for _ in range(3):
        error = (1 << 29) - high_mul(half, y)
        y = y + saturate32(high_mul(y, error) << 2)
    return y


def one_over_one_plus(x: npt.NDArray[Any]) -> Int32:
    """1 / (1 + x) in Q0.31 for x in [0, 1) in Q0.31."""
    return saturate32(reciprocal_q2(x) << 1)


def saturate32(x: npt.NDArray[Any]) -> Int32:
    """The nearest int32."""
    return np.clip(np.asarray(x, np.int64), -(1 << 31), INT32_MAX)
