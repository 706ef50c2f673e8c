"""The last recovery of a search: kept where it helps on validation, undone where it harms."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from secateur.compiler.budget import Budget, Reached
from secateur.compiler.policies import POLICIES
from secateur.compiler.policies.policy import Choice
from secateur.compiler.recovery import Recovery, recovery_recipe
from secateur.compiler.search import Search, SearchOptions
from secateur.compiler.search_state import SearchState, Step
from secateur.models.network import Network
from secateur.models.zoo.catalogue import load, zoo_data
from secateur.passes.network.reconstruct import Reconstruct
from secateur.passes.network.removal import Removal, apply
from secateur.targets.target import find


def _search(recovery: str = "short") -> tuple[Search, SearchState]:
    network, data, target = load("digits-net"), zoo_data("digits"), find("host")
    options = SearchOptions(recovery=recovery, total_steps=5)
    search = Search(network, data, target, Budget().on(target), options, recovery_recipe(network, data, 5))
    now = search.accuracy(network)
    step = Step("layer", "stages.0.1", (), 0.9, now, now, 0, 1, Reached(1, 1, None))
    return search, SearchState(network, [step])


def _damaged(network: Network) -> Network:
    worse = network.clone()
    with torch.no_grad():
        for parameter in worse.module.parameters():
            parameter.zero_()
    return worse


@pytest.mark.parametrize("recovery,kept", [("short", True), ("scratch", False)])
def test_a_recovery_that_harms_is_undone(recovery: str, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network before it stays and its steps count; from scratch there is nothing before it to keep."""
    search, state = _search(recovery)
    before, accuracy = state.network, state.steps[-1].accuracy_recovered
    monkeypatch.setattr(search.recovery, "_trained", lambda network, *_, **__: (_damaged(network), 5))
    search._finish(state)
    assert state.finished and state.steps[-1].trained_steps == 5
    assert (state.network is before) == kept
    assert (state.steps[-1].accuracy_recovered == accuracy) == kept


@pytest.mark.parametrize("helps", [False, True])
def test_a_short_training_that_harms_is_undone(helps: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between removals too the network before it stays where validation falls far; its steps are spent all the same."""
    search, _ = _search()
    good = search.original
    begun, trained = (_damaged(good), good) if helps else (good, _damaged(good))
    search.options = replace(search.options, total_steps=300, reconstruct="off")  # no removal made these networks
    search.recovery = Recovery(good, search.data, search.options, search.recipe, search.tell)
    monkeypatch.setattr(search.recovery, "harmed", lambda accuracy: True)
    monkeypatch.setattr(search.recovery, "after_cut", lambda network, steps, number: trained)
    state, told = SearchState(good), list[str]()
    search.tell = told.append
    search._step(state, Choice((Removal("layer", "stages.0.1"),), begun, None))
    step = state.steps[-1]
    assert (
        (f"{step.trained_steps} steps of training ended at" in told[-1]) == told[-1].endswith("undone") == (not helps)
    )
    assert state.network is good and step.accuracy_recovered == search.accuracy(good)
    assert step.trained_steps > 0 and step.network_steps == (step.trained_steps if helps else 0)


@pytest.mark.parametrize("policy,fits", [("everything", True), ("children", True), ("rewind", False)])
def test_a_step_fits_what_its_removals_leave(policy: str, fits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the network before the step, in every policy that keeps these weights."""
    search, _ = _search()
    search.policy = POLICIES[policy](search)
    monkeypatch.setattr(search.recovery, "harmed", lambda accuracy: False)
    removal, state = Removal("layer", "stages.0.1.conv1..conv2"), SearchState(search.original)
    cut = apply(search.original, removal)
    search._step(state, Choice((removal,), cut, None))
    assert (state.network is not cut) == fits == (state.network.history[-1] == "reconstruct")
    assert (state.steps[-1].accuracy_recovered > state.steps[-1].accuracy_cut) == fits


def test_a_fit_that_harms_is_left_out_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cut network goes on as it was cut, and the step's line says so; a fit that helps needs no word."""
    search, _ = _search()
    monkeypatch.setattr(search.recovery, "harmed", lambda accuracy: False)
    removal = Removal("layer", "stages.0.1.conv1..conv2")
    cut, told = apply(search.original, removal), list[str]()
    search.tell = told.append
    for harms in (False, True):
        state = SearchState(search.original)
        if harms:
            monkeypatch.setattr(Reconstruct, "run", lambda self, model: _damaged(model))
        search._step(state, Choice((removal,), cut, None))
        assert (state.network is cut) == harms == ("its fit cost validation: left out" in told[-1])


def test_a_recovery_that_helps_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """From a damaged network, the recovered one is taken and its accuracy recorded."""
    search, state = _search()
    good = state.network
    state.network = _damaged(good)
    state.steps[-1] = replace(state.steps[-1], accuracy_recovered=search.accuracy(state.network))
    monkeypatch.setattr(search.recovery, "_trained", lambda *_, **__: (good, 5))
    search._finish(state)
    assert state.network is good
    assert state.steps[-1].accuracy_recovered == search.accuracy(good)


@pytest.mark.parametrize("winner,own", [("recovered", 5), ("scratch", 5), ("before", 2)])
def test_steps_of_the_network_and_steps_in_all(winner: str, own: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of --recovery best: two steps before, three more, five from scratch; what ships was trained with some of them."""
    search, state = _search("best")
    state.steps[-1] = replace(state.steps[-1], trained_steps=2, network_steps=2, accuracy_recovered=50.0)
    reached = {"recovered": (60.0, 40.0), "scratch": (60.0, 70.0), "before": (40.0, 45.0)}[winner]
    trained = [(_damaged(state.network), 3), (_damaged(state.network), 5)]
    monkeypatch.setattr(search.recovery, "_trained", lambda *_, **__: trained.pop(0))
    accuracies = list(reached)
    monkeypatch.setattr(search.recovery, "accuracy", lambda _: accuracies.pop(0))
    search._finish(state)
    assert (state.network_steps, state.spent_steps) == (own, 10)
    state.reopen()
    assert (state.network_steps, state.trained_steps, state.spent_steps) == (2, 2, 10)
