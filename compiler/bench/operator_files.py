"""Random `.tflite` files of one operator each: what the reader, the kernels and the golden runtime are compared on."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from secateur.compiler.bench.int4_files import INT4_CASES
from secateur.compiler.bench.int16_files import INT16_CASES
from secateur.compiler.bench.tflite_builder import TYPES, TfliteBuilder
from secateur.runtime_bench.golden import TFLM_NOT_INT16

Random = np.random.Generator
Shape = tuple[int, ...]


class Case:
    """One operator being built: random shapes, scales and zero points, inputs in order."""

    def __init__(self, seed: int, largest: int = 6) -> None:
        """`largest`: size of any dimension that is drawn freely. `dtype`: of activations, unless said."""
        self.random, self.largest = np.random.default_rng(seed), largest
        self.b = TfliteBuilder()
        self.inputs: list[int] = []
        self.dtype = "int8"

    def integer(self, low: int, high: int) -> int:
        """Both ends included."""
        return int(self.random.integers(low, high + 1))

    def chance(self, p: float = 0.5) -> bool:
        return bool(self.random.random() < p)

    def shape(self, rank: int = 4, largest: int = 0) -> Shape:
        largest = (largest or 6) * self.largest // 6
        return (1, *(self.integer(1, largest) for _ in range(rank - 1)))

    def scale(self) -> float:
        return float(np.float32(10 ** self.random.uniform(-2.5, 0)))

    def zero(self) -> int:
        return self.integer(-128, 127) if self.dtype == "int8" else 0

    def fed(self, shape: Shape, scale: float | None = None, zero: int | None = None, dtype: str = "") -> int:
        i = self.value(shape, scale, zero, dtype)
        self.inputs.append(i)
        return i

    def value(self, shape: Shape, scale: float | None = None, zero: int | None = None, dtype: str = "") -> int:
        dtype, scale = dtype or self.dtype, self.scale() if scale is None else scale
        zero = self.zero() if zero is None else zero
        return self.b.tensor(shape, dtype, None if dtype == "float32" else scale, zero)

    def constant(self, data: Any, dtype: str = "int32", scale: float | None = None, zero: int = 0) -> int:
        data = np.asarray(data)
        return self.b.tensor(data.shape, dtype, scale, zero, data)

    def any_of_type(self, shape: Shape, scale: float, zero: int) -> int:
        """A constant of any values that `dtype` has."""
        if self.dtype == "float32":
            return self.constant(self.random.normal(size=shape), "float32")
        limits = np.iinfo(self.dtype)
        return self.constant(self.random.integers(limits.min, limits.max + 1, shape), self.dtype, scale, zero)

    def done(self, *outputs: int) -> bytes:
        return self.b.finish(self.inputs, outputs)


def unary(kind: str, scale: float | None = None, zero: int | None = None) -> Callable[[Case], bytes]:
    """Output of the input's shape; `scale`, `zero`: of the output, where the operator fixes them."""

    def make(c: Case) -> bytes:
        shape = c.shape(c.integer(2, 4))
        x_scale = c.scale()
        out_scale = scale or float(np.float32(x_scale * 10 ** c.random.uniform(-0.6, 0.6)))
        x, out = c.fed(shape, x_scale), c.value(shape, out_scale, zero)
        fields: dict[str, Any] = {}
        if kind == "LEAKY_RELU":
            fields["alpha"] = float(np.float32(c.random.uniform(0, 1.2)))
        if kind == "GELU":
            fields["approximate"] = c.chance()
        if kind == "SOFTMAX":
            fields["beta"] = float(np.float32(c.random.uniform(0.2, 2)))
        c.b.op(kind, [x], [out], **fields)
        return c.done(out)

    return make


def rsqrt(c: Case) -> bytes:
    """Every input is above the zero point: TensorFlow Lite Micro stops at others."""
    shape, scale = c.shape(), c.scale()
    x, out = c.fed(shape, scale, -128), c.value(shape, float(np.float32(10 ** c.random.uniform(-3, 0))))
    least = c.constant(np.full((1,), -127), "int8", scale, -128)
    positive = c.value(shape, scale, -128)
    c.b.op("MAXIMUM", [x, least], [positive])
    c.b.op("RSQRT", [positive], [out])
    return c.done(out)


def binary(kind: str) -> Callable[[Case], bytes]:
    def make(c: Case) -> bytes:
        shape = c.shape(4)
        other = tuple(n if c.chance(0.7) else 1 for n in shape)
        shapes = [shape, other]
        if c.chance():
            shapes.reverse()
        same = kind in ("MAXIMUM", "MINIMUM")
        scale, zero = c.scale(), c.zero()
        scales = [scale] * 2 if same else [scale, float(np.float32(scale * 10 ** c.random.uniform(-0.7, 0.7)))]
        out_scale = {"SQUARED_DIFFERENCE": scale * scale * 90, "MUL": scales[0] * scales[1] * 60}.get(kind, scale * 1.7)
        tensors = [c.fed(shapes[0], scales[0], zero if same else None)]
        if c.chance(0.3):
            data = c.random.integers(-128, 128, shapes[1])
            tensors.append(c.constant(data, "int8", scales[1], zero if same else c.zero()))
        else:
            tensors.append(c.fed(shapes[1], scales[1], zero if same else None))
        out = c.value(shape, scale if same else float(np.float32(out_scale)), zero if same else None)
        fields: dict[str, Any] = {} if kind in ("MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE") else {
            "fusedActivationFunction": c.integer(0, 1) * c.integer(0, 3)
        }  # fmt: skip
        c.b.op(kind, tensors, [out], version=2, **fields)
        return c.done(out)

    return make


