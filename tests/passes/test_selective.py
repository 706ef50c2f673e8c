"""Training of some layers only, and of adapters in the place of weights: what moves, what it costs, what is merged."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import Encoder, torch_layer

from secateur.errors import UserError
from secateur.models.canonical import to_network
from secateur.models.data import Split
from secateur.models.network import Network
from secateur.models.training import Recipe
from secateur.passes.network.low_rank import SCALE, LowRank, adapt, merged_state
from secateur.passes.network.recover import Recover
from secateur.passes.network.selective import choose_layers, freeze_others, training_work


def chain() -> Network:
    """Four convolutions with norms and a head. The third, seeded small, changes least of all but the head."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inputs, kernel in ((3, 3), (8, 3), (8, 1), (8, 1)):
        layers += [nn.Conv2d(inputs, 8, kernel, padding=kernel // 2), nn.BatchNorm2d(8), nn.ReLU()]
    third = layers[6]
    assert isinstance(third, nn.Conv2d)
    with torch.no_grad():
        third.weight.mul_(0.01).add_(torch.eye(8)[:, :, None, None])
    return to_network(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)), (3, 6, 6), "net")


def pictures() -> Split:
    """120 of them, two classes."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 120).astype(np.int64)
    x = rng.normal(size=(120, 3, 6, 6)).astype(np.float32) + y[:, None, None, None]
    return Split(x.astype(np.float32), y, np.arange(120) // 10)


def test_the_layers_that_change_most_are_trained() -> None:
    """Half of four and the head; the one that is nearly the identity is not among them, and is as it was."""
    network, split = chain(), pictures()
    chosen = choose_layers(network, 0.75, split)
    assert chosen.of == 5 and chosen.layers[-1] == "14" and "6" not in chosen.layers and len(chosen.layers) == 4
    trained = Recover(split, Recipe(steps=3), 0, only=chosen.modules)(network)
    before, after = network.module.state_dict(), trained.module.state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"0", "1", "3", "4", "9", "10", "14"}
    assert all(p.requires_grad for p in trained.module.parameters())


def test_layers_that_take_no_adapter_are_no_choice() -> None:
    """The first, 3 x 3, changes most: of those that take one it is the fourth, whose weights then move."""
    network, split = chain(), pictures()
    assert choose_layers(network, 0.25, split).layers == ("0", "14")
    chosen = choose_layers(network, 0.25, split, low_rank=True)
    assert chosen.layers == ("9", "14") and chosen.of == 5
    trained = Recover(split, Recipe(steps=3), 0, only=chosen.modules, rank=2)(network)
    assert not torch.equal(trained.module.state_dict()["9.weight"], network.module.state_dict()["9.weight"])
    assert choose_layers(wide(), 0.5, split, low_rank=True).layers == ("5",)  # as what a search leaves may be


def wide() -> Network:
    """Nothing but 3 x 3 convolutions before the head."""
    ends = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)]
    layers = [nn.Conv2d(inputs, 8, 3, padding=1) for inputs in (3, 8, 8)]
    return to_network(nn.Sequential(*layers, *ends), (3, 6, 6), "wide")


def test_a_norm_behind_a_join_is_trained_with_its_layer() -> None:
    """The one that reads a sum goes with the branch in front of it; those of layers that stay, stay."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.c, self.bn = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.bn(x + self.c(x)))

    torch.manual_seed(0)
    ends = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)]
    network = to_network(nn.Sequential(nn.Conv2d(3, 8, 3), Block(), Block(), Block(), *ends), (3, 6, 6), "net")
    chosen = choose_layers(network, 0.5, pictures())
    blocks = {layer.split(".")[0] for layer in chosen.layers} - {"0", "6"}
    assert blocks and blocks < {"1", "2", "3"}
    assert {name.split(".")[0] for name in chosen.modules if name.endswith("bn")} == blocks
    trained = Recover(pictures(), Recipe(steps=3), 0, only=chosen.modules)(network)
    before, after = network.module.state_dict(), trained.module.state_dict()
    changed = {name for name in before if name.endswith("bn.weight") and not torch.equal(before[name], after[name])}
    assert changed == {f"{block}.bn.weight" for block in blocks}


