"""The end of a training's early part, told by the weights' rotation."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from secateur.models.augment import Augmentation
from secateur.models.critical_period import SHARE, WINDOW, CriticalPeriod, Rule, line_slope
from secateur.models.data import Split
from secateur.models.preprocess import Preprocess
from secateur.models.training import Recipe, fit


def module(frozen: bool = False) -> nn.Sequential:
    """A linear layer that points along x, and one that is never turned; a norm, which is no layer."""
    parts = nn.Sequential(nn.Linear(2, 1), nn.BatchNorm1d(1), nn.Linear(1, 1))
    with torch.no_grad():
        parts[0].weight.copy_(torch.tensor([[2.0, 0.0]]))
    if frozen:
        parts[2].requires_grad_(False)
    return parts


def turn(parts: nn.Sequential, rotation: float) -> None:
    """Point the first layer so that 1 - cos(angle to the beginning) is `rotation`; its length changes too."""
    angle = math.acos(1 - rotation)
    with torch.no_grad():
        parts[0].weight.copy_(3 * torch.tensor([[math.cos(angle), math.sin(angle)]]))


def test_rotation_is_the_mean_over_the_layers_that_are_trained() -> None:
    """One of two turns by 60 degrees: a quarter. A frozen layer does not count; length does not matter."""
    for frozen, mean in ((False, 0.25), (True, 0.5)):
        parts = module(frozen)
        watch = CriticalPeriod(parts, "angle", 40)
        turn(parts, 0.5)
        assert watch.rotation() == pytest.approx(mean)


def test_the_line_is_least_squares() -> None:
    """As numpy fits it."""
    values = list(np.random.default_rng(0).normal(size=7))
    assert line_slope(values) == pytest.approx(np.polyfit(range(7), values, 1)[0])


@pytest.mark.parametrize("rule,looks", [("angle", 101), ("relative", 40)])
def test_it_is_over_when_the_line_flattens(rule: Rule, looks: int) -> None:
    """angle: below one radius over the whole run, a hundredth a look. relative: below 0.3 of the first window's."""
    parts = module(frozen=True)
    watch = CriticalPeriod(parts, rule, looks)
    steep, flat = (0.011, 0.0099) if rule == "angle" else (0.01, 0.01 * SHARE * 0.99)
    at, found = 0.0, []
    for i in range(2 * WINDOW + 2):
        turn(parts, at)
        found.append(watch.over())
        at += steep if i < WINDOW + 1 else flat
    assert True not in found[: WINDOW + 1]
    assert found[-1] and found.index(True) > WINDOW + 1
    early = CriticalPeriod(module(frozen=True), "angle", 101)
    assert [early.over() for _ in range(WINDOW)] == [False] * (WINDOW - 1) + [True]


def test_after_it_samples_are_as_they_are_and_once_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over at a look: jitter stops, two of three copies' steps are left out, the schedule ends where it would have."""
    monkeypatch.setattr(CriticalPeriod, "over", lambda self: True)
    rng = np.random.default_rng(0)
    split = Split(rng.normal(size=(64, 2)).astype(np.float32), rng.integers(0, 2, 64), np.arange(64))
    seen: list[torch.Tensor] = []
    network = nn.Sequential(nn.Linear(2, 2))
    network.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    recipe = Recipe(
        steps=42, batch=16, copies=3, schedule="tenths", augmentation=Augmentation(jitter=0.5),
        critical_period="relative",
    )  # fmt: skip
    log = fit(network, split, recipe, 0, Preprocess())
    known = {tuple(row) for row in split.x.tolist()}
    plain = [all(tuple(row) in known for row in batch.tolist()) for batch in seen]
    assert log.critical_step == 1 and plain == [False] + [True] * 14
    assert log.steps == len(log.losses) == 1 + math.ceil(41 / 3) and log.samples == 16 * log.steps
    after = [row for batch in seen[1:5] for row in batch.tolist()]
    assert sorted(after) == sorted(split.x.tolist())
    whole = fit(nn.Sequential(nn.Linear(2, 2)), split, replace(recipe, critical_period="never"), 0, Preprocess())
    assert whole.critical_step is None and whole.steps == 42
