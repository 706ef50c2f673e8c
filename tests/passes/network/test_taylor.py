"""First-order Taylor: the slope of the loss towards the cut network, sample by sample."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from secateur.models.data import Split
from secateur.models.zoo.resnet1d import ResNet1d
from secateur.passes.network.channels import trace_channels
from secateur.passes.network.slicing import zeroed_modules
from secateur.passes.network.taylor import FilterTaylor, LayerTaylor

STEP = 1e-6


def split(network, count=40):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, *network.input_shape)).astype(np.float32)
    return Split(x, np.arange(count) % 3, np.arange(count))


def losses(module, data):
    """(n,) cross-entropies in double precision."""
    with torch.no_grad():
        logits = module.double().eval()(torch.from_numpy(data.x).double())
    return nn.functional.cross_entropy(logits, torch.from_numpy(data.y), reduction="none").numpy()


@pytest.fixture
def small(network_of):
    """Two stages of three blocks, 6 and 8 channels wide, with norms."""
    return network_of(ResNet1d(3, 3, widths=(6, 8), blocks=(3, 3), strides=(1, 2)), (3, 12))


def test_one_convolution_feeding_another_is_the_papers_activation(network_of):
    """Mean over samples of |sum over positions of ReLU's output times its gradient|, by hooks."""
    layers = [nn.Conv1d(3, 5, 3), nn.ReLU(), nn.Conv1d(5, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten()]
    network = network_of(nn.Sequential(*layers, nn.Linear(4, 3)), (3, 12))
    data = split(network)
    seen = []

    def keep(_module, _inputs, output):
        output.retain_grad()
        seen.append(output)

    handle = network.module.get_submodule("1").register_forward_hook(keep)
    logits = network.module(torch.from_numpy(data.x).requires_grad_())
    nn.functional.cross_entropy(logits, torch.from_numpy(data.y), reduction="sum").backward()
    handle.remove()
    expected = (seen[0] * seen[0].grad).sum(2).abs().mean(0).detach().numpy()
    network.module.zero_grad()
    scores = FilterTaylor(data)(network)
    assert scores.values["0"] == pytest.approx(expected, rel=1e-4) and scores.samples == 40


@pytest.mark.parametrize("group", ["stem.0", "stages.0.1.conv1", "stages.1.0.conv2"])
def test_filters_are_slopes_towards_zeroed_channels(small, group):
    """A small step of all of a class's producers towards zero: those of a residual stream together."""
    data = split(small)
    scores = FilterTaylor(data)(small)
    channels = trace_channels(small)
    start = losses(small.clone().module, data)
    for i in (0, 3):
        moved = small.clone()
        goal = zeroed_modules(small, channels, [channels.members[group][i]])
        with torch.no_grad():
            module = moved.module.double()
            for target, zeroed in goal.items():
                old = module.get_submodule(target)
                if isinstance(old, nn.BatchNorm1d):  # the last thing that a producer's value goes through
                    for name, value in old.named_parameters():
                        value[zeroed.get_parameter(name) != value.float()] *= 1 - STEP
        slopes = (losses(moved.module, data) - start) / STEP
        assert scores.values[group][i] == pytest.approx(np.abs(slopes).mean(), rel=1e-5)


def test_layers_are_slopes_towards_their_bypass(small):
    """A small step of a block's last norm towards zero is one of its output towards its input."""
    data = split(small)
    scores = LayerTaylor(data)(small)
    start = losses(small.clone().module, data)
    for block in ("stages.0.1", "stages.1.2"):
        moved = small.clone().module.double()
        norm = moved.get_submodule(f"{block}.bn2")
        with torch.no_grad():
            norm.weight *= 1 - STEP
            norm.bias *= 1 - STEP
        slopes = (losses(moved, data) - start) / STEP
        assert scores.values[f"{block}.conv1..conv2"] == pytest.approx(np.abs(slopes).mean(), rel=1e-3)


def test_dead_channels_and_layers_change_nothing(small):
    """Norms at zero: no slope, so they go first."""
    with torch.no_grad():
        for name, rows in (("stages.0.1.bn1", slice(2, 3)), ("stages.1.2.bn2", slice(None))):
            norm = small.module.get_submodule(name)
            norm.weight[rows], norm.bias[rows] = 0.0, 0.0
    data = split(small)
    filters, layers = FilterTaylor(data)(small), LayerTaylor(data)(small)
    assert filters.values["stages.0.1.conv1"][2] == 0 < filters.values["stages.0.1.conv1"].max()
    assert layers.values["stages.1.2.conv1..conv2"] == 0 and layers.ranked()[0] == "stages.1.2.conv1..conv2"
