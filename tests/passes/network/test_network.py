"""A Network's copies, and what is kept of its structure."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from secateur.models.zoo.resnet1d import ResNet1d
from secateur.passes.network.channels import trace_channels
from secateur.passes.network.layers import removable_layers
from secateur.passes.network.removal import Removal, apply


def resnet(network_of):
    return network_of(ResNet1d(3, 3, widths=(6, 8), blocks=(3, 3), strides=(1, 2)), (3, 12))


def test_a_clone_is_a_deep_copy(network_of):
    """The same modules in the same order, in the same mode, with settings, weights and statistics of their own."""
    network = resnet(network_of)
    network.module.eval()
    stem = network.module.get_submodule("stem.0")
    stem.requires_grad_(False)
    ours, torchs = network.clone().module, copy.deepcopy(network.module)
    assert repr(ours) == repr(torchs) and ours.code == torchs.code
    assert [name for name, _ in ours.named_modules()] == [name for name, _ in torchs.named_modules()]
    assert [m.training for m in ours.modules()] == [m.training for m in torchs.modules()]
    assert [p.requires_grad for p in ours.parameters()] == [p.requires_grad for p in torchs.parameters()]
    before = network.hash()
    with torch.no_grad():
        for values in ours.state_dict().values():
            values += 1
    ours.get_submodule("stem.0").stride = (7,)
    ours.train()
    assert network.hash() == before and not network.module.training
    assert stem.stride != (7,)


def test_a_clone_keeps_what_is_shared(network_of):
    """One weight in two layers is one weight in two layers of the copy."""
    network = network_of(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)), (4,))
    first, second = (m for m in network.module.modules() if isinstance(m, nn.Linear))
    second.weight = first.weight
    first, second = (m for m in network.clone().module.modules() if isinstance(m, nn.Linear))
    assert first.weight is second.weight and first.bias is not second.bias


def test_a_clone_keeps_modules_of_two_names_and_hooks(network_of):
    """One module under two names stays one, and a hook of the original can be taken from it alone."""
    network = network_of(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)), (4,))
    network.module.add_module("again", network.module.get_submodule("0"))
    network.module.add_module("empty", nn.Sequential())  # which is as false as an empty list
    calls: list[int] = []
    handle = network.module.get_submodule("2").register_forward_hook(lambda *_: calls.append(1))
    module = network.clone().module
    assert module.get_submodule("again") is module.get_submodule("0") is not network.module.get_submodule("0")
    assert module.get_submodule("empty") is not network.module.get_submodule("empty")
    handle.remove()
    network.module(torch.zeros(1, 4))
    assert not calls
    module(torch.zeros(1, 4))
    assert calls == [1]


@pytest.mark.parametrize(
    "one,other",
    [
        (nn.MaxPool1d(2), nn.AvgPool1d(2)),
        (nn.LeakyReLU(0.01), nn.LeakyReLU(0.3)),
        (nn.MaxPool1d(3, 1, 1), nn.MaxPool1d(3, 2, 1)),
        (nn.ReLU(), nn.ReLU6()),
    ],
)
def test_a_hash_knows_the_settings(network_of, one, other):
    """Networks of the same names and weights that compute otherwise differ in it; training mode does not count."""
    hashes = []
    for part in (one, other):
        torch.manual_seed(0)
        ends = [nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(6, 2)]
        hashes.append(network_of(nn.Sequential(nn.Conv1d(3, 6, 3), part, *ends), (3, 12)))
    first, second = hashes
    assert first.module.code == second.module.code and first.hash() != second.hash()
    assert first.hash() == first.clone().hash()
    before = first.hash()
    first.module.train()
    assert first.hash() == before


def test_structure_is_looked_at_once(network_of):
    """Shapes and channels are found once a network, and anew for what a removal makes of it."""
    network = resnet(network_of)
    assert trace_channels(network) is trace_channels(network)
    assert trace_channels(replace(network)) is not trace_channels(network)
    cut = apply(network, Removal("layer", removable_layers(network)[0].name))
    assert set(cut.shapes()) < set(network.shapes())
    assert set(trace_channels(cut).values) < set(trace_channels(network).values)
    runs: list[int] = []
    assert [cut.known("answer", lambda: runs.append(1)) for _ in range(2)] == [None, None] and runs == [1]
