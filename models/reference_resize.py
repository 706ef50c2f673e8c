"""Reference arithmetic of RESIZE_BILINEAR: TFLite's integer one, positions in 1/1024."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from secateur.models.program import Op, Options, Program

Ints = npt.NDArray[np.int64]
ONE = 1 << 10


def steps(size: int, wanted: int, options: Options) -> tuple[int, int]:
    """(position of output 0, from one output to the next) along an axis of `size` stretched to `wanted`."""
    if options.align_corners and wanted > 1:
        step = (ONE * (size - 1) + (wanted - 1) // 2) // (wanted - 1)
    else:
        step = (ONE * size + wanted // 2) // wanted
    return (step // 2 - ONE // 2 if options.half_pixel_centers else 0), step


def between(size: int, wanted: int, options: Options) -> tuple[Ints, Ints, Ints]:
    """(lower position, upper position, how far from the lower in 1/1024) of every output along an axis."""
    start, step = steps(size, wanted, options)
    position = start + step * np.arange(wanted, dtype=np.int64)
    low = np.maximum(_truncate(position), 0)
    return low, np.minimum(_truncate(position + ONE - 1), size - 1), position - ONE * low


def resize_bilinear(program: Program, op: Op, x: list[Any]) -> Ints:
    """Rounded to nearest, ties away from zero."""
    value = x[0].astype(np.int64)
    _, height, width, _ = program.tensors[op.outputs[0]].shape
    y0, y1, dy = between(value.shape[1], height, op.options)
    x0, x1, dx = between(value.shape[2], width, op.options)
    down, right = dy[:, None, None], dx[:, None]
    upper = value[:, y0][:, :, x0] * (ONE - right) + value[:, y0][:, :, x1] * right
    lower = value[:, y1][:, :, x0] * (ONE - right) + value[:, y1][:, :, x1] * right
    total = upper * (ONE - down) + lower * down
    return np.asarray(np.sign(total) * ((np.abs(total) + ONE * ONE // 2) >> 20), np.int64)


def _truncate(position: Ints) -> Ints:
    """C's division by 1024."""
    return np.asarray(np.sign(position) * (np.abs(position) // ONE), np.int64)
