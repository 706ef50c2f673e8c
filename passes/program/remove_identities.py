"""Remove operators that change nothing, merge those that one operator can do, and drop clamps that never clamp."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import numpy.typing as npt

from secateur.models.fixed_point import activation_range
from secateur.models.program import Op, Program, Quantization, Tensor, with_ops
from secateur.models.reference import run_values
from secateur.models.reference_float import is_float
from secateur.passes.contract import Pass, same_interface
from secateur.passes.program.promises import no_more_macs, no_more_operators, same_ends
from secateur.passes.program.value_ranges import exact, value_ranges

RESHAPES = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
UNARY = ("QUANTIZE", "RELU", "RELU6")
CLAMPING = (
    "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "MUL", "MAX_POOL_2D", "AVERAGE_POOL_2D",
)  # fmt: skip
"""Kinds that clamp as they write: a RELU behind them costs nothing there."""

Bytes = npt.NDArray[np.int8]


class RemoveIdentities(Pass[Program]):
    """Structure on any Program (reshapes, empty padding, whole slices, 1x1 pools); values on exact ones.

    Values: QUANTIZE, RELU and RELU6 whose table of 256 int8 results says that they are idle, that two of them
    are one, or that the operator in front can clamp in their stead.
    """

    ensures = (same_interface, same_ends, no_more_macs, no_more_operators)

    def run(self, model: Program) -> Program:
        changed = replace(model, ops=tuple(_as_reshape(model, op) for op in model.ops))
        changed = _skip_reshapes(changed)
        if exact(changed):
            changed = replace(changed, ops=tuple(_without_idle_clamp(changed, op) for op in changed.ops))
            changed = _fuse_clamps(_merge_tables(changed))
        changed = _drop(changed, _idle(changed))
        return model if changed == model else changed


# -- structure


def _as_reshape(model: Program, op: Op) -> Op:
    """A MEAN over one position is a reshape (an idle one, where it keeps its dimensions).

    Not of floats: a sum that begins with 0 turns -0 into 0.
    """
    if op.kind != "MEAN" or is_float(model, op):
        return op
    x, axes, out = (model.tensors[i] for i in (*op.inputs[:2], op.outputs[0]))
    if axes.data is None or x.quantization != out.quantization or any(x.shape[int(a)] != 1 for a in axes.data.ravel()):
        return op
    return Op("RESHAPE", op.inputs[:1], op.outputs, name=op.name)


def _skip_reshapes(model: Program) -> Program:
    """A reshape of a reshape reads what the first one read."""
    source: dict[int, int] = {}
    ops = []
    for op in model.ops:
        if op.kind in RESHAPES:
            first = source.get(op.inputs[0], op.inputs[0])
            if model.tensors[first].quantization == model.tensors[op.outputs[0]].quantization:
                op = replace(op, inputs=(first, *op.inputs[1:]))
                source[op.outputs[0]] = first
        ops.append(op)
    return replace(model, ops=tuple(ops))


def _idle(model: Program) -> set[int]:
    """Positions of operators whose output is their input, byte for byte, in the same scale."""
    unary = exact(model) and any(op.kind in UNARY for op in model.ops)
    ranges = value_ranges(model) if unary else None
    found = set()
    for position, op in enumerate(model.ops):
        if len(op.outputs) != 1:
            continue
        x, out = model.tensors[op.inputs[0]], model.tensors[op.outputs[0]]
        if (x.shape, x.dtype, x.quantization) != (out.shape, out.dtype, out.quantization):
            continue
        if op.kind in UNARY:
            if ranges is None:
                continue
            r = ranges[op.inputs[0]]
            seen = np.arange(int(r.low.min()), int(r.high.max()) + 1)
            if np.array_equal(_table_of(model, op)[seen + 128], seen):
                found.add(position)
        elif _moves_nothing(model, op):
            found.add(position)
    return found


def _moves_nothing(model: Program, op: Op) -> bool:
    """`op`, of equal shapes on both sides, copies its input."""
    o = op.options
    if op.kind in RESHAPES:
        return True
    if op.kind == "CONCATENATION":
        return len(op.inputs) == 1 and o.activation == "NONE"
    if op.kind in ("PAD", "PADV2"):
        amounts = model.tensors[op.inputs[1]].data
        return amounts is not None and not amounts.any()
    if op.kind == "STRIDED_SLICE":  # as large as its input, so it starts at 0
        return all(step == 1 or n == 1 for step, n in zip(o.strides, model.tensors[op.outputs[0]].shape, strict=True))
    if op.kind in ("MAX_POOL_2D", "AVERAGE_POOL_2D"):
        if is_float(model, op):  # infinity becomes the largest float, and an average turns -0 into 0
            return False
        return o.kernel == (1, 1) and o.stride == (1, 1) and not o.padding and o.activation == "NONE"
    return False


def _drop(model: Program, idle: set[int]) -> Program:
    """`model` without the operators at `idle`, and without those that nobody reads any more."""
    one = {i: i for i in range(-1, len(model.tensors))}  # the tensor that now stands for each
    ends = _ends(model)
    fixed = {*model.inputs, *(s.before for s in model.states)}
    fixed |= {i for i, t in enumerate(model.tensors) if t.data is not None}
    kept = []
    for position, op in enumerate(model.ops):
        if position in idle:
            x, out = one[op.inputs[0]], op.outputs[0]
            if out not in ends:
                one[out] = x
                continue
            if x not in fixed and x not in ends:  # an output keeps its name: its producer writes it
                one = {i: out if j == x else j for i, j in one.items()}
                continue
        kept.append(op)
    ops = [
        replace(op, inputs=tuple(one[i] for i in op.inputs), outputs=tuple(one[i] for i in op.outputs)) for op in kept
    ]
    return with_ops(model, _read_ops(ops, ends))


def _ends(model: Program) -> set[int]:
    """Tensors that somebody outside looks at: outputs, and what states become."""
    return {*model.outputs, *(s.after for s in model.states)}


def _read_ops(ops: list[Op], ends: set[int]) -> list[Op]:
    """The operators that `ends` depend on."""
    needed, kept = set(ends), []
    for op in reversed(ops):
        if needed & set(op.outputs):
            needed |= set(op.inputs)
            kept.append(op)
    return kept[::-1]


# -- values


def _without_idle_clamp(model: Program, op: Op) -> Op:
    """A fused activation whose clamp is all of int8 is none."""
    out = model.tensors[op.outputs[0]]
    if op.kind not in CLAMPING or op.options.activation == "NONE":
        return op
    if activation_range(op.options.activation, out.scale, out.zero_point) != (-128, 127):
        return op
    return replace(op, options=replace(op.options, activation="NONE"))


def _table_of(model: Program, op: Op) -> Bytes:
    x, out = (model.tensors[i].quantization for i in (op.inputs[0], op.outputs[0]))
    assert x is not None and out is not None
    return _table(op.kind, x, out)


@cache
def _table(kind: str, source: Quantization, result: Quantization) -> Bytes:
    """(256,) what a QUANTIZE, RELU or RELU6 makes of -128..127, by the reference interpreter."""
    tensors = (Tensor("x", (256,), "int8", source), Tensor("y", (256,), "int8", result))
    alone = Program("table", tensors, (Op(kind, (0,), (1,)),), (0,), (1,))
    return run_values(alone, np.arange(-128, 128).astype(np.int8))[1]


def _merge_tables(model: Program) -> Program:
    """Of two QUANTIZE, RELU or RELU6 in a row, the second does both, where all 256 results agree."""
    maker = {op.outputs[0]: op for op in model.ops}
    readers = _readers(model)
    ops = []
    for op in model.ops:
        first = maker.get(op.inputs[0])
        pair = first is not None and op.kind in UNARY and first.kind in UNARY and readers[op.inputs[0]] == 1
        if pair and first is not None and model.tensors[first.inputs[0]].dtype == "int8":
            both = _table_of(model, op)[_table_of(model, first).astype(np.int64) + 128]
            for kind in UNARY:
                merged = replace(op, kind=kind, inputs=first.inputs)
                if _computable(model, merged) and np.array_equal(_table_of(model, merged), both):
                    op = merged
                    break
            maker[op.outputs[0]] = op
        ops.append(op)
    return replace(model, ops=tuple(ops))


def _computable(model: Program, op: Op) -> bool:
    """RELU6 has no rescaling kernel."""
    x, out = model.tensors[op.inputs[0]], model.tensors[op.outputs[0]]
    return op.kind != "RELU6" or x.quantization == out.quantization


def _fuse_clamps(model: Program) -> Program:
    """RELU or RELU6 in its input's scale moves into the only operator in front, which clamps after rescaling too."""
    maker = {op.outputs[0]: position for position, op in enumerate(model.ops)}
    readers = _readers(model)
    ops = list(model.ops)
    idle = set()
    for position, op in enumerate(ops):
        if op.kind not in ("RELU", "RELU6") or readers[op.inputs[0]] != 1 or op.inputs[0] not in maker:
            continue
        x, out = model.tensors[op.inputs[0]], model.tensors[op.outputs[0]]
        before = ops[maker[op.inputs[0]]]
        if before.kind not in CLAMPING or (x.shape, x.quantization) != (out.shape, out.quantization):
            continue
        fused = _one_clamp(before.options.activation, op, _table_of(model, op), out)
        if fused is not None:
            ops[maker[op.inputs[0]]] = replace(before, options=replace(before.options, activation=fused))
            idle.add(position)
    return _drop(replace(model, ops=tuple(ops)), idle) if idle else model


def _one_clamp(before: str, op: Op, table: Bytes, out: Tensor) -> str | None:
    """The activation whose clamp equals that of `before`, then `op`; None where there is no such."""
    values = np.arange(-128, 128)
    both = table[np.clip(values, *activation_range(before, out.scale, out.zero_point)) + 128]
    for activation in (op.kind, before):
        if np.array_equal(np.clip(values, *activation_range(activation, out.scale, out.zero_point)), both):
            return activation
    return None


def _readers(model: Program) -> dict[int, int]:
    """How often each tensor is read; being an output or a state counts."""
    found = dict.fromkeys(range(len(model.tensors)), 0)
    for i in (*(i for op in model.ops for i in op.inputs if i >= 0), *_ends(model)):
        found[i] += 1
    return found
