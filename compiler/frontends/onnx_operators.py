"""ONNX operators, each as a function of torch tensors; weights become modules, so that they can be trained.

Source: the ONNX operator specification, opsets 11 to 23. Both of PyTorch's exporters are understood: where
one writes GlobalAveragePool and Flatten, the other writes ReduceMean and Reshape.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Step = Callable[..., Any]
"""From the tensors that depend on the network's input, in the node's order, to its output or outputs."""


class Refused(Exception):
    """The operator, as this node uses it, is not supported. The text is the reason."""


@dataclass(frozen=True)
class Call:
    """One node: its attributes, its constant inputs, and the shapes (batch first) of the others."""

    op: str
    attributes: dict[str, Any]
    inputs: tuple[npt.NDArray[Any] | tuple[int, ...] | None, ...]  # constant, shape, or absent
    outputs: int
    producer: str  # operator that gives the first input
    own: Callable[[nn.Module], nn.Module]  # registers a module of the network
    opset: int = 13  # or later

    def shape(self, i: int = 0) -> tuple[int, ...]:
        value = self.inputs[i]
        if not isinstance(value, tuple):
            raise Refused(f"input {i} is a constant")
        return value

    def constant(self, i: int, what: str) -> npt.NDArray[Any]:
        value = self.optional(i, what)
        if value is None:
            raise Refused(f"{what} is missing")
        return value

    def optional(self, i: int, what: str) -> npt.NDArray[Any] | None:
        value = self.inputs[i] if i < len(self.inputs) else None
        if isinstance(value, tuple):
            raise Refused(f"{what} is computed, a constant is needed")
        return value

    def integers(self, name: str, i: int) -> list[int] | None:
        """An attribute in old opsets, a constant input in new ones."""
        if name in self.attributes:
            return [int(v) for v in self.attributes[name]]
        value = self.optional(i, name)
        return None if value is None else [int(v) for v in np.ravel(value)]


def _tensor(value: npt.NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.array(value, dtype=np.float32))


def _fill(module: nn.Module, **values: npt.NDArray[Any] | None) -> nn.Module:
    with torch.no_grad():
        for name, value in values.items():
            if value is not None:
                getattr(module, name).copy_(_tensor(value))
    return module


def pads_of(c: Call, size: tuple[int, ...], kernel: list[int], strides: list[int], dilations: list[int]) -> list[Any]:
    """(before, after) of each spatial dimension."""
    mode = c.attributes.get("auto_pad", b"NOTSET").decode()
    rank = len(kernel)
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        pairs = []
        for n, k, s, d in zip(size, kernel, strides, dilations, strict=True):
            total = max((math.ceil(n / s) - 1) * s + (k - 1) * d + 1 - n, 0)
            small, large = total // 2, total - total // 2
            pairs.append((small, large) if mode == "SAME_UPPER" else (large, small))
        return pairs
    flat = c.attributes.get("pads", [0] * 2 * rank) if mode == "NOTSET" else [0] * 2 * rank
    return [(int(flat[i]), int(flat[i + rank])) for i in range(rank)]


def _padding(pairs: list[Any]) -> list[int]:
    """torch's order: last dimension first."""
    return [n for pair in reversed(pairs) for n in pair]


def _conv(c: Call) -> Step:
    weight = c.constant(1, "the weight")
    rank = weight.ndim - 2
    if rank not in (1, 2):
        raise Refused(f"{rank}-dimensional; only 1 and 2")
    kernel = list(weight.shape[2:])
    strides = [int(v) for v in c.attributes.get("strides", [1] * rank)]
    dilations = [int(v) for v in c.attributes.get("dilations", [1] * rank)]
    groups, bias = int(c.attributes.get("group", 1)), c.optional(2, "the bias")
    if groups < 1 or weight.shape[0] % groups:
        raise Refused(f"{weight.shape[0]} filters in {groups} groups")
    pairs = pads_of(c, c.shape()[2:], kernel, strides, dilations)
    symmetric = all(a == b for a, b in pairs)
    kind: Any = nn.Conv2d if rank == 2 else nn.Conv1d
    conv = kind(
        weight.shape[1] * groups,
        weight.shape[0],
        tuple(kernel),
        tuple(strides),
        tuple(a for a, _ in pairs) if symmetric else 0,
        tuple(dilations),
        groups,
        bias is not None,
    )
    made = c.own(_fill(conv, weight=weight, bias=bias))
    return (lambda x: made(x)) if symmetric else (lambda x: made(F.pad(x, _padding(pairs))))


