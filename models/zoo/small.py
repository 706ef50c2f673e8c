"""Small networks that between them use every operator: for calibration, for the emulator tests, for examples.

Their weights are seeded and random; nothing is learned. Each has batch norms with statistics that matter.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from secateur.models.canonical import to_network
from secateur.models.network import Network
from secateur.models.zoo.dscnn import DsCnn
from secateur.models.zoo.har import HarConv
from secateur.models.zoo.mlp import Mlp
from secateur.models.zoo.resnet import cifar_resnet, resnet8
from secateur.models.zoo.resnet1d import ResNet1d


class Concat(nn.Module):
    """Two branches side by side, one pooled, on an odd size; softmax at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 10, 3, padding=1)
        self.right = nn.Conv2d(3, 6, 5, padding=2)
        self.pool = nn.MaxPool2d(2)
        self.join = nn.Conv2d(16, 9, 1)
        self.average = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(9, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([torch.relu(self.left(x)), self.right(x)], 1)
        x = torch.relu(self.join(self.pool(x)))
        return torch.softmax(self.head(self.average(x).flatten(1)), 1)


class Dilated(nn.Module):
    """Dilated convolutions with strides, ReLU6 and a product."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(4, 11, 5, padding=4, dilation=2)
        self.second = nn.Conv1d(11, 11, 3, stride=2, padding=4, dilation=4)
        self.gate = nn.Conv1d(11, 11, 1)
        self.head = nn.Linear(11, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu6(self.second(functional.relu6(self.first(x))))
        return self.head((x * self.gate(x)).mean(-1))  # type: ignore[no-any-return]


class Grouped(nn.Module):
    """Grouped and multiplied-depthwise convolutions, a ReLU of its own, flattened maps into a Linear."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 12, 3, stride=2)
        self.grouped = nn.Conv2d(12, 18, 3, padding=1, groups=3)
        self.norm = nn.BatchNorm2d(18)
        self.multiplied = nn.Conv2d(18, 36, 3, padding=1, groups=18)
        self.pool = nn.AvgPool2d(2)
        self.head = nn.Linear(36 * 3 * 2, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.grouped(torch.relu(self.stem(x)))))
        return self.head(torch.relu(self.pool(self.multiplied(x))).flatten(1))  # type: ignore[no-any-return]


class OnePixel(nn.Module):
    """A 1x1 image: convolutions that are matrix products, a residual add."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(5, 13, 1)
        self.second = nn.Conv2d(13, 13, 3, padding=1)
        self.head = nn.Linear(13, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        return self.head((x + self.second(x)).flatten(1))  # type: ignore[no-any-return]


class Depthwise(nn.Module):
    """Depthwise-separable blocks of odd widths and sizes, max-pooled with padding."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 7, 3, stride=2, padding=1)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.depthwise = nn.Conv2d(7, 7, 3, padding=1, groups=7, bias=False)
        self.norm = nn.BatchNorm2d(7)
        self.pointwise = nn.Conv2d(7, 15, 1)
        self.head = nn.Linear(15, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(torch.relu(self.stem(x)))
        x = torch.relu(self.pointwise(functional.relu6(self.norm(self.depthwise(x)))))
        return self.head(functional.adaptive_avg_pool2d(x, 1).flatten(1))  # type: ignore[no-any-return]


SMALL: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (lambda: Mlp((20,), (33, 17), 3), (20,)),
    "concat": (Concat, (3, 13, 11)),
    "dilated": (Dilated, (4, 37)),
    "grouped": (Grouped, (2, 13, 9)),
    "one-pixel": (OnePixel, (5, 1, 1)),
    "depthwise": (Depthwise, (1, 29, 17)),
    "residual-1d": (lambda: ResNet1d(6, 7, (8, 12), (2, 2), (1, 2)), (6, 50)),
    "residual-2d": (resnet8, (3, 32, 32)),
    "option-a": (lambda: cifar_resnet(8, "A"), (3, 16, 16)),
    "ds-cnn": (DsCnn, (1, 49, 10)),
    "har": (HarConv, (6, 50)),
}


def small_network(name: str, seed: int = 0) -> Network:
    """One of SMALL, with seeded random weights and batch norm statistics."""
    build, shape = SMALL[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = build()
        for layer in module.modules():
            if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
                assert layer.running_mean is not None and layer.running_var is not None
                layer.running_mean.uniform_(-0.5, 0.5)
                layer.running_var.uniform_(0.5, 2.0)
                nn.init.uniform_(layer.weight, 0.5, 1.5)
                nn.init.uniform_(layer.bias, -0.3, 0.3)
        return to_network(module.eval(), shape, name)
