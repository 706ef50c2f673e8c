"""Scores from the weights alone: L1 and L2 norms, which every data-driven criterion must beat.

Source: Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017; for layers as in Nascimento et al., IJCNN
2025. Channels that go together share the mean of their filters' norms.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import nn

from secateur.models.network import Network
from secateur.passes.network.channels import trace_channels
from secateur.passes.network.layers import WEIGHTED, removable_layers
from secateur.passes.network.scores import FilterScores, Scores


@dataclass(frozen=True)
class FilterNorm:
    """Norm of each filter's weights, the mean over a class's filters; every removable group. `order`: 1 or 2."""

    order: int = 1

    def __call__(self, network: Network) -> FilterScores:
        channels = trace_channels(network)
        ids, norms = [np.zeros(0, dtype=np.int64)], [np.zeros(0)]
        for node in network.graph.nodes:
            module = network.module.get_submodule(str(node.target)) if node.op == "call_module" else None
            if isinstance(module, WEIGHTED):
                ids.append(channels.values[node.name])
                norms.append(_norms(module, self.order))
        every = np.concatenate(ids)
        mean = np.bincount(every, np.concatenate(norms)) / np.maximum(np.bincount(every), 1)
        values = {g.name: mean[list(channels.members[g.name])] for g in channels.groups if g.removable}
        return FilterScores.measured(network, 0, values)


@dataclass(frozen=True)
class LayerNorm:
    """Mean norm of a filter, summed over the convolutions of each removable layer. `order`: 1 or 2."""

    order: int = 1
    floor: int = 2

    def __call__(self, network: Network, units: Collection[str] | None = None) -> Scores:
        targets = {n.name: str(n.target) for n in network.graph.nodes if n.op == "call_module"}
        values = {
            unit.name: sum(
                float(_norms(module, self.order).mean())
                for n in unit.nodes
                if isinstance(module := network.module.get_submodule(targets.get(n, "")), WEIGHTED)
            )
            for unit in removable_layers(network, self.floor, units)
        }
        return Scores.measured(network, 0, values)


def filter_l1(network: Network) -> FilterScores:
    """Sum of absolute weights of each filter."""
    return FilterNorm(1)(network)


def layer_l1(network: Network, floor: int = 2) -> dict[str, float]:
    """By name in network order."""
    return LayerNorm(1, floor)(network).values


def _norms(module: nn.Conv1d | nn.Conv2d | nn.Linear, order: int) -> npt.NDArray[np.float64]:
    """(outputs,) sums of absolute weights, or roots of the sums of their squares."""
    weights = module.weight.detach().double().flatten(1)
    rows = weights.abs().sum(1) if order == 1 else weights.square().sum(1).sqrt()
    return np.asarray(rows.cpu().numpy(), dtype=np.float64)
