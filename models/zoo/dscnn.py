"""DS-CNN: depthwise separable network for keyword spotting on 49 frames of 10 MFCC, 12 classes.

Source: Zhang et al., "Hello Edge" (2017), the small model, as used by MLPerf Tiny.
"""

from __future__ import annotations

from torch import Tensor, nn


def separable(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Depthwise 3x3, norm, relu, pointwise, norm, relu."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, padding=1, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.ReLU(),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class DsCnn(nn.Module):
    """(n, 1, 49, 10) to logits (n, classes)."""

    def __init__(self, width: int = 64, blocks: int = 4, classes: int = 12) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, width, (10, 4), 2, padding=(5, 1), bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.blocks = nn.Sequential(*(separable(width, width) for _ in range(blocks)))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten(1)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.flatten(self.pool(self.blocks(self.stem(x)))))  # type: ignore[no-any-return]
