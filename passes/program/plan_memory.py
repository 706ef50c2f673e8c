"""Where every activation lies in the arena, and how close that is to the least possible.

An output may lie over an input that dies with the operator, as far as the kernel's access order allows
(`Kernel.overlap_bytes`). Placement is a greedy one over many orders; it stops when it meets the lower bound.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np

from secateur.models.program import DTYPES, Program, State, Tensor
from secateur.passes.program.choose_kernels import Selection


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
    """`offsets[i]` places `buffers[i]`; `tensor_offsets` places every activation and `scratch_offsets` every
    operator's working memory. `lower_bound_bytes`: no placement of this operator order can be smaller."""

    buffers: tuple[Buffer, ...]
    offsets: tuple[int, ...]
    arena_bytes: int
    lower_bound_bytes: int
    live_bytes: tuple[int, ...]  # by operator: live bytes less safe overlap, scratch included
    tensor_offsets: dict[int, int]


def plan_memory(program: Program, selection: Selection, tries: int = 400) -> MemoryPlan:
    """Place all activations of `program`. Deterministic: the orders tried come from a fixed seed."""
    buffers, owner = _buffers(program, selection)
    distance = _distances(program, selection, buffers, owner)
    live = _live_bytes(program, buffers, distance)
    bound = max(live, default=0)
    offsets = _search(buffers, distance, bound, tries)
    arena = max((o + b.size for o, b in zip(offsets, buffers, strict=True)), default=0)
    placed = {t: offsets[i] for i, b in enumerate(buffers) for t in b.tensors}
    return MemoryPlan(tuple(buffers), tuple(offsets), arena, bound, tuple(live), placed)


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
        size = program.bytes_of(op.outputs[0])
        in_place = all(kernel.overlap_bytes(program, op, k) >= size for k in read)
    if born > dead or in_place:
        old.extend(groups.pop(new))


def _distances(
    program: Program, selection: Selection, buffers: list[Buffer], owner: dict[int, int]
) -> dict[tuple[int, int], int]:
    """(output buffer, input buffer) -> the least bytes by which the output must lie below the dying input."""
    found: dict[tuple[int, int], int] = {}
    for step, (op, kernel) in enumerate(zip(program.ops, selection, strict=True)):
        if kernel.name == "reshape_s8":
            continue
        out = owner[op.outputs[0]]
        for position, tensor in enumerate(op.inputs):
            if tensor not in owner or program.tensors[tensor].data is not None:
                continue
            into = owner[tensor]
            if into == out or buffers[into].last != step or op.inputs.count(tensor) > 1:
                continue
            # two operands may be one buffer under two names: the one that allows less decides
            apart = buffers[out].size - kernel.overlap_bytes(program, op, position)
            found[out, into] = max(apart, found.get((out, into), 0))
    return {pair: apart for pair, apart in found.items() if apart < buffers[pair[0]].size}


def _live_bytes(program: Program, buffers: list[Buffer], distance: dict[tuple[int, int], int]) -> list[int]:
    """For every operator: bytes that must exist at once, less what may be shared."""
    live = []
    for step, op in enumerate(program.ops):
        total = sum(b.size for b in buffers if b.first <= step <= b.last)
        outs = [i for i, b in enumerate(buffers) if op.outputs[0] in b.tensors]
        shared = sum(
            min(buffers[o].size - d, buffers[i].size)
            for (o, i), d in distance.items()
            if o in outs and buffers[i].last == step
        )
        live.append(total - min(shared, buffers[outs[0]].size if outs else 0))
    return live


def _search(buffers: list[Buffer], distance: dict[tuple[int, int], int], bound: int, tries: int) -> list[int]:
    """The best of `tries` greedy placements; the first that meets the bound ends the search."""
    conflicts = _conflicts(buffers, distance)
    count = len(buffers)
    by_size = sorted(range(count), key=lambda i: (-buffers[i].size, buffers[i].first, i))
    # Outputs lie below the inputs that they overlap, so a chain slides down through the arena: from its end upwards.
    from_end = sorted(range(count), key=lambda i: (-buffers[i].first, -buffers[i].size, i))
    by_size_from_end = sorted(range(count), key=lambda i: (-buffers[i].size, -buffers[i].first, i))
    starts = (by_size, from_end, by_size_from_end)
    generator = random.Random(0)
    best: list[int] = []
    best_height = -1
    for attempt in range(max(tries, len(starts))):
        order = list(starts[attempt % len(starts)])
        down = [False] * count
        if attempt >= len(starts):
            swaps = 1 + attempt % 7
            for _ in range(swaps):
                a, b = generator.randrange(count), generator.randrange(count)
                order[a], order[b] = order[b], order[a]
            down = [generator.random() < 0.5 for _ in range(count)] if attempt % 2 else down
        offsets = _place(buffers, conflicts, order, down, bound)
        height = max((o + b.size for o, b in zip(offsets, buffers, strict=True)), default=0)
        if best_height < 0 or height < best_height:
            best, best_height = offsets, height
        if best_height <= bound:
            break
    return best


def _conflicts(buffers: list[Buffer], distance: dict[tuple[int, int], int]) -> list[list[tuple[int, int, int]]]:
    """For buffer i, (j, below, above): with j at o, i must end up at <= o - below or >= o + above."""
    found: list[list[tuple[int, int, int]]] = [[] for _ in buffers]
    for i, a in enumerate(buffers):
        for j, b in enumerate(buffers):
            if i == j or a.last < b.first or b.last < a.first:
                continue
            below = distance.get((i, j), a.size)  # i is the output, j the dying input
            above = distance.get((j, i), b.size)  # the other way round
            found[i].append((j, below, above))
    return found


def _place(
    buffers: list[Buffer],
    conflicts: list[list[tuple[int, int, int]]],
    order: list[int],
    down: list[bool],
    limit: int,
) -> list[int]:
    """Offsets by first fit: upwards from 0, or downwards from `limit` for those marked so where that is possible."""
    offsets = [-1] * len(buffers)
    for i in order:
        forbidden = [
            (offsets[j] - below, offsets[j] + above) for j, below, above in conflicts[i] if offsets[j] >= 0
        ]  # open intervals: the ends themselves are allowed
        choice = -1
        if down[i]:
            up = buffers[i].alignment
            ends = {limit - buffers[i].size, *(low for low, _ in forbidden)}
            tops = sorted((end // up * up for end in ends), reverse=True)
            fits = (o for o in tops if 0 <= o <= limit - buffers[i].size and _free(o, forbidden))
            choice = next(fits, -1)
        if choice < 0:
            up = buffers[i].alignment
            starts = sorted({0, *(-(-high // up) * up for _, high in forbidden)})
            choice = next(o for o in starts if o >= 0 and _free(o, forbidden))
        offsets[i] = choice
    return offsets


def _free(offset: int, forbidden: list[tuple[int, int]]) -> bool:
    return all(not (low < offset < high) for low, high in forbidden)
