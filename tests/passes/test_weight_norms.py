"""L1 norms of filters and layers, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.passes.network.channels import find_filters
from secateur.passes.network.layers import find_layers
from secateur.passes.network.weight_norms import filter_l1, layer_l1


def test_filters_have_the_mean_norm_of_their_rows(make):
    """Alone in a block: its own row; on a stream: the mean of the rows of all producers."""
    network = make("resnet_b")
    scores = filter_l1(network)
    weight = {n: p.detach().double().abs() for n, p in network.module.named_parameters() if n.endswith("weight")}
    row = weight["stages.0.1.conv1.weight"].sum((1, 2, 3)).numpy()
    assert np.allclose(scores.values["stages.0.1.conv1"], row)
    names = ["stem.0.weight", *(f"stages.0.{b}.conv2.weight" for b in range(3))]
    stream = np.mean([weight[n].sum((1, 2, 3)).numpy() for n in names], axis=0)
    assert np.allclose(scores.values["stem.0"], stream)
    assert scores.network_hash == network.hash()


def test_every_removable_group_is_scored(network):
    """One positive number for each class of each group."""
    scores = filter_l1(network)
    groups = {g.name: g.size for g in find_filters(network) if g.removable}
    assert {n: len(v) for n, v in scores.values.items()} == groups
    assert all((v > 0).all() for v in scores.values.values())


def test_layers_sum_their_convolutions_means(make):
    """mean_f L1(conv1) + mean_f L1(conv2), for what may go."""
    network = make("resnet_a")
    found = layer_l1(network)
    assert list(found) == [u.name for u in find_layers(network) if u.removable]
    convs = [network.module.get_submodule(f"stages.2.1.conv{i}").weight.detach() for i in (1, 2)]
    expected = sum(float(w.abs().sum((1, 2, 3)).mean()) for w in convs)
    assert found["stages.2.1.conv1..conv2"] == pytest.approx(expected, rel=1e-6)
