"""Mel-frequency cepstral coefficients: the orthonormal DCT-II of log-mel energies, in integers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from secateur.errors import UserError
from secateur.models.front_end.fft import Wide
from secateur.models.front_end.log_mel import MelFrames
from secateur.models.front_end.stage import Counts


@dataclass(frozen=True)
class Mfcc(MelFrames):
    """The first `coefficients` of the DCT. One count is the finest power of two at which none is out of range."""

    coefficients: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.coefficients <= self.bins:
            raise UserError(
                f"MFCC: {self.coefficients} coefficients of {self.bins} mel filters; choose 1 to {self.bins}"
            )

    @property
    def count(self) -> int:
        return self.coefficients

    @property
    def unit(self) -> float:
        # By Cauchy and Schwarz no coefficient is above sqrt(bins) times the largest logarithm.
        largest = max(abs(self.floor_count), abs(self.highest_count)) * self.log_unit * math.sqrt(self.bins) * 1.001
        return 2.0 ** math.ceil(math.log2(largest / 32767))

    @cached_property
    def cosine_bits(self) -> int:
        """A cosine of 1 is 2^this: the most with which the table is int16."""
        return math.floor(math.log2(32767 / np.abs(self._cosines).max()))

    @property
    def _cosines(self) -> npt.NDArray[np.float64]:
        k, m = np.arange(self.coefficients)[:, None], np.arange(self.bins)
        table = np.cos(np.pi / self.bins * (m + 0.5) * k) * math.sqrt(2 / self.bins)
        table[0] = math.sqrt(1 / self.bins)
        return np.asarray(table, np.float64)

    @cached_property
    def cosines(self) -> Wide:
        """(coefficients, bins)"""
        return np.asarray(np.rint(self._cosines * 2**self.cosine_bits), np.int64)

    @property
    def shift(self) -> int:
        """Bits from the sum of products down to one count of a coefficient."""
        return self.cosine_bits + round(math.log2(self.unit / self.log_unit))

    def rows(self, samples: Counts) -> Counts:
        sums = self.log_mel(samples).astype(np.int64) @ self.cosines.T
        rounded = (sums + (1 << (self.shift - 1))) >> self.shift
        return np.asarray(np.clip(rounded, -32768, 32767), np.int16)
