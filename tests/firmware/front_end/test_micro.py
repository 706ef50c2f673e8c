"""TFLite Micro's audio front end in C against Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from c_host import TRAPS
from front_end_c import SANITIZED, Stage, Values, run_stage

from secateur.firmware.front_end.micro import micro_code
from secateur.models.front_end.micro import Micro

pytestmark = pytest.mark.emulator

CASES = [
    Micro(),
    Micro(step_ms=20),
    Micro(rate_hz=8000, upper_hz=3800.0, channels=32),
    Micro(window_ms=64, step_ms=32, channels=80, log_shift=10),
    Micro(window_ms=1, step_ms=1, channels=3, gain_bits=18, upper_hz=6000.0),
    Micro(rate_hz=48000, window_ms=31, step_ms=22, channels=10, pcan_strength=0.82, pcan_offset=63, gain_bits=23),
]


def _signal(n: int) -> Values:
    """Silence, noise soft and loud, a chirp, full-scale squares, clicks that only the lowest value has."""
    rng, t = np.random.default_rng(n), np.arange(n)
    parts = [
        np.zeros(n // 4),
        rng.normal(0, 1, n) * np.exp(4 + 5 * np.sin(20 * t / n)),
        20000 * np.sin(t * t * 0.5 / n),
        np.where(t // 37 % 2, 32767, -32768),
        np.where(rng.integers(0, 2, n), 32767, -32768),
        np.where(t % 997 == 0, -32768, 0),
        np.full(n // 4, -32768),
    ]
    return np.clip(np.concatenate(parts), -32768, 32767).astype(np.int16)


def _frames(samples: Values, micro: Micro) -> Values:
    return np.lib.stride_tricks.sliding_window_view(samples, micro.frame_length)[:: micro.frame_step]


@pytest.mark.parametrize("micro", CASES)
def test_c_equals_python(micro: Micro, tmp_path: Path) -> None:
    """Under the sanitizers, with a reset on the way that forgets the noise."""
    frames = _frames(_signal(60 * micro.frame_step), micro)
    at = len(frames) // 2
    whole = [micro.rows(_signal(60 * micro.frame_step)[i * micro.frame_step :][:n]) for i, n in (
        (0, (at - 1) * micro.frame_step + micro.frame_length), (at, None))]  # fmt: skip
    found = run_stage(micro_code(micro), "features", frames, micro.count, tmp_path, SANITIZED, [at])
    np.testing.assert_array_equal(found.reshape(-1, micro.count), np.concatenate(whole))


def test_c_optimized_over_a_long_stream(tmp_path: Path) -> None:
    """20 s frame by frame in this process, where GCC bounds the stack to 512 bytes a function."""
    micro, samples = Micro(), _signal(60000)
    stage = Stage(micro_code(micro), "features", micro.count, tmp_path)
    found = np.array([stage.step(frame) for frame in _frames(samples, micro)])
    np.testing.assert_array_equal(found, micro.rows(samples))


def test_clang_sees_no_warning_and_no_implicit_conversion(tmp_path: Path) -> None:
    """Clang's own sanitizers, which stop where a conversion changes a value."""
    micro, samples = Micro(), _signal(8000)
    found = run_stage(
        micro_code(micro), "features", _frames(samples, micro), micro.count, tmp_path, ("clang", *TRAPS, "-O1")
    )
    np.testing.assert_array_equal(found.reshape(-1, micro.count), micro.rows(samples))
