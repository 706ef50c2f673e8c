"""Constant factors and summands: folded into the weights beside them, or a 1x1 depthwise convolution."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn


class Affine(nn.Module):
    """y = scale * x + shift, one value a channel; exists only while a graph is made canonical."""

    def __init__(self, scale: Tensor, shift: Tensor, where: str) -> None:
        super().__init__()
        self.scale, self.shift, self.where = scale, shift, where

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, -1) + (1,) * (x.ndim - 2)
        return x * self.scale.reshape(shape) + self.shift.reshape(shape)


def fold_affine(module: fx.GraphModule) -> list[str]:
    """Remove every Affine of the graph; returns what could not be (name and reason)."""
    problems: list[str] = []
    for node in list(module.graph.nodes):
        affine = _module(module, node)
        if node._erased or not isinstance(affine, Affine):
            continue
        _absorb_followers(module, node, affine)
        source = node.args[0]
        before = _module(module, source)
        if bool((affine.scale == 1).all()) and bool((affine.shift == 0).all()):
            node.replace_all_uses_with(source)
        elif isinstance(before, (nn.Conv1d, nn.Conv2d, nn.Linear)) and len(source.users) == 1:
            _fold_backward(before, affine)
            node.replace_all_uses_with(source)
        elif _folds_forward(module, node, affine):
            node.replace_all_uses_with(source)
        else:
            made = _depthwise(module, node, affine)
            if made is None:
                problems.append(f"{affine.where} (scales a flat vector that no Linear takes or gives)")
                continue
            _replace(module, str(node.target), made)
            continue
        module.graph.erase_node(node)
    return problems


def _absorb_followers(root: fx.GraphModule, node: fx.Node, affine: Affine) -> None:
    while len(node.users) == 1:
        follower = next(iter(node.users))
        after = _module(root, follower)
        if not isinstance(after, Affine):
            return
        affine.shift = affine.shift * after.scale + after.shift
        affine.scale = affine.scale * after.scale
        follower.replace_all_uses_with(node)
        root.graph.erase_node(follower)


def _module(root: fx.GraphModule, node: Any) -> nn.Module | None:
    if isinstance(node, fx.Node) and node.op == "call_module":
        return root.get_submodule(str(node.target))
    return None


def _replace(root: fx.GraphModule, target: str, made: nn.Module) -> None:
    parent, _, name = target.rpartition(".")
    setattr(root.get_submodule(parent), name, made)


def _fold_backward(layer: Any, affine: Affine) -> None:
    with torch.no_grad():
        layer.weight.mul_(affine.scale.reshape(-1, *[1] * (layer.weight.ndim - 1)))
        bias = torch.zeros_like(affine.shift) if layer.bias is None else layer.bias
        layer.bias = nn.Parameter(bias * affine.scale + affine.shift)


def _folds_forward(root: fx.GraphModule, node: fx.Node, affine: Affine) -> bool:
    """Fold into all consumers where that is exact: a Linear, or a uniform factor into a convolution."""
    layers: list[Any] = [_module(root, user) for user in node.users]
    uniform = bool((affine.scale == affine.scale[0]).all()) and bool((affine.shift == 0).all())
    for layer in layers:
        convolves = isinstance(layer, (nn.Conv1d, nn.Conv2d)) and uniform  # zero padding bars a shift
        if not (isinstance(layer, nn.Linear) or convolves):
            return False
    with torch.no_grad():
        for layer in layers:
            if isinstance(layer, nn.Linear):
                shift = layer.weight @ affine.shift
                if bool((shift != 0).any()):
                    layer.bias = nn.Parameter(shift if layer.bias is None else layer.bias + shift)
                layer.weight.mul_(affine.scale)
            else:
                layer.weight.mul_(affine.scale[0])
    return bool(layers)


def _depthwise(root: fx.GraphModule, node: fx.Node, affine: Affine) -> nn.Module | None:
    rank = node.meta["rank"]
    if rank not in (3, 4):
        return None
    kind: Any = nn.Conv1d if rank == 3 else nn.Conv2d
    channels = len(affine.scale)
    conv: nn.Module = kind(channels, channels, 1, groups=channels)
    with torch.no_grad():
        conv.weight.copy_(affine.scale.reshape(-1, *[1] * (rank - 1)))  # type: ignore[operator]
        conv.bias.copy_(affine.shift)  # type: ignore[operator]
    return conv
