"""ValueRanges: which int8 values each channel of an exact Program can take, whatever the input.

Interval arithmetic through TFLite's own integers: sums of products are bounded exactly, and everything after them
is monotone (requantization by a positive multiplier, clamps), so the ends of an interval map to its ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from secateur.models.fixed_point import INT32_MAX, activation_range, quantize_multiplier, requantize
from secateur.models.program import WEIGHTED, Op, Program, Tensor
from secateur.models.tables import TABLE_KINDS, table

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

INT32_MIN = -INT32_MAX - 1


@dataclass(frozen=True)
class Range:
    """[low, high] of each channel, both included: int64 arrays (channels,), channels along the last dimension."""

    low: Ints
    high: Ints

    @property
    def constant(self) -> Mask:
        """Channels that hold one value at every position, for every input."""
        same: Mask = self.low == self.high
        return same


def channels(tensor: Tensor) -> int:
    return tensor.shape[-1] if tensor.shape else 1


def exact(program: Program) -> bool:
    """Every activation is int8 with one scale, and every operator has one output: ranges are defined."""
    activations = [t for t in program.tensors if t.data is None]
    return all(len(op.outputs) == 1 for op in program.ops) and all(
        t.dtype == "int8" and t.quantization is not None and not t.quantization.per_channel for t in activations
    )


def value_ranges(program: Program) -> dict[int, Range]:
    """The range of every activation and int8 constant of an `exact` Program, by tensor index.

    Operators without a rule give the whole of int8: right for any of them, and never wrong.
    """
    found = {i: _of_data(t) for i, t in enumerate(program.tensors) if t.data is not None and t.dtype == "int8"}
    found |= {i: _anything(program.tensors[i]) for i in (*program.inputs, *(s.before for s in program.states))}
    for op in program.ops:
        out = program.tensors[op.outputs[0]]
        ruled = _of_op(program, op, found)
        found[op.outputs[0]] = _anything(out) if ruled is None else ruled
    return found


def _anything(tensor: Tensor) -> Range:
    count = channels(tensor)
    return Range(np.full(count, -128), np.full(count, 127))


def _of_data(tensor: Tensor) -> Range:
    assert tensor.data is not None
    rows = tensor.data.reshape(-1, channels(tensor)).astype(np.int64)
    return Range(rows.min(axis=0), rows.max(axis=0))


def _of_op(program: Program, op: Op, found: dict[int, Range]) -> Range | None:
    """The range of the output of `op`, or None where there is no rule."""
    out = program.tensors[op.outputs[0]]
    if op.kind in WEIGHTED:
        return weighted_range(program, op, found[op.inputs[0]]) if has_constant_weights(program, op) else None
    if any(i not in found for i in (op.inputs if op.kind in ("ADD", "MUL", "CONCATENATION") else op.inputs[:1])):
        return None
    x = found[op.inputs[0]]
    if op.kind == "ADD":
        return _add(program, op, x, found[op.inputs[1]])
    if op.kind == "MUL":
        return _mul(program, op, x, found[op.inputs[1]])
    if op.kind in ("MAX_POOL_2D", "AVERAGE_POOL_2D"):
        # a maximum or a rounded average of values in [low, high] lies there too
        low, high = activation_range(op.options.activation, out.scale, out.zero_point)
        return Range(np.clip(x.low, low, high), np.clip(x.high, low, high))
    if op.kind == "MEAN":
        return _mean(program, op, x)
    if op.kind in ("RESHAPE", "SQUEEZE", "EXPAND_DIMS"):
        return reshaped(x, channels(out))
    if op.kind == "CONCATENATION":
        return _concatenated(op, out, [found[i] for i in op.inputs])
    if op.kind in ("PAD", "PADV2"):
        return _padded(program, op, x)
    if op.kind == "STRIDED_SLICE" and op.options.begin:
        picked = op.options.begin[-1] + op.options.strides[-1] * np.arange(channels(out))
        return Range(x.low[picked], x.high[picked])
    if op.kind in ("QUANTIZE", "RELU", "RELU6"):
        return _rescaled(program, op, x)
    if op.kind in TABLE_KINDS and op.kind != "DIV":
        return _looked_up(program, op, x)
    return None


# -- operators with weights


def has_constant_weights(program: Program, op: Op) -> bool:
    """`op` is a convolution or fully connected layer of batch 1 with constant, symmetric int8 weights."""
    if op.kind not in WEIGHTED:
        return False
    x, weights = program.tensors[op.inputs[0]], program.tensors[op.inputs[1]]
    q = weights.quantization
    if weights.data is None or weights.dtype != "int8" or q is None or any(q.zero_point):
        return False
    if len(op.inputs) > 2 and op.inputs[2] >= 0 and program.tensors[op.inputs[2]].data is None:
        return False
    if op.kind == "FULLY_CONNECTED":
        return weights.shape[1] % channels(x) == 0
    return len(x.shape) == 4 and x.shape[0] == 1


def filters(program: Program, op: Op) -> Ints:
    """Weights as (output channels, k_h, k_w, inputs of one group), whatever the operator's own layout."""
    data = program.tensors[op.inputs[1]].data
    assert data is not None
    weights = data.astype(np.int64)
    if op.kind == "DEPTHWISE_CONV_2D":
        return weights.transpose(3, 1, 2, 0)
    return weights[:, None, None, :] if op.kind == "FULLY_CONNECTED" else weights


