"""How much a layer's weights matter to the loss, told before any training: sum of |gradient x weight|.

Source: Lee et al., "SNIP: Single-shot Network Pruning based on Connection Sensitivity", ICLR 2019, eq. 6, summed over
the weights of a layer instead of taken one by one. The gradient is that of the task's mean loss over the samples, the
running statistics of batch norms stay (the source's networks are in training mode, on one batch).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from secateur.models.data import Split
from secateur.models.network import Network
from secateur.models.task import CLASSIFICATION, Task
from secateur.models.training import ends_in_probabilities
from secateur.passes.network.layers import WEIGHTED, removable_layers
from secateur.passes.network.prefix_walk import evaluating
from secateur.passes.network.samples import balanced, blocks_of, enough
from secateur.passes.network.scores import Replicates, Scores
from secateur.passes.network.work import counted


@dataclass(frozen=True)
class LayerSnip:
    """Of every removable layer. `samples`: at most so many, class-balanced; all by default."""

    data: Split
    task: Task = CLASSIFICATION
    samples: int | None = None
    floor: int = 2
    seed: int = 0
    blocks: int = 20

    def __call__(self, network: Network, units: Collection[str] | None = None) -> Scores:
        able = removable_layers(network, self.floor, units)
        rows = balanced(self.data.y, self.samples or len(self.data), self.seed)
        enough(network, len(rows), 2 * self.blocks)
        if not able:
            return Scores.measured(network, len(rows), {})
        targets = {n.name: str(n.target) for n in network.graph.nodes if n.op == "call_module"}
        modules = {
            u.name: [
                m
                for n in u.nodes
                if n in targets and isinstance(m := network.module.get_submodule(targets[n]), WEIGHTED)
            ]
            for u in able
        }
        weights = [m.weight for found in modules.values() for m in found]
        block = blocks_of(len(rows), self.blocks)
        parts = [self._gradients(network, weights, rows[block == b]) for b in counted(range(self.blocks))]
        total = [sum(grads) for grads in zip(*parts, strict=True)]

        def sensitivity(gradients: list[torch.Tensor], samples: int) -> dict[str, float]:
            each = iter(
                float((g * w.detach().double()).abs().sum()) / samples for g, w in zip(gradients, weights, strict=True)
            )
            return {name: sum(next(each) for _ in found) for name, found in modules.items()}

        values = sensitivity(total, len(rows))
        left_out = [
            sensitivity([t - p for t, p in zip(total, part, strict=True)], int((block != b).sum()))
            for b, part in enumerate(parts)
        ]
        noise = Replicates.jackknife({name: np.array([v[name] for v in left_out]) for name in values})
        return Scores.measured(network, len(rows), values, noise)

    def _gradients(
        self, network: Network, weights: list[torch.Tensor], rows: npt.NDArray[np.int64]
    ) -> list[torch.Tensor]:
        """Of the sum of the loss over these samples."""
        device = weights[0].device
        x = torch.from_numpy(network.preprocess(self.data.x[rows])).to(device)
        wanted = [w.requires_grad for w in weights]
        try:
            with torch.enable_grad(), evaluating(network.module):
                for w in weights:
                    w.requires_grad_(True)
                output = network.module(x)
                truth = self.task.truth(self.data.y[rows]).to(device)
                loss = self.task.loss(output, truth, x, ends_in_probabilities(network.module)) * len(x)
                return [g.double() for g in torch.autograd.grad(loss, weights)]
        finally:
            for w, was in zip(weights, wanted, strict=True):
                w.requires_grad_(was)
