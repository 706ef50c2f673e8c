"""Lottery tickets: the untrained network chooses, or the trained one does, and training begins at the beginning."""

from __future__ import annotations

import pytest
import torch
from policy_runs import search_of, small_network

from secateur.compiler.search import SearchOptions
from secateur.errors import UserError


@pytest.fixture(scope="module")
def network():
    """Two stages of three blocks, 8 and 12 channels wide."""
    return small_network()


def values(network):
    return {k: v.clone() for k, v in network.module.state_dict().items()}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def untrained(network, policy="tickets", **options):
    return search_of(network, policy, **options).policy._initial(network)


def otherwise_trained(network):
    other = network.clone()
    with torch.no_grad():
        for p in other.module.parameters():
            p.mul_(torch.linspace(-2, 2, p.numel()).view(p.shape))
    return other


@pytest.mark.slow
@pytest.mark.parametrize("score", ["cka", "snip"])
def test_what_was_trained_has_no_say_in_a_ticket(network, score):
    """Two networks of one shape lose the same layers, one after the other; only another seed may change that."""
    chosen = []
    for trained in (network, otherwise_trained(network)):
        search = search_of(trained, "tickets", layer_score=score)
        state = search.start(False)
        first = search.policy.choose(state, search.limits.cost(state.network))
        state.network = first.network
        second = search.policy.choose(state, search.limits.cost(state.network))
        chosen.append((first.removals, second.removals, second.network.hash()))
    assert chosen[0] == chosen[1]


def test_a_rewound_network_is_chosen_by_the_trained_one(network):
    """The same layer as --policy layers takes, from the network as it came in."""
    for trained in (network, otherwise_trained(network)):
        found = [
            (s := search_of(trained, policy)).policy.choose(s.start(False), s.limits.cost(trained))
            for policy in ("rewind", "layers")
        ]
        assert found[0].removals == found[1].removals and found[0].network.hash() == found[1].network.hash()


def test_survivors_go_back_to_one_theta_0(network):
    """The same values with every layer there and without some, for both policies; another seed draws others."""
    told: list[str] = []
    search = search_of(network, "rewind", tell=told.append)
    theta = values(untrained(network))
    state = search.start(False)
    cut = search.policy.choose(state, search.limits.cost(network)).network
    rewound = values(search.policy.begins_last(cut))
    assert equal(rewound, {k: theta[k] for k in rewound}) and len(rewound) < len(theta)
    assert told == ["     trained from theta_0: weights drawn anew, seed 0"]
    assert not equal(values(cut), rewound)
    assert not equal(values(untrained(network, seed=1)), theta)
    assert equal(values(untrained(otherwise_trained(network), "rewind")), theta)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["tickets", "rewind"])
def test_all_training_is_one_and_begins_at_theta_0(network, monkeypatch, policy):
    """No steps after a removal; what is trained for all of the steps is a part of theta_0."""
    begun = []
    search = search_of(network, policy)
    end = search.recovery.end

    def spy(network, before, steps):
        begun.append(values(network))
        return end(network, before, steps)

    monkeypatch.setattr(search.recovery, "end", spy)
    state = search.run(search.start(False))
    theta = values(untrained(network))
    assert [s.trained_steps for s in state.steps] == [0] * (len(state.steps) - 1) + [search.options.total_steps]
    assert len(begun) == 1 and equal(begun[0], {k: theta[k] for k in begun[0]})
    assert not equal(values(state.network), begun[0])
    before = state.before_final
    assert before is not None and equal(values(before[0]), begun[0]) == (policy == "tickets")


@pytest.mark.parametrize("policy", ["tickets", "rewind"])
@pytest.mark.parametrize(
    "options,says",
    [
        ({"recovery": "none"}, "--recovery none: --policy {} trains all that is left from its initial values"),
        ({"recovery": "scratch"}, "--recovery scratch: --policy {} trains all that is left from its initial values"),
        ({"recovery": "best"}, "--recovery best: --policy {} trains all that is left"),
        ({"low_rank": 2}, "--low-rank 2: --policy {} trains all that is left"),
        ({"train_only": 0.5}, "--train-only 0.5: --policy {} trains all that is left"),
        ({"recalibrate": True}, "--recalibrate: --policy {} trains all that is left"),
        ({"reconstruct": "on"}, "--reconstruct on: --policy {} draws weights anew or puts blocks back"),
        ({"total_steps": 0}, "--steps 0: --policy {} gives an untrained network"),
        ({"filter_score": "l1"}, "--filter-score l1: --policy {} ranks no filters by it"),
    ],
)
def test_what_contradicts_it_is_refused(policy, options, says):
    """In one line."""
    with pytest.raises(UserError, match=says.format(policy)):
        SearchOptions(policy, **options)
