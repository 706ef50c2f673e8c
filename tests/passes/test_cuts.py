"""A removed layer equals a bypassed one; a cut filter equals a zeroed one; nothing else changes."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest
import torch
from torch import nn

from secateur.models.network import verify_network
from secateur.passes.contract import PassError
from secateur.passes.network.candidates import candidates
from secateur.passes.network.channels import find_filters, trace_channels
from secateur.passes.network.layers import find_layers
from secateur.passes.network.macs import network_macs, network_parameters
from secateur.passes.network.removal import Removal, apply, mask
from secateur.passes.network.remove_filters import RemoveFilters
from secateur.passes.network.remove_layer import RemoveLayer
from secateur.passes.network.scores import FilterScores, Scores


def outputs(network, x):
    with torch.no_grad():
        return network.module.eval()(x)


def samples(network, count=8):
    return torch.randn(count, *network.input_shape, generator=torch.Generator().manual_seed(3)) * 2


def some(group, rng, share=3):
    count = max(1, group.size // share)
    return tuple(sorted(rng.choice(group.size, size=count, replace=False).tolist()))


@pytest.mark.slow
def test_removing_any_layer_equals_bypassing_it(network):
    """The shallower network and the bypassed one agree in every output, to the last bit."""
    x = samples(network)
    for unit in find_layers(network, floor=1):
        if unit.removable:
            removal = Removal("layer", unit.name)
            cut = apply(network, removal, floor=1)
            assert torch.equal(outputs(cut, x), outputs(mask(network, removal, floor=1), x)), unit.name
            assert network_macs(cut) < network_macs(network)
            assert not torch.equal(outputs(cut, x), outputs(network, x)), unit.name


@pytest.mark.parametrize(
    "name",
    [pytest.param("resnet_a", marks=pytest.mark.slow), pytest.param("resnet_b", marks=pytest.mark.slow), "residual_1d"],
)
def test_removing_a_block_equals_zeroing_its_last_norm(make, name):
    """The published simulation of a removal: the branch's last norm all zero; to the last bit."""
    network = make(name)
    x = samples(network)
    for unit in find_layers(network, floor=1):
        if unit.removable:
            zeroed = network.clone()
            norm = zeroed.module.get_submodule(unit.name.split("..")[0].replace("conv1", "bn2"))
            for tensor in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
                tensor.zero_()
            cut = apply(network, Removal("layer", unit.name), floor=1)
            assert (outputs(cut, x) - outputs(zeroed, x)).abs().max() == 0, unit.name


@pytest.mark.slow
def test_cutting_filters_equals_zeroing_their_weights(network):
    """Every removable group, a third of its classes: slicing and masking agree to 1e-5 of the output."""
    x, rng = samples(network), np.random.default_rng(0)
    for group in find_filters(network):
        if group.removable:
            removal = Removal("filters", group.name, some(group, rng))
            cut, masked = outputs(apply(network, removal), x), outputs(mask(network, removal), x)
            assert (cut - masked).abs().max() <= 1e-5 * masked.abs().max(), group.name
            assert (masked - outputs(network, x)).abs().max() > 1e-4 * masked.abs().max(), group.name


@pytest.mark.slow
def test_cutting_filters_equals_zeroing_their_activations(network):
    """Independent of how weights are sliced: whatever enters a weighted layer has the channels set to 0."""
    x, rng = samples(network), np.random.default_rng(1)
    channels = trace_channels(network)
    for group in find_filters(network):
        if not group.removable:
            continue
        classes = some(group, rng)
        gone = [channels.members[group.name][i] for i in classes]
        hooked = network.clone()
        for node in hooked.graph.nodes:
            module = hooked.module.get_submodule(str(node.target)) if node.op == "call_module" else None
            if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Linear)):
                lost = torch.from_numpy(np.isin(channels.values[node.all_input_nodes[0].name], gone))

                def silence(module, inputs, lost=lost):
                    (value,) = inputs
                    value = value.clone()
                    value[:, lost] = 0.0
                    return (value,)

                module.register_forward_pre_hook(silence)
        expected = outputs(hooked, x)
        cut = outputs(apply(network, Removal("filters", group.name, classes)), x)
        assert (cut - expected).abs().max() <= 1e-5 * expected.abs().max(), group.name


def test_what_survives_keeps_its_values_and_order(make):
    """Rows, columns, biases and norm statistics of the others, unchanged, in every tensor of a stream."""
    network = make("resnet_b")
    cut = apply(network, Removal("filters", "stages.1.0.conv2", (0, 5, 15)))
    keep = [i for i in range(16) if i not in (0, 5, 15)]
    old, new = network.module.state_dict(), cut.module.state_dict()
    assert torch.equal(new["stages.1.1.conv2.weight"], old["stages.1.1.conv2.weight"][keep])
    assert torch.equal(new["stages.2.0.conv1.weight"], old["stages.2.0.conv1.weight"][:, keep])
    assert torch.equal(new["stages.1.0.shortcut.0.weight"], old["stages.1.0.shortcut.0.weight"][keep])
    for name in ("weight", "bias", "running_mean", "running_var"):
        assert torch.equal(new[f"stages.1.2.bn2.{name}"], old[f"stages.1.2.bn2.{name}"][keep])
        assert torch.equal(new[f"stages.1.2.bn1.{name}"], old[f"stages.1.2.bn1.{name}"])
    untouched = [n for n in old if n.startswith(("stages.0", "stages.2.1", "head"))]
    assert untouched and all(torch.equal(new[n], old[n]) for n in untouched)


