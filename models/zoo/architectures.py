"""Published architectures that the zoo has no weights of, at any width: what every pass must be able to handle.

Topology and depth are the papers'; `width` scales all channels. Layers that share a form share a function here.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

Act = type[nn.Module]


def _scaled(channels: float, width: float, step: int = 8) -> int:
    """A multiple of `step` that is no more than 10 % below (Sandler et al. 2018)."""
    wanted = channels * width
    found = max(step, int(wanted + step / 2) // step * step)
    return found if found >= 0.9 * wanted else found + step


def _conv(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, act: Act | None = nn.ReLU
) -> nn.Module:
    """Convolution without bias, norm, activation."""
    parts: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*parts, *([] if act is None else [act()]))


class SqueezeExcite(nn.Module):
    """x times a gate a channel (Hu et al., CVPR 2018). `linear`: by linear layers, else by 1x1 convolutions."""

    def __init__(
        self, width: int, inner: int, gate: Act = nn.Sigmoid, linear: bool = False, act: Act = nn.ReLU
    ) -> None:
        super().__init__()
        self.pool, self.linear = nn.AdaptiveAvgPool2d(1), linear
        self.down: nn.Module = nn.Linear(width, inner) if linear else nn.Conv2d(width, inner, 1)
        self.up: nn.Module = nn.Linear(inner, width) if linear else nn.Conv2d(inner, width, 1)
        self.act, self.gate = act(), gate()

    def forward(self, x: Tensor) -> Tensor:
        s = self.pool(x)
        s = self.gate(self.up(self.act(self.down(s.flatten(1) if self.linear else s))))
        return x * (s.view(x.shape[0], -1, 1, 1) if self.linear else s)  # type: ignore[no-any-return]


class Bottleneck(nn.Module):
    """He et al. 2016: 1x1, 3x3 (stride), 1x1 of four times the channels; or two 3x3. Perhaps with a gate."""

    def __init__(self, inputs: int, inner: int, stride: int, deep: bool, excite: bool) -> None:
        super().__init__()
        outputs = 4 * inner if deep else inner
        if deep:
            parts = [_conv(inputs, inner, 1), _conv(inner, inner, 3, stride), _conv(inner, outputs, 1, act=None)]
        else:
            parts = [_conv(inputs, inner, 3, stride), _conv(inner, outputs, 3, act=None)]
        if excite:
            parts.append(SqueezeExcite(outputs, max(4, outputs // 8), linear=True))
        self.branch, self.relu = nn.Sequential(*parts), nn.ReLU()
        same = stride == 1 and inputs == outputs
        self.shortcut = None if same else _conv(inputs, outputs, 1, stride, act=None)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.branch(x) + (x if self.shortcut is None else self.shortcut(x)))  # type: ignore[no-any-return]


class ImageNetResNet(nn.Module):
    """ResNet-18 and -34 (basic blocks), -50, -101, -152 (bottlenecks). (n, 3, h, w) to logits; h, w from 32."""

    def __init__(
        self, blocks: tuple[int, ...], deep: bool, width: float = 1.0, classes: int = 10, excite: bool = False
    ) -> None:
        super().__init__()
        channels = _scaled(64, width)
        parts = [_conv(3, channels, 7, 2), nn.MaxPool2d(3, 2, 1)]
        for stage, count in enumerate(blocks):
            inner = _scaled(64 << stage, width)
            for i in range(count):
                parts.append(Bottleneck(channels, inner, 2 if stage and not i else 1, deep, excite))
                channels = 4 * inner if deep else inner
        self.features, self.pool = nn.Sequential(*parts), nn.AdaptiveAvgPool2d(1)
        self.flatten, self.head = nn.Flatten(1), nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.flatten(self.pool(self.features(x))))  # type: ignore[no-any-return]


def resnet18(width: float = 1.0) -> ImageNetResNet:
    return ImageNetResNet((2, 2, 2, 2), False, width)


def resnet50(width: float = 1.0) -> ImageNetResNet:
    return ImageNetResNet((3, 4, 6, 3), True, width)


def se_resnet18(width: float = 1.0) -> ImageNetResNet:
    return ImageNetResNet((2, 2, 2, 2), False, width, excite=True)


class InvertedResidual(nn.Module):
    """Sandler et al. 2018: expand, depthwise, perhaps squeeze-and-excite, project without activation."""

    def __init__(
        self, inputs: int, inner: int, outputs: int, kernel: int, stride: int, act: Act, excite: nn.Module | None = None
    ) -> None:
        super().__init__()
        parts = [] if inner == inputs else [_conv(inputs, inner, 1, act=act)]
        parts.append(_conv(inner, inner, kernel, stride, groups=inner, act=act))
        parts += [] if excite is None else [excite]
        self.branch = nn.Sequential(*parts, _conv(inner, outputs, 1, act=None))
        self.identity = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x) if self.identity else self.branch(x)  # type: ignore[no-any-return]


class MobileNet(nn.Module):
    """Stem, inverted residuals, last 1x1 convolution, mean, classifier. (n, 3, h, w) to logits."""

    def __init__(self, stem: nn.Module, blocks: list[nn.Module], last: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.features = nn.Sequential(stem, *blocks, last)
        self.pool, self.flatten, self.classifier = nn.AdaptiveAvgPool2d(1), nn.Flatten(1), classifier

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.flatten(self.pool(self.features(x))))  # type: ignore[no-any-return]


def mobilenet_v2(width: float = 1.0, classes: int = 10) -> MobileNet:
    """Sandler et al. 2018, table 2: expansion, channels, repeats, stride."""
    table = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    channels = _scaled(32, width)
    stem, blocks = _conv(3, channels, 3, 2, act=nn.ReLU6), list[nn.Module]()
    for expansion, full, repeats, stride in table:
        for i in range(repeats):
            outputs = _scaled(full, width)
            inner = channels * expansion
            blocks.append(InvertedResidual(channels, inner, outputs, 3, 1 if i else stride, nn.ReLU6))
            channels = outputs
    last = _scaled(1280, max(1.0, width)) if width >= 1 else _scaled(1280, width)
    return MobileNet(stem, blocks, _conv(channels, last, 1, act=nn.ReLU6), nn.Linear(last, classes))


def mobilenet_v3_small(width: float = 1.0, classes: int = 10) -> MobileNet:
    """Howard et al. 2019, table 2: kernel, expanded, channels, squeeze-and-excite, activation, stride."""
    table = (
        (3, 16, 16, True, nn.ReLU, 2), (3, 72, 24, False, nn.ReLU, 2), (3, 88, 24, False, nn.ReLU, 1),
        (5, 96, 40, True, nn.Hardswish, 2), (5, 240, 40, True, nn.Hardswish, 1), (5, 240, 40, True, nn.Hardswish, 1),
        (5, 120, 48, True, nn.Hardswish, 1), (5, 144, 48, True, nn.Hardswish, 1), (5, 288, 96, True, nn.Hardswish, 2),
        (5, 576, 96, True, nn.Hardswish, 1), (5, 576, 96, True, nn.Hardswish, 1),
    )  # fmt: skip
    channels = _scaled(16, width)
    stem, blocks = _conv(3, channels, 3, 2, act=nn.Hardswish), list[nn.Module]()
    for kernel, expanded, full, excites, act, stride in table:
        inner, outputs = _scaled(expanded, width), _scaled(full, width)
        excite = SqueezeExcite(inner, _scaled(inner / 4, 1.0), nn.Hardsigmoid) if excites else None
        blocks.append(InvertedResidual(channels, inner, outputs, kernel, stride, act, excite))
        channels = outputs
    inner, wide = _scaled(576, width), _scaled(1024, width)
    classifier = nn.Sequential(nn.Linear(inner, wide), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(wide, classes))
    return MobileNet(stem, blocks, _conv(channels, inner, 1, act=nn.Hardswish), classifier)


def efficientnet_b0(width: float = 1.0, classes: int = 10) -> MobileNet:
    """Tan and Le 2019, table 1: expansion, kernel, channels, repeats, stride; SiLU, gates of a quarter of the input."""
    table = (
        (1, 3, 16, 1, 1), (6, 3, 24, 2, 2), (6, 5, 40, 2, 2), (6, 3, 80, 3, 2), (6, 5, 112, 3, 1), (6, 5, 192, 4, 2),
        (6, 3, 320, 1, 1),
    )  # fmt: skip
    channels = _scaled(32, width)
    stem, blocks = _conv(3, channels, 3, 2, act=nn.SiLU), list[nn.Module]()
    for expansion, kernel, full, repeats, stride in table:
        for i in range(repeats):
            inner, outputs = channels * expansion, _scaled(full, width)
            excite = SqueezeExcite(inner, max(1, channels // 4), act=nn.SiLU)
            blocks.append(InvertedResidual(channels, inner, outputs, kernel, 1 if i else stride, nn.SiLU, excite))
            channels = outputs
    last = _scaled(1280, width)
    return MobileNet(stem, blocks, _conv(channels, last, 1, act=nn.SiLU), nn.Linear(last, classes))


class Vgg16(nn.Module):
    """Simonyan and Zisserman 2015, configuration D with batch norms; three linear layers behind a Flatten."""

    def __init__(self, width: float = 1.0, size: int = 32, classes: int = 10) -> None:
        super().__init__()
        channels, parts = 3, list[nn.Module]()
        for full, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
            for _ in range(count):
                parts.append(_conv(channels, _scaled(full, width), 3))
                channels = _scaled(full, width)
            parts.append(nn.MaxPool2d(2))
        wide = _scaled(4096, width / 4)
        self.features, self.flatten = nn.Sequential(*parts), nn.Flatten(1)
        self.classifier = nn.Sequential(
            nn.Linear(channels * (size // 32) ** 2, wide), nn.ReLU(), nn.Dropout(), nn.Linear(wide, wide), nn.ReLU(),
            nn.Dropout(), nn.Linear(wide, classes),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.flatten(self.features(x)))  # type: ignore[no-any-return]


class DenseLayer(nn.Module):
    """Huang et al. 2017: norm, relu, 1x1, norm, relu, 3x3; its output is put beside its input."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.BatchNorm2d(inputs), nn.ReLU(), nn.Conv2d(inputs, 4 * growth, 1, bias=False),
            nn.BatchNorm2d(4 * growth), nn.ReLU(), nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.branch(x)], 1)


