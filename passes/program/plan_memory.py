"""Where every activation lies in the arena, and how close that is to the least possible.

An output may lie over an input that dies with the operator, as far as the kernel's access order allows
(`Kernel.overlap_bytes`): below it where the kernel walks from the first output to the last, above it where it walks
the other way. Offsets and walks are found together (placement.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from secateur.firmware.kernels.descriptor import Kernel
from secateur.models.program import DTYPES, Program, State, Tensor
from secateur.passes.program.choose_kernels import Selection
from secateur.passes.program.placement import Pair, Problem, least


@dataclass(frozen=True)
class Buffer:
    """A piece of the arena. Live from operator `first` to `last`, both included (-1: before the first).

    `size`, `alignment` in bytes. `tensors`: several where a reshape only renames, or where a state is written back.
    """

    name: str
    size: int
    first: int
    last: int
    tensors: tuple[int, ...]
    alignment: int = 1


@dataclass(frozen=True)
class MemoryPlan:
    """`offsets[i]` places `buffers[i]`, scratch included; `tensor_offsets` places every activation. `selection`: the
    kernels, each walking as the plan needs it. `lower_bound_bytes`: no placement of this operator order, whatever the
    walks, can be smaller."""

    buffers: tuple[Buffer, ...]
    offsets: tuple[int, ...]
    arena_bytes: int
    lower_bound_bytes: int
    live_bytes: tuple[int, ...]  # by operator: live bytes less safe overlap, scratch included
    tensor_offsets: dict[int, int]
    selection: Selection


@dataclass(frozen=True)
class Sharing:
    """What one operator may write over: `shared[k][i]` bytes of its output buffer over the dying buffer `i` when its
    kernel walks as `walks[k]`."""

    output: int
    walks: tuple[Kernel, ...]
    shared: tuple[dict[int, int], ...]


def plan_memory(program: Program, selection: Selection, tries: int = 400) -> MemoryPlan:
    """Place all activations of `program`. Deterministic. `tries`: dead ends of the search, for each height tried."""
    buffers, owner = _buffers(program, selection)
    sharing = _sharing(program, selection, buffers, owner)
    live = _live_bytes(buffers, sharing)
    bound = max(live, default=0)
    problem = _problem(buffers, sharing)
    found = least(problem, bound, tries)
    placed = {t: found.offsets[i] for i, b in enumerate(buffers) for t in b.tensors}
    walking = tuple(s.walks[found.walk.get(step, 0)] for step, s in enumerate(sharing))
    return MemoryPlan(
        tuple(buffers), found.offsets, found.height(problem), bound, tuple(live), placed, walking
    )  # fmt: skip


def _buffers(program: Program, selection: Selection) -> tuple[list[Buffer], dict[int, int]]:
    """Buffers with their lifetimes, and the buffer that holds each tensor."""
    first = dict.fromkeys(program.inputs, -1)
    last: dict[int, int] = {}
    for step, op in enumerate(program.ops):
        for i in program.activations(op):
            last[i] = step
        for i in op.outputs:
            first[i] = step
            last.setdefault(i, step)
    for i in program.outputs:
        last[i] = len(program.ops)
    for i in program.inputs:
        last.setdefault(i, -1)
    end = len(program.ops)
    for s in program.states:  # memory between calls: nothing else may lie there at any time
        first[s.before] = -1
        last[s.before] = last.get(s.before, -1)
        last[s.after] = end
    alias = {i: i for i in first}
    for op, kernel in zip(program.ops, selection, strict=True):
        source = alias.get(op.inputs[0])
        if kernel.name == "reshape_s8" and source is not None:
            alias[op.outputs[0]] = source
    groups: dict[int, list[int]] = {}
    for tensor, root in alias.items():
        groups.setdefault(root, []).append(tensor)
    for s in program.states:
        _write_back(program, selection, s, groups, first, last)
    kept = {s.before for s in program.states}
    buffers = [
        Buffer(
            name=program.tensors[root].name,
            size=program.bytes_of(root),
            first=min(first[t] for t in tensors),
            last=end if any(t in kept for t in tensors) else max(last[t] for t in tensors),
            tensors=tuple(tensors),
            alignment=max(1 if program.shape_only else alignment_of(program.tensors[t]) for t in tensors),
        )
        for root, tensors in groups.items()
    ]
    owner = {t: i for i, b in enumerate(buffers) for t in b.tensors}
    for step, (op, kernel) in enumerate(zip(program.ops, selection, strict=True)):
        size = kernel.scratch_bytes(program, op)
        if size:
            buffers.append(Buffer(f"scratch of {op.kind} {step}", size, step, step, ()))
    return buffers, owner


def alignment_of(tensor: Tensor) -> int:
    """Bytes that an address of this type must be a multiple of; 64-bit integers are read in halves."""
    return min(4, int(np.dtype(DTYPES[tensor.dtype]).itemsize))


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


def _sharing(
    program: Program, selection: Selection, buffers: list[Buffer], owner: dict[int, int]
) -> list[Sharing]:  # fmt: skip
    """What each operator's output may lie over. A walk that an output in the very place of an input forbids is left
    out."""
    found = []
    for step, (op, kernel) in enumerate(zip(program.ops, selection, strict=True)):
        out = owner[op.outputs[0]]
        walks, shared = [], []
        for walk in kernel.walks:
            over: dict[int, int] = {}
            for position, tensor in enumerate(op.inputs):
                into = owner.get(tensor, -1)
                # a state's buffer holds the old value before it holds the new one: nothing else may lie there
                dies = into >= 0 and buffers[into].last == step == buffers[out].first
                if (dies and op.inputs.count(tensor) == 1) or into == out:
                    # two operands may be one buffer under two names: the one that allows less decides
                    share = walk.overlap_bytes(program, op, position)
                    over[into] = min(share, over.get(into, share))
            if over.pop(out, buffers[out].size) >= buffers[out].size:
                walks.append(walk)
                shared.append(over)
        assert walks, f"{op.kind} {step} writes in place, and no walk of {kernel.name} allows it"
        found.append(Sharing(out, tuple(walks), tuple(shared)))
    return found


def _live_bytes(buffers: list[Buffer], sharing: list[Sharing]) -> list[int]:
    """For every operator: bytes that must exist at once, less the most that any walk may share."""
    live = []
    for step, s in enumerate(sharing):
        total = sum(b.size for b in buffers if b.first <= step <= b.last)
        saved = max(sum(min(share, buffers[i].size) for i, share in shared.items()) for shared in s.shared)
        live.append(total - min(saved, buffers[s.output].size))
    return live


def _problem(buffers: list[Buffer], sharing: list[Sharing]) -> Problem:
    """Every two buffers that live at once, and how far they must be apart."""
    over = {(s.output, i): step for step, s in enumerate(sharing) for shared in s.shared for i in shared}
    pairs = []
    for a, first in enumerate(buffers):
        for b, second in enumerate(buffers[:a]):
            if first.last < second.first or second.last < first.first:
                continue
            for out, into in ((a, b), (b, a)):
                if (out, into) in over:
                    step = over[out, into]
                    pairs.append(Pair(out, into, step, _gaps(sharing[step], into, buffers)))
                    break
            else:
                pairs.append(Pair(a, b, -1, ((first.size, second.size),)))
    walks = {pair.op: len(pair.gaps) for pair in pairs if pair.op >= 0}
    return Problem(tuple(b.size for b in buffers), tuple(b.alignment for b in buffers), tuple(pairs), walks)


def _gaps(sharing: Sharing, into: int, buffers: list[Buffer]) -> tuple[tuple[int, int], ...]:
    """By walk: the output's offset is at least `below` less than that of the dying input, or `above` more."""
    out, dying = buffers[sharing.output].size, buffers[into].size
    return tuple(
        (out, dying - shared[into]) if walk.descending else (out - shared[into], dying)
        for walk, shared in zip(sharing.walks, sharing.shared, strict=True)
    )
