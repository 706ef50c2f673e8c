"""Offsets for buffers in an arena of a given height: branch and bound over who lies below whom.

Every two buffers that live at once leave two possibilities, one below the other or the other way round, each with a
distance. Deciding them one by one and propagating the ranges of all offsets after each decision finds a placement,
or proves that there is none.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

BELOW, ABOVE = 1, 2


@dataclass(frozen=True)
class Pair:
    """Two buffers that live at once: offset[a] <= offset[b] - below, or offset[a] >= offset[b] + above.

    `gaps`: (below, above) in bytes, for each way in which the operator `op` may walk; one where no operator decides
    (op -1). All pairs of an operator walk the same way.
    """

    a: int
    b: int
    op: int
    gaps: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Problem:
    """`sizes`, `alignments` in bytes, by buffer. `walks`: how many ways each operator of `pairs` has."""

    sizes: tuple[int, ...]
    alignments: tuple[int, ...]
    pairs: tuple[Pair, ...]
    walks: dict[int, int]
    pairs_of: tuple[tuple[int, ...], ...] = field(init=False)
    ends: npt.NDArray[np.int64] = field(init=False, compare=False)  # (2, pairs): a and b of each

    def __post_init__(self) -> None:
        found: list[list[int]] = [[] for _ in self.sizes]
        for position, pair in enumerate(self.pairs):
            found[pair.a].append(position)
            found[pair.b].append(position)
        object.__setattr__(self, "pairs_of", tuple(map(tuple, found)))
        ends = [[pair.a for pair in self.pairs], [pair.b for pair in self.pairs]]
        object.__setattr__(self, "ends", np.array(ends, np.int64))


@dataclass(frozen=True)
class Placement:
    """`offsets` in bytes, by buffer; `walk`: the way chosen for each operator."""

    offsets: tuple[int, ...]
    walk: dict[int, int]

    def height(self, problem: Problem) -> int:
        return max((o + size for o, size in zip(self.offsets, problem.sizes, strict=True)), default=0)


@dataclass
class _State:
    """Ranges [low, high] of the offsets, the decided side of each pair (0: open) and walk of each operator.

    Arrays of 64-bit integers are read one by one where ranges are narrowed, and as a whole where a pair is chosen.
    """

    low: array[int]
    high: array[int]
    side: bytearray
    below: array[int]  # of each pair, the least gaps that the walks still open allow
    above: array[int]
    walk: dict[int, int]
    open: npt.NDArray[np.int64]  # pairs that may still need a decision

    def copy(self) -> _State:
        """What is narrowed or decided in place is the copy's own."""
        return _State(self.low[:], self.high[:], self.side[:], self.below, self.above, self.walk, self.open)