def bias_of(program: Program, op: Op) -> Ints:
    """(output channels,), zeros where the operator has none."""
    data = program.tensors[op.inputs[2]].data if len(op.inputs) > 2 and op.inputs[2] >= 0 else None
    count = channels(program.tensors[op.outputs[0]])
    return np.zeros(count, np.int64) if data is None else data.astype(np.int64).ravel()


def taps(program: Program, op: Op) -> tuple[Mask, Mask]:
    """(always, never) inside the input, each (k_h, k_w). A tap that is neither meets the padding at a border."""
    if op.kind == "FULLY_CONNECTED":
        return np.array([[True]]), np.array([[False]])
    x, weights, out = (program.tensors[i].shape for i in (op.inputs[0], op.inputs[1], op.outputs[0]))
    o = op.options
    sides = []
    for axis, before in ((0, o.padding.top), (1, o.padding.left)):
        first = np.arange(out[1 + axis]) * o.stride[axis] - before
        place = np.add.outer(first, np.arange(weights[1 + axis]) * o.dilation[axis])
        sides.append((place >= 0) & (place < x[1 + axis]))
    rows, columns = sides
    always = np.logical_and.outer(rows.all(axis=0), columns.all(axis=0))
    never = ~np.logical_and.outer(rows.any(axis=0), columns.any(axis=0))
    return always, never


