"""Small networks of every kind that the passes must handle, with weights and statistics that matter."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, fx, nn

from secateur.models.data import Split
from secateur.models.network import Network, Pad, Slice, verify_network
from secateur.models.preprocess import Preprocess
from secateur.models.zoo.dscnn import DsCnn
from secateur.models.zoo.mlp import Mlp
from secateur.models.zoo.resnet import ResNet, cifar_resnet


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (Pad, Slice)) or super().is_leaf_module(m, module_qualified_name)


def seeded(module: nn.Module, input_shape: tuple[int, ...], name: str = "net", seed: int = 0) -> Network:
    """A Network with seeded weights, and norms that shift, scale and flip signs as trained ones do."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, (nn.Conv1d, nn.Conv2d, nn.Linear)):
                fan_in = part.weight[0].numel()
                part.weight.copy_(torch.randn(part.weight.shape, generator=generator) * (2 / fan_in) ** 0.5)
                if part.bias is not None:
                    part.bias.copy_(torch.randn(part.bias.shape, generator=generator) * 0.1)
            elif isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
                for tensor, low, high in (
                    (part.weight, -0.3, 1.2),
                    (part.bias, -0.3, 0.5),
                    (part.running_mean, -0.3, 0.3),
                    (part.running_var, 0.5, 1.5),
                ):
                    tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)
    module.eval()
    graph = _Tracer().trace(module)
    network = Network(name, fx.GraphModule(module, graph), input_shape, Preprocess())
    verify_network(network)
    return network


class ConcatNet(nn.Module):
    """Two branches concatenated, normed together, then an inception-like block of one shape."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.relu = nn.ReLU()
        self.a = nn.Conv2d(8, 8, 1)
        self.b = nn.Conv2d(8, 16, 3, padding=1)
        self.bn = nn.BatchNorm2d(24)
        self.act = nn.ReLU()
        self.c = nn.Conv2d(24, 12, 1)
        self.d = nn.Conv2d(24, 12, 3, padding=1)
        self.act2 = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.flatten = nn.Flatten(1)
        self.head = nn.Linear(24 * 16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem(x))
        x = self.act(self.bn(torch.cat([self.a(x), self.b(x)], 1)))
        x = self.act2(torch.cat([self.c(x), self.d(x)], 1))
        return self.head(self.flatten(self.pool(x)))  # type: ignore[no-any-return]


class GroupedNet(nn.Module):
    """Residual blocks with a grouped convolution between two pointwise ones (ResNeXt), and one on the stream."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.relu = nn.ReLU()
        self.in1, self.g1, self.out1 = (
            nn.Conv2d(16, 24, 1),
            nn.Conv2d(24, 12, 3, padding=1, groups=6),
            nn.Conv2d(12, 16, 1),
        )
        self.in2, self.g2, self.out2 = (
            nn.Conv2d(16, 24, 1),
            nn.Conv2d(24, 24, 3, padding=1, groups=6),
            nn.Conv2d(24, 16, 1),
        )
        self.r1, self.r2, self.r3, self.r4 = nn.ReLU(), nn.ReLU(), nn.ReLU(), nn.ReLU()
        self.last = nn.Conv2d(16, 16, 3, padding=1, groups=4)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten(1)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem(x))
        x = self.r2(x + self.out1(self.g1(self.r1(self.in1(x)))))
        x = self.r4(x + self.out2(self.g2(self.r3(self.in2(x)))))
        return self.head(self.flatten(self.pool(self.last(x))))  # type: ignore[no-any-return]


class Block1d(nn.Module):
    """Residual block whose stream may be negative: norm, no activation before; relu6 after if asked."""

    def __init__(self, width: int, relu: bool) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu1 = nn.Conv1d(width, 8, 5, padding=2), nn.BatchNorm1d(8), nn.ReLU()
        self.conv2, self.bn2 = nn.Conv1d(8, width, 5, padding=2), nn.BatchNorm1d(width)
        self.relu = nn.ReLU6() if relu else None

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return x if self.relu is None else self.relu(x)


