"""Layer norms whose epsilon int8 leaves out: the error is the one that it makes, and it is told where it matters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import secateur
from secateur.compiler.export.norm_epsilon import TOLD, norm_errors, norm_notes
from secateur.models.canonical import to_network
from secateur.models.data import Data, Split
from secateur.models.network import Network
from secateur.models.training import Recipe
from secateur.passes.network.recover import Recover


class Normed(nn.Module):
    """A layer norm over the channels of each of 8 samples, and a head."""

    def __init__(self, epsilon: float) -> None:
        super().__init__()
        self.norm, self.mix, self.head = nn.LayerNorm(4, eps=epsilon), nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.mix(self.norm(x.transpose(1, 2)))).mean(1))


def network(epsilon: float) -> Network:
    torch.manual_seed(0)
    return to_network(Normed(epsilon), (4, 8), "normed")


def two_kinds(samples: int = 120) -> Data:
    """(n, 4, 8): of the second kind the first channel is the larger one; ten samples a group."""
    rng = np.random.default_rng(0)
    y = (np.arange(samples) % 2).astype(np.int64)
    x = rng.normal(0, 0.5, (samples, 4, 8)).astype(np.float32)
    x[:, 0] += 2 * y[:, None]
    cuts = (slice(0, 60), slice(60, 90), slice(90, 120))
    return Data("kinds", *(Split(x[c], y[c], np.arange(samples)[c] // 10) for c in cuts), labels=("a", "b"))


@pytest.mark.parametrize("epsilon", [1e-5, 1e-2])
def test_the_error_is_that_of_a_norm_without_epsilon(epsilon: float) -> None:
    """Of the token with the least variance; of a token without any, which is 0 in both, nothing is said."""
    x = np.random.default_rng(1).normal(size=(3, 4, 8)).astype(np.float32)
    x[0, :, 0] = 0.0
    (found,) = norm_errors(network(epsilon), x)
    tokens = torch.from_numpy(x.transpose(0, 2, 1).reshape(-1, 4)[1:]).double()
    exact = functional.layer_norm(tokens, (4,), eps=epsilon)
    without = 2 * functional.normalize(tokens - tokens.mean(1, keepdim=True), dim=1)
    errors = ((without / exact)[:, 0] - 1).numpy()
    assert found.error == pytest.approx(errors.max(), rel=1e-6) and found.of == 24
    assert found.tokens == (errors > TOLD).sum() and (found.tokens > 0) == (epsilon == 1e-2)
    assert found.error == pytest.approx(epsilon / (2 * found.variance), rel=0.1)
    notes = norm_notes(network(epsilon), x)
    assert len(notes) == (epsilon == 1e-2) and all(f"the worst by {100 * found.error:.1f} %" in n for n in notes)


def test_a_network_without_layer_norms_has_none() -> None:
    """Nothing runs."""
    plain = to_network(nn.Sequential(nn.Flatten(), nn.Linear(32, 2)), (4, 8), "plain")
    assert norm_notes(plain, np.zeros((2, 4, 8), np.float32)) == ()


@pytest.mark.parametrize("epsilon", [1e-5, 0.5])
def test_a_compile_tells_it_once_and_in_its_report(epsilon: float, tmp_path: Path) -> None:
    """The line and the note are there for an epsilon as large as the variances, and not for a usual one."""
    data, told = two_kinds(), list[str]()
    trained = Recover(data.recovery, Recipe(steps=40), 0)(network(epsilon))
    result = secateur.compile(
        trained, target="host", data=data, out=tmp_path, budget=secateur.Budget(max_drop=100.0), tell=told.append,
        search=secateur.SearchOptions(recovery="none"), build=secateur.Build(run="none"),
    )  # fmt: skip
    said = [line for line in told if line.startswith("Layer norm norm: int8 computes it without its epsilon of 0.5")]
    assert len(said) == (epsilon == 0.5) and [n for n in result.report.details.notes if "epsilon" in n] == said