def div(c: Case) -> bytes:
    shape = c.shape()
    scale, zero = c.scale(), c.zero()
    x, b_zero = c.fed(shape, scale, zero), c.integer(-100, 100)
    by = int(c.random.choice([v for v in range(-128, 128) if v != b_zero]))
    b_scale = c.scale()
    d = c.constant([by], "int8", b_scale, b_zero)
    real = scale / (b_scale * abs(by - b_zero))
    out = c.value(shape, float(np.float32(real * c.random.uniform(0.5, 2))), c.integer(-20, 20))
    c.b.op("DIV", [x, d], [out], fusedActivationFunction=c.integer(0, 1) * c.integer(0, 3))
    return c.done(out)


def prelu(c: Case) -> bytes:
    shape = c.shape()
    scale = c.scale()
    x = c.fed(shape, scale)
    alpha = c.constant(c.random.integers(-128, 128, (1, 1, shape[3])), "int8", 0.01, c.zero())
    out = c.value(shape, float(np.float32(scale * 1.2)))
    c.b.op("PRELU", [x, alpha], [out])
    return c.done(out)


def _like(c: Case, shape: Shape, wanted: Shape, kind: str, operands: list[int], **fields: Any) -> bytes:
    """A movement: x first, output of the same scale."""
    scale, zero = c.scale(), c.zero()
    x, out = c.fed(shape, scale, zero), c.value(wanted, scale, zero)
    c.b.op(kind, [x, *operands], [out], **fields)
    return c.done(out)


def slice_(c: Case) -> bytes:
    shape = c.shape(4)
    begin = [c.integer(0, n - 1) for n in shape]
    size = [c.integer(1, n - b) for b, n in zip(begin, shape, strict=True)]
    given = [-1 if b + s == n and c.chance() else s for b, s, n in zip(begin, size, shape, strict=True)]
    return _like(c, shape, tuple(size), "SLICE", [c.constant(begin), c.constant(given)])


def strided_slice(c: Case) -> bytes:
    rank = c.integer(2, 4)
    shape = c.shape(rank)
    begin, end, strides, wanted, shrink, masks = [], [], [], [], 0, [0, 0]
    for axis, n in enumerate(shape):
        step = int(c.random.choice([1, 1, 2, -1]))
        if axis and c.chance(0.2):
            at = c.integer(0, n - 1)
            begin.append(at - n if c.chance() else at)
            end.append(at + 1)
            strides.append(1)
            shrink |= 1 << axis
            continue
        first = c.integer(0, n - 1)
        if c.chance(0.3):
            masks[0] |= 1 << axis
            first = 0 if step > 0 else n - 1
        if c.chance(0.4) or step < 0:
            masks[1] |= 1 << axis
            stop = n if step > 0 else -1
        else:
            stop = c.integer(first + 1, n)
        begin.append(first)
        end.append(max(stop, 0))
        strides.append(step)
        wanted.append(len(range(first, stop, step)))
    operands = [c.constant(begin), c.constant(end), c.constant(strides)]
    fields = {"beginMask": masks[0], "endMask": masks[1], "shrinkAxisMask": shrink}
    return _like(c, shape, tuple(wanted), "STRIDED_SLICE", operands, **fields)


def split(c: Case) -> bytes:
    rank, parts = c.integer(2, 4), c.integer(2, 3)
    shape = list(c.shape(rank, 4))
    axis = c.integer(1, rank - 1)
    shape[axis] *= parts
    scale, zero = c.scale(), c.zero()
    operand = c.constant([axis - rank if c.chance() else axis])
    x = c.fed(tuple(shape), scale, zero)
    shape[axis] //= parts
    outs = [c.value(tuple(shape), scale, zero) for _ in range(parts)]
    c.b.op("SPLIT", [operand, x], outs, numSplits=parts)
    return c.done(*outs)


def split_v(c: Case) -> bytes:
    shape = list(c.shape(3, 4))
    sizes = [c.integer(1, 3) for _ in range(c.integer(2, 3))]
    shape[2] = sum(sizes)
    scale, zero = c.scale(), c.zero()
    x = c.fed(tuple(shape), scale, zero)
    outs = [c.value((*shape[:2], n), scale, zero) for n in sizes]
    c.b.op("SPLIT_V", [x, c.constant(sizes), c.constant(2)], outs, numSplits=len(sizes))
    return c.done(*outs)


def unpack(c: Case) -> bytes:
    shape = c.shape(3, 4)
    axis = c.integer(1, 2)
    scale, zero = c.scale(), c.zero()
    x = c.fed(shape, scale, zero)
    rest = tuple(n for i, n in enumerate(shape) if i != axis)
    outs = [c.value(rest, scale, zero) for _ in range(shape[axis])]
    c.b.op("UNPACK", [x], outs, num=shape[axis], axis=axis)
    return c.done(*outs)


