"""Trace a module with its real input: shapes are Python numbers, so code that computes with them runs.

torch.fx alone makes `x.size(2) // 2` or `if x.shape[1] == 3` symbolic and gives up on many of them. Here
every step is also executed on a sample, in eval mode; only what depends on the input becomes a node.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn

from secateur.models.activations import Unsqueeze
from secateur.models.network import Pad, Slice
from secateur.models.tokens import Attention, Bias, ChannelNorm, Tokens

origin: contextvars.ContextVar[str] = contextvars.ContextVar("origin", default="")
"""Name, in the user's file, of what is being traced; an importer sets it so that errors can name it."""

_OPENED = (nn.TransformerEncoder, nn.TransformerEncoderLayer, nn.TransformerDecoder, nn.TransformerDecoderLayer)
"""Modules of torch that are traced as anybody's are."""

_READS_DATA = {"item", "tolist", "numpy", "equal", "allclose", "is_nonzero"}


class DataDependent(Exception):
    """The Python code of a network needs values, not only shapes, of its tensors."""


@contextmanager
def named(name: str) -> Iterator[None]:
    """Nodes traced inside carry `name`."""
    token = origin.set(name)
    try:
        yield
    finally:
        origin.reset(token)


class _Proxy(fx.Proxy):
    """A tensor of the trace; whatever is no tensor (shape, dtype) is given as it is."""

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.node.meta["value"], name)
        if callable(attribute) or isinstance(attribute, Tensor):
            return super().__getattr__(name)
        return attribute

    def __setitem__(self, key: Any, value: Any) -> None:
        raise DataDependent("it assigns to a part of a tensor (x[...] = ...)")

    def __len__(self) -> int:
        return len(self.node.meta["value"])

    def __iter__(self) -> Iterator[Any]:
        return iter([self[i] for i in range(len(self))])  # type: ignore[index]


class _Tracer(fx.Tracer):
    """Runs each step on real tensors beside recording it.

    Node meta: `value`, the tensor; `constant`, whether it is independent of the input; `where`, its name for
    the user.
    """

    def __init__(self, sample: Tensor) -> None:
        super().__init__()
        self.sample = sample
        self.executing = False
        self.proxy_buffer_attributes = True

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if isinstance(m, _OPENED):
            return False
        own = (Pad, Slice, Unsqueeze, Tokens, Bias, ChannelNorm, Attention)
        return isinstance(m, own) or super().is_leaf_module(m, module_qualified_name)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if self.executing:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if self.executing:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def to_bool(self, obj: Any) -> bool:
        raise DataDependent("an `if` or `while` depends on the value of a tensor")

    def create_proxy(self, kind: str, target: Any, args: Any, kwargs: Any, *rest: Any, **more: Any) -> Any:
        if kind == "output":
            return super().create_proxy(kind, target, args, kwargs, *rest, **more)
        if self.executing:
            raise AssertionError(f"{target} is traced while it is executed")
        if getattr(target, "__name__", target) in _READS_DATA:
            raise DataDependent(f"`{getattr(target, '__name__', target)}` reads the values of a tensor")
        value = self._execute(kind, target, _concrete(args), _concrete(kwargs))
        if not _holds_tensor(value):
            return value
        proxy = super().create_proxy(kind, target, args, kwargs, *rest, **more)
        node = proxy.node
        node.meta["value"] = value
        node.meta["constant"] = kind == "get_attr" or (
            kind != "placeholder" and all(n.meta.get("constant", False) for n in node.all_input_nodes)
        )
        node.meta["where"] = origin.get() or self._where(node)
        if isinstance(value, (tuple, list)):
            return tuple(self.create_proxy("call_function", _getitem, (proxy, i), {}) for i in range(len(value)))
        return proxy

    def create_arg(self, a: Any) -> Any:
        arg = super().create_arg(a)
        if isinstance(a, Tensor) and isinstance(arg, fx.Node) and "value" not in arg.meta:
            arg.meta.update(value=a, constant=True, where=arg.name)
        return arg

    def _where(self, node: fx.Node) -> str:
        if node.op == "call_module":
            return str(node.target)
        inside = self.scope.module_path
        return f"{inside}.{node.name}" if inside else node.name

    def _execute(self, kind: str, target: Any, args: Any, kwargs: Any) -> Any:
        self.executing = True
        try:
            if kind == "placeholder":
                return self.sample
            if kind == "get_attr":
                return _attribute(self.root, target)
            if kind == "call_module":
                return self.root.get_submodule(target).forward(*args, **kwargs)
            if kind == "call_method":
                return getattr(args[0], target)(*args[1:], **kwargs)
            return target(*args, **kwargs)
        finally:
            self.executing = False


def _getitem(x: Any, i: Any) -> Any:
    return x[i]


_getitem.__name__ = "getitem"


def _attribute(root: Any, path: str) -> Any:
    for part in path.split("."):
        root = getattr(root, part)
    return root


def _concrete(a: Any) -> Any:
    if isinstance(a, fx.Proxy):
        return a.node.meta["value"]
    if isinstance(a, (tuple, list)):
        items = [_concrete(x) for x in a]
        return type(a)(*items) if hasattr(a, "_fields") else type(a)(items)
    if isinstance(a, dict):
        return {k: _concrete(v) for k, v in a.items()}
    if isinstance(a, slice):
        return slice(_concrete(a.start), _concrete(a.stop), _concrete(a.step))
    return a


def _holds_tensor(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any(_holds_tensor(v) for v in value)
    return isinstance(value, Tensor)


class Whole(nn.Module):
    """Calls a module with one input, so that its other arguments keep their defaults."""

    def __init__(self, whole: nn.Module) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, x: Tensor) -> Any:
        return self.whole(x)


def trace(module: nn.Module, sample: Tensor) -> tuple[fx.Graph, Whole]:
    """The graph of `module` on `sample` (batch first) and the root that its targets belong to.

    Raises whatever the module's code raises, and DataDependent.
    """
    root = Whole(module)
    with torch.no_grad():
        return _Tracer(sample).trace(root), root
