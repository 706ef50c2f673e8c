"""MobileNet V1 (Howard et al. 2017, table 1) with a width multiplier, for 96x96 images and two classes."""

from __future__ import annotations

from torch import Tensor, nn

from secateur.models.zoo.dscnn import separable

LAYERS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *(((512, 1),) * 5), (1024, 2), (1024, 1))
"""Output channels at width 1 and stride of each separable layer."""


class MobileNetV1(nn.Module):
    """(n, 3, size, size) to logits (n, classes); channels are multiples of 8."""

    def __init__(self, multiplier: float = 0.25, classes: int = 2) -> None:
        super().__init__()
        width = _channels(32, multiplier)
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        layers = []
        for outputs, stride in LAYERS:
            layers.append(separable(width, _channels(outputs, multiplier), stride))
            width = _channels(outputs, multiplier)
        self.layers = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten(1)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.flatten(self.pool(self.layers(self.stem(x)))))  # type: ignore[no-any-return]


def _channels(full: int, multiplier: float) -> int:
    return max(8, round(full * multiplier / 8) * 8)
