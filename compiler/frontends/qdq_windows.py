"""Operators of quantized ONNX that sum or compare many integers: convolutions, fully connected layers, pooling."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from secateur.compiler.frontends.onnx_operators import Call, Refused, pads_of
from secateur.compiler.frontends.qdq_reader import LARGEST, Held, Operator, Reader
from secateur.compiler.frontends.qdq_values import Constant, Pending, Value, channels_first
from secateur.models.program import Options, Padding


def _conv(r: Reader, c: Call, names: list[str], name: str) -> list[Held]:
    x, weights = r.held(names[0]), r.weights(names[1])
    rank = weights.q.ndim - 2
    if rank not in (1, 2) or x.places.ndim != rank + 1:
        raise Refused(f"{rank}-dimensional; only 1 and 2")
    if weights.scale.size > 1 and weights.axis != 0:
        raise Refused(f"weight scales along dimension {weights.axis}; 0 is expected")
    kernel, groups = list(weights.q.shape[2:]), int(c.attributes.get("group", 1))
    strides, dilations = (_ints(c, n, rank) for n in ("strides", "dilations"))
    pads = _padding(pads_of(c, x.places.shape[1:], kernel, strides, dilations))
    source = r.build.arranged(x, name)
    channels, count = x.places.shape[0], weights.q.shape[0]
    if groups < 1 or channels != groups * weights.q.shape[1] or count % groups:
        raise Refused(f"{count} filters of {weights.q.shape[1]} channels in {groups} groups on {channels} channels")
    options = Options(stride=_pair(strides), dilation=_pair(dilations))
    source, options = r.build.padded(source, _pair(kernel), options, pads, False, name)
    q = weights.q if rank == 2 else weights.q[:, :, None]
    kind, axis, q = "CONV_2D", 0, np.transpose(q, (0, 2, 3, 1))
    if groups == channels > 1:
        kind, axis, q = "DEPTHWISE_CONV_2D", 3, np.transpose(q, (3, 1, 2, 0))
        options = replace(options, depth_multiplier=count // channels)
    bias = names[2] if len(names) > 2 else ""
    inputs = r.weighted(source, q, weights.scale, axis, bias, name)
    shape = _slid(r, source, _pair(kernel), options, count)
    return [Pending(kind, inputs, options, shape, channels_first(shape, rank + 1))]


def _ints(c: Call, name: str, rank: int) -> list[int]:
    found = [int(v) for v in c.attributes.get(name, [1] * rank)]
    if max(found) > LARGEST:
        raise Refused(f"{name} {found}")
    return found


def _pair(values: list[int]) -> tuple[int, int]:
    return (values[0], values[1]) if len(values) == 2 else (1, values[0])


def _padding(pairs: list[Any]) -> Padding:
    (top, bottom), (left, right) = pairs if len(pairs) == 2 else ((0, 0), pairs[0])
    return Padding(top, bottom, left, right)


def _slid(r: Reader, source: int, kernel: tuple[int, int], o: Options, count: int) -> tuple[int, ...]:
    """Shape behind a window that moves over `source`."""
    _, h, w, _ = r.build.tensors[source].shape
    p = o.padding
    sides = zip((h + p.top + p.bottom, w + p.left + p.right), kernel, o.stride, o.dilation, strict=True)
    rows, columns = ((n - (k - 1) * d - 1) // s + 1 for n, k, s, d in sides)
    if rows < 1 or columns < 1:
        raise Refused(f"a window of {kernel} on {h}x{w}")
    return 1, rows, columns, count


def _gemm(r: Reader, c: Call, names: list[str], name: str) -> list[Held]:
    if c.attributes.get("transA", 0) or float(c.attributes.get("alpha", 1.0)) != 1.0:
        raise Refused("transA=1, or alpha that is not 1")
    if len(names) > 2 and names[2] and float(c.attributes.get("beta", 1.0)) != 1.0:
        raise Refused("beta that is not 1")
    weights = r.weights(names[1])
    return _connected(r, names[0], weights if c.attributes.get("transB", 0) else weights.moved([1, 0]),
                      names[2] if len(names) > 2 else "", name)  # fmt: skip


def _matmul(r: Reader, c: Call, names: list[str], name: str) -> list[Held]:
    weights = r.weights(names[1])
    if weights.q.ndim != 2:
        raise Refused(f"by a tensor of shape {weights.q.shape}")
    return _connected(r, names[0], weights.moved([1, 0]), "", name)


def _connected(r: Reader, x_name: str, weights: Constant, bias: str, name: str) -> list[Held]:
    """`weights`: (outputs, inputs)."""
    x, (count, features) = r.held(x_name), weights.q.shape
    if x.places.ndim != 1 or x.places.size != features:
        raise Refused(f"of {features} features on a value of {x.places.shape}")
    if weights.scale.size > 1 and weights.axis != 0:
        raise Refused("one scale an input; one a tensor or one an output are known")
    q = np.empty_like(weights.q)
    q[:, x.places] = weights.q
    source = r.build.shaped(x.tensor, (1, features), f"{name}_in")
    inputs = r.weighted(source, q, weights.scale, 0, bias, name)
    return [Pending("FULLY_CONNECTED", inputs, Options(), (1, count), np.arange(count))]


def _batch_norm(r: Reader, c: Call, names: list[str], name: str) -> list[Held]:
    """A batch norm that nobody folded, as a depthwise convolution of one position by +-127."""
    x = r.held(names[0])
    gain, shift, mean, variance = (r.real(n) for n in names[1:5])
    gain = gain / np.sqrt(variance + float(c.attributes.get("epsilon", 1e-5)))
    if c.attributes.get("training_mode", 0) or gain.size != x.places.shape[0] or not np.abs(gain).max() > 0:
        raise Refused("in training mode, or without a factor a channel")
    size, flat = np.abs(gain), x.places.ndim == 1
    scale = np.where(size > 0, size, size.max()) / 127
    q, real = (np.sign(gain) * 127).astype(np.int8), shift - mean * gain
    if flat:
        source = r.build.shaped(x.tensor, (1, 1, 1, gain.size), f"{name}_in")
        order = np.argsort(x.places)
        q, scale, real = q[order], scale[order], real[order]
    else:
        source = r.build.arranged(x, name)
    scale = scale.astype(np.float32).astype(np.float64)
    inputs = r.weighted(source, q.reshape(1, 1, 1, -1), scale, 3, real, name)
    shape = r.build.tensors[source].shape
    places = x.places if flat else channels_first(shape, x.places.ndim)
    return [Pending("DEPTHWISE_CONV_2D", inputs, Options(), shape, places)]


def _maxpool(r: Reader, c: Call, names: list[str], name: str) -> list[Held]:
    x = r.held(names[0])
    source, kernel, options, pads = _window(r, c, x, name)
    source, options = r.build.padded(source, kernel, options, pads, True, name)
    shape = _slid(r, source, kernel, options, x.places.shape[0])
    out = r.build.emit("MAX_POOL_2D", (source,), shape, r.build.quantization(source), name, options)
    return [Value(out, channels_first(shape, x.places.ndim))]


def _window(r: Reader, c: Call, x: Value, name: str) -> tuple[int, tuple[int, int], Options, Padding]:
    rank = x.places.ndim - 1
    if rank not in (1, 2):
        raise Refused(f"{rank}-dimensional; only 1 and 2")
    kernel = list(x.places.shape[1:])
    if c.op not in ("GlobalMaxPool", "GlobalAveragePool"):
        kernel = [int(v) for v in c.attributes["kernel_shape"]]
    strides, dilations = (_ints(c, n, rank) for n in ("strides", "dilations"))
    if any(d != 1 for d in dilations):
        raise Refused(f"dilations {dilations}")
    pairs = pads_of(c, x.places.shape[1:], kernel, strides, dilations)
    if c.attributes.get("ceil_mode", 0):
        size = zip(x.places.shape[1:], pairs, kernel, strides, strict=True)
        pairs = [(a, b + -(n + a + b - k) % s) for n, (a, b), k, s in size]
        if any(b >= k for (_, b), k in zip(pairs, kernel, strict=True)):
            raise Refused("ceil_mode with a window that holds nothing")
    options = Options(stride=_pair(strides), kernel=_pair(kernel))
    return r.build.arranged(x, name), _pair(kernel), options, _padding(pairs)


def _average(r: Reader, c: Call, names: list[str], name: str) -> list[Held]:
    x = r.held(names[0])
    source, kernel, options, pads = _window(r, c, x, name)
    counted = bool(c.attributes.get("count_include_pad", 0)) or not pads
    if counted and pads and c.attributes.get("ceil_mode", 0):
        raise Refused("ceil_mode with padding that is counted")
    before = source
    source, options = r.build.padded(source, kernel, options, pads, False, name)
    if counted and options.padding:  # SAME, of which TFLite counts nothing
        p = pads
        amounts = np.array([[0, 0], [p.top, p.bottom], [p.left, p.right], [0, 0]], np.int32)
        _, h, w, channels = r.build.tensors[before].shape
        around = (1, h + p.top + p.bottom, w + p.left + p.right, channels)
        source = r.build.emit("PAD", (before, r.build.constant(f"{name}_amounts", amounts)), around,
                              r.build.quantization(before), f"{name}_pad")  # fmt: skip
        options = replace(options, padding=Padding())
    if not counted and source != before:
        raise Refused("padding that is not counted and is not SAME")
    shape = _slid(r, source, kernel, options, x.places.shape[0])
    places = channels_first(shape, x.places.ndim)
    return [Pending("AVERAGE_POOL_2D", (source,), options, shape, places, averaged=not options.padding)]


def _mean(r: Reader, c: Call, names: list[str], name: str) -> list[Held]:
    x = r.held(names[0])
    rank, keep = x.places.ndim, True
    if c.op == "ReduceMean":
        axes = sorted(a % (rank + 1) for a in c.integers("axes", 1) or ())
        keep = bool(c.attributes.get("keepdims", 1))
        if axes != list(range(2, rank + 1)):
            raise Refused(f"over dimensions {axes}; only over all positions of a channel")
    if rank not in (2, 3):
        raise Refused(f"on a value of {rank + 1} dimensions")
    source = r.build.arranged(x, name)
    channels = x.places.shape[0]
    axes_of = r.build.constant(f"{name}_axes", np.array([1, 2], np.int32))
    places = np.arange(channels).reshape((channels,) + (1,) * (rank - 1 if keep else 0))
    return [Pending("MEAN", (source, axes_of), Options(keep_dims=True), (1, 1, 1, channels), places)]


WINDOWS: dict[str, Operator] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "BatchNormalization": _batch_norm,
    "MaxPool": _maxpool,
    "GlobalMaxPool": _maxpool,
    "AveragePool": _average,
    "GlobalAveragePool": _mean,
    "ReduceMean": _mean,
}
