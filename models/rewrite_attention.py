"""Attention in a traced graph, by torch's modules and functions or by hand, as the canonical module."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, fx, nn

from secateur.models.canonical_ops import PASS_THROUGH, Unsupported
from secateur.models.rewrite_tokens import KEEPS, TURNS, TokenRewriter
from secateur.models.seen import Misplaced, Seen, Weighing, batch_axis, places
from secateur.models.tokens import Attention
from secateur.models.traced import constants, name_of, place

Shape = tuple[int, ...]
_SCALES = {"mul", "imul", "mul_", "multiply", "truediv", "itruediv", "div", "div_", "divide", "true_divide"}
WEIGHTS_ALONE = (
    "attention weights are scaled, normalized over the keys and multiplied with the values; masks are not supported"
)


class AttentionRewriter(TokenRewriter):
    """What comes between queries, keys and values, and else what `TokenRewriter` knows."""

    def convert(self, node: fx.Node, name: str) -> Seen | None:
        """The value of `node`, or None where it is none of these operators'."""
        inputs = [self.to.env[n] for n in node.all_input_nodes if n in self.to.env]
        module = self.to.root.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, nn.MultiheadAttention):
            return self._multihead(node, module)
        if name == "getitem" and name_of(node.args[0], self.to.root) == "MultiheadAttention":  # type: ignore[arg-type]
            if node.args[1] != 0:
                raise Unsupported(WEIGHTS_ALONE)
            return inputs[0] if inputs[0].shape else None  # None: the attention itself is listed already
        both = name in ("matmul", "bmm") and len(inputs) == len(node.args)
        if both or name in ("einsum", "scaled_dot_product_attention"):
            return self._product(node, name)
        if any(isinstance(v, Weighing) for v in inputs):
            return self._weighing(node, name)
        return super().convert(node, name)

    def _multihead(self, node: fx.Node, m: nn.MultiheadAttention) -> Seen:
        names = ("query", "key", "value", "key_padding_mask", "need_weights", "attn_mask", "average_attn_weights")
        given = dict(zip(names, node.args, strict=False)) | node.kwargs
        if given.get("key_padding_mask") is not None or given.get("attn_mask") is not None:
            raise Unsupported("with a mask; only attention of all tokens to all")
        if m.bias_k is not None or m.add_zero_attn:
            raise Unsupported("add_bias_kv and add_zero_attn")
        where = place(node)
        self.to.once(str(node.target), node)
        values = [self.to.env.get(given[n]) for n in names[:3]]  # type: ignore[arg-type]
        if any(v is None or len(v.shape) != 3 for v in values):
            raise Misplaced("its query, key and value are not all (n, tokens, channels) that depend on the input")
        if m.in_proj_weight is not None:
            weights = m.in_proj_weight.chunk(3)
        else:
            weights = (m.q_proj_weight, m.k_proj_weight, m.v_proj_weight)
        biases = (None,) * 3 if m.in_proj_bias is None else m.in_proj_bias.chunk(3)
        ends = []
        for role, value, weight, bias in zip("qkv", values, weights, biases, strict=True):
            assert value is not None
            if batch_axis(value.places(), self.to.shapes[value.node]) != (0 if m.batch_first else 1):
                raise Unsupported(f"batch_first={m.batch_first}, so samples attend to one another, not tokens")
            source, back = self.channels_last(value, where)
            ends.append(self.pointwise(self.flat(source, where), weight, bias, f"{where}.{role}"))
            if role == "q":
                seen = back
        attention = Attention(m.num_heads, (m.embed_dim // m.num_heads) ** -0.5)
        made = self.put(f"{where}.attention", attention, *ends)
        out = m.out_proj
        return seen(self.pointwise(made, out.weight, out.bias, f"{where}.out"))

    def _product(self, node: fx.Node, name: str) -> Seen:
        if name == "einsum":
            return self._einsum(node)
        args = [self._operand(n) for n in node.args[:3]]
        if name == "scaled_dot_product_attention":
            given = dict(zip(("attn_mask", "dropout_p", "is_causal", "scale"), node.args[3:], strict=False))
            given |= {k: v for k, v in node.kwargs.items() if k not in ("query", "key", "value")}
            args = args or []
            args += [self._operand(node.kwargs[k]) for k in ("query", "key", "value")[len(args) :]]
            if given.get("attn_mask") is not None or given.get("is_causal") or given.get("enable_gqa"):
                raise Unsupported("with a mask or shared keys; only attention of all tokens to all")
            q, k, v = args
            scale = given.get("scale")
            found = self._contract(node, q, q.places(), k, k.places().transpose(-1, -2))
            assert isinstance(found, Weighing)
            found.scale = q.shape[-1] ** -0.5 if scale is None else float(scale)  # type: ignore[arg-type]
            found = self._normalized(found, -1)
            return self._contract(node, found, found.places(), v, v.places())
        a, b = args
        return self._contract(node, a, a.places(), b, b.places())

    def _operand(self, node: Any) -> Seen:
        if not isinstance(node, fx.Node) or node not in self.to.env:
            raise Unsupported("of a constant")
        return self.to.env[node]

    def _einsum(self, node: fx.Node) -> Seen:
        equation, *operands = node.args
        if len(operands) == 1 and isinstance(operands[0], (tuple, list)):
            operands = list(operands[0])
        inputs, _, out = str(equation).replace(" ", "").partition("->")
        terms = inputs.split(",")
        if len(terms) != 2 or len(operands) != 2 or not out or "." in inputs:
            raise Unsupported(f"of {equation}; only the two products of attention")
        a, b = (self._operand(n) for n in operands)
        summed = [c for c in terms[0] if c in terms[1] and c not in out]
        batch = [c for c in out if c in terms[0] and c in terms[1]]
        rows, columns = ([c for c in term if c not in batch + summed] for term in terms)
        if not len(summed) == len(rows) == len(columns) == 1 or set(out) != {*batch, *rows, *columns}:
            raise Unsupported(f"of {equation}; only the two products of attention")
        left = a.places().permute([terms[0].index(c) for c in batch + rows + summed])
        right = b.places().permute([terms[1].index(c) for c in batch + summed + columns])
        found = self._contract(node, a, left, b, right)
        made = batch + rows + columns
        found.index = found.places().permute([made.index(c) for c in out])
        found.shape = tuple(found.index.shape)
        return found if isinstance(found, Weighing) else self.seen(found.node, found.index)

    def _contract(self, node: fx.Node, a: Seen, ia: Tensor, b: Seen, ib: Tensor) -> Seen:
        """The product (..., rows, depth) by (..., depth, columns): of queries and keys, or of weights and values."""
        where = place(node)
        if ia.shape[:-2] != ib.shape[:-2]:
            raise Misplaced(f"of {tuple(ia.shape)} and {tuple(ib.shape)}; only the two products of attention")
        shape = (*ia.shape[:-1], ib.shape[-1])
        if isinstance(b, Weighing):  # values first: both transposed
            turned = self._mixed(
                where, b, ib.transpose(-1, -2), a, ia.transpose(-1, -2), (*shape[:-2], shape[-1], shape[-2])
            )
            return self.seen(turned.node, turned.places().transpose(-1, -2))
        if isinstance(a, Weighing):
            return self._mixed(where, a, ia, b, ib, shape)
        left, places_a = self._heads(a, ia, f"{where}.q")
        right, places_b = self._heads(b, ib.transpose(-1, -2), f"{where}.k")
        if places_a != places_b:
            raise Misplaced("of queries and keys whose heads are in different order")
        heads = len(places_a) // self.to.shapes[left][0]
        virtual = places((self.to.shapes[left][0], heads, shape[-2], shape[-1]))
        index = torch.stack([virtual[at] for at in places_a]).reshape(shape)
        return Weighing(a.node, shape, index, left, right, heads)

    def _heads(self, value: Seen, index: Tensor, where: str) -> tuple[fx.Node, list[tuple[int, int]]]:
        """A node (n, heads * depth, tokens) of places (..., tokens, depth), and of each matrix its sample and head."""
        blocks = index.reshape(-1, *index.shape[-2:])
        shape = self.to.shapes[value.node]
        samples = blocks // math.prod(shape[1:])
        if bool((samples != samples[:, :1, :1]).any()) or len(blocks) % shape[0]:
            raise Misplaced("mixes samples of the batch")
        count = [0] * shape[0]
        found = []
        for sample in samples[:, 0, 0].tolist():
            found.append((sample, count[sample]))
            count[sample] += 1
        heads = len(blocks) // shape[0]
        if any(n != heads for n in count):
            raise Misplaced("mixes samples of the batch")
        wanted = torch.empty((shape[0], heads, *blocks.shape[1:]), dtype=torch.int64)
        for (sample, head), block in zip(found, blocks, strict=True):
            wanted[sample, head] = block
        wanted = wanted.transpose(2, 3).flatten(1, 2)
        return self.flat(self.arranged(value.node, wanted, where), where), found

    def _mixed(self, where: str, weights: Weighing, iw: Tensor, value: Seen, iv: Tensor, shape: Shape) -> Seen:
        if not weights.normalized or isinstance(value, Weighing):
            raise Unsupported(WEIGHTS_ALONE)
        assert weights.left is not None and weights.right is not None
        v, order = self._heads(value, iv, f"{where}.v")
        n = self.to.shapes[weights.left][0]
        queries, keys = self.to.shapes[weights.left][2], self.to.shapes[weights.right][2]
        virtual = places((n, weights.heads, queries, keys))
        blocks = iw.reshape(-1, *iw.shape[-2:])
        if blocks.shape != (len(order), queries, keys) or any(
            not torch.equal(block, virtual[at]) for at, block in zip(order, blocks, strict=True)
        ):
            raise Misplaced("of weights and values that do not fit: softmax is over the keys, heads are in one order")
        attention = Attention(weights.heads, weights.scale)
        made = self.put(where, attention, weights.left, weights.right, v)
        there = places(self.to.shapes[made]).reshape(n, weights.heads, -1, queries).transpose(2, 3)
        return self.seen(made, torch.stack([there[at] for at in order]).reshape(shape))

    def _weighing(self, node: fx.Node, name: str) -> Seen:
        """Between the two products."""
        first = next(n for n in node.all_input_nodes if n in self.to.env)
        value = self.to.env[first]
        if (
            not isinstance(value, Weighing)
            or node.all_input_nodes.count(first) + sum(n in self.to.env for n in node.all_input_nodes) > 2
        ):
            raise Unsupported(WEIGHTS_ALONE)
        if node.op == "call_module":
            module = self.to.root.get_submodule(str(node.target))
            if isinstance(module, (nn.Dropout, nn.Identity)):
                return value
            if isinstance(module, nn.Softmax):
                return self._normalized(value, -1 if module.dim is None else module.dim)
            raise Unsupported(WEIGHTS_ALONE)
        if name in PASS_THROUGH:
            return value
        if name == "softmax":
            rest = constants(node.args[1:])
            return self._normalized(value, rest[0] if rest else node.kwargs.get("dim", -1))  # type: ignore[arg-type]
        if name in TURNS or name in KEEPS:
            index = self.done(node, name, value.places())
            return _weighing(value, index)
        if name in _SCALES and node.args[0] is first and not value.normalized:
            by = torch.as_tensor(constants(node.args[1]), dtype=torch.float32).detach().flatten()
            if len(by) == 1:
                factor = float(by[0])
                return _weighing(value, value.places(), value.scale * (factor if "mul" in name else 1 / factor))
        if name in ("mul", "multiply") and not value.normalized:
            by = torch.as_tensor(constants(node.args[0]), dtype=torch.float32).detach().flatten()
            if len(by) == 1:
                return _weighing(value, value.places(), value.scale * float(by[0]))
        raise Unsupported(WEIGHTS_ALONE)

    def _normalized(self, value: Weighing, dim: int) -> Weighing:
        """Softmax over `dim`, which is the keys': they become the right side."""
        assert value.left is not None and value.right is not None
        n = self.to.shapes[value.left][0]
        left, right = self.to.shapes[value.left][2], self.to.shapes[value.right][2]
        index = value.places()
        rows = index.movedim(dim, -1)
        width = rows.shape[-1]
        steps = (rows - rows[..., :1]).reshape(-1, width)
        if width == right and torch.equal(steps, torch.arange(right).expand(steps.shape)):
            found = _weighing(value, index)
        elif width == left and torch.equal(steps, (torch.arange(left) * right).expand(steps.shape)):
            there = places((n, value.heads, right, left)).transpose(2, 3).flatten()
            found = _weighing(value, there[index])
            found.left, found.right = value.right, value.left
        else:
            raise Unsupported(f"softmax over dimension {dim}; only over the keys")
        found.normalized = True
        return found


def _weighing(value: Weighing, index: Tensor, scale: float | None = None) -> Weighing:
    scale = value.scale if scale is None else scale
    return Weighing(
        value.node, tuple(index.shape), index, value.left, value.right, value.heads, scale, value.normalized
    )
