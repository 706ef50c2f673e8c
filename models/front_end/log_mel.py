"""Log-mel energies in integers: window, FFT, mel filters, logarithm."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from secateur.errors import UserError
from secateur.models.front_end.fft import LONGEST, SHORTEST, Wide, bits, log2_q15, power_spectrum, root
from secateur.models.front_end.stage import Counts, Features

Spectrum = Literal["magnitude", "power"]
Mel = Literal["htk", "slaney"]
Log = Literal["natural", "decibel"]
Window = Literal["hann", "hamming"]

_BLOCK = 256  # frames at a time
_FINER = 8  # bits that a logarithm has below one count


@dataclass(frozen=True)
class MelFrames(Features):
    """What log-mel and MFCC share: frames of samples x / 32768 to log(max(mel energy, floor)) in fixed point.

    `frame_length`, `frame_step`, `fft_length`: samples; a frame is followed by zeros up to `fft_length`, a power of
    two. `window`: the periodic one of `frame_length`. `pre_emphasis`: x[t] - pre_emphasis * x[t - 1] before the window,
    where a frame's first sample is its own predecessor.

    `spectrum`: |X| or |X|^2, not divided by anything. `mel`: "htk" has triangles over the HTK mel scale, straight in
    mel, with peaks of 1 (TensorFlow's linear_to_mel_weight_matrix); "slaney" has triangles straight in Hz over Slaney's
    scale, each of area 1 (librosa's default). `log`: natural, or decibel: 10 log10 of power, 20 log10 of magnitude.
    `floor`: the lowest mel energy, of which silence gives the logarithm.
    """

    rate_hz: float
    frame_length: int
    frame_step: int
    fft_length: int
    bins: int
    lower_hz: float
    upper_hz: float
    spectrum: Spectrum = "magnitude"
    mel: Mel = "htk"
    log: Log = "natural"
    window: Window = "hann"
    pre_emphasis: float = 0.0
    floor: float = 1e-6

    def __post_init__(self) -> None:
        name, n = "log-mel and MFCC", self.fft_length
        for field, value, known in (
            ("spectrum", self.spectrum, ("magnitude", "power")),
            ("mel", self.mel, ("htk", "slaney")),
            ("log", self.log, ("natural", "decibel")),
            ("window", self.window, ("hann", "hamming")),
        ):
            if value not in known:
                raise UserError(f"{name}: {field} {value!r} is unknown; choose {' or '.join(known)}")
        if n not in [1 << b for b in range(SHORTEST.bit_length() - 1, LONGEST.bit_length())]:
            raise UserError(f"{name}: FFT length {n} is no power of two from {SHORTEST} to {LONGEST}; choose one")
        if not 2 <= self.frame_length <= n:
            raise UserError(f"{name}: frames of {self.frame_length} samples for an FFT of {n}; 2 to {n} fit")
        if self.frame_step < 1:
            raise UserError(f"{name}: a frame every {self.frame_step} samples; choose at least 1")
        if not 0 <= self.lower_hz < self.upper_hz <= self.rate_hz / 2:
            raise UserError(
                f"{name}: mel filters from {self.lower_hz:g} to {self.upper_hz:g} Hz at {self.rate_hz:g} samples/s; "
                f"choose a range within 0 to {self.rate_hz / 2:g} Hz"
            )
        if not 0 <= self.pre_emphasis < 1:
            raise UserError(f"{name}: pre-emphasis {self.pre_emphasis:g}; choose 0 (none) up to below 1, 0.97 is usual")
        if not 1 <= self.bins <= n // 2:
            raise UserError(f"{name}: {self.bins} mel filters over {n // 2} bins of the FFT; choose 1 to {n // 2}")
        if not 0 < self.floor < math.inf or abs(self.floor_count) > 32767:
            raise UserError(f"{name}: floor {self.floor:g}, whose logarithm does not fit; 1e-12 to 1 are usual")
        empty = [m for m, (_, weights) in enumerate(self.filters) if not weights.any()]
        if empty:
            raise UserError(
                f"{name}: mel filter {empty[0]} of {self.bins} lies between two bins of the FFT, "
                f"{self.rate_hz / n:g} Hz apart; take fewer filters or a longer FFT"
            )

    @property
    def log_unit(self) -> float:
        """The real value of one count of a logarithm."""
        return 1 / 1024 if self.log == "natural" else 1 / 128

    @cached_property
    def window_q15(self) -> Wide:
        """(frame_length,) up to 32767"""
        turn = np.cos(2 * np.pi * np.arange(self.frame_length) / self.frame_length)
        shape = 0.5 - 0.5 * turn if self.window == "hann" else 0.54 - 0.46 * turn
        return np.asarray(np.minimum(np.rint(shape * 2**15), 32767), np.int64)

    @property
    def emphasis_q15(self) -> int:
        return min(round(self.pre_emphasis * 2**15), 32767)

    @property
    def triangles(self) -> npt.NDArray[np.float64]:
        """(bins, fft_length / 2) with peaks of 1; bin 0 of the FFT and its last are in no triangle."""
        hz = np.arange(self.fft_length // 2) * (self.rate_hz / self.fft_length)
        at = to_mel(hz, self.mel) if self.mel == "htk" else hz
        edges = to_mel(self.edges_hz, self.mel) if self.mel == "htk" else self.edges_hz
        left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
        shape = np.minimum((at - left) / (centre - left), (right - at) / (right - centre))
        shape[:, 0] = 0.0  # an edge at 0 Hz is 0 but for the last bit
        return np.maximum(shape, 0.0)

    @property
    def edges_hz(self) -> npt.NDArray[np.float64]:
        """(bins + 2,): where triangle m begins, peaks and ends is at m, m + 1 and m + 2."""
        ends = to_mel(np.array([self.lower_hz, self.upper_hz]), self.mel)
        return from_mel(np.linspace(ends[0], ends[1], self.bins + 2), self.mel)

    @property
    def areas(self) -> npt.NDArray[np.float64]:
        """(bins,): what the triangles are multiplied by."""
        edges = self.edges_hz
        return 2 / (edges[2:] - edges[:-2]) if self.mel == "slaney" else np.ones(self.bins)

    @property
    def weight_bits(self) -> int:
        """A weight of 1 is 2^this. The power has 52 bits after its shift, and the sum must have 64."""
        return 12 if self.spectrum == "power" else 14

    power_shift = 8
    """Bits that the power loses before the filters: rounding in the FFT is about as large."""

    @cached_property
    def filters(self) -> list[tuple[int, Wide]]:
        """Of each filter the first bin of the FFT, and its weights."""
        found = []
        for row in np.rint(self.triangles * 2**self.weight_bits).astype(np.int64):
            used = np.flatnonzero(row)
            first, last = (int(used[0]), int(used[-1])) if len(used) else (1, 1)
            found.append((first, row[first : last + 1]))
        return found

    @property
    def counts_per_octave(self) -> float:
        """Counts of a logarithm when the mel energy doubles."""
        decibel = (10 if self.spectrum == "power" else 20) * math.log10(2)
        return (math.log(2) if self.log == "natural" else decibel) / self.log_unit

    @property
    def log_scale(self) -> int:
        """From log2 in Q15 to counts with _FINER more bits: a multiplication by this, and 24 bits less."""
        return round(self.counts_per_octave * (1 << (24 + _FINER - 15)))

    @cached_property
    def log_offsets(self) -> Wide:
        """(bins,): the logarithm of what 1 in a filter's sum is worth, with _FINER bits, and a half for rounding."""
        spectrum = self.fft_length / 2**30 * (2 if self.emphasis_q15 else 1)
        if self.spectrum == "power":
            spectrum = spectrum**2 * (1 << self.power_shift)
        worth = np.log2(spectrum * self.areas / 2**self.weight_bits)
        found = np.rint(worth * self.counts_per_octave * 2**_FINER) + (1 << (_FINER - 1))
        return np.asarray(found, np.int64)

    @property
    def log_doubling(self) -> int:
        """Counts, with _FINER more bits, that a frame gains when its samples are doubled."""
        return round(self.counts_per_octave * (1 << _FINER)) * (2 if self.spectrum == "power" else 1)

    @property
    def floor_count(self) -> int:
        return round(math.log2(self.floor) * self.counts_per_octave)

    @property
    def highest_count(self) -> int:
        """No logarithm is above this, nor above 32767: all samples at the limit, all in one filter."""
        loudest = 2.0**self.weight_bits * self.fft_length * (2.0**30 if self.spectrum == "magnitude" else 2.0**52)
        highest = math.log2(loudest) * self.counts_per_octave + float(self.log_offsets.max()) / (1 << _FINER)
        return min(32767, math.ceil(highest))

    @cached_property
    def _dense(self) -> npt.NDArray[np.uint64]:
        dense = np.zeros((self.fft_length // 2, self.bins), np.uint64)
        for m, (first, weights) in enumerate(self.filters):
            dense[first : first + len(weights), m] = weights
        return dense

    def log_mel(self, samples: Counts) -> Counts:
        """(frames, bins) of (n,) samples."""
        count = 1 + (len(samples) - self.frame_length) // self.frame_step
        if len(samples) < self.frame_length:
            return np.empty((0, self.bins), np.int16)
        frames = np.lib.stride_tricks.sliding_window_view(samples, self.frame_length)[:: self.frame_step]
        return np.concatenate([self._block(frames[at : at + _BLOCK]) for at in range(0, count, _BLOCK)])

    def _block(self, frames: npt.NDArray[np.int16]) -> Counts:
        # Quiet frames are doubled while nothing overflows, so that the FFT's rounding lies below that of the samples.
        left = 15 - bits(np.bitwise_or.reduce(frames ^ (frames >> 15), 1).astype(np.uint64))
        x = frames.astype(np.int64) << left[:, None]
        if self.emphasis_q15:
            before = np.concatenate([x[:, :1], x[:, :-1]], 1)
            products = (((x << 15) - self.emphasis_q15 * before) * self.window_q15) >> 16
        else:
            products = x * self.window_q15
        padded = np.zeros((len(x), self.fft_length), np.int64)
        padded[:, : self.frame_length] = products
        power = power_spectrum(padded)
        if self.spectrum == "power":
            energy = power >> np.uint64(self.power_shift)
        else:
            energy = root(power).astype(np.uint64)
        mel = energy @ self._dense
        fine = ((log2_q15(mel) * self.log_scale) >> 24) + self.log_offsets - self.log_doubling * left[:, None]
        found = fine >> _FINER
        return np.where(mel > 0, np.clip(found, self.floor_count, 32767), self.floor_count).astype(np.int16)


@dataclass(frozen=True)
class LogMel(MelFrames):
    """Log-mel energies. One count is 1/1024 of a natural logarithm, or 1/128 dB."""

    @property
    def count(self) -> int:
        return self.bins

    @property
    def unit(self) -> float:
        return self.log_unit

    def rows(self, samples: Counts) -> Counts:
        return self.log_mel(samples)


_SLANEY_STEP_HZ = 200 / 3  # a mel up to 1000 Hz, of which there are 15
_SLANEY_LOG = math.log(6.4) / 27  # a mel above


def to_mel(hz: npt.NDArray[Any], scale: Mel) -> npt.NDArray[np.float64]:
    """Hz as mels.

    >>> to_mel(np.array([1000.0, 6400.0]), "slaney")
    array([15., 42.])
    >>> to_mel(np.array([700.0]), "htk").round(3)
    array([781.173])
    """
    if scale == "htk":
        return np.asarray(1127.0 * np.log1p(hz / 700.0), np.float64)
    return np.where(hz < 1000, hz / _SLANEY_STEP_HZ, 15 + np.log(np.maximum(hz, 1000) / 1000) / _SLANEY_LOG)


def from_mel(mel: npt.NDArray[Any], scale: Mel) -> npt.NDArray[np.float64]:
    """Mels as Hz."""
    if scale == "htk":
        return np.asarray(700.0 * np.expm1(mel / 1127.0), np.float64)
    return np.where(mel < 15, mel * _SLANEY_STEP_HZ, 1000 * np.exp(_SLANEY_LOG * (np.maximum(mel, 15) - 15)))
