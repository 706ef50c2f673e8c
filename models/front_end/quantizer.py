"""Counts to the network's int8 input, in integers: unit, mean, std, scale and zero point are one multiplication."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from secateur.models.front_end.stage import Counts

MULTIPLIER_BITS = 31
LARGEST_SHIFT = 46  # a 16-bit count times 31 bits, and a bias of as much, or of 10 bits above the shift, fit 63
RANGES = {"int8": (-128, 127), "uint8": (0, 255)}


@dataclass(frozen=True)
class Quantizer:
    """q = clamp(floor((count * multiplier + bias) / 2^shift)), one multiplier and bias for all or one a column.

    `bias` holds the mean, the zero point and the half that makes floor a rounding (half towards +infinity).
    """

    multiplier: tuple[int, ...]
    bias: tuple[int, ...]
    shift: int
    low: int = -128
    high: int = 127

    def __call__(self, counts: Counts) -> npt.NDArray[np.generic]:
        """(..., width) counts to integers of the input's type, same shape."""
        product = counts.astype(np.int64) * np.asarray(self.multiplier, np.int64) + np.asarray(self.bias, np.int64)
        dtype = np.int8 if self.low < 0 else np.uint8
        return np.asarray(np.clip(product >> self.shift, self.low, self.high), dtype)


def make_quantizer(
    unit: Sequence[float], mean: Sequence[float], std: Sequence[float], scale: float, zero_point: int, dtype: str
) -> Quantizer:
    """The map of count -> (count * unit - mean) / std -> real / scale + zero_point.

    Each of `unit`, `mean` and `std` has one value or one a column; the shift is the same for all columns.
    """
    width = max(len(unit), len(mean), len(std))
    units, means, stds = (np.broadcast_to(np.asarray(v, np.float64), (width,)) for v in (unit, mean, std))
    slopes = units / (stds * scale)
    offsets = zero_point - means / (stds * scale)
    largest = float(np.abs(slopes).max())
    if math.frexp(largest)[0] == 0.5 and (slopes == largest).all():
        shift = min(LARGEST_SHIFT, max(0, 8 - math.frexp(largest)[1]))  # a power of two: exact, however short
    else:
        shift = min(LARGEST_SHIFT, max(0, MULTIPLIER_BITS - math.frexp(largest)[1]))
    if round(largest * (1 << shift)) >= 1 << MULTIPLIER_BITS:  # rounded up to a power of two
        shift -= 1
    limit = largest * (1 << 15) + (1 << 10)  # beyond what any count reaches: a larger offset saturates all the same
    half = (1 << shift) >> 1
    low, high = RANGES[dtype]
    return Quantizer(
        tuple(round(float(s) * (1 << shift)) for s in slopes),
        tuple(round(float(np.clip(o, -limit, limit)) * (1 << shift)) + half for o in offsets),
        shift, low, high,
    )  # fmt: skip
