"""The mean and the line in C against Python."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from front_end_c import SANITIZED, Stage, run_stage

from secateur.firmware.front_end.detrend import detrend_code
from secateur.models.front_end.detrend import detrend

pytestmark = pytest.mark.emulator


def _windows(rows: int, width: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    """Noise, slow ramps, full-scale steps, zeros."""
    rng = np.random.default_rng(rows * width)
    noise = rng.integers(-32768, 32768, (4, rows, width))
    ramp = np.linspace(-32768, 32767, rows)[None, :, None] * rng.uniform(-1, 1, (4, 1, width))
    steps = np.where(np.arange(rows) < rows // 3, -32768, 32767)[None, :, None] * np.ones((1, 1, width))
    return np.concatenate([noise, ramp, steps, -steps - 1, 0 * steps]).astype(np.int16)


@pytest.mark.parametrize("rows, width", [(2, 1), (5, 3), (128, 6), (4096, 2)])
@pytest.mark.parametrize("kind", ["mean", "linear"])
def test_c_equals_python(kind: Literal["mean", "linear"], rows: int, width: int, tmp_path: Path) -> None:
    """Under the sanitizers and optimized, on windows at the edges of the range."""
    windows, code = _windows(rows, width), detrend_code(kind, rows, width)
    blocks, expected = windows.reshape(len(windows), -1), detrend(windows, kind)
    found = run_stage(code, "detrend", blocks, rows * width, tmp_path, SANITIZED)
    np.testing.assert_array_equal(found, expected.ravel())
    stage = Stage(code, "detrend", rows * width, tmp_path)
    for block, window in zip(blocks, expected, strict=True):
        np.testing.assert_array_equal(stage.step(block), window.ravel())
