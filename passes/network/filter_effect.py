"""What every single filter does to what the network says, measured and not estimated: each is removed alone.

All of them in one pass over the data (`prefix_walk.py`). What is kept of a filter between batches does not grow
with the samples: moments of its features (two matrices of features squared in float64, 66 KB at 64 features, 66 MB for
the 1,008 filters of ResNet-56), or one sum. Source of both scores and of removing filters one by one: Nascimento
et al., "Pruning Everything, Everywhere, All at Once", IJCNN 2025; the divergence is that of Luo and Wu, "Neural
Network Pruning with Residual-Connections and Limited-Data", CVPR 2020. Ours: debiased CKA, softmax once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from secateur.errors import UserError
from secateur.models.data import Split
from secateur.models.network import Network
from secateur.passes.network.channel_deletion import single_filters
from secateur.passes.network.channels import trace_channels
from secateur.passes.network.cka import StreamingCKA
from secateur.passes.network.cut_similarity import chunk
from secateur.passes.network.layers import feature_node
from secateur.passes.network.prefix_walk import PrefixWalk
from secateur.passes.network.samples import balanced
from secateur.passes.network.scores import FilterScores

SCORES = ("cka", "kl")


@dataclass(frozen=True)
class FilterEffect:
    """`score`: cka, 1 - CKA of the features with and without a filter; kl, mean KL(without || with) of the classes.

    `samples`: class-balanced, of `data`, the recovery set.
    """

    data: Split
    score: str = "cka"
    samples: int = 1000
    seed: int = 0

    def __call__(self, network: Network) -> FilterScores:
        """Scores of all removable groups. Raises UserError for fewer than 4 samples."""
        if self.score not in SCORES:
            raise ValueError(f"score {self.score}, one of {', '.join(SCORES)} expected")
        chosen = balanced(self.data.y, self.samples, self.seed)
        if len(chosen) < 4:
            raise UserError(f"{network.name}: {len(chosen)} samples to score filters on, 4 at least are needed")
        removals = single_filters(network, trace_channels(network))
        target = feature_node(network) if self.score == "cka" else logits_node(network)
        walk = PrefixWalk(network, removals, together=chunk(network), target=target)
        sums = StreamingCKA(len(removals)) if self.score == "cka" else _Divergence(len(removals))
        device = next(network.module.parameters()).device
        for rows in np.array_split(chosen, -(-len(chosen) // chunk(network))):
            whole, others = walk.features(torch.from_numpy(network.preprocess(self.data.x[rows])).to(device))
            sums.update(_rows(whole), [_rows(other) for other in others])
        found = 1 - sums.values() if self.score == "cka" else sums.values()
        values: dict[str, list[float]] = {}
        for removal, value in zip(removals, found.tolist(), strict=True):
            values.setdefault(removal.unit, []).append(value)
        return FilterScores(network.hash(), len(chosen), {group: np.array(v) for group, v in values.items()})


def logits_node(network: Network) -> str:
    """Name of the node whose value is the output before a softmax at the end."""
    last = next(n for n in network.graph.nodes if n.op == "output").all_input_nodes[0]
    softmax = last.op == "call_module" and isinstance(network.module.get_submodule(str(last.target)), nn.Softmax)
    return str((last.all_input_nodes[0] if softmax else last).name)


class _Divergence:
    """Sums of KL(Q || P) = sum_c Q log(Q / P), P of the reference's logits and Q of a candidate's."""

    def __init__(self, candidates: int) -> None:
        self.total = np.zeros(candidates)
        self.seen = 0

    def update(self, x: npt.NDArray[np.float32], ys: Sequence[npt.NDArray[np.float32]]) -> None:
        p = _log_softmax(x)
        for i, y in enumerate(ys):
            q = _log_softmax(y)
            self.total[i] += (np.exp(q) * (q - p)).sum()
        self.seen += len(x)

    def values(self) -> npt.NDArray[np.float64]:
        return self.total / self.seen


def _log_softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    wide = logits.astype(np.float64)
    wide -= wide.max(1, keepdims=True)
    return np.asarray(wide - np.log(np.exp(wide).sum(1, keepdims=True)))


def _rows(values: Tensor) -> npt.NDArray[np.float32]:
    return np.asarray(values.cpu().numpy())
