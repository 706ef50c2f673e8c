"""The smallest network is what removals come to when none is left."""

from __future__ import annotations

import pytest
from torch import nn

from secateur.models.zoo.resnet1d import ResNet1d
from secateur.passes.network.candidates import candidates
from secateur.passes.network.channels import find_filters
from secateur.passes.network.layers import removable_layers
from secateur.passes.network.removal import apply
from secateur.passes.network.smallest import smallest
from secateur.passes.network.weight_norms import filter_l1


def left(network, kinds):
    """Removals that a search may still make."""
    return [r for r in candidates(network, filter_l1(network)) if r.kind in kinds]


@pytest.mark.parametrize("kinds", [("layer",), ("filters",), ("layer", "filters")])
def test_nothing_is_left(network_of, kinds):
    """No candidate is left of the kinds asked for; of the other all are."""
    network = network_of(ResNet1d(3, 3, widths=(8, 12), blocks=(4, 3), strides=(1, 2)), (3, 12))
    least = smallest(network, kinds)
    assert not left(least, kinds)
    assert kinds != ("filters",) or len(removable_layers(least)) == len(removable_layers(network)) > 0
    assert kinds != ("layer",) or {g.size for g in find_filters(least)} == {g.size for g in find_filters(network)}


def test_as_one_removal_after_the_other(network_of):
    """The shapes that single steps end with, whatever their order; which of equal blocks stays is another."""
    network = network_of(ResNet1d(3, 3, widths=(8, 12), blocks=(4, 3), strides=(1, 2)), (3, 12))
    stepped = network
    while steps := left(stepped, ("layer", "filters")):
        stepped = apply(stepped, steps[-1])
    assert sorted(stepped.shapes().values()) == sorted(smallest(network, ("layer", "filters")).shapes().values())


def test_layers_that_only_thin_ones_are(network_of):
    """12 to 8 channels is no layer that can go; 4 to 4, which filters come to, is."""
    widths = (12, 8, 12, 8)
    convs = [
        nn.Sequential(nn.Conv1d(a, b, 3, padding=1), nn.ReLU()) for a, b in zip((3, *widths), widths, strict=False)
    ]
    network = network_of(nn.Sequential(*convs, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 2)), (3, 12))
    thin, both = smallest(network, ("filters",)), smallest(network, ("layer", "filters"))
    assert removable_layers(thin) and len(both.graph.nodes) < len(thin.graph.nodes)
    assert not left(both, ("layer", "filters"))