@pytest.mark.parametrize("trained", [None, {"14"}, {"6", "7"}, {"0", "14"}])
def test_backward_work_is_what_torch_does(trained: set[str] | None) -> None:
    """Counted from the graph, it is the number of floating point operations of a real backward pass, halved."""
    network = chain()
    if trained is not None:
        freeze_others(network.module, trained)
    network.module.eval()
    loss = network.module(torch.zeros(1, 3, 6, 6)).sum()
    with FlopCounterMode(display=False) as counter:
        loss.backward()
    work = training_work(network, trained)
    assert work.backward_macs == counter.get_total_flops() // 2
    assert work.parameters == sum(p.numel() for p in network.module.parameters() if p.requires_grad)


def test_merged_adapters_are_the_adapted_network() -> None:
    """The merged network's outputs equal the adapted one's; from W x + scale B (A x) they differ by rounding only."""
    network = chain()
    adapted = network.clone().module
    trained = adapt(adapted, None, 2, seed=0)
    assert trained == 2 * (2 * (8 + 8)) + 8 * 2 + 2  # of the head 2 x (8 + 2) would be more than its 16 weights
    x = torch.randn(4, 3, 6, 6)
    assert torch.equal(adapted.eval()(x), network.module.eval()(x))
    convolution = adapted.get_submodule("6")
    lora = convolution.parametrizations.weight[0]
    with torch.no_grad():
        lora.b.normal_()
    expected = adapted(x)
    between = torch.randn(4, 8, 6, 6)
    beside = nn.functional.conv2d(between, network.module.get_submodule("6").weight, convolution.bias)
    beside = beside + SCALE * nn.functional.conv2d(
        nn.functional.conv2d(between, lora.a[:, :, None, None]), lora.b[:, :, None, None]
    )
    assert (convolution(between) - beside).abs().max() < 1e-5 * beside.abs().max()
    merged = network.clone()
    merged.module.load_state_dict(merged_state(adapted))
    assert torch.equal(merged.module(x), expected)
    assert not torch.equal(expected, network.module(x))


def test_adapters_of_a_transformer_are_merged_exactly() -> None:
    """Projections and the layers between them are matrices: all seven operations get adapters of rank 2."""
    torch.manual_seed(0)
    network = to_network(Encoder(torch_layer()), (6, 24), "encoder")
    adapted = network.clone().module
    trained = adapt(adapted, None, 2, seed=0)
    adapters = [m for m in adapted.modules() if isinstance(m, LowRank)]
    assert trained < sum(p.numel() for p in network.module.parameters()) / 2
    with torch.no_grad():
        for adapter in adapters:
            adapter.b.normal_(std=0.1)
    x = torch.randn(4, 6, 24)
    expected = adapted.eval()(x)
    merged = network.clone()
    merged.module.load_state_dict(merged_state(adapted))
    assert len(adapters) == 7
    assert torch.equal(merged.module(x), expected) and not torch.equal(network.module(x), expected)


def test_adapters_leave_the_rest_and_the_order_of_parameters() -> None:
    """Matrices have moved, and the bias of the head, which no adapter makes smaller; all is laid out as it came in."""
    network, split = chain(), pictures()
    trained = Recover(split, Recipe(steps=3), 0, rank=2)(network)
    before, after = network.module.state_dict(), trained.module.state_dict()
    assert {name for name in before if not torch.equal(before[name], after[name])} == {
        "6.weight", "9.weight", "14.weight", "14.bias",
    }  # fmt: skip
    names = [name for name, _ in network.module.named_parameters()]
    assert [name for name, _ in trained.module.named_parameters()] == names
    again = Recover(split, Recipe(steps=3), 0, rank=2)(network)
    assert again.hash() == trained.hash()


def test_a_network_of_one_layer_cannot_leave_any_out() -> None:
    """Said in one line."""
    network = to_network(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), (1, 2, 2), "line")
    with pytest.raises(UserError, match="1 layer on the path"):
        choose_layers(network, 0.5, pictures())
