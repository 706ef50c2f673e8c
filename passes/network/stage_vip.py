"""How much each stage of a network matters to the task: mean importance of its last output in PLS.

Source: Jordao et al., "Stage-Wise Neural Architecture Search", ICPR 2020 (arXiv 2004.11178): one PLS of two components
a stage, on its last block's sum, averaged over windows of 8 x 8 positions; here over all of them. VIP's squares have a
mean of 1, so a stage's mean is at most 1: it tells how evenly a stage's channels are of use.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx

from secateur.models.data import Split
from secateur.models.network import Network
from secateur.models.task import CLASSIFICATION, Task
from secateur.passes.network.cut_similarity import chunk
from secateur.passes.network.filter_vip import PlsMoments, two_classes
from secateur.passes.network.layers import NO_STAGE, find_layers
from secateur.passes.network.prefix_walk import evaluating
from secateur.passes.network.work import counted


@dataclass(frozen=True)
class StageVip:
    """Of every stage on all samples of `data`, by its number from 0. Raises UserError for fewer than two classes."""

    data: Split
    task: Task = CLASSIFICATION
    components: int = 2

    def __call__(self, network: Network) -> dict[int, float]:
        two_classes(network, self.data, self.task)
        last = {unit.stage: unit.exit for unit in find_layers(network) if unit.stage != NO_STAGE}
        moments = {stage: PlsMoments() for stage in last}
        recorder = _Means(network.module, set(last.values()))
        device = next(network.module.parameters()).device
        for rows in counted(np.array_split(np.arange(len(self.data)), -(-len(self.data) // chunk(network)))):
            x = torch.from_numpy(network.preprocess(self.data.x[rows]))
            response = self.task.response(x.numpy(), self.data.y[rows], self.data.y)
            with torch.no_grad(), evaluating(network.module):
                recorder.run(x.to(device))
            for stage, node in last.items():
                moments[stage].update(recorder.found[node].cpu().numpy(), response)
        return {stage: float(m.vip(self.components).mean()) for stage, m in moments.items()}


class _Means(fx.Interpreter):
    """Keeps the mean over positions of every channel of the values `names`, (n, channels)."""

    def __init__(self, module: fx.GraphModule, names: set[str]) -> None:
        super().__init__(module)
        self.names = names
        self.found: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> object:
        value = super().run_node(n)
        if n.name in self.names and isinstance(value, Tensor):
            self.found[n.name] = value.flatten(2).mean(2) if value.dim() > 2 else value
        return value
