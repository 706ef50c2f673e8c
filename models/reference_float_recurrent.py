"""Reference arithmetic of float32 operators with memory: single operations in the order of TensorFlow Lite Micro's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from secateur.models.program import Op, Program
from secateur.models.reference_float_functions import LARGEST, Floats, clamp, logistic, tanh
from secateur.models.reference_recurrent import GATES


def _dot(x: Floats, weights: Floats) -> Floats:
    """x @ weights.T, each sum along the row in order, beginning with 0."""
    sums = np.zeros((x.shape[0], weights.shape[0]), np.float32)
    for k in range(x.shape[1]):
        sums = sums + x[:, k, None] * weights[None, :, k]
    return sums


def _clamped(x: Floats, activation: str) -> Floats:
    """What is no number becomes the upper end, or where there is none the lower one; without any it stays."""
    ends = {"NONE": (None, None), "RELU": (0, None), "RELU6": (0, 6), "RELU_N1_TO_1": (-1, 1)}[activation]
    low, high = (None if end is None else np.float32(end) for end in ends)
    x = x if high is None else np.where(x < high, x, high)
    return x if low is None else np.where(low < x, x, low)


def svdf_f32(program: Program, op: Op, x: list[Any]) -> tuple[Floats, ...]:
    """(output, memory after)."""
    filters, memory = x[2].shape
    batch, rank = x[0].shape[0], op.options.rank
    rows = x[4].reshape(batch, filters, memory)
    after = np.concatenate([rows[..., 1:], _dot(x[0], x[1])[..., None]], axis=2)
    sums = np.zeros((batch, filters), np.float32)
    for k in range(memory):
        sums = sums + x[2][:, k] * after[..., k]
    total = np.broadcast_to(x[3], (batch, filters // rank))
    for r in range(rank):
        total = total + sums[:, r::rank]
    return _clamped(total, op.options.activation), after


def lstm_f32(program: Program, op: Op, x: list[Any]) -> tuple[Floats, ...]:
    """(output, hidden state after, cell state after). Sums and products beyond the largest float become that."""
    largest = float(LARGEST)
    weights, biases = x[1:9], x[9:13]
    units, clip = weights[GATES].shape[0], op.options.cell_clip
    steps = x[0] if op.options.time_major else x[0].swapaxes(0, 1)
    h, c = x[13].reshape(-1, units), x[14].reshape(-1, units)
    found = []
    for row in steps:
        gates = []
        for g in range(GATES):
            entering = clamp(_dot(row, weights[g]) + biases[g], -largest, largest)
            total = entering + clamp(_dot(h, weights[GATES + g]), -largest, largest)
            gates.append(tanh(total) if g == 2 else logistic(total))
        c = clamp(gates[1] * c, -largest, largest) + clamp(gates[0] * gates[2], -largest, largest)
        c = clamp(c, -clip, clip) if clip > 0 else c
        h = clamp(tanh(c) * gates[3], -largest, largest)
        found.append(h)
    rows = np.stack(found)
    return (rows if op.options.time_major else rows.swapaxes(0, 1)), h, c


FLOAT_RECURRENT: dict[str, Callable[[Program, Op, list[Any]], tuple[Floats, ...]]] = {
    "SVDF": svdf_f32, "UNIDIRECTIONAL_SEQUENCE_LSTM": lstm_f32,
}  # fmt: skip
