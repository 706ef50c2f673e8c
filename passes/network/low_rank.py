"""Low-rank adapters (LoRA): weights W are trained as W + scale x B A and merged, so that the graph stays as it was.

Source: Hu et al., "LoRA", 2021, equation 3, with alpha = 2 x rank as Ogawa et al. 2026 have it for encoders. A (rank,
inputs) is drawn, B (outputs, rank) is 0: training begins with the network as it is. Deviations: no dropout in front of
A; the adapter is added to the weights, not to the output, so that the merged network has the adapted one's very weights
and its outputs differ by nothing (from W x + scale x B (A x), summed in another order, by rounding).
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

SCALE = 2.0  # alpha / rank


class LowRank(nn.Module):
    """W to W + SCALE x B A, for weights of any shape (outputs, inputs, 1 ..)."""

    def __init__(self, outputs: int, inputs: int, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.a = nn.Parameter((2 * torch.rand(rank, inputs, generator=generator) - 1) * bound)
        self.b = nn.Parameter(torch.zeros(outputs, rank))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + SCALE * (self.b @ self.a).view_as(weight)


def adaptable(module: nn.Module) -> bool:
    """A linear layer, or a convolution of one position and one group: a matrix."""
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        return module.groups == 1 and all(k == 1 for k in module.kernel_size)
    return isinstance(module, nn.Linear)


def adapt(module: nn.Module, names: Collection[str] | None, rank: int, seed: int) -> int:
    """Give the adaptable modules of `names` (None: all) adapters, in place; nothing else needs a gradient any more.

    Where an adapter would have as many values as the weights, the layer itself is trained, its bias too. Returns the
    number of values that are trained.
    """
    generator = torch.Generator().manual_seed(seed)
    module.requires_grad_(False)
    for name, part in list(module.named_modules()):
        if not adaptable(part) or (names is not None and name not in names):
            continue
        weight = part.weight
        assert isinstance(weight, nn.Parameter)
        outputs, inputs = weight.shape[:2]
        if rank * (outputs + inputs) >= outputs * inputs:
            part.requires_grad_(True)
        else:
            parametrize.register_parametrization(part, "weight", LowRank(outputs, inputs, rank, generator))
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def merged_state(module: nn.Module) -> dict[str, Tensor]:
    """The state of an adapted module as the plain one takes it: every adapter is in its weights."""
    for part in list(module.modules()):
        if parametrize.is_parametrized(part, "weight"):
            parametrize.remove_parametrizations(part, "weight", leave_parametrized=True)
    return dict(module.state_dict())
