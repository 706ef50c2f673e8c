"""Channels taken in any order, until a graph is canonical: the convolution before them is split, or it is a Slice."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, fx, nn

from secateur.models.affine import Affine
from secateur.models.network import Slice
from secateur.models.tokens import Bias


class Take(nn.Module):
    """Channels `index` of (n, c, ...); exists only while a graph is made canonical."""

    def __init__(self, index: Tensor, where: str) -> None:
        super().__init__()
        self.index, self.where = index, where

    def forward(self, x: Tensor) -> Tensor:
        return x.index_select(1, self.index)


def fold_takes(module: fx.GraphModule) -> list[str]:
    """Remove every Take: a convolution or linear layer that only Takes read becomes one for each of them, which is what
    one layer for queries, keys and values is cut to. Returns what could not be removed (name and reason)."""
    problems = []
    _behind_affine(module)
    for node in list(module.graph.nodes):
        source, take = _source(node), _module(module, node)
        if not isinstance(take, Take) or source is None:
            continue
        layer = _module(module, source)
        alone = all(isinstance(_module(module, user), Take) for user in source.users)
        weighted = isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Linear)) and getattr(layer, "groups", 1) == 1
        if weighted and alone:
            _put(module, str(node.target), _rows(layer, take.index))
            node.args = source.args
            continue
        begin, count = int(take.index[0]), len(take.index)
        if not torch.equal(take.index, torch.arange(begin, begin + count)):
            problems.append(f"{take.where} (takes channels in another order, of what is no convolution of its own)")
            continue
        rest = source.meta["shape"][2:]
        _put(module, str(node.target), Slice(((begin, begin + count, 1), *((0, n, 1) for n in rest))))
    return problems


def _behind_affine(module: fx.GraphModule) -> None:
    """Constants that only Takes read are taken after them, so that the convolution before them can be split."""
    for node in list(module.graph.nodes):
        affine = _module(module, node)
        takes = [(user, _module(module, user)) for user in node.users]
        if not isinstance(affine, Affine) or not all(isinstance(take, Take) for _, take in takes):
            continue
        source = node.args[0]
        for user, take in takes:
            assert isinstance(take, Take) and isinstance(source, fx.Node)
            part = Affine(affine.scale[take.index], affine.shift[take.index], affine.where)
            with module.graph.inserting_after(user):
                target = f"{user.target}_constants"
                _put(module, target, part)
                after = module.graph.call_module(target, (user,))
            after.meta.update(rank=node.meta["rank"], shape=user.meta["shape"])
            user.replace_all_uses_with(after, delete_user_cb=lambda reader, after=after: reader is not after)
            user.args = (source,)
        module.graph.erase_node(node)


def merge_biases(module: fx.GraphModule) -> None:
    """Two values added to tokens in a row are one."""
    for node in list(module.graph.nodes):
        first, after = _source(node), _module(module, node)
        before = _module(module, first) if first is not None else None
        if isinstance(after, Bias) and isinstance(before, Bias) and first is not None and len(first.users) == 1:
            with torch.no_grad():
                after.bias.add_(before.bias)
            node.args = first.args


def _source(node: fx.Node) -> fx.Node | None:
    found = node.args[0] if node.op == "call_module" else None
    return found if isinstance(found, fx.Node) else None


def _module(root: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    return root.get_submodule(str(node.target)) if node.op == "call_module" else None


def _rows(layer: Any, index: Tensor) -> nn.Module:
    part: Any = copy.deepcopy(layer)
    part.weight = nn.Parameter(layer.weight.detach()[index].clone())
    if layer.bias is not None:
        part.bias = nn.Parameter(layer.bias.detach()[index].clone())
    if isinstance(part, nn.Linear):
        part.out_features = len(index)
    else:
        part.out_channels = len(index)
    return part  # type: ignore[no-any-return]


def _put(root: fx.GraphModule, target: str, made: nn.Module) -> None:
    parent, _, name = target.rpartition(".")
    setattr(root.get_submodule(parent), name, made)
