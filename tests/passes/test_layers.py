"""What counts as a layer, what may go, and why the rest stays."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from secateur.models.network import Pad
from secateur.passes.network.layers import find_layers
from secateur.passes.network.macs import network_macs, network_parameters
from secateur.passes.network.removal import Removal, apply


def removable(network, floor=2):
    return [u.name for u in find_layers(network, floor) if u.removable]


def reasons(network, floor=2):
    return {u.name: u.reason for u in find_layers(network, floor)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("depth", "option", "macs"),
    [
        (20, "B", 40_813_184),
        (20, "A", 40_551_040),
        (32, "B", 69_124_736),
        (44, "B", 97_436_288),
        (56, "B", 125_747_840),
        (56, "A", 125_485_696),
        (110, "B", 253_149_824),
    ],
)
def test_macs_of_cifar_resnets(make, depth, option, macs):
    """The table of the literature; every identity block is 4,718,592, so removing any one takes exactly that."""
    network = make(f"cifar-{depth}-{option}")
    assert network_macs(network) == macs
    if depth == 20:
        for name in removable(network):
            assert network_macs(network) - network_macs(apply(network, Removal("layer", name))) == 4_718_592


def test_parameters_of_resnet_20(make):
    """Weights and biases; running statistics are no parameters (He et al.: 0.27 M)."""
    assert network_parameters(make("cifar-20-A")) == 269_722


@pytest.mark.slow
@pytest.mark.parametrize("option", ["A", "B"])
def test_resnet_56_has_24_candidates_and_21_removals(make, option):
    """8 of 9 blocks a stage to start with; 21 removals, in any order, end with two blocks in each stage."""
    network = make(f"cifar-56-{option}")
    names = removable(network)
    assert names == [f"stages.{s}.{b}.conv1..conv2" for s in range(3) for b in range(1, 9)]
    generator = torch.Generator().manual_seed(0)
    removed = 0
    while names := removable(network):
        pick = names[int(torch.randint(len(names), (1,), generator=generator))]
        network = apply(network, Removal("layer", pick))
        removed += 1
    assert removed == 21
    left = [u for u in find_layers(network) if u.stage >= 0]
    assert [sum(u.stage == s for u in left) for s in range(3)] == [2, 2, 2]
    assert network_macs(network) == {"A": 125_485_696, "B": 125_747_840}[option] - 21 * 4_718_592


def test_reasons_why_layers_stay(make):
    """Stem, head, first blocks, shape changes and floors are named."""
    found = reasons(make("cifar-20-B"), floor=3)
    assert found["stem.0"] == "stem"
    assert found["head"] == "head"
    assert found["stages.0.0.conv1..conv2"] == "first block of stage 0"
    assert found["stages.1.0.conv1..shortcut.0"].startswith("changes shape: (16, 32, 32) to (32, 16, 16)")
    assert found["stages.2.1.conv1..conv2"] == "stage floor: 3 blocks stay, stage 2 has 3"
    assert len(removable(make("cifar-20-B"), floor=1)) == 6


def test_names_of_what_stays_do_not_change(make):
    """After a removal the other units, nodes and modules are called as before."""
    network = make("cifar-32-A")
    before = {u.name: u.exit for u in find_layers(network)}
    after = {u.name: u.exit for u in find_layers(apply(network, Removal("layer", "stages.1.2.conv1..conv2")))}
    assert after.items() <= before.items()
    assert set(before) - set(after) == {"stages.1.2.conv1..conv2"}


def test_activation_after_a_block_goes_only_if_idle(make):
    """ReLU6 after a stream that may be negative stays; after a clipped one it goes with its block."""
    stream = [u for u in find_layers(make("resnet_a")) if u.removable]
    assert all(len(u.idle) == 1 and u.idle[0].endswith("relu2") for u in stream)
    network = make("residual_1d")
    idle = {u.name: u.idle for u in find_layers(network, floor=1)}
    assert idle["blocks.2.conv1..conv2"] == ()
    assert idle["blocks.3.conv1..conv2"] == ("blocks_3_relu",)
    nodes = {n.name for n in apply(network, Removal("layer", "blocks.2.conv1..conv2")).graph.nodes}
    assert "blocks_2_relu" in nodes
    nodes = {n.name for n in apply(network, Removal("layer", "blocks.3.conv1..conv2")).graph.nodes}
    assert "blocks_3_relu" not in nodes


def test_separable_pairs_are_layers(make):
    """In a DS-CNN depthwise and pointwise go together; the first pair stays."""
    assert removable(make("ds_cnn")) == ["blocks.1.0..3", "blocks.2.0..3", "blocks.3.0..3"]
    assert removable(make("ds_cnn"), floor=4) == []


def test_perceptron_layers(make):
    """Hidden layers of one width, the first of them kept."""
    assert removable(make("mlp")) == ["layers.5", "layers.7"]


class Gate(nn.Module):
    def __init__(self):
        super().__init__()
        self.pool, self.fc, self.norm = nn.AvgPool1d(1), nn.Conv1d(8, 8, 1), nn.BatchNorm1d(8)

    def forward(self, x):
        return x * self.norm(self.fc(self.pool(x)))


class PreActivation(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn, self.relu, self.conv = nn.BatchNorm1d(8), nn.ReLU(), nn.Conv1d(8, 8, 3, padding=1)

    def forward(self, x):
        return x + self.conv(self.relu(self.bn(x)))


class Doubled(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.relu = nn.Conv1d(8, 8, 1), nn.ReLU()

    def forward(self, x):
        return self.relu((x + self.conv(x)) + x)


@pytest.fixture
def chain(network_of):
    """A function from parts of 8 channels and 18 positions to a network of them between a stem and a head."""

    def build(*parts):
        stem, head = nn.Conv1d(3, 8, 3), (nn.AdaptiveAvgPool1d(1), nn.Flatten(1), nn.Linear(8, 4))
        return network_of(nn.Sequential(stem, nn.Sequential(*parts), *head), (3, 20))

    return build


def test_pre_activation_blocks_keep_the_norm_after_them(chain):
    """Removing the last block leaves the final norm and activation in place."""
    network = chain(PreActivation(), PreActivation(), PreActivation(), nn.BatchNorm1d(8), nn.ReLU())
    assert removable(network) == ["1.1.conv", "1.2.conv"]
    targets = [str(n.target) for n in apply(network, Removal("layer", "1.2.conv")).graph.nodes]
    assert "1.3" in targets and "1.4" in targets and "1.2.conv" not in targets


def test_gates_are_layers(chain):
    """x * g(x): the identity stands in for the product."""
    network = chain(Gate(), Gate(), Gate())
    cut = apply(network, Removal("layer", "1.1.fc"))
    x = torch.randn(2, 3, 20)
    h = network.module.get_submodule("0")(x)
    for gate in ("1.0", "1.2"):
        fc, norm = (network.module.get_submodule(f"{gate}.{part}") for part in ("fc", "norm"))
        h = h * norm(fc(h))
    expected = network.module.get_submodule("4")(h.mean(2))
    assert torch.allclose(cut.module(x), expected, atol=1e-6)


def test_a_skip_taken_twice_is_no_identity_block(chain):
    """2x + f(x) with f = 0 is not x, so the region goes with its activation."""
    unit = find_layers(chain(Doubled(), Doubled(), Doubled()))[2]
    assert unit.nodes[-1] == unit.exit == "_1_1_relu"
    assert unit.idle == ()


def test_a_run_that_comes_back_to_its_shape_is_one_layer(chain):
    """8 -> 4 -> 8 channels without a skip: neither half can go alone, both together can."""

    def bottleneck():
        return [nn.Conv1d(8, 4, 1), nn.ReLU(), nn.Conv1d(4, 8, 3, padding=1), nn.ReLU()]

    network = chain(*bottleneck(), *bottleneck(), nn.Conv1d(8, 8, 1))
    assert removable(network) == ["1.4..6", "1.8"]


def test_asymmetric_padding_belongs_to_its_convolution(chain):
    """Pad (0, 1) and a kernel of 2 keep the shape together."""
    parts = [p for _ in range(3) for p in (Pad(((0, 0), (0, 1))), nn.Conv1d(8, 8, 2), nn.ReLU())]
    units = [u for u in find_layers(chain(*parts)) if u.removable]
    assert [u.name for u in units] == ["1.4", "1.7"]
    assert [len(u.nodes) for u in units] == [3, 3]


def test_concatenations_of_one_shape_are_layers(chain):
    """An inception-like block goes as a whole, with the activation after it."""

    class Inception(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.relu = nn.Conv1d(8, 4, 1), nn.Conv1d(8, 4, 3, padding=1), nn.ReLU()

        def forward(self, x):
            return self.relu(torch.cat([self.a(x), self.b(x)], 1))

    network = chain(Inception(), Inception(), Inception())
    assert removable(network) == ["1.1.a..b", "1.2.a..b"]
    assert network_macs(apply(network, Removal("layer", "1.1.a..b"))) == network_macs(network) - 18 * 4 * 8 * 4
