"""Patches: a stage of wide layers computed band of rows by band of rows, so that no layer in it exists as a whole.

A band of the stage's output needs a band of its input, a few rows more for every window on the way; those halo rows are
computed again for the next band (Lin et al., "MCUNetV2: Memory-Efficient Patch-based Inference for Tiny Deep Learning",
2021, section 3.1; our patches have the full width, so that a band of rows is one piece of memory and is neither copied
in nor out). Outputs stay the same, bit for bit; multiply-accumulates grow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from secateur.models.program import Op, Options, Padding, Program, Tensor, with_ops
from secateur.models.tables import TABLE_KINDS

WINDOWS = ("CONV_2D", "DEPTHWISE_CONV_2D", "MAX_POOL_2D", "AVERAGE_POOL_2D")
ROW_BY_ROW = (
    "ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "PRELU", "RELU", "RELU6", "QUANTIZE",
    "CONCATENATION", *(kind for kind in TABLE_KINDS),
)  # fmt: skip
"""Kinds whose output row needs the same row of each input."""

Rows = tuple[int, int]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Stage:
    """Operators `first` to `last` (included), which read one tensor from outside and leave one behind.

    `axis`: 1, rows; 2 where there is one row alone, as in 1-D networks.
    """

    first: int
    last: int
    source: int
    output: int
    axis: int


@dataclass(frozen=True)
class Patched:
    """A stage that runs in `bands`. `extra_macs`: computed again because of the halos."""

    first: str
    last: str
    layers: int
    bands: int
    extra_macs: int


def stages(program: Program, around: int) -> Iterator[Stage]:
    """Every stage with the operator `around` in it that can run in bands, by first and last operator."""
    readers = _readers(program)
    kept = {*program.outputs, *(i for s in program.states for i in (s.before, s.after))}
    for first, op in enumerate(program.ops[: around + 1]):
        fed = set(program.activations(op))
        if len(fed) != 1:
            continue
        (source,) = fed
        shape = program.tensors[source].shape
        if len(shape) != 4 or shape[0] != 1 or source in {s.before for s in program.states}:
            continue
        axis = 1 if shape[1] > 1 else 2
        made: set[int] = set()
        for last in range(first, len(program.ops)):
            if not _fits(program, program.ops[last], {source, *made}, axis):
                break
            made |= set(program.ops[last].outputs)
            left = [i for i in made if i in kept or readers.get(i, last + 1) > last]
            if last >= around and left == [program.ops[last].outputs[0]] and program.tensors[left[0]].shape[axis] > 1:
                yield Stage(first, last, source, left[0], axis)


def _readers(program: Program) -> dict[int, int]:
    """The last operator that reads each tensor."""
    return {i: step for step, op in enumerate(program.ops) for i in op.inputs if i >= 0}


def _fits(program: Program, op: Op, known: set[int], axis: int) -> bool:
    """Whether `op` can compute some rows from some rows of `known`."""
    tensors = program.tensors
    out = tensors[op.outputs[0]]
    if op.kind not in (*WINDOWS, *ROW_BY_ROW) or len(op.outputs) != 1 or len(out.shape) != 4 or out.shape[0] != 1:
        return False
    fed = program.activations(op)
    if not fed or any(i not in known for i in fed) or any(len(tensors[i].shape) != 4 for i in fed):
        return False
    if op.kind in WINDOWS:
        return fed == op.inputs[:1] and (axis == 1 or out.shape[1] == 1)
    if op.kind == "CONCATENATION" and op.options.axis % 4 <= axis:
        return False
    same = all(tensors[i].shape[: axis + 1] == out.shape[: axis + 1] for i in fed)
    return same and all(_broadcast(tensors[i], axis) for i in op.inputs if i >= 0 and i not in fed)


def _broadcast(constant: Tensor, axis: int) -> bool:
    """Whether every row meets the same values of a constant."""
    return len(constant.shape) < 4 - axis or all(n == 1 for n in constant.shape[: len(constant.shape) - 3 + axis])


def bands(rows: int, count: int) -> tuple[Ints, Ints]:
    """Begins and ends of `count` bands of `rows`, as equal as can be."""
    ends = rows * np.arange(count + 1) // count
    return ends[:-1], ends[1:]


def rows_needed(program: Program, stage: Stage, count: int) -> dict[int, tuple[Ints, Ints]] | None:
    """Begins and ends of the rows of every tensor of the stage that each of `count` bands needs; None where a window
    would see padding alone."""
    need = {stage.output: bands(program.tensors[stage.output].shape[stage.axis], count)}
    for op in reversed(program.ops[stage.first : stage.last + 1]):
        begins, ends = need[op.outputs[0]]
        for i in program.activations(op):
            first, last = _window(program, op, stage.axis, begins, ends)
            first, last = np.maximum(first, 0), np.minimum(last, program.tensors[i].shape[stage.axis])
            if (first >= last).any():
                return None
            known = need.get(i, (first, last))
            need[i] = np.minimum(first, known[0]), np.maximum(last, known[1])
    return need


def _window(program: Program, op: Op, axis: int, begins: Ints, ends: Ints) -> tuple[Ints, Ints]:
    """Rows of the input, padding included, that rows of the output need."""
    if op.kind not in WINDOWS:
        return begins, ends
    o, at = op.options, axis - 1
    before = (o.padding.top, o.padding.left)[at]
    kernel = o.kernel[at] if op.kind.endswith("POOL_2D") else program.tensors[op.inputs[1]].shape[axis]
    last = (ends - 1) * o.stride[at] - before + (kernel - 1) * o.dilation[at] + 1
    return begins * o.stride[at] - before, last


def in_bands(program: Program, stage: Stage, count: int) -> Program:
    """The same outputs with the stage computed in `count` bands, one after the other.

    Bands of the source are views of it, and the last operator's bands are parts of the output: nothing is copied.
    """
    cutter = _Cutter(program, stage, count)
    for number in range(count):
        cutter.band(number)
    whole = Op("CONCATENATION", tuple(cutter.parts), (stage.output,), Options(axis=stage.axis, in_place=True),
               program.tensors[stage.output].name)  # fmt: skip
    ops = [*program.ops[: stage.first], *cutter.ops, whole, *program.ops[stage.last + 1 :]]
    return with_ops(program, ops, cutter.tensors)


class _Cutter:
    def __init__(self, program: Program, stage: Stage, count: int) -> None:
        self.program, self.stage = program, stage
        need = rows_needed(program, stage, count)
        assert need is not None, "a window sees padding alone"
        self.need = need
        self.tensors = list(program.tensors)
        self.ops: list[Op] = []
        self.parts: list[int] = []

    def band(self, number: int) -> None:
        """All operators of the stage for one band of its output."""
        need = {i: (int(begins[number]), int(ends[number])) for i, (begins, ends) in self.need.items()}
        at = {self.stage.source: (self.stage.source, 0)}  # the tensor that holds a band, and its first row
        axis = self.stage.axis
        for op in self.program.ops[self.stage.first : self.stage.last + 1]:
            out, o, inputs = op.outputs[0], op.options, []
            begin, end = (int(n) for n in _window(self.program, op, axis, *map(np.array, need[out])))
            for i in op.inputs:
                if i in at:
                    rows = max(begin, 0), min(end, self.program.tensors[i].shape[axis])
                    inputs.append(self._rows(i, at[i], rows, number))
                else:
                    inputs.append(i)
            if op.kind in WINDOWS:
                p = o.padding
                outside = max(-begin, 0), max(end - self.program.tensors[op.inputs[0]].shape[axis], 0)
                sides = (*outside, p.left, p.right) if axis == 1 else (p.top, p.bottom, *outside)
                o = replace(o, padding=Padding(*sides))
            made = self._tensor(out, need[out], number)
            self.ops.append(replace(op, inputs=tuple(inputs), outputs=(made,), options=o))
            at[out] = made, need[out][0]
        self.parts.append(at[self.stage.output][0])

    def _rows(self, tensor: int, held: tuple[int, int], rows: Rows, number: int) -> int:
        """These rows of what `held` holds: a view, unless they are all of it."""
        holder, first = held
        shape = self.tensors[holder].shape
        if shape[self.stage.axis] == rows[1] - rows[0]:
            return holder
        begin = [0] * len(shape)
        begin[self.stage.axis] = rows[0] - first
        view = self._tensor(tensor, rows, number)
        options = Options(begin=tuple(begin), strides=(1,) * len(shape), in_place=True)
        self.ops.append(Op("STRIDED_SLICE", (holder,), (view,), options, self.tensors[view].name))
        return view

    def _tensor(self, like: int, rows: Rows, number: int) -> int:
        tensor = self.program.tensors[like]
        shape = list(tensor.shape)
        shape[self.stage.axis] = rows[1] - rows[0]
        self.tensors.append(replace(tensor, name=f"{tensor.name} band {number}", shape=tuple(shape)))
        return len(self.tensors) - 1
