"""Train only the layers that change what goes through them, and count what that saves.

Source: Ogawa et al. 2026 (arXiv 2602.05988): of the CKA of every block's input with its output, the lowest
floor(share x blocks) are trained. Deviations: blocks are the layers of `layers.py` (the paper: a transformer's); the
last one, the head, is always trained and takes no part; CKA is debiased and compares whole feature maps, flattened (the
paper: one token, biased); the other layers keep the statistics of their batch norms too, which a transformer has not.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from torch import fx, nn

from secateur.errors import UserError
from secateur.models.data import Split
from secateur.models.network import Network
from secateur.passes.network.layer_flow import flows
from secateur.passes.network.layers import LayerUnit, find_layers
from secateur.passes.network.low_rank import adaptable
from secateur.passes.network.macs import operation_macs

SAMPLES = 256


@dataclass(frozen=True)
class Chosen:
    """What is trained: `modules` by their names in the network, of `layers` (their names) among `of` layers."""

    layers: tuple[str, ...]
    of: int
    modules: frozenset[str]


@dataclass(frozen=True)
class Work:
    """Of one training step, per sample: multiply-accumulates of the backward pass; and parameters that are trained."""

    backward_macs: int
    parameters: int


def choose_layers(network: Network, share: float, split: Split, seed: int = 0, low_rank: bool = False) -> Chosen:
    """The head, and of the others the floor(share x number), one at least, whose input and output are least alike.

    `low_rank`: adapters are what is trained, so layers that take none are no choice, and none of their number; where
    that leaves none, the head alone is trained.
    Raises UserError where there are no two layers, or too few samples to compare on.
    """
    units = find_layers(network)
    if len(units) < 2:
        raise UserError(
            f"{network.name}: {len(units)} layer on the path from input to output, so none can be left out of "
            "training; leave out --train-only"
        )
    *rest, head = units
    if low_rank:
        takers = {layer for n, layer in _with_followers(network, units) if adaptable(_module(network, n))}
        rest = [u for u in rest if u.name in takers]
    changed = flows(network, rest, split, SAMPLES, seed)
    count = max(1, math.floor(share * len(rest)))
    most = sorted(rest, key=lambda u: (-changed[u.name], rest.index(u)))[:count]
    chosen = [u for u in units if u in most or u is head]
    names = {u.name for u in chosen}
    modules = frozenset(str(n.target) for n, u in _with_followers(network, units) if u in names)
    return Chosen(tuple(u.name for u in chosen), len(units), modules)


def _with_followers(network: Network, units: Sequence[LayerUnit]) -> Iterator[tuple[fx.Node, str]]:
    """Nodes that call modules, with the layer that each goes with: norms behind a join with the layer before."""
    layer_of = {node: u.name for u in units for node in u.nodes}
    layer = units[0].name
    for node in network.graph.nodes:
        layer = layer_of.get(node.name, layer)
        if node.op == "call_module":
            yield node, layer


def _module(network: Network, node: fx.Node) -> nn.Module:
    return network.module.get_submodule(str(node.target))


def freeze_others(module: nn.Module, trained: Collection[str]) -> None:
    """Parameters of modules that are not named need no gradient, in place; `fit` then leaves their norms alone."""
    for name, part in module.named_modules():
        if name not in trained:
            for parameter in part.parameters(recurse=False):
                parameter.requires_grad_(False)


def training_work(network: Network, trained: Collection[str] | None = None) -> Work:
    """The work of a step that trains these modules, None: all.

    As autograd does it: a weighted operation costs its own multiply-accumulates once for the gradient of its weights,
    if they are trained, and once for that of its input, if anything before it is.
    """
    macs = operation_macs(network)
    total, parameters = 0, 0
    reached: dict[fx.Node, bool] = {}
    for node in network.graph.nodes:
        before = any(reached[n] for n in node.all_input_nodes)
        own = False
        if node.op == "call_module":
            module = _module(network, node)
            own = (trained is None or str(node.target) in trained) and any(True for _ in module.parameters())
            parameters += sum(p.numel() for p in module.parameters()) if own else 0
            total += macs.get(node.name, 0) * (own + before)
        reached[node] = before or own
    return Work(total, parameters)
