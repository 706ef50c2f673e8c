"""A network in TensorFlow's terms, channels last, built up as a torch module in ours, channels first.

Reshapes and transpositions move nothing here: a Value knows where each of its elements stands in the torch tensor
that holds it. A Dense behind a Flatten takes its rows in that order; what would have to move elements is refused.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.models.trace import named

Floats = npt.NDArray[Any]
Places = npt.NDArray[np.int64]
Pairs = Sequence[tuple[int, int]]
CURVES: dict[str, Callable[[Any], Any]] = {
    "relu": F.relu, "relu6": F.relu6, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "elu": F.elu,
    "silu": F.silu, "swish": F.silu, "gelu": F.gelu, "gelu_tanh": lambda t: F.gelu(t, approximate="tanh"),
    "hard_silu": F.hardswish, "hard_swish": F.hardswish, "leaky_relu": lambda t: F.leaky_relu(t, 0.2),
    "hard_sigmoid": F.hardsigmoid,
    "hard_sigmoid_2": lambda t: F.hardsigmoid(t * 1.2),
}  # fmt: skip
"""Activations by Keras's names, with its defaults. `hard_sigmoid_2` is clip(0.2 x + 0.5, 0, 1), that of Keras 2."""
ACTIVATIONS = ("linear", "softmax", *(name for name in CURVES if not name.endswith(("_2", "_tanh"))))
MAX_ELEMENTS = 1 << 26
"""Of one value; more is a damaged file, or nothing for a microcontroller."""


class Refused(Exception):
    """The layer or operator, as it is used here, is not supported. The text is the reason."""


@dataclass(frozen=True)
class Value:
    """A tensor of the network, without the batch. `held`: shape of the torch tensor, channels first.

    `places` has the shape that TensorFlow sees, channels last; each number is an element's place in the held tensor.
    """

    step: int
    held: tuple[int, ...]
    places: Places = field(compare=False)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.places.shape)

    def reshaped(self, shape: Sequence[int]) -> Value:
        """The same elements in the same order; one of `shape` may be -1."""
        try:
            return Value(self.step, self.held, self.places.reshape(tuple(shape)))
        except ValueError as error:
            raise Refused(f"reshapes {_text(self.shape)} to {_text(shape)}") from error

    def transposed(self, order: Sequence[int]) -> Value:
        if sorted(order) != list(range(len(self.shape))):
            raise Refused(f"permutes {_text(self.shape)} by {list(order)}")
        return Value(self.step, self.held, self.places.transpose(tuple(order)))


@functools.lru_cache(maxsize=64)
def channels_first(held: tuple[int, ...]) -> Places:
    """Places of a tensor that is held with its channels in front and otherwise in order."""
    return np.moveaxis(np.arange(math.prod(held)).reshape(held), 0, -1)


@dataclass(frozen=True)
class _Step:
    run: Callable[..., Tensor]
    sources: tuple[int, ...]
    where: str


