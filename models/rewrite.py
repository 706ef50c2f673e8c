"""Node by node from a traced graph to the canonical one, with what is unsupported collected on the way."""

from __future__ import annotations

import copy
import math
import operator
import re
from typing import Any

import torch
from torch import Tensor, fx, nn

from secateur.models.activations import Unsqueeze
from secateur.models.affine import Affine
from secateur.models.canonical_ops import Unsupported, function_chain, module_chain, reduce
from secateur.models.network import Slice
from secateur.models.rewrite_attention import WEIGHTS_ALONE, AttentionRewriter
from secateur.models.seen import Misplaced, Seen, Weighing
from secateur.models.tokens import Tokens
from secateur.models.traced import ARITHMETIC, constants, name_of, place

_RESHAPES = {
    "flatten",
    "view",
    "reshape",
    "squeeze",
    "unsqueeze",
    "squeeze_",
    "unsqueeze_",
    "view_as",
    "reshape_as",
}
_CONCATENATIONS = {"cat", "concat", "concatenate"}
_PIECES = {"chunk", "split", "tensor_split"}


class Rewriter:
    """Builds the canonical graph; `modules` are its targets, `problems` what has no canonical form."""

    def __init__(self, root: nn.Module, graph: fx.Graph, batch: int) -> None:
        self.root, self.old, self.batch = root, graph, batch
        self.new = fx.Graph()
        self.modules: dict[str, nn.Module] = {}
        self.shapes: dict[fx.Node, tuple[int, ...]] = {}
        self.env: dict[fx.Node, Seen] = {}
        self.problems: list[str] = []
        self.called: dict[str, fx.Node] = {}
        self.tokens = AttentionRewriter(self)
        self.taken = {name.removeprefix("whole.") for name, _ in root.named_modules()}

    def run(self, output: fx.Node, to_the_end: bool = True) -> fx.Graph:
        """Up to `output`; to the end with what works in place on it afterwards."""
        live = self._live(output, to_the_end)
        self._refuse_ties(live)
        doubtful: set[fx.Node] = set()
        for node in self.old.nodes:
            if node not in live or node.meta.get("constant", False):
                continue
            behind = not doubtful.isdisjoint(node.all_input_nodes)
            try:
                value = self._convert(node)
            except Unsupported as reason:
                if not (behind and isinstance(reason, Misplaced)):
                    self.problems.append(self._describe(node, str(reason)))
                value = None
            if behind or value is None:
                doubtful.add(node)
            if value is None:
                value = self._stand_in(node)
            self._bind(node, value)
        if output not in self.env:
            self.problems.append("the output does not depend on the input")
            return self.new
        try:
            self.new.output(self.node_of(self.env[output]))
        except Unsupported as reason:
            if output not in doubtful:
                self.problems.append(f"{place(output)} (as the output: {reason})")
        return self.new

    def _live(self, output: fx.Node, to_the_end: bool) -> set[fx.Node]:
        """Ancestors of `output`, and the in-place operators on them that run before it, or at all."""
        live: set[fx.Node] = set()

        def add(node: fx.Node) -> None:
            stack = [node]
            while stack:
                one = stack.pop()
                if one not in live:
                    live.add(one)
                    stack += one.all_input_nodes

        add(output)
        for node in self.old.nodes:
            if node is output and not to_the_end:
                break
            if node.op.startswith("call") and _inplace(node, self.root) and node.all_input_nodes[0] in live:
                add(node)
        return live

    def _describe(self, node: fx.Node, reason: str) -> str:
        what = name_of(node, self.root)
        return f"{place(node)} ({what}: {reason})" if reason else f"{place(node)} ({what})"

    def _stand_in(self, node: fx.Node) -> Seen:
        shape = tuple(node.meta["value"].shape) if isinstance(node.meta["value"], Tensor) else ()
        return self._keep(self.new.call_function(_missing, (), name=node.name), shape)

    def _keep(self, node: fx.Node, shape: tuple[int, ...]) -> Seen:
        self.shapes[node] = node.meta["shape"] = shape
        return Seen(node, shape)

    def _bind(self, node: fx.Node, value: Seen) -> None:
        if _inplace(node, self.root):
            changed = self.env[node.all_input_nodes[0]].node
            for known in self.env.values():  # whoever holds the changed tensor sees the new value
                if known.node is changed and _alike(known, value):
                    known.node = value.node
        self.env[node] = copy.copy(value)

    def _convert(self, node: fx.Node) -> Seen | None:
        actual = node.meta["value"]
        if isinstance(actual, Tensor) and actual.dtype != torch.float32:
            raise Unsupported(f"gives {actual.dtype}")
        if node.op == "placeholder":
            return self._keep(self.new.placeholder("x"), tuple(actual.shape))
        name = name_of(node, self.root)
        seen = self.tokens.convert(node, name)
        if seen is not None:
            return seen
        if not isinstance(actual, Tensor):
            if name in _PIECES:
                return Seen(self.node_of(self._input(node)), self._input(node).shape)
            raise Unsupported("returns several values")
        if name == "getitem" and not isinstance(node.args[0].meta["value"], Tensor):  # type: ignore[union-attr]
            return self._piece(node)
        if name in _RESHAPES or name == "unflatten":
            source = self._input(node)
            return Seen(source.node, tuple(actual.shape))
        if name in _CONCATENATIONS:
            return self._concatenate(node, tuple(actual.shape))
        if name in ARITHMETIC:
            return self._arithmetic(node, name, tuple(actual.shape))
        if name in ("pow", "square"):
            return self._power(node, name, tuple(actual.shape))
        if name in ("mean", "amax"):
            return self._reduce(node, name, tuple(actual.shape))
        return self._chain(node, name)

    def _input(self, node: fx.Node) -> Seen:
        first = node.args[0] if node.args else node.kwargs.get("input", node.kwargs.get("x"))
        if not isinstance(first, fx.Node) or first not in self.env:
            raise Unsupported("its first argument does not depend on the input")
        return self.env[first]

    def _chain(self, node: fx.Node, name: str) -> Seen:
        source = self._input(node)
        shape = source.shape[1:]
        if node.op == "call_module":
            target = str(node.target)
            module = self.root.get_submodule(target)
            if next(module.parameters(), None) is not None:
                self.once(target, node)
            chain = module_chain(module, shape)
        else:
            for weight in (n for n in node.all_input_nodes if n.op == "get_attr"):
                self.once(str(weight.target), node)
            args = constants(node.args[1:] if node.args else ())
            kwargs = constants({k: v for k, v in node.kwargs.items() if k not in ("input", "x")})
            try:
                chain = function_chain(name, shape, args, kwargs)
            except TypeError as error:
                raise Unsupported(f"arguments are not understood: {error}") from error
        if not chain:
            return Seen(source.node, source.shape)
        value = source
        for made in chain:
            path = str(node.target).removeprefix("whole.")
            own = made is chain[-1] and node.op == "call_module" and path not in self.modules and not _reserved(path)
            value = self._call(path if own else self.free(place(node)), made, value)
            value.node.meta["rank"] = len(value.shape)
        return value

    def once(self, target: str, node: fx.Node) -> None:
        """`node` uses the weights of `target`, which nobody else may."""
        if target in self.called and node.op == "call_module":
            raise Unsupported("called a second time, with shared weights")
        if target in self.called:
            raise Unsupported(f"shares its weights with {place(self.called[target])}")
        self.called[target] = node

    def free(self, name: str) -> str:
        name = re.sub(r"[^\w.]+", "_", name).strip("._") or "op"
        name = ".".join(part or "op" for part in name.split("."))
        found, count = name, 0
        while found in self.taken or _reserved(found):  # no path of the network: its own names stay as they are
            count += 1
            found = f"{name}_{count}"
        self.taken.add(found)
        return found

    def _call(self, target: str, module: nn.Module, source: Seen) -> Seen:
        feeding = self.node_of(source)
        if isinstance(module, Slice):
            feeding, module = self._merged(feeding, module)
        shape = self.shapes[feeding]
        module.eval()
        with torch.no_grad():
            result = module(torch.zeros(shape))
        self.modules[target] = module
        return self._keep(self.new.call_module(target, (feeding,)), tuple(result.shape))

    def _merged(self, feeding: fx.Node, outer: Slice) -> tuple[fx.Node, Slice]:
        """A slice of a slice is one slice; exporters cut one dimension at a time."""
        inner = self.modules.get(str(feeding.target)) if feeding.op == "call_module" else None
        if not isinstance(inner, Slice):
            return feeding, outer
        ranges = []
        for (begin, _, step), (b, e, s) in zip(inner.ranges, outer.ranges, strict=True):
            first, count = begin + b * step, len(range(b, e, s))
            ranges.append((first, first + (count - 1) * step * s + 1 if count else first, step * s))
        return feeding.all_input_nodes[0], Slice(tuple(ranges))

    def _call_function(self, node: fx.Node, target: Any, args: tuple[Any, ...], shape: tuple[int, ...]) -> Seen:
        name = re.sub(r"\W+", "_", place(node)).strip("_")
        return self._keep(self.new.create_node("call_function", target, args, {}, name), shape)

    def node_of(self, value: Seen) -> fx.Node:
        """The node with `value`'s shape: itself, or flattened."""
        if isinstance(value, Weighing):
            raise Unsupported(WEIGHTS_ALONE)
        if value.index is not None:
            value = self.tokens.compact(value, value.node.name)
        if value.index is not None:
            raise Misplaced(f"takes {value.shape[1:]}, whose elements are in another order than its channels first")
        shape = self.shapes[value.node]
        if value.shape == shape or not shape:
            return value.node
        if len(shape) == 4 and value.shape == (*shape[:2], math.prod(shape[2:])):
            return self._call(self.free("tokens"), Tokens(), Seen(value.node, shape)).node
        if value.shape == (shape[0], math.prod(shape[1:])):
            flat = Seen(value.node, shape)
            return self._call(self.free("flatten"), nn.Flatten(1), flat).node
        if len(shape) == 2 and value.shape == (*shape, *[1] * (len(value.shape) - 2)):
            whole = Seen(value.node, shape)
            return self._call(self.free("unsqueeze"), Unsqueeze(len(value.shape) - 2), whole).node
        raise Unsupported(f"reshapes {shape[1:]} to {value.shape[1:]}; only flattening is supported")

    def _concatenate(self, node: fx.Node, shape: tuple[int, ...]) -> Seen:
        items = node.args[0] if node.args else node.kwargs["tensors"]
        dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", node.kwargs.get("axis", 0))
        if not all(isinstance(i, fx.Node) and i in self.env for i in items):  # type: ignore[union-attr]
            raise Unsupported("concatenates a constant")
        if int(dim) % len(shape) != 1:  # type: ignore[arg-type]
            raise Unsupported(f"concatenates dimension {dim}; only the channels (1)")
        parts = [self.node_of(self.env[i]) for i in items]  # type: ignore[union-attr,index]
        if len(parts) == 1:
            return Seen(parts[0], shape)
        return self._call_function(node, torch.cat, (parts, 1), shape)

    def _reduce(self, node: fx.Node, name: str, shape: tuple[int, ...]) -> Seen:
        source = self._input(node)
        dims = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", node.kwargs.get("axis"))
        if dims is None:
            raise Unsupported("reduces over the batch")
        inner = self.shapes[source.node]
        listed: Any = dims if isinstance(dims, (tuple, list)) else [dims]
        over = {int(d) % len(source.shape) for d in listed}
        if source.shape[:2] == inner[:2] and over == set(range(2, len(source.shape))):
            # (n, c, ...) reshaped behind the channels only: the order of what is reduced does not matter
            source, dims = Seen(source.node, inner), list(range(2, len(inner)))
        try:
            chain = reduce(source.shape[1:], dims, maximum=name == "amax")
        except Unsupported as reason:
            raise Misplaced(str(reason)) from None
        value = self._call(self.free(place(node)), chain[0], source)
        return Seen(value.node, shape)

    def _piece(self, node: fx.Node) -> Seen | None:
        """One element of a chunk or split: a Slice."""
        pieces, at = node.args
        assert isinstance(pieces, fx.Node) and isinstance(at, int)
        if name_of(pieces, self.root) not in _PIECES:
            return None  # of an operator that is already listed
        source = self.env[pieces]
        whole, values = source.shape, pieces.meta["value"]
        differing = [d for d in range(len(whole)) if values[0].shape[d] != whole[d]]
        if not differing:
            return Seen(source.node, source.shape)
        dim = differing[0]
        if dim == 0:
            raise Unsupported("splits the batch")
        begin = sum(v.shape[dim] for v in values[:at])
        ranges = [(0, n, 1) for n in whole[1:]]
        ranges[dim - 1] = (begin, begin + values[at].shape[dim], 1)
        return self._call(self.free(place(node)), Slice(tuple(ranges)), source)

    def _arithmetic(self, node: fx.Node, name: str, shape: tuple[int, ...]) -> Seen:
        kind = name.strip("_").removeprefix("i")
        a = node.args[0] if node.args else node.kwargs["input"]
        if kind in ("neg", "negative"):
            return self._affine(node, self._input(node), -1.0, 0.0)
        b = node.args[1] if len(node.args) > 1 else node.kwargs["other"]
        alpha = float(node.kwargs.get("alpha", 1))  # type: ignore[arg-type]
        if node.kwargs.get("rounding_mode") is not None:
            raise Unsupported("rounds")
        sign = -alpha if kind.startswith("sub") else alpha
        left, right = (self.env[v] if isinstance(v, fx.Node) and v in self.env else None for v in (a, b))
        if left is not None and right is not None:
            return self.pair(node, kind, sign, left, right, shape)
        constant = constants(b if left is not None else a)
        source = left if left is not None else right
        assert source is not None
        if kind in ("add", "sub", "subtract"):
            if left is not None:
                return self._affine(node, source, 1.0, constant * sign)
            return self._affine(node, source, sign, constant)
        if kind in ("mul", "multiply"):
            return self._affine(node, source, constant, 0.0)
        if left is None:
            raise Unsupported("divides by a tensor")
        return self._affine(node, source, 1.0 / constant, 0.0)

    def pair(self, node: fx.Node, kind: str, sign: float, left: Seen, right: Seen, shape: tuple[int, ...]) -> Seen:
        multiplies = kind in ("mul", "multiply")
        if not (multiplies or (kind == "add" and sign == 1.0)):
            raise Unsupported("of two tensors; only their sum and product")
        if len(left.shape) != len(right.shape) or shape not in (left.shape, right.shape):
            raise Unsupported(f"shapes {left.shape[1:]} and {right.shape[1:]} do not match")
        call = operator.mul if multiplies else operator.add
        return self._call_function(node, call, (self.node_of(left), self.node_of(right)), shape)

    def _power(self, node: fx.Node, name: str, shape: tuple[int, ...]) -> Seen:
        exponent = 2 if name == "square" else constants(node.args[1])
        return self.power(node, self.node_of(self._input(node)), exponent, shape)

    def power(self, node: fx.Node, whole: fx.Node, exponent: Any, shape: tuple[int, ...]) -> Seen:
        """`whole` times itself, once or twice."""
        if float(exponent) not in (2.0, 3.0):
            raise Unsupported(f"to the power {float(exponent):g}; only 2 and 3")
        value = self._call_function(node, operator.mul, (whole, whole), shape)
        return value if float(exponent) == 2 else self._call_function(node, operator.mul, (value.node, whole), shape)

    def _affine(self, node: fx.Node, source: Seen, scale: Any, shift: Any) -> Seen:
        if len(source.shape) < 2:
            raise Unsupported(f"on shape {source.shape}")
        vectors = [_per_channel(v, source.shape) for v in (scale, shift)]
        return self.affine(node, source, vectors[0], vectors[1])

    def affine(self, node: fx.Node, source: Seen, scale: Tensor, shift: Tensor) -> Seen:
        """`source` times `scale` plus `shift`, one value a channel each."""
        value = self._call(self.free(place(node)), Affine(scale, shift, place(node)), source)
        value.node.meta["rank"] = len(source.shape)
        return value

    def _refuse_ties(self, live: set[fx.Node]) -> None:
        owners: dict[int, str] = {}
        for target in dict.fromkeys(str(n.target) for n in self.old.nodes if n.op == "call_module" and n in live):
            for parameter in self.root.get_submodule(target).parameters():
                owner = owners.setdefault(id(parameter), target.removeprefix("whole."))
                if owner != target.removeprefix("whole."):
                    self.problems.append(f"{target.removeprefix('whole.')} (shares its weights with {owner})")
                    break


