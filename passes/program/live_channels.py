"""LiveChannels: which channels of each tensor must stay for the outputs to be what they are.

Mark and propagate: from the outputs backwards to what an operator reads, and across operators whose input and
output channels stand or fall together. Nothing is cut here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from secateur.models.program import Op, Program
from secateur.models.tables import TABLE_KINDS
from secateur.passes.program.value_ranges import (
    Ints,
    Mask,
    Range,
    bias_of,
    channels,
    filters,
    has_constant_weights,
    reshaped,
    taps,
)

ONE_TO_ONE = ("MAX_POOL_2D", "AVERAGE_POOL_2D", "QUANTIZE", "RELU", "RELU6", *TABLE_KINDS)
RESHAPES = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")


@dataclass(frozen=True)
class Tie:
    """Channel source[k] of input `operand` makes channel result[k] of the output.

    `mutual`: if the source is there, so is the result, because the kernel computes all or nothing of it.
    """

    operand: int
    source: Ints
    result: Ints
    mutual: bool = True


def live_channels(program: Program, ranges: dict[int, Range]) -> dict[int, Mask]:
    """(channels,) True where a channel must stay, of every tensor of an `exact` Program with these ranges.

    All channels of the Program's inputs, outputs and states stay. An operator with no live output channel is dead.
    """
    live = {i: np.zeros(channels(t), np.bool_) for i, t in enumerate(program.tensors)}
    states = (i for s in program.states for i in (s.before, s.after))
    for i in (*program.inputs, *program.outputs, *states):
        live[i][:] = True
    while True:
        before = _count(live)
        for op in (*reversed(program.ops), *program.ops):
            if live[op.outputs[0]].any():
                _propagate(program, op, ranges, live)
        if _count(live) == before:
            # Only once nothing else moves: what is needed anyway may do for these too.
            for op in program.ops:
                _keep_least(program, op, live)
            if _count(live) == before:
                return live


def _count(live: dict[int, Mask]) -> int:
    return sum(int(mask.sum()) for mask in live.values())


def _propagate(program: Program, op: Op, ranges: dict[int, Range], live: dict[int, Mask]) -> None:
    """One operator's rule, applied once; marks only grow."""
    out = live[op.outputs[0]]
    if mixes(program, op):
        live[op.inputs[0]] |= _read(program, op, out, ranges)
        return
    tied = ties(program, op)
    if tied is None:
        for i in (*op.inputs, *op.outputs):
            if i >= 0:
                live[i][:] = True
        return
    for tie in tied:
        source = live[op.inputs[tie.operand]]
        # a place may stand several times in an index array: only ever write True, to those that are
        source[tie.source[out[tie.result]]] = True
        if tie.mutual:
            out[tie.result[source[tie.source]]] = True


def _keep_least(program: Program, op: Op, live: dict[int, Mask]) -> None:
    """A live operator reads something, and a fully connected layer keeps its kind of scales."""
    out = live[op.outputs[0]]
    if not out.any():
        return
    if op.kind != "CONCATENATION" and not live[op.inputs[0]].any():
        live[op.inputs[0]][0] = True
    if op.kind == "FULLY_CONNECTED" and mixes(program, op) and out.sum() == 1:
        q = program.tensors[op.inputs[1]].quantization
        assert q is not None
        if q.per_channel:  # with one scale left, TFLite would compute its multiplier in another precision
            out[np.flatnonzero(~out)[0]] = True


def mixes(program: Program, op: Op) -> bool:
    """Every output channel is a weighted sum over all input channels: each side is cut on its own."""
    if op.kind not in ("CONV_2D", "FULLY_CONNECTED") or not has_constant_weights(program, op):
        return False
    x, weights = program.tensors[op.inputs[0]], program.tensors[op.inputs[1]]
    return op.kind == "FULLY_CONNECTED" or weights.shape[3] == channels(x)