def place(problem: Problem, height: int, tries: int) -> Placement | None:
    """A placement no higher than `height`; None if there is none or if `tries` dead ends were met. Deterministic."""
    state = _State(
        array("q", [0] * len(problem.sizes)),
        array("q", [(height - size) // up * up for size, up in zip(problem.sizes, problem.alignments, strict=True)]),
        bytearray(len(problem.pairs)),
        array("q", [min(below for below, _ in pair.gaps) for pair in problem.pairs]),
        array("q", [min(above for _, above in pair.gaps) for pair in problem.pairs]),
        {op: 0 for op, count in problem.walks.items() if count == 1},
        np.arange(len(problem.pairs)),
    )
    waiting = [(state, list(range(len(problem.pairs))))]
    if any(high < 0 for high in state.high):
        return None
    while waiting:
        state, changed = waiting.pop()
        if not _propagate(problem, state, changed):
            tries -= 1
            if tries <= 0:
                return None
            continue
        choice = _tightest_open(problem, state)
        if choice is not None:
            pair, sides = choice
            waiting += [(_decided(state, pair, side), [pair]) for side in reversed(sides)]
            continue
        walk, clash = _choose_walks(problem, state)
        if clash is None:
            return Placement(tuple(state.low), walk)
        waiting += [_walking(problem, state, clash, k) for k in reversed(range(problem.walks[clash]))]
    return None


def least(problem: Problem, bound: int, tries: int) -> Placement:
    """The lowest placement found: at `bound`, which nothing can be lower than, or by bisection between it and first
    fit, a quarter of the `tries` at each height."""
    best = first_fit(problem)
    possible, trial = bound, bound
    while possible < best.height(problem):
        found = place(problem, trial, tries if trial == bound else max(1, tries // 4))
        if found is None:
            possible = trial + 1
        else:
            best = found
        trial = (possible + best.height(problem)) // 2
    return best


def first_fit(problem: Problem) -> Placement:
    """Large buffers first, each at the lowest free place; every operator walks in its first way."""
    offsets = [-1] * len(problem.sizes)
    for i in sorted(range(len(offsets)), key=lambda i: (-problem.sizes[i], i)):
        taken = []  # open intervals: the ends themselves are free
        for position in problem.pairs_of[i]:
            pair = problem.pairs[position]
            below, above = pair.gaps[0]
            other, before, after = (pair.b, below, above) if pair.a == i else (pair.a, above, below)
            if offsets[other] >= 0:
                taken.append((offsets[other] - before, offsets[other] + after))
        up = problem.alignments[i]
        starts = sorted({0, *(max(0, -(-after // up) * up) for _, after in taken)})
        offsets[i] = next(o for o in starts if all(not before < o < after for before, after in taken))
    return Placement(tuple(offsets), dict.fromkeys(problem.walks, 0))


def _propagate(problem: Problem, state: _State, changed: list[int]) -> bool:
    """Narrow all ranges as far as the pairs force it; False if a range becomes empty."""
    low, high, sides = state.low, state.high, state.side
    while changed:
        position = changed.pop()
        pair, below, above = problem.pairs[position], state.below[position], state.above[position]
        a, b = pair.a, pair.b
        side = sides[position]
        if not side:
            may_below, may_above = low[a] <= high[b] - below, low[b] + above <= high[a]
            if may_below and may_above:
                continue
            if not may_below and not may_above:
                return False
            side = sides[position] = BELOW if may_below else ABOVE
        under, over, gap = (a, b, below) if side == BELOW else (b, a, above)
        if low[under] + gap > low[over]:
            up = problem.alignments[over]
            low[over] = -(-(low[under] + gap) // up) * up
            if low[over] > high[over]:
                return False
            changed += problem.pairs_of[over]
        if high[over] - gap < high[under]:
            up = problem.alignments[under]
            high[under] = (high[over] - gap) // up * up
            if low[under] > high[under]:
                return False
            changed += problem.pairs_of[under]
    return True


def _tightest_open(problem: Problem, state: _State) -> tuple[int, tuple[int, int]] | None:
    """The open pair with the least room, and its sides, the roomier first; None if all hold whatever is chosen."""
    low, high, below, above = (np.frombuffer(a, np.int64) for a in (state.low, state.high, state.below, state.above))
    left = state.open[np.frombuffer(state.side, np.int8)[state.open] == 0]
    (a, b), below, above = problem.ends[:, left], below[left], above[left]
    needed = (below + above > 1) & (high[a] + below > low[b]) & (low[a] < high[b] + above)
    state.open = left = left[needed]
    if not len(left):
        return None
    room_below, room_above = (high[b] - below - low[a])[needed], (high[a] - above - low[b])[needed]
    best = int((room_below + room_above).argmin())
    return int(left[best]), (BELOW, ABOVE) if room_below[best] >= room_above[best] else (ABOVE, BELOW)


def _decided(state: _State, pair: int, side: int) -> _State:
    made = state.copy()
    made.side[pair] = side
    return made


def _choose_walks(problem: Problem, state: _State) -> tuple[dict[int, int], int | None]:
    """The first walk of each operator that the lowest offsets allow, and an operator that has none, or None."""
    walk = dict(state.walk)
    open_pairs: dict[int, list[Pair]] = {op: [] for op in problem.walks if op not in walk}
    for pair in problem.pairs:
        if pair.op in open_pairs:
            open_pairs[pair.op].append(pair)
    for op, pairs in open_pairs.items():
        fits = [k for k in range(problem.walks[op]) if all(_holds(state.low, pair, k) for pair in pairs)]
        if not fits:
            return walk, op
        walk[op] = fits[0]
    return walk, None


def _holds(offsets: array[int], pair: Pair, walk: int) -> bool:
    below, above = pair.gaps[walk]
    return offsets[pair.a] <= offsets[pair.b] - below or offsets[pair.a] >= offsets[pair.b] + above


def _walking(problem: Problem, state: _State, op: int, walk: int) -> tuple[_State, list[int]]:
    """`state` with the walk of `op` decided, and the pairs that this changes."""
    made = state.copy()
    made.walk = {**state.walk, op: walk}
    made.below, made.above = state.below[:], state.above[:]
    changed = [position for position, pair in enumerate(problem.pairs) if pair.op == op]
    made.open = np.append(state.open, [position for position in changed if position not in state.open]).astype(int)
    for position in changed:
        made.below[position], made.above[position] = problem.pairs[position].gaps[walk]
    return made, changed
