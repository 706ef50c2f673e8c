"""Streams of tokens whose mean over the channels nobody needs: made zero where the stream is written.

A stream that layer norms alone read may lose its mean over the channels, for each of them takes it out. Where it is a
sum of what convolutions and constants write, they write it without a mean, and the norms need not take one out. Source:
Ashkboos et al., "SliceGPT", ICLR 2024, section 3.2.
"""

from __future__ import annotations

import operator

import torch
from torch import fx, nn

from secateur.models.network import Network, Pad, Slice
from secateur.models.tokens import Bias, ChannelNorm, Tokens


def centred_nodes(network: Network) -> set[fx.Node]:
    """The nodes of all such streams: what writes them, and their sums; read by ChannelNorm."""
    found: set[fx.Node] = set()
    modules = dict(network.module.named_modules())
    shapes = network.shapes()
    for node in network.graph.nodes:
        if isinstance(_module(modules, node), ChannelNorm) and node.args[0] not in found:
            found |= _stream(modules, shapes, node.args[0]) or set()
    return found


def _stream(modules: dict[str, nn.Module], shapes: dict[str, tuple[int, ...]], start: object) -> set[fx.Node] | None:
    """All nodes that share the stream of `start`, or None where its mean matters."""
    stream: set[fx.Node] = set()
    waiting = [start]
    while waiting:
        node = waiting.pop()
        if node in stream:
            continue
        if not isinstance(node, fx.Node):
            return None
        stream.add(node)
        module = _module(modules, node)
        if node.target is operator.add or isinstance(module, (Bias, Tokens)):
            waiting += node.args
        elif isinstance(module, (Pad, Slice)):
            if not _keeps_channels(module, shapes[node.name][0]):
                return None
            waiting += node.args
        elif not isinstance(module, (nn.Conv1d, nn.Conv2d)) or module.groups > 1:
            return None
        waiting += [user for user in node.users if not isinstance(_module(modules, user), ChannelNorm)]
    # what the walk has met as a reader must be a part of the stream, and a convolution that reads it is none
    for node in stream:
        module = _module(modules, node)
        if isinstance(module, (nn.Conv1d, nn.Conv2d)) and not stream.isdisjoint(node.all_input_nodes):
            return None
    return stream


def _keeps_channels(module: Pad | Slice, channels: int) -> bool:
    """Leaves the channels of each token as they are, and has zeros for new tokens."""
    if isinstance(module, Pad):
        return module.value == 0 and not any(module.amounts[0])
    return module.ranges[0] == (0, channels, 1)


def _module(modules: dict[str, nn.Module], node: fx.Node) -> nn.Module | None:
    return modules.get(str(node.target)) if node.op == "call_module" else None


def without_means(network: Network) -> Network:
    """The same network, whose such streams have no mean already, as `lower` writes them; itself where it has none.

    Training on the grids of the int8 Program needs values that lie on them.
    """
    names = {n.name for n in centred_nodes(network)}
    if not names:
        return network
    found = network.clone()
    with torch.no_grad():
        for node in found.graph.nodes:
            module = found.module.get_submodule(str(node.target)) if node.op == "call_module" else None
            if node.name in names and isinstance(module, (nn.Conv1d, nn.Conv2d, Bias)):
                for value in module.parameters(recurse=False):
                    value.sub_(value.mean(0, keepdim=True))
    return found