def _read(program: Program, op: Op, out: Mask, ranges: dict[int, Range]) -> Mask:
    """Input channels that the live outputs of a weighted sum depend on, constants that its bias takes excepted."""
    weights = filters(program, op)
    always, never = taps(program, op)
    x = program.tensors[op.inputs[0]]
    seen = reshaped(ranges[op.inputs[0]], weights.shape[3])
    read = (weights[out & ~ranges[op.outputs[0]].constant] != 0).any(axis=0)  # (k_h, k_w, inputs)
    zero = seen.constant & (seen.low == x.zero_point)
    folds = seen.constant if _has_room(program, op) else zero
    needed = (read & ~never[:, :, None]).any(axis=(0, 1)) & ~folds
    # at a border the padding stands in for the constant: no bias is right everywhere
    needed |= (read & ~(always | never)[:, :, None]).any(axis=(0, 1)) & ~zero
    mask: Mask = needed.reshape(-1, channels(x)).any(axis=0)
    return mask


def _has_room(program: Program, op: Op) -> bool:
    """No order of adding up can leave int32 (undefined in C) once constants move into the bias."""
    largest = np.abs(bias_of(program, op)) + 255 * np.abs(filters(program, op)).sum(axis=(1, 2, 3))
    return bool((largest < 1 << 31).all())


def ties(program: Program, op: Op) -> tuple[Tie, ...] | None:
    """How the channels of inputs and output of `op` hang together; None: all of them stay."""
    x, out = program.tensors[op.inputs[0]], program.tensors[op.outputs[0]]
    if not x.shape or not out.shape:
        return None
    here, there = channels(x), channels(out)
    same = (Tie(0, np.arange(here), np.arange(here)),)
    if op.kind in ONE_TO_ONE:
        return same if here == there else None
    if op.kind == "DEPTHWISE_CONV_2D" and has_constant_weights(program, op):
        result = np.arange(there)
        return (Tie(0, result // (there // here), result, mutual=here > 1),)
    if op.kind in ("ADD", "MUL"):
        return _binary_ties(program, op)
    if op.kind in RESHAPES:
        longer = np.arange(max(here, there))
        if longer.size % min(here, there):
            return None
        return (Tie(0, longer % here, longer % there),)
    if op.kind == "MEAN":
        axes = program.tensors[op.inputs[1]].data
        return None if axes is None or (axes.ravel() % len(x.shape) == len(x.shape) - 1).any() else same
    if op.kind == "CONCATENATION":
        return _concatenation_ties(program, op)
    if op.kind in ("PAD", "PADV2"):
        amounts = program.tensors[op.inputs[1]].data
        if amounts is None or (amounts < 0).any():
            return None
        return (Tie(0, np.arange(here), int(amounts[-1, 0]) + np.arange(here)),)
    if op.kind == "STRIDED_SLICE" and here == there and op.options.strides[-1:] == (1,):
        return same
    return None


def _binary_ties(program: Program, op: Op) -> tuple[Tie, ...] | None:
    result = np.arange(channels(program.tensors[op.outputs[0]]))
    tied = []
    for operand, i in enumerate(op.inputs):
        t = program.tensors[i]
        if t.dtype != "int8":
            return None
        whole = channels(t) == len(result)
        tied.append(Tie(operand, result if whole else np.zeros_like(result), result, mutual=whole))
    return tuple(tied)


def _concatenation_ties(program: Program, op: Op) -> tuple[Tie, ...] | None:
    if op.options.activation != "NONE" or any(program.tensors[i].dtype != "int8" for i in op.inputs):
        return None
    rank = len(program.tensors[op.outputs[0]].shape)
    deep = op.options.axis % rank == rank - 1
    tied, offset = [], 0
    for operand, i in enumerate(op.inputs):
        own = np.arange(channels(program.tensors[i]))
        tied.append(Tie(operand, own, own + offset))
        offset += len(own) if deep else 0
    return tuple(tied)
