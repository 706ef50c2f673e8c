"""Thinning many filter groups at once, by one ratio a group.

Two forms. By number: exactly so many filters go, as in Nascimento et al., "Pruning Everything, Everywhere, All at
Once", IJCNN 2025. By grains: an order in which steps that kernels like go, so that every beginning of it is a network
thinned by one ratio as nearly as may be; how much of it goes is for others to say.

In both a group's least important classes go first, and what a ratio leaves open is decided by the lowest score, divided
by its group's mean. (The source draws that remainder at random.)
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from secateur.models.network import Network
from secateur.passes.network.candidates import LEAST_CHANNELS
from secateur.passes.network.channels import FilterGroup, find_filters, trace_channels
from secateur.passes.network.layers import WEIGHTED
from secateur.passes.network.removal import Removal
from secateur.passes.network.scores import F64, FilterScores


@dataclass(frozen=True)
class FilterCount:
    """`total`: output channels of every convolution and linear layer but the last. `per_class`: of those, by group,
    how many go with one class."""

    total: int
    per_class: dict[str, int]


def count_filters(network: Network) -> FilterCount:
    """What is meant by a number of filters."""
    channels = trace_channels(network)
    written = [
        channels.values[n.name]
        for n in network.graph.nodes
        if n.op == "call_module" and isinstance(network.module.get_submodule(str(n.target)), WEIGHTED)
    ][:-1]
    ids = np.concatenate(written) if written else np.zeros(0, np.int64)
    most = 1 + max((int(v.max()) for v in channels.values.values()), default=0)
    counts = np.bincount(ids, minlength=most)
    return FilterCount(len(ids), {g.name: int(counts[channels.members[g.name][0]]) for g in channels.groups})


def thinned_by_number(network: Network, scores: FilterScores, number: int) -> tuple[Removal, ...]:
    """The least important `number` of filters, at one ratio of every group that no addition joins.

    Each group loses round(p x its classes), p = number / all filters of the network; the remainder one class after the
    other. A group keeps one class. Fewer go only where no more may.
    """
    counts = count_filters(network)
    groups = _open_groups(network, scores)
    cost = {g.name: counts.per_class[g.name] for g in groups}
    order = {g.name: _normalized(scores.values[g.name]) for g in groups}
    share = number / counts.total
    gone = {g.name: min(round(share * g.size), g.size - 1) for g in groups}
    left = number - sum(gone[n] * cost[n] for n in gone)
    while left < 0:  # rounding took too much: what matters most comes back
        name = max((n for n in gone if gone[n]), key=lambda n: order[n][gone[n] - 1])
        gone[name] -= 1
        left += cost[name]
    while open_ := [g.name for g in groups if gone[g.name] < g.size - 1 and cost[g.name] <= left]:
        name = min(open_, key=lambda n: order[n][gone[n]])
        gone[name] += 1
        left -= cost[name]
    return tuple(Removal("filters", n, scores.lowest(n, k)) for n, k in gone.items() if k)


def cheapest_class(network: Network, scores: FilterScores) -> int:
    """The fewest filters that `thinned_by_number` may take at once; 0 where it may take none."""
    counts = count_filters(network)
    return min((counts.per_class[g.name] for g in _open_groups(network, scores) if g.size > 1), default=0)


def _open_groups(network: Network, scores: FilterScores) -> list[FilterGroup]:
    """Groups that have scores and that no addition joins."""
    return [g for g in find_filters(network) if g.removable and not g.residual and g.name in scores.values]


def uniform_grains(
    network: Network, scores: FilterScores, groups: Collection[str], multiple: int = 4, minimum: int = LEAST_CHANNELS
) -> list[tuple[str, int]]:
    """(group, classes of it gone by then) in the order in which one growing ratio takes them.

    What stays of a group is a multiple of `multiple` channels, at least `minimum`.
    """
    found: list[tuple[float, float, str, int]] = []
    for group in find_filters(network):
        if not group.removable or group.name not in groups or group.name not in scores.values:
            continue
        normalized = _normalized(scores.values[group.name])
        before = 0
        for gone in width_steps(group, multiple, minimum):
            found.append((gone / group.size, float(normalized[before:gone].mean()), group.name, gone))
            before = gone
    # a group's own steps stay in order: its ratio grows
    return [(name, gone) for _, _, name, gone in sorted(found, key=lambda f: f[:2])]


def thinned_by_grains(scores: FilterScores, grains: Sequence[tuple[str, int]]) -> tuple[Removal, ...]:
    """The removal that these grains, the first ones of `uniform_grains`, come to."""
    return tuple(Removal("filters", name, scores.lowest(name, gone)) for name, gone in dict(grains).items())


def width_steps(group: FilterGroup, multiple: int = 4, minimum: int = LEAST_CHANNELS) -> list[int]:
    """How many of its classes may be gone, ascending: at least `minimum` channels stay, in multiples."""
    stays = range(group.size - 1, 0, -1)
    width = group.channels_per_class
    return [group.size - s for s in stays if s * width >= minimum and s * width % multiple == 0]


def _normalized(scores: F64) -> F64:
    """Ascending, over their mean, so that groups can be compared."""
    mean = float(np.abs(scores).mean())
    return np.sort(scores) / (mean if mean > 0 else 1.0)