def pack(c: Case) -> bytes:
    shape, count = c.shape(3, 5), c.integer(1, 3)
    axis = c.integer(0, 3)
    scale, zero = c.scale(), c.zero()
    ins = [c.fed(shape, scale, zero) for _ in range(count)]
    out = c.value((*shape[:axis], count, *shape[axis:]), scale, zero)
    c.b.op("PACK", ins, [out], valuesCount=count, axis=axis)
    return c.done(out)


def transpose(c: Case) -> bytes:
    rank = c.integer(2, 5)
    shape = c.shape(rank, 4)
    order = c.random.permutation(rank).tolist()
    return _like(c, shape, tuple(shape[i] for i in order), "TRANSPOSE", [c.constant(order)])


def space_to_depth(c: Case) -> bytes:
    _, h, w, k = c.shape(4, 3)
    b = c.integer(2, 3)
    return _like(c, (1, h * b, w * b, k), (1, h, w, k * b * b), "SPACE_TO_DEPTH", [], blockSize=b)


def depth_to_space(c: Case) -> bytes:
    _, h, w, k = c.shape(4, 3)
    b = c.integer(2, 3)
    return _like(c, (1, h, w, k * b * b), (1, h * b, w * b, k), "DEPTH_TO_SPACE", [], blockSize=b)


def space_to_batch(c: Case) -> bytes:
    _, h, w, k = c.shape(4, 4)
    block = [c.integer(1, 3), c.integer(1, 3)]
    sizes = [h * block[0], w * block[1]]
    pads = [[c.integer(0, n - 1), 0] for n in sizes]
    shape = (1, *(n - p[0] for n, p in zip(sizes, pads, strict=True)), k)
    wanted = (block[0] * block[1], h, w, k)
    return _like(c, shape, wanted, "SPACE_TO_BATCH_ND", [c.constant(block), c.constant(pads)])


def batch_to_space(c: Case) -> bytes:
    _, h, w, k = c.shape(4, 4)
    block = [c.integer(1, 3), c.integer(1, 3)]
    crops = [[c.integer(0, h * block[0] - 1), 0], [0, c.integer(0, w * block[1] - 1)]]
    wanted = (1, h * block[0] - crops[0][0], w * block[1] - crops[1][1], k)
    shape = (block[0] * block[1], h, w, k)
    return _like(c, shape, wanted, "BATCH_TO_SPACE_ND", [c.constant(block), c.constant(crops)])


def broadcast_to(c: Case) -> bytes:
    wanted = c.shape(4, 5)
    shape = tuple(n if c.chance() else 1 for n in wanted)
    return _like(c, shape, wanted, "BROADCAST_TO", [c.constant(list(wanted))])


def gather(c: Case) -> bytes:
    shape = c.shape(c.integer(2, 4))
    axis = c.integer(1, len(shape) - 1)
    index = [c.integer(0, shape[axis] - 1) for _ in range(c.integer(1, 7))]
    wanted = (*shape[:axis], len(index), *shape[axis + 1 :])
    return _like(c, shape, wanted, "GATHER", [c.constant(index)], axis=axis)


def gather_computed(dtype: str = "int32") -> Callable[[Case], bytes]:
    """By indices of `dtype` that are fed, or that ARG_MAX or ARG_MIN finds; batch dimensions in some files, and rows
    that are constant in others, as an embedding's."""

    def make(c: Case) -> bytes:
        shape = (c.integer(1, 3), *c.shape(c.integer(1, 4))[1:])
        axis = c.integer(0, len(shape) - 1)
        batch = c.integer(0, axis) if c.chance() else 0
        many = (*shape[:batch], *(c.integer(1, 4) for _ in range(c.integer(0, 2))))
        scale, zero = c.scale(), c.zero()
        x = c.any_of_type(shape, scale, zero) if c.chance(0.3) else c.fed(shape, scale, zero)
        index = c.b.tensor(many, dtype)
        if shape[axis] == 1 or c.chance():
            c.inputs.append(index)
        else:
            at, size = c.integer(0, len(many)), c.integer(2, shape[axis])
            source = c.fed((*many[:at], size, *many[at:]), dtype="int8" if c.dtype == "int16" else "")
            kind = str(c.random.choice(["ARG_MAX", "ARG_MIN"]))
            c.b.op(kind, [source, c.constant([at])], [index], outputType=TYPES[dtype])
        out = c.value((*shape[:axis], *many[batch:], *shape[axis + 1 :]), scale, zero)
        named = batch - len(many) if batch < len(many) and c.chance(0.3) else batch
        c.b.op("GATHER", [x, index], [out], axis=axis - len(shape) if c.chance(0.3) else axis, batchDims=named)
        return c.done(out)

    return make


def mirror_pad(c: Case) -> bytes:
    shape = (1, *(c.integer(3, 6) for _ in range(3)))
    pads = [[0, 0], *([c.integer(0, 2), c.integer(0, 2)] for _ in range(3))]
    wanted = tuple(n + sum(p) for n, p in zip(shape, pads, strict=True))
    return _like(c, shape, wanted, "MIRROR_PAD", [c.constant(pads)], mode=c.integer(0, 1))


