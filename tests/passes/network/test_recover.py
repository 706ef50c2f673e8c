"""Recover: trains a copy, repeats itself, and keeps its promises."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from secateur.models.data import Split
from secateur.models.preprocess import Preprocess
from secateur.models.training import Recipe, predict
from secateur.models.zoo.catalogue import load, to_network
from secateur.models.zoo.digits import digits_data
from secateur.models.zoo.resnet1d import ResNet1d
from secateur.passes.contract import PassError
from secateur.passes.network.recover import Recover, step_seed

RECIPE = Recipe(steps=6, batch=16, lr=0.02)


def _network():
    torch.manual_seed(0)
    module = ResNet1d(3, 3, widths=(8, 12), blocks=(2, 2), strides=(1, 2))
    return to_network("small", module, (3, 16), ("a", "b", "c"), Preprocess((0.1, 0.0, 0.0), (1.0, 2.0, 1.0)))


def _split(seed: int = 0) -> Split:
    rng = np.random.default_rng(seed)
    return Split(rng.normal(size=(64, 3, 16)).astype(np.float32), rng.integers(0, 3, 64), np.arange(64))


def test_the_given_network_stays_as_it_was():
    """A new network comes out, with a line of history; the old one's hash and gradients are untouched."""
    network = _network()
    before = network.hash()
    recovered = Recover(_split(), RECIPE, seed=1)(network)
    assert network.hash() == before
    assert recovered.hash() != before
    assert all(p.grad is None for p in network.module.parameters())
    assert recovered.history == ("recover 6 steps",)
    assert not recovered.module.training


def test_a_repeated_recovery_gives_the_same_network():
    """Equal seeds give equal hashes, from scratch too; another seed another one."""
    for scratch in (False, True):
        runs = [Recover(_split(), RECIPE, seed, scratch=scratch)(_network()).hash() for seed in (1, 1, 2)]
        assert runs[0] == runs[1]
        assert runs[1] != runs[2]


def test_scratch_forgets_the_weights():
    """From scratch, the result does not depend on the weights that came in, statistics included."""
    other = _network()
    with torch.no_grad():
        for value in other.module.state_dict().values():
            value.add_(1)
    a, b = (Recover(_split(), RECIPE, 3, scratch=True)(n) for n in (_network(), other))
    assert a.hash() == b.hash()


def test_no_steps_change_nothing_but_statistics_on_request():
    """Zero steps give the same network; with `recalibrate` only batch norm statistics move."""
    network, none = _network(), replace(RECIPE, steps=0)
    assert Recover(_split(), none, 0)(network).hash() == network.hash()
    after = Recover(_split(), none, 0, recalibrate=True)(network).module.state_dict()
    changed = {k for k, v in network.module.state_dict().items() if not torch.equal(v, after[k])}
    assert changed
    assert all(k.rpartition(".")[2] in ("running_mean", "running_var", "num_batches_tracked") for k in changed)


def test_a_teacher_is_not_changed():
    """Distillation uses a copy of the teacher, and changes the outcome."""
    teacher = Recover(_split(), RECIPE, 9)(_network())
    before = teacher.hash()
    recipe = replace(RECIPE, distillation=0.7)
    taught = Recover(_split(), recipe, 1, teacher=teacher)(_network())
    assert teacher.hash() == before
    assert taught.hash() != Recover(_split(), RECIPE, 1)(_network()).hash()


def test_step_seeds_are_stable_and_differ():
    """A seed for each step, the same on every machine, no two alike."""
    seeds = [step_seed(seed, step) for seed in range(5) for step in range(50)]
    assert len(set(seeds)) == 250
    assert step_seed(0, 1) == step_seed(0, 1)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_training_that_breaks_the_graph_is_caught(monkeypatch):
    """The pass's own promise names it when a shape changes on the way."""

    def breaks(module, *args, **kwargs):
        module.add_module("extra", torch.nn.Linear(2, 2))

    monkeypatch.setattr("secateur.passes.network.recover.reinitialize", breaks)
    with pytest.raises(PassError, match="recover 0 steps from scratch: ensures"):
        Recover(_split(), replace(RECIPE, steps=0), 0, scratch=True)(_network())


def test_recovery_repairs_a_damaged_network():
    """After noise on the weights of digits-net, a short recovery brings accuracy back."""
    network, data = load("digits-net").clone(), digits_data()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.module.parameters():
            parameter.add_(0.5 * parameter.std().nan_to_num() * torch.randn(parameter.shape, generator=generator))

    def right(net):
        return (predict(net.module, data.validation.x, net.preprocess).argmax(1) == data.validation.y).mean()

    damaged = right(network)
    recovered = right(Recover(data.recovery, Recipe(steps=20, batch=32, lr=0.05), 0)(network))
    assert damaged < 0.9 < recovered
