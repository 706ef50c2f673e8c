"""Reference arithmetic of operators with memory: SVDF and UNIDIRECTIONAL_SEQUENCE_LSTM, and the LSTM's constants."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from secateur.models.fixed_point import quantize_multiplier, reduced_multiplier, requantize, requantize_wide, wrap32
from secateur.models.program import DTYPES, Op, Program

Ints = npt.NDArray[np.int64]
Pair = tuple[int, int]

# sigmoid(i / 24) in 0.16 fixed point, as TFLite has it: a few entries are not what rounding gives.
SIGMOID: Ints = np.array([
    32768, 33451, 34133, 34813, 35493, 36169, 36843, 37513, 38180, 38841, 39498, 40149, 40794, 41432, 42064, 42688,
    43304, 43912, 44511, 45102, 45683, 46255, 46817, 47369, 47911, 48443, 48964, 49475, 49975, 50464, 50942, 51409,
    51865, 52311, 52745, 53169, 53581, 53983, 54374, 54755, 55125, 55485, 55834, 56174, 56503, 56823, 57133, 57433,
    57724, 58007, 58280, 58544, 58800, 59048, 59288, 59519, 59743, 59959, 60168, 60370, 60565, 60753, 60935, 61110,
    61279, 61441, 61599, 61750, 61896, 62036, 62172, 62302, 62428, 62549, 62666, 62778, 62886, 62990, 63090, 63186,
    63279, 63368, 63454, 63536, 63615, 63691, 63765, 63835, 63903, 63968, 64030, 64090, 64148, 64204, 64257, 64308,
    64357, 64405, 64450, 64494, 64536, 64576, 64614, 64652, 64687, 64721, 64754, 64786, 64816, 64845, 64873, 64900,
    64926, 64950, 64974, 64997, 65019, 65039, 65060, 65079, 65097, 65115, 65132, 65149, 65164, 65179, 65194, 65208,
    65221, 65234, 65246, 65258, 65269, 65280, 65291, 65301, 65310, 65319, 65328, 65337, 65345, 65352, 65360, 65367,
    65374, 65381, 65387, 65393, 65399, 65404, 65410, 65415, 65420, 65425, 65429, 65433, 65438, 65442, 65445, 65449,
    65453, 65456, 65459, 65462, 65465, 65468, 65471, 65474, 65476, 65479, 65481, 65483, 65485, 65488, 65489, 65491,
    65493, 65495, 65497, 65498, 65500, 65501, 65503, 65504, 65505, 65507, 65508, 65509, 65510, 65511, 65512, 65513,
    65514, 65515, 65516, 65517, 65517, 65518, 65519, 65520, 65520, 65521, 65522, 65522, 65523, 65523, 65524, 65524,
    65525, 65525, 65526, 65526, 65526, 65527, 65527, 65528, 65528, 65528, 65529, 65529, 65529, 65529, 65530, 65530,
    65530, 65530, 65531, 65531, 65531, 65531, 65531, 65532, 65532, 65532, 65532, 65532, 65532, 65533, 65533, 65533,
    65533, 65533, 65533, 65533, 65533, 65534, 65534, 65534, 65534, 65534, 65534, 65534, 65534, 65534, 65534, 65535,
], np.int64)  # fmt: skip
GATES = 4
"""In the file's order: input, forget, cell, output."""


def svdf_multipliers(program: Program, op: Op) -> tuple[Pair, Pair]:
    """(multiplier, shift) of what enters the memory and of what leaves it."""
    x, feature, time, state, out = (
        np.float64(program.tensors[i].scale) for i in (*op.inputs[:3], op.inputs[4], op.outputs[0])
    )
    return quantize_multiplier(float(x * feature / state)), quantize_multiplier(float(state * time / out))


def svdf(program: Program, op: Op, x: list[Any]) -> tuple[Ints, ...]:
    """(output, memory after)."""
    source, state, out = (program.tensors[i] for i in (op.inputs[0], op.inputs[4], op.outputs[0]))
    entering, leaving = svdf_multipliers(program, op)
    filters, memory = x[2].shape
    batch = x[0].shape[0]
    limits = np.iinfo(DTYPES[state.dtype])
    newest = (x[0].astype(np.int64) - source.zero_point) @ x[1].astype(np.int64).T
    newest = np.clip(requantize(newest, *entering), limits.min, limits.max) + state.zero_point
    rows = x[4].astype(np.int64).reshape(batch, filters, memory)
    after = np.concatenate([rows[..., 1:], newest[..., None]], axis=2).astype(DTYPES[state.dtype])
    sums = ((after.astype(np.int64) - state.zero_point) * x[2].astype(np.int64)).sum(axis=2)
    total = sums.reshape(batch, -1, op.options.rank).sum(axis=2) + x[3].astype(np.int64)
    found = np.clip(requantize(wrap32(total), *leaving) + out.zero_point, -128, 127)
    return found, after.astype(np.int64)


@dataclass(frozen=True)
class LstmScales:
    """(multiplier, shift) of everything that an LSTM rescales; `tanh`: of the cell state, (multiplier, right shift).

    Of int16 activations, `gates` and `recurrent` rescale sums of 64 bits.
    """

    gates: tuple[Pair, ...]
    recurrent: tuple[Pair, ...]
    forget: Pair
    update: Pair
    hidden: Pair
    tanh: Pair
    cell_clip: int


