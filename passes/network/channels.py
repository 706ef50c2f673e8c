"""Which channels must go together, found exactly by following every single channel through the graph.

Each value has one *class* per channel. A convolution or linear operation makes fresh classes; norms,
activations, pools and spatial slices keep them; an addition or multiplication makes the classes of its
operands one; a concatenation strings them together; zero channels of a shortcut are classes too; Flatten
repeats each class once per position. A grouped convolution ties the inputs and outputs of a group together,
so that the cut takes whole groups and leaves a valid grouped convolution (depthwise: groups of one). Attention ties
the channels of a head in its three operands and its output, so that heads go whole.

A class is the atom of a cut: it goes from every value that it occurs in, or stays everywhere. Classes that
occur equally often in the same values form a *filter group*; cutting any of them saves the same.
See docs/decisions/0001-channel-groups.md.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import fx, nn

from secateur.models.network import Network, Pad, Slice
from secateur.models.tokens import Attention, ChannelNorm

Ids = npt.NDArray[np.int64]
_WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Linear)


@dataclass(frozen=True)
class FilterGroup:
    """Channels that can be cut one class at a time.

    `size`: classes; each is `channels_per_class` channels of a producer, more than one only where a grouped
    convolution or an attention ties them. Producers write the group's channels, consumers read them (module targets;
    grouped convolutions are both). `residual`: an addition joins several producers, as in the stream of a stage.
    `kind`: "heads" of an attention, "hidden" units between two linear layers on the tokens of a transformer, or
    "channels".
    """

    name: str
    size: int
    channels_per_class: int
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    residual: bool
    removable: bool
    reason: str = ""
    kind: str = "channels"


@dataclass(frozen=True)
class Channels:
    """`values`: the class of every channel, by node name. `members`: the classes of each group, in order."""

    values: dict[str, Ids]
    groups: tuple[FilterGroup, ...]
    members: dict[str, tuple[int, ...]]


def find_filters(network: Network) -> tuple[FilterGroup, ...]:
    """All filter groups in graph order, with the reason for those that must stay."""
    return trace_channels(network).groups


def trace_channels(network: Network) -> Channels:
    """Follow every channel through the graph, once. Raises AssertionError, naming the node, if widths disagree."""
    return network.known("channels", lambda: _traced(network))


def _traced(network: Network) -> Channels:
    tracer = _Tracer(network)
    number: dict[int, int] = {}
    values: dict[str, Ids] = {}
    for name, ids in tracer.values.items():
        roots = [tracer.root(int(i)) for i in ids]
        values[name] = np.array([number.setdefault(r, len(number)) for r in roots], dtype=np.int64)
    fixed = {number[tracer.root(i)]: reason for i, reason in reversed(tracer.fixed.items())}

    places: dict[int, dict[str, int]] = {c: {} for c in number.values()}
    for name, classes in values.items():
        for c, count in zip(*np.unique(classes, return_counts=True), strict=True):
            places[int(c)][name] = int(count)
    alike: dict[tuple[object, ...], list[int]] = {}
    for c in sorted(places):
        alike.setdefault((fixed.get(c, ""), *places[c].items()), []).append(c)

    weighted = [  # target, value read, value written
        (str(n.target), n.all_input_nodes[0].name, n.name)
        for n in network.graph.nodes
        if isinstance(tracer.called(n), _WEIGHTED)
    ]
    sums = {n.name for n in network.graph.nodes if n.target is operator.add}
    attentions = {n.name for n in network.graph.nodes if isinstance(tracer.called(n), Attention)}
    groups: list[FilterGroup] = []
    members: dict[str, tuple[int, ...]] = {}
    for classes_of_group in alike.values():
        first = classes_of_group[0]
        group = _group(weighted, sums, len(classes_of_group), places[first], fixed.get(first, ""), members)
        group = replace(group, kind=_kind(group, tracer.modules, attentions, places[first]))
        groups.append(group)
        members[group.name] = tuple(classes_of_group)
    return Channels(values, tuple(groups), members)


def _group(
    weighted: list[tuple[str, str, str]],
    sums: set[str],
    size: int,
    places: dict[str, int],
    reason: str,
    taken: dict[str, tuple[int, ...]],
) -> FilterGroup:
    producers = [target for target, _, value in weighted if value in places]
    consumers = [target for target, value, _ in weighted if value in places]
    width = max((places[value] for _, _, value in weighted if value in places), default=1)
    name = base = producers[0] if producers else next(iter(places))
    number = 0
    while name in taken:
        number += 1
        name = f"{base}#{number}"
    if not reason and not producers:
        reason = "constant channels"
    if not reason and size < 2:
        reason = "one channel"
    residual = not sums.isdisjoint(places)
    return FilterGroup(name, size, width, tuple(producers), tuple(consumers), residual, not reason, reason)


def _kind(group: FilterGroup, modules: dict[str, nn.Module], attentions: set[str], places: dict[str, int]) -> str:
    if not attentions.isdisjoint(places):
        return "heads"
    ends = [modules[t] for t in (*group.producers, *group.consumers)]
    pair = len(group.producers) == len(group.consumers) == 1 and not group.residual
    return "hidden" if attentions and pair and all(_pointwise(m) for m in ends) else "channels"


def _pointwise(module: nn.Module) -> bool:
    dense = isinstance(module, (nn.Conv1d, nn.Conv2d)) and module.groups == 1
    return dense and all(k == 1 for k in module.kernel_size)  # type: ignore[union-attr]


class _Tracer:
    """Gives every channel of every value an id; joined ids have one root."""

    def __init__(self, network: Network) -> None:
        self.shapes = network.shapes()
        self.modules = dict(network.module.named_modules())
        self.parent: list[int] = []
        self.fixed: dict[int, str] = {}  # id -> why its class must stay
        self.values: dict[str, Ids] = {}
        for node in network.graph.nodes:
            if node.op == "placeholder":
                self.values[node.name] = self.fresh(self.shapes[node.name][0])
                self.fix(self.values[node.name], "network input")
            elif node.op == "output":
                self.fix(self.values[node.all_input_nodes[0].name], "network output")
            elif node.name in self.shapes:
                ids = self.function(node) if node.op == "call_function" else self.module(node)
                width = self.shapes[node.name][0]
                assert len(ids) == width, f"{network.name}: {node.name}: {len(ids)} channels, {width} expected"
                self.values[node.name] = ids

    def called(self, node: fx.Node) -> nn.Module | None:
        """The module that `node` calls; "x" and "output" are no calls, and may be names of modules."""
        return self.modules[str(node.target)] if node.op == "call_module" else None

    def fresh(self, count: int) -> Ids:
        ids = np.arange(len(self.parent), len(self.parent) + count, dtype=np.int64)
        self.parent.extend(ids.tolist())
        return ids

    def root(self, i: int) -> int:
        while self.parent[i] != i:
            self.parent[i] = self.parent[self.parent[i]]
            i = self.parent[i]
        return i

    def tie(self, a: Sequence[int] | Ids, b: Sequence[int] | Ids) -> None:
        """Make the classes of a and b one, element by element; the older one leads."""
        for i, j in zip(a, b, strict=True):
            low, high = sorted((self.root(int(i)), self.root(int(j))))
            self.parent[high] = low

    def fix(self, ids: Ids, reason: str) -> None:
        for i in ids:
            self.fixed.setdefault(int(i), reason)

    def function(self, node: fx.Node) -> Ids:
        if node.target is torch.cat:
            parts: list[fx.Node] = list(node.args[0])  # type: ignore[arg-type]
            return np.concatenate([self.values[n.name] for n in parts])
        operands = [self.values[a.name] for a in node.args if isinstance(a, fx.Node)]
        ranks = {len(self.shapes[a.name]) for a in node.args if isinstance(a, fx.Node)}
        if len(ranks) > 1:
            for ids in operands:
                self.fix(ids, f"{node.name} joins values of different rank")
            out = self.fresh(self.shapes[node.name][0])
            self.fix(out, f"{node.name} joins values of different rank")
            return out
        widest = max(operands, key=len)
        for ids in operands:
            if len(ids) == len(widest):
                self.tie(widest, ids)
            else:  # one channel against all
                self.fix(ids, f"{node.name} spreads it over all channels")
        return widest

    def module(self, node: fx.Node) -> Ids:
        module = self.modules[str(node.target)]
        if isinstance(module, Attention):
            return self.attention(node, module.heads)
        ids = self.values[node.all_input_nodes[0].name]
        if isinstance(module, nn.Linear):
            assert len(ids) == module.in_features, f"{node.name}: {len(ids)} inputs for {module.in_features}"
            return self.fresh(module.out_features)
        if isinstance(module, (nn.Conv1d, nn.Conv2d)):
            out = self.fresh(module.out_channels)
            if module.groups > 1:
                for ins, outs in zip(np.split(ids, module.groups), np.split(out, module.groups), strict=True):
                    self.tie([int(ins[0])] * (len(ins) + len(outs)), np.concatenate([ins, outs]))
            return out
        if isinstance(module, nn.Flatten):
            shape = self.shapes[node.all_input_nodes[0].name]
            return np.repeat(ids, int(np.prod(shape[1:], dtype=np.int64)))
        if isinstance(module, Pad):
            before, after = module.amounts[0]
            return np.concatenate([self.fresh(before), ids, self.fresh(after)])
        if isinstance(module, Slice):
            begin, end, step = module.ranges[0]
            if step != 1:
                self.fix(ids, f"{node.name} takes channels in steps of {step}")
            return ids[begin:end:step]
        if isinstance(module, nn.Softmax):
            self.fix(ids, "softmax over channels")
        elif isinstance(module, ChannelNorm):
            self.fix(ids, "layer norm over the channels: without one, all others change")
        return ids

    def attention(self, node: fx.Node, heads: int) -> Ids:
        q, k, v = (self.values[a.name] for a in node.args if isinstance(a, fx.Node))
        out = self.fresh(len(v))
        for parts in zip(*(np.split(ids, heads) for ids in (q, k, v, out)), strict=True):
            head = np.concatenate(parts)
            self.tie([int(head[0])] * len(head), head)
        return out
