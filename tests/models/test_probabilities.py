"""A softmax behind logits, whatever the network's own modules are called."""

from __future__ import annotations

import torch
from torch import nn

from secateur.models.canonical import to_network
from secateur.models.network import verify_network
from secateur.models.probabilities import with_probabilities


class Named(nn.Module):
    """Its classifier has the name that the softmax would like."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.flat, self.probabilities = nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.probabilities(self.flat(self.pool(x)))


def test_a_classifier_of_that_name_stays() -> None:
    """The probabilities are those of its logits; a second call changes nothing."""
    torch.manual_seed(0)
    network = to_network(Named().eval(), (3, 16), "net")
    x = torch.randn(2, 3, 16)
    changed = with_probabilities(network)
    verify_network(changed)
    assert torch.equal(changed.module(x), network.module(x).softmax(1))
    assert with_probabilities(changed) is changed