def resize_nearest(c: Case) -> bytes:
    shape, size = c.shape(4, 7), [c.integer(1, 12), c.integer(1, 12)]
    align = c.chance(0.3)
    wanted = (1, *size, shape[3])
    fields = {"alignCorners": align, "halfPixelCenters": not align and c.chance()}
    return _like(c, shape, wanted, "RESIZE_NEAREST_NEIGHBOR", [c.constant(size)], **fields)


def reduction(kind: str) -> Callable[[Case], bytes]:
    """Over any axes of up to five dimensions, some of them twice or counted from the end."""

    def make(c: Case) -> bytes:
        shape = (c.integer(1, 3), *c.shape(c.integer(1, 5))[1:])
        rank = len(shape)
        axes = [a for a in range(rank) if c.chance()] or [c.integer(0, rank - 1)]
        kept = c.chance()
        wanted = tuple(1 if a in axes else n for a, n in enumerate(shape) if kept or a not in axes)
        scale, zero = c.scale(), c.zero()
        same = kind.startswith("REDUCE")
        count = math.prod(shape[a] for a in axes)
        wider = c.random.uniform(0.3, 1.5) * (math.sqrt(count) if kind == "SUM" else 1)
        x = c.fed(shape, scale, zero)
        out = c.value(wanted, scale if same else float(np.float32(scale * wider)), zero if same else None)
        named = [a - rank if c.chance(0.3) else a for a in c.random.permutation(axes).tolist()]
        operand = c.constant(named * 2 if c.chance(0.1) else named)
        c.b.op(kind, [x, operand], [out], keepDims=kept)
        return c.done(out)

    return make


def mean_of_map(c: Case) -> bytes:
    """Over height and width of one batch element, which has a kernel of its own."""
    shape = c.shape(4)
    x, out = c.fed(shape), c.value((1, 1, 1, shape[3]))
    c.b.op("MEAN", [x, c.constant([1, 2])], [out], keepDims=True)
    return c.done(out)


def arg(kind: str, dtype: str = "int32") -> Callable[[Case], bytes]:
    def make(c: Case) -> bytes:
        shape = (c.integer(1, 3), *c.shape(c.integer(1, 4))[1:])
        axis = c.integer(0, len(shape) - 1)
        x = c.fed(shape)
        operand = c.constant([axis - len(shape) if c.chance() else axis])
        out = c.b.tensor((*shape[:axis], *shape[axis + 1 :]), dtype)
        c.b.op(kind, [x, operand], [out], outputType=TYPES[dtype])
        return c.done(out)

    return make


def resize_bilinear(c: Case) -> bytes:
    shape, size = (c.integer(1, 2), *c.shape(4, 7)[1:]), [c.integer(1, 12), c.integer(1, 12)]
    align = c.chance(0.4)
    fields = {"alignCorners": align, "halfPixelCenters": not align and c.chance()}
    wanted = (shape[0], *size, shape[3])
    return _like(c, shape, wanted, "RESIZE_BILINEAR", [c.constant(size)], **fields)


def _weights(c: Case, shape: Shape, axis: int, x_scale: float, fan_in: int) -> tuple[int, int, float]:
    """(weights, bias, a fitting output scale); a scale an output channel, or one for all."""
    channels = shape[axis]
    scales = c.random.uniform(0.002, 0.02, channels if c.chance(0.8) else 1).astype(np.float32)
    w = c.b.tensor(shape, "int8", scales.tolist(), 0, c.random.integers(-127, 128, shape), axis)
    bias_scale = [float(np.float32(x_scale) * s) for s in scales]
    bias = c.b.tensor((channels,), "int32", bias_scale, 0, c.random.integers(-2000, 2000, channels))
    return w, bias, float(np.float32(x_scale * scales.mean() * 70 * math.sqrt(fan_in)))


