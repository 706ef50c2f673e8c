"""A small residual network for 8x8 digits: quick to train, cut and emulate."""

from __future__ import annotations

from torch import Tensor, nn

from secateur.models.zoo.resnet import Block2d


class DigitsNet(nn.Module):
    """3x3 stem, two stages of three blocks, mean, linear. (n, 1, 8, 8) to logits (n, 10)."""

    def __init__(self, widths: tuple[int, int] = (16, 24), blocks: int = 3) -> None:
        super().__init__()
        first, second = widths
        self.stem = nn.Sequential(nn.Conv2d(1, first, 3, padding=1, bias=False), nn.BatchNorm2d(first), nn.ReLU())
        self.stages = nn.Sequential(
            nn.Sequential(*(Block2d(first, first, 1, "B", 8) for _ in range(blocks))),
            nn.Sequential(
                Block2d(first, second, 2, "B", 8),
                *(Block2d(second, second, 1, "B", 4) for _ in range(blocks - 1)),
            ),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten(1)
        self.head = nn.Linear(second, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.flatten(self.pool(self.stages(self.stem(x)))))  # type: ignore[no-any-return]
