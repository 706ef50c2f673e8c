"""Outputs as probabilities: what a confidence, a threshold and an average over windows are made of."""

from __future__ import annotations

import itertools
from dataclasses import replace

from torch import nn

from secateur.models.network import Network
from secateur.models.training import ends_in_probabilities

NAME = "probabilities"


def for_decisions(network: Network) -> Network:
    """With probabilities where a front end leads to decisions between classes; any other network as it is."""
    decides = network.preprocess.front_end is not None and not network.preprocess.decisions.reconstructs
    return with_probabilities(network) if decides else network


def with_probabilities(network: Network) -> Network:
    """The network with a softmax behind its logits; as it is where it gives probabilities already."""
    if ends_in_probabilities(network.module):
        return network
    changed = network.clone()
    module, graph = changed.module, changed.graph
    output = next(n for n in graph.nodes if n.op == "output")
    name = next(name for i in itertools.count() if not hasattr(module, name := f"{NAME}{i or ''}"))
    module.add_submodule(name, nn.Softmax(1))
    with graph.inserting_before(output):
        softmax = graph.call_module(name, (output.args[0],))
    output.args = (softmax,)
    module.recompile()
    return replace(changed)