def _window(c: Case, sizes: list[int], kernel: list[int]) -> tuple[dict[str, Any], list[int]]:
    """(options of stride and padding, output sizes)."""
    strides, same = (
        [c.integer(1, 3), c.integer(1, 3)],
        c.chance() or min(n - k for n, k in zip(sizes, kernel, strict=True)) < 0,
    )
    wanted = [-(-(n if same else n - k + 1) // s) for n, k, s in zip(sizes, kernel, strides, strict=True)]
    return {"strideH": strides[0], "strideW": strides[1], "padding": 0 if same else 1}, wanted


def conv(kind: str) -> Callable[[Case], bytes]:
    """CONV_2D or DEPTHWISE_CONV_2D of one to three batch elements."""

    def make(c: Case) -> bytes:
        n, h, w, k = c.integer(-1, 3), c.integer(1, 7), c.integer(1, 7), c.integer(1, 6)
        n = max(n, 1)
        kernel, x_scale = [c.integer(1, 3), c.integer(1, 3)], c.scale()
        fields, (out_h, out_w) = _window(c, [h, w], kernel)
        depth = c.integer(1, 2)
        depthwise = kind == "DEPTHWISE_CONV_2D"
        out_c = k * depth if depthwise else c.integer(1, 6)
        shape = (1, *kernel, out_c) if depthwise else (out_c, *kernel, k)
        x = c.fed((n, h, w, k), x_scale)
        fan_in = math.prod(kernel) * (1 if depthwise else k)
        weights, bias, scale = _weights(c, shape, 3 if depthwise else 0, x_scale, fan_in)
        out = c.value((n, out_h, out_w, out_c), scale)
        more: dict[str, Any] = {"depthMultiplier": depth} if depthwise else {}
        ones: dict[str, Any] = {
            "dilationHFactor": 1,
            "dilationWFactor": 1,
            "fusedActivationFunction": c.integer(0, 1) * c.integer(0, 3),
        }
        c.b.op(kind, [x, weights, bias], [out], version=3, **fields, **more, **ones)
        return c.done(out)

    return make


def pool(kind: str) -> Callable[[Case], bytes]:
    def make(c: Case) -> bytes:
        n, h, w, k = c.integer(-1, 3), c.integer(1, 7), c.integer(1, 7), c.integer(1, 6)
        n = max(n, 1)
        kernel = [c.integer(1, 3), c.integer(1, 3)]
        fields, (out_h, out_w) = _window(c, [h, w], kernel)
        scale, zero = c.scale(), c.zero()
        x, out = c.fed((n, h, w, k), scale, zero), c.value((n, out_h, out_w, k), scale, zero)
        more: dict[str, Any] = {"filterHeight": kernel[0], "filterWidth": kernel[1]}
        c.b.op(kind, [x], [out], version=2, fusedActivationFunction=c.integer(0, 1) * c.integer(0, 3), **fields, **more)
        return c.done(out)

    return make


def dilated(kind: str) -> Callable[[Case], bytes]:
    """A dilated convolution as TensorFlow 1 writes it: between SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND."""

    def make(c: Case) -> bytes:
        block, kernel, k = [c.integer(1, 3), c.integer(1, 3)], [c.integer(1, 3), c.integer(1, 3)], c.integer(1, 5)
        inner = [n + c.integer(0, 3) for n in kernel]
        scale, zero = c.scale(), c.zero()
        depthwise = kind == "DEPTHWISE_CONV_2D"
        out_c = k if depthwise else c.integer(1, 5)
        x = c.fed((1, inner[0] * block[0], inner[1] * block[1], k), scale, zero)
        parts = c.value((math.prod(block), *inner, k), scale, zero)
        no_pads = np.zeros((2, 2), int)
        c.b.op("SPACE_TO_BATCH_ND", [x, c.constant(block), c.constant(no_pads)], [parts])
        shape = (1, *kernel, out_c) if depthwise else (out_c, *kernel, k)
        weights, bias, out_scale = _weights(
            c, shape, 3 if depthwise else 0, scale, math.prod(kernel) * (k, 1)[depthwise]
        )
        outer, out_zero = [n - m + 1 for n, m in zip(inner, kernel, strict=True)], c.zero()
        found = c.value((math.prod(block), *outer, out_c), out_scale, out_zero)
        fields: dict[str, Any] = {"strideH": 1, "strideW": 1, "padding": 1} | (
            {"depthMultiplier": 1} if depthwise else {}
        )
        c.b.op(kind, [parts, weights, bias], [found], version=3, dilationHFactor=1, dilationWFactor=1, **fields)
        out = c.value((1, outer[0] * block[0], outer[1] * block[1], out_c), out_scale, out_zero)
        c.b.op("BATCH_TO_SPACE_ND", [found, c.constant(block), c.constant(no_pads)], [out])
        return c.done(out)

    return make


def concatenation(c: Case) -> bytes:
    """Of computed and constant parts, along any axis of up to five dimensions."""
    shape = [c.integer(1, 4) for _ in range(c.integer(1, 5))]
    axis, scale, zero = c.integer(0, len(shape) - 1), c.scale(), c.zero()
    parts, count = [], c.integer(1, 4)
    fed = c.integer(0, count - 1)
    for i in range(count):
        one = (*shape[:axis], c.integer(1, 4), *shape[axis + 1 :])
        shape[axis] = one[axis]
        if i == fed or c.chance():
            parts.append((one[axis], c.fed(one, scale, zero)))
        else:
            parts.append((one[axis], c.any_of_type(one, scale, zero)))
    out = c.value((*shape[:axis], sum(n for n, _ in parts), *shape[axis + 1 :]), scale, zero)
    named = axis - len(shape) if c.chance() else axis
    c.b.op("CONCATENATION", [i for _, i in parts], [out], axis=named)
    return c.done(out)


def pad(kind: str) -> Callable[[Case], bytes]:
    """One to five dimensions."""

    def make(c: Case) -> bytes:
        shape = tuple(c.integer(1, 4) for _ in range(c.integer(1, 5)))
        pads = [[c.integer(0, 2), c.integer(0, 2)] if c.chance(0.7) else [0, 0] for _ in shape]
        scale, zero = c.scale(), c.zero()
        x = c.fed(shape, scale, zero)
        out = c.value(tuple(n + sum(p) for n, p in zip(shape, pads, strict=True)), scale, zero)
        operands = [x, c.constant(pads)]
        if kind == "PADV2":
            operands.append(c.any_of_type((1,), scale, zero))
        c.b.op(kind, operands, [out])
        return c.done(out)

    return make


def transpose_conv(c: Case) -> bytes:
    n, k, out_c, kernel = c.integer(1, 2), c.integer(1, 4), c.integer(1, 4), [c.integer(1, 4), c.integer(1, 4)]
    strides, same = [c.integer(1, 3), c.integer(1, 3)], c.chance()
    outer = [c.integer(1, 9) if same else k + c.integer(0, 7) for k in kernel]
    inner = [-(-(o if same else o - k + 1) // s) for o, k, s in zip(outer, kernel, strides, strict=True)]
    x_scale = c.scale()
    x = c.fed((n, *inner, k), x_scale)
    weights, bias, scale = _weights(c, (out_c, *kernel, k), 0, x_scale, k)
    out = c.value((n, *outer, out_c), scale)
    operands = [c.constant([n, *outer, out_c]), weights, x, *([bias] if c.chance(0.7) else [])]
    fields: dict[str, Any] = {"strideH": strides[0], "strideW": strides[1], "padding": 0 if same else 1}
    activation = c.integer(0, 1) * c.integer(0, 3)
    c.b.op("TRANSPOSE_CONV", operands, [out], version=4, fusedActivationFunction=activation, **fields)
    return c.done(out)


def batch_matmul(c: Case) -> bytes:
    """Both flags; batches that repeat; either operand constant."""
    rows, depth, columns = c.integer(1, 5), c.integer(1, 9), c.integer(1, 5)
    batch = tuple(c.integer(1, 3) for _ in range(c.integer(0, 3)))
    adjoint = [c.chance(), c.chance()]
    shapes = []
    for size, adj in zip(((rows, depth), (depth, columns)), adjoint, strict=True):
        repeated = tuple(n if c.chance(0.7) else 1 for n in batch)
        shapes.append(
            (*repeated[c.integer(0, len(repeated)) if c.chance(0.3) else 0 :], *(size[::-1] if adj else size))
        )
    scales = [c.scale(), c.scale()]
    fixed = c.integer(0, 3)  # which operand is a constant, if any
    operands = []
    for i, (shape, scale) in enumerate(zip(shapes, scales, strict=True)):
        if i == fixed:
            operands.append(c.constant(c.random.integers(-128, 128, shape), "int8", scale, c.zero()))
        else:
            operands.append(c.fed(shape, scale))
    full = np.broadcast_shapes(shapes[0][:-2], shapes[1][:-2])
    scale = float(np.float32(scales[0] * scales[1] * 100 * math.sqrt(depth)))
    out = c.value((*full, rows, columns), scale)
    c.b.op("BATCH_MATMUL", operands, [out], version=2, adjX=adjoint[0], adjY=adjoint[1])
    return c.done(out)


def fully_connected(c: Case) -> bytes:
    """Constant or computed weights, with the input's dimensions kept or not, with or without a bias."""
    batch, inputs, outputs = tuple(c.integer(1, 3) for _ in range(c.integer(1, 3))), c.integer(1, 9), c.integer(1, 9)
    x_scale = c.scale()
    x = c.fed((*batch, inputs), x_scale)
    weights, bias, scale = _weights(c, (outputs, inputs), 0, x_scale, inputs)
    if c.chance(0.4):
        w_scale = 0.01
        weights = c.fed((outputs, inputs), w_scale, 0 if c.chance() else c.zero())
        scale = float(np.float32(x_scale * w_scale * 70 * math.sqrt(inputs)))
        bias_scale = float(np.float32(x_scale) * np.float32(w_scale))
        bias = c.constant(c.random.integers(-2000, 2000, outputs), "int32", bias_scale)
    kept = c.chance()
    out = c.value((*batch, outputs) if kept else (math.prod(batch), outputs), scale)
    operands = [x, weights, bias if c.chance(0.7) else -1]
    activation = c.integer(0, 1) * c.integer(0, 3)
    c.b.op("FULLY_CONNECTED", operands, [out], version=5, keepNumDims=kept, fusedActivationFunction=activation)
    return c.done(out)


def fully_connected_computed(c: Case) -> bytes:
    """Of computed weights alone, whose kernel has a cost of its own."""
    rows, inputs, outputs = c.integer(1, 3), c.integer(1, 2 * c.largest), c.integer(1, 2 * c.largest)
    x_scale, w_scale = c.scale(), c.scale()
    x, weights = c.fed((rows, inputs), x_scale), c.fed((outputs, inputs), w_scale)
    bias_scale = float(np.float32(x_scale) * np.float32(w_scale))
    bias = c.constant(c.random.integers(-2000, 2000, outputs), "int32", bias_scale)
    out = c.value((rows, outputs), float(np.float32(x_scale * w_scale * 70 * math.sqrt(inputs))))
    c.b.op("FULLY_CONNECTED", [x, weights, bias], [out], version=5, fusedActivationFunction=c.integer(0, 1))
    return c.done(out)


def svdf(dtype: str) -> Callable[[Case], bytes]:
    """`dtype`: of the memory and of its weights."""

    def make(c: Case) -> bytes:
        batch, inputs, units, rank, memory = (
            c.integer(1, 2),
            c.integer(1, 6),
            c.integer(1, 4),
            c.integer(1, 3),
            c.integer(1, 6),
        )
        largest = 127 if dtype == "int8" else 32767
        x_scale, feature_scale, time_scale = c.scale(), 0.01, 1 / largest
        x = c.fed((batch, inputs), x_scale)
        filters = units * rank
        feature = c.constant(c.random.integers(-127, 128, (filters, inputs)), "int8", feature_scale)
        time = c.constant(c.random.integers(-largest, largest + 1, (filters, memory)), dtype, time_scale)
        reach = x_scale * feature_scale * 127 * 127 * math.sqrt(inputs)
        state_scale = float(np.float32(reach / largest))
        zero = c.zero() if dtype == "int8" else 0
        state = c.b.tensor((batch, filters * memory), dtype, state_scale, zero, variable=True)
        bias_scale = float(np.float32(state_scale) * np.float32(time_scale))
        bias = c.constant(c.random.integers(-largest * 9, largest * 9, units), "int32", bias_scale)
        out = c.value((batch, units), float(np.float32(reach * math.sqrt(rank * memory) / 200)))
        c.b.op("SVDF", [x, feature, time, bias, state], [out], version=3, rank=rank, fusedActivationFunction=1)
        return c.done(out)

    return make


def lstm(c: Case) -> bytes:
    batch, steps, inputs, units = c.integer(1, 3), c.integer(1, 4), c.integer(1, 6), c.integer(1, 5)
    major = c.chance()
    rows = (steps, batch) if major else (batch, steps)
    x = c.fed((*rows, inputs), float(np.float32(c.random.uniform(0.005, 0.05))))
    weights = [
        c.constant(c.random.integers(-127, 128, (units, n)), "int8", float(np.float32(c.random.uniform(0.004, 0.03))))
        for n in (inputs,) * 4 + (units,) * 4
    ]
    biases = [c.constant(c.random.integers(-9000, 9001, units), "int32", 1e-4) for _ in range(4)]
    scale, zero = float(np.float32(c.random.uniform(0.004, 0.01))), c.integer(-30, 30)
    hidden = c.b.tensor((batch, units), "int8", scale, zero, variable=True)
    cell = c.b.tensor((batch, units), "int16", 2.0 ** -c.integer(9, 15), 0, variable=True)
    out = c.value((*rows, units), scale, zero)
    operands = [x, *weights, -1, -1, -1, *biases, -1, -1, hidden, cell, -1, -1, -1, -1]
    clip = float(c.random.choice([0.0, 0.0, 1.5, 10.0]))
    c.b.op("UNIDIRECTIONAL_SEQUENCE_LSTM", operands, [out], version=4, fusedActivationFunction=4, timeMajor=major,
           cellClip=clip)  # fmt: skip
    return c.done(out)


def convert(kind: str, source: str, wanted: str) -> Callable[[Case], bytes]:
    """QUANTIZE, DEQUANTIZE or CAST from one type to another."""

    def make(c: Case) -> bytes:
        shape = c.shape(c.integer(1, 5))
        tensors = []
        scale = c.scale()
        for dtype in (source, wanted):
            if dtype in ("float32", "int32", "bool"):
                tensors.append(c.b.tensor(shape, dtype))
                continue
            wide = dtype == "int16"
            own = float(np.float32(scale * c.random.uniform(0.5, 2) / (256 if wide else 1)))
            if {source, wanted} == {"int8", "uint8"} and c.chance():
                own = scale
            zero = 0 if wide else c.integer(0, 255) if dtype == "uint8" else c.zero()
            tensors.append(c.b.tensor(shape, dtype, own, zero))
        c.inputs.append(tensors[0])
        c.b.op(kind, tensors[:1], tensors[1:], version=3 if kind != "CAST" else 1)
        return c.done(tensors[1])

    return make


def float_border(dtype: str) -> Callable[[Case], bytes]:
    """A layer between QUANTIZE and DEQUANTIZE: float32 in and out, or `dtype`."""

    def make(c: Case) -> bytes:
        inputs, outputs, x_scale = c.integer(1, 9), c.integer(1, 9), c.scale()
        own = {"uint8": (x_scale, c.integer(0, 255)), "float32": (None, 0)}[dtype]
        x = c.b.tensor((1, inputs), dtype, *own)
        c.inputs.append(x)
        inner, out = c.value((1, inputs), x_scale), c.b.tensor((1, outputs), dtype, *own)
        weights, bias, scale = _weights(c, (outputs, inputs), 0, x_scale, inputs)
        found = c.value((1, outputs), scale)
        c.b.op("QUANTIZE", [x], [inner])
        c.b.op("FULLY_CONNECTED", [inner, weights, bias], [found], version=5)
        c.b.op("QUANTIZE" if dtype == "uint8" else "DEQUANTIZE", [found], [out], version=2)
        return c.done(out)

    return make


def of_type(make: Callable[[Case], bytes], dtype: str) -> Callable[[Case], bytes]:
    """The same operator on another type of activations."""

    def of_that(c: Case) -> bytes:
        c.dtype = dtype
        return make(c)

    return of_that


MOVEMENTS = {
    "SLICE": slice_, "STRIDED_SLICE": strided_slice, "SPLIT": split, "SPLIT_V": split_v, "UNPACK": unpack, "PACK": pack,
    "TRANSPOSE": transpose, "SPACE_TO_DEPTH": space_to_depth, "DEPTH_TO_SPACE": depth_to_space,
    "SPACE_TO_BATCH_ND": space_to_batch, "BATCH_TO_SPACE_ND": batch_to_space, "BROADCAST_TO": broadcast_to,
    "GATHER": gather, "MIRROR_PAD": mirror_pad, "RESIZE_NEAREST_NEIGHBOR": resize_nearest,
    "CONCATENATION": concatenation, "PAD": pad("PAD"), "PADV2": pad("PADV2"),
}  # fmt: skip
CASTS = [(a, b) for a in ("int8", "int16", "int32", "float32", "bool") for b in ("int8", "int16", "int32", "float32")
         if a != b]  # fmt: skip
QUANTIZES = [("float32", "int8"), ("float32", "int16"), ("int16", "int8"), ("int16", "int16"), ("int8", "int16"),
             ("int8", "uint8"), ("uint8", "int8"), ("int8", "int8")]  # fmt: skip
DEQUANTIZES = [("int8", "float32"), ("uint8", "float32"), ("int16", "float32")]

NOWHERE_INT16 = ("SPACE_TO_DEPTH", "DEPTH_TO_SPACE")
"""No runtime that could be asked takes int16 there; we expand them to TRANSPOSE, which all take."""

NOT_TFLM = (
    "GELU",
    "SPACE_TO_BATCH_ND",
    "ARG_MAX int64",
    "GATHER computed int64",
    "GATHER computed int16",
    *(f"{kind} int16" for kind in sorted(TFLM_NOT_INT16) if kind not in NOWHERE_INT16),
)
"""LiteRT's reference kernels say what is right: TensorFlow Lite Micro lacks them, or pads the second wrongly."""

CASES: dict[str, Callable[[Case], bytes]] = {
    "LOGISTIC": unary("LOGISTIC", 1 / 256, -128), "TANH": unary("TANH", 1 / 128, 0), "ELU": unary("ELU"),
    "GELU": unary("GELU"), "RSQRT": rsqrt,
    "HARD_SWISH": unary("HARD_SWISH"), "LEAKY_RELU": unary("LEAKY_RELU"), "ABS": unary("ABS"), "PRELU": prelu,
    "DIV": div, "SUB": binary("SUB"), "ADD": binary("ADD"), "MUL": binary("MUL"), "MAXIMUM": binary("MAXIMUM"),
    "MINIMUM": binary("MINIMUM"), "SQUARED_DIFFERENCE": binary("SQUARED_DIFFERENCE"),
    **MOVEMENTS,
    **{f"{kind} int16": of_type(make, "int16") for kind, make in MOVEMENTS.items() if kind not in NOWHERE_INT16},
    "MEAN": reduction("MEAN"), "MEAN of a map": mean_of_map, "SUM": reduction("SUM"),
    "REDUCE_MAX": reduction("REDUCE_MAX"),
    "REDUCE_MIN": reduction("REDUCE_MIN"), "L2_NORMALIZATION": unary("L2_NORMALIZATION", 1 / 128, 0),
    "ARG_MAX": arg("ARG_MAX"), "ARG_MIN": arg("ARG_MIN"), "ARG_MAX int64": arg("ARG_MAX", "int64"),
    "GATHER computed": gather_computed(), "GATHER computed int64": gather_computed("int64"),
    "GATHER computed int16": of_type(gather_computed(), "int16"),
    "RESIZE_BILINEAR": resize_bilinear, "CONV_2D": conv("CONV_2D"), "DEPTHWISE_CONV_2D": conv("DEPTHWISE_CONV_2D"),
    "MAX_POOL_2D": pool("MAX_POOL_2D"), "AVERAGE_POOL_2D": pool("AVERAGE_POOL_2D"),
    "dilated CONV_2D": dilated("CONV_2D"), "dilated DEPTHWISE_CONV_2D": dilated("DEPTHWISE_CONV_2D"),
    "TRANSPOSE_CONV": transpose_conv, "BATCH_MATMUL": batch_matmul, "FULLY_CONNECTED": fully_connected,
    "FULLY_CONNECTED computed": fully_connected_computed,
    "SVDF": svdf("int16"), "SVDF int8": svdf("int8"), "UNIDIRECTIONAL_SEQUENCE_LSTM": lstm,
    "SOFTMAX": unary("SOFTMAX", 1 / 256, -128), "RELU": unary("RELU"),
    "float32 to float32": float_border("float32"), "uint8 to uint8": float_border("uint8"),
    **{f"CAST {a} to {b}": convert("CAST", a, b) for a, b in CASTS},
    **{f"QUANTIZE {a} to {b}": convert("QUANTIZE", a, b) for a, b in QUANTIZES},
    **{f"DEQUANTIZE {a} to {b}": convert("DEQUANTIZE", a, b) for a, b in DEQUANTIZES},
    **INT16_CASES,
    **INT4_CASES,
}  # fmt: skip
