"""TFLite Micro's audio front end: window, FFT, filter bank, noise reduction, gain control, logarithm, bit for bit.

The stages and their tables are those of tensorflow/lite/experimental/microfrontend in TFLite Micro. Tables are made in
float32 like there; everything from the samples on is integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from secateur.errors import UserError
from secateur.models.front_end.micro_fft import real_fft
from secateur.models.front_end.stage import Counts, Features

WINDOW_BITS = 12
BAND_BITS = 12
NOISE_BITS = 14
SNR_BITS = 12
GAIN_FRACTION_BITS = 6
LOG_2 = 45426
"""ln(2) in Q16."""
LOG_SEGMENTS = 128
BLOCK = 1024
"""Frames computed at once: some ten megabytes."""

Words = npt.NDArray[np.int64]
"""Unsigned 32-bit values: 64 bits hold their products too."""


@dataclass(frozen=True)
class Micro(Features):
    """`channels` bands evenly spaced in mel between two frequencies. One count is 10/256, as in microWakeWord.

    Even and odd bands track noise at different speeds: `even_smoothing`, `odd_smoothing`. At least
    `min_signal_remaining` of a signal is left of it. `pcan_...`: per-channel amplitude normalization, a gain of
    (noise + offset) ^ -strength in `gain_bits` bits.
    """

    rate_hz: float = 16000
    window_ms: int = 30
    step_ms: int = 10
    channels: int = 40
    lower_hz: float = 125.0
    upper_hz: float = 7500.0
    smoothing_bits: int = 10
    even_smoothing: float = 0.025
    odd_smoothing: float = 0.06
    min_signal_remaining: float = 0.05
    pcan_strength: float = 0.95
    pcan_offset: float = 80.0
    gain_bits: int = 21
    log_shift: int = 6
    unit: float = 10 / 256

    def __post_init__(self) -> None:
        if self.rate_hz != int(self.rate_hz):
            raise UserError(f"micro features: {self.rate_hz:g} Hz; the rate must be a whole number, resample to one")
        if not 8 <= self.frame_length <= 4096 or not 1 <= self.frame_step <= self.frame_length:
            raise UserError(
                f"micro features: a window of {self.window_ms} ms and a step of {self.step_ms} ms are "
                f"{self.frame_length} and {self.frame_step} samples at {self.rate_hz:g} Hz; "
                "the window takes 8 to 4096, the step 1 to a window"
            )
        if not 0 <= self.lower_hz < self.upper_hz <= self.rate_hz / 2:
            raise UserError(
                f"micro features: {self.lower_hz:g} to {self.upper_hz:g} Hz is no band below half the rate, "
                f"{self.rate_hz:g} Hz"
            )
        ranges = {
            "channels": (1, 256),
            "smoothing_bits": (max(0, self.correction_bits), 16),
            "even_smoothing": (0, 1),
            "odd_smoothing": (0, 1),
            "min_signal_remaining": (0, 1),
            "pcan_offset": (1, 1e6),
            "pcan_strength": (0, 2),
            "gain_bits": (self.correction_bits + SNR_BITS, 31),
            "log_shift": (0, 10),
        }
        for name, (low, high) in ranges.items():
            if not low <= getattr(self, name) <= high:
                raise UserError(f"micro features: {name} {getattr(self, name):g}; it ranges from {low:g} to {high:g}")
        if len(self.bands[0]) + self.first_bin > self.fft_length // 2:
            raise UserError(f"micro features: the bands reach the highest frequency, {self.rate_hz / 2:g} Hz; lower "
                            f"upper_hz, now {self.upper_hz:g}")  # fmt: skip
        self._check_gains()

    @property
    def frame_length(self) -> int:  # type: ignore[override]
        return self.window_ms * int(self.rate_hz) // 1000

    @property
    def frame_step(self) -> int:  # type: ignore[override]
        return self.step_ms * int(self.rate_hz) // 1000

    @property
    def count(self) -> int:
        return self.channels

    @property
    def fft_length(self) -> int:
        return 1 << (self.frame_length - 1).bit_length()

    @property
    def correction_bits(self) -> int:
        """By how much the FFT's division by its length outweighs the square root of the bands' weights."""
        return self.fft_length.bit_length() - 1 - BAND_BITS // 2

    @property
    def smoothing(self) -> tuple[int, int]:
        """Of even and odd bands."""
        return _fraction(self.even_smoothing), _fraction(self.odd_smoothing)

    @property
    def remaining(self) -> int:
        return _fraction(self.min_signal_remaining)

    @cached_property
    def window(self) -> npt.NDArray[np.int16]:
        """(frame_length,): Hann's, in Q12."""
        step = np.float32(np.pi) * np.float32(2) / np.float32(self.frame_length)
        angle = step * (np.arange(self.frame_length, dtype=np.float32) + np.float32(0.5))
        cosine = np.asarray(np.cos(angle.astype(np.float64)), np.float32)
        real = np.asarray(np.float32(0.5) - np.float32(0.5) * cosine, np.float32)
        return np.asarray(_quantized(real, WINDOW_BITS), np.int16)

    @property
    def _hz_per_bin(self) -> np.float32:
        return np.float32(0.5) * np.float32(self.rate_hz) / np.float32(self.fft_length // 2)

    @cached_property
    def first_bin(self) -> int:
        """Never that of the constant part."""
        return int(np.float32(1.5) + np.float32(self.lower_hz) / self._hz_per_bin)

    @cached_property
    def bands(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int16]]:
        """Of each bin from `first_bin` on: its band, and its weights (bins, 2) in Q12.

        Channel c is what the second weights take of band c and the first of band c + 1: triangles.
        """
        low, high = _mel(np.float32(self.lower_hz)), _mel(np.float32(self.upper_hz))
        spacing = (high - low) / np.float32(self.channels + 1)
        ends = low + spacing * np.arange(1, self.channels + 2, dtype=np.float32)
        mels = _mel(np.arange(self.first_bin, self.fft_length, dtype=np.float32) * self._hz_per_bin)
        band = np.searchsorted(ends, mels, side="left")
        band = band[band <= self.channels]
        starts = np.concatenate([[low], ends[:-1]]).astype(np.float32)
        falling = np.asarray((ends[band] - mels[: len(band)]) / (ends[band] - starts[band]), np.float32)
        rising = np.asarray(np.float32(1) - falling, np.float32)
        weights = np.stack([_quantized(falling, BAND_BITS), _quantized(rising, BAND_BITS)], axis=1)
        return band, weights.astype(np.int16)

    @cached_property
    def gains(self) -> npt.NDArray[np.int16]:
        """Gain by noise: of 0 and 1, then of each power of 2 a start and a parabola's two factors, and a 0."""
        bits = self.smoothing_bits - self.correction_bits

        def gain(x: int) -> int:
            real = np.float32(x) / np.float32(1 << bits) + np.float32(self.pcan_offset)
            power = np.float32(float(real) ** -float(np.float32(self.pcan_strength)))
            found = np.float32(1 << self.gain_bits) * power
            return 32767 if found > 32767 else int(found + np.float32(0.5))

        table = [gain(0), gain(1)]
        for octave in range(1, 32):
            x = 1 << octave
            start, middle, end = gain(x), gain(x + x // 2), gain(2 * x - (octave == 31))
            first = 4 * (middle - start) - (end - start)
            table += [start, first, (end - start) - first, 0]
        return np.asarray(np.clip(table, -32768, 32767), np.int16)

    def _check_gains(self) -> None:
        """The parabolas' factors fit 16 bits, and their sums the C code's 32."""
        middle, end = self.gains[2:].astype(np.int64).reshape(-1, 4)[:, 1:3].T
        if ((np.abs(end) * 1023 >> 5) + (np.abs(middle) << 5) + 1).max() * 1023 >= 1 << 31 or np.abs(
            middle
        ).max() > 32766:
            raise UserError(
                f"micro features: pcan_strength {self.pcan_strength:g} with pcan_offset {self.pcan_offset:g} and "
                f"gain_bits {self.gain_bits} changes the gain too steeply for 16 bits; lower gain_bits"
            )

    def rows(self, samples: Counts) -> Counts:
        if len(samples) < self.frame_length:
            return np.empty((0, self.channels), np.int16)
        frames = np.lib.stride_tricks.sliding_window_view(samples, self.frame_length)[:: self.frame_step]
        blocks = [self._amplitudes(frames[i : i + BLOCK]) for i in range(0, len(frames), BLOCK)]
        signal, noise = self._without_noise(np.concatenate(blocks))
        return self._logarithm(self._gain_controlled(signal, noise))

    def _amplitudes(self, frames: Counts) -> Words:
        """(n, channels): roots of the energy in each channel."""
        windowed = (frames.astype(np.int32) * self.window) >> WINDOW_BITS
        size = np.abs(windowed)
        size[size == 32768] = 0  # its absolute value in 16 bits is below 0, and never the largest
        shift = 15 - _bit_length(size.max(axis=1)).astype(np.int32)
        signal = np.zeros((self.fft_length, len(frames)), np.int16)
        signal[: self.frame_length] = (windowed.T << shift).astype(np.int16)  # wraps
        re, im = real_fft(signal)
        band = self.bands[0]
        used = slice(self.first_bin, self.first_bin + len(band))
        a, b = re[used].astype(np.float64), im[used].astype(np.float64)
        # Sums stay below 2^53, which float64 holds exactly.
        energy = (self._weights @ (a * a + b * b)).T.astype(np.int64)
        root = np.sqrt(energy.astype(np.float64)).astype(np.int64)
        root -= root * root > energy
        rest = energy - root * root
        root += (rest > root) & ~((energy < 1 << 32) & (root == 0xFFFF))
        return np.asarray(root >> shift[:, None], np.int64)

    @cached_property
    def _weights(self) -> npt.NDArray[np.float64]:
        """(channels, bins)"""
        band, weights = self.bands
        found = np.zeros((self.channels + 2, len(band)))
        found[band, np.arange(len(band))] = weights[:, 0]
        found[band + 1, np.arange(len(band))] += weights[:, 1]
        return found[1:-1]

    def _without_noise(self, signal: Words) -> tuple[Words, Words]:
        """The signal less the noise, and the noise, which each frame hands to the next."""
        smoothing = np.resize(np.array(self.smoothing, np.int64), self.channels)
        raised = (signal << self.smoothing_bits) & 0xFFFFFFFF
        noise = raised * smoothing
        keep, last = (1 << NOISE_BITS) - smoothing, np.zeros(self.channels, np.int64)
        for row in noise:
            row += last * keep
            row >>= NOISE_BITS
            last = row
        less = (raised - np.minimum(noise, raised)) >> self.smoothing_bits
        return np.maximum(less, (signal * self.remaining) >> NOISE_BITS), noise

    def _gain_controlled(self, signal: Words, noise: Words) -> Words:
        octave = _bit_length(noise)
        at = np.where(noise <= 2, noise, 4 * octave - 6)
        fraction = (
            np.where(octave < 11, noise << np.maximum(11 - octave, 0), noise >> np.maximum(octave - 11, 0)) & 0x3FF
        )
        padded = np.concatenate([self.gains, [0, 0]]).astype(np.int64)
        curve = ((padded[at + 2] * fraction >> 5) + (padded[at + 1] << 5)) * fraction
        gain = np.where(noise <= 2, padded[at], ((curve + (1 << 14)) >> 15) + padded[at])
        # 16 bits, then unsigned ones: where a parabola leaves its bounds, the gain wraps.
        gain = gain.astype(np.int16).astype(np.int64) & 0xFFFFFFFF
        ratio = ((signal * gain) >> (self.gain_bits - self.correction_bits - SNR_BITS)) & 0xFFFFFFFF
        low = (ratio * ratio) >> (2 + 2 * SNR_BITS - GAIN_FRACTION_BITS)
        high = (ratio >> (SNR_BITS - GAIN_FRACTION_BITS)) - (1 << GAIN_FRACTION_BITS)
        return np.where(ratio < 2 << SNR_BITS, low, high)

    def _logarithm(self, signal: Words) -> Counts:
        by = self.correction_bits
        x = signal >> -by if by < 0 else (signal << by) & 0xFFFFFFFF
        whole = _bit_length(np.maximum(x, 1)) - 1
        above = x - (1 << whole)
        fraction = np.where(whole < 16, above << np.maximum(16 - whole, 0), above >> np.maximum(whole - 16, 0))
        segment = np.maximum(fraction, 0) >> 9
        table = LOG_TABLE.astype(np.int64)
        start = table[segment]
        bend = ((table[segment + 1] - start) * (fraction - (segment << 9))) >> 16
        log = (LOG_2 * ((whole << 16) + fraction + start + bend) + (1 << 15)) >> 16
        scaled = ((log << self.log_shift) + (1 << 15)) >> 16
        return np.where(x > 1, scaled, 0).astype(np.int16)


def _log_table() -> npt.NDArray[np.int16]:
    """What log2(1 + x) is above x at each 1/128, in Q16, rounded; and one 0 more."""
    x = np.arange(LOG_SEGMENTS + 1) / LOG_SEGMENTS
    return np.append(np.rint((np.log2(1 + x) - x) * 65536), 0).astype(np.int16)


LOG_TABLE = _log_table()


def _mel(hz: npt.NDArray[np.float32] | np.float32) -> npt.NDArray[np.float32]:
    return np.float32(1127) * log1p_float32(np.asarray(hz / np.float32(700), np.float32))


_LOG1P = (6.6666668653e-01, 4.0000000596e-01, 2.8571429849e-01, 2.2222198546e-01, 1.8183572590e-01, 1.5313838422e-01,
          1.4798198640e-01)  # fmt: skip
_LN2_HIGH, _LN2_LOW = np.float32(6.9313812256e-01), np.float32(9.0580006145e-06)


def log1p_float32(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """log(1 + x) for x from 0, with the last bit that C's log1pf has: float32 steps as in FreeBSD's msun.

    newlib, musl, and glibc before 2.41 all have that function. Rounding the true value moves a few weights by one.
    """
    one, two, half = np.float32(1), np.float32(2), np.float32(0.5)
    u = one + x
    mantissa, k = np.frexp(u)  # mantissa in [0.5, 1)
    large = mantissa >= np.float32(float.fromhex("0x1.6a09eep-1"))  # else one more factor of two
    k = np.where(large, k, k - 1)
    f = np.where(large, mantissa, mantissa * two) - one
    lost = np.where(u >= two, one - (u - x), x - (u - one)) / u
    small = x < np.float32(float.fromhex("0x1.a827aep-2"))  # sqrt(2) - 1
    k, f, lost = np.where(small, 0, k).astype(np.float32), np.where(small, x, f), np.where(small, np.float32(0), lost)
    square = half * f * f
    s = f / (two + f)
    z = s * s
    series = np.zeros_like(z)
    for factor in reversed(_LOG1P):
        series = z * (np.float32(factor) + series)
    below = s * (square + series)
    near = np.abs(f) < np.float32(2**-20)  # here the series is cut short
    cubic = square * (one - np.float32(0.66666666666666666) * f)
    whole = np.where(
        near,
        k * _LN2_HIGH - ((cubic - (k * _LN2_LOW + lost)) - f),
        k * _LN2_HIGH - ((square - (below + (k * _LN2_LOW + lost))) - f),
    )
    fraction = np.where(near, f - cubic, f - (square - below))
    found = np.where(k == 0, fraction, np.where(f == 0, k * _LN2_HIGH + (lost + k * _LN2_LOW), whole))
    return np.asarray(found, np.float32)


def _quantized(real: npt.NDArray[np.float32], bits: int) -> npt.NDArray[np.float32]:
    return np.asarray(np.floor(real * np.float32(1 << bits) + np.float32(0.5)), np.float32)


def _fraction(real: float) -> int:
    return int(np.float32(real) * np.float32(1 << NOISE_BITS))


def _bit_length(x: npt.NDArray[np.int64] | npt.NDArray[np.int32]) -> Words:
    return np.frexp(x.astype(np.float64))[1].astype(np.int64)
