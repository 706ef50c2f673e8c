"""Multiply-accumulates and parameters of a float network."""

from __future__ import annotations

import math

from torch import nn

from secateur.models.network import Network
from secateur.models.tokens import Attention


def network_macs(network: Network) -> int:
    """Multiply-accumulates of one inference.

    Convolution: output positions x outputs x inputs / groups x kernel; linear: inputs x outputs; attention: queries
    x keys x channels, of both its products; the rest 0 (the metric of Jordao's group, except that a depthwise
    convolution is charged for what it does).
    """
    return sum(operation_macs(network).values())


def operation_macs(network: Network) -> dict[str, int]:
    """The same by operation: name of its node -> multiply-accumulates, of those that have any."""
    shapes = network.shapes()
    found = {}
    for node in network.graph.nodes:
        if node.op == "call_module":
            module = network.module.get_submodule(str(node.target))
            if isinstance(module, (nn.Conv1d, nn.Conv2d)):
                per_value = module.in_channels // module.groups * math.prod(module.kernel_size)
                found[node.name] = math.prod(shapes[node.name]) * per_value
            elif isinstance(module, nn.Linear):
                found[node.name] = math.prod(shapes[node.name]) * module.in_features
            elif isinstance(module, Attention):
                q, _, v = (shapes[a.name] for a in node.args)
                found[node.name] = q[1] * v[1] * (q[0] + v[0])
    return found


def network_parameters(network: Network) -> int:
    """Number of trainable values; the running statistics of norms do not count."""
    return sum(p.numel() for p in network.module.parameters())
