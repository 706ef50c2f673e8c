"""Windows without their mean or their straight line, in integers that C divides once a channel.

The line is N[i] / D with N[i] = N[0] + i * step: its rounded values follow by additions alone.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from secateur.errors import UserError
from secateur.models.front_end.stage import Counts

MAX_ROWS = 4096
"""2 * N stays below 2^55 in 64 bits, the sum of a channel below 2^31."""


def check_rows(kind: Literal["mean", "linear"], rows: int) -> None:
    low = 2 if kind == "linear" else 1
    if not low <= rows <= MAX_ROWS:
        raise UserError(f"detrend {kind}: windows of {rows} rows; it takes {low} to {MAX_ROWS}, change the window")


def detrend(windows: Counts, kind: Literal["mean", "linear"]) -> Counts:
    """(n, rows, width) less each channel's mean, or its least-squares line; rounded half up, saturated."""
    rows = windows.shape[1]
    check_rows(kind, rows)
    x = windows.astype(np.int64)
    total = x.sum(axis=1)
    if kind == "mean":
        first, step, divisor = total, np.zeros_like(total), rows
    else:
        # With t[i] = 2i - (rows - 1): sum(t) = 0 and sum(t^2) = rows * (rows^2 - 1) / 3.
        t = 2 * np.arange(rows, dtype=np.int64) - (rows - 1)
        moment = (x * t[:, None]).sum(axis=1)
        first = (rows * rows - 1) * total - 3 * (rows - 1) * moment
        step, divisor = 6 * moment, rows * (rows * rows - 1)
    numerator = first[:, None] + np.arange(rows, dtype=np.int64)[:, None] * step[:, None]
    line = (2 * numerator + divisor) // (2 * divisor)
    return np.asarray(np.clip(x - line, -32768, 32767), np.int16)
