"""Scores from the weights alone: the L1 norm, which every data-driven criterion must beat.

Source: Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017; for layers as in Nascimento et al., IJCNN
2025. Channels that go together share the mean of their filters' norms.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import nn

from secateur.models.network import Network
from secateur.passes.network.channels import trace_channels
from secateur.passes.network.layers import WEIGHTED, find_layers
from secateur.passes.network.scores import FilterScores


def filter_l1(network: Network) -> FilterScores:
    """Sum of absolute weights of each filter, the mean over a class's filters; every removable group."""
    channels = trace_channels(network)
    ids, norms = [np.zeros(0, dtype=np.int64)], [np.zeros(0)]
    for node in network.graph.nodes:
        module = network.module.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, WEIGHTED):
            ids.append(channels.values[node.name])
            norms.append(_norms(module))
    every = np.concatenate(ids)
    mean = np.bincount(every, np.concatenate(norms)) / np.maximum(np.bincount(every), 1)
    values = {g.name: mean[list(channels.members[g.name])] for g in channels.groups if g.removable}
    return FilterScores(network.hash(), 0, values)


def layer_l1(network: Network, floor: int = 2) -> dict[str, float]:
    """Mean norm of a filter, summed over the convolutions of each removable layer, by name in network order."""
    targets = {n.name: str(n.target) for n in network.graph.nodes if n.op == "call_module"}
    return {
        unit.name: sum(
            float(_norms(module).mean())
            for n in unit.nodes
            if isinstance(module := network.module.get_submodule(targets.get(n, "")), WEIGHTED)
        )
        for unit in find_layers(network, floor)
        if unit.removable
    }


def _norms(module: nn.Conv1d | nn.Conv2d | nn.Linear) -> npt.NDArray[np.float64]:
    """(outputs,) sums of absolute weights."""
    rows = module.weight.detach().double().abs().flatten(1).sum(1)
    return np.asarray(rows.cpu().numpy(), dtype=np.float64)