class Steps(nn.Module):
    """The torch module: each step reads the input, number 0, and the steps before it."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[_Step] = []
        self.output = 0

    def forward(self, x: Any) -> Any:
        values = [x]
        for step in self.steps:
            with named(step.where):
                values.append(step.run(*(values[i] for i in step.sources)))
        return values[self.output]


class ChannelsLast:
    """The network so far. Every method adds to it, or raises Refused; `where` names what is being added."""

    def __init__(self) -> None:
        self.where = "input"
        self.module = Steps()
        self.scale: Floats | None = None  # of the input's channels, taken over as preprocessing
        self.shift: Floats | None = None
        self._known: list[Tensor] = []

    def input(self, held: tuple[int, ...], places: Places) -> Value:
        self._known = [torch.zeros(1, *held)]
        return Value(0, held, places)

    def finish(self, value: Value) -> None:
        """`value` is what the network gives."""
        if len(value.shape) != 1:
            raise Refused(f"has shape {_text(value.shape)} per sample, one dimension expected")
        last = self._arranged(value)
        if len(last.held) > 1:
            last, _ = self._features(last)
        self.module.output, self._known = last.step, []

    # -- layouts

    def _arranged(self, v: Value) -> Value:
        """The same value, held with its channels in front."""
        want = (v.shape[-1], *v.shape[:-1])
        if v.held == want and np.array_equal(v.places, channels_first(want)):
            return v
        if not np.array_equal(np.moveaxis(v.places, -1, 0).ravel(), np.arange(math.prod(v.held))):
            raise Refused(f"needs the elements of {_text(v.shape)} in another order than they are computed in")
        return self._add(lambda x: x.reshape(x.shape[0], *want), v)

    def _features(self, v: Value) -> tuple[Value, Places]:
        """A value of one dimension, held flat, and the place of each feature."""
        flat = v if len(v.held) == 1 else self._add(lambda x: x.flatten(1), v)
        return flat, v.places

    def _add(self, run: Callable[..., Tensor], *sources: Value, places: Places | None = None) -> Value:
        """A step, run once on zeros so that its shape is known. `places`: where it is not channels first."""
        try:
            with torch.no_grad():
                result = run(*(self._known[v.step] for v in sources))
        except (RuntimeError, IndexError, ValueError, TypeError) as error:
            raise Refused(" ".join(str(error).split())[:120]) from error
        held = tuple(int(n) for n in result.shape[1:])
        if result.numel() > MAX_ELEMENTS or not all(held):
            raise Refused(f"gives {_text(held)} elements")
        self._known.append(result)
        self.module.steps.append(_Step(run, tuple(v.step for v in sources), self.where))
        return Value(len(self.module.steps), held, channels_first(held) if places is None else places)

    def _own(self, module: Any, **values: Floats | None) -> Any:
        """`module` with these weights, registered under the layer's name."""
        with torch.no_grad():
            for name, value in values.items():
                if value is None:
                    continue
                if tuple(value.shape) != tuple(getattr(module, name).shape):
                    raise Refused(f"{name} is {_text(value.shape)}, not {_text(getattr(module, name).shape)}")
                getattr(module, name).copy_(torch.from_numpy(np.array(value, np.float32)))
        stem = re.sub(r"\W+", "_", self.where).strip("_") or "layer"
        name, count = stem if not hasattr(self.module, stem) else f"{stem}_1", 1
        while hasattr(self.module, name):
            count += 1
            name = f"{stem}_{count}"
        self.module.add_module(name, module.eval())
        return module

    # -- layers with weights

    def conv(
        self, v: Value, kernel: Floats, bias: Floats | None, stride: Sequence[int], pads: Pairs | str,
        dilation: Sequence[int], groups: int = 1,
    ) -> Value:  # fmt: skip
        """`kernel`: (window, inputs / groups, outputs); `pads`: same, valid, causal or (before, after) pairs."""
        rank = kernel.ndim - 2
        if rank not in (1, 2) or len(v.shape) != rank + 1:
            raise Refused(f"a kernel of {_text(kernel.shape)} on {_text(v.shape)}")
        *window, inputs, outputs = kernel.shape
        if groups < 1 or inputs * groups != v.shape[-1] or outputs % groups or not outputs:
            raise Refused(f"a kernel of {_text(kernel.shape)} and {groups} groups on {v.shape[-1]} channels")
        return self._convolution(v, np.moveaxis(kernel, (-1, -2), (0, 1)), window, bias, stride, pads, dilation, groups)

    def depthwise(
        self, v: Value, kernel: Floats, bias: Floats | None, stride: Sequence[int], pads: Pairs | str,
        dilation: Sequence[int],
    ) -> Value:  # fmt: skip
        """`kernel`: (window, channels, outputs a channel)."""
        rank = kernel.ndim - 2
        if rank not in (1, 2) or len(v.shape) != rank + 1 or kernel.shape[-2] != v.shape[-1]:
            raise Refused(f"a depthwise kernel of {_text(kernel.shape)} on {_text(v.shape)}")
        *window, channels, multiplier = kernel.shape
        weight = np.moveaxis(kernel, (-2, -1), (0, 1)).reshape(channels * multiplier, 1, *window)
        return self._convolution(v, weight, window, bias, stride, pads, dilation, channels)

    def _convolution(
        self, v: Value, weight: Floats, window: Sequence[int], bias: Floats | None, stride: Sequence[int],
        pads: Pairs | str, dilation: Sequence[int], groups: int,
    ) -> Value:  # fmt: skip
        x = self._arranged(v)
        _check_window(window, stride, dilation, len(window))
        pairs = _pairs(x.shape[:-1], window, stride, dilation, pads)
        even = all(a == b for a, b in pairs)
        kind: Any = nn.Conv1d if len(window) == 1 else nn.Conv2d
        conv = kind(
            weight.shape[1] * groups, weight.shape[0], tuple(window), tuple(stride),
            tuple(a for a, _ in pairs) if even else 0, tuple(dilation), groups, bias is not None,
        )  # fmt: skip
        made = self._own(conv, weight=weight, bias=bias)
        return self._add((lambda t: made(t)) if even else (lambda t: made(F.pad(t, _flat(pairs)))), x)

    def dense(self, v: Value, kernel: Floats, bias: Floats | None) -> Value:
        """`kernel`: (inputs, outputs). On more than one dimension it is a convolution of one position."""
        if kernel.ndim != 2 or kernel.shape[0] != v.shape[-1]:
            raise Refused(f"weights of {_text(kernel.shape)} on {_text(v.shape)}")
        rank = len(v.shape) - 1
        if rank:
            one = [1] * rank
            return self.conv(v, kernel.reshape(*one, *kernel.shape), bias, one, "valid", one)
        flat, places = self._features(v)
        rows = np.empty_like(kernel)
        rows[places] = kernel
        made = self._own(nn.Linear(kernel.shape[0], kernel.shape[1], bias is not None), weight=rows.T, bias=bias)
        return self._add(lambda t: made(t), flat)

    def batch_norm(
        self, v: Value, gamma: Floats | None, beta: Floats | None, mean: Floats, variance: Floats, epsilon: float,
        momentum: float,
    ) -> Value:  # fmt: skip
        """Over the last dimension; `momentum` as Keras has it, the share of the past."""
        values = {"weight": gamma, "bias": beta, "running_mean": mean, "running_var": variance}
        kind = nn.BatchNorm2d if len(v.shape) == 3 else nn.BatchNorm1d
        if len(v.shape) > 3:
            raise Refused(f"on {_text(v.shape)}")
        norm = kind(v.shape[-1], eps=epsilon, momentum=1.0 - momentum)
        if len(v.shape) == 1:
            x, places = self._features(v)
            moved = {k: None if a is None or a.shape != v.shape else _scattered(a, places) for k, a in values.items()}
            made = self._own(norm, **{k: values[k] if m is None else m for k, m in moved.items()})
            return self._add(lambda t: made(t), x, places=places)
        made = self._own(norm, **values)
        return self._add(lambda t: made(t), self._arranged(v))

    def layer_norm(self, v: Value, gain: Floats | None, bias: Floats | None, epsilon: float) -> Value:
        """Over the last dimension."""
        x, places = self._features(v) if len(v.shape) == 1 else (self._arranged(v), None)
        values = {"weight": gain, "bias": bias}
        if places is not None:
            values = {k: a if a is None or a.shape != v.shape else _scattered(a, places) for k, a in values.items()}
        made = self._own(nn.LayerNorm(v.shape[-1], epsilon), **values)
        return self._add(lambda t: made(t.movedim(1, -1)).movedim(-1, 1), x, places=places)

    # -- layers without weights

    def attention(self, ends: Sequence[Value], heads: int, scale: float) -> Value:
        """Of queries, keys and values (tokens, channels); the channels of one head lie together."""

        def run(*given: Any) -> Any:
            q, k, v = (t.unflatten(1, (heads, -1)).transpose(2, 3) for t in given)
            return F.scaled_dot_product_attention(q, k, v, scale=scale).transpose(2, 3).flatten(1, 2)

        return self._add(run, *(self._arranged(x) for x in ends))

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What is added inside is the part `name` of the layer."""
        whole, self.where = self.where, f"{self.where}_{name}"
        try:
            yield
        finally:
            self.where = whole

    def activation(self, v: Value, name: str) -> Value:
        if name == "linear":
            return v
        if name == "softmax":
            return self.softmax(v)
        if name not in CURVES:
            raise Refused(f"activation {name}; only {', '.join(ACTIVATIONS)}")
        return self.curve(v, CURVES[name])

    def curve(self, v: Value, run: Callable[[Any], Any]) -> Value:
        """A function of each value by itself."""
        return self._add(run, v, places=v.places)

    def prelu(self, v: Value, alpha: Floats) -> Value:
        """`alpha`: one value, or one a channel."""
        if alpha.size not in (1, v.shape[-1]) or alpha.ndim != len(v.shape) or alpha.size != alpha.shape[-1]:
            raise Refused(f"slopes of {_text(alpha.shape)} on {_text(v.shape)}; one a channel: share the other axes")
        if len(v.shape) == 1:
            x, places = self._features(v)
            made = self._own(nn.PReLU(alpha.size), weight=alpha if alpha.size == 1 else _scattered(alpha, places))
            return self._add(lambda t: made(t), x, places=places)
        made = self._own(nn.PReLU(alpha.size), weight=alpha.ravel())
        return self._add(lambda t: made(t), self._arranged(v))

    def softmax(self, v: Value) -> Value:
        """Over the last dimension."""
        if len(v.shape) > 1:
            return self._add(lambda t: F.softmax(t, 1), self._arranged(v))
        flat, places = self._features(v)
        return self._add(lambda t: F.softmax(t, 1), flat, places=places)

    def pool(
        self, v: Value, maximum: bool, window: Sequence[int], stride: Sequence[int], padding: str
    ) -> Value:  # fmt: skip
        """`padding`: same or valid. The average is of what lies inside."""
        x, rank = self._arranged(v), len(v.shape) - 1
        if rank not in (1, 2):
            raise Refused(f"on {_text(v.shape)}")
        _check_window(window, stride, [1] * rank, rank)
        pairs = _pairs(x.shape[:-1], window, stride, [1] * rank, padding)
        inside = [a for a, _ in pairs]
        if any(a != b and s == 1 for (a, b), s in zip(pairs, stride, strict=True)):
            raise Refused(
                f"window {list(window)} at stride 1 with padding same, which is one more behind than in front"
            )
        partial = any(a != b for a, b in pairs)  # one more behind: what ceil_mode reads there is not counted
        if any(2 * a > k for a, k in zip(inside, window, strict=True)):
            raise Refused(f"window {list(window)} with padding {list(pairs)}")
        sizes = list(window), list(stride)
        if maximum:
            pooled: Any = F.max_pool2d if rank == 2 else F.max_pool1d
            return self._add(lambda t: pooled(t, *sizes, inside, 1, partial), x)
        averaged: Any = F.avg_pool2d if rank == 2 else F.avg_pool1d
        return self._add(lambda t: averaged(t, *sizes, inside, partial, False), x)

    def reduce(self, v: Value, axes: Sequence[int], maximum: bool, keep: bool) -> Value:
        """Mean or maximum over all dimensions but the last; `axes` without the batch, from 0."""
        rank = len(v.shape)
        if rank < 2 or sorted(axes) != list(range(rank - 1)):
            raise Refused(f"reduces dimensions {sorted(a + 1 for a in axes)} of {_text(v.shape)} behind the batch")
        over = list(range(2, rank + 1))
        run: Any = torch.amax if maximum else torch.mean
        result = self._add(lambda t: run(t, over, True), self._arranged(v))
        return result if keep else result.reshaped((v.shape[-1],))

    def pad(self, v: Value, pairs: Pairs, value: float = 0.0) -> Value:
        """(before, after) of each dimension."""
        sizes = [n + a + b for n, (a, b) in zip(v.shape, pairs, strict=True)]
        if min(min(p) for p in pairs) < 0 or math.prod(sizes) > MAX_ELEMENTS:
            raise Refused(f"pads {_text(v.shape)} by {[tuple(p) for p in pairs]}")
        if not any(map(any, pairs)):
            return v
        amounts = _flat([pairs[-1], *pairs[:-1]])
        return self._add(lambda t: F.pad(t, amounts, "constant", value), self._arranged(v))

    def slice(self, v: Value, ranges: Sequence[tuple[int, int, int]]) -> Value:
        """(begin, end, step) of each dimension, as Python counts them."""
        if any(step < 1 for _, _, step in ranges) or any(not len(range(*r)) for r in ranges):
            raise Refused(f"cuts {list(ranges)} out of {_text(v.shape)}")
        if all(r == (0, n, 1) for r, n in zip(ranges, v.shape, strict=True)):
            return v
        key = (slice(None), *(slice(*r) for r in (ranges[-1], *ranges[:-1])))
        return self._add(lambda t: t[key], self._arranged(v))

    def merge(self, values: Sequence[Value], multiplies: bool = False) -> Value:
        """Sum or product; one dimension of 1 is repeated as TensorFlow does."""
        run = torch.mul if multiplies else torch.add
        total = values[0]
        for other in values[1:]:
            a, b = total, other
            if len(a.shape) != len(b.shape):
                raise Refused(f"of {_text(a.shape)} and {_text(b.shape)}")
            if len(a.shape) == 1 and a.shape == b.shape:
                (a, places), (b, same) = self._features(a), self._features(b)
                if not np.array_equal(places, same):
                    raise Refused("of values that are flattened in different orders")
                total = self._add(run, a, b, places=places)
            else:
                total = self._add(run, self._arranged(a), self._arranged(b))
        return total

    def concatenate(self, values: Sequence[Value], axis: int) -> Value:
        """`axis` without the batch, from 0; only the last."""
        rank = len(values[0].shape)
        if axis != rank - 1 or any(len(v.shape) != rank for v in values):
            raise Refused(f"joins {', '.join(_text(v.shape) for v in values)} along {axis + 1}; only the channels")
        if len(values) == 1:
            return values[0]
        if rank > 1:
            return self._add(lambda *t: torch.cat(t, 1), *(self._arranged(v) for v in values))
        parts = [self._features(v) for v in values]
        first = np.cumsum([0, *(len(p) for _, p in parts)])
        places = np.concatenate([p + n for n, (_, p) in zip(first[:-1], parts, strict=True)])
        return self._add(lambda *t: torch.cat(t, 1), *(v for v, _ in parts), places=places)

    def affine(self, v: Value, scale: Floats, shift: Floats, alone: bool = False) -> Value:
        """scale * v + shift; both broadcast over v. `alone`: nobody else reads v."""
        try:
            scale, shift = (np.broadcast_to(_of_a_sample(c, v), v.shape) for c in (scale, shift))
        except ValueError as error:
            raise Refused(f"a constant of {_text(np.shape(scale))} on {_text(v.shape)}") from error
        if len(v.shape) == 1 and any(
            np.ptp(_scattered(c, v.places).reshape(v.held[0], -1), 1).any() for c in (scale, shift)
        ):
            flat, places = self._features(v)
            v = Value(flat.step, flat.held, places)
        if len(v.shape) == 2 and np.ptp(shift, 0).any() and not np.ptp(scale, 0).any():
            scaled = v if (scale == 1).all() else self.affine(v, scale, np.array(0.0), alone)
            return self._positions(scaled, shift)
        scale, shift = (_scattered(c, v.places).reshape(v.held) for c in (scale, shift))
        if any(np.ptp(c.reshape(len(c), -1), 1).any() for c in (scale, shift)):
            raise Refused("with a constant that is not the same at all positions of a channel")
        a, b = (c.reshape(len(c), -1)[:, 0] for c in (scale, shift))
        if alone and v.step == 0 and (a > 0).all() and not self.module.steps:
            before, moved = (np.ones(len(a)), np.zeros(len(a))) if self.scale is None else (self.scale, self.shift)
            self.scale, self.shift = before * a, moved * a + b
            return v
        along = (1, -1) + (1,) * (len(v.held) - 1)
        factor, summand = (torch.from_numpy(c.astype(np.float32)).reshape(along) for c in (a, b))
        run: Callable[[Any], Any] = lambda t: t * factor + summand  # noqa: E731
        if (a == 1).all():
            run = lambda t: t + summand  # noqa: E731
        elif not b.any():
            run = lambda t: t * factor  # noqa: E731
        return self._add(run, v, places=v.places)

    def _positions(self, v: Value, shift: Floats) -> Value:
        """v + shift, which is another one for each token, as position embeddings are."""
        summand = torch.from_numpy(np.ascontiguousarray(shift.T, np.float32))
        return self._add(lambda t: t + summand, self._arranged(v))


def number(value: Any, what: str) -> float:
    """A plain number, or one that Keras 2 wrote as an array."""
    if isinstance(value, dict):
        value = value.get("value", value.get("config", {}).get("value"))
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
        raise Refused(f"{what} {value!r}")
    return float(value)


def _text(shape: Sequence[int]) -> str:
    return "x".join(str(n) for n in shape) or "one number"


def _of_a_sample(constant: Floats, v: Value) -> Floats:
    """`constant` without the batch, where it has one of 1."""
    found = np.asarray(constant, np.float64)
    return found[0] if found.ndim == len(v.shape) + 1 and len(found) == 1 else found


def _scattered(values: Floats, places: Places) -> Floats:
    """`values`, in TensorFlow's order, at their places, flat."""
    moved = np.empty(values.size, values.dtype)
    moved[places.ravel()] = values.ravel()
    return moved