def _alike(a: Seen, b: Seen) -> bool:
    """Seen in one way."""
    if a.shape != b.shape or (a.index is None) != (b.index is None):
        return False
    return a.index is None or b.index is None or torch.equal(a.index, b.index)


def _reserved(path: str) -> bool:
    """Names that a graph module has for itself, as `graph` and `code`."""
    return hasattr(fx.GraphModule, path.partition(".")[0])


def _missing() -> None:
    """Stands in the new graph for an unsupported operator, until all are known."""


def _per_channel(value: Any, shape: tuple[int, ...]) -> Tensor:
    """`value`, broadcast over a tensor of `shape`, as one number a channel."""
    constant = torch.as_tensor(value, dtype=torch.float32).detach()
    aligned = (
        constant.reshape((1,) * (len(shape) - constant.ndim) + tuple(constant.shape)) if constant.ndim else constant
    )
    if aligned.ndim > len(shape) or any(n != 1 for d, n in enumerate(aligned.shape) if d != 1):
        raise Unsupported(f"with a constant of shape {tuple(constant.shape)}; only one value, or one a channel")
    return aligned.reshape(-1).expand(shape[1]).clone()


def _inplace(node: fx.Node, root: nn.Module) -> bool:
    if node.op == "call_module":
        return bool(getattr(root.get_submodule(str(node.target)), "inplace", False))
    name = name_of(node, root)
    if node.op == "call_function" and name in ("iadd", "imul", "isub", "itruediv"):
        return isinstance(node.args[0], fx.Node) and not node.args[0].meta.get("constant", False)
    trailing = name.endswith("_") and not name.endswith("__") and node.op != "placeholder"
    return trailing or bool(node.kwargs.get("inplace", False))
