"""The mean and the straight line of a window against float64 maths."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.errors import UserError
from secateur.models.front_end.detrend import detrend


@pytest.mark.parametrize("rows", [2, 3, 7, 128, 1000, 4096])
def test_the_line_is_the_least_squares_one(rows: int) -> None:
    """Within rounding of numpy's polyfit, in every channel of every window."""
    rng = np.random.default_rng(rows)
    slope, start = rng.uniform(-4, 4, (2, 1, 3)), rng.uniform(-9000, 9000, (2, 1, 3))
    ramp = slope * np.linspace(-2000, 2000, rows)[None, :, None]
    windows = np.rint(start + ramp + rng.normal(0, 300, (2, rows, 3))).astype(np.int16)
    flat = windows.transpose(1, 0, 2).reshape(rows, -1).astype(np.float64)
    t = np.arange(rows) - (rows - 1) / 2
    line = np.polynomial.polynomial.polyval(t, np.polynomial.polynomial.polyfit(t, flat, 1)).T
    expected = (flat - line).reshape(rows, 2, 3).transpose(1, 0, 2)
    assert np.abs(detrend(windows, "linear") - expected).max() <= 0.5 + 1e-6


def test_the_mean_is_rounded_half_up_and_the_difference_saturates() -> None:
    """Means of 0.5, -0.5 and 16383.5; -32768 less 16384 is out of range."""
    windows = np.array([[[0, 0, 32767], [1, -1, 32767], [1, -1, 32767], [0, 0, -32767]]], np.int16)
    expected = [[[-1, 0, 16383], [0, -1, 16383], [0, -1, 16383], [-1, 0, -32768]]]
    assert detrend(windows, "mean").tolist() == expected


def test_the_longest_window_at_full_scale_stays_in_64_bits() -> None:
    """A full-scale step over 4096 rows against Python's unbounded integers."""
    rows = 4096
    x = np.where(np.arange(rows) < rows // 2, -32768, 32767).astype(np.int16)
    ints = [int(v) for v in x]
    total, moment = sum(ints), sum(v * (2 * i - rows + 1) for i, v in enumerate(ints))
    d = rows * (rows * rows - 1)
    lines = [((rows * rows - 1) * total + 3 * (2 * i - rows + 1) * moment) * 2 + d for i in range(rows)]
    expected = [max(-32768, min(32767, v - n // (2 * d))) for v, n in zip(ints, lines, strict=True)]
    assert detrend(x[None, :, None], "linear")[0, :, 0].tolist() == expected


def test_windows_that_are_too_long_or_too_short_are_refused() -> None:
    """One line that names the rows and the bounds."""
    with pytest.raises(UserError, match="4097 rows; it takes 1 to 4096"):
        detrend(np.zeros((1, 4097, 1), np.int16), "mean")
    with pytest.raises(UserError, match="1 rows; it takes 2 to 4096"):
        detrend(np.zeros((1, 1, 1), np.int16), "linear")
