"""Methods choose as they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from secateur.compiler import methods
from secateur.compiler.methods import Candidate, Similarity, UniformWidth
from secateur.compiler.search import SearchOptions
from secateur.models.canonical import to_network
from secateur.models.data import Split
from secateur.models.network import Network
from secateur.passes.network.channels import find_filters
from secateur.passes.network.removal import Removal, apply
from secateur.passes.network.scores import CutScores


class Middle(nn.Module):
    """The middle third of the first convolution's channels is read once more, so it is a group of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.fc = nn.Conv1d(2, 96, 3), nn.Conv1d(32, 6, 1), nn.Linear(102, 4)
        with torch.no_grad():
            self.a.weight[:32] *= 0.01  # they go first, and with them the group's name

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.a(x)
        out: torch.Tensor = self.fc(torch.cat([x, self.b(x[:, 32:64])], 1).mean(2))
        return out


def _sizes(network: Network) -> dict[bool, int]:
    """Classes of the first convolution that are read once more, and that are not."""
    return {"b" in g.consumers: g.size for g in find_filters(network) if "a" in g.producers}


def test_uniform_width_thins_alike_where_names_change() -> None:
    """Neither group gets more than one step ahead of the other, though one takes over the other's name."""
    torch.manual_seed(0)
    original = network = to_network(Middle().eval(), (2, 8), "net")
    method, names = UniformWidth(SearchOptions(method="uniform")), set()
    whole = _sizes(original)
    for step in range(8):
        removals = [r for r in method.candidates(network, original, None, None) if r.unit.startswith("a")]
        chosen = method.choose(network, [Candidate(r, 0.1, None, 0.0) for r in removals], None, step).removal
        network = apply(network, chosen)
        left = {inner: size / whole[inner] for inner, size in _sizes(network).items()}
        names |= {(g.name, "b" in g.consumers) for g in find_filters(network) if "a" in g.producers}
        assert max(left.values()) - min(left.values()) <= 0.25
    assert len(names) == 4, "no name was taken over"


def test_ours_weighs_similarity_against_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of equal savings: fewer parameters for a little similarity, else more similarity; savings divide both."""
    removals = {n: Removal("filters", n, (0,)) for n in ("late", "early", "bad", "dear")}
    losses = dict(zip(removals.values(), (0.01, 0.05, 0.2, 0.001), strict=True))
    monkeypatch.setattr(
        methods, "kept_scores", lambda _, network, asked: CutScores(network.hash(), 60, {r: losses[r] for r in asked})
    )
    method, network = Similarity(SearchOptions()), to_network(Middle().eval(), (2, 8), "net")

    def chosen(**useful: tuple[float, float]) -> str:
        found = [Candidate(removals[n], saving, None, weights) for n, (saving, weights) in useful.items()]
        sample = Split(np.zeros((1, 2, 8), np.float32), np.zeros(1, np.int64), np.zeros(1, np.int64))
        return method.choose(network, found, sample, 0).removal.unit

    assert chosen(late=(0.1, 0.10), early=(0.1, 0.001)) == "early"
    assert chosen(late=(0.1, 0.01), early=(0.1, 0.001)) == "late"
    assert chosen(late=(0.1, 0.05), bad=(0.1, 0.001)) == "late"
    assert chosen(late=(0.1, 0.05), early=(0.1, 0.05)) == "late"
    assert chosen(late=(0.1, 0.05), dear=(0.005, 0.0025)) == "late"  # flash: as many parameters as bytes, CKA decides
    assert chosen(late=(0.1, 0.0), early=(0.6, 0.0)) == "early"
