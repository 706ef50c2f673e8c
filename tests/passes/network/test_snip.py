"""Connection sensitivity of whole layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from policy_runs import small_data, small_network
from torch import nn

from secateur.models.canonical import to_network
from secateur.models.data import Split
from secateur.models.task import MultiLabel
from secateur.passes.network.snip import LayerSnip


def test_it_is_the_gradient_of_the_mean_loss_times_the_weights():
    """By one backward pass over all samples; a margin comes from leaving parts of them out."""
    network, data = small_network(), small_data().recovery
    scores = LayerSnip(data)(network)
    logits = network.module(torch.from_numpy(network.preprocess(data.x)))
    nn.functional.cross_entropy(logits, torch.from_numpy(data.y)).backward()
    for unit, value in scores.values.items():
        block = unit.split(".conv1")[0]
        convs = [network.module.get_submodule(f"{block}.{c}").weight for c in ("conv1", "conv2")]
        assert value == pytest.approx(sum(float((w * w.grad).detach().abs().sum()) for w in convs), rel=1e-4)
    assert list(scores.values) == [f"stages.{s}.{b}.conv1..conv2" for s in (0, 1) for b in (1, 2)]
    assert scores.samples == 60 and scores.margin_error > 0 and np.isfinite(scores.margin_error)


def test_a_logistic_function_at_the_end_changes_nothing():
    """Probabilities of several labels have the loss of their logits."""

    class Twice(nn.Module):
        def __init__(self, last: nn.Module) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.second, self.third = (nn.Conv1d(3, 3, 3, padding=1) for _ in range(3))
            self.pool, self.flat, self.head, self.last = nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(3, 2), last

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.third(self.second(self.first(x)).relu()).relu()
            out: torch.Tensor = self.last(self.head(self.flat(self.pool(x))))
            return out

    data = small_data().recovery
    several = Split(data.x, np.stack([data.y > 0, data.y > 1], 1).astype(np.int64), data.groups)
    ends = [to_network(Twice(last).eval(), (3, 16), "net") for last in (nn.Identity(), nn.Sigmoid())]
    logits, probable = (LayerSnip(several, MultiLabel(), floor=1)(network) for network in ends)
    assert logits.values and probable.values == pytest.approx(logits.values, rel=1e-4)
