"""The resampler in C, sample by sample, against Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from front_end_c import Stage, run_stage

from secateur.firmware.front_end.resample import resample_code
from secateur.models.front_end.resample import Resample

pytestmark = pytest.mark.emulator

CASES = [
    (Resample(1, 3), 1),
    (Resample(160, 441, 6), 1),
    (Resample(7, 2), 3),
    (Resample(25, 26), 6),
    (Resample(1, 16, 4, 40.0), 2),
]


def _samples(made: Resample, channels: int, n: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    """Noise, full-scale steps, and the signs of one phase's taps, which drive the sum furthest."""
    rng = np.random.default_rng(made.up)
    worst = np.where(made.taps[0, ::-1] < 0, -32768, 32767)
    noise = rng.integers(-32768, 32768, (n, channels))
    both = np.concatenate([worst, -worst - 1])[:, None] * np.ones((1, channels), np.int64)
    return np.concatenate([noise, both]).astype(np.int16)


@pytest.mark.parametrize("made, channels", CASES)
def test_c_equals_python(made: Resample, channels: int, tmp_path: Path) -> None:
    """Under the sanitizers, with a reset in the middle that makes the second half start from silence."""
    samples, at = _samples(made, channels, 700), 333
    found = run_stage(resample_code(made, channels), "resampler", samples, made.most * channels, tmp_path, resets=[at])
    expected = np.concatenate([made.rows(samples[:at]), made.rows(samples[at:])])
    np.testing.assert_array_equal(found.reshape(-1, channels), expected)


def test_output_m_is_there_once_its_input_is(tmp_path: Path) -> None:
    """After input n all outputs with floor(m * down / up) <= n are out, none more."""
    made = Resample(7, 5, 2)
    stage = Stage(resample_code(made, 1), "resampler", made.most, tmp_path)
    counts = np.cumsum([len(stage.step(np.zeros(1, np.int16))) for _ in range(100)])
    assert counts.tolist() == [-(-(n + 1) * 7 // 5) for n in range(100)]
