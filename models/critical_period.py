"""When the early part of a training is over in which augmentation matters most, told by how fast the weights turn.

Source: Fukase, Gama et al., "Critical learning periods", 2025 (arXiv 2506.15954): the mean over layers of
1 - cos(weights at the beginning, weights now) is taken after every epoch, and a least-squares line laid through the
last five. Deviations: a training of fewer than 40 epochs is looked at 40 times at equal distances, since steps are
what is counted here; afterwards samples are taken as they are, not once augmented; the rule `relative` is ours.
"""

from __future__ import annotations

from collections import deque
from typing import Literal

import torch
from torch import Tensor, nn

Rule = Literal["never", "angle", "relative"]
"""angle: the line rises by less than 45 degrees, time being 0 to 1 (the published one, for random initial weights).
relative: by less than `SHARE` of what it did in the first window; a trained network turns so little that the angle is
below 45 degrees from the beginning."""

WINDOW = 5
LEAST_LOOKS = 40
SHARE = 0.3


class CriticalPeriod:
    """Watches one training of `module`, from the weights that it has now, by `looks` looks at equal distances."""

    def __init__(self, module: nn.Module, rule: Rule, looks: int) -> None:
        self.rule, self.looks = rule, looks
        self.layers = [
            m
            for m in module.modules()
            if isinstance(m, nn.Conv1d | nn.Conv2d | nn.Linear) and any(p.requires_grad for p in m.parameters())
        ]
        self.start = [_kernel(m) for m in self.layers]
        self.window: deque[float] = deque(maxlen=WINDOW)
        self.first_slope: float | None = None

    def over(self) -> bool:
        """Take one look; whether the period is over by it."""
        self.window.append(self.rotation())
        if len(self.window) < WINDOW:
            return False
        slope = line_slope(list(self.window)) * (self.looks - 1)
        if self.rule == "angle":
            return slope < 1.0
        if self.first_slope is None:
            self.first_slope = slope
            return False
        return slope < SHARE * self.first_slope

    def rotation(self) -> float:
        """Mean over layers of 1 - cos(weights at the beginning, weights now), 0 to 2."""
        turned = [1 - _cosine(before, _kernel(m)) for before, m in zip(self.start, self.layers, strict=True)]
        return sum(turned) / len(turned)


def line_slope(values: list[float]) -> float:
    """Rise of the least-squares line from one value to the next.

    >>> line_slope([1.0, 3.0, 5.0])
    2.0
    """
    middle, mean = (len(values) - 1) / 2, sum(values) / len(values)
    over = sum((i - middle) * (v - mean) for i, v in enumerate(values))
    return over / sum((i - middle) ** 2 for i in range(len(values)))


def _kernel(module: nn.Module) -> Tensor:
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight.detach().double().flatten().clone()


def _cosine(a: Tensor, b: Tensor) -> float:
    size = float(torch.linalg.vector_norm(a) * torch.linalg.vector_norm(b))
    return float(a @ b) / size if size else 1.0
