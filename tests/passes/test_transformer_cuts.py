"""Heads, hidden units and sub-blocks of transformers: what may go, and that a cut is what it stands for."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from transformers import SHAPE, WRITTEN

from secateur.models.canonical import to_network
from secateur.models.data import Split
from secateur.models.tokens import Attention
from secateur.models.training import Recipe, fit
from secateur.passes.network.channels import find_filters
from secateur.passes.network.layers import find_layers
from secateur.passes.network.macs import network_macs, network_parameters
from secateur.passes.network.removal import Removal, apply, mask

CUT = ["encoder layer, norm first", "encoder layer, norm last", "by hand, wide values", "fused, interleaved",
       "picture, class token"]  # fmt: skip


def network_of(name):
    make, shape, _ = WRITTEN[name]
    torch.manual_seed(0)
    return to_network(make(), shape, "net")


def outputs(network, x):
    with torch.no_grad():
        return network.module.eval()(x)


def samples(network, count=8):
    return torch.randn(count, *network.input_shape, generator=torch.Generator().manual_seed(3)) * 2


def groups(network, kind):
    return [g for g in find_filters(network) if g.kind == kind]


@pytest.mark.slow
@pytest.mark.parametrize("name", CUT)
def test_heads_and_hidden_units_are_groups(name):
    """A group of heads an attention, a group of hidden units a block; the stream of tokens stays, with the reason."""
    network = network_of(name)
    attentions = sum(isinstance(m, Attention) for m in network.module.modules())
    heads, hidden = groups(network, "heads"), groups(network, "hidden")
    assert [(g.size, g.removable, len(g.producers), len(g.consumers)) for g in heads] == [(4, True, 3, 1)] * attentions
    assert [(g.size, g.removable, g.channels_per_class) for g in hidden] == [(24, True, 1)] * attentions
    (stream,) = (g for g in groups(network, "channels") if g.residual)
    assert stream.reason == "layer norm over the channels: without one, all others change"
    assert [g.channels_per_class for g in heads] == [6 if name == "by hand, wide values" else 4] * attentions


@pytest.mark.slow
@pytest.mark.parametrize("name", CUT)
@pytest.mark.parametrize("kind", ["heads", "hidden"])
def test_cut_heads_and_units_equal_zeroed_ones(name, kind):
    """Without them, and with their weights zero: alike to 1e-6 of the largest output; and the output does change."""
    network = network_of(name)
    x = samples(network)
    whole = outputs(network, x)
    for group in groups(network, kind):
        removal = Removal("filters", group.name, (0, group.size - 1))
        cut = apply(network, removal)
        zeroed = outputs(mask(network, removal), x)
        assert (outputs(cut, x) - zeroed).abs().max() <= 1e-6 * zeroed.abs().max(), group.name
        assert (zeroed - whole).abs().max() > 1e-3 * whole.abs().max(), group.name
        assert network_macs(cut) < network_macs(network)
        assert next(g for g in groups(cut, kind) if g.name == group.name).size == group.size - 2


def test_a_head_without_its_values_is_gone():
    """The published simulation: the head's rows of the values' layer all zero, or its columns of the output's."""
    network = network_of("by hand, scale after")
    x = samples(network)
    cut = outputs(apply(network, Removal("filters", "blocks.0.attention.q", (1,))), x)
    rows, columns = copy.deepcopy(network), copy.deepcopy(network)
    for values in rows.module.get_submodule("blocks.0.attention.v").parameters():
        values.data[4:8] = 0
    columns.module.get_submodule("blocks.0.attention.out").weight.data[:, 4:8] = 0
    for zeroed in (rows, columns):
        assert (outputs(zeroed, x) - cut).abs().max() <= 1e-6


def test_sub_blocks_are_the_layers():
    """Attention and feed-forward are regions of their own, after the first all removable down to the floor."""
    network = network_of("encoder layer, norm first")
    units = {u.name: (u.stage, u.reason) for u in find_layers(network)}
    assert units == {
        "patches": (-1, "stem"),
        "blocks.0.self_attn.q..out": (0, "first block of stage 0"),
        "blocks.0.linear1..linear2": (0, ""),
        "blocks.1.self_attn.q..out": (0, ""),
        "blocks.1.linear1..linear2": (0, ""),
        "head": (-1, "head"),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", CUT)
def test_a_removed_sub_block_equals_a_bypassed_one(name):
    """To the last bit; a norm behind the addition stays."""
    network = network_of(name)
    x = samples(network)
    removable = [u for u in find_layers(network, floor=1) if u.removable]
    assert removable
    for unit in removable:
        removal = Removal("layer", unit.name)
        cut = apply(network, removal, floor=1)
        assert torch.equal(outputs(cut, x), outputs(mask(network, removal, floor=1), x)), unit.name
        assert not torch.equal(outputs(cut, x), outputs(network, x)), unit.name


def test_macs_of_attention():
    """Both products count: queries x keys x channels."""
    network = network_of("by hand, wide values")  # depth 2, values' depth 6, 4 heads, 8 tokens of 16 channels
    projections = 8 * 16 * (8 + 8 + 24 + 24)
    assert network_macs(network) == 8 * 18 * 16 + projections + 8 * 8 * (8 + 24) + 8 * 2 * 16 * 24 + 16 * 5


@pytest.mark.slow
def test_a_cut_network_trains():
    """After heads, units and a sub-block went the loss falls by half."""
    network = network_of("encoder layer, norm first")
    for removal in (
        Removal("filters", "blocks.0.self_attn.q", (0, 2)),
        Removal("filters", "blocks.1.linear1", tuple(range(12))),
        Removal("layer", "blocks.1.self_attn.q..out"),
    ):
        network = apply(network, removal)
    before = network_parameters(network)
    rng = np.random.default_rng(0)
    y = rng.integers(0, 5, 64)
    x = rng.normal(size=(64, *SHAPE)).astype(np.float32)
    x[np.arange(64), y] += 2
    log = fit(network.module, Split(x, y, np.arange(64)), Recipe(steps=40, batch=16, lr=0.02), 0, network.preprocess)
    assert np.mean(log.losses[-5:]) < 0.5 * np.mean(log.losses[:5])
    assert network_parameters(network) == before
