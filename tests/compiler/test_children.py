"""A depth child against a width child: what each removes, which goes on, and what is told."""

from __future__ import annotations

import pytest
import torch
from policy_runs import search_of, small_network, small_transformer

from secateur.compiler.budget import saving
from secateur.compiler.policies import children
from secateur.compiler.policies.policy import Exhausted
from secateur.passes.network.channels import find_filters
from secateur.passes.network.removal import apply_all
from secateur.passes.network.weight_norms import FilterNorm, LayerNorm
from secateur.passes.network.width import thinned_by_grains, uniform_grains


@pytest.fixture(scope="module")
def network():
    """Two stages of three blocks, 8 and 12 channels wide."""
    return small_network()


def asked(network, policy="children", **options):
    """A search at its beginning, its state, and what the network costs."""
    told: list[str] = []
    search = search_of(
        network, policy, tell=told.append, **{"layer_score": "l1", "filter_score": "l1", "recovery": "none", **options}
    )
    state = search.start(False)
    return search, state, search.limits.cost(network), told


def test_the_published_children_lose_the_same_number_of_filters(network):
    """The layer with the lowest score, wherever it stands, and as many filters as its two convolutions have."""
    network = network.clone()
    with torch.no_grad():
        for name in ("stages.1.1.conv1", "stages.1.1.conv2"):
            network.module.get_submodule(name).weight.mul_(0.1)
    search, state, now, _ = asked(network, "children-published")
    depth = search.policy._depth(state, now)
    width = search.policy._width(state, now, depth)
    lowest = LayerNorm(1)(network).ranked()[0]
    assert lowest.startswith("stages.1.1.")
    assert depth.removals[0].unit == lowest
    assert depth.filters == width.filters == 2 * (8 if lowest.startswith("stages.0") else 12)
    assert all(len(r.classes) and r.unit.endswith("conv1") for r in width.removals)


@pytest.mark.slow
def test_our_children_save_the_same_as_nearly_as_may_be(network):
    """No other beginning of the uniform order is nearer to the layer's saving."""
    search, state, now, _ = asked(network)
    depth = search.policy._depth(state, now)
    width = search.policy._width(state, now, depth)
    scores = FilterNorm(1)(network)
    grains = uniform_grains(network, scores, scores.values)
    before = search.limits.excess(now, state)
    savings = []
    for count in range(1, len(grains) + 1):
        cut = apply_all(network, thinned_by_grains(scores, grains[:count]))
        savings.append(saving(before, search.limits.excess(search.limits.cost(cut), state)))
    assert savings == sorted(savings)
    nearest = min(abs(s - depth.saving) for s in savings)
    assert abs(width.saving - depth.saving) == nearest < 0.2 * depth.saving


@pytest.mark.slow
@pytest.mark.parametrize("alike,kind", [((0.9, 0.8), "layer"), ((0.8, 0.9), "filters"), ((0.8, 0.8), "layer")])
def test_the_one_more_like_the_parent_goes_on(network, monkeypatch, alike, kind):
    """A tie goes to depth; both savings and their mismatch are told."""
    search, state, now, told = asked(network)
    seen = []

    def similarity(parent, others, data):
        seen.append((parent, len(others), len(data)))
        return list(alike)

    monkeypatch.setattr(children, "network_similarity", similarity)
    choice = search.policy.choose(state, now)
    assert {r.kind for r in choice.removals} == {kind} and choice.similarity == max(alike)
    assert seen == [(network, 2, 60)]
    assert told[0].count(" of the excess, ") == 2 and "; mismatch 0.0" in told[0]


@pytest.mark.slow
def test_when_no_layer_is_left_filters_go_on(network):
    """With a floor of three blocks there is none from the start: a tenth of the filters goes at a time."""
    search, state, now, told = asked(network, floor=3, less=1200)
    state = search.run(state)
    assert {s.kind for s in state.steps} == {"filters"} and len(state.steps) >= 2
    assert search.limits.cost(state.network).flash_bytes <= search.limits.budget.flash_bytes < now.flash_bytes
    assert all("no layer is left" in line for line in told[: len(state.steps)])


@pytest.mark.slow
def test_when_no_filters_are_left_layers_go_on_until_nothing_does(network, monkeypatch):
    """Filters that always win are exhausted first; then layers go down to the floor, then the reason is given."""
    search, state, _, told = asked(network, "children-published", flash=100)
    rising = lambda parent, others, data: [float(i) for i in range(len(others))]  # noqa: E731
    monkeypatch.setattr(children, "network_similarity", rising)
    with pytest.raises(Exhausted, match="nothing that --policy children-published may"):
        search.run(state)
    kinds = [s.kind for s in state.steps]
    assert kinds == sorted(kinds) and kinds.count("layer") == 4
    assert any("no filters are left" in line for line in told)
    inner = [m.out_channels for k, m in state.network.module.named_modules() if k.endswith("conv1")]
    assert inner and set(inner) == {1}


@pytest.mark.slow
def test_published_children_take_whole_heads_when_nothing_smaller_is_left():
    """A head is more filters than a tenth of what is left of a small transformer: it goes all the same."""
    search = search_of(
        small_transformer(), "children-published", flash=100, floor=3, filter_score="amp", recovery="none"
    )
    state = search.start(False)
    with pytest.raises(Exhausted, match="nothing that --policy children-published may"):
        search.run(state)
    assert [g.size for g in find_filters(state.network) if g.kind == "heads"] == [1] * 3
