"""A multi-layer perceptron."""

from __future__ import annotations

import math

from torch import Tensor, nn


class Mlp(nn.Module):
    """Flatten, then linear layers with relu between. (n, *input_shape) to logits (n, classes)."""

    def __init__(self, input_shape: tuple[int, ...], hidden: tuple[int, ...], classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten(1)]
        width = math.prod(input_shape)
        for outputs in hidden:
            layers += [nn.Linear(width, outputs), nn.ReLU()]
            width = outputs
        self.layers = nn.Sequential(*layers, nn.Linear(width, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)  # type: ignore[no-any-return]
