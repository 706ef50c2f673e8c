"""Scores from batch norms' scales alone: |gamma|.

Source: Liu et al., "Learning Efficient Convolutional Networks through Network Slimming", ICCV 2017. A norm that
scales a channel by little makes it nearly constant. Defined only where there is a norm: groups and layers without one
have no score. Channels that go together share the mean of their scales; a layer has that of its last norm, which
scales what a residual block adds.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import fx, nn

from secateur.errors import UserError
from secateur.models.network import Network
from secateur.passes.network.channels import trace_channels
from secateur.passes.network.layers import removable_layers
from secateur.passes.network.scores import FilterScores, Scores

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@dataclass(frozen=True)
class FilterScale:
    """Mean |gamma| of each class. Raises UserError where no removable group has a norm."""

    def __call__(self, network: Network) -> FilterScores:
        values = _of_classes(network)
        if not values and any(g.removable for g in trace_channels(network).groups):
            raise _nothing(network)
        return FilterScores.measured(network, 0, values)


@dataclass(frozen=True)
class LayerScale:
    """Mean |gamma| of the last norm of each removable layer. Raises UserError where none of them has a norm."""

    floor: int = 2

    def __call__(self, network: Network, units: Collection[str] | None = None) -> Scores:
        able = removable_layers(network, self.floor, units)
        scales = _scales(network)
        last = {u.name: [n for n in u.nodes if n in scales][-1:] for u in able}
        values = {name: float(scales[found[0]].mean()) for name, found in last.items() if found}
        if able and not values:
            raise _nothing(network)
        return Scores.measured(network, 0, values)


def normed_layers(network: Network, floor: int = 2) -> set[str]:
    """The removable layers that have a norm."""
    normed = {node.name for node, _ in _norms(network)}
    return {u.name for u in removable_layers(network, floor) if not normed.isdisjoint(u.nodes)}


def normed_filters(network: Network) -> set[str]:
    """The removable groups whose every class has a norm."""
    return set(_of_classes(network))


def _nothing(network: Network) -> UserError:
    return UserError(f"{network.name}: no batch norm scales what may be removed; take another score, such as l1")


def _of_classes(network: Network) -> dict[str, npt.NDArray[np.float64]]:
    """Mean |gamma| of each class of the removable groups that have one for each."""
    channels = trace_channels(network)
    scales = _scales(network)
    ids = [np.zeros(0, np.int64), *(channels.values[name] for name in scales)]
    every = np.concatenate(ids)
    most = max((int(v.max()) for v in channels.values.values()), default=-1) + 1
    counts = np.bincount(every, minlength=most)
    mean = np.bincount(every, np.concatenate([np.zeros(0), *scales.values()]), most) / np.maximum(counts, 1)
    members = {g.name: list(channels.members[g.name]) for g in channels.groups if g.removable}
    return {name: mean[m] for name, m in members.items() if (counts[m] > 0).all()}


def _scales(network: Network) -> dict[str, npt.NDArray[np.float64]]:
    """|gamma| of every norm by node name, in graph order."""
    return {n.name: np.abs(m.weight.detach().double().cpu().numpy()) for n, m in _norms(network)}


def _norms(network: Network) -> list[tuple[fx.Node, nn.BatchNorm1d | nn.BatchNorm2d]]:
    called = [n for n in network.graph.nodes if n.op == "call_module"]
    pairs = [(n, network.module.get_submodule(str(n.target))) for n in called]
    return [(n, m) for n, m in pairs if isinstance(m, _NORMS)]
