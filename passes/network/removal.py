"""One record for every cut, how it is applied, and how it is proven.

`apply` gives the smaller network; `mask` gives one of full size that must compute the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from secateur.models.network import Network
from secateur.passes.network.channels import trace_channels
from secateur.passes.network.layers import layer_named
from secateur.passes.network.remove_filters import RemoveFilters, RemoveWidth
from secateur.passes.network.remove_layer import RemoveLayer
from secateur.passes.network.slicing import put_modules, zeroed_modules

RESTORED = "restored"


@dataclass(frozen=True)
class Removal:
    """`kind`: "layer" or "filters". `unit`: name of a LayerUnit or FilterGroup.

    In the record of a search that grows, RESTORED takes the removal of a layer back.
    `classes`: for filters, positions in the group's list of channel classes.
    """

    kind: str
    unit: str
    classes: tuple[int, ...] = ()


def apply(network: Network, removal: Removal, floor: int = 2) -> Network:
    """The network after the removal, checked on both sides by the pass that does it. Raises PassError."""
    assert removal.kind != RESTORED, f"{removal.unit}: cannot be cut, it was put back"
    if removal.kind == "layer":
        return RemoveLayer(removal.unit, floor=floor)(network)
    return RemoveFilters(removal.unit, removal.classes)(network)


def apply_all(network: Network, removals: Sequence[Removal], floor: int = 2) -> Network:
    """The network after all of them, in this order; filters of several groups in one pass. Raises PassError."""
    if len(removals) > 1 and all(r.kind == "filters" for r in removals):
        return RemoveWidth({r.unit: r.classes for r in removals})(network)
    for removal in removals:
        network = apply(network, removal, floor)
    return network


def mask(network: Network, removal: Removal, floor: int = 2) -> Network:
    """A network of the old size that computes what the cut one does: the layer bypassed, the filters zero."""
    masked = network.clone()
    if removal.kind == "layer":
        unit = layer_named(network, removal.unit, floor)
        nodes = {n.name: n for n in masked.graph.nodes}
        nodes[unit.exit].replace_all_uses_with(nodes[unit.entry])
        masked.module.recompile()
        return masked
    channels = trace_channels(network)
    members = channels.members[removal.unit]
    put_modules(masked, zeroed_modules(network, channels, [members[i] for i in removal.classes]))
    return masked
