"""A removed layer equals a bypassed one; a cut filter equals a zeroed one; nothing else changes."""

from __future__ import annotations

import numpy as np
import torch

from secateur.passes.network.channels import find_filters
from secateur.passes.network.layers import find_layers
from secateur.passes.network.macs import network_macs
from secateur.passes.network.removal import Removal, apply, mask


def outputs(network, x, until=None):
    module = network.module.eval()
    with torch.no_grad():
        return module(x)


def samples(network, count=8, seed=3):
    return torch.randn(count, *network.input_shape, generator=torch.Generator().manual_seed(seed)) * 2


def test_removing_any_layer_equals_bypassing_it_bit_by_bit(network):
    """The shallower network and the bypassed one agree in every output, to the last bit."""
    x = samples(network)
    for unit in find_layers(network, floor=1):
        if unit.removable:
            removal = Removal("layer", unit.name)
            cut = apply(network, removal, floor=1)
            assert torch.equal(outputs(cut, x), outputs(mask(network, removal, floor=1), x)), unit.name
            assert network_macs(cut) < network_macs(network)
            assert not torch.equal(outputs(cut, x), outputs(network, x)), unit.name


def test_cutting_filters_equals_zeroing_them(network):
    """Every removable group, a few classes of it: slicing and masking agree to 1e-5 of the output."""
    x = samples(network)
    rng = np.random.default_rng(0)
    for group in find_filters(network):
        if not group.removable:
            continue
        classes = tuple(sorted(rng.choice(group.size, size=max(1, group.size // 3), replace=False).tolist()))
        removal = Removal("filters", group.name, classes)
        cut = outputs(apply(network, removal), x)
        masked = outputs(mask(network, removal), x)
        assert (cut - masked).abs().max() <= 1e-5 * masked.abs().max(), group.name
        assert (masked - outputs(network, x)).abs().max() > 1e-4 * masked.abs().max(), group.name
