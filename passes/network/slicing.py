"""The modules of a network with some channel classes deleted, or set to zero to prove the deletion."""

from __future__ import annotations

import copy
from collections.abc import Collection

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from secateur.models.network import Network, Pad, Slice
from secateur.models.tokens import Attention, Bias
from secateur.passes.network.channels import Channels

_DENSE = (nn.Conv1d, nn.Conv2d, nn.Linear)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
Keep = npt.NDArray[np.bool_]


def cut_modules(network: Network, channels: Channels, classes: Collection[int]) -> dict[str, nn.Module]:
    """The modules that change, by target, without every channel of `classes`. What survives keeps its order.

    Weights, biases, norms' statistics, columns of a linear layer after Flatten (one per position), groups of
    a grouped convolution, heads, and the channel amounts of Pad and Slice. The network itself is left as it is.
    """
    gone = np.fromiter(classes, dtype=np.int64)
    changed: dict[str, nn.Module] = {}
    for node in network.graph.nodes:
        if node.op != "call_module":
            continue
        keep_in = ~np.isin(channels.values[node.all_input_nodes[0].name], gone)
        keep_out = ~np.isin(channels.values[node.name], gone)
        if keep_in.all() and keep_out.all():
            continue
        module = _cut(network.module.get_submodule(str(node.target)), keep_in, keep_out)
        if module is not None:
            changed[str(node.target)] = module
    return changed


def zeroed_modules(network: Network, channels: Channels, classes: Collection[int]) -> dict[str, nn.Module]:
    """The same modules at full size, with every weight that the cut would delete set to zero."""
    gone = np.fromiter(classes, dtype=np.int64)
    changed: dict[str, nn.Module] = {}
    for node in network.graph.nodes:
        if node.op != "call_module":
            continue
        old = network.module.get_submodule(str(node.target))
        lost_in = torch.from_numpy(np.isin(channels.values[node.all_input_nodes[0].name], gone))
        lost_out = torch.from_numpy(np.isin(channels.values[node.name], gone))
        if not (lost_in.any() or lost_out.any()) or not isinstance(old, (*_DENSE, *_NORMS, Bias)):
            continue
        module = copy.deepcopy(old)
        with torch.no_grad():
            for values in (getattr(module, "weight", None), module.bias):
                if values is not None:
                    values[lost_out] = 0.0
            if isinstance(module, nn.Linear) or (isinstance(module, _DENSE) and module.groups == 1):
                module.weight[:, lost_in] = 0.0
        changed[str(node.target)] = module
    return changed


def put_modules(network: Network, modules: dict[str, nn.Module]) -> None:
    """Replace modules in place, by target."""
    for target, module in modules.items():
        parent, _, name = target.rpartition(".")
        setattr(network.module.get_submodule(parent), name, module)


def _cut(module: nn.Module, keep_in: Keep, keep_out: Keep) -> nn.Module | None:
    """The module with the kept channels, or None if it holds nothing per channel."""
    new = copy.deepcopy(module)
    if isinstance(new, (nn.Conv1d, nn.Conv2d)):
        if new.groups > 1:
            whole = keep_in.reshape(new.groups, -1)
            assert (whole.all(1) == whole.any(1)).all(), "a grouped convolution loses whole groups only"
            new.weight = _take(new.weight, keep_out)
            new.groups = int(whole.all(1).sum())
        else:
            new.weight = _take(_take(new.weight, keep_out), keep_in, 1)
        new.in_channels, new.out_channels = int(keep_in.sum()), int(keep_out.sum())
        new.bias = None if new.bias is None else _take(new.bias, keep_out)
    elif isinstance(new, nn.Linear):
        new.weight = _take(_take(new.weight, keep_out), keep_in, 1)
        new.in_features, new.out_features = int(keep_in.sum()), int(keep_out.sum())
        new.bias = None if new.bias is None else _take(new.bias, keep_out)
    elif isinstance(new, (nn.BatchNorm1d, nn.BatchNorm2d)):
        index = torch.from_numpy(np.flatnonzero(keep_out))
        new.weight, new.bias = _take(new.weight, keep_out), _take(new.bias, keep_out)
        for name in ("running_mean", "running_var"):
            old = getattr(new, name)
            new.register_buffer(name, old[index.to(old.device)].clone())
        new.num_features = int(keep_out.sum())
    elif isinstance(new, nn.PReLU) and new.num_parameters > 1:
        new.weight = _take(new.weight, keep_out)
        new.num_parameters = int(keep_out.sum())
    elif isinstance(new, Pad):
        before, after = new.amounts[0]
        last = len(keep_out) - after
        new.amounts = ((int(keep_out[:before].sum()), int(keep_out[last:].sum())), *new.amounts[1:])
    elif isinstance(new, Slice):
        begin, end, _ = new.ranges[0]
        first = int(keep_in[:begin].sum())
        new.ranges = ((first, first + int(keep_in[begin:end].sum()), 1), *new.ranges[1:])
    elif isinstance(new, Bias):
        new.bias = _take(new.bias, keep_out)
    elif isinstance(new, Attention):
        whole = keep_out.reshape(new.heads, -1)
        assert (whole.all(1) == whole.any(1)).all(), "an attention loses whole heads only"
        new.heads = int(whole.all(1).sum())
    else:
        return None
    return new


def _take(values: nn.Parameter | Tensor, keep: Keep, dim: int = 0) -> nn.Parameter:
    index = torch.from_numpy(np.flatnonzero(keep)).to(values.device)
    return nn.Parameter(values.detach().index_select(dim, index), requires_grad=values.requires_grad)
