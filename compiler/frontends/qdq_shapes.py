"""Operators of quantized ONNX that move integers, or only look at them under another shape."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from secateur.compiler.frontends.onnx_operators import Call, Refused
from secateur.compiler.frontends.qdq_reader import Held, Operator, Reader
from secateur.compiler.frontends.qdq_values import Pending, Value, channels_first
from secateur.models.program import Options


def _concat(r: Reader, c: Call, names: list[str], name: str) -> list[Held]:
    values = [r.held(n) for n in names]
    rank, axis = values[0].places.ndim, int(c.attributes["axis"])
    axis = axis + rank + 1 if axis < 0 else axis
    if any(v.places.ndim != rank for v in values) or axis == 0:
        raise Refused("joins batches, or values with different numbers of dimensions")
    if rank == 1:
        tensors = tuple(r.build.shaped(v.tensor, (1, v.places.size), f"{name}_in{i}") for i, v in enumerate(values))
        ends = np.cumsum([0, *(v.places.size for v in values)])
        places = np.concatenate([v.places + first for v, first in zip(values, ends[:-1], strict=True)])
        return [Pending("CONCATENATION", tensors, Options(axis=1), (1, int(ends[-1])), places)]
    tensors = tuple(r.build.arranged(v, f"{name}_{i}") for i, v in enumerate(values))
    along = 3 if axis == 1 else axis - 1 if rank == 3 else 2
    shape = list(r.build.tensors[tensors[0]].shape)
    shape[along] = sum(r.build.tensors[i].shape[along] for i in tensors)
    return [Pending("CONCATENATION", tensors, Options(axis=along), tuple(shape), channels_first(tuple(shape), rank))]


def _seen(r: Reader, name: str, view: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.int64]]) -> list[Held]:
    """The same elements under another shape; nothing is computed."""
    value = r.values[name]
    assert value is not None
    try:
        places = view(value.places[None])
    except (ValueError, IndexError) as error:
        raise Refused(str(error).split("\n")[0]) from error
    if places.ndim < 2 or places.shape[0] != 1:
        raise Refused(f"gives {places.shape}: the batch of 1 has to stay in front")
    return [replace(value, places=places[0])]


def _reshape(r: Reader, c: Call, names: list[str], name: str) -> list[Held]:
    shape, keep = c.shape(), not c.attributes.get("allowzero", 0)
    target = [int(v) for v in np.ravel(c.constant(1, "the shape"))]
    target = [shape[i] if n == 0 and keep else n for i, n in enumerate(target)]
    return _seen(r, names[0], lambda p: p.reshape(target))


def _flatten(r: Reader, c: Call, names: list[str], name: str) -> list[Held]:
    shape, axis = c.shape(), int(c.attributes.get("axis", 1))
    axis = axis + len(shape) if axis < 0 else axis
    return _seen(r, names[0], lambda p: p.reshape(math.prod(shape[:axis]), -1))


def _squeeze(r: Reader, c: Call, names: list[str], name: str) -> list[Held]:
    shape, axes = c.shape(), c.integers("axes", 1)
    gone = {a % len(shape) for a in axes} if axes is not None else {i for i, n in enumerate(shape) if n == 1 and i}
    return _seen(r, names[0], lambda p: p.reshape([n for i, n in enumerate(shape) if i not in gone]))


def _unsqueeze(r: Reader, c: Call, names: list[str], name: str) -> list[Held]:
    axes = c.integers("axes", 1)
    if axes is None:
        raise Refused("axes are missing")
    return _seen(r, names[0], lambda p: np.expand_dims(p, tuple(axes)))


def _transpose(r: Reader, c: Call, names: list[str], name: str) -> list[Held]:
    order = [int(v) for v in c.attributes.get("perm", range(len(c.shape()))[::-1])]
    return _seen(r, names[0], lambda p: p.transpose(order))


def _identity(r: Reader, c: Call, names: list[str], name: str) -> list[Held]:
    return _seen(r, names[0], lambda p: p)


def _pad(r: Reader, c: Call, names: list[str], name: str) -> list[Held]:
    x = r.held(names[0])
    rank, mode = x.places.ndim, c.attributes.get("mode", b"constant").decode()
    amounts, axes = c.integers("pads", 1), c.integers("axes", 3)
    filling = r.real(names[2]) if len(names) > 2 and names[2] else np.array(c.attributes.get("value", 0.0))
    if mode != "constant" or amounts is None or filling.any() or min(amounts) < 0:
        raise Refused("other than by zeros")
    axes = [a % (rank + 1) for a in axes] if axes else list(range(rank + 1))
    pairs = [(0, 0)] * (rank + 1)
    for i, axis in enumerate(axes):
        pairs[axis] = (amounts[i], amounts[i + len(axes)])
    source = r.build.arranged(x, name)
    inner = [*pairs[2:], pairs[1]]
    ordered = [pairs[0], *(((0, 0),) if rank == 2 else ()), *inner]
    shape = tuple(n + a + b for n, (a, b) in zip(r.build.tensors[source].shape, ordered, strict=True))
    if shape[0] != 1:
        raise Refused("changes the batch")
    inputs = (source, r.build.constant(f"{name}_amounts", np.array(ordered, np.int32)))
    out = r.build.emit("PAD", inputs, shape, r.build.quantization(source), name)
    return [Value(out, channels_first(shape, rank))]


def _cut(r: Reader, x: Value, ranges: list[tuple[int, int, int]], name: str) -> Value:
    """(begin, end, step) of each dimension behind the batch."""
    source, rank = r.build.arranged(x, name), x.places.ndim
    ordered = [(0, 1, 1), *(((0, 1, 1),) if rank == 2 else ()), *ranges[1:], ranges[0]]
    shape = tuple(len(range(*one)) for one in ordered)
    if not all(shape):
        raise Refused("leaves nothing")
    options = Options(begin=tuple(b for b, _, _ in ordered), strides=tuple(s for _, _, s in ordered))
    out = r.build.emit("STRIDED_SLICE", (source,), shape, r.build.quantization(source), name, options)
    return Value(out, channels_first(shape, rank))


def _slice(r: Reader, c: Call, names: list[str], name: str) -> list[Held]:
    x, shape = r.held(names[0]), c.shape()
    starts, ends = c.integers("starts", 1), c.integers("ends", 2)
    if starts is None or ends is None:
        raise Refused("starts or ends are missing")
    axes = c.integers("axes", 3) or list(range(len(starts)))
    ranges = [(0, n, 1) for n in shape]
    for begin, end, axis, step in zip(starts, ends, axes, c.integers("steps", 4) or [1] * len(starts), strict=True):
        if step < 1:
            raise Refused(f"step {step}")
        ranges[axis] = slice(begin, end, step).indices(shape[axis])
    if ranges[0] != (0, 1, 1):
        raise Refused("cuts the batch")
    return [_cut(r, x, ranges[1:], name)]


def _split(r: Reader, c: Call, names: list[str], name: str) -> list[Held]:
    x, shape = r.held(names[0]), c.shape()
    axis, sizes = int(c.attributes.get("axis", 0)) % len(shape), c.integers("split", 1)
    if axis == 0:
        raise Refused("cuts the batch")
    if sizes is None:
        each = math.ceil(shape[axis] / c.outputs)
        sizes = [min(each, shape[axis] - i * each) for i in range(c.outputs)]
    ends, made = np.cumsum([0, *sizes]).tolist(), []
    for i, (begin, end) in enumerate(itertools.pairwise(ends)):
        ranges = [(0, n, 1) for n in shape[1:]]
        ranges[axis - 1] = (begin, end, 1)
        made.append(_cut(r, x, ranges, f"{name}_{i}"))
    return list(made)


SHAPES: dict[str, Operator] = {
    "Concat": _concat,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Identity": _identity,
    "Dropout": _identity,
    "Pad": _pad,
    "Slice": _slice,
    "Split": _split,
}
