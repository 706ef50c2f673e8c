"""What one does without a search: the same network with all its layers made narrower alike."""

from __future__ import annotations

from collections.abc import Callable

from secateur.models.network import Network
from secateur.passes.network.channels import find_filters
from secateur.passes.network.removal import Removal, apply

PARTS = 64


def narrowed(network: Network, fits: Callable[[Network], bool]) -> Network | None:
    """The widest of 63 networks, every filter group `k / 64` of its size, that fits; None where none does.

    Which channels stay does not matter: it is to be trained from the start. One channel of a group stays at least.
    """
    low, high, best = 1, PARTS - 1, None
    while low <= high:  # the wider, the dearer
        middle = (low + high) // 2
        made = _scaled(network, middle / PARTS)
        if fits(made):
            best, low = made, middle + 1
        else:
            high = middle - 1
    return best


def _scaled(network: Network, share: float) -> Network:
    """Every removable group with `share` of its channel classes, rounded."""
    found = network
    for group in find_filters(network):
        stays = max(1, round(group.size * share))
        if group.removable and stays < group.size:
            found = apply(found, Removal("filters", group.name, tuple(range(stays, group.size))))
    return found
