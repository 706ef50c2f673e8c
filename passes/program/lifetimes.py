"""Which pieces of memory a Program needs, and from when to when each byte of them is wanted.

A tensor has a buffer of its own unless it is another one under a new name (RESHAPE), rows of another one (a view) or a
part that is written where the whole will be (a join). A buffer of views and joins is wanted piece by piece: rows that
nobody reads any more are free, and so are those that nobody has written yet.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from secateur.firmware.kernels.movement import Join, View
from secateur.models.program import DTYPES, Program, State, Tensor
from secateur.passes.program.choose_kernels import Selection

Span = tuple[int, int]


@dataclass(frozen=True)
class Piece:
    """Bytes [begin, end) of a buffer, wanted from operator `first` to `last`, both included."""

    begin: int
    end: int
    first: int
    last: int


@dataclass(frozen=True)
class Buffer:
    """A piece of the arena. Live from operator `first` to `last`, both included (-1: before the first).

    `size`, `alignment` in bytes. `tensors`: several where a reshape only renames, where a state is written back, or
    where one is rows of another; `inner` has the byte at which each begins. `pieces`: none where all of it is wanted
    all the time.
    """

    name: str
    size: int
    first: int
    last: int
    tensors: tuple[int, ...]
    alignment: int = 1
    inner: tuple[int, ...] = ()
    pieces: tuple[Piece, ...] = ()

    @cached_property
    def spans(self) -> dict[int, Span]:
        """By operator, from the first to the last byte wanted then; only of a buffer that has `pieces`."""
        found: dict[int, Span] = {}
        for p in self.pieces:
            for step in range(p.first, p.last + 1):
                begin, end = found.get(step, (p.begin, p.end))
                found[step] = min(begin, p.begin), max(end, p.end)
        return found

    def span(self, step: int) -> Span | None:
        """From the first to the last byte wanted at `step`, None where it is none."""
        if self.pieces:
            return self.spans.get(step)
        return (0, self.size) if self.first <= step <= self.last else None

    @cached_property
    def held(self) -> npt.NDArray[np.int64]:
        """Bytes wanted at each operator from `first` to `last`, gaps between pieces not counted."""
        steps = self.last - self.first + 1
        if not self.pieces:
            return np.full(steps, self.size)
        edges = np.unique([edge for p in self.pieces for edge in (p.begin, p.end)])
        wanted = np.zeros((len(edges) - 1, steps), bool)
        for p in self.pieces:
            low, high = np.searchsorted(edges, (p.begin, p.end))
            wanted[low:high, p.first - self.first : p.last - self.first + 1] = True
        return np.diff(edges) @ wanted

    def wanted(self, step: int) -> int:
        """Bytes wanted at `step`."""
        return int(self.held[step - self.first]) if self.first <= step <= self.last else 0

    def at(self, tensor: int) -> int:
        """The byte at which a tensor begins."""
        return self.inner[self.tensors.index(tensor)] if self.inner else 0

    def only(self, begin: int, end: int, step: int) -> bool:
        """Whether no byte of [begin, end) is wanted after `step`."""
        if not self.pieces:
            return self.last == step
        return all(p.last <= step for p in self.pieces if p.begin < end and begin < p.end)

    def untouched(self, begin: int, end: int, step: int) -> bool:
        """Whether no byte of [begin, end) is wanted before `step`."""
        if not self.pieces:
            return self.first == step
        return all(p.first >= step for p in self.pieces if p.begin < end and begin < p.end)

    def without(self, begin: int, end: int, step: int) -> Span | None:
        """The span at `step` of everything but [begin, end)."""
        kept = [(p.begin, p.end) for p in self.pieces
                if p.first <= step <= p.last and not (begin <= p.begin and p.end <= end)]  # fmt: skip
        return (min(b for b, _ in kept), max(e for _, e in kept)) if kept else None


def buffers_of(program: Program, selection: Selection) -> tuple[list[Buffer], dict[int, int]]:
    """Buffers with their lifetimes, scratch of kernels included, and the buffer that holds each tensor."""
    inside = _Inside(program, selection)
    first, last = inside.first, inside.last
    end = len(program.ops)
    groups: dict[int, list[int]] = {}
    for tensor in first:
        groups.setdefault(inside.root(tensor)[0], []).append(tensor)
    for s in program.states:
        _write_back(program, selection, s, groups, first, last)
    kept = {s.before for s in program.states}
    buffers = []
    for root, tensors in groups.items():
        shifted = any(t in inside.joined or t in inside.views for t in tensors)
        buffers.append(
            Buffer(
                name=program.tensors[root].name,
                size=program.bytes_of(root),
                first=min(first[t] for t in tensors),
                last=end if any(t in kept for t in tensors) else max(last[t] for t in tensors),
                tensors=tuple(tensors),
                alignment=max(1 if program.shape_only else alignment_of(program.tensors[t]) for t in tensors),
                inner=tuple(inside.root(t)[1] for t in tensors) if shifted else (),
                pieces=inside.pieces(tensors) if shifted else (),
            )
        )
    owner = {t: i for i, b in enumerate(buffers) for t in b.tensors}
    for step, (op, kernel) in enumerate(zip(program.ops, selection, strict=True)):
        size = kernel.scratch_bytes(program, op)
        if size:
            buffers.append(Buffer(f"scratch of {op.kind} {step}", size, step, step, ()))
    return buffers, owner


def alignment_of(tensor: Tensor) -> int:
    """Bytes that an address of this type must be a multiple of; 64-bit integers are read in halves."""
    return min(4, int(np.dtype(DTYPES[tensor.dtype]).itemsize))


class _Inside:
    """Where tensors lie in each other, and when each is written and read."""

    def __init__(self, program: Program, selection: Selection) -> None:
        self.program = program
        self.parent: dict[int, tuple[int, int]] = {}  # of a tensor: the one that it lies in, and at which byte
        self.views: set[int] = set()
        self.joined: dict[int, list[int]] = {}  # of a join's output: its parts
        self.parts: set[int] = set()
        self.reads: list[tuple[int, int]] = []  # (operator, tensor), in order
        self.first = dict.fromkeys(program.inputs, -1)
        self.first |= {i: step for step, op in enumerate(program.ops) for i in op.outputs}
        self.first |= {s.before: -1 for s in program.states}
        for step, (op, kernel) in enumerate(zip(program.ops, selection, strict=True)):
            out = op.outputs[0]
            if isinstance(kernel, View):
                self.views.add(out)
                self._put(out, op.inputs[0], kernel.offset(program, op))
            elif isinstance(kernel, Join):
                self.joined[out] = list(op.inputs)
                self.parts |= set(op.inputs)
                for part, offset in zip(op.inputs, kernel.offsets(program, op), strict=True):
                    assert part not in (*program.inputs, *program.outputs), f"{op.name}: a part is the network's end"
                    self._put(part, out, offset)
            else:
                self.reads += [(step, i) for i in program.activations(op)]
                if kernel.name == "reshape_s8" and op.inputs[0] in self.first:
                    self._put(out, op.inputs[0], 0)
        self.reads += [(len(program.ops), i) for i in (*program.outputs, *(s.after for s in program.states))]
        self.last = self._last()

    def _put(self, tensor: int, into: int, offset: int) -> None:
        assert tensor not in self.parent, f"{self.program.tensors[tensor].name} would lie in two tensors at once"
        self.parent[tensor] = into, offset

    def root(self, tensor: int) -> tuple[int, int]:
        """The tensor that has the buffer, and the byte of it at which `tensor` begins."""
        offset = 0
        while tensor in self.parent:
            tensor, more = self.parent[tensor]
            offset += more
        return tensor, offset

    def _last(self) -> dict[int, int]:
        """By tensor, the last operator that reads it itself, or that writes it."""
        last: dict[int, int] = dict(self.first)
        for step, i in self.reads:
            last[i] = max(last.get(i, step), step)
        return last

    def content(self, tensor: int) -> Iterable[tuple[int, int, int]]:
        """(begin, end, operator that writes it) of the bytes of the buffer that hold `tensor`."""
        begin = self.root(tensor)[1]
        end = begin + self.program.bytes_of(tensor)
        if tensor in self.joined:
            for part in self.joined[tensor]:
                yield from self.content(part)
        elif tensor in self.parent and tensor not in self.parts:  # a view or another name
            for low, high, step in self.content(self.parent[tensor][0]):
                if low < end and begin < high:
                    yield max(low, begin), min(high, end), step
        else:
            yield begin, end, self.first[tensor]

    def pieces(self, tensors: list[int]) -> tuple[Piece, ...]:
        """What is wanted of a buffer that holds `tensors`, and when."""
        members, found = set(tensors), dict[tuple[int, int, int], int]()
        wanted = [(self.first[t], t) for t in tensors if t not in self.joined and t not in self.views]
        for step, i in [*wanted, *((s, i) for s, i in self.reads if i in members)]:
            for begin, end, written in self.content(i):
                key = begin, end, written
                found[key] = max(found.get(key, step), step)
        return tuple(Piece(begin, end, written, last) for (begin, end, written), last in sorted(found.items()))


def _write_back(
    program: Program, selection: Selection, state: State, groups: dict[int, list[int]], first: dict[int, int],
    last: dict[int, int],
) -> None:  # fmt: skip
    """Let a state's new value be computed where the old one lies, if nobody reads the old one any more then.

    Otherwise the generated code copies it there at the end.
    """
    new = next((root for root, tensors in groups.items() if state.after in tensors), None)
    old = groups[state.before]
    if new is None or state.after in old or any(t in program.inputs for t in groups[new]):
        return
    if any(s.before in groups[new] for s in program.states):
        return
    born, dead = min(first[t] for t in groups[new]), max(last[t] for t in old)
    in_place = False
    if born == dead and 0 <= born < len(program.ops):
        op, kernel = program.ops[born], selection[born]
        read = [k for k, i in enumerate(op.inputs) if i in old]
        which = next(k for k, i in enumerate(op.outputs) if i in groups[new])
        size = program.bytes_of(op.outputs[which])
        in_place = any(all(w.overlap_of(program, op, k, which) >= size for k in read) for w in kernel.walks)
    if born > dead or in_place:
        old.extend(groups.pop(new))
