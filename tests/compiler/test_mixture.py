"""A block against heads and hidden units of as many parameters, on a transformer of three blocks."""

from __future__ import annotations

import numpy as np
import pytest
from policy_runs import search_of, small_data, small_network, small_transformer

import secateur
from secateur.compiler.policies import mixture
from secateur.compiler.policies.mixture import blocks_of, layer_equivalent
from secateur.compiler.policies.policy import Exhausted
from secateur.compiler.search import SearchOptions
from secateur.errors import UserError
from secateur.passes.network.channels import find_filters
from secateur.passes.network.macs import network_parameters
from secateur.passes.network.removal import Removal, apply_all
from secateur.passes.network.scores import FilterScores


@pytest.fixture(scope="module")
def former():
    """Blocks of 4 heads and 24 hidden units."""
    return small_transformer()


def drawn(network):
    rng = np.random.default_rng(0)
    values = {g.name: rng.random(g.size) for g in find_filters(network) if g.removable}
    return FilterScores(network.hash(), 0, values)


def test_a_block_is_an_attention_and_its_hidden_layer(former):
    """Both go together; the first block stays. Parameters are counted with their norms."""
    blocks = blocks_of(former, 2)
    assert [b.removable for b in blocks] == [False, True, True]
    assert all(len(b.units) == 2 and b.heads.size == 4 and b.hidden.size == 24 for b in blocks)
    # four projections of 16 x 16, two of 16 x 24, their biases, two norms
    assert {b.parameters for b in blocks} == {4 * (256 + 16) + 2 * 384 + 24 + 16 + 2 * 32}
    cut = apply_all(former, [Removal("layer", u) for u in reversed(blocks[1].units)])
    assert network_parameters(former) - network_parameters(cut) == blocks[1].parameters


@pytest.mark.parametrize("heads", [4, 3, 2, 1])
def test_width_takes_a_layer_equivalent_of_every_block_alike(former, heads):
    """The lowest heads, then units for the rest of the parameters: within half a unit a block of what is asked."""
    thin = former
    if heads < 4:
        names = [b.heads.name for b in blocks_of(former, 2)]
        thin = apply_all(former, [Removal("filters", n, tuple(range(4 - heads))) for n in names])
    blocks, scores = blocks_of(thin, 2), drawn(thin)
    removals = {r.unit: r.classes for r in layer_equivalent(thin, blocks, scores)}
    assert all(classes == scores.lowest(unit, len(classes)) for unit, classes in removals.items())
    gone_heads = [len(removals.get(b.heads.name, ())) for b in blocks]
    gone_units = [len(removals.get(b.hidden.name, ())) for b in blocks]
    assert len(set(gone_heads)) == len(set(gone_units)) == 1
    per_head, per_unit = 4 * (4 * 16) + 3 * 4, 2 * 16 + 1
    prunable = heads * per_head + 24 * per_unit
    ratio = blocks[0].parameters / (3 * prunable)
    assert gone_heads[0] == min(round(ratio * heads), heads - 1)
    cut = apply_all(thin, [Removal("filters", u, c) for u, c in removals.items()])
    fewer = network_parameters(thin) - network_parameters(cut)
    assert fewer == 3 * (gone_heads[0] * per_head + gone_units[0] * per_unit)
    assert abs(fewer - blocks[0].parameters) <= 3 * per_unit / 2


@pytest.mark.parametrize(
    "alike,kind", [((0.9, 0.8, 0.7), "layer"), ((0.7, 0.8, 0.9), "filters"), ((0.7, 0.8, 0.8), "layer")]
)
def test_the_most_similar_child_goes_on(former, monkeypatch, alike, kind):
    """Of two blocks and the thinner network; a tie goes to depth. The best of both kinds are told."""
    monkeypatch.setattr(mixture, "network_similarity", lambda parent, others, data: list(alike))
    told: list[str] = []
    search = search_of(former, "mixture", tell=told.append, recovery="none")
    state = search.start(False)
    choice = search.policy.choose(state, search.limits.cost(former))
    assert {r.kind for r in choice.removals} == {kind} and choice.similarity == max(alike)
    if kind == "layer":
        block = blocks_of(former, 1)[1 + alike.index(max(alike[:2]))]
        assert [r.unit for r in choice.removals] == list(reversed(block.units))
    assert len(told) == 2 and "depth blocks." in told[0] and "width 3 heads, " in told[1]


def test_either_kind_goes_on_alone_until_nothing_is_left(former, monkeypatch):
    """Depth first, by a similarity that prefers the first child; then width, to one head and one unit a block."""
    preferred = lambda parent, others, data: [-float(i) for i in range(len(others))]  # noqa: E731
    monkeypatch.setattr(mixture, "network_similarity", preferred)
    search = search_of(former, "mixture", flash=100, recovery="none", floor=2)
    state = search.start(False)
    with pytest.raises(Exhausted, match="nothing that --policy mixture may remove"):
        search.run(state)
    kinds = [s.kind for s in state.steps]
    assert kinds[0] == "layer" and set(kinds[1:]) == {"filters"}
    left = blocks_of(state.network, 2)
    assert [(b.heads.size, b.hidden.size) for b in left] == [(1, 1)] * 2


def test_a_network_without_heads_is_refused(tmp_path):
    """In one line that names children, before anything is written."""
    network, says = (
        small_network(),
        "net: --policy mixture needs attention heads, and there are none; take --policy children",
    )
    with pytest.raises(UserError, match=says):
        search_of(network, "mixture")
    with pytest.raises(UserError, match=says):
        secateur.compile(
            network, target="esp32", data=small_data(), out=tmp_path / "out", search=SearchOptions("mixture")
        )
    assert not (tmp_path / "out").exists()
