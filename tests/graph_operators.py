"""The operators of random graphs beyond convolutions and joins: each takes a value that exists, and may not fit."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from random_graphs import Graph, Value

Operator = Callable[["Graph", "Value"], "Value | None"]


def _axis(g: Graph, x: Value, first: int = 0) -> int | None:
    """Any dimension from `first` on."""
    return g.integer(first, len(x.shape) - 1) if len(x.shape) > first else None


def _named(g: Graph, axis: int, rank: int) -> int:
    """The same dimension, counted from the end half of the time."""
    return axis - rank if g.chance() else axis


def _without(shape: tuple[int, ...], axis: int, *instead: int) -> tuple[int, ...]:
    return (*shape[:axis], *instead, *shape[axis + 1 :])


# -- element by element


def extremum(g: Graph, x: Value) -> Value | None:
    """MAXIMUM or MINIMUM, with a value of the same scale or a constant, of which either may be repeated."""
    if len(x.shape) > 4:
        return None
    others = [v for v in g.values if (v.scale, v.zero) == (x.scale, x.zero) and v.shape == x.shape and v is not x]
    if others and g.chance():
        operand = others[g.integer(0, len(others) - 1)].index
    else:
        shape = tuple(n if g.chance() else 1 for n in x.shape)
        operand = g.constant(g.random.integers(-128, 128, shape), "int8", x.scale, x.zero)
    operands = [x.index, operand]
    if g.chance():
        operands.reverse()
    return g.emit(str(g.random.choice(["MAXIMUM", "MINIMUM"])), operands, g.like(x, x.shape))


def prelu(g: Graph, x: Value) -> Value | None:
    if len(x.shape) != 4:
        return None
    alpha_scale = float(np.float32(10 ** g.random.uniform(-3, -1)))
    alpha = g.constant(g.random.integers(-128, 128, (1, 1, x.shape[3])), "int8", alpha_scale, g.zero())
    return g.emit("PRELU", [x.index, alpha], g.output(x.shape, x.scale * 10 ** g.random.uniform(-0.5, 1)))


def div(g: Graph, x: Value) -> Value | None:
    if len(x.shape) > 4:
        return None
    zero, scale = g.integer(-100, 100), float(np.float32(10 ** g.random.uniform(-2, 0)))
    by = int(g.random.choice([v for v in range(-128, 128) if v != zero]))
    real = x.scale / (scale * abs(by - zero))
    out = g.output(x.shape, real * g.random.uniform(0.5, 2))
    return g.emit("DIV", [x.index, g.constant([by], "int8", scale, zero)], out)


def rsqrt(g: Graph, x: Value) -> Value | None:
    """Of values above the zero point, which TensorFlow Lite Micro insists on."""
    if x.zero > 120 or len(x.shape) > 4 or not 1e-4 < x.scale < 10:
        return None
    least = g.constant([x.zero + 1], "int8", x.scale, x.zero)
    positive = g.emit("MAXIMUM", [x.index, least], g.like(x, x.shape))
    return g.emit("RSQRT", [positive.index], g.output(x.shape, 10 ** g.random.uniform(-3, 0)))


def l2_normalization(g: Graph, x: Value) -> Value | None:
    if not 2 <= len(x.shape) <= 4:
        return None
    return g.emit("L2_NORMALIZATION", [x.index], g.output(x.shape, 1 / 128, 0))


def uint8_and_back(g: Graph, x: Value) -> Value:
    between = g.b.tensor(x.shape, "uint8", x.scale, x.zero + 128)
    g.b.op("QUANTIZE", [x.index], [between], version=2)
    g.used.add(x.index)
    return g.emit("QUANTIZE", [between], g.like(x, x.shape), 2)


# -- movements


def transpose(g: Graph, x: Value) -> Value:
    order = g.random.permutation(len(x.shape)).tolist()
    return g.emit("TRANSPOSE", [x.index, g.constant(order)], g.like(x, tuple(x.shape[i] for i in order)))


def broadcast_to(g: Graph, x: Value) -> Value | None:
    wanted = tuple(g.integer(1, 5) if n == 1 and i else n for i, n in enumerate(x.shape))
    if not g.fits(wanted) or len(wanted) > 5:
        return None
    return g.emit("BROADCAST_TO", [x.index, g.constant(list(wanted))], g.like(x, wanted))


def gather(g: Graph, x: Value) -> Value | None:
    axis = _axis(g, x)
    if axis is None or len(x.shape) > 4:
        return None
    index = [g.integer(0, x.shape[axis] - 1) for _ in range(g.integer(1, 7))]
    wanted = _without(x.shape, axis, len(index))
    if not g.fits(wanted):
        return None
    return g.emit("GATHER", [x.index, g.constant(index)], g.like(x, wanted), axis=axis)


def mirror_pad(g: Graph, x: Value) -> Value | None:
    mode = g.integer(0, 1)
    pads = [[g.integer(0, min(2, n - 1 + mode)), g.integer(0, min(2, n - 1 + mode))] for n in x.shape]
    wanted = tuple(n + sum(p) for n, p in zip(x.shape, pads, strict=True))
    if len(x.shape) > 4 or not g.fits(wanted):
        return None
    return g.emit("MIRROR_PAD", [x.index, g.constant(pads)], g.like(x, wanted), mode=mode)


def padv2(g: Graph, x: Value) -> Value | None:
    pads = [[g.integer(0, 2), g.integer(0, 2)] for _ in x.shape]
    wanted = tuple(n + sum(p) for n, p in zip(x.shape, pads, strict=True))
    if len(x.shape) > 4 or not g.fits(wanted):
        return None
    value = g.constant([g.zero()], "int8", x.scale, x.zero)
    return g.emit("PADV2", [x.index, g.constant(pads), value], g.like(x, wanted))


def strided_slice(g: Graph, x: Value) -> Value | None:
    begin, end, strides, wanted, shrink, end_mask = [], [], [], [], 0, 0
    if len(x.shape) > 4:
        return None
    for axis, n in enumerate(x.shape):
        step, first = int(g.random.choice([1, 1, 2, -1])), g.integer(0, n - 1)
        if axis and g.chance(0.15):
            shrink |= 1 << axis
            step, stop = 1, first + 1
        elif step < 0 or g.chance(0.4):
            end_mask |= 1 << axis
            stop = n if step > 0 else -1
        else:
            stop = g.integer(first + 1, n)
        begin.append(first - n if g.chance(0.2) else first)
        end.append(max(stop, 0))
        strides.append(step)
        if not shrink >> axis & 1:
            wanted.append(len(range(first, stop, step)))
    operands = [x.index, *map(g.constant, (begin, end, strides))]
    fields = {"beginMask": 0, "endMask": end_mask, "shrinkAxisMask": shrink}
    return g.emit("STRIDED_SLICE", operands, g.like(x, tuple(wanted)), **fields)


def split(g: Graph, x: Value) -> Value | None:
    axis = _axis(g, x)
    parts = [p for p in (2, 3, 4) if axis is not None and x.shape[axis] % p == 0]
    if axis is None or not parts or len(x.shape) > 4:
        return None
    count = int(g.random.choice(parts))
    outs = [g.like(x, _without(x.shape, axis, x.shape[axis] // count)) for _ in range(count)]
    return g.emit_several("SPLIT", [g.constant([_named(g, axis, len(x.shape))]), x.index], outs, numSplits=count)


def split_v(g: Graph, x: Value) -> Value | None:
    axis = _axis(g, x)
    if axis is None or x.shape[axis] < 2 or len(x.shape) > 4:
        return None
    first = g.integer(1, x.shape[axis] - 1)
    sizes = [first, x.shape[axis] - first]
    outs = [g.like(x, _without(x.shape, axis, n)) for n in sizes]
    operands = [x.index, g.constant(sizes), g.constant(_named(g, axis, len(x.shape)))]
    return g.emit_several("SPLIT_V", operands, outs, numSplits=2)


def unpack(g: Graph, x: Value) -> Value | None:
    axis = _axis(g, x)
    if axis is None or not 2 <= len(x.shape) <= 4 or x.shape[axis] > 5:
        return None
    count = x.shape[axis]
    outs = [g.like(x, _without(x.shape, axis)) for _ in range(count)]
    return g.emit_several("UNPACK", [x.index], outs, num=count, axis=_named(g, axis, len(x.shape)))


def pack(g: Graph, x: Value) -> Value | None:
    others = [v for v in g.values if (v.scale, v.zero, v.shape) == (x.scale, x.zero, x.shape) and v is not x]
    parts = [x, *others][: g.integer(1, 4)]
    axis = g.integer(0, len(x.shape))
    wanted = (*x.shape[:axis], len(parts), *x.shape[axis:])
    if len(wanted) > 4 or not g.fits(wanted):
        return None
    return g.emit("PACK", [p.index for p in parts], g.like(x, wanted), valuesCount=len(parts), axis=axis)


def space_and_depth(g: Graph, x: Value) -> Value | None:
    if len(x.shape) != 4:
        return None
    n, h, w, c = x.shape
    b = g.integer(2, 3)
    if h % b == w % b == 0:
        return g.emit("SPACE_TO_DEPTH", [x.index], g.like(x, (n, h // b, w // b, c * b * b)), blockSize=b)
    if c % (b * b) == 0:
        return g.emit("DEPTH_TO_SPACE", [x.index], g.like(x, (n, h * b, w * b, c // (b * b))), blockSize=b)
    return None


def space_and_batch(g: Graph, x: Value) -> Value | None:
    if len(x.shape) != 4:
        return None
    n, h, w, c = x.shape
    block = [g.integer(1, 3), g.integer(1, 3)]
    count = math.prod(block)
    if n % count == 0 and count > 1:
        crops = [[g.integer(0, h * block[0] - 1), 0], [0, g.integer(0, w * block[1] - 1)]]
        crops = crops if g.chance() else [[0, 0], [0, 0]]
        wanted = (n // count, h * block[0] - sum(crops[0]), w * block[1] - sum(crops[1]), c)
        operands = [x.index, g.constant(block), g.constant(crops)]
        return g.emit("BATCH_TO_SPACE_ND", operands, g.like(x, wanted))
    pads = [[0, -h % block[0]], [0, -w % block[1]]]
    if np.any(pads) and not g.litert:  # TensorFlow Lite Micro pads with a value that it does not set
        return None
    wanted = (n * count, (h + sum(pads[0])) // block[0], (w + sum(pads[1])) // block[1], c)
    if wanted[0] > 12:
        return None
    operands = [x.index, g.constant(block), g.constant(pads)]
    return g.emit("SPACE_TO_BATCH_ND", operands, g.like(x, wanted))


def other_rank(g: Graph, x: Value) -> Value | None:
    """SQUEEZE or EXPAND_DIMS."""
    ones = [i for i, n in enumerate(x.shape) if n == 1]
    if ones and len(x.shape) > 2 and g.chance():
        axis = int(g.random.choice(ones))
        return g.emit("SQUEEZE", [x.index], g.like(x, _without(x.shape, axis)), squeezeDims=[axis])
    if len(x.shape) > 3:
        return None
    axis = g.integer(0, len(x.shape))
    return g.emit("EXPAND_DIMS", [x.index, g.constant([axis])], g.like(x, (*x.shape[:axis], 1, *x.shape[axis:])))


def resize(g: Graph, x: Value) -> Value | None:
    size = [g.integer(1, 9), g.integer(1, 9)]
    if len(x.shape) != 4 or not g.fits((x.shape[0], *size, x.shape[3])):
        return None
    align = g.chance(0.3)
    fields = {"alignCorners": align, "halfPixelCenters": not align and g.chance()}
    kind = str(g.random.choice(["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"]))
    return g.emit(kind, [x.index, g.constant(size)], g.like(x, (x.shape[0], *size, x.shape[3])), **fields)


# -- reductions


def reduce(g: Graph, x: Value) -> Value | None:
    """MEAN, SUM, REDUCE_MAX or REDUCE_MIN over any axes."""
    rank = len(x.shape)
    if rank > 5:
        return None
    axes = [a for a in range(rank) if g.chance()] or [g.integer(0, rank - 1)]
    kept = g.chance() or len(axes) == rank
    wanted = tuple(1 if a in axes else n for a, n in enumerate(x.shape) if kept or a not in axes)
    kind = str(g.random.choice(["MEAN", "REDUCE_MAX", "REDUCE_MIN"] if g.litert else
                               ["MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"]))  # fmt: skip
    wider = g.random.uniform(0.3, 1.5) * (math.sqrt(math.prod(x.shape[a] for a in axes)) if kind == "SUM" else 1)
    out = g.like(x, wanted) if kind.startswith("REDUCE") else g.output(wanted, x.scale * wider)
    return g.emit(kind, [x.index, g.constant([_named(g, a, rank) for a in axes])], out, keepDims=kept)


# -- products


def transpose_conv(g: Graph, x: Value) -> Value | None:
    if len(x.shape) != 4:
        return None
    kernel, strides, same = [g.integer(1, 4), g.integer(1, 4)], [g.integer(1, 3), g.integer(1, 3)], g.chance()
    # the smallest output size that a window of the stride makes of this input, or one of those that it may be
    outer = [n * s - g.integer(0, s - 1) if same else (n - 1) * s + k + g.integer(0, s - 1)
             for n, k, s in zip(x.shape[1:3], kernel, strides, strict=True)]  # fmt: skip
    out_c = g.integer(1, 5)
    wanted = (x.shape[0], *outer, out_c)
    if not g.fits(wanted):
        return None
    w, b, scale = g.weights((out_c, *kernel, x.shape[3]), 0, x, x.shape[3] * kernel[0])
    operands = [g.constant(list(wanted)), w, x.index, *([b] if g.chance(0.7) else [])]
    fields = {"strideH": strides[0], "strideW": strides[1], "padding": 0 if same else 1}
    return g.emit("TRANSPOSE_CONV", operands, g.output(wanted, scale), 4, fusedActivationFunction=g.act(), **fields)


def batch_matmul(g: Graph, x: Value) -> Value | None:
    """With a value that fits or a constant, on either side."""
    if not 2 <= len(x.shape) <= 4:
        return None
    depth = x.shape[-1]
    others = [v for v in g.values if len(v.shape) == 2 and depth in v.shape and v is not x]
    adjoint = g.chance()
    if others and g.chance():
        y = others[g.integer(0, len(others) - 1)]
        adjoint = y.shape[0] != depth
        operand, scale, columns = y.index, y.scale, y.shape[0] if adjoint else y.shape[1]
    else:
        columns, scale = g.integer(1, 6), float(np.float32(10 ** g.random.uniform(-3, -1)))
        data = g.random.integers(-128, 128, (columns, depth) if adjoint else (depth, columns))
        operand = g.constant(data, "int8", scale, g.zero())
    wanted = (*x.shape[:-1], columns)
    real = x.scale * scale * 100 * math.sqrt(depth)
    if not g.fits(wanted) or not 1e-7 < real < 1e7:
        return None
    out = g.output(wanted, real)
    return g.emit("BATCH_MATMUL", [x.index, operand], out, 2, adjX=False, adjY=adjoint)


def dense_rows(g: Graph, x: Value) -> Value | None:
    """FULLY_CONNECTED of every row, the dimensions kept or not; of computed weights where a value fits."""
    depth, rows = x.shape[-1], math.prod(x.shape[:-1])
    others = [v for v in g.values if len(v.shape) == 2 and v.shape[1] == depth and v is not x]
    if others and g.chance():
        y = others[g.integer(0, len(others) - 1)]
        outputs, real = y.shape[0], x.scale * y.scale * 70 * math.sqrt(depth)
        operands, scale = [x.index, y.index, -1], real
        if not 1e-7 < real < 1e7:
            return None
    else:
        outputs = g.integer(1, 8)
        w, b, scale = g.weights((outputs, depth), 0, x, depth)
        operands = [x.index, w, b if g.chance(0.7) else -1]
    kept = g.chance()
    wanted = (*x.shape[:-1], outputs) if kept else (rows, outputs)
    if g.litert or len(x.shape) > 4 or not g.fits(wanted):
        return None
    fields = {"keepNumDims": kept, "fusedActivationFunction": g.act()}
    return g.emit("FULLY_CONNECTED", operands, g.output(wanted, scale), 5, **fields)


def svdf(g: Graph, x: Value) -> Value | None:
    """Its memory lives from one sample to the next."""
    if len(x.shape) != 2 or x.shape[0] > 3 or g.litert or not 1e-5 < x.scale < 10:
        return None
    batch, inputs = x.shape
    units, rank, memory, largest = g.integer(1, 4), g.integer(1, 2), g.integer(1, 5), 32767
    filters = units * rank
    feature = g.constant(g.random.integers(-127, 128, (filters, inputs)), "int8", 0.01)
    time = g.constant(g.random.integers(-largest, largest + 1, (filters, memory)), "int16", 1 / largest)
    reach = x.scale * 0.01 * 127 * 127 * math.sqrt(inputs)
    state_scale = float(np.float32(reach / largest))
    state = g.b.tensor((batch, filters * memory), "int16", state_scale, 0, variable=True)
    bias_scale = float(np.float32(state_scale) * np.float32(1 / largest))
    bias = g.constant(g.random.integers(-largest * 9, largest * 9, units), "int32", bias_scale)
    out = g.output((batch, units), reach * math.sqrt(rank * memory) / 200)
    return g.emit("SVDF", [x.index, feature, time, bias, state], out, 3, rank=rank, fusedActivationFunction=1)


def another_input(g: Graph, x: Value) -> None:
    """Of the shape of a value that exists, so that operators of two find a partner. Not a step by itself."""
    if len(g.inputs) < 4:
        scale, zero = (x.scale, x.zero) if g.chance() else (g.any_scale(), g.zero())
        g.feed(x.shape, scale, zero)


# -- ends


def end(g: Graph, x: Value) -> None:
    """An output that no operator of the graph reads: an index, or another type of element."""
    kind = str(g.random.choice(["ARG_MAX", "ARG_MIN", "QUANTIZE", "DEQUANTIZE", "CAST"]))
    if kind.startswith("ARG"):
        axis = _axis(g, x)
        if axis is None or len(x.shape) < 2:
            return
        dtype = "int64" if g.litert else "int32"
        out = g.b.tensor(_without(x.shape, axis), dtype)
        operands = [x.index, g.constant([_named(g, axis, len(x.shape))])]
        g.b.op(kind, operands, [out], outputType=g.types[dtype])
    else:
        dtype = {"QUANTIZE": "uint8", "DEQUANTIZE": "float32", "CAST": "int32"}[kind]
        scale = float(np.float32(x.scale * g.random.uniform(0.5, 2))) if kind == "QUANTIZE" else None
        out = g.b.tensor(x.shape, dtype, scale, g.integer(0, 255) if scale else 0)
        g.b.op(kind, [x.index], [out], version=1 if kind == "CAST" else 2)
    g.used.add(x.index)
    g.ends.append(out)


OPERATORS: tuple[Operator, ...] = (
    extremum, prelu, div, rsqrt, l2_normalization, uint8_and_back, transpose, broadcast_to, gather, mirror_pad, padv2,
    strided_slice, split, split_v, unpack, pack, space_and_depth, space_and_batch, other_rank, resize, reduce,
    transpose_conv, batch_matmul, dense_rows, svdf, another_input,
)  # fmt: skip
NOT_LITERT = (prelu, batch_matmul, dense_rows, svdf, broadcast_to)
"""LiteRT lacks the last; the others its reference kernels round otherwise than TensorFlow Lite Micro: it takes the
ratio of scales in float32 (BATCH_MATMUL), or rounds once."""
