"""Small 1-D networks for activity recognition from body-worn sensors, e.g. 6 channels, 1 s at 50 Hz."""

from __future__ import annotations

from torch import Tensor, nn

from secateur.models.zoo.resnet1d import ResNet1d


class HarConv(nn.Module):
    """Three convolutions with pooling, two linear layers. (n, inputs, length) to logits (n, classes)."""

    def __init__(self, inputs: int = 6, length: int = 50, classes: int = 6, width: int = 32) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_stage(inputs, width, 5), nn.MaxPool1d(2), *_stage(width, 2 * width, 3), nn.MaxPool1d(2),
            *_stage(2 * width, 2 * width, 3),
        )  # fmt: skip
        self.flatten = nn.Flatten(1)
        self.hidden = nn.Linear(2 * width * (length // 4), width)
        self.relu = nn.ReLU()
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.relu(self.hidden(self.flatten(self.features(x)))))  # type: ignore[no-any-return]


def _stage(inputs: int, outputs: int, kernel: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm1d(outputs),
        nn.ReLU(),
    )


def har_resnet(inputs: int = 6, classes: int = 6) -> ResNet1d:
    """Seven residual blocks, five of them identities, for windows of about 50 samples."""
    return ResNet1d(inputs, classes, widths=(24, 32, 48), blocks=(3, 2, 2), strides=(1, 2, 2))
