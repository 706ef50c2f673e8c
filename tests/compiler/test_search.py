"""The budget loop on a network of a few hundred weights: it ends, saves every step, and takes up where it was."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from secateur.compiler.budget import Budget, Margins, reached
from secateur.compiler.policies.policy import Exhausted, scarcest, useful
from secateur.compiler.recovery import recovery_recipe
from secateur.compiler.search import Search, SearchOptions
from secateur.compiler.search_state import SearchState
from secateur.models.canonical import to_network
from secateur.models.data import Data, Split
from secateur.models.network import Network
from secateur.passes.network.macs import network_parameters
from secateur.passes.network.removal import Removal, apply
from secateur.targets.target import find

pytestmark = pytest.mark.slow


class Killed(Exception):
    """Stands for the end of the process."""


def striped(size: int = 6) -> Data:
    """Two classes that one corner tells apart, 120 samples of 1 x size x size in 12 groups."""
    rng = np.random.default_rng(0)
    x = rng.normal(0, 0.3, (120, 1, size, size)).astype(np.float32)
    y = (np.arange(120) % 2).astype(np.int64)
    x[:, 0, :3, :3] += 2 * y[:, None, None]
    groups = np.arange(120) // 10
    cuts = (slice(0, 80), slice(80, 100), slice(100, 120))
    return Data("striped", *(Split(x[c], y[c], groups[c]) for c in cuts), labels=("dark", "bright"))


@pytest.fixture(scope="module")
def network():
    """Two convolutions and a head, seeded."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 12, 3, padding=1), nn.ReLU()]
    return to_network(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 2)), (1, 6, 6), "net")


def large():
    """The same on 24 x 24 pixels, whose first convolution needs most of the RAM."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 12, 3, 2, 1), nn.ReLU()]
    return to_network(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 2)), (1, 24, 24), "n")


def search(network, folder, tell=lambda line: None, *, less=700, **options):
    """A search for `less` bytes of flash less than the network takes."""
    data, target = striped(), find("esp32")
    chosen = SearchOptions(**{"total_steps": 9, "short_steps": 2, "samples": 40, **options})
    free = Search(network, data, target, Budget(), chosen, recovery_recipe(network, data, 9))
    budget = Budget(flash_bytes=free.limits.cost(network).flash_bytes - less).on(target)
    return Search(network, data, target, budget, chosen, recovery_recipe(network, data, 9), folder, tell)


def kill_at(point, run, monkeypatch):
    """Runs until it is killed: at save `point` // 2, after it where `point` is odd, else with half of it written."""
    save, count = run._save, iter(range(100))

    def kill(state):
        if next(count) == point // 2:
            if point % 2:
                save(state)
            else:
                run.checkpoints.mkdir(exist_ok=True)
                (run.checkpoints / "001.safetensors.part").write_bytes(b"half")
            raise Killed
        save(state)

    monkeypatch.setattr(run, "_save", kill)
    with pytest.raises(Killed):
        run.run(run.start(True))


