"""How small a network can get: every layer and every filter gone that may go, whatever becomes of its outputs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from secateur.models.network import Network
from secateur.passes.network.candidates import filter_step
from secateur.passes.network.channels import find_filters
from secateur.passes.network.layers import removable_layers
from secateur.passes.network.removal import Removal, apply, apply_all


def smallest(network: Network, kinds: Collection[str], floor: int = 2) -> Network:
    """`kinds`: "layer", "filters" or both. Groups end at the width at which `candidates` leaves them."""
    while "layer" in kinds and (layers := removable_layers(network, floor)):
        network = apply(network, Removal("layer", layers[0].name), floor)
    removals = _thinnest(network) if "filters" in kinds else []
    # thin layers can have the same shape on both sides, where wide ones had not
    return smallest(apply_all(network, removals, floor), kinds, floor) if removals else network


def _thinnest(network: Network) -> list[Removal]:
    found = []
    for group in find_filters(network):
        left = group
        while group.removable and (count := filter_step(left)):
            left = replace(left, size=left.size - count)
        if left.size < group.size:
            found.append(Removal("filters", group.name, tuple(range(group.size - left.size))))
    return found
