"""Remove channels that are one constant, or that nobody reads; biases take over what the constants contributed.

Interval analysis (value_ranges.py) proves a channel constant, marking (live_channels.py) finds what must stay, and
this pass cuts the rest: exact, because a dropped channel either met only zero weights or added the same integer to
every sum. Of MLPerf Tiny's person detector (VWW) about half the arithmetic goes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from secateur.models.fixed_point import INT32_MAX
from secateur.models.program import WEIGHTED, Op, Program, Quantization, Tensor, with_ops
from secateur.passes.contract import Pass, same_interface
from secateur.passes.program.live_channels import live_channels, mixes
from secateur.passes.program.promises import exact_activations, no_more_macs, no_more_operators, same_ends
from secateur.passes.program.value_ranges import (
    INT32_MIN,
    Ints,
    Mask,
    Range,
    accumulator_range,
    bias_of,
    filters,
    has_constant_weights,
    reshaped,
    taps,
    value_ranges,
)


class RemoveConstantChannels(Pass[Program]):
    """Cut constant and unread channels out of every tensor, and operators that are left without any.

    Kept although constant: channels that the padding of a convolution tells from the zero point at its border,
    channels tied to a live one (ADD, MUL, depthwise), and those that softmax, grouped convolutions, slices of
    channels and unknown operators read.
    """

    requires = (exact_activations,)
    ensures = (same_interface, same_ends, no_more_macs, no_more_operators)

    def run(self, model: Program) -> Program:
        ranges = value_ranges(model)
        live = live_channels(model, ranges)
        used = {i for op in model.ops for i in (*model.activations(op), *op.outputs)}
        if all(live[i].all() for i in used):
            return model
        return _Cut(model, ranges, live).program()


class _Cut:
    def __init__(self, model: Program, ranges: dict[int, Range], live: dict[int, Mask]) -> None:
        self.model, self.ranges, self.live = model, ranges, live
        self.tensors = [self.narrowed(i) if t.data is None else t for i, t in enumerate(model.tensors)]

    def program(self) -> Program:
        ops = [self.op(op) for op in self.model.ops if self.live[op.outputs[0]].any()]
        return with_ops(self.model, ops, self.tensors)

    def narrowed(self, index: int) -> Tensor:
        """An activation or constant operand with its live channels only."""
        t, mask = self.model.tensors[index], self.live[index]
        if mask.all() or not t.shape:
            return t
        data = None if t.data is None else np.ascontiguousarray(t.data[..., mask])
        return replace(t, shape=(*t.shape[:-1], int(mask.sum())), data=data)

    def add(self, tensor: Tensor) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def op(self, op: Op) -> Op:
        if op.kind in WEIGHTED:
            return self.weighted(op) if has_constant_weights(self.model, op) else op
        if op.kind in ("PAD", "PADV2"):
            return self.pad(op)
        if op.kind == "CONCATENATION":
            op = replace(op, inputs=tuple(i for i in op.inputs if self.live[i].any()))
        elif op.kind not in ("ADD", "MUL"):
            return replace(op, inputs=(self.operand(op.inputs[0]), *op.inputs[1:]))
        return replace(op, inputs=tuple(self.operand(i) for i in op.inputs))

    def operand(self, index: int) -> int:
        """`index`, or that of the cut copy of a constant: others may use the whole."""
        whole = index < 0 or self.model.tensors[index].data is None or self.live[index].all()
        return index if whole else self.add(self.narrowed(index))

    def pad(self, op: Op) -> Op:
        """Padded channels that nobody reads are not written either."""
        amounts, mask = self.model.tensors[op.inputs[1]], self.live[op.outputs[0]]
        if amounts.data is None or mask.all():
            return op
        before = int(amounts.data[-1, 0])
        after = before + self.model.tensors[op.inputs[0]].shape[-1]
        data = amounts.data.copy()
        data[-1] = mask[:before].sum(), mask[after:].sum()
        changed = self.add(replace(amounts, data=data))
        return replace(op, inputs=(self.operand(op.inputs[0]), changed, *op.inputs[2:]))

    def weighted(self, op: Op) -> Op:
        """Weights of the live channels, and a bias with the constants that went."""
        x, rows = self.live[op.inputs[0]], self.live[op.outputs[0]]
        weights, bias = filters(self.model, op), bias_of(self.model, op)
        if mixes(self.model, op):
            columns = np.tile(x, weights.shape[3] // len(x))
            bias = bias + self.folded(op, weights, columns)
            weights, bias = self.settled(op, weights, bias)
            weights = weights[..., columns]
        if x.all() and rows.all():
            return op
        options = op.options
        if op.kind == "DEPTHWISE_CONV_2D":
            options = replace(options, depth_multiplier=int(rows.sum()) // int(x.sum()))
        inputs = (self.operand(op.inputs[0]), *self.constants(op, weights[rows], bias[rows], rows))
        return replace(op, inputs=inputs, options=options)

    def folded(self, op: Op, weights: Ints, columns: Mask) -> Ints:
        """What the dropped constant inputs add to each output channel; dropped others met zero weights only."""
        seen = reshaped(self.ranges[op.inputs[0]], weights.shape[3])
        offset = np.where(seen.constant & ~columns, seen.low - self.model.tensors[op.inputs[0]].zero_point, 0)
        always, _ = taps(self.model, op)
        total: Ints = (weights[:, always, :] * offset).sum(axis=(1, 2))
        return total

    def settled(self, op: Op, weights: Ints, bias: Ints) -> tuple[Ints, Ints]:
        """Live outputs that are constant all the same get no weights, but a sum that gives their value."""
        fixed = self.ranges[op.outputs[0]].constant
        least = accumulator_range(self.model, op, self.ranges[op.inputs[0]]).low
        # A sum outside int32 says that the clamp alone makes the value: then any other sum does too.
        sums = np.where((least >= INT32_MIN) & (least <= INT32_MAX), least, 0)
        return np.where(fixed[:, None, None, None], 0, weights), np.where(fixed, sums, bias)

    def constants(self, op: Op, weights: Ints, bias: Ints, rows: Mask) -> list[int]:
        """New weights and bias tensors, the weights back in the operator's own layout."""
        old = self.model.tensors[op.inputs[1]]
        if op.kind == "DEPTHWISE_CONV_2D":
            weights = weights.transpose(1, 2, 3, 0).reshape(1, *weights.shape[1:3], -1)
        elif op.kind == "FULLY_CONNECTED":
            weights = weights[:, 0, 0, :]
        data = np.ascontiguousarray(weights.astype(np.int8))
        made = [self.add(replace(old, shape=data.shape, data=data, quantization=_of_rows(old.quantization, rows)))]
        given = len(op.inputs) > 2 and op.inputs[2] >= 0
        if given or bias.any():
            before = self.model.tensors[op.inputs[2]] if given else Tensor(f"{op.name}_bias", (), "int32")
            values = bias.astype(np.int32)
            q = _of_rows(before.quantization, rows)
            made.append(self.add(replace(before, shape=values.shape, data=values, quantization=q)))
        return made


def _of_rows(quantization: Quantization | None, rows: Mask) -> Quantization | None:
    """The scales of the rows that stay."""
    if quantization is None or not quantization.per_channel:
        return quantization
    pick = np.flatnonzero(rows)
    return replace(
        quantization,
        scale=tuple(quantization.scale[i] for i in pick),
        zero_point=tuple(quantization.zero_point[i] for i in pick),
    )
