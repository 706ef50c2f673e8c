"""Where every activation lies in the arena, and how close that is to the least possible.

An output may lie over an input that dies with the operator, as far as the kernel's access order allows
(`Kernel.overlap_bytes`): below it where the kernel walks from the first output to the last, above it where it walks
the other way. Offsets and walks are found together (placement.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from secateur.firmware.kernels.descriptor import Kernel
from secateur.models.program import Program
from secateur.passes.program.choose_kernels import Selection
from secateur.passes.program.lifetimes import Buffer, buffers_of
from secateur.passes.program.placement import Pair, Problem, least


@dataclass(frozen=True)
class SlowMemory:
    """What lies in slow memory: `buffers` of a plan by number, and the `tensors` in them. Their offsets are from the
    start of an arena of their own. `accesses` of `all_accesses` of one inference go there (regions.py)."""

    buffers: frozenset[int] = frozenset()
    tensors: frozenset[int] = frozenset()
    arena_bytes: int = 0
    lower_bound_bytes: int = 0
    accesses: int = 0
    all_accesses: int = 0


@dataclass(frozen=True)
class MemoryPlan:
    """`offsets[i]` places `buffers[i]`, scratch included; `tensor_offsets` places every activation. `selection`: the
    kernels, each walking as the plan needs it. `lower_bound_bytes`: no placement of this operator order, whatever the
    walks, can be smaller. All but `slow` is of RAM alone."""

    buffers: tuple[Buffer, ...]
    offsets: tuple[int, ...]
    arena_bytes: int
    lower_bound_bytes: int
    live_bytes: tuple[int, ...]  # by operator: live bytes less safe overlap, scratch included
    tensor_offsets: dict[int, int]
    selection: Selection
    slow: SlowMemory = SlowMemory()


@dataclass(frozen=True)
class Over:
    """A dying input that an output may lie over by `share` bytes. `begin`, `end`: the input's bytes in its buffer."""

    begin: int
    end: int
    share: int


@dataclass(frozen=True)
class Sharing:
    """What one operator may write over: `shared[k][i]`, of the dying buffer `i` when its kernel walks as `walks[k]`.

    `output`: the buffer of its output, whose bytes [begin, end) it writes.
    """

    output: int
    begin: int
    end: int
    walks: tuple[Kernel, ...]
    shared: tuple[dict[int, Over], ...]


@dataclass(frozen=True)
class Demand:
    """What is to be placed. `live`: as a plan's `live_bytes`, whatever the placement."""

    buffers: list[Buffer]
    sharing: list[Sharing]
    live: list[int]


def plan_memory(program: Program, selection: Selection, tries: int = 400) -> MemoryPlan:
    """Place all activations of `program`. Deterministic. `tries`: dead ends of the search, for each height tried."""
    return placed(demand_of(program, selection), tries)


def demand_of(program: Program, selection: Selection) -> Demand:
    """What all activations of `program` need, before anything is placed."""
    buffers, owner = buffers_of(program, selection)
    sharing = sharing_of(program, selection, buffers, owner)
    return Demand(buffers, sharing, live_of(buffers, sharing))


def placed(demand: Demand, tries: int) -> MemoryPlan:
    """The plan; `tries` as in `plan_memory`."""
    buffers, sharing, live = demand.buffers, demand.sharing, demand.live
    bound = max(live, default=0)
    problem = problem_of(buffers, sharing)
    found = least(problem, bound, tries)
    offsets = {t: found.offsets[i] + b.at(t) for i, b in enumerate(buffers) for t in b.tensors}
    walking = tuple(s.walks[found.walk.get(step, 0)] for step, s in enumerate(sharing))
    return MemoryPlan(
        tuple(buffers), found.offsets, found.height(problem), bound, tuple(live), offsets, walking
    )  # fmt: skip


