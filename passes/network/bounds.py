"""Which values a node can take, from its operations alone: tells when an activation changes nothing."""

from __future__ import annotations

import math
import operator

import torch
from torch import fx, nn

from secateur.models.activations import ACTIVATIONS, IDENTITY_ABOVE_ZERO, Unsqueeze, activation_bounds
from secateur.models.network import Network, Pad, Slice
from secateur.models.tokens import Tokens

Bounds = tuple[float, float]
ANY: Bounds = (-math.inf, math.inf)
_MOVES = (nn.Flatten, Slice, Unsqueeze)


def value_bounds(network: Network) -> dict[str, Bounds]:
    """(low, high) of every node's value, for any input and any weights. Unknown is (-inf, inf)."""
    bounds: dict[str, Bounds] = {}
    for node in network.graph.nodes:
        if node.op != "output":
            bounds[node.name] = _bounds(network, node, [bounds[n.name] for n in node.all_input_nodes])
    return bounds


def clamps(network: Network, node: fx.Node, incoming: Bounds) -> bool | None:
    """Whether the activation `node` can change a value within `incoming`; None if it is no activation."""
    module = network.module.get_submodule(str(node.target)) if node.op == "call_module" else None
    if isinstance(module, nn.ReLU6):
        return not (incoming[0] >= 0 and incoming[1] <= 6)
    if isinstance(module, (nn.ReLU, *IDENTITY_ABOVE_ZERO)):
        return not incoming[0] >= 0
    return True if isinstance(module, ACTIVATIONS) else None


def _bounds(network: Network, node: fx.Node, inputs: list[Bounds]) -> Bounds:
    if node.op == "placeholder":
        return ANY
    if node.op == "call_function":
        a, b = inputs[0], inputs[-1]
        if node.target is torch.cat:
            return min(i[0] for i in inputs), max(i[1] for i in inputs)
        if node.target is operator.add:
            return a[0] + b[0], a[1] + b[1]
        if a[0] >= 0 and b[0] >= 0:  # a product; inf * 0 has no value, so other signs stay unknown
            return 0.0, math.inf
        return ANY
    (low, high), module = inputs[0], network.module.get_submodule(str(node.target))
    if isinstance(module, nn.ReLU6):
        return min(max(low, 0.0), 6.0), min(max(high, 0.0), 6.0)
    if isinstance(module, nn.ReLU):
        return max(low, 0.0), max(high, 0.0)
    if isinstance(module, ACTIVATIONS):
        return activation_bounds(module, low, high)
    if isinstance(module, nn.Softmax):
        return 0.0, 1.0
    if isinstance(module, Pad):
        return min(low, module.value), max(high, module.value)
    if isinstance(module, (nn.AvgPool1d, nn.AvgPool2d)):
        return min(low, 0.0), max(high, 0.0)  # padding counts as zeros
    if isinstance(module, (nn.MaxPool1d, nn.MaxPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, *_MOVES)):
        return low, high
    if isinstance(module, Tokens):
        return low, high
    return ANY
