"""Functions of float32 made of single operations in a fixed order: what `sec_float.h` computes, bit for bit.

Every numpy operation here is one IEEE operation of single precision an element; nothing is summed by numpy itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

ONE, HALF, TWO = np.float32(1), np.float32(0.5), np.float32(2)
INVERSE_LN2 = np.float32(1.44269504)
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
LOWEST_NORMAL = np.float32(1.17549435e-38)
LARGEST = np.float32(np.finfo(np.float32).max)
EXP_TAIL: Floats = np.array(
    [0.00019845958740916103, 0.001394165214151144, 0.008333391509950161, 0.04166634753346443, 0.1666666567325592, 0.5],
    np.float32,
)
"""Of (exp(r) - 1 - r) / r^2 for |r| up to ln(2) / 2, highest power first."""
LOG_TAIL: Floats = np.array(
    [0.0674663856625557, -0.11675651371479034, 0.11888162791728973, -0.1240558922290802, 0.14219552278518677,
     -0.1666799634695053, 0.2000211924314499, -0.25000008940696716, 0.3333331346511841], np.float32,
)  # fmt: skip
"""Of (log(1 + f) - f + f^2 / 2) / f^3 for 1 + f from sqrt(1 / 2) to sqrt(2), highest power first."""
ERF_NEAR: Floats = np.array(
    [-1.5308414731407538e-05, 0.0002269727410748601, -0.0023726599756628275, 0.019946645945310593,
     -0.13298071920871735, 0.7978845834732056], np.float32,
)  # fmt: skip
"""Of erf(x / sqrt(2)) / x in x^2 up to 1, highest power first."""
ERFC_FAR: Floats = np.array(
    [-0.0007725640316493809, -0.0007079492206685245, 0.005916079971939325, 0.0023263299372047186,
     -0.04544420912861824, 0.09032703936100006, -0.03286510705947876, -0.1930534988641739, 0.9721115827560425],
    np.float32,
)  # fmt: skip
"""Of erfc(x / sqrt(2)) * exp(x^2 / 2) * (x + 1) in (x - 3) / (x + 3), x from 1 to 14.5, highest power first."""


def clamp(x: Floats, low: float, high: float) -> Floats:
    """What is no number stays none."""
    low32, high32 = np.float32(low), np.float32(high)
    x = np.where(x < low32, low32, x)
    return np.where(high32 < x, high32, x)


def exp(x: Floats) -> Floats:
    with np.errstate(all="ignore"):
        n, more = _exp_split(np.where(np.abs(x) < 105, x, np.float32(0)))
        half = np.sign(n) * (np.abs(n) // 2)
        found = (ONE + more) * _power_of_two(half) * _power_of_two(n - half)
        found = np.where(x < np.float32(-104), np.float32(0), found)
        found = np.where(x > np.float32(89), np.float32(np.inf), found)
        return np.where(np.isnan(x), x, found)


def exp_less_one(x: Floats) -> Floats:
    """exp(x) - 1 for x below 80."""
    with np.errstate(all="ignore"):
        n, more = _exp_split(np.where((x >= -18) & (x < 80), x, np.float32(0)))
        power = _power_of_two(n)
        found = more * power + (power - ONE)
        near = (x > np.float32(-1e-4)) & (x < np.float32(1e-4))
        found = np.where(near, x + HALF * (x * x), found)
        found = np.where(x < np.float32(-18), -ONE, found)
        return np.where(np.isnan(x), x, found)


def tanh(x: Floats) -> Floats:
    with np.errstate(all="ignore"):
        size = np.abs(x)
        e = exp_less_one(TWO * np.where(size < 10, size, np.float32(0)))
        found = np.where(size < HALF, e / (e + TWO), ONE - TWO / (e + TWO))
        found = np.where(size < 10, np.where(x < 0, -found, found), np.where(x > 0, ONE, -ONE))
        return np.where((size < np.float32(2e-4)) | np.isnan(x), x, found)


def logistic(x: Floats) -> Floats:
    """TensorFlow Lite's three pieces."""
    with np.errstate(all="ignore"):
        found = np.where(x < np.float32(-9), exp(x), ONE / (ONE + exp(-x)))
        return np.where(x > np.float32(16.6190472), ONE, found)


def log(x: Floats) -> Floats:
    with np.errstate(all="ignore"):
        tiny = x < LOWEST_NORMAL
        normal = np.where(tiny, x * np.float32(2**24), x)
        bits = normal.view(np.uint32)
        n = (bits >> np.uint32(23)).astype(np.int32) - 127 - 24 * tiny
        m = ((bits & np.uint32(0x7FFFFF)) | np.uint32(0x3F800000)).view(np.float32)
        above = m > np.float32(1.41421354)
        m, whole = np.where(above, m * HALF, m), (n + above).astype(np.float32)
        f = m - ONE
        square = f * f
        small = (_horner(LOG_TAIL, f) * f * square - HALF * square) + whole * LN2_LOW
        found = (f + small) + whole * LN2_HIGH
        found = np.where(x > LARGEST, x, found)
        return np.where(x > 0, found, np.where(x == 0, np.float32(-np.inf), np.float32(np.nan)))


def gelu(x: Floats) -> Floats:
    """x / 2 * erfc(-x / sqrt(2)): no digits of small outputs are lost."""
    with np.errstate(all="ignore"):
        size: Any = np.abs(x)
        near = ONE + x * _horner(ERF_NEAR, x * x)
        inside: Any = np.where((size >= 1) & (size < np.float32(14.5)), size, ONE)
        high: Any = (inside.view(np.uint32) & np.uint32(0xFFFFF000)).view(np.float32)  # its square is exact
        power = exp(-HALF * (high * high)) * exp(-HALF * ((inside - high) * (inside + high)))
        three = np.float32(3)
        far = power * (_horner(ERFC_FAR, (inside - three) / (inside + three)) / (inside + ONE))
        tail = np.where(size < np.float32(14.5), far, np.float32(0))
        gate = np.where(size >= 1, np.where(x < 0, tail, TWO - tail), near)
        return np.asarray(HALF * x * gate, np.float32)


def gelu_tanh(x: Floats) -> Floats:
    """x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))), by exp: no digits of small outputs are lost."""
    with np.errstate(all="ignore"):
        twice = np.float32(1.59576917) * (x + np.float32(0.044715) * (x * (x * x)))
        e = exp(-np.abs(twice))
        return np.asarray(x * (np.where(x < 0, e, ONE) / (ONE + e)), np.float32)


def sqrt(x: Floats) -> Floats:
    """IEEE's own, which is rounded once."""
    with np.errstate(all="ignore"):
        return np.where(x >= 0, np.sqrt(x), np.float32(np.nan))


def _exp_split(x: Floats) -> tuple[npt.NDArray[np.int32], Floats]:
    """(n, more) of exp(x) = 2^n * (1 + more)."""
    powers = x * INVERSE_LN2
    n = (powers + np.where(powers < 0, -HALF, HALF)).astype(np.int32)
    whole = n.astype(np.float32)
    r = (x - whole * LN2_HIGH) - whole * LN2_LOW
    return n, _horner(EXP_TAIL, r) * (r * r) + r


def _horner(coefficients: Floats, x: Floats) -> Floats:
    found: Any = coefficients[0]
    for c in coefficients[1:]:
        found = found * x + c
    return np.asarray(found, np.float32)


def _power_of_two(n: npt.NDArray[Any]) -> Floats:
    return ((np.asarray(n, np.int64) + 127) << 23).astype(np.uint32).view(np.float32)