def _gemm(c: Call) -> Step:
    weight = c.constant(1, "the weight").astype(np.float32) * np.float32(c.attributes.get("alpha", 1.0))
    if c.attributes.get("transA", 0):
        raise Refused("transA=1")
    if not c.attributes.get("transB", 0):
        weight = weight.T
    bias = c.optional(2, "the bias")
    if bias is not None:
        bias = np.broadcast_to(bias * np.float32(c.attributes.get("beta", 1.0)), (1, len(weight)))[0]
    return _linear(c, weight, bias)


def _linear(c: Call, weight: npt.NDArray[Any], bias: npt.NDArray[Any] | None) -> Step:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
    made = c.own(_fill(linear, weight=weight, bias=bias))
    return lambda x: made(x)


def _matmul(c: Call) -> Step:
    if all(isinstance(value, tuple) for value in c.inputs):
        return lambda x, y: torch.matmul(x, y)
    weight = c.constant(1, "the second factor")
    if weight.ndim != 2:
        raise Refused(f"by a tensor of shape {weight.shape}")
    return _linear(c, weight.T, None)


def _batch_norm(c: Call) -> Step:
    if c.attributes.get("training_mode", 0):
        raise Refused("training_mode=1; export the network in eval mode")
    if not float(c.attributes.get("epsilon", 1e-5)) >= 0:
        raise Refused(f"epsilon {c.attributes['epsilon']:g}; it may not be negative")
    kind = nn.BatchNorm2d if len(c.shape()) == 4 else nn.BatchNorm1d
    names = ("weight", "bias", "running_mean", "running_var")
    values = {name: c.constant(i + 1, name) for i, name in enumerate(names)}
    norm = kind(len(values["weight"]), eps=float(c.attributes.get("epsilon", 1e-5)))
    made = c.own(_fill(norm, **values))
    return lambda x: made(x)


def _clip(c: Call) -> Step:
    low, high = (c.attributes.get(n, c.optional(i, n)) for i, n in ((1, "min"), (2, "max")))
    least = -math.inf if low is None else float(np.ravel(low)[0])
    most = math.inf if high is None else float(np.ravel(high)[0])
    if least == 0 and most == 6:
        return lambda x: F.relu6(x)
    if least == 0 and most >= 1e30:
        return lambda x: F.relu(x)
    if least == 0 and most == 1:
        return lambda x: torch.clamp(x, 0.0, 1.0)
    raise Refused(f"to {least:g}..{most:g}; only 0..6, 0..1 and 0..infinity")


def _pool(c: Call) -> Step:
    kernel = [int(v) for v in c.attributes["kernel_shape"]]
    rank = len(kernel)
    if rank not in (1, 2):
        raise Refused(f"{rank}-dimensional; only 1 and 2")
    strides = [int(v) for v in c.attributes.get("strides", [1] * rank)]
    dilations = [int(v) for v in c.attributes.get("dilations", [1] * rank)]
    if any(d != 1 for d in dilations):
        raise Refused(f"dilations {dilations}")
    pairs = pads_of(c, c.shape()[2:], kernel, strides, dilations)
    ceil = bool(c.attributes.get("ceil_mode", 0))
    include = bool(c.attributes.get("count_include_pad", 0)) and c.op != "MaxPool"
    symmetric = all(a == b and 2 * a <= k for (a, b), k in zip(pairs, kernel, strict=True))
    if not symmetric and not ceil and not include and _as_ceil(c.shape()[2:], pairs, kernel, strides):
        pairs, symmetric, ceil = [(a, a) for a, _ in pairs], True, True
    inside = [a for a, _ in pairs] if symmetric else [0] * rank
    outside = None if symmetric else _padding(pairs)
    if c.op == "MaxPool":
        if outside is not None and c.producer not in ("Relu", "Clip"):
            raise Refused(f"asymmetric pads {pairs} of values that may be negative")  # 0 would win over them
        pooled: Any = F.max_pool2d if rank == 2 else F.max_pool1d
        return lambda x: pooled(_padded(x, outside), kernel, strides, inside, 1, ceil)
    if outside is not None and not include:
        raise Refused(f"asymmetric pads {pairs} that are not counted")
    averaged: Any = F.avg_pool2d if rank == 2 else F.avg_pool1d
    return lambda x: averaged(_padded(x, outside), kernel, strides, inside, ceil, include)


