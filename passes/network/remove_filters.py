"""Cut channels of coupled groups from every tensor that they occur in."""

from __future__ import annotations

from collections.abc import Mapping

from secateur.models.network import Network
from secateur.passes.contract import Pass, same_interface
from secateur.passes.network.channels import trace_channels
from secateur.passes.network.promises import Measured, fewer_parameters, measured_on
from secateur.passes.network.slicing import cut_modules, put_modules


class RemoveFilters(Pass[Network]):
    """Remove the classes at positions `classes` of the filter group `unit`; survivors keep their order.

    With `scores`, the cut refuses a network that they were not measured on.
    """

    ensures = (same_interface, fewer_parameters)

    def __init__(self, unit: str, classes: tuple[int, ...], scores: Measured | None = None) -> None:
        self.unit = unit
        self.classes = classes
        self.requires = (measured_on(scores), self._removable)

    @property
    def name(self) -> str:
        return f"remove_filters {self.unit} -{len(self.classes)}"

    def _removable(self, network: Network) -> None:
        _check(network, {self.unit: self.classes})

    def run(self, model: Network) -> Network:
        channels = trace_channels(model)
        members = channels.members[self.unit]
        cut = model.clone()
        put_modules(cut, cut_modules(model, channels, [members[i] for i in self.classes]))
        return cut


class RemoveWidth(Pass[Network]):
    """The same for several groups at once, `classes` by their names before the cut. Equal to one after the other."""

    ensures = (same_interface, fewer_parameters)

    def __init__(self, classes: Mapping[str, tuple[int, ...]]) -> None:
        self.classes = classes
        self.requires = (self._removable,)

    @property
    def name(self) -> str:
        return f"remove_width -{sum(map(len, self.classes.values()))} of {len(self.classes)} groups"

    def _removable(self, network: Network) -> None:
        _check(network, self.classes)

    def run(self, model: Network) -> Network:
        channels = trace_channels(model)
        gone = [channels.members[unit][i] for unit, classes in self.classes.items() for i in classes]
        cut = model.clone()
        put_modules(cut, cut_modules(model, channels, gone))
        return cut


def _check(network: Network, wanted: Mapping[str, tuple[int, ...]]) -> None:
    groups = {g.name: g for g in trace_channels(network).groups}
    able = ", ".join(n for n, g in groups.items() if g.removable) or "none"
    for unit, classes in wanted.items():
        assert unit in groups, f"no filter group {unit}; removable: {able}"
        group = groups[unit]
        assert group.removable, f"filters of {unit} stay: {group.reason}"
        picked = set(classes)
        assert picked and len(picked) == len(classes), f"{unit}: no class given, or one twice"
        assert picked <= set(range(group.size)), f"{unit}: classes are 0 to {group.size - 1}"
        assert len(picked) < group.size, f"{unit}: one of its {group.size} channels must stay"