def saved(folder):
    """Every checkpoint's bytes."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_it_removes_until_the_budget_holds(network, tmp_path):
    """The last state is within the limit, the one before was not, and training took the steps it was given."""
    run = search(network, tmp_path)
    state = run.run(run.start(False))
    flash = [step.reached.flash_bytes for step in state.steps]
    assert len(flash) >= 2 and flash == sorted(flash, reverse=True)
    assert flash[-1] <= run.limits.budget.flash_bytes < flash[-2]
    assert state.finished and state.trained_steps == 9
    assert run.limits.cost(network).flash_bytes > run.limits.budget.flash_bytes  # the original is as it was


@pytest.mark.parametrize("point", range(5))
def test_killed_at_any_step_it_resumes_to_the_same_bytes(network, tmp_path, monkeypatch, point):
    """Killed before a save, between the weights and the state, or after it."""
    whole = search(network, tmp_path / "whole")
    expected = whole.run(whole.start(False)).network.hash()
    broken = search(network, tmp_path / "broken")
    kill_at(point, broken, monkeypatch)
    again = search(network, tmp_path / "broken")
    assert again.run(again.start(True)).network.hash() == expected
    assert saved(tmp_path / "broken") == saved(tmp_path / "whole")


@pytest.mark.parametrize("point", [1, 2, 3])
def test_killed_while_patches_hold_the_ram_it_resumes_to_the_same_bytes(tmp_path, monkeypatch, point):
    """The RAM is above its limit in one piece at the beginning; every checkpoint is that of an undisturbed run."""

    def searching(folder):
        told: list[str] = []
        data, target = striped(24), find("esp32")
        options = SearchOptions(total_steps=9, short_steps=2, samples=40)
        recipe = recovery_recipe(wide, data, 9)
        now = Search(wide, data, target, Budget(), options, recipe).limits.cost(wide)
        budget = Budget(ram_bytes=now.ram_bytes // 2, flash_bytes=now.flash_bytes - 900)
        return Search(wide, data, target, budget, options, recipe, tmp_path / folder, told.append), told

    wide = large()
    whole, told = searching("whole")
    state = whole.run(whole.start(False))
    assert len(state.steps) >= 2 and "in one piece" in told[0] and state.network.hash() != wide.hash()
    broken, _ = searching("broken")
    kill_at(point, broken, monkeypatch)
    again, _ = searching("broken")
    assert again.run(again.start(True)).network.hash() == state.network.hash()
    assert saved(tmp_path / "broken") == saved(tmp_path / "whole")


def test_which_training_won_outlasts_a_resume(network, tmp_path):
    """Both numbers of --recovery best are in the saved state."""
    run = search(network, tmp_path, recovery="best")
    state = run.run(run.start(False))
    assert [t.name for t in state.trainings] == ["recovered", "from scratch"]
    assert {t.steps for t in state.trainings} == {9} and sum(t.kept for t in state.trainings) == 1
    again = search(network, tmp_path, recovery="best")
    resumed = again.start(True)
    assert (resumed.network_steps, resumed.spent_steps) == (state.network_steps, state.spent_steps)
    assert state.network_steps == 9 and state.spent_steps == 18
    assert resumed.trainings == state.trainings and resumed.network.hash() == state.network.hash()


def test_an_image_that_taught_more_continues_the_same_after_a_resume(network, tmp_path):
    """A larger margin after the last recovery: removal goes on, in one process or in two."""
    results = []
    for stop in (False, True):
        folder = tmp_path / str(stop)
        run = search(network, folder)
        state = run.run(run.start(False))
        if stop:
            run = search(network, folder)
            state = run.start(True)
        state.margins = Margins(flash_bytes=200)
        state = run.run(state)
        results.append((state.network.hash(), saved(folder)))
    assert results[0] == results[1]


def test_an_image_before_the_last_training_loses_none(network, tmp_path):
    """What an image taught early leads to what it leads to late, without the training that is thrown away late."""
    late = search(network, tmp_path / "late")
    state = late.run(late.start(False))
    state.margins = Margins(flash_bytes=200)
    state = late.run(state)

    asked: list[tuple[str, Margins]] = []

    def image(now: Network, margins: Margins) -> Margins:
        asked.append((now.hash(), margins))
        return Margins(flash_bytes=200)  # the second time too: nothing is left to learn from it

    early = search(network, tmp_path / "early")
    early.image = image
    found = early.run(early.start(False))
    assert [margins for _, margins in asked] == [Margins(), Margins(flash_bytes=200)]
    assert found.network.hash() == state.network.hash()
    assert found.spent_steps == found.network_steps == 9 < state.spent_steps
    again = search(network, tmp_path / "early")
    again.image = image
    assert again.run(again.start(True)).network.hash() == found.network.hash() and len(asked) == 2


def test_no_image_is_asked_where_no_training_could_be_lost(network, tmp_path):
    """Without recovery, and where nothing was removed: the result's own image comes next."""

    def image(now: Network, margins: Margins) -> Margins:
        raise AssertionError

    for options in ({"recovery": "none", "total_steps": 0}, {"less": -100}):
        run = search(network, None, **options)
        run.image = image
        run.run(run.start(False))


