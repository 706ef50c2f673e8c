"""Coupled channels: which classes there are, where they occur, and which may go."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn

from secateur.models.canonical import to_network
from secateur.models.network import Pad, Slice
from secateur.passes.network.channels import find_filters, trace_channels


def groups(network):
    return {g.name: g for g in find_filters(network)}


def test_option_b_stages_are_one_group_each(make):
    """Three residual streams and one group inside each block; input and classes stay."""
    found = groups(make("resnet_b"))
    streams = [g for g in found.values() if g.residual and g.removable]
    assert [(g.name, g.size) for g in streams] == [
        ("stem.0", 8),
        ("stages.1.0.conv2", 16),
        ("stages.2.0.conv2", 32),
    ]
    assert found["stem.0"].producers == ("stem.0", *(f"stages.0.{b}.conv2" for b in range(3)))
    assert found["stages.1.0.conv2"].consumers[-2:] == ("stages.2.0.conv1", "stages.2.0.shortcut.0")
    assert found["stages.0.1.conv1"].consumers == ("stages.0.1.conv2",)
    assert not found["stages.0.1.conv1"].residual
    assert {n: g.reason for n, g in found.items() if not g.removable} == {
        "x": "network input",
        "head": "network output",
    }
    assert len(found) == 3 + 9 + 2


def test_option_a_padding_couples_part_of_the_streams(make):
    """8 channels run through all three stages, 8 more through two, 16 through the last alone."""
    network = make("resnet_a")
    channels = trace_channels(network)
    streams = [g for g in channels.groups if g.residual and g.removable]
    assert [(g.name, g.size, len(g.producers)) for g in streams] == [
        ("stem.0", 8, 1 + 9),
        ("stages.1.0.conv2", 8, 6),
        ("stages.2.0.conv2", 16, 3),
    ]
    last = channels.values["stages_2_2_relu2"].tolist()
    middle = channels.values["stages_1_2_relu2"].tolist()
    first = channels.values["stem_2"].tolist()
    assert last[8:24] == middle and middle[4:12] == first
    assert len(set(last)) == 32


def test_depthwise_keeps_and_pointwise_makes_channels(make):
    """In a DS-CNN a group is a pointwise convolution and the depthwise one after it."""
    found = groups(make("ds_cnn"))
    assert found["stem.0"].producers == ("stem.0", "blocks.0.0")
    assert found["stem.0"].consumers == ("blocks.0.0", "blocks.0.3")
    assert found["blocks.3.3"].consumers == ("head",)
    assert all(g.channels_per_class == 1 for g in found.values())


def test_grouped_convolutions_are_cut_by_whole_groups(make):
    """24 -> 12 channels in 6 groups: 6 classes of 4 inputs and 2 outputs; on a stream of 16: 4 classes of 4."""
    found = groups(make("grouped"))
    inner = found["in1"]
    assert (inner.size, inner.channels_per_class, inner.producers) == (6, 4, ("in1", "g1"))
    assert (found["stem"].size, found["stem"].channels_per_class, found["stem"].residual) == (4, 4, True)


def test_flatten_repeats_a_channel_per_position(make):
    """A linear layer after Flatten reads each channel once per position, in blocks."""
    network = make("concat")
    channels = trace_channels(network)
    flat, wide = channels.values["flatten"], channels.values["pool"]
    assert flat.tolist() == [c for c in wide.tolist() for _ in range(16)]
    assert groups(network)["c"].consumers == ("head",)


def test_concatenation_keeps_its_parts_apart(make):
    """Each branch is a group of its own; the norm and the consumers after see both."""
    network = make("concat")
    found, channels = groups(network), trace_channels(network)
    assert (found["a"].size, found["b"].size) == (8, 16)
    assert channels.values["bn"].tolist() == [*channels.members["a"], *channels.members["b"]]
    assert found["a"].consumers == found["b"].consumers == ("c", "d")


def test_slices_split_a_producer_into_groups(make):
    """Channels of one convolution that go different ways are two groups with stable, different names."""
    found = groups(make("split"))
    assert (found["stem"].size, found["stem"].consumers) == (8, ("conv",))
    assert (found["stem#1"].size, found["stem#1"].consumers) == (8, ("last",))
    assert found["pad"].reason == "constant channels"


def test_a_norm_on_flattened_features_and_an_addition_tie_positions(network_of):
    """Adding a linear layer's output to flattened maps makes each channel's positions one class."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.flatten, self.bn = nn.Conv1d(2, 3, 1), nn.Flatten(1), nn.BatchNorm1d(12)
            self.mix, self.head = nn.Linear(12, 12), nn.Linear(12, 2)

        def forward(self, x):
            x = self.bn(self.flatten(self.conv(x)))
            return self.head(x + self.mix(x))

    group = groups(network_of(Net(), (2, 4)))["conv"]
    assert (group.size, group.channels_per_class, group.residual) == (3, 4, True)