def _flat(pairs: Pairs) -> list[int]:
    """torch's order: last dimension first."""
    return [n for pair in reversed(pairs) for n in pair]


def _check_window(window: Sequence[int], stride: Sequence[int], dilation: Sequence[int], rank: int) -> None:
    for what, values in (("window", window), ("strides", stride), ("dilation", dilation)):
        if len(values) != rank or min(values) < 1 or max(values) > MAX_ELEMENTS:
            raise Refused(f"{what} {list(values)}")


def _pairs(
    size: Sequence[int], window: Sequence[int], stride: Sequence[int], dilation: Sequence[int], pads: Pairs | str
) -> list[tuple[int, int]]:
    """(before, after) of each spatial dimension; SAME puts the odd one behind."""
    if not isinstance(pads, str):
        return [(int(a), int(b)) for a, b in pads]
    reach = [(k - 1) * d + 1 for k, d in zip(window, dilation, strict=True)]
    if pads == "same":
        totals = [max((-(-n // s) - 1) * s + k - n, 0) for n, s, k in zip(size, stride, reach, strict=True)]
        found = [(t // 2, t - t // 2) for t in totals]
    elif pads == "causal" and len(size) == 1:
        found = [(reach[0] - 1, 0)]
    elif pads == "valid":
        found = [(0, 0)] * len(size)
    else:
        raise Refused(f"padding {pads}; only valid and same" + (" and causal" if len(size) == 1 else ""))
    total = math.prod(n + a + b for n, (a, b) in zip(size, found, strict=True))
    if total > MAX_ELEMENTS:
        raise Refused(f"pads {_text(size)} by {found}")
    return found
