"""Another sample rate by a causal polyphase filter with integer taps."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import gcd

import numpy as np
import numpy.typing as npt

from secateur.errors import UserError
from secateur.models.front_end.stage import Counts

TAP_BITS = 14
"""Where up > down a tap is 1.0, which is out of int16's range in Q15."""
LARGEST = 512
"""`up` and `down` at most: a phase each of `up` is a row of the table."""
TOLERANCE = Fraction(1, 100_000)
"""Of a ratio of rates: less than a quartz is off."""


@dataclass(frozen=True)
class Resample:
    """Output m is sum(taps[p, k] * input[m * down // up - k]) with p = m * down % up, rounded half up, saturated.

    A sinc cut off at the lower of the two Nyquist frequencies, in a Kaiser window that reaches `zero_crossings` to
    each side and damps what lies beyond by `attenuation_db`. The taps of each phase sum to exactly 1: a constant
    signal stays what it is.
    """

    up: int
    down: int
    zero_crossings: int = 12
    attenuation_db: float = 60.0

    def __post_init__(self) -> None:
        if not (1 <= self.up <= LARGEST and 1 <= self.down <= LARGEST) or gcd(self.up, self.down) != 1:
            raise UserError(f"resample {self.up}/{self.down}: give a reduced fraction of integers 1 to {LARGEST}")
        if not (1 <= self.zero_crossings <= 64 and 21 <= self.attenuation_db <= 90):
            raise UserError(
                f"resample: zero-crossings {self.zero_crossings}, attenuation {self.attenuation_db} dB; "
                "they range from 1 to 64 and from 21 to 90"
            )

    @property
    def delay(self) -> float:
        """Group delay in input samples: the middle of the filter."""
        return self.zero_crossings * max(self.up, self.down) / self.up

    @property
    def most(self) -> int:
        """Output samples that one input sample completes, at most."""
        return -(-self.up // self.down)

    @cached_property
    def taps(self) -> npt.NDArray[np.int16]:
        """(up, taps a phase), the newest sample's first."""
        half = self.zero_crossings * max(self.up, self.down)
        at = np.arange(-half, half + 1)
        a = self.attenuation_db  # Kaiser's formula for beta, of the damping
        beta = 0.1102 * (a - 8.7) if a > 50 else 0.5842 * (a - 21) ** 0.4 + 0.07886 * (a - 21)
        whole = np.sinc(at / max(self.up, self.down)) * np.kaiser(len(at), beta)
        padded = np.concatenate([whole, np.zeros(-len(whole) % self.up)])
        phases = padded.reshape(-1, self.up).T
        exact = phases / phases.sum(axis=1, keepdims=True) * (1 << TAP_BITS)
        taps = np.rint(exact).astype(np.int64)
        for row, wanted in zip(taps, exact, strict=True):
            # What rounding left over goes, one each, to the taps that it moved furthest.
            missing = (1 << TAP_BITS) - int(row.sum())
            order = np.argsort((row - wanted) * np.sign(missing), kind="stable")
            row[order[: abs(missing)]] += np.sign(missing)
        # Full scale against every sign: the 32-bit sum of the C code still holds it.
        assert int(np.abs(taps).sum(axis=1).max()) << 15 < (1 << 31) - (1 << TAP_BITS)
        return np.asarray(taps, np.int16)

    def rows(self, samples: Counts) -> Counts:
        n, channels = samples.shape
        found = np.empty((-(-n * self.up // self.down), channels), np.int16)
        if n == 0:
            return found
        before = np.zeros((self.taps.shape[1] - 1, channels))
        view = np.lib.stride_tricks.sliding_window_view(np.concatenate([before, samples]), len(before) + 1, axis=0)
        for m in range(min(self.up, len(found))):
            first, phase = divmod(m * self.down, self.up)
            # float64 holds these sums exactly, and multiplies faster than integers do
            sums = view[first :: self.down] @ self.taps[phase, ::-1].astype(np.float64)
            rounded = np.floor((sums + (1 << (TAP_BITS - 1))) / (1 << TAP_BITS))
            found[m :: self.up] = np.clip(rounded, -32768, 32767)
        return found


def resample_between(
    rate_in: float, rate_out: float, zero_crossings: int = 12, attenuation_db: float = 60.0
) -> Resample | None:
    """The resampler from one rate in Hz to another, by the simplest fraction that is near enough; None if equal."""
    if min(rate_in, rate_out) <= 0:
        raise UserError(f"resample {rate_in:g} Hz to {rate_out:g} Hz: rates are above 0")
    ratio = Fraction(rate_out) / Fraction(rate_in)
    down = 1
    while True:
        found = ratio.limit_denominator(down)
        if abs(found / ratio - 1) <= TOLERANCE and found.numerator <= LARGEST:
            break
        down += 1
        if down > LARGEST:
            raise UserError(
                f"resample {rate_in:g} Hz to {rate_out:g} Hz: no fraction of integers up to {LARGEST} is near that "
                "ratio; choose a rate that stands in a simple ratio to the other"
            )
    return None if found == 1 else Resample(found.numerator, found.denominator, zero_crossings, attenuation_db)
