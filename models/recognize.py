"""Compositions of single-value operators that are one activation, known by their values and not by their form.

Exporters write HardSwish as x * relu6(x + 3) / 6, GELU as x * (1 + erf(x / sqrt 2)) / 2, each in several orders. A part
of the graph that computes a function of one value is compared with the known activations on a grid.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from secateur.models.activations import ACTIVATIONS
from secateur.models.affine import Affine
from secateur.models.canonical_activations import Erf

GRID = torch.linspace(-10.0, 10.0, 801, dtype=torch.float64)
SAME = 1e-5
LARGEST = 12  # operators of one composition
KNOWN: tuple[Callable[[], nn.Module], ...] = (
    nn.Hardswish, nn.Hardsigmoid, nn.SiLU, nn.GELU, lambda: nn.GELU("tanh"),
)  # fmt: skip
_SINGLE = (Erf, nn.ReLU, nn.ReLU6, *(kind for kind in ACTIVATIONS if kind is not nn.PReLU))


def recognize(root: fx.GraphModule) -> list[str]:
    """Replace every composition that is a known activation; names what is left and has no canonical form."""
    for node in reversed(list(root.graph.nodes)):
        if node.target is operator.mul or isinstance(_module(root, node), Affine):
            _replace(root, node)
    root.graph.eliminate_dead_code()
    left = [n for n in root.graph.nodes if isinstance(_module(root, n), Erf)]
    return [f"{n.target} (Erf that is no part of a GELU)" for n in left]


def _replace(root: fx.GraphModule, end: fx.Node) -> None:
    found = _composition(root, end)
    if found is None:
        return
    source, module = found
    target = next(name for i in range(len(root.graph.nodes) + 1) if not hasattr(root, name := f"{end.name}_f{i}"))
    root.add_module(target, module)
    with root.graph.inserting_after(end):
        made = root.graph.call_module(target, (source,))
    end.replace_all_uses_with(made)


def _composition(root: fx.GraphModule, end: fx.Node) -> tuple[fx.Node, nn.Module] | None:
    """The node that `end` is a known function of, and the function."""
    position = {n: i for i, n in enumerate(root.graph.nodes)}
    inside, frontier = [end], set(end.all_input_nodes)
    if not _single(root, end):
        return None
    while len(inside) < LARGEST:
        if len(frontier) == 1:
            (source,) = frontier
            module = _known(_values(root, source, sorted(inside, key=position.__getitem__), end))
            if module is not None:
                return source, module
        able = [n for n in frontier if _single(root, n)]
        if not able:
            return None
        latest = max(able, key=position.__getitem__)
        frontier = (frontier - {latest}) | set(latest.all_input_nodes)
        inside.append(latest)
    return None


def _single(root: fx.GraphModule, node: fx.Node) -> bool:
    """Does it compute each value from values at the same place alone, by one rule for all?"""
    if node.op == "call_function":
        return node.target in (operator.mul, operator.add)
    module = _module(root, node)
    if isinstance(module, Affine):
        return all(bool((v == v[0]).all()) for v in (module.scale, module.shift))
    return isinstance(module, _SINGLE)


def _values(root: fx.GraphModule, source: fx.Node, inside: list[fx.Node], end: fx.Node) -> Tensor:
    values: dict[Any, Tensor] = {source: GRID}
    with torch.no_grad():
        for node in inside:
            module = _module(root, node)
            if module is None:
                a, b = node.args
                values[node] = node.target(values[a], values[b])  # type: ignore[operator]
            elif isinstance(module, Affine):
                values[node] = values[node.args[0]] * module.scale[0].double() + module.shift[0].double()
            else:
                values[node] = module(values[node.args[0]])
    return values[end]


def _known(values: Tensor) -> nn.Module | None:
    for make in KNOWN:
        module = make()
        expected = module(GRID)
        if bool(((values - expected).abs() <= SAME * (1 + expected.abs())).all()):
            return module.eval()
    return None


def _module(root: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    return root.get_submodule(str(node.target)) if node.op == "call_module" else None
