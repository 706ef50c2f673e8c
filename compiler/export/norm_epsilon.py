"""What int8 leaves out of layer norms: the epsilon beside a token's variance.

L2_NORMALIZATION divides by the root of the variance v, layer norm by that of v + epsilon: a token comes out larger by
sqrt(1 + epsilon / v) - 1, about epsilon / (2 v). A token without any variance is 0 in both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from secateur.models.network import Network
from secateur.models.tokens import ChannelNorm
from secateur.models.training import EVALUATION_BATCH

TOLD = 0.5 / 128
"""Relative error above which it is told: half a step of what L2_NORMALIZATION writes, which rounding hides."""


@dataclass(frozen=True)
class NormError:
    """Of the layer norm `name`: the worst token's `error`, relative, and `variance`; `tokens` of `of` exceed `TOLD`."""

    name: str
    epsilon: float
    variance: float
    error: float
    tokens: int
    of: int

    @property
    def text(self) -> str:
        """One sentence with the numbers."""
        return (
            f"Layer norm {self.name}: int8 computes it without its epsilon of {self.epsilon:g}, which makes "
            f"{self.tokens:,} of {self.of:,} tokens of the calibration samples larger by more than {100 * TOLD:.1f} %, "
            f"the worst by {100 * self.error:.1f} % (variance {self.variance:.2g}); the int8 accuracy holds this."
        )


def norm_errors(network: Network, samples: npt.NDArray[np.float32]) -> list[NormError]:
    """Of every layer norm, the worst first. `samples`: preprocessed, channels first."""
    found: dict[str, list[Tensor]] = {}

    def hook(name: str) -> object:
        def see(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            found.setdefault(name, []).append(inputs[0].double().var(1, correction=0).flatten())

        return see

    norms = {n: m for n, m in network.module.named_modules() if isinstance(m, ChannelNorm)}
    if not norms:
        return []
    handles = [m.register_forward_pre_hook(hook(n)) for n, m in norms.items()]  # type: ignore[arg-type]
    network.module.eval()
    try:
        with torch.no_grad():
            for start in range(0, len(samples), EVALUATION_BATCH):
                network.module(torch.from_numpy(samples[start : start + EVALUATION_BATCH]))
    finally:
        for handle in handles:
            handle.remove()
    errors = []
    for name, norm in norms.items():
        variances = torch.cat(found[name]) if name in found else torch.zeros(0)
        written = variances[variances > 0]
        if len(written):
            error = torch.sqrt(1 + norm.eps / written) - 1
            least, worst, many = float(written.min()), float(error.max()), int((error > TOLD).sum())
            errors.append(NormError(name, norm.eps, least, worst, many, len(variances)))
    return sorted(errors, key=lambda e: (-e.error, e.name))


def norm_notes(network: Network, samples: npt.NDArray[np.float32]) -> tuple[str, ...]:
    """A sentence on the worst layer norm where its error is no rounding's, else nothing."""
    errors = norm_errors(network, samples)
    return (errors[0].text,) if errors and errors[0].error > TOLD else ()