def _as_ceil(size: tuple[int, ...], pairs: list[Any], kernel: list[int], strides: list[int]) -> bool:
    """Padding `before` on both sides under ceil_mode makes the same windows; what lies outside never counts."""
    for n, (a, b), k, s in zip(size, pairs, kernel, strides, strict=True):
        count = -(-(n + 2 * a - k) // s) + 1
        count -= (count - 1) * s >= n + a  # torch drops a window that starts behind the input
        if 2 * a > k or count != (n + a + b - k) // s + 1:
            return False
    return True


def _padded(x: Tensor, amounts: list[int] | None) -> Tensor:
    return x if amounts is None else F.pad(x, amounts)


def _global_pool(c: Call) -> Step:
    over = list(range(2, len(c.shape())))
    if c.op == "GlobalMaxPool":
        return lambda x: torch.amax(x, over, True)
    return lambda x: torch.mean(x, over, True)


def _reduce(c: Call) -> Step:
    axes, keep = c.integers("axes", 1), bool(c.attributes.get("keepdims", 1))
    if not axes:
        if c.attributes.get("noop_with_empty_axes", 0):
            return lambda x: x
        raise Refused("reduces over the batch")
    if c.op == "ReduceMax":
        return lambda x: torch.amax(x, axes, keep)
    return lambda x: torch.mean(x, axes, keep)


def _binary(function: Callable[[Any, Any], Any]) -> Callable[[Call], Step]:
    def make(c: Call) -> Step:
        a, b = c.inputs[0], c.inputs[1]
        if isinstance(b, np.ndarray):
            right = _tensor(b)
            return lambda x: function(x, right)
        if isinstance(a, np.ndarray):
            left = _tensor(a)
            return lambda x: function(left, x)
        return function

    return make


def _sum(c: Call) -> Step:
    constants = [_tensor(v) for v in c.inputs if isinstance(v, np.ndarray)]

    def add(*values: Any) -> Any:
        total = values[0]
        for value in (*values[1:], *constants):
            total = torch.add(total, value)
        return total

    return add


def _concat(c: Call) -> Step:
    axis = int(c.attributes["axis"])
    known = [_tensor(v) if isinstance(v, np.ndarray) else None for v in c.inputs]

    def cat(*values: Any) -> Any:
        given = iter(values)
        return torch.cat([next(given) if v is None else v for v in known], axis)

    return cat


def _reshape(c: Call) -> Step:
    shape, keep = c.shape(), not c.attributes.get("allowzero", 0)
    target = [int(v) for v in np.ravel(c.constant(1, "the shape"))]
    target = [shape[i] if n == 0 and keep else n for i, n in enumerate(target)]
    return lambda x: x.reshape(target)


def _flatten(c: Call) -> Step:
    shape, axis = c.shape(), int(c.attributes.get("axis", 1))
    axis = axis + len(shape) if axis < 0 else axis
    target = [math.prod(shape[:axis]), math.prod(shape[axis:])]
    return lambda x: x.reshape(target)


def _squeeze(c: Call) -> Step:
    shape, axes = c.shape(), c.integers("axes", 1)
    gone = {a % len(shape) for a in axes} if axes is not None else {i for i, n in enumerate(shape) if n == 1}
    target = [n for i, n in enumerate(shape) if i not in gone]
    return lambda x: x.reshape(target)


def _unsqueeze(c: Call) -> Step:
    shape, axes = c.shape(), c.integers("axes", 1)
    if axes is None:
        raise Refused("axes are missing")
    rank = len(shape) + len(axes)
    new, old = {a % rank for a in axes}, iter(shape)
    target = [1 if i in new else next(old) for i in range(rank)]
    return lambda x: x.reshape(target)


def _transpose(c: Call) -> Step:
    shape = c.shape()
    order = [int(v) for v in c.attributes.get("perm", range(len(shape))[::-1])]
    moved = [i for i in order if shape[i] != 1]
    if moved != sorted(moved):
        return lambda x: x.permute(order)
    target = [shape[i] for i in order]
    return lambda x: x.reshape(target)


def _pad(c: Call) -> Step:
    rank, mode = len(c.shape()), c.attributes.get("mode", b"constant").decode()
    amounts, axes = c.integers("pads", 1), c.integers("axes", 3)
    if mode != "constant" or amounts is None:
        raise Refused(f"mode {mode!r}; only constant")
    value = c.attributes.get("value", c.optional(2, "the value"))
    axes = [a % rank for a in axes] if axes else list(range(rank))
    pairs = [(0, 0)] * rank
    for i, axis in enumerate(axes):
        pairs[axis] = (amounts[i], amounts[i + len(axes)])
    filling = 0.0 if value is None or np.size(value) == 0 else float(np.ravel(value)[0])
    return lambda x: F.pad(x, _padding(pairs[1:]), "constant", filling) if not any(pairs[0]) else _never("the batch")


def _never(what: str) -> Any:
    raise Refused(f"changes {what}")


def _slice(c: Call) -> Step:
    shape = c.shape()
    starts, ends = c.integers("starts", 1), c.integers("ends", 2)
    if starts is None or ends is None:
        raise Refused("starts or ends are missing")
    axes = c.integers("axes", 3) or list(range(len(starts)))
    steps = c.integers("steps", 4) or [1] * len(starts)
    keys = [slice(None)] * len(shape)
    for begin, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step < 1:
            raise Refused(f"step {step}")
        keys[axis] = slice(*slice(begin, end, step).indices(shape[axis]))
    if keys[0] == slice(0, shape[0], 1):
        keys[0] = slice(None)
    return lambda x: x[tuple(keys)]


def _split(c: Call) -> Step:
    axis, size = int(c.attributes.get("axis", 0)), c.integers("split", 1)
    length = c.shape()[axis]
    if size is None:
        each = math.ceil(length / c.outputs)
        size = [min(each, length - i * each) for i in range(c.outputs)]
    return lambda x: torch.split(x, size, axis)


def _gather(c: Call) -> Step:
    at, axis = c.constant(1, "the index").astype(np.int64), int(c.attributes.get("axis", 0))
    length = c.shape()[axis]
    if at.ndim > 1 or at.size == 0 or at.min() < -length or at.max() >= length:
        raise Refused(f"by an index of shape {at.shape}; one place or a row of them, inside its input")
    index = torch.from_numpy(np.array(at % length))
    if at.ndim == 0:
        return lambda x: x.select(axis, int(index))
    return lambda x: torch.index_select(x, axis, index)


def _layer_norm(c: Call) -> Step:
    shape, axis = c.shape(), int(c.attributes.get("axis", -1))
    if axis not in (-1, len(shape) - 1) or c.outputs > 1:
        raise Refused("of more than the last dimension, or with its mean and deviation as outputs")
    norm = nn.LayerNorm(shape[-1], float(c.attributes.get("epsilon", 1e-5)))
    weight, bias = (np.broadcast_to(v, shape[-1:]) if v is not None else None
                    for v in (c.constant(1, "the scale"), c.optional(2, "the bias")))  # fmt: skip
    made = c.own(_fill(norm, weight=weight, bias=bias))
    return lambda x: made(x)


def _einsum(c: Call) -> Step:
    equation = c.attributes["equation"].decode()
    if not all(isinstance(value, tuple) for value in c.inputs):
        raise Refused("of a constant")
    return lambda *values: torch.einsum(equation, *values)


def _softmax(c: Call) -> Step:
    axis, rank = int(c.attributes.get("axis", 1 if c.opset < 13 else -1)), len(c.shape())
    if c.opset < 13 and math.prod(c.shape()[axis % rank + 1 :]) != 1:
        raise Refused(f"over all dimensions from {axis} on, as before opset 13; export again with opset_version=18")
    return lambda x: F.softmax(x, axis)


def _identity(c: Call) -> Step:
    c.shape()
    return lambda x: x


def _cast(c: Call) -> Step:
    if int(c.attributes["to"]) != 1:
        raise Refused("to another type than float32")
    return lambda x: x


def _hard_sigmoid(c: Call) -> Step:
    """clip(alpha x + beta, 0, 1) by torch's, which has 1/6 and 1/2."""
    alpha, beta = float(c.attributes.get("alpha", 0.2)), float(c.attributes.get("beta", 0.5))
    scale, shift = 6 * alpha, 6 * beta - 3
    if abs(scale - 1) < 1e-6 and abs(shift) < 1e-6:
        return lambda x: F.hardsigmoid(x)
    return lambda x: F.hardsigmoid(x * scale + shift)


def _leaky_relu(c: Call) -> Step:
    slope = float(c.attributes.get("alpha", 0.01))
    return lambda x: F.leaky_relu(x, slope)


def _elu(c: Call) -> Step:
    alpha = float(c.attributes.get("alpha", 1.0))
    return lambda x: F.elu(x, alpha)


def _gelu(c: Call) -> Step:
    form = c.attributes.get("approximate", b"none").decode()
    return lambda x: F.gelu(x, approximate=form)


def _prelu(c: Call) -> Step:
    slope, rank = c.constant(1, "the slope"), len(c.shape())
    aligned = (1,) * (rank - slope.ndim) + slope.shape
    if slope.size != 1 and (len(aligned) != rank or aligned[1] != slope.size or slope.size != c.shape()[1]):
        raise Refused(f"with a slope of shape {slope.shape}; only one value, or one a channel")
    made = c.own(_fill(nn.PReLU(slope.size), weight=slope.ravel()))
    return lambda x: made(x)


def _swish(c: Call) -> Step:
    alpha = float(c.attributes.get("alpha", 1.0))
    if alpha == 1:
        return lambda x: F.silu(x)
    return lambda x: x * torch.sigmoid(x * alpha)


def _pow(c: Call) -> Step:
    exponent = c.constant(1, "the exponent")
    if exponent.size != 1 or float(np.ravel(exponent)[0]) not in (2.0, 3.0):
        raise Refused(f"to the power {np.ravel(exponent)[:4].tolist()}; only 2 and 3")
    power = int(np.ravel(exponent)[0])
    return lambda x: torch.pow(x, power)


OPERATORS: dict[str, Callable[[Call], Step]] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "BatchNormalization": _batch_norm,
    "Relu": lambda c: lambda x: F.relu(x),
    "Clip": _clip,
    "Sigmoid": lambda c: lambda x: torch.sigmoid(x),
    "HardSigmoid": _hard_sigmoid,
    "Tanh": lambda c: lambda x: torch.tanh(x),
    "HardSwish": lambda c: lambda x: F.hardswish(x),
    "Swish": _swish,
    "Gelu": _gelu,
    "Elu": _elu,
    "LeakyRelu": _leaky_relu,
    "PRelu": _prelu,
    "Erf": lambda c: lambda x: torch.erf(x),
    "Pow": _pow,
    "Add": _binary(torch.add),
    "Sub": _binary(torch.sub),
    "Mul": _binary(torch.mul),
    "Div": _binary(torch.div),
    "Neg": lambda c: lambda x: torch.neg(x),
    "Sum": _sum,
    "Concat": _concat,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "GlobalAveragePool": _global_pool,
    "GlobalMaxPool": _global_pool,
    "ReduceMean": _reduce,
    "ReduceMax": _reduce,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Pad": _pad,
    "Slice": _slice,
    "Split": _split,
    "Softmax": _softmax,
    "Gather": _gather,
    "LayerNormalization": _layer_norm,
    "Einsum": _einsum,
    "Identity": _identity,
    "Dropout": _identity,
    "Cast": _cast,
}