def test_a_state_of_other_options_is_not_taken_up_and_leaves_nothing(network, tmp_path):
    """Another seed starts over, says so, and its checkpoints are those of an undisturbed run."""
    first = search(network, tmp_path / "a", less=1200)
    first.run(first.start(False))
    told: list[str] = []
    other = search(network, tmp_path / "a", told.append, seed=1)
    other.run(other.start(True))
    assert told[0] == "the saved state is of another budget, set of options: starting over"
    alone = search(network, tmp_path / "b", seed=1)
    alone.run(alone.start(False))
    assert saved(tmp_path / "a") == saved(tmp_path / "b")


@pytest.mark.parametrize("rising", [True, False])
def test_the_best_network_is_the_one_that_was_measured(network, tmp_path, monkeypatch, rising):
    """With accuracies that only rise it is the last one, recovered; with ones that only fall, the first."""
    run = search(network, tmp_path)
    measured: list[str] = []

    def accuracy(now):
        measured.append(now.hash())
        return float(len(measured) if rising else -len(measured))

    monkeypatch.setattr(run.recovery, "accuracy", accuracy)
    state = run.run(run.start(False))
    _, name = json.loads((tmp_path / "state.json").read_text())["best"]
    assert name == (f"{len(state.steps):03d}-final.safetensors" if rising else "001.safetensors")
    best = run.best_network(state)
    assert best is not None and best.hash() in measured
    assert (best.hash() == state.network.hash()) == rising


def test_nothing_left_to_remove_names_the_limit(network, tmp_path):
    """The reason has both numbers, and the smallest network is kept, trained to the end."""
    told: list[str] = []
    run = search(network, tmp_path, told.append, less=0)
    run.limits.budget = Budget(flash_bytes=100).on(run.limits.target)
    state = run.start(False)
    with pytest.raises(Exhausted, match=r"[\d,]+ bytes of flash are the least reached, 100 allowed") as ended:
        run.run(state)
    assert state.steps and state.finished and state.trained_steps == 9
    least = str(ended.value).split(" are the least")[0]
    assert told[0] == (
        f"no removals reach the budget: {least} with one block a stage and the fewest filters, 100 allowed. "
        "The search ends with its best attempt"
    )


def test_a_budget_within_reach_is_not_called_impossible(network, tmp_path):
    """What the search gets to at last, with no limit in its way, is not said to be out of reach; one byte less is."""
    free = search(network, None, less=0, recovery="none", total_steps=0)
    free.limits.budget, state = Budget(flash_bytes=100).on(free.limits.target), free.start(False)
    with pytest.raises(Exhausted):
        free.run(state)
    least = free.limits.cost(state.network).flash_bytes
    for flash, impossible in ((least, False), (least - 1, True)):
        told: list[str] = []
        run = search(network, None, told.append, less=0, recovery="none", total_steps=0)
        run.limits.budget = Budget(flash_bytes=flash).on(run.limits.target)
        with pytest.raises(Exhausted) if impossible else nullcontext():
            run.run(run.start(False))
        assert told[0].startswith("no removals reach the budget") == impossible


