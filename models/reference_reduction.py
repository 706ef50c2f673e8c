"""Reference arithmetic of reductions: SUM, MEAN, REDUCE_MAX, REDUCE_MIN, ARG_MAX, ARG_MIN, L2_NORMALIZATION."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from secateur.models.fixed_point import quantize_multiplier, requantize
from secateur.models.program import Op, Program
from secateur.models.tables import inverse_sqrt

Ints = npt.NDArray[np.int64]


def mean_multiplier(multiplier: int, shift: int, count: int) -> tuple[int, int]:
    """(multiplier, shift) of a sum's rescaling with 1 / count put in.

    The multiplier is kept as long as 64 bits allow, and truncated: TFLite's own way.
    """
    extra = min(count.bit_length() - 1, 32, 31 + shift)
    return (multiplier << extra) // count, shift - extra


def reduce_sum(program: Program, op: Op, x: list[Any]) -> Ints:
    """SUM and MEAN over any axes."""
    source, out = program.tensors[op.inputs[0]], program.tensors[op.outputs[0]]
    over = _axes(x[0], x[1])
    count = int(np.prod([x[0].shape[a] for a in over], dtype=np.int64))
    pair = quantize_multiplier(source.scale / out.scale)
    if op.kind == "MEAN":
        pair = mean_multiplier(*pair, count)
    total = x[0].astype(np.int64).sum(axis=over) - source.zero_point * count
    return np.clip(requantize(total, *pair) + out.zero_point, -128, 127)


def reduce_extreme(program: Program, op: Op, x: list[Any]) -> Ints:
    """REDUCE_MAX and REDUCE_MIN."""
    over = _axes(x[0], x[1])
    return np.asarray(x[0].max(axis=over) if op.kind == "REDUCE_MAX" else x[0].min(axis=over), np.int64)


def arg_extreme(program: Program, op: Op, x: list[Any]) -> Ints:
    """ARG_MAX and ARG_MIN; the first of equal values."""
    find = np.argmax if op.kind == "ARG_MAX" else np.argmin
    return np.asarray(find(x[0], axis=op.options.axis), np.int64)


def l2_normalization(program: Program, op: Op, x: list[Any]) -> Ints:
    """Rows divided by their length, in 1/128."""
    value = x[0].astype(np.int64) - program.tensors[op.inputs[0]].zero_point
    rows = value.reshape(-1, value.shape[-1])
    found = np.zeros_like(rows)
    for row, result in zip(rows, found, strict=True):
        multiplier, shift = inverse_sqrt(int((row * row).sum()))
        result[:] = requantize(row, multiplier, shift + 7)
    return np.asarray(np.clip(found, -128, 127), np.int64)


def _axes(x: npt.NDArray[Any], axes: npt.NDArray[Any]) -> tuple[int, ...]:
    """The axes named, each once."""
    return tuple(sorted({int(a) % x.ndim for a in np.ravel(axes)}))