def lstm_scales(program: Program, op: Op) -> LstmScales:
    """Inputs of `op`: x, four input weights, four recurrent ones, four biases, hidden state, cell state."""
    x, hidden, cell = (program.tensors[i] for i in (op.inputs[0], op.inputs[13], op.inputs[14]))
    weights = [program.tensors[i] for i in op.inputs[1:9]]

    def gate(scale: float, weight: float) -> Pair:
        multiplier, shift = quantize_multiplier(float(np.float64(scale) * np.float64(weight) / 2.0**-12))
        return (reduced_multiplier(multiplier) if x.dtype == "int16" else multiplier), shift

    cell_scale = np.float64(np.float32(cell.scale))
    left = 15 + round(math.log2(cell.scale)) - 3
    return LstmScales(
        gates=tuple(gate(x.scale, w.scale) for w in weights[:GATES]),
        recurrent=tuple(gate(hidden.scale, w.scale) for w in weights[GATES:]),
        forget=quantize_multiplier(float(2.0**-15 * cell_scale / cell_scale)),
        update=quantize_multiplier(float(2.0**-30 / cell_scale)),
        hidden=quantize_multiplier(float(2.0**-30 / np.float64(np.float32(hidden.scale)))),
        tanh=(3 << left, 0) if left >= 0 else (3, -left),
        cell_clip=int(min(max(op.options.cell_clip / float(cell_scale), -32768.0), 32767.0)),
    )


def sigmoid16(x: Ints, multiplier: int = 3, shift: int = 0) -> Ints:
    """Of x * multiplier / 2**shift (3, 0: of Q3.12), in Q0.15: the table, linear in between."""
    scaled = (x * multiplier + ((1 << shift) >> 1)) >> shift
    a = np.abs(scaled)
    at = np.minimum(a >> 9, 254)
    inside = (SIGMOID[at] << 9) + (a & 0x1FF) * (SIGMOID[at + 1] - SIGMOID[at])
    result = np.where(a >> 9 >= 255, 0x7FFF << 10, inside)
    return np.asarray(np.where(scaled >= 0, result + (1 << 9), (1 << 25) - result + (1 << 9) - 1) >> 10, np.int64)


def tanh16(x: Ints, multiplier: int, shift: int) -> Ints:
    """Of x * multiplier / 2**shift, in Q0.15."""
    scaled = (x * multiplier + ((1 << shift) >> 1)) >> shift
    a = np.abs(scaled)
    at = np.minimum(a >> 8, 254)
    inside = (SIGMOID[at] << 8) + (a & 0xFF) * (SIGMOID[at + 1] - SIGMOID[at])
    result = np.where(a >> 8 >= 255, 0xFFFF << 8, inside)
    found = np.where(scaled >= 0, result - (1 << 23) + (1 << 7), -result + (1 << 23) + (1 << 7) - 1)
    return np.asarray(found >> 8, np.int64)


def lstm(program: Program, op: Op, x: list[Any]) -> tuple[Ints, ...]:
    """(output, hidden state after, cell state after)."""
    source, hidden = program.tensors[op.inputs[0]], program.tensors[op.inputs[13]]
    s = lstm_scales(program, op)
    wide = source.dtype == "int16"
    rescale = requantize_wide if wide else _requantize_wrapped
    limits = np.iinfo(DTYPES[source.dtype])
    weights = [w.astype(np.int64) for w in x[1:9]]
    biases = [b.astype(np.int64) for b in x[9:13]]
    units = weights[GATES].shape[0]
    value = x[0].astype(np.int64) - source.zero_point
    steps = value if op.options.time_major else value.swapaxes(0, 1)
    h, c = x[13].astype(np.int64).reshape(-1, units), x[14].astype(np.int64).reshape(-1, units)
    found = []
    for row in steps:
        gates = []
        for g in range(GATES):
            entering = _clip16(rescale(row @ weights[g].T + biases[g], *s.gates[g]))
            again = _clip16(rescale((h - hidden.zero_point) @ weights[GATES + g].T, *s.recurrent[g]))
            total = _clip16(entering + again)
            gates.append(tanh16(total, 3, 0) if g == 2 else sigmoid16(total))
        c = _clip16(_clip16(requantize(gates[1] * c, *s.forget)) + _clip16(requantize(gates[0] * gates[2], *s.update)))
        if s.cell_clip > 0:
            c = np.clip(c, -s.cell_clip, s.cell_clip)
        squashed = requantize(tanh16(c, *s.tanh) * gates[3], *s.hidden)
        h = np.asarray(np.clip(squashed + hidden.zero_point, limits.min, limits.max), np.int64)
        found.append(h)
    rows = np.stack(found)
    return (rows if op.options.time_major else rows.swapaxes(0, 1)), h, c


def _requantize_wrapped(x: Ints, multiplier: int, shift: int) -> Ints:
    return requantize(wrap32(x), multiplier, shift)


def _clip16(x: Ints) -> Ints:
    return np.asarray(np.clip(x, -32768, 32767), np.int64)
