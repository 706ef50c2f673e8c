"""The table of policies, and what every policy does alike."""

from __future__ import annotations

import pytest
from policy_runs import STEPS, search_of, small_network, small_transformer

import secateur
from secateur.compiler import options
from secateur.compiler.budget import Margins
from secateur.compiler.policies import POLICIES
from secateur.compiler.search import SearchOptions
from secateur.errors import UserError


def test_the_command_line_offers_every_policy():
    """By the names of the table, which it does not import: that takes seconds."""
    assert options.POLICIES == tuple(POLICIES)


def test_an_unknown_policy_is_refused():
    """From Python too, with the names that there are."""
    with pytest.raises(UserError, match="--policy nothing: unknown; one of everything, layers, filters"):
        SearchOptions("nothing")


@pytest.fixture(scope="module")
def network():
    """Two stages of three blocks, 8 and 12 channels wide."""
    return small_network()


@pytest.fixture
def fitting(policy, network):
    """A network that the policy is made for."""
    return small_transformer() if policy == "mixture" else network


OWN = [name for name, policy in POLICIES.items() if not policy.controls]


@pytest.mark.parametrize("policy", OWN)
@pytest.mark.parametrize("method", ["random", "uniform"])
def test_a_control_that_would_have_no_say_is_refused(policy, method):
    """In one line, which names what comes nearest to it, where there is something."""
    with pytest.raises(UserError, match=f"--method {method}: --policy {policy} chooses in a way of its own") as error:
        SearchOptions(policy, method)
    assert "\n" not in str(error.value)
    assert ("--layer-score random" in str(error.value)) == POLICIES[policy].layer_score


@pytest.mark.parametrize("policy", OWN)
def test_without_data_it_is_refused(network, tmp_path, policy):
    """Nothing is chosen, and nothing is written."""
    with pytest.raises(UserError, match="a float network needs --data"):
        secateur.compile(network, target="esp32", out=tmp_path / "out", search=SearchOptions(policy))
    assert not (tmp_path / "out").exists()


class Killed(Exception):
    """Stands for the end of the process."""


def saved(folder):
    """Every checkpoint's bytes."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("policy", OWN)
def test_a_search_ends_within_its_budget_and_killed_with_the_same_bytes(fitting, tmp_path, monkeypatch, policy):
    """Killed after its first step; equal training; a line a step; a record of each in the report's form."""
    monkeypatch.setenv("SECATEUR_CACHE", str(tmp_path / "cache"))
    told: list[str] = []
    less = 7000 if policy == "mixture" else 2500  # more than one step
    whole = search_of(fitting, policy, tmp_path / "whole", told.append, less=less)
    state = whole.run(whole.start(False))
    assert len(state.steps) >= 2
    assert whole.limits.cost(state.network).flash_bytes <= whole.limits.budget.flash_bytes
    assert state.finished and state.trained_steps == STEPS
    assert whole.replay(state.steps).module.code == state.network.module.code
    for number, step in enumerate(state.steps, 1):
        assert sum(line.startswith(f"{number:3d}  ") and step.what in line for line in told) == 1
    broken = search_of(fitting, policy, tmp_path / "broken", less=less)
    save = broken._save

    def kill(state):
        save(state)
        raise Killed

    monkeypatch.setattr(broken, "_save", kill)
    with pytest.raises(Killed):
        broken.run(broken.start(True))
    again = search_of(fitting, policy, tmp_path / "broken", less=less)
    assert again.run(again.start(True)).network.hash() == state.network.hash()
    assert saved(tmp_path / "broken") == saved(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["rewind", "growth"])
def test_an_image_that_taught_more_continues_the_same_after_a_resume(network, tmp_path, monkeypatch, policy):
    """A larger margin after the last recovery: more goes, chosen on what was chosen on before; growth takes back."""
    monkeypatch.setenv("SECATEUR_CACHE", str(tmp_path / "cache"))
    results = []
    for stop in (False, True):
        folder = tmp_path / str(stop)
        run = search_of(network, policy, folder, less=2000)
        state = run.run(run.start(False))
        if stop:
            run = search_of(network, policy, folder, less=2000)
            state = run.start(True)
        before = len(state.steps)
        over = run.limits.budget.flash_bytes - run.limits.cost(state.network).flash_bytes + 1
        state.margins = Margins(flash_bytes=over)
        state = run.run(state)
        assert run.limits.hold(state.network, state) and len(state.steps) > before and state.steps[-1].kind == "layer"
        assert state.trained_steps == STEPS
        results.append((state.network.hash(), saved(folder)))
    assert results[0] == results[1]
