"""Log-mel and MFCC in C against Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from c_host import TRAPS
from front_end_c import SANITIZED, Stage, run_stage
from mel_float import ANOMALY, KWS

from secateur.errors import UserError
from secateur.firmware.front_end.catalogue import features_code
from secateur.models.front_end.log_mel import LogMel, MelFrames
from secateur.models.front_end.mfcc import Mfcc

pytestmark = pytest.mark.emulator

KNOWN: dict[str, MelFrames] = {
    "kws": Mfcc(**KWS),
    "kws mel": LogMel(**KWS),
    "anomaly": LogMel(**ANOMALY),
    "emphasis": Mfcc(**{**ANOMALY, "spectrum": "magnitude", "log": "natural"}, pre_emphasis=0.97, coefficients=20),
    "longest": LogMel(**{**ANOMALY, "frame_length": 4095, "fft_length": 4096}, window="hamming", pre_emphasis=0.9999),
    "shortest": LogMel(16, 3, 1, 16, 1, 0, 8, spectrum="power"),
}


def _frames(mel: MelFrames, few: int = 2) -> npt.NDArray[np.int16]:
    """Noise of all loudnesses, full-scale squares, both extremes held, one sample alone, silence."""
    rng, n = np.random.default_rng(mel.fft_length + mel.bins), mel.frame_length
    limits = [32767 >> s for s in range(16) for _ in range(few)]
    noise = [rng.integers(-limit - 1, limit + 1, n) for limit in limits]
    t = np.arange(n)
    squares = [np.where(t // period % 2, 32767, -32768) for period in (1, 2, 3, 8, max(1, n // 4), n)]
    peak = np.eye(n, dtype=np.int16)[[0, n // 2, n - 1]] * 32767
    return np.concatenate([noise, squares, [np.full(n, 32767), 0 * t, 0 * t + 1, 0 * t - 1], peak]).astype(np.int16)


def _random(seed: int) -> MelFrames:
    """A log-mel or an MFCC whose filters all have a bin."""
    rng = np.random.default_rng(seed)
    while True:
        fft = 1 << int(rng.integers(4, 12))
        rate = float(rng.choice([200, 8000, 16000, 44100]))
        low, high = sorted(rng.uniform(0, rate / 2, 2))
        bins = int(rng.integers(1, min(80, fft // 2) + 1))
        options: dict[str, Any] = {
            "spectrum": rng.choice(["magnitude", "power"]), "mel": rng.choice(["htk", "slaney"]),
            "log": rng.choice(["natural", "decibel"]), "window": rng.choice(["hann", "hamming"]),
            "pre_emphasis": float(rng.choice([0, rng.uniform(0, 1)])), "floor": float(10.0 ** rng.uniform(-12, 0)),
        }  # fmt: skip
        options |= {name: str(value) for name, value in options.items() if isinstance(value, np.str_)}
        sizes = (rate, int(rng.integers(2, fft + 1)), 1, fft, bins, 0.0 if rng.random() < 0.3 else low, high)
        try:
            if rng.random() < 0.5:
                return LogMel(*sizes, **options)
            return Mfcc(*sizes, **options, coefficients=int(rng.integers(1, bins + 1)))
        except UserError:
            continue


def _check(mel: MelFrames, folder: Path, compiler: tuple[str, ...] = SANITIZED, few: int = 2) -> None:
    frames = _frames(mel, few)
    expected = np.concatenate([mel.rows(frame) for frame in frames])
    found = run_stage(features_code(mel), "features", frames, mel.count, folder, compiler)
    np.testing.assert_array_equal(found.reshape(expected.shape), expected)


@pytest.mark.parametrize("name", KNOWN)
def test_c_equals_python(name: str, tmp_path: Path) -> None:
    """Under the sanitizers, and optimized with at most 512 bytes of stack."""
    mel = KNOWN[name]
    _check(mel, tmp_path)
    stage, frames = Stage(features_code(mel), "features", mel.count, tmp_path), _frames(mel)
    for frame in frames:
        np.testing.assert_array_equal(stage.step(frame), mel.rows(frame)[0])


@pytest.mark.parametrize("seed", range(12))
def test_random_parameters(seed: int, tmp_path: Path) -> None:
    """Every length of frame and FFT, both spectra, scales, logarithms and windows, with and without pre-emphasis."""
    _check(_random(seed), tmp_path)


@pytest.mark.parametrize("compiler", [("clang", *TRAPS, "-O1"), (*SANITIZED, "-DSEC_FFT_PORTABLE")])
def test_other_compilers(compiler: tuple[str, ...], tmp_path: Path) -> None:
    """Clang, which also stops where an implicit conversion changes a value; and without GCC's builtin."""
    for name in ("kws", "anomaly"):
        _check(KNOWN[name], tmp_path, compiler, few=1)


def test_memory(tmp_path: Path) -> None:
    """The FFT works in place, and nothing is kept from frame to frame."""
    sizes = {name: (features_code(KNOWN[name]).scratch_bytes, features_code(KNOWN[name]).state_bytes) for name in KNOWN}
    assert sizes["kws"] == (2128, 0)
    assert sizes["anomaly"] == (4096, 0)
