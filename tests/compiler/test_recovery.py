"""How a network is trained between and after removals: what the options mean, and where they mean nothing."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from secateur.compiler import options
from secateur.compiler.bench.pruning_run import _Trainer
from secateur.compiler.frontends.data import load_data
from secateur.compiler.recovery import (
    MODES,
    Ended,
    Recovery,
    RecoveryOptions,
    check_recovery,
    from_scratch,
    recovery_recipe,
    total_steps,
)
from secateur.errors import UserError
from secateur.models.canonical import to_network
from secateur.models.data import Data, Split
from secateur.models.network import Network
from secateur.models.task import Agreement
from secateur.models.zoo.catalogue import load
from secateur.passes.network.recover import Recover
from secateur.passes.network.removal import Removal, apply


def blobs(samples: int = 160) -> Data:
    """Two classes of 6 x 6 pictures, a bright corner or not; ten samples a group."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, samples).astype(np.int64)
    x = rng.normal(size=(samples, 1, 6, 6)).astype(np.float32)
    x[:, 0, :3, :3] += 2 * y[:, None, None]
    groups, half = np.arange(samples) // 10, samples // 2
    cuts = (slice(0, half), slice(half, half + samples // 4), slice(half + samples // 4, samples))
    return Data("blobs", *(Split(x[c], y[c], groups[c]) for c in cuts), labels=("dark", "bright"))


def small(norms: bool = True) -> Network:
    """Two 3 x 3 convolutions, one of 1 x 1, and a head; seeded."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inputs, kernel in ((1, 3), (8, 3), (8, 1)):
        layers += [nn.Conv2d(inputs, 8, kernel, padding=kernel // 2)]
        layers += [nn.BatchNorm2d(8), nn.ReLU()] if norms else [nn.ReLU()]
    return to_network(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)), (1, 6, 6), "net")


def test_gradients_are_bounded() -> None:
    """Of what is trained already; closely where no batch norm does it (a classifier without one is as usual).

    The published recipe, and what is drawn anew, are bounded in the second case only.
    """
    data = blobs(60)
    published = RecoveryOptions(recovery="published")
    ends = OrderedDict(x=nn.Conv2d(1, 8, 3), norm=nn.BatchNorm2d(8), flat=nn.Flatten(), output=nn.Linear(128, 2))
    named = to_network(nn.Sequential(ends), (1, 6, 6), "names of the graph's own ends")
    for network in (small(), named, load("har-resnet")):
        assert recovery_recipe(network, data, 7).clip_norm == 2
        assert from_scratch(recovery_recipe(network, data, 7)).clip_norm == 0
        assert recovery_recipe(network, data, 7, published).clip_norm == 0
    for network in (small(norms=False), load("watch-transformer")):
        assert recovery_recipe(network, data, 7).clip_norm == 1
        assert from_scratch(recovery_recipe(network, data, 7)).clip_norm == 1
        assert recovery_recipe(network, data, 7, published).clip_norm == 1


@pytest.mark.slow
def test_a_sure_teacher_throws_nothing_away() -> None:
    """Large logits make large gradients: unbounded, 20 steps of a recovery take a trained network to guessing."""
    network, data = load("digits-net"), load_data("zoo:digits", (1, 8, 8))
    sure = network.clone()
    classifier = [m for m in sure.module.modules() if isinstance(m, nn.Linear)][-1]
    with torch.no_grad():
        classifier.weight *= 5
    recipe = recovery_recipe(sure, data, 20)
    last = {}
    for bounded in (recipe, from_scratch(recipe)):
        train = Recover(data.recovery, bounded, 0, data.validation, teacher=sure)
        train(sure)
        assert train.log is not None
        last[bounded.clip_norm] = 100 * train.log.validation[-1][1]
    assert last[2.0] > 97 and last[0.0] < 50


@pytest.fixture
def bounds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What each training is bounded by."""
    seen: list[float] = []
    run = Recover.run
    monkeypatch.setattr(Recover, "run", lambda self, model: seen.append(self.recipe.clip_norm) or run(self, model))
    return seen


@pytest.mark.parametrize(
    "mode, before, expected",
    [("full", 0.0, [2.0]), ("scratch", 0.0, [0.0]), ("best", 0.0, [2.0, 0.0]), ("full", -math.inf, [0.0])],
)
def test_what_the_last_training_is_bounded_by(
    mode: str, before: float, expected: list[float], bounds: list[float]
) -> None:
    """Weights that are drawn anew have nothing to lose, whoever drew them."""
    recovery(small(), blobs(60), recovery=mode).end(small(), before, 3)
    assert bounds == expected


def test_what_a_benchmark_draws_anew_is_not_bounded(bounds: list[float]) -> None:
    """From scratch, and what is trained as long, as in a search."""
    data, network = blobs(60), small()
    train = _Trainer(network, data, recovery_recipe(network, data, 3), 0)
    train(network), train(network, scratch=True)
    assert bounds == [2.0, 0.0]


def recovery(network: Network, data: Data, told: list[str] | None = None, **chosen: object) -> Recovery:
    """Of a search that began with `network`."""
    asked = RecoveryOptions(**{"total_steps": 12, **chosen})  # type: ignore[arg-type]
    recipe = recovery_recipe(network, data, total_steps(asked, data), asked)
    return Recovery(network, data, asked, recipe, (told if told is not None else []).append)


def test_the_command_line_knows_every_mode() -> None:
    """Its names are a copy, for imports take seconds."""
    assert options.RECOVERIES == MODES


def test_the_published_recipe_and_its_length() -> None:
    """200 epochs of three copies in batches of 128, or as many steps as are asked for; no teacher, decay 2e-4."""
    data = blobs(1600)
    asked = RecoveryOptions(recovery="published")
    assert total_steps(asked, data) == 200 * 3 * 800 // 128
    assert total_steps(replace(asked, total_steps=7), data) == 7
    assert total_steps(RecoveryOptions(), data) == 1000
    recipe = recovery_recipe(small(), data, 7, asked)
    assert (recipe.lr, recipe.batch, recipe.schedule, recipe.copies) == (0.01, 128, "tenths", 3)
    assert (recipe.weight_decay, recipe.decayed, recipe.distillation) == (2e-4, "kernels", 0.0)
    assert recovery_recipe(small(), data, 7, replace(asked, distillation=0.5)).distillation == 0.5
    assert recovery_recipe(small(), data, 7).distillation == 0.7


def test_re_measured_norms_undo_what_a_cut_did_to_them() -> None:
    """Statistics of other activations are replaced, without a step; where accuracy would fall they stay."""
    data, network = blobs(), small()
    trained = recovery(network, data, recovery="full", total_steps=40).end(network, 0.0, 40).network
    broken = trained.clone()
    norm = broken.module.get_submodule("1")
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None
    norm.running_mean += 5.0
    found = recovery(trained, data, recovery="bn", total_steps=None)
    before = found.accuracy(broken)
    again, after = found.remeasured(broken, before)
    assert after > before + 10 and after == found.accuracy(again)
    assert all(torch.equal(a, b) for a, b in zip(again.module.parameters(), broken.module.parameters(), strict=True))
    assert found.short_steps(0) == found.last_steps(0) == 0
    assert found.remeasured(broken, 101.0) == (broken, 101.0)
    assert recovery(trained, data).remeasured(broken, before) == (broken, before)


def test_what_a_removal_leaves_is_fitted_where_that_helps() -> None:
    """By default where training goes on from it; where accuracy would fall the cut stays as it is."""
    data, network = blobs(), small()
    trained = recovery(network, data, recovery="full", total_steps=40).end(network, 0.0, 40).network
    removal = Removal("filters", "0", (2, 3, 4, 5, 6))
    cut = apply(trained, removal)
    found = recovery(trained, data)
    before = found.accuracy(cut)
    fitted, after = found.reconstructed(trained, (removal,), 2, cut, before)
    assert after > before + 10 and after == found.accuracy(fitted)
    assert found.reconstructed(trained, (removal,), 2, cut, 101.0) == (cut, 101.0)
    for off in ({"reconstruct": "off"}, {"recovery": "none", "total_steps": None}):
        assert recovery(trained, data, **off).reconstructed(trained, (removal,), 2, cut, before) == (cut, before)
    usual = {mode: RecoveryOptions(recovery=mode).reconstructs for mode in MODES}
    assert {mode for mode, fits in usual.items() if fits} == {"short", "full", "best"}
    assert RecoveryOptions(recovery="none", reconstruct="on").reconstructs


@pytest.mark.parametrize("scratch,kept", [(81.0, "from scratch"), (80.0, "recovered"), (79.0, "recovered")])
def test_best_keeps_the_better_of_two_trainings(scratch: float, kept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both take the same steps in all; equals go to the recovered network; a line has both numbers."""
    data, network, told = blobs(), small(), []
    found = recovery(network, data, told, recovery="best")
    assert found.short_steps(0) == 4 and found.last_steps(4) == 8
    taken = []

    def once(network: Network, before: float, steps: int, scratch_first: bool = False, **how: bool) -> Ended:
        from_scratch = how.get("scratch", scratch_first)
        taken.append((steps, from_scratch))
        return Ended(small(), scratch if from_scratch else 80.0, True, steps, steps, from_scratch)

    monkeypatch.setattr(found, "_once", once)
    ended = found.end(network, 0.0, 8)
    assert taken == [(8, False), (12, True)]
    assert [(t.name, t.steps, t.percent, t.kept) for t in ended.trainings] == [
        ("recovered", 12, 80.0, kept == "recovered"), ("from scratch", 12, scratch, kept == "from scratch"),
    ]  # fmt: skip
    assert ended.accuracy == max(80.0, scratch) and ended.steps == 20
    assert (ended.own, ended.anew) == ((12, True) if kept == "from scratch" else (8, False))
    assert "recovered 80.0 %" in told[-1] and f"from scratch {scratch:.1f} %" in told[-1]


WRONG = {
    "a mode": ({"recovery": "long"}, "one of short, full"),
    "a share": ({"distillation": 1.5}, "0 to 1"),
    "a share of layers": ({"train_only": 0.0}, "above 0"),
    "a rank": ({"low_rank": -1}, "1 or more"),
    "layers from scratch": ({"recovery": "scratch", "train_only": 0.5}, "begins without weights"),
    "steps of nothing": ({"recovery": "none", "total_steps": 9}, "--steps 9: --recovery none trains nothing"),
    "steps beside norms alone": ({"recovery": "bn", "total_steps": 9}, "--steps 9: --recovery bn trains nothing"),
    "norms twice": ({"recovery": "bn", "recalibrate": True}, "--recalibrate: --recovery bn measures batch norms anew"),
    "a period of nothing": ({"recovery": "none", "critical_period": True}, "--critical-period: --recovery none trains"),
    "a rank of nothing": ({"recovery": "bn", "low_rank": 2}, "trains nothing"),
    "a fit of nothing": ({"recovery": "scratch", "reconstruct": "on"}, "--reconstruct on: --recovery scratch begins"),
    "an unknown fit": ({"reconstruct": "yes"}, "--reconstruct yes: unknown; one of auto, on, off"),
    "a share of nothing": ({"recovery": "none", "distillation": 0.5}, "trains nothing"),
    "a teacher of no steps": ({"total_steps": 0, "distillation": 0.5}, "--distill 0.5: --steps 0 trains nothing"),
    "layers of no steps": ({"total_steps": 0, "train_only": 0.5}, "--train-only 0.5: --steps 0 trains nothing"),
    "a rank of no steps": ({"total_steps": 0, "low_rank": 2}, "--low-rank 2: --steps 0 trains nothing"),
    "a period of no steps": (
        {"total_steps": 0, "critical_period": True},
        "--critical-period: --steps 0 trains nothing",
    ),
    "scratch of no steps": ({"total_steps": 0, "recovery": "scratch"}, "--recovery scratch: --steps 0 trains nothing"),
    "best of no steps": ({"total_steps": 0, "recovery": "best"}, "--recovery best: --steps 0 trains nothing"),
    "less than no step": ({"total_steps": -1}, "--steps -1: at least 0"),
    "a seed below": ({"seed": -1}, "--seed -1: 0 to 4,294,967,295"),
    "a seed above": ({"seed": 2**32}, "--seed 4294967296: 0 to 4,294,967,295"),
}


@pytest.mark.parametrize("case", WRONG)
def test_options_that_cannot_be(case: str) -> None:
    """One line that says what is wrong."""
    given, why = WRONG[case]
    with pytest.raises(UserError, match=why):
        RecoveryOptions(**given)  # type: ignore[arg-type]


def test_what_is_left_out_of_training_is_told() -> None:
    """Layers, parameters and the backward pass, for layers alone and with adapters; from scratch all is trained."""
    data, network, told = blobs(), small(), []
    recovery(network, data, told, train_only=0.5, recovery="best").end(network, 0.0, 2)
    assert [line.split(":")[0].strip() for line in told][:2] == ["trains 2 of 4 layers", "recovered with 2 steps"]
    assert len([line for line in told if "trains" in line]) == 1
    told.clear()
    recovery(network, data, told, low_rank=1).end(network, 0.0, 2)
    assert "trains adapters of rank 1 in 2 operations of all layers: 26 of " in told[0]
    told.clear()
    recovery(network, data, told, low_rank=400).end(network, 0.0, 2)
    assert (
        "trains adapters of rank 400 in 0 operations and the weights of 2, which are no more, of all layers" in told[0]
    )


@pytest.mark.parametrize("mode,before,rule", [("full", 50.0, "relative"), ("full", -math.inf, "angle"),
                                              ("scratch", 50.0, "angle")])  # fmt: skip
def test_what_begins_untrained_turns_by_the_published_rule(
    mode: str, before: float, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From scratch, and where a policy went back to initial values, 45 degrees end the period; else the first slope."""
    rules: list[str] = []

    def run(self: Recover, model: Network) -> Network:
        rules.append(self.recipe.critical_period)
        return model

    monkeypatch.setattr(Recover, "run", run)
    recovery(small(), blobs(), [], recovery=mode, critical_period=True).end(small(), before, 3)
    assert rules == [rule]


def test_a_critical_period_is_told() -> None:
    """Only the last training is watched; of three copies two are left out after it, which is said in steps."""
    data, network, told = blobs(), small(), []
    found = recovery(network, data, told, recovery="published", critical_period=True)
    found.train(network, found.recipe, 5, 1)
    assert not told
    ended = found.end(network, 0.0, 60)
    words = told[0].split()
    over, left_out, plain = int(words[5]), int(words[8]), int(words[-6])
    assert words[:2] == ["critical", "period:"] and 5 < over < 55
    assert plain == -(-(60 - over) // 3) and left_out == 60 - over - plain
    assert ended.steps == over + plain and f"with {over + plain} steps" in told[1]


def test_steps_that_have_a_say_without_recovery() -> None:
    """Quantization-aware training takes a share of them; none at all is what no recovery takes."""
    for recovery in ("none", "bn"):
        RecoveryOptions(recovery=recovery, total_steps=9, quantization_aware="on", distillation=0.5)
        RecoveryOptions(recovery=recovery, total_steps=0)


def test_adapters_of_some_layers_need_layers_that_take_one() -> None:
    """Said before the search; what a search leaves may have none but the last, which is trained alone."""
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(16, 2)]
    network, asked = to_network(nn.Sequential(*layers), (1, 6, 6), "wide"), RecoveryOptions(train_only=0.5, low_rank=1)
    with pytest.raises(UserError, match="--low-rank 1: only the last layer of wide takes an adapter, so"):
        check_recovery(network, blobs(120), asked)
    told = list[str]()
    recovery(network, blobs(120), told, train_only=0.5, low_rank=1).end(network, 0.0, 2)
    assert told[0].strip().startswith("trains adapters of rank 1 in 1 operation of 1 of 3 layers:")


def test_a_critical_period_needs_something_to_stop() -> None:
    """Augmentation, which the digits have and these blobs have not, or copies, which the published recipe makes."""
    network, data = small(), blobs()
    asked = RecoveryOptions(critical_period=True)
    with pytest.raises(UserError, match="--critical-period: blobs has no augmentation and --recovery short takes one"):
        check_recovery(network, data, asked)
    check_recovery(network, data, replace(asked, recovery="published"))
    check_recovery(network, replace(data, name="zoo:digits"), asked)


def test_options_that_mean_nothing_here() -> None:
    """Statistics of no norm; labels that are not there."""
    data = blobs()
    for asked in (RecoveryOptions(recovery="bn"), RecoveryOptions(recalibrate=True)):
        check_recovery(small(), data, asked)
        with pytest.raises(UserError, match="no batch norm"):
            check_recovery(small(norms=False), data, asked)
    flat = to_network(nn.Sequential(nn.Conv2d(1, 2, 6), nn.Flatten()), (1, 6, 6), "flat")
    with pytest.raises(UserError, match="no linear layer and no 1 x 1"):
        check_recovery(flat, data, RecoveryOptions(low_rank=2))
    check_recovery(small(), data, RecoveryOptions(train_only=0.5))
    with pytest.raises(UserError, match="leave out --train-only"):
        check_recovery(flat, data, RecoveryOptions(train_only=0.5))
    silent = replace(data, task=Agreement())
    with pytest.raises(UserError, match="no labels"):
        check_recovery(small(), silent, RecoveryOptions(distillation=0.5))
    assert recovery_recipe(small(), silent, 5, RecoveryOptions(recovery="published")).distillation == 1.0


@pytest.mark.parametrize(
    "mode, before, how",
    [("full", 0.0, "recovered"), ("scratch", 0.0, "trained from scratch"), ("full", -math.inf, "trained")],
)
def test_only_what_had_weights_has_recovered(mode: str, before: float, how: str) -> None:
    """What is drawn anew, or went back to initial values, is trained."""
    told = list[str]()
    recovery(small(), blobs(60), told, recovery=mode).end(small(), before, 3)
    assert told[-1].strip().startswith(f"{how} with 3 steps: validation")
