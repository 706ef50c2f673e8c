"""Streams of tokens that only layer norms read lose their mean over the channels, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import WRITTEN

from secateur.models.canonical import to_network
from secateur.passes.program.centred import centred_nodes, without_means
from secateur.passes.program.lower import lower


def network_of(name):
    make, shape, _ = WRITTEN[name]
    torch.manual_seed(0)
    return to_network(make(), shape, "net")


@pytest.mark.parametrize(
    ("name", "nodes"),
    [
        ("encoder layer, norm first", 1 + 1 + 2 * 4),  # patches, positions, two sums and what writes them a block
        ("picture, class token", 1 + 1 + 1 + 1 + 2 * 4 + 1),  # also tokens, padding and the token that decides
        ("encoder layer, norm last", 0),  # the projections read what a norm gives
        ("picture, mean", 0),  # the mean over the tokens reads the stream
        ("picture, channels last", 0),  # a depthwise convolution writes it
    ],
)
def test_streams_are_found_where_their_mean_is_of_no_use(name, nodes):
    """All that writes, sums and moves one; none where anything but a norm reads it."""
    assert len(centred_nodes(network_of(name))) == nodes


def test_without_its_means_a_network_says_the_same():
    """In float to rounding; the stream has mean 0; the Program is the one of the network as it was."""
    network = network_of("encoder layer, norm first")
    other = without_means(network)
    x = torch.randn(4, *network.input_shape)
    with torch.no_grad():
        assert (network.module(x) - other.module(x)).abs().max() <= 1e-5
        stream = other.module.get_submodule("add")(other.module.get_submodule("patches")(x))
        assert stream.mean(1).abs().max() <= 1e-6 < network.module.get_submodule("patches")(x).mean(1).abs().max()
    for one, two in zip(lower(network).tensors, lower(other).tensors, strict=True):
        assert one.name == two.name and (one.data is None or np.abs(one.data - two.data).max() <= 1e-6)
    assert without_means(network_of("encoder layer, norm last")).hash() == network_of("encoder layer, norm last").hash()
