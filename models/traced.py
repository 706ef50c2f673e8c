"""What a node of a traced graph is called, and the constants that it takes."""

from __future__ import annotations

from typing import Any

from torch import fx, nn

from secateur.models.canonical_ops import Unsupported

ARITHMETIC = {
    "add",
    "iadd",
    "add_",
    "sub",
    "isub",
    "sub_",
    "subtract",
    "mul",
    "imul",
    "mul_",
    "multiply",
} | {
    *("truediv", "itruediv", "div", "div_", "divide", "true_divide", "neg", "negative", "neg_"),
}


def place(node: fx.Node) -> str:
    """A traced node's name in the user's network."""
    return str(node.meta["where"]).removeprefix("whole.")


def constants(value: Any) -> Any:
    """Arguments with constant nodes replaced by their tensors."""

    def known(node: fx.Node) -> Any:
        if not node.meta.get("constant", False):
            raise Unsupported("takes a computed tensor as a parameter")
        return node.meta["value"]

    return fx.map_arg(value, known)


def name_of(node: fx.Node, root: nn.Module) -> str:
    if node.op == "call_module":
        module = root.get_submodule(str(node.target))
        if isinstance(module, (nn.Flatten, nn.Unflatten)):
            return type(module).__name__.lower()
        return type(module).__name__
    if node.op == "call_method":
        return str(node.target)
    return str(getattr(node.target, "__name__", node.target)).removeprefix("_")
