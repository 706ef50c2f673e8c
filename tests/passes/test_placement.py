"""Branch and bound placement against brute force over every address and every way of walking."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

import numpy as np
import pytest

from secateur.passes.program.placement import Pair, Placement, Problem, first_fit, least, place

TRIES = 10_000


def _random(seed: int) -> Problem:
    """Up to five buffers of up to six bytes; most pairs live at once, some may share, in one way or another."""
    random = np.random.default_rng(seed)
    count = int(random.integers(2, 6))
    sizes = tuple(int(random.integers(1, 7)) for _ in range(count))
    alignments = tuple(int(random.choice([1, 1, 2, 4])) for _ in range(count))
    pairs = []
    for a in range(count):
        op, walks = (a, int(random.integers(1, 3))) if random.random() < 0.7 else (-1, 1)
        for b in range(a):
            if random.random() < 0.8:
                gaps = [(sizes[a], sizes[b])]
                if op >= 0:
                    kept = [int(random.integers(0, sizes[a] + 1)) for _ in range(walks)]
                    gaps = [
                        (k, sizes[b]) if n == 0 else (sizes[a], sizes[b] - sizes[a] + k) for n, k in enumerate(kept)
                    ]
                pairs.append(Pair(a, b, op, tuple(gaps)))
    walks_of = {pair.op: len(pair.gaps) for pair in pairs if pair.op >= 0}
    return Problem(sizes, alignments, tuple(pairs), walks_of)


def apart(pairs: Iterable[Pair], offsets: tuple[int, ...], walk: dict[int, int]) -> bool:
    return all(
        offsets[p.a] <= offsets[p.b] - below or offsets[p.a] >= offsets[p.b] + above
        for p in pairs
        for below, above in [p.gaps[walk.get(p.op, 0)]]
    )


def holds(problem: Problem, offsets: tuple[int, ...], walk: dict[int, int]) -> bool:
    """Every pair is far enough apart, and every offset aligned and in the arena."""
    aligned = all(o >= 0 and o % up == 0 for o, up in zip(offsets, problem.alignments, strict=True))
    return aligned and apart(problem.pairs, offsets, walk)


def least_by_brute_force(problem: Problem) -> int:
    """The lowest height that any offsets reach with any walks."""

    def fits(height: int, walk: dict[int, int], offsets: tuple[int, ...]) -> bool:
        i = len(offsets)
        if i == len(problem.sizes):
            return True
        near = [p for p in problem.pairs if max(p.a, p.b) == i]
        return any(
            apart(near, (*offsets, at), walk) and fits(height, walk, (*offsets, at))
            for at in range(0, height - problem.sizes[i] + 1, problem.alignments[i])
        )

    ops = list(problem.walks)
    ways = [dict(zip(ops, way, strict=True)) for way in product(*(range(problem.walks[op]) for op in ops))]
    height = max(problem.sizes)
    while not any(fits(height, walk, ()) for walk in ways):
        height += 1
    return height


@pytest.mark.parametrize("seed", range(120))
def test_placement_is_least(seed: int) -> None:
    """The height found is that of brute force, and one byte less is proven impossible."""
    problem = _random(seed)
    found = least(problem, max(problem.sizes), TRIES)
    assert holds(problem, found.offsets, found.walk)
    assert set(found.walk) == set(problem.walks)
    assert found.height(problem) == least_by_brute_force(problem)
    assert place(problem, found.height(problem) - 1, TRIES) is None


@pytest.mark.parametrize("seed", range(40))
def test_first_fit_is_a_placement(seed: int) -> None:
    """What the search falls back on is safe."""
    problem = _random(seed)
    found = first_fit(problem)
    assert holds(problem, found.offsets, found.walk)


def test_a_chain_goes_up_and_down() -> None:
    """Equal buffers, each written 2 bytes off its input: alternating walks need 12 bytes, one direction 20."""
    pairs = tuple(Pair(i + 1, i, i, ((2, 10), (10, 2))) for i in range(5))
    both = least(Problem((10,) * 6, (1,) * 6, pairs, dict.fromkeys(range(5), 2)), 12, TRIES)
    assert both == Placement((2, 0, 2, 0, 2, 0), {0: 0, 1: 1, 2: 0, 3: 1, 4: 0})
    upwards = tuple(Pair(p.a, p.b, p.op, p.gaps[:1]) for p in pairs)
    one_way = Problem((10,) * 6, (1,) * 6, upwards, dict.fromkeys(range(5), 1))
    assert least(one_way, 12, TRIES).height(one_way) == 20


def test_one_operator_walks_one_way_for_all_its_inputs() -> None:
    """An output that may be below one input only ascending, and above the other only descending, cannot be between."""
    pairs = (Pair(2, 0, 7, ((1, 4), (4, 4))), Pair(2, 1, 7, ((4, 4), (4, 1))), Pair(1, 0, -1, ((4, 4),)))
    problem = Problem((4, 4, 4), (1, 1, 1), pairs, {7: 2})
    assert least(problem, 4, TRIES).height(problem) == least_by_brute_force(problem) == 9


def test_a_search_cut_short_falls_back() -> None:
    """Without any dead end allowed, the placement is that of first fit or better, and safe."""
    for seed in range(40):
        problem = _random(seed)
        found = least(problem, max(problem.sizes), 1)
        assert holds(problem, found.offsets, found.walk)
        assert found.height(problem) <= first_fit(problem).height(problem)