class Residual1d(nn.Module):
    """Linear stream at first, then clipped to 0..6; a convolution to flatten to linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv1d(6, 12, 7, 2, padding=3), nn.BatchNorm1d(12)
        self.blocks = nn.Sequential(*(Block1d(12, relu) for relu in (False, False, True, True, True)))
        self.pool = nn.AvgPool1d(5)
        self.flatten = nn.Flatten(1)
        self.hidden, self.norm, self.relu = nn.Linear(12 * 5, 20), nn.BatchNorm1d(20), nn.ReLU()
        self.head = nn.Linear(20, 4)
        self.softmax = nn.Softmax(1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.flatten(self.pool(self.blocks(self.bn(self.stem(x)))))
        return self.softmax(self.head(self.relu(self.norm(self.hidden(x)))))  # type: ignore[no-any-return]


class SplitNet(nn.Module):
    """A Slice of channels feeds one convolution, the rest joins it: two groups of one producer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.relu = nn.Conv2d(3, 16, 3, padding=1), nn.ReLU()
        self.low = Slice(((0, 8, 1), (0, 8, 1), (0, 8, 1)))
        self.high = Slice(((8, 16, 1), (0, 8, 1), (0, 8, 1)))
        self.conv, self.pad = nn.Conv2d(8, 8, 3, padding=1), Pad(((2, 0), (1, 1), (1, 1)), 0.5)
        self.last = nn.Conv2d(18, 8, 3)
        self.pool, self.flatten, self.head = nn.MaxPool2d(4), nn.Flatten(1), nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem(x))
        x = torch.cat([self.conv(self.low(x)), self.high(x)], 1)
        return self.head(self.flatten(self.pool(self.last(self.pad(x)))))  # type: ignore[no-any-return]


class BareNet(nn.Module):
    """Its last hidden layer has no activation: what may be bypassed ends in the layer that reads the filters before."""

    def __init__(self) -> None:
        super().__init__()
        self.flatten = nn.Flatten(1)
        self.first, self.relu1 = nn.Linear(64, 24), nn.ReLU()
        self.second, self.relu2 = nn.Linear(24, 24), nn.ReLU()
        self.bare, self.head = nn.Linear(24, 24), nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu1(self.first(self.flatten(x)))
        return self.head(self.bare(self.relu2(self.second(x))))  # type: ignore[no-any-return]


BUILDERS: dict[str, Callable[[], tuple[nn.Module, tuple[int, ...]]]] = {
    "resnet_a": lambda: (ResNet((3, 3, 3), (8, 16, 32), "A", size=16), (3, 16, 16)),
    "resnet_b": lambda: (ResNet((3, 3, 3), (8, 16, 32), "B", size=16), (3, 16, 16)),
    "resnet_b_no_norm": lambda: (ResNet((3, 3), (8, 16), "B", size=16, norm=False), (3, 16, 16)),
    "residual_1d": lambda: (Residual1d(), (6, 50)),
    "ds_cnn": lambda: (DsCnn(width=16), (1, 49, 10)),
    "concat": lambda: (ConcatNet(), (3, 8, 8)),
    "grouped": lambda: (GroupedNet(), (3, 8, 8)),
    "split": lambda: (SplitNet(), (3, 8, 8)),
    "bare": lambda: (BareNet(), (1, 8, 8)),
    "mlp": lambda: (Mlp((1, 8, 8), (24, 24, 24, 24), 10), (1, 8, 8)),
}


LARGE = ("resnet_a", "resnet_b")
"""Copied and traced a hundred times, these take seconds; the unit part has residual blocks in the smaller ones."""


@pytest.fixture
def network(request: pytest.FixtureRequest) -> Network:
    """The network of BUILDERS named by an indirect parameter."""
    module, shape = BUILDERS[request.param]()
    return seeded(module, shape, request.param)


@pytest.fixture
def network_of() -> Callable[..., Network]:
    """A function from a module and its input shape to a seeded Network."""
    return seeded


@pytest.fixture
def read_by_head() -> Callable[[Network, Split], npt.NDArray[np.float64]]:
    """A function from a network and samples to what its module `head` is given, (n, p), as a hook sees it."""

    def read(network: Network, data: Split) -> npt.NDArray[np.float64]:
        seen: list[Tensor] = []
        head = network.module.get_submodule("head")
        handle = head.register_forward_pre_hook(lambda _, x: seen.append(x[0].flatten(1)))
        with torch.no_grad():
            network.module.eval()(torch.from_numpy(network.preprocess(data.x)))
        handle.remove()
        return seen[0].numpy().astype(np.float64)

    return read


@pytest.fixture
def make() -> Callable[[str], Network]:
    """A function from a name of BUILDERS, or `cifar-56-A`, to a seeded network."""

    def build(name: str) -> Network:
        if name.startswith("cifar"):
            _, depth, option = name.split("-")
            return seeded(cifar_resnet(int(depth), option), (3, 32, 32), name)
        module, shape = BUILDERS[name]()
        return seeded(module, shape, name)

    return build


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "network" in metafunc.fixturenames and "network" not in str(metafunc.definition.own_markers):
        marks = {name: [pytest.mark.slow] if name in LARGE else [] for name in BUILDERS}
        metafunc.parametrize("network", [pytest.param(n, marks=m) for n, m in marks.items()], indirect=True)
