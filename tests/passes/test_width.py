"""Thinning many groups at once: exactly so many filters, or one ratio as nearly as kernels like."""

from __future__ import annotations

import numpy as np
import pytest
from policy_runs import small_network
from torch import nn

from secateur.models.canonical import to_network
from secateur.passes.network.channels import find_filters
from secateur.passes.network.removal import Removal, apply, apply_all
from secateur.passes.network.scores import FilterScores
from secateur.passes.network.width import count_filters, thinned_by_grains, thinned_by_number, uniform_grains


@pytest.fixture(scope="module")
def blocks():
    """Two stages of four blocks: 8 inner groups of 8 or 12 filters that no addition joins."""
    return small_network(4)


def drawn(network, seed=0):
    """Importances at random, of another size in every group."""
    rng = np.random.default_rng(seed)
    values = {g.name: 10 ** rng.uniform(-3, 3) * rng.random(g.size) for g in find_filters(network) if g.removable}
    return FilterScores(network.hash(), 0, values)


def widths(network):
    return [m.out_channels for m in network.module.modules() if isinstance(m, nn.Conv1d)]


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2, 7, 16, 24, 50, 71, 72, 500])
def test_exactly_so_many_filters_go_and_every_convolution_keeps_one(blocks, number):
    """min(number, available): 4 x 7 + 4 x 11 may go; what an addition joins stays, and so do the stem and the head."""
    removals = thinned_by_number(blocks, drawn(blocks), number)
    cut = apply_all(blocks, removals)
    assert count_filters(blocks).total - count_filters(cut).total == min(number, 72)
    assert sum(widths(blocks)) - sum(widths(cut)) == min(number, 72)
    assert min(widths(cut)) >= 1
    assert all(r.unit.endswith("conv1") for r in removals)


def test_a_ratio_is_the_same_for_every_group_and_the_remainder_goes_by_score(blocks):
    """Of 180 filters 24 go: an even share is 1 of 8 and 2 of 12, which are 12; 12 more by lowest score."""
    assert count_filters(blocks).total == 180
    scores = drawn(blocks)
    gone = {r.unit: r.classes for r in thinned_by_number(blocks, scores, 24)}
    assert all(len(gone[g]) >= (1 if g.startswith("stages.0") else 2) for g in gone) and len(gone) == 8
    assert all(classes == scores.lowest(g, len(classes)) for g, classes in gone.items())
    relative = {g: np.sort(v) / v.mean() for g, v in scores.values.items()}
    last = max(relative[g][len(c) - 1] for g, c in gone.items() if len(c) > (1 if g.startswith("stages.0") else 2))
    assert all(relative[g][len(c)] >= last for g, c in gone.items())


def test_what_rounding_took_too_much_comes_back():
    """4 of 18 filters are two thirds of one in each of six groups of three: of six rounded up two come back."""
    convs = [part for i in range(6) for part in (nn.Conv1d(3, 3, 1), nn.ReLU())]
    plain = to_network(nn.Sequential(*convs, nn.Flatten(), nn.Linear(6, 2)), (3, 2), "plain")
    scores = drawn(plain)
    removals = thinned_by_number(plain, scores, 4)
    assert [len(r.classes) for r in removals] == [1, 1, 1, 1]
    lowest = {g: v.min() / v.mean() for g, v in scores.values.items()}
    assert {r.unit for r in removals} == set(sorted(lowest, key=lambda g: lowest[g])[:4])


def test_grains_are_one_ratio_that_grows(blocks):
    """Every beginning leaves multiples of four, and no group is thinner than another by more than its next step."""
    scores = drawn(blocks)
    grains = uniform_grains(blocks, scores, scores.values)
    sizes = {g.name: g.size for g in find_filters(blocks)}
    assert {name for name, _ in grains} == set(scores.values)
    for count in range(1, len(grains) + 1):
        gone = {r.unit: len(r.classes) for r in thinned_by_grains(scores, grains[:count])}
        assert all((sizes[n] - k) % 4 == 0 and sizes[n] - k >= 4 for n, k in gone.items())
        reached = max(k / sizes[n] for n, k in gone.items())
        waiting = [k / sizes[n] for n, k in grains[count:]]
        assert all(ratio >= reached for ratio in waiting)
    alike = [n for n, k in grains if k / sizes[n] == 0.5 and sizes[n] == 8]
    assert alike == sorted(alike, key=lambda n: np.sort(scores.values[n])[:4].mean() / scores.values[n].mean())


@pytest.mark.slow
def test_groups_cut_together_are_groups_cut_in_turn(blocks):
    """The same graph and the same bytes."""
    scores = drawn(blocks)
    removals = [Removal("filters", g, scores.lowest(g, 3)) for g in scores.values]
    one = blocks
    for removal in removals:
        one = apply(one, removal)
    assert apply_all(blocks, removals).hash() == one.hash() != blocks.hash()
