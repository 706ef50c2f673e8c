"""Which layers of a network can be taken out, found from its graph.

A *layer* is a minimal region with one entry and one exit, at least one weighted operation inside, and an
input and an output of one shape, so that the identity can stand in for it. The main path of a network is a
chain of values that every path from input to output goes through. Between two of them lies one operation, or
a fork that joins again (a residual block, an inception block). Regions are runs of that chain:

- a fork whose join adds (or multiplies) the entry itself: the branch becomes 0 (or 1). Norms and activations
  after the join stay; an activation that can then change nothing is taken out as well;
- any other fork, or a convolution or linear operation, with its norms and activations; a depthwise
  convolution and the pointwise one after it are one layer: one mixes space only, the other channels only;
- a run of such steps that leaves a shape and comes back to it (64 -> 16 -> 64 channels).

Regions inside a branch are not listed: they would leave a block of half its depth.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from torch import fx, nn

from secateur.models.activations import ACTIVATIONS
from secateur.models.network import Network, Pad
from secateur.models.tokens import ChannelNorm
from secateur.passes.network.bounds import clamps, value_bounds

WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Linear)
FOLLOWERS = (nn.BatchNorm1d, nn.BatchNorm2d, ChannelNorm, nn.ReLU, nn.ReLU6, *ACTIVATIONS)
NO_STAGE = -1


@dataclass(frozen=True)
class LayerUnit:
    """A region of the main path. Nodes are named as in the graph; names last as long as the nodes do.

    `entry` is outside and takes the place of `exit` when the unit goes; `idle` are activations after it that
    then change nothing. `stage` counts runs of units with one output shape from 0; stem and head have -1.
    """

    name: str
    entry: str
    exit: str
    nodes: tuple[str, ...]
    stage: int
    removable: bool
    reason: str = ""
    idle: tuple[str, ...] = ()


@dataclass
class _Step:
    """One operation or fork of the main path, with what belongs to it."""

    entry: fx.Node
    nodes: list[fx.Node]
    weighted: bool
    skip: bool = False  # the join takes the entry itself
    after: list[fx.Node] = field(default_factory=list)  # norms and activations after a skip's join

    @property
    def exit(self) -> fx.Node:
        return self.nodes[-1]


def find_layers(network: Network, floor: int = 2) -> tuple[LayerUnit, ...]:
    """All regions of the main path in order, with the reason for those that must stay.

    A stage is a run of units with one output shape. It keeps `floor` units, its first one included, which is
    never removed whether it changes the shape or follows the stem (the convention of Pons et al., ICPR 2024:
    ResNet-56 has 24 removable blocks and ends, after 21 removals, with two in each stage).
    """
    shapes = network.shapes()
    steps = [s for s in _steps(network, main_path(network.graph)) if s]
    weighted = [i for i, step in enumerate(steps) if step.weighted]
    if not weighted:
        return ()
    stem, head = weighted[0], weighted[-1]
    bounds = value_bounds(network)
    first = _unit(steps[stem : stem + 1], network, NO_STAGE, "stem")
    blocks = _blocks(steps[stem + 1 : head], shapes)
    stages = _stages(blocks, shapes)
    units = [first]
    for i, (block, stage) in enumerate(zip(blocks, stages, strict=True)):
        count = stages.count(stage)
        if shapes[block[0].entry.name] != shapes[block[-1].exit.name]:
            reason = f"changes shape: {shapes[block[0].entry.name]} to {shapes[block[-1].exit.name]}"
        elif stages.index(stage) == i:
            reason = f"first block of stage {stage}"
        elif count <= floor:
            reason = f"stage floor: {floor} blocks stay, stage {stage} has {count}"
        else:
            reason = ""
        unit = _unit(block, network, stage, reason)
        if block[-1].skip and block[-1].after:
            relu = block[-1].after[0]
            if clamps(network, relu, bounds[block[0].entry.name]) is False:
                unit = replace(unit, idle=(relu.name,))
        units.append(unit)
    if head != stem:
        units.append(_unit(steps[head : head + 1], network, NO_STAGE, "head"))
    return tuple(units)


def removable_layers(network: Network, floor: int = 2, units: Collection[str] | None = None) -> list[LayerUnit]:
    """Those that may go, or those of them among `units`; in network order whatever the order of `units` is."""
    return [u for u in find_layers(network, floor) if u.removable and (units is None or u.name in units)]


def layer_named(network: Network, name: str, floor: int = 2) -> LayerUnit:
    """Raises AssertionError if no layer has this name, with those that can be removed."""
    units = {u.name: u for u in find_layers(network, floor)}
    removable = ", ".join(n for n, u in units.items() if u.removable) or "none"
    assert name in units, f"no layer {name}; removable: {removable}"
    return units[name]


def feature_node(network: Network) -> str:
    """Name of the node whose value enters the last weighted operation: the pre-classifier representation."""
    last = [n for n in network.graph.nodes if _is(network, n, WEIGHTED)][-1:]
    if not last:
        raise ValueError(f"{network.name}: no convolution and no linear layer, so no features to compare")
    return str(last[0].all_input_nodes[0].name)


def main_path(graph: fx.Graph) -> list[list[fx.Node]]:
    """The graph cut at the values that every path goes through.

    Each item is the nodes after the previous such value up to the next, which comes last; the first item is
    the placeholder alone, the output node is left out.
    """
    output = next(n for n in graph.nodes if n.op == "output")
    live: set[fx.Node] = set()
    waiting = [output]
    while waiting:
        node = waiting.pop()
        if node not in live:
            live.add(node)
            waiting.extend(node.all_input_nodes)
    nodes = [n for n in graph.nodes if n in live]
    position = {n: i for i, n in enumerate(nodes)}
    segments: list[list[fx.Node]] = [[]]
    reach = 0
    for i, node in enumerate(nodes[:-1]):
        segments[-1].append(node)
        if reach <= i:  # no edge jumps over this node
            segments.append([])
        reach = max([reach, *(position[u] for u in node.users if u in live)])
    return segments[:-1]


def _steps(network: Network, segments: list[list[fx.Node]]) -> list[_Step]:
    """The main path as steps: a weighted one begins with its padding and takes in what follows it."""
    steps: list[_Step] = []
    for before, nodes in itertools.pairwise(segments):
        entry, node = before[-1], nodes[-1]
        last = steps[-1] if steps else None
        if len(nodes) == 1 and last is not None and last.weighted and _is(network, node, FOLLOWERS):
            (last.after if last.skip else last.nodes).append(node)
            continue
        weighted = any(_is(network, n, WEIGHTED) for n in nodes)
        step = _Step(entry, list(nodes), weighted, skip=len(nodes) > 1 and _joins(node).count(entry) == 1)
        if weighted and len(nodes) == 1 and last is not None and _begins(network, last, node):
            step = _Step(last.entry, [*steps.pop().nodes, node], True)
        steps.append(step)
    return steps


def _joins(node: fx.Node) -> list[fx.Node]:
    """The values that a chain of additions, or one of multiplications, ending in `node` brings together."""
    if node.op != "call_function" or node.target not in (operator.add, operator.mul):
        return []
    leaves: list[fx.Node] = []
    waiting = [a for a in node.args if isinstance(a, fx.Node)]
    while waiting:
        operand = waiting.pop()
        if operand.op == "call_function" and operand.target is node.target and len(operand.users) == 1:
            waiting.extend(a for a in operand.args if isinstance(a, fx.Node))
        else:
            leaves.append(operand)
    return leaves


def _blocks(steps: list[_Step], shapes: dict[str, tuple[int, ...]]) -> list[list[_Step]]:
    """Weighted steps in order; a run that leaves a shape and comes back to it the short way is one block."""

    def same(first: int, last: int) -> bool:
        return shapes[steps[first].entry.name] == shapes[steps[last].exit.name]

    block_of = {i: (i, i) for i, step in enumerate(steps) if step.weighted}
    alone = {i for i in block_of if same(i, i)}
    for length in range(2, len(steps) + 1):
        for first in range(len(steps) - length + 1):
            last = first + length - 1
            inside = range(first, last + 1)
            free = all(i not in block_of or (block_of[i] == (i, i) and i not in alone) for i in inside)
            ends = steps[first].weighted and steps[last].weighted
            if free and ends and same(first, last):
                block_of.update(dict.fromkeys(inside, (first, last)))
    spans = dict.fromkeys(block_of[i] for i in sorted(block_of))
    return [steps[first : last + 1] for first, last in spans]


def _stages(blocks: list[list[_Step]], shapes: dict[str, tuple[int, ...]]) -> list[int]:
    """Stage of each block: a run of blocks with one output shape."""
    stages: list[int] = []
    previous: tuple[int, ...] | None = None
    for block in blocks:
        shape = shapes[block[-1].exit.name]
        stages.append((stages[-1] + (shape != previous)) if stages else 0)
        previous = shape
    return stages


def _unit(block: Sequence[_Step], network: Network, stage: int, reason: str) -> LayerUnit:
    nodes = [n for step in block for n in (*step.nodes, *(step.after if step is not block[-1] else ()))]
    targets = [str(n.target) for n in nodes if _is(network, n, WEIGHTED)]
    return LayerUnit(
        name=_span(targets[0], targets[-1]),
        entry=block[0].entry.name,
        exit=block[-1].exit.name,
        nodes=tuple(n.name for n in nodes),
        stage=stage,
        removable=not reason,
        reason=reason,
    )


def _span(first: str, last: str) -> str:
    """`a.b.conv1..conv2` for a.b.conv1 to a.b.conv2: depends on the unit alone, so removals do not rename."""
    if first == last:
        return first
    a, b = first.split("."), last.split(".")
    common = 0
    while common < min(len(a), len(b)) - 1 and a[common] == b[common]:
        common += 1
    return f"{first}..{'.'.join(b[common:])}"


def _module(network: Network, node: fx.Node) -> nn.Module | None:
    return network.module.get_submodule(str(node.target)) if node.op == "call_module" else None


def _is(network: Network, node: fx.Node, kinds: tuple[type[nn.Module], ...]) -> bool:
    return isinstance(_module(network, node), kinds)


def _begins(network: Network, step: _Step, node: fx.Node) -> bool:
    """Whether `step` is the padding of the weighted `node`, or the depthwise half of a separable one."""
    if len(step.nodes) == 1 and _is(network, step.exit, (Pad,)):
        return True
    return _is_depthwise(network, step) and _is_pointwise(network, node)


def _is_depthwise(network: Network, step: _Step) -> bool:
    """One depthwise convolution with nothing but padding, norms and activations."""
    convs = [m for n in step.nodes if isinstance(m := _module(network, n), WEIGHTED)]
    return (
        len(convs) == 1
        and len(step.nodes) <= 4
        and all(n.op == "call_module" for n in step.nodes)
        and isinstance(conv := convs[0], (nn.Conv1d, nn.Conv2d))
        and conv.groups == conv.in_channels > 1
    )


def _is_pointwise(network: Network, node: fx.Node) -> bool:
    conv = _module(network, node)
    return isinstance(conv, (nn.Conv1d, nn.Conv2d)) and math.prod(conv.kernel_size) == 1 and conv.groups == 1
