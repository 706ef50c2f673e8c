"""How far a removal moves the outputs: Kullback-Leibler divergence of what the network says after it from before.

Source: Luo and Wu, "Neural Network Pruning with Residual-Connections and Limited-Data" (CURL), CVPR 2020, as in
Nascimento et al., IJCNN 2025: mean over samples of sum_c Q log(Q / P), P of the network, Q of the cut one. Differences:
recovery samples; one softmax (the released code applies a second one to its networks' probabilities: `double_softmax`).
Several labels are so many distributions of two values. Other outputs are no distributions and have no such score.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from secateur.errors import UserError
from secateur.models.data import Split
from secateur.models.network import Network
from secateur.models.task import CLASSIFICATION, Classification, MultiLabel, Task
from secateur.passes.network.channel_deletion import single_filters
from secateur.passes.network.channels import trace_channels
from secateur.passes.network.cut_similarity import chunk
from secateur.passes.network.layers import removable_layers
from secateur.passes.network.prefix_walk import PrefixWalk
from secateur.passes.network.removal import Removal
from secateur.passes.network.samples import balanced, blocks_of, enough
from secateur.passes.network.scores import F64, FilterScores, Replicates, Scores
from secateur.passes.network.walking import walk_over

_SAMPLES = 1000


@dataclass(frozen=True)
class OutputDivergence:
    """KL of any removals' outputs. `samples`: at most so many, class-balanced, 1000 by default."""

    data: Split
    task: Task = CLASSIFICATION
    samples: int | None = None
    double_softmax: bool = False
    floor: int = 2
    seed: int = 0
    blocks: int = 20

    def per_block(self, network: Network, removals: Sequence[Removal]) -> tuple[F64, F64]:
        """(removals, blocks) sums over samples of the divergence, and (blocks,) numbers of samples.

        Raises UserError if the outputs are no distributions, or if there are too few samples.
        """
        if not isinstance(self.task, (Classification, MultiLabel)):
            raise UserError(
                f"{network.name}: the outputs of {self.task.name} are no probabilities, so their KL divergence says "
                "nothing; take another score, such as cka"
            )
        rows = balanced(self.data.y, self.samples or _SAMPLES, self.seed)
        enough(network, len(rows), 2 * self.blocks)
        block = blocks_of(len(rows), self.blocks)
        size = chunk(network)
        walk = PrefixWalk(network, removals, self.floor, size, logits_node(network))
        sums = np.zeros((len(removals), self.blocks))
        parts = [slice(start, start + size) for start in range(0, len(rows), size)]
        walked = walk_over(walk, network, self.data, [rows[part] for part in parts])
        for part, (reference, others) in zip(parts, walked, strict=True):
            p = self._logarithms(reference)
            for i, other in enumerate(others):
                q = self._logarithms(other)
                divergence = (q.exp() * (q - p)).flatten(1).sum(1).cpu().numpy()
                sums[i] += np.bincount(block[part], divergence, self.blocks)
        return sums, np.bincount(block, minlength=self.blocks).astype(np.float64)

    def _logarithms(self, logits: Tensor) -> Tensor:
        """(n, distributions, values) logarithms of probabilities, float64."""
        wide = logits.double()
        if isinstance(self.task, MultiLabel):
            return torch.stack([wide, torch.zeros_like(wide)], 2).log_softmax(2)  # sigmoid(x) is softmax(x, 0)
        return (wide.softmax(1) if self.double_softmax else wide).log_softmax(1).unsqueeze(1)


@dataclass(frozen=True)
class LayerDivergence:
    """KL of the outputs without each removable layer, by one walk."""

    measure: OutputDivergence

    def __call__(self, network: Network, units: Collection[str] | None = None) -> Scores:
        names = [u.name for u in removable_layers(network, self.measure.floor, units)]
        sums, counts = self.measure.per_block(network, [Removal("layer", name) for name in names])
        whole, left_out = means(sums.T, counts)
        noise = Replicates.jackknife(dict(zip(names, left_out.T, strict=True)))
        return Scores.measured(network, int(counts.sum()), dict(zip(names, whole.tolist(), strict=True)), noise)


@dataclass(frozen=True)
class FilterDivergence:
    """KL of the outputs without each single class of every removable group, by one walk."""

    measure: OutputDivergence

    def __call__(self, network: Network) -> FilterScores:
        removals = single_filters(network, trace_channels(network))
        sums, counts = self.measure.per_block(network, removals)
        whole, left_out = means(sums.T, counts)
        places: dict[str, list[int]] = {}
        for i, removal in enumerate(removals):
            places.setdefault(removal.unit, []).append(i)
        values = {name: whole[found] for name, found in places.items()}
        parts = {name: left_out[:, found] for name, found in places.items()}
        return FilterScores.measured(network, int(counts.sum()), values, parts)


def logits_node(network: Network) -> str:
    """Name of the node whose value is the output before a softmax or a sigmoid at the end."""
    last = next(n for n in network.graph.nodes if n.op == "output").all_input_nodes[0]
    module = network.module.get_submodule(str(last.target)) if last.op == "call_module" else None
    probable = isinstance(module, (nn.Softmax, nn.Sigmoid))
    return str((last.all_input_nodes[0] if probable else last).name)


def means(sums: F64, counts: F64) -> tuple[F64, F64]:
    """(k,) means of all samples and (blocks, k) of all but each block's, from (blocks, k) sums of the blocks."""
    total = sums.sum(0)
    return total / counts.sum(), (total - sums) / (counts.sum() - counts)[:, np.newaxis]
