"""Reconstruction: least squares as written down, whatever the network; before the cut nothing moves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from transformers import WRITTEN

from secateur.models.canonical import to_network
from secateur.models.data import Split
from secateur.models.network import Network
from secateur.passes.network import layer_reads
from secateur.passes.network.candidates import candidates
from secateur.passes.network.channels import find_filters
from secateur.passes.network.reconstruct import RIDGE, Reconstruct, kept_channels
from secateur.passes.network.removal import Removal, apply, apply_all
from secateur.passes.network.weight_norms import filter_l1


def split_of(network: Network, count: int = 96) -> Split:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(count, *network.input_shape)).astype(np.float32)
    return Split(x, np.arange(count) % 2, np.arange(count))


def outputs(network: Network, data: Split) -> torch.Tensor:
    with torch.no_grad():
        return network.module.eval()(torch.from_numpy(network.preprocess(data.x)))


def error(network: Network, whole: Network, data: Split) -> float:
    """Mean square of the difference of the outputs."""
    return float((outputs(network, data) - outputs(whole, data)).square().mean())


def thin(network: Network, group: str) -> Removal:
    """A third of a group's classes, the lightest."""
    size = next(g.size for g in find_filters(network) if g.name == group)
    return Removal("filters", group, filter_l1(network).lowest(group, max(1, size // 3)))


def pair(norm: bool = False, bias: bool = True) -> Network:
    """A hidden layer of 12 units on 5 inputs, read by 4; two layers without anything else."""
    torch.manual_seed(0)
    first = [nn.Linear(5, 12), nn.Tanh()]
    second: list[nn.Module] = [nn.Linear(12, 4, bias=bias)]
    if norm:
        second += [nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 4)]
    network = to_network(nn.Sequential(*first, *second), (5,), "pair")
    with torch.no_grad():
        for m in network.module.modules():
            if isinstance(m, nn.BatchNorm1d):
                m.running_mean.uniform_(-1, 1), m.running_var.uniform_(0.5, 2)
                m.weight.uniform_(0.5, 2), m.bias.uniform_(-1, 1)
    return network


def pair_solution(whole: Network, cut: Network, data: Split, bias: bool) -> tuple[np.ndarray, np.ndarray]:
    """Weights and bias of the second layer: ordinary least squares of the ridge's augmented rows."""
    goal = outputs(whole, data).double().numpy()
    old, second = (m for m in cut.module.modules() if isinstance(m, nn.Linear))
    with torch.no_grad():
        read = torch.tanh(old(torch.from_numpy(data.x))).double().numpy()
    weight = second.weight.detach().double().numpy()
    shift = second.bias.detach().double().numpy() if bias else np.zeros(4)
    missing = goal - read @ weight.T - shift
    centre, mean = (read.mean(0), missing.mean(0)) if bias else (np.zeros(len(weight.T)), np.zeros(4))
    x = read - centre
    ridge = np.sqrt(RIDGE * np.square(x).sum(0).mean())
    rows = np.concatenate([x, ridge * np.eye(x.shape[1])])
    moved = np.linalg.lstsq(rows, np.concatenate([missing - mean, np.zeros((x.shape[1], 4))]), rcond=None)[0].T
    return weight + moved, shift + mean - moved @ centre


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("samples", [96, 6], ids=["more rows than values", "fewer"])
def test_it_is_the_ridge_regression(bias: bool, samples: int) -> None:
    """Weights and bias of the reading layer are those of numpy's least squares, in both of its forms."""
    whole = pair(bias=bias)
    data = split_of(whole, samples)
    removal = thin(whole, "0")
    cut = apply(whole, removal)
    fitted = Reconstruct(whole, [removal], data)(cut)
    weight, shift = pair_solution(whole, cut, data, bias)
    first, second = (m for m in fitted.module.modules() if isinstance(m, nn.Linear))
    np.testing.assert_allclose(second.weight.detach().numpy(), weight, atol=1e-5)
    if bias:
        np.testing.assert_allclose(second.bias.detach().numpy(), shift, atol=1e-5)
    assert torch.equal(first.weight, next(m for m in cut.module.modules() if isinstance(m, nn.Linear)).weight)
    assert error(fitted, whole, data) < 0.7 * error(cut, whole, data)


def test_a_norm_follows() -> None:
    """What is fitted is what the norm gives, and its statistics are those of what it is then given."""
    whole = pair(norm=True)
    data, removal = split_of(whole), thin(whole, "0")
    cut = apply(whole, removal)
    fitted = Reconstruct(whole, [removal], data)(cut)
    assert error(fitted, whole, data) < 0.5 * error(cut, whole, data)
    evaluated = outputs(fitted, data)
    for m in fitted.module.modules():  # a training's forward pass on the same samples computes the same
        if isinstance(m, nn.BatchNorm1d):
            m.train()
    with torch.no_grad():
        trained = fitted.module(torch.from_numpy(data.x))
    torch.testing.assert_close(trained, evaluated, rtol=1e-4, atol=1e-4)


def test_a_copy_of_a_channel_takes_its_place() -> None:
    """Where a removed channel is a mixture of others, nothing is lost but what the ridge keeps back."""
    whole = pair()
    first, _ = (m for m in whole.module.modules() if isinstance(m, nn.Linear))
    with torch.no_grad():
        first.weight[7], first.bias[7] = -first.weight[2], -first.bias[2]  # tanh is odd
    data = split_of(whole)
    removal = Removal("filters", "0", (7,))
    cut = apply(whole, removal)
    fitted = Reconstruct(whole, [removal], data)(cut)
    assert error(fitted, whole, data) < 5e-3 * error(cut, whole, data)


def test_every_kind_of_network_comes_nearer(network: Network) -> None:
    """Of every group and layer that may go, the outputs err less; what lies before the cut keeps its bits."""
    data = split_of(network, 64)
    able = candidates(network, filter_l1(network), granularity=0.3, multiple=1, minimum=1)
    assert able
    for removal in able[:: max(1, len(able) // 4)]:
        cut = apply(network, removal)
        before = cut.hash()
        fitted = Reconstruct(network, [removal], data)(cut)
        assert cut.hash() == before and fitted.history[-1] == "reconstruct"
        lost, left = error(cut, network, data), error(fitted, network, data)
        assert left < lost, (removal.unit, lost, left)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["encoder layer, norm first", "by hand, wide values"])
def test_heads_hidden_units_and_blocks(name: str) -> None:
    """Of transformers too."""
    make, shape, _ = WRITTEN[name]
    torch.manual_seed(0)
    network = to_network(make(), shape, "net")
    data = split_of(network, 64)
    wanted = [g for g in find_filters(network) if g.removable and g.kind in ("heads", "hidden")]
    removals = [Removal("filters", g.name, (0,)) for g in wanted[:2]]
    removals += candidates(network, floor=1)[:1]
    assert len(removals) == 3
    for removal in removals:
        cut = apply(network, removal, 1)
        fitted = Reconstruct(network, [removal], data, floor=1)(cut)
        assert error(fitted, network, data) < error(cut, network, data), removal


def test_several_removals_at_once(make) -> None:
    """The channels that are left are those of the cut network, after filters of two groups and a layer."""
    network = make("residual_1d")
    removals = [thin(network, g.name) for g in find_filters(network) if g.removable][:2]
    removals += candidates(network)[:1]
    data = split_of(network, 64)
    cut = network
    for removal in removals:
        cut = apply(cut, removal)
    kept = kept_channels(network, removals)
    assert {name: len(index) for name, index in kept.items()} == {n: s[0] for n, s in cut.shapes().items()}
    fitted = Reconstruct(network, removals, data)(cut)
    assert error(fitted, network, data) < error(cut, network, data)
    both = apply_all(network, removals[:2])
    assert error(Reconstruct(network, removals[:2], data)(both), network, data) < error(both, network, data)


class Middle(nn.Module):
    """A convolution whose middle channels are read once more: of its two groups the outer one lies around the other."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.fc = nn.Conv1d(2, 12, 3), nn.Conv1d(4, 6, 1), nn.Linear(18, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.a(x)
        return self.fc(torch.cat([x, self.b(x[:, 4:8])], 1).mean(2))


def test_groups_that_change_their_names_by_the_cut() -> None:
    """What several groups lose at once is meant by the names that they had before."""
    torch.manual_seed(0)
    network = to_network(Middle(), (2, 8), "middle")
    removals = [Removal("filters", "a", (0, 1, 2, 3)), Removal("filters", "a#1", (0,))]  # channels 0 to 3, and 4
    assert kept_channels(network, removals)["a"].tolist() == [5, 6, 7, 8, 9, 10, 11]


def test_large_values_take_fewer_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as the largest value, of twelve floats, leaves room for."""
    whole = pair()
    data, removal = split_of(whole), thin(whole, "0")
    cut = apply(whole, removal)
    monkeypatch.setattr(layer_reads, "SAMPLES", 8)
    few = Reconstruct(whole, [removal], data)(cut).hash()
    monkeypatch.setattr(layer_reads, "SAMPLES", 512)
    assert Reconstruct(whole, [removal], data)(cut).hash() != few
    monkeypatch.setattr(layer_reads, "VALUE_BYTES", 8 * 12 * 4 + 3)
    assert Reconstruct(whole, [removal], data)(cut).hash() == few


def test_the_same_bytes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Same samples and seed, same weights; the seed draws the samples and rows where there are more than are taken."""
    monkeypatch.setattr(layer_reads, "SAMPLES", 32)
    whole = pair()
    data, removal = split_of(whole), thin(whole, "0")
    a, b, c = (Reconstruct(whole, [removal], data, seed=s)(apply(whole, removal)).hash() for s in (0, 0, 1))
    assert a == b != c