def test_what_cannot_be_cut_says_why(network_of):
    """Softmax inside, every second channel, one channel spread over all, a stream that holds the input."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Conv1d(4, 4, 1), nn.Conv1d(4, 8, 1), nn.Conv1d(8, 6, 1)
            self.even = Slice(((0, 8, 2), (0, 5, 1)))
            self.d, self.e, self.one = nn.Conv1d(4, 6, 1), nn.Conv1d(6, 6, 1), nn.Conv1d(6, 1, 1)
            self.softmax, self.flatten, self.head = nn.Softmax(1), nn.Flatten(1), nn.Linear(30, 2)
            self.free = nn.Conv1d(6, 6, 1)

        def forward(self, x):
            x = x + self.a(x)
            b = self.b(x)
            y = self.softmax(self.c(b)) + self.d(self.even(b))
            y = self.free(self.e(y)) * self.one(y)
            return self.head(self.flatten(y))

    found = {n: (g.removable, g.reason) for n, g in groups(network_of(Net(), (4, 5))).items()}
    assert found["a"] == (False, "network input")
    assert found["b"] == found["b#1"] == (False, "even takes channels in steps of 2")
    assert found["c"] == (False, "softmax over channels")
    assert found["one"] == (False, "mul spreads it over all channels")
    assert found["e"] == found["free"] == (True, "")


def test_zero_channels_alone_are_no_filters(network_of):
    """Channels that only a Pad makes are listed as constants."""
    net = nn.Sequential(Pad(((1, 2), (0, 0))), nn.Conv1d(5, 4, 1), nn.Flatten(1), nn.Linear(12, 2))
    found = groups(network_of(net, (2, 3)))
    assert [g.reason for g in found.values()] == ["network input", "constant channels", "", "network output"]


@pytest.mark.parametrize("name", ["resnet_a", "grouped", "residual_1d"])
def test_groups_share_out_every_channel_once(make, name):
    """Each class is in exactly one group, and a value's classes all are in some group."""
    channels = trace_channels(make(name))
    members = [c for classes in channels.members.values() for c in classes]
    assert len(members) == len(set(members))
    assert {int(c) for ids in channels.values.values() for c in ids} == set(members)
    assert all(len(channels.members[g.name]) == g.size for g in channels.groups)


def test_broadcast_over_positions_keeps_channels(network_of):
    """(n, c, 1) times (n, c, l), as in squeeze and excite: one class per channel."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.pool = nn.Conv1d(2, 6, 3), nn.AdaptiveAvgPool1d(1)
            self.down, self.relu, self.up = nn.Conv1d(6, 3, 1), nn.ReLU(), nn.Conv1d(3, 6, 1)
            self.flatten, self.head = nn.Flatten(1), nn.Linear(48, 2)

        def forward(self, x):
            x = self.stem(x)
            return self.head(self.flatten(x * self.up(self.relu(self.down(self.pool(x))))))

    network = network_of(Net(), (2, 10))
    assert groups(network)["stem"].producers == ("stem", "up")
    assert torch.isfinite(network.module(torch.randn(2, 2, 10))).all()


def test_modules_may_have_the_names_of_the_input_and_the_output():
    """A convolution that is called `x`, a linear layer that is called `output`."""
    parts = OrderedDict(x=nn.Conv1d(2, 4, 1), pool=nn.AdaptiveAvgPool1d(1), flat=nn.Flatten(), output=nn.Linear(4, 3))
    found = find_filters(to_network(nn.Sequential(parts), (2, 8), "net"))
    ends = [(g.size, g.producers, g.consumers, g.removable) for g in found]
    assert ends == [(2, (), ("x",), False), (4, ("x",), ("output",), True), (3, ("output",), (), False)]
