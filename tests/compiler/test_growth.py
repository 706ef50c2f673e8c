"""Growth: from the floor of every stage, block by block, as long as scores rise and the budget holds."""

from __future__ import annotations

import pytest
import torch
from policy_runs import search_of, small_network

from secateur.compiler.policies import growth
from secateur.compiler.policies.policy import Exhausted
from secateur.compiler.search import SearchOptions
from secateur.errors import UserError
from secateur.passes.network.layers import find_layers
from secateur.passes.network.removal import Removal, apply_all


@pytest.fixture(scope="module")
def network():
    """Two stages of three blocks, 8 and 12 channels wide."""
    return small_network()


def blocks(network):
    """Of each stage, by number: its blocks' numbers in the original."""
    found = {0: [], 1: []}
    for unit in find_layers(network):
        if unit.stage >= 0:
            found[unit.stage].append(int(unit.name.split(".")[2]))
    return found


def scripted(monkeypatch, *scores):
    """VIP of both stages, a pair for each network that is scored in turn."""
    each = iter(scores)
    monkeypatch.setattr(growth, "StageVip", lambda data, task: lambda network: dict(enumerate(next(each))))


def flash_of(network, *gone):
    """Bytes of the network without these layers."""
    search = search_of(network, "growth", flash=10**6)
    return search.limits.cost(apply_all(network, [Removal("layer", name) for name in gone], 1)).flash_bytes


def without_effect(search):
    """Trainings take their steps and change nothing."""
    search.recovery.short_steps = lambda trained: 2
    search.recovery.after_cut = lambda network, steps, number: network
    search.recovery.last_steps = lambda trained: 0
    return search


def run(network, tell=lambda line: None, **options):
    search = without_effect(search_of(network, "growth", tell=tell, **options))
    return search, search.run(search.start(False))


def test_a_stage_keeps_its_growth_where_its_score_rose(network, monkeypatch):
    """Blocks come back in network order, with the weights that they came in with; another's score says nothing."""
    scripted(monkeypatch, (0.5, 0.5), (0.4, 0.6), (0.5, 0.5), (0.6, 0.4), (0.5, 0.5), (0.4, 0.4))
    monkeypatch.setattr(growth.Growth, "_best", lambda self, state: None)
    told: list[str] = []
    _, state = run(network, told.append, less=1)
    removed, first, second = state.steps[:3]
    assert removed.kind == "layer" and [r.unit[:10] for r in removed.removals] == [
        "stages.0.2", "stages.0.1", "stages.1.2", "stages.1.1",
    ]  # fmt: skip
    assert [(r.kind, r.unit[:10]) for r in first.removals] == [("restored", "stages.1.1")]
    assert [(r.kind, r.unit[:10]) for r in second.removals] == [("restored", "stages.0.1")]
    assert "grow: VIP of stages 0 0.5000 -> 0.4000, 1 0.5000 -> 0.6000" in told[1]
    assert told[2].startswith("  2  put back stages.1.1.conv1..conv2")
    assert len(state.steps) == 3 and blocks(state.network) == {0: [0, 1], 1: [0, 1]}
    ours = network.module.state_dict()
    assert all(torch.equal(v, ours[k]) for k, v in state.network.module.state_dict().items())


@pytest.mark.slow
def test_what_the_budget_does_not_hold_is_the_stage_that_rose_least(network, monkeypatch):
    """Both rose, one block fits: the one whose score rose more stays, and growth has ended."""
    names = [f"stages.{s}.{b}.conv1..conv2" for s, b in ((0, 2), (0, 1), (1, 2), (1, 1))]
    least = flash_of(network, *names)
    room = flash_of(network, *names[:3])
    scripted(monkeypatch, (0.5, 0.5), (0.6, 0.7))
    told: list[str] = []
    search, state = run(network, told.append, flash=room)
    assert least < room and len(state.steps) >= 2
    assert [r.unit for r in state.steps[1].removals] == [names[3]]
    assert search.limits.cost(state.network).flash_bytes <= room
    assert any("no block fits the budget" in line for line in told)


def test_it_has_never_more_blocks_than_the_original(network, monkeypatch):
    """Scores that always rise put back every block that fits: here all but one."""
    always = iter(range(100))
    monkeypatch.setattr(growth, "StageVip", lambda data, task: lambda network: dict.fromkeys((0, 1), next(always)))
    monkeypatch.setattr(growth.Growth, "_best", lambda self, state: None)
    search, state = run(network, less=1)
    assert sum(map(len, blocks(state.network).values())) == 5
    assert search.limits.cost(state.network).flash_bytes < search.limits.cost(network).flash_bytes


def test_the_most_accurate_network_on_the_way_is_the_result(network, monkeypatch):
    """Accuracies that only fall lead back to the smallest, whose weights come back with it."""
    always = iter(range(100))
    monkeypatch.setattr(growth, "StageVip", lambda data, task: lambda network: dict.fromkeys((0, 1), next(always)))
    told: list[str] = []
    search = without_effect(search_of(network, "growth", tell=told.append))
    falling = iter(range(100, 0, -1))
    monkeypatch.setattr(search, "accuracy", lambda now: float(next(falling)))
    state = search.run(search.start(False))
    assert blocks(state.network) == {0: [0], 1: [0]} and state.steps[-1].kind == "layer" and len(state.steps) >= 3
    assert any("back to step 1, the most accurate" in line for line in told)


def test_the_smallest_that_does_not_fit_is_the_best_attempt(network):
    """Growth has not begun: the reason names the limit, and what is there is trained as every attempt is."""
    search = search_of(network, "growth", flash=100)
    state = search.start(False)
    with pytest.raises(Exhausted, match="nothing that --policy growth may remove"):
        search.run(state)
    assert len(state.steps) == 1 and blocks(state.network) == {0: [0], 1: [0]} and state.finished


def test_a_network_that_fits_stays(network):
    """Nothing is taken away to be grown again."""
    _, state = run(network, less=0)
    assert state.steps == [] and state.network is network


@pytest.mark.parametrize("recovery", ["none", "bn", "full", "published", "scratch"])
def test_growth_without_short_trainings_is_refused(recovery):
    """Nothing would tell what a block is worth; --recovery scratch would forget it."""
    with pytest.raises(UserError, match=f"--recovery {recovery}: --policy growth grows by what a short training makes"):
        SearchOptions("growth", recovery=recovery)
    with pytest.raises(UserError, match="--steps 0: --policy growth"):
        SearchOptions("growth", total_steps=0)


def test_growth_ends_with_its_steps(network, monkeypatch):
    """A block that no step is left to try is not judged: what is there is the result, and a line says why."""
    monkeypatch.setattr(growth, "StageVip", lambda data, task: pytest.fail("a block was judged without a training"))
    told: list[str] = []
    search = without_effect(search_of(network, "growth", tell=told.append))
    search.recovery.short_steps = lambda trained: 1
    state = search.run(search.start(False))
    assert len(state.steps) == 1 and blocks(state.network) == {0: [0], 1: [0]}
    assert "no steps are left to try a block with" in told[-1]