def sharing_of(
    program: Program, selection: Selection, buffers: list[Buffer], owner: dict[int, int]
) -> list[Sharing]:  # fmt: skip
    """What each operator's output may lie over. A walk that an output in the very place of an input forbids is left
    out."""
    found = []
    for step, (op, kernel) in enumerate(zip(program.ops, selection, strict=True)):
        out = owner[op.outputs[0]]
        written = _interval(program, buffers[out], op.outputs[0])
        fresh = buffers[out].untouched(*written, step)
        walks, shared = [], []
        for walk in () if kernel.free else kernel.walks:
            over: dict[int, Over] = {}
            for position, tensor in enumerate(op.inputs):
                into = owner.get(tensor, -1)
                # a state's buffer holds the old value before it holds the new one: nothing else may lie there
                place = (0, 0) if into < 0 else _interval(program, buffers[into], tensor)
                dies = into >= 0 and fresh and buffers[into].only(*place, step)
                if (dies and op.inputs.count(tensor) == 1) or into == out:
                    # two operands may be one buffer under two names: the one that allows less decides
                    share = walk.overlap_bytes(program, op, position)
                    known = over.get(into)
                    if known is not None and (known.begin, known.end) != place:
                        share = 0
                    elif known is not None:
                        share = min(share, known.share)
                    over[into] = Over(*place, share)
            own = over.pop(out, None)
            if own is None or own.share >= buffers[out].size:
                walks.append(walk)
                shared.append(over)
        if kernel.free:
            walks, shared = [kernel], [{}]
        assert walks, f"{op.kind} {step} writes in place, and no walk of {kernel.name} allows it"
        found.append(Sharing(out, *written, tuple(walks), tuple(shared)))
    return found


def _interval(program: Program, buffer: Buffer, tensor: int) -> tuple[int, int]:
    """The bytes of `buffer` that hold `tensor`."""
    begin = buffer.at(tensor)
    return begin, begin + program.bytes_of(tensor)


def live_of(buffers: list[Buffer], sharing: list[Sharing]) -> list[int]:
    """For every operator: bytes that must exist at once, less the most that any walk may share."""
    total = np.zeros(len(sharing) + 2, np.int64)  # from before the first operator to after the last
    for b in buffers:
        total[b.first + 1 : b.last + 2] += b.held
    live = []
    for step, s in enumerate(sharing):
        saved = max(sum(min(o.share, o.end - o.begin) for o in shared.values()) for shared in s.shared)
        live.append(int(total[step + 1]) - min(saved, s.end - s.begin))
    return live


def problem_of(buffers: list[Buffer], sharing: list[Sharing]) -> Problem:
    """Every two buffers that live at once, and how far they must be apart."""
    over: dict[tuple[int, int], list[int]] = {}  # (output, dying input): the operators that may lay one over the other
    for step, s in enumerate(sharing):
        for into in {i: None for shared in s.shared for i in shared}:
            over.setdefault((s.output, into), []).append(step)
    pairs = []
    for a, first in enumerate(buffers):
        for b, second in enumerate(buffers[:a]):
            if first.last < second.first or second.last < first.first:
                continue
            out, into = (a, b) if (a, b) in over else (b, a) if (b, a) in over else (a, b)
            steps = over.get((out, into), [])
            pairs += [Pair(out, into, step, _shared_gaps(sharing[step], into)) for step in steps]
            apart = _gaps_apart(buffers[out], buffers[into], {step: sharing[step] for step in steps}, into)
            if apart is not None:
                pairs.append(Pair(out, into, -1, (apart,)))
    walks = {pair.op: len(pair.gaps) for pair in pairs if pair.op >= 0}
    return Problem(tuple(b.size for b in buffers), tuple(b.alignment for b in buffers), tuple(pairs), walks)


def _shared_gaps(s: Sharing, into: int) -> tuple[tuple[int, int], ...]:
    """By walk: the output's buffer is at least `below` under that of the dying input, or `above` over it, in bytes from
    offset to offset."""
    found = []
    for walk, shared in zip(s.walks, s.shared, strict=True):
        dying = shared[into]
        below, above = s.end - dying.begin, dying.end - s.begin
        found.append((below, above - dying.share) if walk.descending else (below - dying.share, above))
    return tuple(found)


def _gaps_apart(out: Buffer, into: Buffer, shared: dict[int, Sharing], dying: int) -> tuple[int, int] | None:
    """The same for all that two buffers never share; None if nothing of them is wanted at one time.

    `shared`: the operators that may write `out` over `into`; of what they write and what dies there it says nothing.
    """
    if not out.pieces and not into.pieces:
        return None if shared else (out.size, into.size)
    gaps: list[tuple[int, int]] = []
    for step in range(max(out.first, into.first), min(out.last, into.last) + 1):
        whole = [(out.span(step), into.span(step))]
        if step in shared:
            s = shared[step]
            over = s.shared[0][dying]
            whole = [
                (out.without(s.begin, s.end, step), into.span(step)),
                ((s.begin, s.end), into.without(over.begin, over.end, step)),
            ]
        gaps += [(a[1] - b[0], b[1] - a[0]) for a, b in whole if a is not None and b is not None]
    return (max(below for below, _ in gaps), max(above for _, above in gaps)) if gaps else None
