"""How small a network can get: every layer and every filter gone that may go, whatever becomes of its outputs."""

from __future__ import annotations

from collections.abc import Collection

from secateur.models.network import Network
from secateur.passes.network.channels import find_filters
from secateur.passes.network.layers import removable_layers
from secateur.passes.network.removal import Removal, apply, apply_all
from secateur.passes.network.width import width_steps


def smallest(network: Network, kinds: Collection[str], floor: int = 2) -> Network:
    """`kinds`: "layer", "filters" or both. Groups end at the width at which `candidates` leaves them."""
    while "layer" in kinds and (layers := removable_layers(network, floor)):
        network = apply(network, Removal("layer", layers[0].name), floor)
    removals = _thinnest(network) if "filters" in kinds else []
    # thin layers can have the same shape on both sides, where wide ones had not
    return smallest(apply_all(network, removals, floor), kinds, floor) if removals else network


def _thinnest(network: Network) -> list[Removal]:
    steps = {g.name: width_steps(g) for g in find_filters(network) if g.removable}
    return [Removal("filters", name, tuple(range(gone[-1]))) for name, gone in steps.items() if gone]
