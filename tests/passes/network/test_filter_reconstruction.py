"""The reconstruction score: the least error that any fit of the other filters leaves, layer by layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from secateur.errors import UserError
from secateur.models.canonical import to_network
from secateur.models.data import Split
from secateur.models.network import Network
from secateur.passes.network import layer_reads
from secateur.passes.network.channels import find_filters
from secateur.passes.network.filter_reconstruction import FilterReconstruction
from secateur.passes.network.layer_reads import RIDGE
from secateur.passes.network.samples import balanced


def split_of(network: Network, count: int = 96) -> Split:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(count, *network.input_shape)).astype(np.float32)
    return Split(x, np.arange(count) % 2, np.arange(count))


def perceptron(*layers: nn.Module, inputs: int = 5) -> Network:
    torch.manual_seed(0)
    for m in layers:
        if isinstance(m, nn.Linear):
            m.reset_parameters()
        if isinstance(m, nn.BatchNorm1d):
            assert m.running_mean is not None and m.running_var is not None
            with torch.no_grad():
                m.running_mean.uniform_(-1, 1), m.running_var.uniform_(0.5, 2), m.weight.uniform_(0.5, 2)
    return to_network(nn.Sequential(*layers), (inputs,), "perceptron")


def linears(network: Network) -> list[nn.Linear]:
    return [m for m in network.module.modules() if isinstance(m, nn.Linear)]


def read_by(network: Network, data: Split, layer: int) -> np.ndarray:
    """(n, inputs) of a linear layer."""
    seen: list[torch.Tensor] = []
    module = linears(network)[layer]
    handle = module.register_forward_hook(lambda m, given, made: seen.append(given[0].double()))
    with torch.no_grad():
        network.module.eval()(torch.from_numpy(network.preprocess(data.x)))
    handle.remove()
    return seen[0].numpy()


def least_error(x: np.ndarray, weight: np.ndarray, gone: list[int], movable: bool) -> float:
    """Share of the outputs' squares, by a general solver: no weight of `gone`, the others wherever they like."""
    x = x - x.mean(0) * movable
    strength = np.sqrt(RIDGE * np.square(x).mean(0).mean() * len(x))
    stay = [i for i in range(x.shape[1]) if i not in gone]
    pull = strength * np.eye(len(stay))  # towards the present weights
    rows, wanted = np.vstack([x[:, stay], pull]), np.vstack([x @ weight.T, pull @ weight.T[stay]])
    left = wanted - rows @ np.linalg.lstsq(rows, wanted, rcond=None)[0]
    return float(np.square(left).sum() / np.square(x @ weight.T).sum())


@pytest.mark.parametrize("count", [96, 9])
@pytest.mark.parametrize("kind", ["bias", "no bias", "norm"])
def test_equal_to_a_general_solver(kind: str, count: int) -> None:
    """For each filter alone; by fewer unknowns too, where samples are fewer than inputs."""
    second: list[nn.Module] = [nn.Linear(12, 4, bias=kind != "no bias")]
    if kind == "norm":
        second += [nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)]
    network = perceptron(nn.Linear(5, 12), nn.Tanh(), *second)
    data = split_of(network, count)
    x, weight = read_by(network, data, 1), linears(network)[1].weight.detach().double().numpy()
    if kind == "norm":
        norm = next(m for m in network.module.modules() if isinstance(m, nn.BatchNorm1d))
        scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
        weight = scale.detach().numpy()[:, None] * weight
    group = find_filters(network)[1].name  # of the first, the input
    expected = [least_error(x, weight, [i], kind != "no bias") for i in range(12)]
    found = FilterReconstruction(data)(network)
    np.testing.assert_allclose(found.values[group], expected, rtol=1e-6)
    assert found.samples == count


def test_what_others_say_too_goes_first() -> None:
    """Of a filter and its copy neither is missed much; a filter that is always 0 not at all."""
    network = perceptron(nn.Linear(5, 12), nn.Tanh(), nn.Linear(12, 4))
    first, _ = linears(network)
    with torch.no_grad():
        first.weight[3], first.bias[3] = first.weight[7], first.bias[7]
        first.weight[5], first.bias[5] = 0, 0
    group = find_filters(network)[1].name
    scores = FilterReconstruction(split_of(network))(network)
    assert scores.lowest(group, 1) == (5,) and scores.values[group][5] < 1e-12
    alone = network.clone()
    with torch.no_grad():
        linears(alone)[0].weight[7] += torch.tensor([0.5, -1, 1, 0, 2])
    without_copy = FilterReconstruction(split_of(network))(alone)
    assert scores.values[group][3] < 0.25 * without_copy.values[group][3]


class Conv(nn.Module):
    """A convolution of 3 x 3 with a step and a norm reads 6 filters."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.norm = nn.Conv2d(2, 6, 1), nn.Conv2d(6, 4, 3, 2, 1), nn.BatchNorm2d(4)
        self.flat, self.head = nn.Flatten(), nn.Linear(4 * 9, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.flat(self.norm(self.second(torch.tanh(self.first(x))))))


class Flat(nn.Module):
    """A linear layer reads 6 filters at 36 positions each."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.flat, self.second = nn.Conv2d(2, 6, 3, padding=1), nn.Flatten(), nn.Linear(6 * 36, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.flat(torch.tanh(self.first(x))))