@pytest.mark.parametrize("policy", ["layers", "everything"])
def test_which_block_stays_is_left_open(policy):
    """Of three blocks two stay: a budget that holds without the dearest one is within reach, whichever is first."""

    class Block(nn.Module):
        def __init__(self, kernel: int) -> None:
            super().__init__()
            self.c = nn.Conv2d(12, 12, kernel, padding=kernel // 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(x + self.c(x))

    torch.manual_seed(0)
    blocks = [Block(kernel) for kernel in (3, 3, 5)]
    layers = [nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    network = to_network(nn.Sequential(*layers, nn.Linear(12, 2)), (1, 6, 6), "net")
    told: list[str] = []
    run = search(network, None, told.append, less=0, recovery="none", total_steps=0, policy=policy)
    limit = run.limits.cost(apply(network, Removal("layer", "4.c"))).flash_bytes
    run.limits.budget = Budget(flash_bytes=limit).on(run.limits.target)
    state = run.run(run.start(False))
    assert run.limits.hold(state.network, state) and not told[0].startswith("no removals")


def test_a_control_that_leaves_layers_is_measured_by_filters(network, tmp_path):
    """Uniform width thins only, so the bound is that of filters, and it is the method that the reason names."""
    told: list[str] = []
    run = search(network, tmp_path, told.append, less=0, method="uniform", recovery="none", total_steps=0)
    run.limits.budget = Budget(flash_bytes=100).on(run.limits.target)
    with pytest.raises(Exhausted, match=r"--policy everything --method uniform .* \(groups keep 4 channels\)"):
        run.run(run.start(False))
    assert "with the fewest filters, 100 allowed" in told[0]


def test_nothing_to_do_and_nothing_saved_are_told(network, tmp_path):
    """A budget that holds without a removal, and a resume that finds nothing."""
    told: list[str] = []
    run = search(network, tmp_path / "new", told.append, less=-100)
    state = run.run(run.start(True))
    assert not state.steps and told == [
        f"nothing is saved in {tmp_path / 'new'}: starting from the beginning",
        "the budget holds as it is: nothing is removed, and nothing has to recover",
    ]


def test_what_patches_hold_is_not_named(network, monkeypatch):
    """Where RAM holds in patches, flash alone is said to be out of reach; little milliseconds keep their digits."""
    run = search(network, None, less=0)
    run.limits.budget = Budget(ram_bytes=1000, flash_bytes=100, latency_ms=0.0123)
    whole, relieved = run.limits.cost(network), replace(run.limits.cost(network), arena_bytes=1, stack_bytes=0)
    monkeypatch.setattr(run.limits, "cost_with_relief", lambda network, state: relieved)
    assert whole.ram_bytes > 1000
    reason = str(run.exhausted(run.start(False)))
    assert "RAM" not in reason and "bytes of flash are the least reached, 100 allowed" in reason
    assert " ms are the least reached, 0.0123 ms allowed" in reason


def test_candidates_say_what_share_of_the_weights_they_take(network):
    """Of 1,454 weights four filters of the second convolution are 4 * (109 + 2), those of the first 4 * (10 + 108)."""
    run, state = search(network, None), SearchState(network)
    found = useful(run, state, run.limits.cost(network), [Removal("filters", g, (0, 1, 2, 3)) for g in ("0", "2")])
    assert network_parameters(network) == 1454
    assert [c.parameters for c in found.candidates] == [
        pytest.approx(4 * (10 + 108) / 1454),
        pytest.approx(4 * 111 / 1454),
    ]


def test_ram_that_patches_hold_asks_for_no_removal_and_what_they_take_counts(network):
    """As far as RAM is above its limit; what patches cannot hold, or may not, is for removals to hold."""
    wide = large()
    run, state = search(network, None, less=0), SearchState(wide)
    now = run.limits.cost(wide)
    free = Budget(ram_bytes=now.ram_bytes * 3 // 4)
    run.limits.budget = free
    relieved = run.limits.cost_with_relief(wide, state)
    assert run.limits.judged(wide, state) == relieved and relieved.ram_bytes <= free.ram_bytes < now.ram_bytes
    assert relieved.flash_bytes > now.flash_bytes and relieved.instructions > now.instructions
    for margins in (Margins(), Margins(instructions=1.5)):
        state.margins = margins
        whole, banded = (reached(c, run.limits.target, margins).latency_ms for c in (now, relieved))
        run.limits.budget = replace(free, latency_ms=(whole + banded) / 2)
        assert run.limits.excess(now, state) == {"latency_ms": pytest.approx((banded - whole) / 2, rel=1e-6)}
        within = replace(now, arena_bytes=1, live_bytes=(1,))  # a removal that leaves nothing for patches to do
        assert run.limits.excess(within, state) == {}
        run.limits.budget = replace(free, flash_bytes=now.flash_bytes + 1)
        assert run.limits.excess(now, state) == {"flash_bytes": relieved.flash_bytes - now.flash_bytes - 1}
    for budget in (replace(run.limits.budget, patches=False), replace(run.limits.budget, ram_bytes=700)):
        run.limits.budget = budget
        assert set(run.limits.excess(now, state)) == {"ram_bytes"} and run.limits.judged(wide, state) == now


def test_slow_memory_beside_a_latency_limit_leaves_ram_to_removals(network, monkeypatch):
    """What its accesses take is in no number; without a latency limit nobody asks."""
    run = search(network, None, less=0)
    now = run.limits.cost(network)
    slow = replace(now, arena_bytes=1, live_bytes=(1,), slow_arena_bytes=300)
    monkeypatch.setattr(run.limits, "cost_with_relief", lambda network, state: slow)
    state = run.start(False)
    run.limits.budget = Budget(ram_bytes=now.ram_bytes - 1, latency_ms=0.01)
    assert {"ram_bytes", "latency_ms"} == set(run.limits.excess(now, state))
    run.limits.budget = Budget(ram_bytes=now.ram_bytes - 1, flash_bytes=100)
    assert {"flash_bytes"} == set(run.limits.excess(now, state))


def test_what_ended_without_fitting_is_not_trained_again_by_a_resume(network, tmp_path, monkeypatch):
    """The same reason and the same network, without a candidate or a training; other margins are looked at anew."""

    def impossible(told):
        run = search(network, tmp_path, told.append, less=0)
        run.limits.budget = Budget(flash_bytes=100).on(run.limits.target)
        return run

    run = impossible([])
    state = run.start(False)
    with pytest.raises(Exhausted) as first:
        run.run(state)
    before, told = saved(tmp_path), []
    again = impossible(told)
    resumed = again.start(True)
    monkeypatch.setattr(again.recovery, "_trained", lambda *_, **__: pytest.fail("trained again"))
    with pytest.raises(Exhausted) as second:
        again.run(resumed)
    assert str(second.value) == str(first.value) and resumed.network.hash() == state.network.hash()
    assert told == [f"resumed after {len(state.steps)} steps"] and saved(tmp_path) == before
    resumed.margins = Margins(flash_bytes=7)
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        again.run(resumed)


@pytest.mark.parametrize("policy,kinds", [("layers", {"layer"}), ("filters", {"filters"})])
def test_a_policy_removes_only_its_kind(network, tmp_path, policy, kinds):
    """--policy layers on a network without removable layers has nothing to remove."""
    run = search(network, tmp_path, policy=policy)
    if policy == "layers":
        with pytest.raises(Exhausted, match="--policy layers"):
            run.run(run.start(False))
    else:
        assert {step.kind for step in run.run(run.start(False)).steps} == kinds


def test_the_limit_that_fewest_candidates_lower_comes_first():
    """One candidate of three lowers it; among limits with as many, the name decides."""
    assert scarcest([{"flash_bytes"}, {"flash_bytes", "ram_bytes"}, {"latency_ms", "flash_bytes"}]) == "latency_ms"
    assert scarcest([{"flash_bytes"}, {"ram_bytes", "latency_ms"}, {"latency_ms"}]) == "flash_bytes"
    assert scarcest([{"flash_bytes", "latency_ms"}, {"flash_bytes", "ram_bytes"}, {"latency_ms"}]) == "ram_bytes"
