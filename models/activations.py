"""Activations beyond ReLU and ReLU6, and the values that they can give; and `Unsqueeze`, which gates need.

All of them work on single values, so a channel stays a channel. Where f(0) is not 0 (Sigmoid, Hardsigmoid), a filter
that is set to zero leaves a constant behind; a cut takes that away too (`passes/network/slicing.py`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

ACTIVATIONS: tuple[type[nn.Module], ...] = (
    nn.Sigmoid, nn.Hardsigmoid, nn.Tanh, nn.SiLU, nn.Hardswish, nn.GELU, nn.ELU, nn.LeakyReLU, nn.PReLU,
)  # fmt: skip
IDENTITY_ABOVE_ZERO = (nn.ELU, nn.LeakyReLU, nn.PReLU)
_VALLEYS: dict[type[nn.Module], tuple[float, float]] = {  # where it is lowest, and a bound of its value there
    nn.SiLU: (-1.2785, -0.27847),
    nn.Hardswish: (-1.5, -0.375),
    nn.GELU: (-0.752, -0.17005),
}
_ROUNDING = 1e-6


class Unsqueeze(nn.Module):
    """(n, c) as (n, c, 1) or (n, c, 1, 1): a value a channel, to be multiplied with whole channels."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        return x[(..., *([None] * self.count))]


def activation_bounds(module: nn.Module, low: float, high: float) -> tuple[float, float]:
    """(low, high) of what one of ACTIVATIONS gives for values between `low` and `high`, whatever PReLU has learned."""
    if isinstance(module, nn.PReLU):
        return (low, high) if low >= 0 else (-math.inf, math.inf)
    with torch.no_grad():
        ends = module(torch.tensor([low, high])).tolist()
    limits = (0.0, math.inf)  # where torch finds inf * 0
    ends = [limit if math.isnan(end) else end for end, limit in zip(ends, limits, strict=True)]
    lowest, highest = min(ends), max(ends)
    place, depth = _VALLEYS.get(type(module), (0.0, math.inf))
    if low <= place + 0.01 and high >= place - 0.01:
        lowest = min(lowest, depth)
    if isinstance(module, nn.LeakyReLU):
        return lowest, highest
    absolute = _ROUNDING if isinstance(module, nn.GELU) and low < 0 else 0.0  # its 1 + erf(x) cancels
    return lowest - abs(lowest) * _ROUNDING - absolute, highest + abs(highest) * _ROUNDING + absolute
