"""Log-mel and MFCC in float64, written from their definitions: what the integers are compared with."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from secateur.models.front_end.log_mel import MelFrames

Real = npt.NDArray[np.float64]

KWS: dict[str, Any] = {
    "rate_hz": 16000, "frame_length": 480, "frame_step": 320, "fft_length": 512, "bins": 40, "lower_hz": 20,
    "upper_hz": 4000,
}  # fmt: skip
"""MLPerf Tiny's keyword spotting, as TensorFlow computes it."""

ANOMALY: dict[str, Any] = {
    "rate_hz": 16000, "frame_length": 1024, "frame_step": 512, "fft_length": 1024, "bins": 128, "lower_hz": 0,
    "upper_hz": 8000, "spectrum": "power", "mel": "slaney", "log": "decibel", "floor": 1e-10,
}  # fmt: skip
"""MLPerf Tiny's anomaly detection, as librosa computes it."""


def log_mel_float(mel: MelFrames, samples: npt.NDArray[np.int16]) -> Real:
    frames = np.lib.stride_tricks.sliding_window_view(samples / 32768, mel.frame_length)[:: mel.frame_step]
    frames = frames - mel.pre_emphasis * np.concatenate([frames[:, :1], frames[:, :-1]], 1)
    t = np.arange(mel.frame_length) / mel.frame_length
    low = {"hann": 0.5, "hamming": 0.54}[mel.window]
    spectrum = np.abs(np.fft.rfft(frames * (low - (1 - low) * np.cos(2 * np.pi * t)), mel.fft_length))
    energy = spectrum**2 if mel.spectrum == "power" else spectrum
    logs = np.log(np.maximum(energy @ _filters(mel).T, mel.floor))
    if mel.log == "natural":
        return np.asarray(logs, np.float64)
    return np.asarray(logs * (10 if mel.spectrum == "power" else 20) / np.log(10), np.float64)


def _filters(mel: MelFrames) -> Real:
    """(bins, fft_length / 2 + 1), triangle by triangle."""
    hz = np.arange(mel.fft_length // 2 + 1) * mel.rate_hz / mel.fft_length
    if mel.mel == "htk":
        mels = [2595 * np.log10(1 + f / 700) for f in (mel.lower_hz, mel.upper_hz)]
        edges = np.linspace(*mels, mel.bins + 2)
        at = 2595 * np.log10(1 + hz / 700)
    else:
        mels = [f * 3 / 200 if f < 1000 else 15 + 27 * np.log(f / 1000) / np.log(6.4)
                for f in (mel.lower_hz, mel.upper_hz)]  # fmt: skip
        edges = np.array([m * 200 / 3 if m < 15 else 1000 * 6.4 ** ((m - 15) / 27)
                          for m in np.linspace(*mels, mel.bins + 2)])  # fmt: skip
        at = hz
    rows = [np.interp(at, edges[m : m + 3], [0, 1, 0], 0, 0) for m in range(mel.bins)]
    if mel.mel == "slaney":
        rows = [row * 2 / (edges[m + 2] - edges[m]) for m, row in enumerate(rows)]
    return np.array(rows)


def dct_float(logs: Real, coefficients: int) -> Real:
    """The orthonormal DCT-II."""
    bins = logs.shape[1]
    table = np.cos(np.pi / bins * (np.arange(bins) + 0.5) * np.arange(coefficients)[:, None]) * np.sqrt(2 / bins)
    table[0] /= np.sqrt(2)
    return np.asarray(logs @ table.T, np.float64)


def ratio_db(expected: Real, found: Real) -> float:
    """How far the error lies below the variation of what is expected."""
    return float(10 * np.log10(np.var(expected) / np.mean((found - expected) ** 2)))


def sounds(seconds: float = 1.0) -> dict[str, npt.NDArray[np.int16]]:
    """16,000 samples a second: noise, loud and quiet, a quiet sine with its rounding, and a vowel-like sum."""
    rng, t = np.random.default_rng(3), np.arange(round(16000 * seconds)) / 16000
    pitch = np.cumsum(120 + 30 * np.sin(2 * np.pi * 2 * t)) / 16000
    vowel = sum(np.sin(2 * np.pi * h * pitch) / h**1.5 for h in range(1, 60)) * (0.55 - 0.45 * np.cos(6 * np.pi * t))
    made = {
        "noise": rng.integers(-32768, 32768, len(t)),
        "quiet noise": rng.integers(-8, 9, len(t)),
        "quiet sine": np.rint(20 * np.sin(2 * np.pi * 437.7 * t) + rng.uniform(-0.5, 0.5, len(t))),
        "vowel": np.rint(8000 * vowel + rng.normal(0, 5, len(t))),
        "quiet vowel": np.rint(100 * vowel + rng.normal(0, 1, len(t))),
    }
    return {name: np.clip(x, -32768, 32767).astype(np.int16) for name, x in made.items()}
