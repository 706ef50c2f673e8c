"""Scores from one backward pass: how much the loss would change to first order if a unit went.

Source: Molchanov et al., "Pruning Convolutional Neural Networks for Resource Efficient Inference", ICLR 2017: mean over
samples of |sum over positions of activation x gradient|. A class of channels is gone when all that read it read 0, so
the products are those of the values that dense convolutions and linear layers read, which is the paper's activation
where one convolution feeds one, and counts a residual stream's channel once. A layer is gone when its output is its
input: (output - input) x gradient, a residual branch's own output. The loss is the task's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx, nn

from secateur.models.data import Split
from secateur.models.network import Network
from secateur.models.task import CLASSIFICATION, Task
from secateur.models.training import ends_in_probabilities
from secateur.passes.network.channels import trace_channels
from secateur.passes.network.cut_similarity import chunk
from secateur.passes.network.layers import removable_layers
from secateur.passes.network.output_divergence import means
from secateur.passes.network.prefix_walk import evaluating
from secateur.passes.network.samples import balanced, blocks_of, enough
from secateur.passes.network.scores import F64, FilterScores, Replicates, Scores
from secateur.passes.network.work import counted


@dataclass(frozen=True)
class FilterTaylor:
    """Of every removable group's classes. `samples`: at most so many, class-balanced; all by default."""

    data: Split
    task: Task = CLASSIFICATION
    samples: int | None = None
    seed: int = 0
    blocks: int = 20

    def __call__(self, network: Network) -> FilterScores:
        channels = trace_channels(network)
        most = max(int(ids.max()) for ids in channels.values.values()) + 1
        reads = {n.name: n.all_input_nodes[0].name for n in network.graph.nodes if _is_dense(network, n)}

        def change(run: _Recording, gradients: dict[str, Tensor]) -> Tensor:
            found = torch.zeros(next(iter(run.kept.values())).shape[0], most, dtype=torch.float64)
            for name, gradient in gradients.items():
                products = (run.kept[name] * gradient).double().cpu()
                by_channel = products.flatten(2).sum(2) if products.dim() > 2 else products
                found.index_add_(1, torch.from_numpy(channels.values[reads[name]]), by_channel)
            return found

        sums, counts = _changes(self, network, set(reads), set(), change)
        whole, left_out = means(sums, counts)
        members = {g.name: list(channels.members[g.name]) for g in channels.groups if g.removable}
        values = {name: whole[m] for name, m in members.items()}
        parts = {name: left_out[:, m] for name, m in members.items()}
        return FilterScores.measured(network, int(counts.sum()), values, parts)


@dataclass(frozen=True)
class LayerTaylor:
    """Of every removable layer. `samples`: at most so many, class-balanced; all by default."""

    data: Split
    task: Task = CLASSIFICATION
    samples: int | None = None
    floor: int = 2
    seed: int = 0
    blocks: int = 20

    def __call__(self, network: Network, units: Collection[str] | None = None) -> Scores:
        able = removable_layers(network, self.floor, units)

        def change(run: _Recording, gradients: dict[str, Tensor]) -> Tensor:
            columns = []
            for unit in able:
                gone = run.kept[unit.exit] - run.kept[unit.entry]
                columns.append((gone * gradients[unit.exit]).flatten(1).double().sum(1).cpu())
            return torch.stack(columns, 1)

        if not able:
            return Scores.measured(network, 0, {})
        exits = {u.exit for u in able}
        sums, counts = _changes(self, network, set(), exits | {u.entry for u in able}, change)
        whole, left_out = means(sums, counts)
        names = [u.name for u in able]
        noise = Replicates.jackknife(dict(zip(names, left_out.T, strict=True)))
        return Scores.measured(network, int(counts.sum()), dict(zip(names, whole.tolist(), strict=True)), noise)


def _is_dense(network: Network, node: fx.Node) -> bool:
    module = network.module.get_submodule(str(node.target)) if node.op == "call_module" else None
    return isinstance(module, nn.Linear) or (isinstance(module, (nn.Conv1d, nn.Conv2d)) and module.groups == 1)


class _Recording(fx.Interpreter):
    """Keeps, with their place in the graph of gradients, what `readers` read and the values of `nodes`."""

    def __init__(self, module: fx.GraphModule, readers: set[str], nodes: set[str]) -> None:
        super().__init__(module)
        self.readers, self.nodes = readers, nodes
        self.kept: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> object:
        if n.name in self.readers:
            read = self.env[n.all_input_nodes[0]]
            self.kept[n.name] = read.clone()  # a value of its own: its gradient comes through this reader alone
            value = self.module.get_submodule(str(n.target))(self.kept[n.name])
        else:
            value = super().run_node(n)
        if n.name in self.nodes:
            self.kept[n.name] = value
        return value


def _changes(
    asked: FilterTaylor | LayerTaylor,
    network: Network,
    readers: set[str],
    nodes: set[str],
    change: Callable[[_Recording, dict[str, Tensor]], Tensor],
) -> tuple[F64, F64]:
    """(blocks, k) sums over samples of the changes' absolute values, and (blocks,) numbers of samples."""
    rows = balanced(asked.data.y, asked.samples or len(asked.data), asked.seed)
    enough(network, len(rows), 2 * asked.blocks)
    block = blocks_of(len(rows), asked.blocks)
    normalized = ends_in_probabilities(network.module)
    device = next(network.module.parameters()).device
    sums: list[F64] = []
    size = chunk(network)
    for start in counted(range(0, len(rows), size)):
        part = slice(start, start + size)
        x = torch.from_numpy(network.preprocess(asked.data.x[rows[part]])).to(device).requires_grad_()
        run = _Recording(network.module, readers, nodes)
        with torch.enable_grad(), evaluating(network.module):
            output = run.run(x)
            truth = asked.task.truth(asked.data.y[rows[part]]).to(device)
            loss = asked.task.loss(output, truth, x.detach(), normalized) * len(x)  # the sum over samples
            found = torch.autograd.grad(loss, list(run.kept.values()), allow_unused=True)
        used = {k: g if g is not None else torch.zeros_like(run.kept[k]) for k, g in zip(run.kept, found, strict=True)}
        with torch.no_grad():
            amounts = change(run, used).abs().numpy()
        sums.append(np.stack([amounts[block[part] == b].sum(0) for b in range(asked.blocks)]))
    return np.sum(sums, axis=0), np.bincount(block, minlength=asked.blocks).astype(np.float64)