def accumulator_range(program: Program, op: Op, x: Range) -> Range:
    """Least and largest int32 sum of each output channel of a weighted `op`, before any wrap: exact bounds.

    Outside the input a tap counts as the input's zero point, so the offset value 0 joins its interval there.
    """
    weights, bias = filters(program, op), bias_of(program, op)
    always, never = (np.expand_dims(mask, (0, 3)) for mask in taps(program, op))
    zero_point = program.tensors[op.inputs[0]].zero_point
    inputs = program.tensors[op.inputs[1]].shape[1] if op.kind == "FULLY_CONNECTED" else len(x.low)
    seen = reshaped(x, inputs)
    groups = inputs // weights.shape[3]
    ends = []
    for end, widen in ((seen.low, np.minimum), (seen.high, np.maximum)):
        value = np.repeat(end.reshape(groups, -1) - zero_point, len(weights) // groups, axis=0)[:, None, None, :]
        ends.append(np.where(never, 0, np.where(always, value, widen(value, 0))))
    low, high = ends
    least = np.where(weights > 0, weights * low, weights * high).sum(axis=(1, 2, 3))
    largest = np.where(weights > 0, weights * high, weights * low).sum(axis=(1, 2, 3))
    return Range(bias + least, bias + largest)


def weighted_range(program: Program, op: Op, x: Range) -> Range:
    """The range of the output of a convolution or fully connected layer."""
    source, weights, out = (program.tensors[i] for i in (op.inputs[0], op.inputs[1], op.outputs[0]))
    assert weights.quantization is not None
    scales = np.asarray(weights.quantization.scale, np.float32)
    real = [float(np.float64(source.scale) * np.float64(s) / np.float64(out.scale)) for s in scales]
    pairs = np.array([quantize_multiplier(r) for r in real], np.int64)
    return _finished(accumulator_range(program, op, x), pairs[:, 0], pairs[:, 1], op.options.activation, out)


def _finished(sums: Range, multiplier: Any, shift: Any, activation: str, out: Tensor) -> Range:
    """Requantized, moved to the zero point and clamped. A sum that may wrap in int32 may become anything."""
    low, high = activation_range(activation, out.scale, out.zero_point)
    left = np.maximum(shift, 0)
    ends, tame = [], np.ones(len(sums.low), np.bool_)
    for end in (sums.low, sums.high):
        within = np.clip(end, INT32_MIN, INT32_MAX)
        # compared by dividing: a shift to the left might leave int64 too
        tame &= (within == end) & (within >= INT32_MIN >> left) & (within <= INT32_MAX >> left)
        ends.append(np.clip(requantize(within, multiplier, shift) + out.zero_point, low, high))
    return Range(np.where(tame, ends[0], low), np.where(tame, ends[1], high))


# -- operators without weights


def _rescaled(program: Program, op: Op, x: Range) -> Range:
    source, out = program.tensors[op.inputs[0]], program.tensors[op.outputs[0]]
    real = source.scale / out.scale
    x = reshaped(x, channels(out))
    sums = Range(x.low - source.zero_point, x.high - source.zero_point)
    return _finished(sums, *quantize_multiplier(real), "NONE" if op.kind == "QUANTIZE" else op.kind, out)


_table = lru_cache(maxsize=64)(table)  # asked again at every round of simplification


def _looked_up(program: Program, op: Op, x: Range) -> Range:
    """Of a function that need not be monotone: the extremes of its table within the interval."""
    source, out = program.tensors[op.inputs[0]], program.tensors[op.outputs[0]]
    x = reshaped(x, channels(out))
    values = _table(op.kind, op.options, source, out)
    parts = [values[low + 128 : high + 129] for low, high in zip(x.low, x.high, strict=True)]
    return Range(np.array([p.min() for p in parts]), np.array([p.max() for p in parts]))


def _add(program: Program, op: Op, a: Range, b: Range) -> Range:
    left, right, out = (program.tensors[i] for i in (*op.inputs, *op.outputs))
    twice = 2 * max(np.float64(left.scale), np.float64(right.scale))

    def total(x: Ints, y: Ints) -> Ints:
        parts = [
            requantize((value - t.zero_point) << 20, *quantize_multiplier(float(t.scale / twice)))
            for value, t in ((x, left), (y, right))
        ]
        return np.broadcast_to(parts[0] + parts[1], (channels(out),))

    real = float(twice / ((1 << 20) * np.float64(out.scale)))
    sums = Range(total(a.low, b.low), total(a.high, b.high))
    return _finished(sums, *quantize_multiplier(real), op.options.activation, out)


def _mul(program: Program, op: Op, a: Range, b: Range) -> Range:
    left, right, out = (program.tensors[i] for i in (*op.inputs, *op.outputs))
    corners = np.stack(
        [
            np.broadcast_to((x - left.zero_point) * (y - right.zero_point), (channels(out),))
            for x in (a.low, a.high)
            for y in (b.low, b.high)
        ]
    )
    sums = Range(corners.min(axis=0), corners.max(axis=0))
    real = left.scale * right.scale / out.scale
    return _finished(sums, *quantize_multiplier(real), op.options.activation, out)


def _mean(program: Program, op: Op, x: Range) -> Range | None:
    source, axes, out = (program.tensors[i] for i in (*op.inputs[:2], op.outputs[0]))
    if axes.data is None:
        return None
    over = {int(a) % len(source.shape) for a in axes.data.ravel()}
    if len(source.shape) - 1 in over:
        return None
    count = int(np.prod([source.shape[a] for a in over]))
    multiplier, shift = quantize_multiplier(source.scale / out.scale)
    extra = min(count.bit_length() - 1, 32, 31 + shift)
    sums = Range((x.low - source.zero_point) * count, (x.high - source.zero_point) * count)
    return _finished(sums, (multiplier << extra) // count, shift - extra, "NONE", out)


def reshaped(x: Range, count: int) -> Range:
    """`x` seen through a row-major reshape to `count` values in the last dimension."""
    here = len(x.low)
    if count % here == 0:
        return Range(np.tile(x.low, count // here), np.tile(x.high, count // here))
    if here % count == 0:
        return Range(x.low.reshape(-1, count).min(axis=0), x.high.reshape(-1, count).max(axis=0))
    return Range(np.full(count, x.low.min()), np.full(count, x.high.max()))


def _concatenated(op: Op, out: Tensor, parts: list[Range]) -> Range | None:
    if op.options.activation != "NONE":
        return None
    if op.options.axis % len(out.shape) == len(out.shape) - 1:
        return Range(np.concatenate([p.low for p in parts]), np.concatenate([p.high for p in parts]))
    return Range(np.min([p.low for p in parts], axis=0), np.max([p.high for p in parts], axis=0))


def _padded(program: Program, op: Op, x: Range) -> Range | None:
    amounts, value = program.tensors[op.inputs[1]].data, padding_value(program, op)
    if amounts is None or value is None or (amounts < 0).any():
        return None
    low, high = x.low, x.high
    if amounts[:-1].any():
        low, high = np.minimum(low, value), np.maximum(high, value)
    before, after = (int(n) for n in amounts[-1])
    return Range(*(np.pad(end, (before, after), constant_values=value) for end in (low, high)))


def padding_value(program: Program, op: Op) -> int | None:
    """The int8 value that PAD or PADV2 writes around its input, or None where it is computed."""
    if op.kind == "PAD":
        return program.tensors[op.outputs[0]].zero_point
    data = program.tensors[op.inputs[2]].data
    return None if data is None else int(data.ravel()[0])
