"""What decides between children: the similarity of whole networks."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.models.data import Split
from secateur.models.zoo.resnet1d import ResNet1d
from secateur.passes.network.cka import linear_cka
from secateur.passes.network.network_similarity import network_similarity
from secateur.passes.network.removal import Removal, apply


def test_it_is_the_debiased_cka_of_what_the_classifier_reads(network_of, read_by_head):
    """Of networks of other widths and depths, as hooks on their heads see them; 1 for the network itself."""
    network = network_of(ResNet1d(3, 3, widths=(6, 8), blocks=(3, 3), strides=(1, 2)), (3, 12))
    rng = np.random.default_rng(0)
    data = Split(rng.normal(size=(50, 3, 12)).astype(np.float32), np.arange(50) % 3, np.arange(50))
    layer = apply(network, Removal("layer", "stages.1.1.conv1..conv2"), 1)
    thinner = apply(network, Removal("filters", "stages.0.0.conv1", (0, 2)), 1)
    other = network_of(ResNet1d(3, 3, widths=(4, 12), blocks=(2, 2), strides=(1, 2)), (3, 12))

    reference = read_by_head(network, data)
    found = network_similarity(network, [network, layer, thinner, other], data)
    assert found[0] == pytest.approx(1, abs=1e-9)
    for value, by in zip(found, (network, layer, thinner, other), strict=True):
        assert value == pytest.approx(linear_cka(reference, read_by_head(by, data)), abs=1e-6)
        assert by is network or abs(value - linear_cka(reference, read_by_head(by, data), False)) > 1e-3
