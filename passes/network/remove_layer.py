"""Take one layer out; the identity stands in for it."""

from __future__ import annotations

from secateur.models.network import Network
from secateur.passes.contract import Pass, same_interface
from secateur.passes.network.layers import layer_named
from secateur.passes.network.promises import Measured, fewer_parameters, measured_on


class RemoveLayer(Pass[Network]):
    """Remove the layer `unit`; every other tensor stays as it is.

    With `scores`, the cut refuses a network that they were not measured on.
    Source: Pons et al., "Effective Layer Pruning Through Similarity Metric Perspective", ICPR 2024.
    """

    ensures = (same_interface, fewer_parameters)

    def __init__(self, unit: str, scores: Measured | None = None, floor: int = 2) -> None:
        self.unit = unit
        self.floor = floor
        self.requires = (measured_on(scores), self._removable)

    @property
    def name(self) -> str:
        return f"remove_layer {self.unit}"

    def _removable(self, network: Network) -> None:
        unit = layer_named(network, self.unit, self.floor)
        assert unit.removable, f"layer {self.unit} stays: {unit.reason}"

    def run(self, model: Network) -> Network:
        unit = layer_named(model, self.unit, self.floor)
        cut = model.clone()
        nodes = {n.name: n for n in cut.graph.nodes}
        for name in (unit.exit, *unit.idle):
            nodes[name].replace_all_uses_with(nodes[unit.entry])
        gone = {*unit.nodes, *unit.idle}
        for name in reversed([n.name for n in cut.graph.nodes if n.name in gone]):
            cut.graph.erase_node(nodes[name])
        cut.module.delete_all_unused_submodules()
        cut.module.recompile()
        return cut