def test_columns_after_flatten_go_by_position(make):
    """A channel of a 5-position map takes 5 columns of the linear layer."""
    network = make("residual_1d")
    cut = apply(network, Removal("filters", "stem", (3,)))
    old, new = (n.module.get_submodule("hidden").weight for n in (network, cut))
    keep = [i for i in range(60) if not 15 <= i < 20]
    assert torch.equal(new, old[:, keep])


def test_option_a_padding_shrinks_on_the_right_side(make):
    """8 -> 16 channels padded by 4 and 4: stage-1 channels go from the slice, others from the pad."""
    network = make("resnet_a")
    shortcut = "stages.1.0.shortcut"
    cut = apply(network, Removal("filters", "stem.0", (0, 7)))
    assert cut.module.get_submodule(f"{shortcut}.pad").amounts[0] == (4, 4)
    assert cut.module.get_submodule(f"{shortcut}.slice").ranges[0] == (0, 6, 1)
    channels = trace_channels(network)
    positions = channels.values["stages_1_2_relu2"].tolist()
    first = [channels.members["stages.1.0.conv2"].index(positions[i]) for i in (0, 1, 12)]
    cut = apply(network, Removal("filters", "stages.1.0.conv2", tuple(sorted(first))))
    assert cut.module.get_submodule(f"{shortcut}.pad").amounts[0] == (2, 3)
    assert cut.module.get_submodule(f"{shortcut}.slice").ranges[0] == (0, 8, 1)


def test_grouped_convolutions_stay_valid(make):
    """Groups go whole: 6 groups of 4 -> 2 become 4 of them."""
    conv = apply(make("grouped"), Removal("filters", "in1", (0, 4))).module.get_submodule("g1")
    assert (conv.groups, conv.in_channels, conv.out_channels, tuple(conv.weight.shape)) == (4, 16, 8, (8, 4, 3, 3))


@pytest.mark.slow
def test_random_walks_of_cuts_stay_exact(network):
    """Many cuts in a row, each proven by its mask, on the network as it then is; the input never changes."""
    x, rng, choice = samples(network), np.random.default_rng(0), random.Random(0)
    before = network.hash()
    current = network
    for _ in range(6):
        scores = {g.name: rng.random(g.size) for g in find_filters(current)}
        found = candidates(current, FilterScores(current.hash(), 0, scores), minimum=2, multiple=1, floor=1)
        if not found:
            break
        removal = choice.choice(found)
        cut = apply(current, removal, floor=1)
        verify_network(cut)
        masked = outputs(mask(current, removal, floor=1), x)
        assert (outputs(cut, x) - masked).abs().max() <= 1e-5 * masked.abs().max(), removal
        assert network_parameters(cut) < network_parameters(current)
        assert outputs(cut, x).shape == outputs(network, x).shape
        current = cut
    assert current is not network and network.hash() == before
    assert len(current.history) > len(network.history)


def test_a_cut_network_can_be_trained(make):
    """Every parameter of the smaller network gets a gradient."""
    network = apply(make("resnet_a"), Removal("filters", "stem.0", (1, 2)))
    network = apply(network, Removal("layer", "stages.1.1.conv1..conv2"))
    network.module.train()
    network.module(samples(network)).square().sum().backward()
    assert all(p.grad is not None and p.requires_grad for p in network.module.parameters())


def test_the_contract_refuses_what_cannot_be_cut(make):
    """Unknown units, units that stay, no class or all of them: PassError with the reason."""
    network = make("resnet_b")
    for refused, reason in [
        (RemoveLayer("stages.9.9"), "no layer stages.9.9; removable: stages.0.1"),
        (RemoveLayer("stem.0"), "stays: stem"),
        (RemoveLayer("stages.0.1.conv1..conv2", floor=3), "stage floor: 3 blocks stay"),
        (RemoveFilters("nothing", (0,)), "no filter group nothing; removable: stem.0"),
        (RemoveFilters("head", (0,)), "stay: network output"),
        (RemoveFilters("stem.0", ()), "no class given"),
        (RemoveFilters("stem.0", (1, 1)), "one twice"),
        (RemoveFilters("stem.0", (8,)), "classes are 0 to 7"),
        (RemoveFilters("stem.0", tuple(range(8))), "one of its 8 channels must stay"),
    ]:
        with pytest.raises(PassError, match=reason):
            refused(network)


def test_scores_of_another_network_are_refused(make):
    """A cut takes scores only for the weights and the graph that they were measured on."""
    network = make("resnet_b")
    layer, stream = "stages.0.1.conv1..conv2", "stem.0"
    scores = Scores(network.hash(), 1, {layer: 0.1})
    filters = FilterScores(network.hash(), 1, {stream: np.zeros(8)})
    trained = network.clone()
    with torch.no_grad():
        next(trained.module.parameters()).add_(1e-3)
    assert RemoveLayer(layer, scores)(network).history == (f"remove_layer {layer}",)
    assert RemoveFilters(stream, (0,), filters)(network).history == (f"remove_filters {stream} -1",)
    for refused in (RemoveLayer(layer, scores), RemoveFilters(stream, (0,), filters)):
        with pytest.raises(PassError, match="measured on another network"):
            refused(trained)
    stale = dataclasses.replace(filters, network_hash="")
    with pytest.raises(PassError, match="measured on another network"):
        RemoveFilters(stream, (0,), stale)(network)
