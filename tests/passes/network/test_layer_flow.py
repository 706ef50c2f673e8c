"""Input against output of a layer: one forward for all."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from secateur.errors import UserError
from secateur.models.data import Split
from secateur.models.zoo.resnet1d import ResNet1d
from secateur.passes.network import layer_flow
from secateur.passes.network.cka import linear_cka
from secateur.passes.network.layer_flow import LayerFlow
from secateur.passes.network.samples import balanced


def split(network, count=50):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, *network.input_shape)).astype(np.float32)
    return Split(x, np.arange(count) % 3, np.arange(count))


@pytest.fixture
def small(network_of):
    """Two stages of three blocks, 6 and 8 channels wide: 72 and 48 values a sample."""
    return network_of(ResNet1d(3, 3, widths=(6, 8), blocks=(3, 3), strides=(1, 2)), (3, 12))


@pytest.mark.parametrize("debiased", [True, False])
def test_losses_are_those_of_each_layers_own_values(small, debiased):
    """CKA of what enters a block with the sum that leaves it, by hooks; every convolution runs once."""
    data = split(small)
    runs, seen = [], {}
    small.module.get_submodule("stages.1.1.conv1").register_forward_hook(lambda *_: runs.append(1))
    block = "stages.1.1"
    handles = [
        small.module.get_submodule(f"{block}.conv1").register_forward_hook(lambda m, i, o: seen.update(x=i[0])),
        small.module.get_submodule(f"{block}.bn2").register_forward_hook(lambda m, i, o: seen.update(branch=o)),
    ]
    scores = LayerFlow(data, debiased=debiased)(small)
    assert runs == [1] and scores.samples == 50
    for handle in handles:
        handle.remove()
    x, y = seen["x"].flatten(1).numpy(), (seen["x"] + seen["branch"]).flatten(1).numpy()
    assert scores.values["stages.1.1.conv1..conv2"] == pytest.approx(1 - linear_cka(x, y, debiased), abs=1e-9)
    left_out = scores.replicates.values["stages.1.1.conv1..conv2"]
    rows = np.arange(50) % 20 != 3
    assert left_out[3] == pytest.approx(1 - linear_cka(x[rows], y[rows], debiased), abs=1e-9)


def test_a_layer_that_does_nothing_loses_nothing(small):
    """A block whose last norm is zero hands its input on."""
    norm = small.module.get_submodule("stages.1.2.bn2")
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean):
            tensor.zero_()
    scores = LayerFlow(split(small))(small)
    assert scores.ranked()[0] == "stages.1.2.conv1..conv2"
    assert scores.values["stages.1.2.conv1..conv2"] == pytest.approx(0, abs=1e-12)


def test_live_values_are_bounded(small, monkeypatch):
    """So many samples as the largest value of all of them takes the stated bytes."""
    monkeypatch.setattr(layer_flow, "_VALUE_BYTES", 42 * 72 * 4)
    assert LayerFlow(split(small))(small).samples == 42
    assert len(balanced(split(small).y, 42)) == 42


def test_values_that_are_the_same_for_all_samples_are_refused(small):
    """The first layer that sees no difference is named."""
    data = split(small)
    with pytest.raises(UserError, match=r"the input of stages\.0\.1\.conv1\.\.conv2 is the same for all 50 samples"):
        LayerFlow(Split(np.zeros_like(data.x), data.y, data.groups))(small)
