"""The removals worth trying next."""

from __future__ import annotations

from secateur.models.network import Network
from secateur.passes.network.channels import FilterGroup, find_filters
from secateur.passes.network.layers import find_layers
from secateur.passes.network.removal import Removal
from secateur.passes.network.scores import FilterScores

LEAST_CHANNELS = 4
"""Of a group; kernels compute so many at a time."""


def candidates(
    network: Network,
    filter_scores: FilterScores | None = None,
    *,
    granularity: float = 0.125,
    multiple: int = 4,
    minimum: int = LEAST_CHANNELS,
    floor: int = 2,
) -> list[Removal]:
    """Every removable layer, then one step of the lowest classes for every removable filter group.

    Without `filter_scores` (measured on this very network), layers only; groups that they are not defined for stay.
    A step takes about `granularity` of the group, in (0, 1), and as many more as make what stays a multiple of
    `multiple` channels, which kernels like; no group goes below `minimum` channels. `floor`: blocks that stay in each
    stage.
    """
    found = [Removal("layer", u.name) for u in find_layers(network, floor) if u.removable]
    if filter_scores is None:
        return found
    assert filter_scores.network_hash == network.hash(), "the scores were measured on another network"
    for group in find_filters(network):
        scored = group.removable and group.name in filter_scores.values
        count = filter_step(group, granularity, multiple, minimum) if scored else 0
        if count:
            found.append(Removal("filters", group.name, filter_scores.lowest(group.name, count)))
    return found


def filter_step(
    group: FilterGroup, granularity: float = 0.125, multiple: int = 4, minimum: int = LEAST_CHANNELS
) -> int:
    """How many classes the next step takes from a group; 0 if it is as thin as it may get."""
    wanted = group.size - max(1, round(granularity * group.size))
    for stay in range(wanted, 0, -1):
        width = stay * group.channels_per_class
        if width < minimum:
            return 0
        if width % multiple == 0:
            return group.size - stay
    return 0
