"""What a layer gives without some of its input channels: its output less those channels' own share.

Where a removed filter's channels pass only through operations on single channels (norms, activations, pools,
concatenations) until convolutions or linear layers read them, nothing changes before those readers, and each of
them is linear:

    out without f = out - W[:, f] * a_f

one convolution with as many inputs as there are removed channels. Exact up to the rounding of the subtraction. It
does not hold where a grouped convolution ties channels together, where the features have the channels
themselves, or where one reader is reached through another, as on a residual stream: its input changes.
Source: the observation is ours; what is scored with it: Nascimento et al., IJCNN 2025.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from secateur.models.activations import ACTIVATIONS, Unsqueeze
from secateur.models.network import Network, Pad, Slice
from secateur.passes.network.channels import Channels
from secateur.passes.network.removal import Removal

_WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Linear)
_BY_CHANNEL = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.ReLU, nn.ReLU6, nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.Flatten, Pad, Slice, Unsqueeze, *ACTIVATIONS,
)  # fmt: skip
_JOINS = (operator.add, operator.mul, torch.cat)


@dataclass(frozen=True)
class Reader:
    """A layer that takes removed channels: its node, its module's target, the value that it reads."""

    node: str
    target: str
    source: str


@dataclass(frozen=True)
class Deletion:
    """The readers of the removed channels, and where these lie in what each of them reads."""

    readers: tuple[Reader, ...]
    places: tuple[tuple[int, ...], ...]


def single_filters(network: Network, channels: Channels, groups: Collection[str] | None = None) -> list[Removal]:
    """One removal for every class of every removable filter group, or of those named, in graph order."""
    chosen = [g for g in channels.groups if g.removable and (groups is None or g.name in groups)]
    return [Removal("filters", g.name, (i,)) for g in chosen for i in range(g.size)]


class Deletions:
    """Finds the deletions of one network up to `features`, the name of a node. `needed`: its ancestors and itself."""

    def __init__(self, network: Network, channels: Channels, features: str, needed: Collection[fx.Node]) -> None:
        self.features = features
        self.modules = dict(network.module.named_modules(remove_duplicate=False))
        self.nodes = [n for n in network.graph.nodes if n in needed]
        self.places: dict[int, dict[str, list[int]]] = {}  # by class and value
        for node in self.nodes:
            for place, found in enumerate(channels.values[node.name].tolist()):
                self.places.setdefault(found, {}).setdefault(node.name, []).append(place)
        self.linear: dict[frozenset[str], tuple[Reader, ...] | None] = {}

    def of(self, classes: Sequence[int]) -> Deletion | None:
        """The deletion of channel classes, or None where it is not linear."""
        where: dict[str, list[int]] = {}
        for found in classes:
            for value, places in self.places.get(found, {}).items():
                where.setdefault(value, []).extend(places)
        touched = frozenset(where)
        if touched not in self.linear:
            self.linear[touched] = self._readers(touched)
        readers = self.linear[touched]
        return None if readers is None else Deletion(readers, tuple(tuple(sorted(where[r.source])) for r in readers))

    def _readers(self, touched: frozenset[str]) -> tuple[Reader, ...] | None:
        """Who reads channels of these values, or None if that is not all that happens to them."""
        readers: list[Reader] = []
        behind: set[fx.Node] = set()  # what a reader's output reaches
        for node in self.nodes:
            sources = [n.name for n in node.all_input_nodes if n.name in touched]
            if not behind.isdisjoint(node.all_input_nodes):
                behind.add(node)
            if not sources:
                continue
            module = self.modules.get(str(node.target)) if node.op == "call_module" else None
            if isinstance(module, _WEIGHTED):
                if node in behind or not _linear(module):
                    return None
                readers.append(Reader(node.name, str(node.target), sources[0]))
                behind.add(node)
            elif not (isinstance(module, _BY_CHANNEL) or node.target in _JOINS):
                return None
        return None if self.features in touched else tuple(readers)


def _linear(module: nn.Module) -> bool:
    return not isinstance(module, (nn.Conv1d, nn.Conv2d)) or (module.groups == 1 and module.padding_mode == "zeros")


def silent(values: Mapping[str, Tensor], deletions: Sequence[Deletion]) -> list[bool]:
    """Which of these alike deletions take nothing: their channels are zero everywhere, as a dead filter's are."""
    live = [live_channels(values[reader.source]) for reader in deletions[0].readers]
    return [not any(alive[p] for alive, places in zip(live, d.places, strict=True) for p in places) for d in deletions]


def live_channels(values: Tensor) -> list[bool]:
    """Which channels of (n, c, ...) have a value other than zero."""
    return values.transpose(0, 1).flatten(1).any(1).tolist()


def without(
    modules: Mapping[str, nn.Module], values: Mapping[str, Tensor], deletions: Sequence[Deletion]
) -> dict[str, Tensor]:
    """Outputs of the readers that all these deletions have, (deletions * n, ...), from what they read and give."""
    found = {}
    for i, reader in enumerate(deletions[0].readers):
        whole, read = values[reader.node], values[reader.source]
        n = len(whole)
        out = whole.new_empty((len(deletions) * n, *whole.shape[1:]))
        for j, deletion in enumerate(deletions):
            index = torch.tensor(deletion.places[i], device=read.device)
            share = _share(modules[reader.target], read.index_select(1, index), index)
            torch.sub(whole, share, out=out[j * n : (j + 1) * n])
        found[reader.node] = out
    return found


def _share(module: nn.Module, read: Tensor, index: Tensor) -> Tensor:
    """What input channels `index` add to the output, given their values (n, len(index), ...)."""
    assert isinstance(module, _WEIGHTED)
    weight = module.weight.index_select(1, index)
    if isinstance(module, nn.Conv1d):
        return nn.functional.conv1d(read, weight, None, module.stride, module.padding, module.dilation)
    if isinstance(module, nn.Conv2d):
        return nn.functional.conv2d(read, weight, None, module.stride, module.padding, module.dilation)
    return nn.functional.linear(read, weight)
