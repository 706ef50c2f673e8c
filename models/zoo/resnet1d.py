"""A 1-D residual network for motion sensors."""

from __future__ import annotations

from torch import Tensor, nn


class Block1d(nn.Module):
    """relu(shortcut(x) + bn(conv(relu(bn(conv(x)))))), kernel 3; shortcut: identity where shapes allow."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm1d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv1d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm1d(outputs)
        self.relu2 = nn.ReLU()
        self.shortcut: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv1d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm1d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        branch = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.relu2(branch + (x if self.shortcut is None else self.shortcut(x)))  # type: ignore[no-any-return]


class ResNet1d(nn.Module):
    """Stem (kernel 5), stages of `blocks` residual blocks, mean, linear. (n, inputs, length) to (n, classes).

    The first block of stage i changes to `widths[i]` channels and strides by `strides[i]`; it is an identity
    block where neither differs.
    """

    def __init__(
        self,
        inputs: int,
        classes: int,
        widths: tuple[int, ...],
        blocks: tuple[int, ...],
        strides: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv1d(inputs, widths[0], 5, padding=2, bias=False), nn.BatchNorm1d(widths[0]), nn.ReLU()
        )
        stages = []
        width = widths[0]
        for outputs, count, stride in zip(widths, blocks, strides, strict=True):
            stage = [Block1d(width, outputs, stride)] + [Block1d(outputs, outputs) for _ in range(count - 1)]
            stages.append(nn.Sequential(*stage))
            width = outputs
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool1d(1)
        self.flatten = nn.Flatten(1)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.flatten(self.pool(self.stages(self.stem(x)))))  # type: ignore[no-any-return]


def watch_resnet() -> ResNet1d:
    """(6, 128) to 7 exercises: 9 identity blocks, two that stride by 4. 3.8 M MACs, 195 k parameters."""
    return ResNet1d(6, 7, widths=(24, 40, 80), blocks=(3, 4, 4), strides=(1, 4, 4))
