"""2-D residual networks for 32x32 images: CIFAR ResNet-20 to 110 and the 8-layer one of MLPerf Tiny."""

from __future__ import annotations

from torch import Tensor, nn

from secateur.models.network import Pad, Slice


class PadShortcut(nn.Module):
    """Option A: every second pixel, zero channels before and after. No parameters."""

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__()
        before = (outputs - inputs) // 2
        self.slice = Slice(((0, inputs, 1), (0, size, 2), (0, size, 2)))
        self.pad = Pad(((before, outputs - inputs - before), (0, 0), (0, 0)))

    def forward(self, x: Tensor) -> Tensor:
        return self.pad(self.slice(x))  # type: ignore[no-any-return]


class Block2d(nn.Module):
    """relu(shortcut(x) + bn(conv(relu(bn(conv(x)))))), both convolutions 3x3 without bias.

    `size`: height and width of the input, needed by the shortcut of option "A".
    """

    def __init__(self, inputs: int, outputs: int, stride: int, option: str, size: int, norm: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU()
        self.shortcut: nn.Module | None = None
        if stride == 1 and inputs == outputs:
            return
        if option == "A":
            self.shortcut = PadShortcut(inputs, outputs, size)
        elif norm:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        else:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.relu2(branch + (x if self.shortcut is None else self.shortcut(x)))  # type: ignore[no-any-return]


class ResNet(nn.Module):
    """3x3 stem, stages of residual blocks that halve the image from the second on, mean, linear.

    (n, 3, size, size) to logits (n, classes). `norm`: whether an option B shortcut has a batch norm.
    """

    def __init__(
        self,
        blocks: tuple[int, ...],
        widths: tuple[int, ...] = (16, 32, 64),
        option: str = "B",
        classes: int = 10,
        size: int = 32,
        norm: bool = True,
    ) -> None:
        super().__init__()
        if option not in ("A", "B"):
            raise ValueError(f"option {option}, A or B expected")
        self.stem = nn.Sequential(
            nn.Conv2d(3, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        stages = []
        width = widths[0]
        for stage, (outputs, count) in enumerate(zip(widths, blocks, strict=True)):
            parts: list[nn.Module] = []
            for position in range(count):
                stride = 2 if stage and not position else 1
                parts.append(Block2d(width, outputs, stride, option, size, norm))
                width, size = outputs, size // stride
            stages.append(nn.Sequential(*parts))
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten(1)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.flatten(self.pool(self.stages(self.stem(x)))))  # type: ignore[no-any-return]


def resnet8() -> ResNet:
    """MLPerf Tiny's image classifier: one block a stage, 16, 32, 64 channels, plain 1x1 shortcuts."""
    return ResNet((1, 1, 1), norm=False)


def cifar_resnet(depth: int, option: str = "B") -> ResNet:
    """ResNet of depth 6n + 2 (He et al. 2016, section 4.2), e.g. 20, 32, 44, 56, 110.

    Option A pads channels with zeros, option B has a 1x1 convolution with batch norm.
    """
    if depth < 8 or (depth - 2) % 6:
        raise ValueError(f"depth {depth} is not 6n + 2")
    return ResNet(((depth - 2) // 6,) * 3, option=option)
