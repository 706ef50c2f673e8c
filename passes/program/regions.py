"""Activations in two memories, RAM and a slower one: what is accessed least for its size leaves RAM.

Accesses are a model: an operator writes each element of its output once and reads an input's elements as often as its
loops come by, at least once. The time of an access is not modelled.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from secateur.models.program import Op, Program, op_macs
from secateur.passes.program.choose_kernels import Selection
from secateur.passes.program.lifetimes import Buffer, buffers_of
from secateur.passes.program.placement import Placement, Problem, least
from secateur.passes.program.plan_memory import MemoryPlan, Sharing, SlowMemory, live_of, problem_of, sharing_of

CHANNELS_A_READ = 4
"""Output channels that the kernels compute for each input element read; a depthwise kernel reads it for one."""
ROUNDS = 8  # choices, each after a placement that came out larger than its bound


@dataclass(frozen=True)
class Relief:
    """What a plan may do where whole layers in RAM are too large: `patches`, and bytes of slower memory."""

    patches: bool = True
    slow_ram_bytes: int = 0


PATCHES = Relief()


@dataclass(frozen=True)
class _Region:
    """The buffers of one memory, by their numbers in the whole plan, with what they may share among themselves."""

    inside: tuple[int, ...]
    buffers: list[Buffer]
    sharing: list[Sharing]

    @property
    def live(self) -> list[int]:
        return live_of(self.buffers, self.sharing)


def plan_regions(
    program: Program, selection: Selection, ram_bytes: int, slow_ram_bytes: int, tries: int = 400
) -> MemoryPlan:  # fmt: skip
    """The arena in RAM within `ram_bytes`, with the fewest accesses found to at most `slow_ram_bytes` of slow memory.

    Where that is not reached, the smallest arena in RAM found. Deterministic.
    """
    buffers, owner = buffers_of(program, selection)
    sharing = sharing_of(program, selection, buffers, owner)
    counts = accesses(program, selection, buffers, owner)
    limit, room = ram_bytes, slow_ram_bytes
    best: MemoryPlan | None = None
    tried: set[frozenset[int]] = set()
    for _ in range(ROUNDS):
        slow = _choose(buffers, sharing, counts, limit, room)
        if slow in tried:
            break
        tried.add(slow)
        made = _place(buffers, sharing, counts, slow, tries)
        if made.slow.arena_bytes <= slow_ram_bytes and (best is None or made.arena_bytes < best.arena_bytes):
            best = made
            if made.arena_bytes <= ram_bytes:
                break
        limit -= max(0, made.arena_bytes - ram_bytes)  # a bound may be below what can be placed
        room -= max(0, made.slow.arena_bytes - slow_ram_bytes)
    return best if best is not None else _place(buffers, sharing, counts, frozenset(), tries)


def accesses(program: Program, selection: Selection, buffers: list[Buffer], owner: dict[int, int]) -> list[int]:
    """By buffer, elements that the operators of one inference read and write; of scratch nothing is known: 0."""
    found = [0] * len(buffers)
    for op, kernel in zip(program.ops, selection, strict=True):
        if kernel.free or (kernel.name == "reshape_s8" and owner[op.outputs[0]] == owner.get(op.inputs[0])):
            continue  # a name, no copy
        for i in op.outputs:
            found[owner[i]] += program.tensors[i].elements
        for i in program.activations(op):
            found[owner[i]] += max(program.tensors[i].elements, _reads(program, op))
    return found


def _reads(program: Program, op: Op) -> int:
    macs = op_macs(program, op)
    return macs if op.kind == "DEPTHWISE_CONV_2D" else macs // CHANNELS_A_READ


def _choose(
    buffers: list[Buffer], sharing: list[Sharing], counts: list[int], limit: int, room: int
) -> frozenset[int]:  # fmt: skip
    """The buffers for slow memory, at most `room` bytes at once, so that no operator needs more than `limit` of RAM."""
    slow: frozenset[int] = frozenset()

    def rate(i: int) -> tuple[float, int, int]:
        return counts[i] / buffers[i].size, -buffers[i].size, i

    def fits(chosen: frozenset[int]) -> bool:
        return max(_region(buffers, sharing, sorted(chosen)).live, default=0) <= room

    def in_ram(chosen: frozenset[int]) -> list[int]:
        return _region(buffers, sharing, [i for i in range(len(buffers)) if i not in chosen]).live

    live = in_ram(slow)
    while live and max(live) > limit:
        peak = live.index(max(live))
        held = (i for i, b in enumerate(buffers) if i not in slow and b.tensors and b.wanted(peak))
        leaves = next((i for i in sorted(held, key=rate) if fits(slow | {i})), None)
        if leaves is None:
            break
        slow |= {leaves}
        live = in_ram(slow)
    reached = max(limit, max(live, default=0))
    for i in sorted(slow, key=rate, reverse=True):  # what a later move has made needless
        if max(in_ram(slow - {i}), default=0) <= reached and fits(slow - {i}):
            slow -= {i}
    return slow


def _region(buffers: list[Buffer], sharing: list[Sharing], inside: list[int]) -> _Region:
    """An output lies over a dying input only where both are in one memory."""
    at = {i: k for k, i in enumerate(inside)}
    kept = []
    for s in sharing:
        if s.output in at:
            shared = tuple({at[i]: over for i, over in walk.items() if i in at} for walk in s.shared)
            kept.append(replace(s, output=at[s.output], shared=shared))
        else:
            kept.append(Sharing(-1, 0, 0, s.walks, tuple({} for _ in s.walks)))
    return _Region(tuple(inside), [buffers[i] for i in inside], kept)


def _place(
    buffers: list[Buffer], sharing: list[Sharing], counts: list[int], slow: frozenset[int], tries: int
) -> MemoryPlan:  # fmt: skip
    """Both arenas. An operator walks as its output's memory needs it: in the other one nothing depends on that."""
    ram = _region(buffers, sharing, [i for i in range(len(buffers)) if i not in slow])
    second = _region(buffers, sharing, sorted(slow))
    offsets, walk, heights, bounds = [0] * len(buffers), dict[int, int](), [], []
    for region in (ram, second):
        bound = max(region.live, default=0)
        problem: Problem = problem_of(region.buffers, region.sharing)
        found: Placement = least(problem, bound, tries)
        for i, offset in zip(region.inside, found.offsets, strict=True):
            offsets[i] = offset
        walk |= found.walk
        heights.append(found.height(problem))
        bounds.append(bound)
    return MemoryPlan(
        tuple(buffers), tuple(offsets), heights[0], bounds[0], tuple(ram.live),
        {t: offsets[i] + b.at(t) for i, b in enumerate(buffers) for t in b.tensors},
        tuple(s.walks[walk.get(step, 0)] for step, s in enumerate(sharing)),
        SlowMemory(
            slow, frozenset(t for i in slow for t in buffers[i].tensors), heights[1], bounds[1],
            sum(counts[i] for i in slow), sum(counts),
        ) if slow else SlowMemory(),
    )  # fmt: skip
