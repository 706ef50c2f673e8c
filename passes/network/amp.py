"""Heads by what they add to the tokens, hidden units by how much they are on: two means of one forward.

Source: Mugnaini et al., "Efficient LLMs with AMP: Attention Heads and MLP Pruning", IJCNN 2025 (arXiv 2504.21174):
I_h = mean over tokens of |x_h W_O[h]|_1 for the input x of the output projection and a head's rows of it; I_j = mean
over tokens of |a_j| for the input a of the down projection. Samples weigh equally. Differences: recovery samples in
place of prompts; the projection's orientation is PyTorch's, so a head has columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx, nn

from secateur.errors import UserError
from secateur.models.data import Split
from secateur.models.network import Network
from secateur.passes.network.channels import Channels, FilterGroup, find_filters, trace_channels
from secateur.passes.network.cut_similarity import chunk
from secateur.passes.network.output_divergence import means
from secateur.passes.network.prefix_walk import evaluating
from secateur.passes.network.samples import balanced, blocks_of, enough
from secateur.passes.network.scores import FilterScores
from secateur.passes.network.work import counted


@dataclass(frozen=True)
class Amp:
    """Of every removable group of heads or hidden units; others have no such score and stay.

    `samples`: at most so many, class-balanced; all by default.
    """

    data: Split
    samples: int | None = None
    seed: int = 0
    blocks: int = 20

    def __call__(self, network: Network) -> FilterScores:
        """Raises UserError for a network without heads and hidden units."""
        channels = trace_channels(network)
        named = heads_and_units(network)
        groups = [g for g in channels.groups if g.name in named]
        if not groups:
            raise UserError(
                f"{network.name}: no attention heads and no hidden units of a transformer may be removed; take another "
                "filter score, such as plsvip"
            )
        rows = balanced(self.data.y, self.samples or len(self.data), self.seed)
        enough(network, len(rows), 2 * self.blocks)
        block = blocks_of(len(rows), self.blocks)
        reads = {str(n.target): n.all_input_nodes[0].name for n in network.graph.nodes if n.op == "call_module"}
        wanted = {reads[t] for g in groups for t in g.consumers}
        device = next(network.module.parameters()).device
        sums = np.zeros((self.blocks, sum(g.size for g in groups)))
        size = chunk(network)
        for start in counted(range(0, len(rows), size)):
            part = slice(start, start + size)
            x = torch.from_numpy(network.preprocess(self.data.x[rows[part]])).to(device)
            with torch.no_grad(), evaluating(network.module):
                values = _Kept(network.module, wanted).of(x)
                amounts = torch.cat([_amounts(network, channels, g, reads, values) for g in groups], 1).cpu().numpy()
            sums += np.stack([amounts[block[part] == b].sum(0) for b in range(self.blocks)])
        whole, left_out = means(sums, np.bincount(block, minlength=self.blocks).astype(np.float64))
        ends = np.cumsum([0, *(g.size for g in groups)])
        places = {g.name: slice(a, b) for g, a, b in zip(groups, ends, ends[1:], strict=False)}
        importance = {name: whole[place] for name, place in places.items()}
        parts = {name: left_out[:, place] for name, place in places.items()}
        return FilterScores.measured(network, len(rows), importance, parts)


def _amounts(
    network: Network, channels: Channels, group: FilterGroup, reads: dict[str, str], values: dict[str, Tensor]
) -> Tensor:
    """(n, classes) of a group, summed over the layers that read it."""
    columns = []
    for member in channels.members[group.name]:
        total: Tensor | int = 0
        for target in group.consumers:
            at = torch.from_numpy(np.flatnonzero(channels.values[reads[target]] == member))
            x = values[reads[target]].flatten(2)[:, at.to(values[reads[target]].device)].double()
            if group.kind == "heads":
                x = _weight(network, target)[:, at.to(x.device)].double() @ x
            total = total + x.abs().sum(1).mean(1)
        assert isinstance(total, Tensor)
        columns.append(total)
    return torch.stack(columns, 1)


def heads_and_units(network: Network) -> set[str]:
    """The removable groups that have a score."""
    return {g.name for g in find_filters(network) if g.removable and _projected(network, g)}


def _projected(network: Network, group: FilterGroup) -> bool:
    """Whether heads or hidden units are read by linear layers on the tokens alone."""
    layers = [network.module.get_submodule(t) for t in group.consumers]
    projections = [isinstance(m, (nn.Conv1d, nn.Conv2d)) and m.weight[0, 0].numel() == 1 for m in layers]
    return group.kind in ("heads", "hidden") and all(projections)


def _weight(network: Network, target: str) -> Tensor:
    """(outputs, inputs) of a projection."""
    weight: Tensor = network.module.get_submodule(target).weight.detach()  # type: ignore[operator]
    return weight.flatten(1)


class _Kept(fx.Interpreter):
    """Keeps the values of some nodes."""

    def __init__(self, module: fx.GraphModule, names: set[str]) -> None:
        super().__init__(module)
        self.names, self.kept = names, dict[str, Tensor]()

    def of(self, x: Tensor) -> dict[str, Tensor]:
        self.run(x)
        return self.kept

    def run_node(self, n: fx.Node) -> object:
        value = super().run_node(n)
        if n.name in self.names:
            self.kept[n.name] = value
        return value
