"""Removing filters by subtraction: what zeroing them gives, from one run of what comes before them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from secateur.compiler.bench.mac_counter import MacCounter
from secateur.models.zoo import catalogue
from secateur.passes.network.channel_deletion import Deletions, single_filters
from secateur.passes.network.channels import trace_channels
from secateur.passes.network.layers import feature_node
from secateur.passes.network.macs import network_macs
from secateur.passes.network.prefix_walk import PrefixWalk
from secateur.passes.network.removal import Removal, mask

# Filter groups whose filters are removed by subtraction, and those where a removal is a run of its own: residual
# streams, grouped convolutions, the features themselves.
KINDS = {
    "resnet_a": (9, 3),
    "resnet_b": (9, 3),
    "resnet_b_no_norm": (6, 2),
    "residual_1d": (5, 2),
    "ds_cnn": (0, 5),
    "concat": (3, 2),
    "grouped": (0, 3),
    "split": (3, 1),
    "mlp": (3, 1),
    "bare": (2, 1),
}


def noise(network, count=3):
    return torch.randn(count, *network.input_shape, generator=torch.Generator().manual_seed(1))


def zeroed(network, removal, x):
    """Features of the network of full size with the filters' weights zero, less the columns that a cut takes."""
    channels = trace_channels(network)
    gone = [channels.members[removal.unit][i] for i in removal.classes]
    last = feature_node(network)
    (reader,) = [str(n.target) for n in network.graph.nodes if last in [i.name for i in n.all_input_nodes]]
    masked, seen = mask(network, removal).module.eval(), []
    masked.get_submodule(reader).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].flatten(1)))
    with torch.no_grad():
        masked(x)
    return seen[0].numpy()[:, ~np.isin(channels.values[last], gone)]


def apart(found, expected):
    """Largest difference, as a share of the largest feature."""
    assert found.shape == expected.shape
    return np.abs(found - expected).max() / np.abs(expected).max()


def test_which_groups_go_by_subtraction(network):
    """All but residual streams, grouped convolutions and the features' own channels; a concatenation goes too."""
    channels = trace_channels(network)
    target = feature_node(network)
    deletions = Deletions(network, channels, target, list(network.graph.nodes)[:-1])
    linear = [deletions.of([channels.members[g.name][0]]) is not None for g in channels.groups if g.removable]
    assert (sum(linear), len(linear) - sum(linear)) == KINDS[network.name]


def test_single_filters_of_any_network_give_what_zeroing_gives(network):
    """Within 1e-4, whichever of the two ways a group goes."""
    x = noise(network)
    removals = single_filters(network, trace_channels(network))
    removals = removals[2 :: -(-len(removals) // 5)]
    rows, found = PrefixWalk(network, removals, together=6).features(x)
    moved = []
    for removal, features in zip(removals, found, strict=True):
        assert apart(features.numpy(), zeroed(network, removal, x)) < 1e-4, removal
        moved.append(features.shape != rows.shape or apart(features.numpy(), rows.numpy()))
    assert max(moved) > 1e-3  # not all of these filters do nothing


def test_a_trained_residual_network():
    """Filters inside the blocks of the zoo's trained 1-D network, one and several of a group."""
    network = catalogue.load("watch-resnet")
    x = noise(network)
    groups = trace_channels(network).groups
    inside = [g.name for g in groups if g.name.endswith("conv1") and not g.residual]
    removals = [Removal("filters", inside[1], (5,)), Removal("filters", inside[-1], (0, 2, 3))]
    walk = PrefixWalk(network, removals)
    assert all(b.deletion is not None for b in walk.branches)
    for removal, found in zip(removals, walk.features(x)[1], strict=True):
        assert apart(found.numpy(), zeroed(network, removal, x)) < 1e-4, removal


@pytest.mark.parametrize("together", [0, 7, 1000])
def test_running_together_changes_nothing(make, together):
    """Candidates one at a time, in uneven parts of a group, or a whole group at once: the same features in order."""
    network = make("residual_1d")
    x = noise(network)
    removals = single_filters(network, trace_channels(network), ["blocks.1.conv1", "blocks.3.conv1"])
    removals = [*removals[::-2], Removal("layer", "blocks.2.conv1..conv2")]
    alone = [PrefixWalk(network, [r], floor=1).features(x)[1][0].numpy() for r in removals]
    found = PrefixWalk(network, removals, 1, together).features(x)[1]
    assert all(apart(f.numpy(), a) < 1e-5 for f, a in zip(found, alone, strict=True))


def test_what_comes_before_is_not_computed_again(make):
    """A filter of the last block costs its share of one convolution, and no other convolution runs for it."""
    network = make("resnet_b")
    walk = PrefixWalk(network, [Removal("filters", "stages.2.2.conv1", (3,))])
    with MacCounter() as counter:
        walk.features(noise(network, 2))
    features_to_classes = 32 * 10
    assert counter.macs == 2 * (network_macs(network) - features_to_classes + 4 * 4 * 32 * 9)


def test_a_filter_that_is_zero_on_the_batch_runs_nothing(make):
    """Its removal has the main run's very features; the same filter alive on one sample runs again."""
    network = make("resnet_b").clone()
    norm = network.module.get_submodule("stages.0.1.bn1")
    with torch.no_grad():
        norm.weight[3], norm.bias[3], norm.running_mean[3] = 1.0, -50.0, 0.0
    x = noise(network)
    alone, both = ([Removal("filters", "stages.0.1.conv1", c)] for c in ((3,), (3, 4)))
    walk = PrefixWalk(network, alone)
    with MacCounter() as counter:
        rows, (found,) = walk.features(x)
    assert torch.equal(rows, found) and counter.macs == 3 * (network_macs(network) - 32 * 10)
    assert not torch.equal(rows, PrefixWalk(network, both).features(x)[1][0])
    x[1] *= 100
    rows, (found,) = PrefixWalk(network, alone).features(x)
    assert torch.equal(rows[[0, 2]], found[[0, 2]]) and not torch.equal(rows[1], found[1])
    assert apart(found.numpy(), zeroed(network, alone[0], x)) < 1e-4


def test_a_filter_past_the_features_changes_nothing(network_of):
    """The features do not see it, and nothing is run for it."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.flatten, self.main, self.side = nn.Flatten(1), nn.Linear(6, 8), nn.Linear(6, 8)
            self.relu, self.out, self.head = nn.ReLU(), nn.Linear(8, 3), nn.Linear(8, 3)

        def forward(self, x):
            x = self.flatten(x)
            return self.out(self.relu(self.side(x))) + self.head(self.main(x))

    network = network_of(Net(), (6,))
    rows, (found,) = PrefixWalk(network, [Removal("filters", "side", (1, 2))]).features(noise(network))
    assert torch.equal(rows, found)
