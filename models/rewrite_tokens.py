"""Transformers in a traced graph: what moves elements, linear layers and norms over tokens, attention.

Every operator on a value that is not seen as it stands comes here first; `models/seen.py` says what "seen" is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn

from secateur.models.activations import ACTIVATIONS
from secateur.models.canonical_activations import Erf
from secateur.models.canonical_ops import Unsupported, function_chain, module_chain, reduce
from secateur.models.network import Pad, Slice
from secateur.models.seen import Misplaced, Seen, arrangement, batch_axis, in_order, places
from secateur.models.takes import Take
from secateur.models.tokens import Bias, ChannelNorm, Tokens
from secateur.models.traced import ARITHMETIC, constants, name_of, place

if TYPE_CHECKING:
    from secateur.models.rewrite import Rewriter

Shape = tuple[int, ...]
TURNS = {
    "transpose", "permute", "swapaxes", "swapdims", "movedim", "moveaxis", "t", "getattr", "select", "unbind", "flip",
    "index_select",
}  # fmt: skip
KEEPS = {
    "view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as", "reshape_as", "getitem", "narrow",
    "expand", "expand_as", "contiguous",
}  # fmt: skip
_PIECES = {"chunk", "split", "tensor_split", "unbind", "split_with_sizes"}


class TokenRewriter:
    """The part of a `Rewriter` that knows tokens."""

    def __init__(self, to: Rewriter) -> None:
        self.to = to

    def convert(self, node: fx.Node, name: str) -> Seen | None:
        """The value of `node`, or None where it is none of these operators'."""
        inputs = [self.to.env[n] for n in node.all_input_nodes if n in self.to.env]
        module = self.to.root.get_submodule(str(node.target)) if node.op == "call_module" else None
        if not inputs or not node.args:
            return None
        first = self.to.env.get(node.args[0]) if isinstance(node.args[0], fx.Node) else None
        moved = any(v.index is not None or self._split(v) for v in inputs) or self._adds_to_tokens(node, name, inputs)
        if first is not None and self._moves(node, name, moved):
            return self._move(node, name, first)
        if first is not None and len(first.shape) > 1:
            made = self._over_channels(node, name, module, first)
            if made is not None:
                return made
        if name in ("cat", "concat", "concatenate"):
            return self._with_token(node) if self._joins_constant(node) else self._joined(node, moved)
        if not moved:
            return None
        if name in ("mean", "amax"):
            return self._reduce(node, name, inputs[0])
        if len(inputs) > 1:
            return self._pair(node, name)
        return self._by_element(node, name, module, inputs[0])

    def _split(self, value: Seen) -> bool:
        """In order, but with more dimensions than its node has: channels are split into heads."""
        shape = self.to.shapes[value.node]
        return 2 < len(shape) < len(value.shape)

    def _adds_to_tokens(self, node: fx.Node, name: str, inputs: list[Seen]) -> bool:
        """A constant of more than one value a channel."""
        given = [n.meta["value"] for n in node.all_input_nodes if n not in self.to.env]
        if name not in ARITHMETIC or len(inputs) != 1 or len(inputs[0].shape) != 3:
            return False
        return any(isinstance(c, Tensor) and c.ndim > 0 and c.shape[-1] > 1 for c in given)

    # -- what moves elements

    def _moves(self, node: fx.Node, name: str, moved: bool) -> bool:
        if node.op == "call_module":
            return moved and name in ("flatten", "unflatten")
        if name == "getitem":
            key = node.args[1]
            keys = key if isinstance(key, tuple) else (key,)
            whole = isinstance(node.args[0], fx.Node) and isinstance(node.args[0].meta["value"], Tensor)
            return moved or (whole and any(k is None or isinstance(k, int) for k in keys)) or self._turned_pieces(node)
        return name in TURNS or (moved and (name in KEEPS or name in _PIECES))

    def _turned_pieces(self, node: fx.Node) -> bool:
        source = node.args[0]
        return isinstance(source, fx.Node) and name_of(source, self.to.root) == "unbind"

    def _move(self, node: fx.Node, name: str, source: Seen) -> Seen:
        if not isinstance(node.meta["value"], Tensor):
            return Seen(source.node, source.shape, source.places())  # its pieces are taken one by one
        origin = node.args[0]
        assert isinstance(origin, fx.Node)
        index = source.places()
        if not isinstance(origin.meta["value"], Tensor):
            index = self.done(origin, name_of(origin, self.to.root), index)[node.args[1]]
        else:
            index = self.done(node, name, index)
        return self.seen(source.node, index)

    def done(self, node: fx.Node, name: str, index: Tensor) -> Any:
        """What `node` does to its first input, done to `index`."""
        if node.op == "call_module":
            return self.to.root.get_submodule(str(node.target))(index)
        args, kwargs = constants(node.args[1:]), constants(node.kwargs)
        if name in ("view", "reshape", "view_as", "reshape_as"):
            return index.reshape(node.meta["value"].shape)
        if name == "contiguous":
            return index
        if node.op == "call_method":
            return getattr(index, str(node.target))(*args, **kwargs)
        return node.target(index, *args, **kwargs)  # type: ignore[operator]

    def seen(self, node: fx.Node, index: Tensor) -> Seen:
        whole = index.numel() == math.prod(self.to.shapes[node])
        return Seen(node, tuple(index.shape), None if whole and in_order(index) else index)

    # -- what takes channels and tokens as they stand

    def arranged(self, node: fx.Node, index: Tensor, where: str) -> fx.Node:
        """A node whose value (n, c, ...) is what places `index` (n, c', p') of `node` are."""
        shape = self.to.shapes[node]
        found = arrangement(index, shape)
        count = math.prod(shape[2:])
        if not torch.equal(found.positions, torch.arange(count)):
            node = self.flat(node, where)
            first, last = int(found.positions[0]), int(found.positions[-1])
            step = int(found.positions[1]) - first if len(found.positions) > 1 else 1
            if step < 1 or not torch.equal(found.positions, torch.arange(first, last + 1, step)):
                raise Misplaced("takes tokens in another order")
            ranges = ((0, shape[1], 1), (first, last + 1, step))
            node = self.put(where, Slice(ranges), node)
        if not torch.equal(found.channels, torch.arange(shape[1])):
            if len(set(found.channels.tolist())) < len(found.channels):
                raise Unsupported("uses channels more than once, as attention with shared keys or values does")
            role = where.rpartition(".")[2]
            name = f"{node.target}_{role if role in 'qkv' else 'part'}" if node.op == "call_module" else where
            node = self.put(name, Take(found.channels, where), node)
        return node

    def flat(self, node: fx.Node, where: str) -> fx.Node:
        return self.put(f"{where}_tokens", Tokens(), node) if len(self.to.shapes[node]) == 4 else node

    def put(self, name: str, module: nn.Module, *sources: fx.Node) -> fx.Node:
        target = self.to.free(name)
        module.eval()
        with torch.no_grad():
            result = module(*(torch.zeros(self.to.shapes[n]) for n in sources))
        self.to.modules[target] = module
        made = self.to.new.call_module(target, sources)
        made.meta["shape"] = self.to.shapes[made] = tuple(result.shape)
        return made

    def compact(self, value: Seen, where: str) -> Seen:
        """The same, of a node that holds nothing else."""
        index = value.places()
        shape = self.to.shapes[value.node]
        samples = math.prod(shape[1:])
        mine = index.flatten()[index.flatten() < samples].sort().values
        if len(mine) == samples:
            return value
        positions = math.prod(shape[2:])
        channels, tokens = (torch.tensor(sorted(set(v.tolist()))) for v in (mine // positions, mine % positions))
        grid = (channels[:, None] * positions + tokens).flatten()
        if not torch.equal(grid, mine):
            raise Misplaced("takes some channels of some positions")
        wanted = torch.arange(shape[0])[:, None, None] * samples + grid.reshape(1, len(channels), -1)
        node = self.arranged(value.node, wanted, where)
        new = torch.full((math.prod(shape),), -1)
        new[wanted.flatten()] = torch.arange(wanted.numel())
        return self.seen(node, new[index])

    def channels_last(self, value: Seen, where: str, axis: int = -1) -> tuple[fx.Node, Callable[[fx.Node], Seen]]:
        """A node (n, c, ...) with what lies along `axis` as channels, and how a node with other channels is seen so."""
        index = value.places()
        shape = self.to.shapes[value.node]
        moved = index.movedim(axis, -1)
        rows = moved.reshape(-1, moved.shape[-1])
        samples = rows[:, 0] // math.prod(shape[1:])
        order = samples.argsort(stable=True)  # tokens of one sample together
        node = self.arranged(value.node, rows[order].reshape(shape[0], -1, rows.shape[1]).transpose(1, 2), where)

        def back(made: fx.Node) -> Seen:
            shape = self.to.shapes[made]
            there = places(shape).reshape(*shape[:2], -1).transpose(1, 2).reshape(-1, shape[1])
            found = torch.empty_like(there)
            found[order] = there
            return self.seen(made, found.reshape(*moved.shape[:-1], shape[1]).movedim(-1, axis))

        return node, back

    def _over_channels(self, node: fx.Node, name: str, module: nn.Module | None, value: Seen) -> Seen | None:
        """A linear layer or a norm over the last axis."""
        where = place(node)
        if isinstance(module, nn.LayerNorm) or name == "layer_norm":
            return self._norm(node, module, value, where)
        if (isinstance(module, nn.Linear) or name == "linear") and (len(value.shape) > 2 or value.index is not None):
            if module is not None:
                self.to.once(str(node.target), node)
                weight, bias = module.weight, module.bias
            else:
                for n in node.all_input_nodes:
                    if n.op == "get_attr":
                        self.to.once(str(n.target), node)
                given: list[Any] = [*constants(node.args[1:]), constants(node.kwargs).get("bias")]
                weight, bias = given[:2]
            return self._linear(value, weight, bias, where if module is None else str(node.target), where)
        if name == "matmul" and len(node.args) == 2 and node.args[1] not in self.to.env:
            weight = constants(node.args[1])
            if isinstance(weight, Tensor) and weight.ndim == 2:
                self.to.once(place(node), node)
                return self._linear(value, weight.T, None, where, where)
        return None

    def _linear(self, value: Seen, weight: Any, bias: Any, target: str, where: str) -> Seen:
        if len(value.shape) == 2:
            value, weight = self._flattened(self.compact(value, where), weight)
            if value.index is None:
                return Seen(made := self.pointwise(self.to.node_of(value), weight, bias, target), self.to.shapes[made])
        source, back = self.channels_last(value, where)
        return back(self.pointwise(source, weight, bias, target))

    def _flattened(self, value: Seen, weight: Tensor) -> tuple[Seen, Tensor]:
        """A vector of a whole sample in another order is that sample flattened and read by turned columns."""
        if value.index is None or not in_order(value.index.sort(1).values):
            return value, weight
        turned = torch.empty_like(weight)
        turned[:, value.index[0]] = weight.detach()
        return Seen(value.node, value.shape), turned

    def pointwise(self, source: fx.Node, weight: Tensor, bias: Tensor | None, target: str) -> fx.Node:
        rank = len(self.to.shapes[source])
        outputs, inputs = weight.shape
        layer: Any
        if rank == 2:
            layer = nn.Linear(inputs, outputs, bias is not None)
        else:
            layer = (nn.Conv2d if rank == 4 else nn.Conv1d)(inputs, outputs, 1, bias=bias is not None)
        with torch.no_grad():
            layer.weight.copy_(weight.reshape(layer.weight.shape))
            if bias is not None:
                layer.bias.copy_(bias)
        path = target.removeprefix("whole.")
        if path in self.to.taken and path not in self.to.modules and target != path:
            self.to.taken.discard(path)  # the network's own name for it
        return self.put(path, layer, source)

    def _norm(self, node: fx.Node, module: nn.Module | None, value: Seen, where: str) -> Seen:
        given: dict[str, Any]
        names = ("normalized_shape", "weight", "bias", "eps")
        if isinstance(module, nn.LayerNorm):
            self.to.once(str(node.target), node)
            given = {k: getattr(module, k) for k in names}
        else:
            given = dict(zip(names, constants(node.args[1:]), strict=False)) | constants(node.kwargs)
        over, eps = given["normalized_shape"], given.get("eps")
        if len(over) != 1:
            raise Unsupported(f"normalizes {len(over)} dimensions together; only the channels of each token")
        source, back = self.channels_last(value, where)
        norm = ChannelNorm(int(over[0]), 1e-5 if eps is None else float(eps))
        with torch.no_grad():
            for name in ("weight", "bias"):
                if given.get(name) is not None:
                    getattr(norm, name).copy_(given[name])
        return back(self._put_as(node, norm, source))

    def _put_as(self, node: fx.Node, module: nn.Module, *sources: fx.Node) -> fx.Node:
        """Under the network's own name for it, where it is a module there."""
        where = place(node)
        if node.op == "call_module":
            self.to.taken.discard(where)
        return self.put(where, module, *sources)

    # -- element by element

    def _by_element(self, node: fx.Node, name: str, module: nn.Module | None, value: Seen) -> Seen:
        where = place(node)
        value = self.compact(value, where)
        if name in ARITHMETIC:
            return self._arithmetic(node, name, value)
        natural = self.to.shapes[value.node]
        if name in ("pow", "square"):
            exponent = 2 if name == "square" else constants(node.args[1])
            return Seen(self.to.power(node, value.node, exponent, natural).node, value.shape, value.index)
        if module is not None:
            chain = module_chain(module, natural[1:])
        else:
            kwargs = constants({k: v for k, v in node.kwargs.items() if k not in ("input", "x")})
            chain = function_chain(name, natural[1:], constants(node.args[1:]), kwargs)
        made = value.node
        for part in chain:
            if not _elementwise(part):
                raise Misplaced(f"takes {value.shape[1:]}, whose elements are in another order than its channels first")
            made = self._put_as(node, part, made) if part is chain[-1] else self.put(where, part, made)
        return Seen(made, value.shape, value.index)

    def _arithmetic(self, node: fx.Node, name: str, value: Seen) -> Seen:
        """With a constant: one a channel, or added to every token."""
        kind = name.strip("_").removeprefix("i")
        if kind in ("neg", "negative"):
            return self._scaled(node, value, torch.tensor(-1.0), torch.tensor(0.0))
        a, b = node.args[0], node.args[1] if len(node.args) > 1 else node.kwargs["other"]
        left = isinstance(a, fx.Node) and a in self.to.env
        constant = torch.as_tensor(constants(b if left else a), dtype=torch.float32).detach()
        alpha = float(node.kwargs.get("alpha", 1))  # type: ignore[arg-type]
        one, none = torch.tensor(1.0), torch.tensor(0.0)
        if kind == "add":
            return self._scaled(node, value, *((one, alpha * constant) if left else (alpha * one, constant)))
        if kind in ("sub", "subtract"):
            return self._scaled(node, value, *((one, -alpha * constant) if left else (-one * alpha, constant)))
        if kind in ("mul", "multiply"):
            return self._scaled(node, value, constant, none)
        if not left:
            raise Unsupported("divides by a tensor")
        return self._scaled(node, value, 1 / constant, none)

    def _scaled(self, node: fx.Node, value: Seen, scale: Tensor, shift: Tensor) -> Seen:
        shape = self.to.shapes[value.node]
        scale, shift = (self._in_place(v, value, shape) for v in (scale, shift))
        if bool((scale != scale[:, :1]).any()):
            raise Unsupported("multiplies tokens with different constants")
        if bool((shift != shift[:, :1]).any()):
            if bool((scale != 1).any()):
                raise Unsupported("scales tokens and adds different constants to them")
            bias = Bias((shift.shape[0], shift.shape[1]))
            with torch.no_grad():
                bias.bias.copy_(shift)
            made = self.put(place(node), bias, self.flat(value.node, place(node)))
        else:
            made = self.to.affine(node, Seen(value.node, shape), scale[:, 0], shift[:, 0]).node
        return Seen(made, value.shape, value.index)

    def _in_place(self, constant: Tensor, value: Seen, shape: Shape) -> Tensor:
        """`constant`, broadcast as `value` is seen, as (channels, positions) of its node."""
        try:
            wide = constant.expand(value.shape)
        except RuntimeError:
            raise Unsupported(f"with a constant of shape {tuple(constant.shape)}") from None
        flat = torch.empty(math.prod(shape))
        flat[value.places().flatten()] = wide.flatten()
        every = flat.reshape(shape[0], shape[1], -1)
        if bool((every != every[:1]).any()):
            raise Unsupported("with another constant for each sample of the batch")
        return every[0]

    def _pair(self, node: fx.Node, name: str) -> Seen:
        where = place(node)
        operands = node.args[:2] if len(node.args) > 1 else (node.args[0], node.kwargs.get("other"))
        if name not in ARITHMETIC or not all(n in self.to.env for n in operands):
            raise Misplaced("of tokens that are arranged differently")
        left, right = (self.compact(self.to.env[n], where) for n in operands)  # type: ignore[index]
        same = left.shape == right.shape and torch.equal(left.places(), right.places())
        if not same:
            raise Misplaced(f"of tokens that are arranged differently: {left.shape[1:]} and {right.shape[1:]}")
        ends = [left.node, right.node]
        if len(self.to.shapes[ends[0]]) != len(self.to.shapes[ends[1]]):
            ends = [self.flat(n, where) for n in ends]
        shape = self.to.shapes[ends[0]]
        kind, alpha = name.strip("_").removeprefix("i"), float(node.kwargs.get("alpha", 1))  # type: ignore[arg-type]
        sign = -alpha if kind.startswith("sub") else alpha
        made = self.to.pair(node, kind, sign, Seen(ends[0], shape), Seen(ends[1], shape), shape)
        return Seen(made.node, left.shape, left.index)

    def _reduce(self, node: fx.Node, name: str, value: Seen) -> Seen:
        where = place(node)
        value = self.compact(value, where)
        dims: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", node.kwargs.get("axis"))
        if dims is None:
            raise Unsupported("reduces over the batch")
        index = value.places()
        over = sorted({int(d) % index.ndim for d in (dims if isinstance(dims, (tuple, list)) else [dims])})
        batch = batch_axis(index, self.to.shapes[value.node])
        if batch in over:
            raise Unsupported("reduces over the batch")
        stay = [i for i in range(index.ndim) if i not in (*over, batch)]
        shape = self.to.shapes[value.node]
        channels = math.prod(index.shape[i] for i in stay)
        arranged = index.permute([batch, *stay, *over]).reshape(shape[0], channels, -1)
        if arranged.shape[2] != math.prod(shape[2:]):
            raise Misplaced(f"reduces {over} of {tuple(index.shape)}; only all tokens together")
        arranged = arranged.sort(2).values  # in what order tokens are reduced does not matter
        source = self.arranged(value.node, arranged, where)
        shape = self.to.shapes[source]
        (pool,) = reduce(shape[1:], list(range(2, len(shape))), maximum=name == "amax")
        made = self.put(where, pool, source)
        there = places((shape[0], *(index.shape[i] for i in stay)))
        at = [batch, *stay].index
        there = there.permute([at(i) for i in sorted([batch, *stay])])
        return self.seen(made, there.reshape(node.meta["value"].shape))

    # -- tokens put in a row

    def _joins_constant(self, node: fx.Node) -> bool:
        items = node.args[0] if node.args else node.kwargs["tensors"]
        return any(isinstance(i, fx.Node) and i not in self.to.env for i in items)  # type: ignore[union-attr]

    def _joined(self, node: fx.Node, moved: bool) -> Seen | None:
        if moved:
            raise Unsupported("concatenates tokens; only a constant one, as a class token is")
        return None

    def _with_token(self, node: fx.Node) -> Seen:
        """A class token: room beside the tokens, and the constant added to the zeros there."""
        items: Any = node.args[0] if node.args else node.kwargs["tensors"]
        dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", node.kwargs.get("axis", 0))
        rank = node.meta["value"].ndim
        dim = int(dim) % rank  # type: ignore[arg-type]
        known = [self.to.env.get(i) for i in items]
        if sum(v is not None for v in known) != 1 or rank != 3 or dim == 0:
            raise Unsupported("concatenates a constant; only a class token with (n, tokens, channels)")
        where, at = place(node), next(i for i, v in enumerate(known) if v is not None)
        value = self.compact(known[at], where)  # type: ignore[arg-type]
        source = self.flat(self.channels_last(value, where, axis=3 - dim)[0], where)
        before = sum(i.meta["value"].shape[dim] for i in items[:at])
        after = sum(i.meta["value"].shape[dim] for i in items[at + 1 :])
        padded = self.put(where, Pad(((0, 0), (before, after))), source)
        zeros = [torch.zeros(value.shape) if i == at else n.meta["value"] for i, n in enumerate(items)]
        constant = torch.cat(zeros, dim).movedim(3 - dim, 1)
        if bool((constant != constant[:1]).any()):
            raise Unsupported("concatenates another constant for each sample of the batch")
        bias = Bias((constant.shape[1], constant.shape[2]))
        with torch.no_grad():
            bias.bias.copy_(constant[0])
        made = self.put(where, bias, padded)
        there = places(self.to.shapes[made])
        return self.seen(made, there if dim == 2 else there.transpose(1, 2))


def _elementwise(module: nn.Module) -> bool:
    return isinstance(module, (nn.ReLU, nn.ReLU6, Erf, *ACTIVATIONS))