class DenseNet(nn.Module):
    """DenseNet-BC for 32x32 images: dense blocks, each but the last halved in channels and size behind it."""

    def __init__(self, blocks: tuple[int, ...] = (6, 6, 6), growth: int = 12, classes: int = 10) -> None:
        super().__init__()
        channels = 2 * growth
        parts: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1, bias=False)]
        for i, count in enumerate(blocks):
            for _ in range(count):
                parts.append(DenseLayer(channels, growth))
                channels += growth
            if i < len(blocks) - 1:
                half = channels // 2
                parts += [
                    nn.BatchNorm2d(channels),
                    nn.ReLU(),
                    nn.Conv2d(channels, half, 1, bias=False),
                    nn.AvgPool2d(2),
                ]
                channels = half
        self.features = nn.Sequential(*parts, nn.BatchNorm2d(channels), nn.ReLU())
        self.pool, self.flatten, self.head = nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.flatten(self.pool(self.features(x))))  # type: ignore[no-any-return]


class AutoEncoder(nn.Module):
    """MLPerf Tiny's anomaly detector: linear layers of 128 with norms, 8 in the middle. (n, inputs) to the same."""

    def __init__(self, inputs: int = 640, width: int = 128, code: int = 8) -> None:
        super().__init__()
        widths = [inputs, *[width] * 4, code, *[width] * 4]
        parts: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            parts += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU()]
        self.layers = nn.Sequential(*parts, nn.Linear(width, inputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)  # type: ignore[no-any-return]