class Twice(nn.Module):
    """A convolution reads 6 filters, before and behind two others."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.other, self.second = nn.Conv2d(2, 6, 1), nn.Conv2d(2, 2, 1), nn.Conv2d(14, 4, 3, padding=1)
        self.flat, self.head = nn.Flatten(), nn.Linear(4 * 36, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = torch.tanh(self.first(x)), torch.tanh(self.other(x))
        return self.head(self.flat(self.second(torch.cat([a, b, a], 1))))


def windows(module: nn.Module, x: torch.Tensor) -> np.ndarray:
    """(rows, inputs): every window that a layer reads, in torch's order of weights."""
    if isinstance(module, nn.Linear):
        return x.double().numpy()
    assert isinstance(module, nn.Conv2d)
    found = nn.functional.unfold(x.double(), module.kernel_size, 1, module.padding, module.stride)
    return found.mT.flatten(0, 1).numpy()


@pytest.mark.parametrize("kind, count", [(Conv, 40), (Conv, 5), (Flat, 300), (Flat, 40), (Twice, 30), (Twice, 2)])
def test_windows_and_positions(kind: type[nn.Module], count: int) -> None:
    """All inputs of a filter go at once: a kernel's, every position's, those of both places that it stands in."""
    torch.manual_seed(0)
    network = to_network(kind(), (2, 6, 6), kind.__name__)
    data = split_of(network, count)
    modules = dict(network.module.named_modules())
    second, norm = modules["second"], modules.get("norm")
    seen: list[torch.Tensor] = []
    second.register_forward_hook(lambda m, given, made: seen.append(given[0]))
    with torch.no_grad():
        network.module.eval()(torch.from_numpy(network.preprocess(data.x)))
    second._forward_hooks.clear()
    x, weight = windows(second, seen[0]), second.weight.detach().double().flatten(1).numpy()
    if norm is not None:
        weight = (norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)).detach().numpy()[
            :, None
        ] * weight
    assert len(x) <= 4096, "all rows are read"
    each = x.shape[1] // {"Twice": 14}.get(kind.__name__, 6)
    at = [[i * each + k for k in range(each)] for i in range(6)]
    if kind is Twice:
        at = [[*a, *((i + 8) * each + k for k in range(each))] for i, a in enumerate(at)]
    expected = [least_error(x, weight, gone, True) for gone in at]
    group = next(g for g in find_filters(network) if g.name == "first")
    assert group.consumers == ("second",)
    found = FilterReconstruction(data)(network).values["first"]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_layers_that_read_the_same_filter_add_up() -> None:
    """Of a stream that two layers read: what the one and the other would lose."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.inner, self.back, self.head = (nn.Linear(*n) for n in ((5, 8), (8, 6), (6, 8), (8, 3)))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = torch.tanh(self.stem(x))
            return self.head(y + self.back(torch.tanh(self.inner(y))))

    torch.manual_seed(0)
    network = to_network(Two(), (5,), "two")
    data = split_of(network)
    stream = next(g for g in find_filters(network) if g.residual)
    assert stream.size == 8 and stream.consumers == ("inner", "head")
    expected = np.zeros(8)
    for layer in (1, 3):
        x, weight = read_by(network, data, layer), linears(network)[layer].weight.detach().double().numpy()
        expected += [least_error(x, weight, [i], True) for i in range(8)]
    found = FilterReconstruction(data)(network).values[stream.name]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_every_group_of_any_network(network: Network) -> None:
    """Grouped convolutions pass theirs on to those that read them; again the same bytes."""
    before = network.hash()
    scores = FilterReconstruction(split_of(network, 24))(network)
    sizes = {g.name: g.size for g in find_filters(network) if g.removable}
    assert {name: len(v) for name, v in scores.values.items()} == sizes
    assert all((v >= 0).all() and v.max() > 0 for v in scores.values.values())
    assert (
        network.hash() == before and FilterReconstruction(split_of(network, 24))(network).values.keys() == sizes.keys()
    )


def test_margins_are_of_the_least_two() -> None:
    """A jackknife without each tenth of the samples; no margin is noise where none is asked for."""
    network = perceptron(nn.Linear(5, 12), nn.Tanh(), nn.Linear(12, 4))
    data, group = split_of(network, 200), find_filters(network)[1].name
    told = FilterReconstruction(data, blocks=10)(network)
    low, high = np.argsort(told.values[group])[:2]
    x, weight = read_by(network, data, 1), linears(network)[1].weight.detach().double().numpy()
    x = x[balanced(data.y, 200, 0)]  # the order in which samples are read
    parts = [np.delete(x, part, 0) for part in np.array_split(np.arange(200), 10)]
    margins = [np.subtract(*(least_error(p, weight, [i], True) for i in (high, low))) for p in parts]
    expected = np.sqrt(0.9 * np.square(margins - np.mean(margins)).sum())
    assert told.margins[group].value == pytest.approx(told.values[group][high] - told.values[group][low])
    assert told.margins[group].error == pytest.approx(expected, rel=1e-5)
    plain = FilterReconstruction(data)(network)
    assert plain.margins[group].error == 0 and np.array_equal(plain.values[group], told.values[group])


def test_large_values_have_fewer_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where few samples are read because of their size, as many blocks as they allow, or no margin."""
    network = perceptron(nn.Linear(5, 12), nn.Tanh(), nn.Linear(12, 4))
    data, group = split_of(network, 60), find_filters(network)[1].name
    for count, known in ((8, True), (3, False)):
        monkeypatch.setattr(layer_reads, "VALUE_BYTES", 4 * 12 * count)
        scores = FilterReconstruction(data, blocks=10)(network)
        assert scores.samples == count and (scores.margins[group].error > 0) == known


def test_too_few_samples_are_refused() -> None:
    """Two at least, or two a block."""
    network = perceptron(nn.Linear(5, 12), nn.Tanh(), nn.Linear(12, 4))
    with pytest.raises(UserError, match="1 samples to compare representations on, 2 at least"):
        FilterReconstruction(split_of(network, 1))(network)
    with pytest.raises(UserError, match=r"19 samples .*, 20 at least"):
        FilterReconstruction(split_of(network, 19), blocks=10)(network)
