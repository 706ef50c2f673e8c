"""Random `.tflite` operators on int16 activations, with int8 weights where they have any ("16x8")."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from secateur.compiler.bench.operator_files import Case

    Maker = Callable[[Case], bytes]

Shape = tuple[int, ...]
ONE = 1 / 32768


def _scale(c: Case) -> float:
    return float(np.float32(10 ** c.random.uniform(-5, -2.5)))


def fed(c: Case, shape: Shape, scale: float) -> int:
    return c.fed(shape, scale, 0, "int16")


def value(c: Case, shape: Shape, scale: float) -> int:
    return c.value(shape, float(np.float32(scale)), 0, "int16")


def _activation(c: Case) -> int:
    return c.integer(0, 1) * c.integer(0, 3)


def unary(kind: str, out_scale: float | None = None) -> Maker:
    """`out_scale`: where the operator fixes it."""

    def make(c: Case) -> bytes:
        shape = c.shape(c.integer(2, 4))
        scale = _scale(c)
        if kind in ("LOGISTIC", "TANH", "SOFTMAX"):
            # powers of two, of which some are taken as such, and others
            scale = 2.0 ** -c.integer(10, 15) if c.chance() else float(np.float32(10 ** c.random.uniform(-5, -2)))
        if kind == "RELU6":
            scale = float(np.float32(10 ** c.random.uniform(-4.5, -3)))
        wanted = out_scale or (scale if kind == "RELU6" or c.chance(0.2) else scale * 10 ** c.random.uniform(-0.6, 0.6))
        fields: dict[str, Any] = {}
        if kind == "LEAKY_RELU":
            fields["alpha"] = float(np.float32(c.random.uniform(0, 1.2)))
        if kind == "SOFTMAX":
            fields["beta"] = float(np.float32(c.random.uniform(0.2, 2)))
        x, out = fed(c, shape, scale), value(c, shape, wanted)
        c.b.op(kind, [x], [out], **fields)
        return c.done(out)

    return make


def prelu(c: Case) -> bytes:
    """Slopes of int8."""
    shape, scale = c.shape(), _scale(c)
    x = fed(c, shape, scale)
    alpha = c.constant(c.random.integers(-128, 128, (1, 1, shape[3])), "int8", 0.01, c.zero())
    out = value(c, shape, scale * 1.2)
    c.b.op("PRELU", [x, alpha], [out])
    return c.done(out)


def binary(kind: str) -> Maker:
    def make(c: Case) -> bytes:
        shape = c.shape(4)
        other = tuple(n if c.chance(0.7) else 1 for n in shape)
        shapes = [shape, other]
        if c.chance():
            shapes.reverse()
        same = kind in ("MAXIMUM", "MINIMUM")
        scale = _scale(c)
        scales = [scale] * 2 if same else [scale, float(np.float32(scale * 10 ** c.random.uniform(-0.7, 0.7)))]
        factor = {"SQUARED_DIFFERENCE": scale * 20000, "MUL": scales[1] * 15000}.get(kind, 1 if same else 1.7)
        tensors = [fed(c, shapes[0], scales[0])]
        if c.chance(0.3):
            tensors.append(c.constant(c.random.integers(-32768, 32768, shapes[1]), "int16", scales[1]))
        else:
            tensors.append(fed(c, shapes[1], scales[1]))
        out = value(c, shape, scale * factor)
        fields: dict[str, Any] = {}
        if kind in ("ADD", "SUB", "MUL"):
            fields["fusedActivationFunction"] = _activation(c)
        if kind in ("ADD", "SUB"):
            fields["potScaleInt16"] = False
        c.b.op(kind, tensors, [out], version=2, **fields)
        return c.done(out)

    return make


def weights(
    c: Case, shape: Shape, axis: int, x_scale: float, fan_in: int, wide: bool = True
) -> tuple[int, list[int], float]:
    """(weights, bias if any, a fitting output scale); a scale an output channel, or one for all.

    `wide`: biases of int64, some of them too large for int32; else int32 ones, with which sums are 32 bits wide.
    """
    channels = shape[axis]
    scales = c.random.uniform(0.002, 0.02, channels if c.chance(0.8) else 1).astype(np.float32)
    w = c.b.tensor(shape, "int8", scales.tolist(), 0, c.random.integers(-128, 128, shape), axis)
    bias_scale = [float(np.float32(x_scale) * s) for s in scales]
    reach = 1 << 36 if wide and c.chance(0.2) else 1 << 19
    bias = c.b.tensor((channels,), "int64" if wide else "int32", bias_scale, 0,
                      c.random.integers(-reach, reach, channels))  # fmt: skip
    loud = 20 if reach > 1 << 30 else 1
    out_scale = float(np.float32(x_scale * scales.mean() * 90 * loud * math.sqrt(fan_in)))
    return w, [bias] if c.chance(0.8) or not wide else [], out_scale


def conv(kind: str) -> Maker:
    """CONV_2D (grouped, dilated, both kinds of sums) or DEPTHWISE_CONV_2D."""

    def make(c: Case) -> bytes:
        n, h, w, k = max(c.integer(-1, 3), 1), c.integer(1, 7), c.integer(1, 7), c.integer(1, 6)
        kernel, x_scale = [c.integer(1, 3), c.integer(1, 3)], _scale(c)
        strides, dilation = [c.integer(1, 3), c.integer(1, 3)], [c.integer(1, 2), c.integer(1, 2)]
        span = [(s - 1) * d + 1 for s, d in zip(kernel, dilation, strict=True)]
        same = c.chance() or h < span[0] or w < span[1]
        outer = [-(-(s if same else s - r + 1) // t) for s, r, t in zip((h, w), span, strides, strict=True)]
        depthwise, depth = kind == "DEPTHWISE_CONV_2D", c.integer(1, 2)
        groups = 1 if depthwise or c.chance(0.7) else c.integer(1, 2)
        out_c = k * depth if depthwise else groups * c.integer(1, 6)
        x = fed(c, (n, h, w, k * groups), x_scale)
        shape = (1, *kernel, out_c) if depthwise else (out_c, *kernel, k)
        fan_in = math.prod(kernel) * (1 if depthwise else k)
        filters, bias, scale = weights(c, shape, 3 if depthwise else 0, x_scale, fan_in, depthwise or c.chance(0.6))
        out = value(c, (n, *outer, out_c), scale)
        more: dict[str, Any] = {"depthMultiplier": depth} if depthwise else {}
        c.b.op(kind, [x, filters, *bias], [out], version=5, strideH=strides[0], strideW=strides[1],
               padding=0 if same else 1, dilationHFactor=dilation[0], dilationWFactor=dilation[1],
               fusedActivationFunction=_activation(c), **more)  # fmt: skip
        return c.done(out)

    return make


def long_sums(c: Case) -> bytes:
    """CONV_2D and FULLY_CONNECTED of more products than fit in 32 bits, at the ends of int16 and int8."""
    k, x_scale = c.integer(150, 400), _scale(c)
    x = fed(c, (1, 2, 3, k), x_scale)
    scale, count = 0.01, c.integer(1, 5)
    ends = c.random.choice([-128, 127], (count, 2, 2, k), p=[0.98, 0.02])
    filters = c.b.tensor(ends.shape, "int8", scale, 0, ends)
    wide = float(np.float32(x_scale * scale * 200 * k))
    between = value(c, (1, 1, 2, count), wide)
    c.b.op("CONV_2D", [x, filters], [between], version=5, strideH=1, strideW=1, padding=1, dilationHFactor=1,
           dilationWFactor=1)  # fmt: skip
    row = c.b.tensor((3, 6 * k), "int8", scale, 0, c.random.choice([-128, 127], (3, 6 * k), p=[0.98, 0.02]))
    out = value(c, (1, 3), wide * 3)
    c.b.op("FULLY_CONNECTED", [x, row, -1], [out], version=5)
    return c.done(between, out)


def fully_connected(c: Case) -> bytes:
    batch, inputs, outputs = tuple(c.integer(1, 3) for _ in range(c.integer(1, 3))), c.integer(1, 9), c.integer(1, 9)
    x_scale = _scale(c)
    x = fed(c, (*batch, inputs), x_scale)
    rows, bias, scale = weights(c, (outputs, inputs), 0, x_scale, inputs, c.chance(0.6))
    kept = c.chance()
    out = value(c, (*batch, outputs) if kept else (math.prod(batch), outputs), scale)
    c.b.op("FULLY_CONNECTED", [x, rows, *(bias or [-1])], [out], version=5, keepNumDims=kept,
           fusedActivationFunction=_activation(c))  # fmt: skip
    return c.done(out)


def transpose_conv(c: Case) -> bytes:
    n, k, out_c, kernel = c.integer(1, 2), c.integer(1, 4), c.integer(1, 4), [c.integer(1, 4), c.integer(1, 4)]
    strides, same = [c.integer(1, 3), c.integer(1, 3)], c.chance()
    outer = [c.integer(1, 9) if same else k + c.integer(0, 7) for k in kernel]
    inner = [-(-(o if same else o - k + 1) // s) for o, k, s in zip(outer, kernel, strides, strict=True)]
    x_scale = _scale(c)
    x = fed(c, (n, *inner, k), x_scale)
    filters, bias, scale = weights(c, (out_c, *kernel, k), 0, x_scale, k)
    out = value(c, (n, *outer, out_c), scale)
    fields: dict[str, Any] = {"strideH": strides[0], "strideW": strides[1], "padding": 0 if same else 1}
    c.b.op("TRANSPOSE_CONV", [c.constant([n, *outer, out_c]), filters, x, *bias], [out], version=4,
           fusedActivationFunction=_activation(c), **fields)  # fmt: skip
    return c.done(out)


def batch_matmul(c: Case) -> bytes:
    """Both flags; batches that repeat; either operand constant."""
    rows, depth, columns = c.integer(1, 5), c.integer(1, 9), c.integer(1, 5)
    batch = tuple(c.integer(1, 3) for _ in range(c.integer(0, 3)))
    adjoint, scales = [c.chance(), c.chance()], [_scale(c), _scale(c)]
    fixed, operands, shapes = c.integer(0, 3), [], []
    for i, size in enumerate(((rows, depth), (depth, columns))):
        repeated = tuple(n if c.chance(0.7) else 1 for n in batch)
        shape = (*repeated, *(size[::-1] if adjoint[i] else size))
        shapes.append(shape)
        if i == fixed:
            operands.append(c.constant(c.random.integers(-32768, 32768, shape), "int16", scales[i]))
        else:
            operands.append(fed(c, shape, scales[i]))
    full = np.broadcast_shapes(shapes[0][:-2], shapes[1][:-2])
    out = value(c, (*full, rows, columns), scales[0] * scales[1] * 25000 * math.sqrt(depth))
    c.b.op("BATCH_MATMUL", operands, [out], version=3, adjX=adjoint[0], adjY=adjoint[1])
    return c.done(out)


def pool(kind: str) -> Maker:
    def make(c: Case) -> bytes:
        n, h, w, k = max(c.integer(-1, 3), 1), c.integer(1, 7), c.integer(1, 7), c.integer(1, 6)
        kernel, strides = [c.integer(1, 3), c.integer(1, 3)], [c.integer(1, 3), c.integer(1, 3)]
        same = c.chance() or h < kernel[0] or w < kernel[1]
        outer = [-(-(s if same else s - r + 1) // t) for s, r, t in zip((h, w), kernel, strides, strict=True)]
        scale = _scale(c)
        x, out = fed(c, (n, h, w, k), scale), value(c, (n, *outer, k), scale)
        c.b.op(kind, [x], [out], version=3, fusedActivationFunction=_activation(c), strideH=strides[0],
               strideW=strides[1], padding=0 if same else 1, filterHeight=kernel[0], filterWidth=kernel[1])  # fmt: skip
        return c.done(out)

    return make


def reduction(kind: str) -> Maker:
    """Over any axes of up to five dimensions."""

    def make(c: Case) -> bytes:
        shape = (c.integer(1, 3), *c.shape(c.integer(1, 5))[1:])
        rank = len(shape)
        axes = [a for a in range(rank) if c.chance()] or [c.integer(0, rank - 1)]
        kept, scale = c.chance(), _scale(c)
        wanted = tuple(1 if a in axes else n for a, n in enumerate(shape) if kept or a not in axes)
        count = math.prod(shape[a] for a in axes)
        wider = c.random.uniform(0.3, 1.5) * (math.sqrt(count) if kind == "SUM" else 1)
        x = fed(c, shape, scale)
        out = value(c, wanted, scale if kind.startswith("REDUCE") else scale * wider)
        named = [a - rank if c.chance(0.3) else a for a in c.random.permutation(axes).tolist()]
        c.b.op(kind, [x, c.constant(named)], [out], keepDims=kept)
        return c.done(out)

    return make


def lstm(c: Case) -> bytes:
    batch, steps, inputs, units = c.integer(1, 3), c.integer(1, 4), c.integer(1, 6), c.integer(1, 5)
    major = c.chance()
    rows = (steps, batch) if major else (batch, steps)
    x = fed(c, (*rows, inputs), float(np.float32(c.random.uniform(2e-5, 2e-4))))
    kernels = [
        c.constant(c.random.integers(-127, 128, (units, n)), "int8", float(np.float32(c.random.uniform(0.004, 0.03))))
        for n in (inputs,) * 4 + (units,) * 4
    ]
    biases = [c.constant(c.random.integers(-2000000, 2000001, units), "int64", 1e-6) for _ in range(4)]
    scale = float(np.float32(c.random.uniform(2e-5, 4e-5)))
    hidden = c.b.tensor((batch, units), "int16", scale, 0, variable=True)
    cell = c.b.tensor((batch, units), "int16", 2.0 ** -c.integer(9, 15), 0, variable=True)
    out = value(c, (*rows, units), scale)
    operands = [x, *kernels, -1, -1, -1, *biases, -1, -1, hidden, cell, -1, -1, -1, -1]
    clip = float(c.random.choice([0.0, 0.0, 1.5, 10.0]))
    c.b.op("UNIDIRECTIONAL_SEQUENCE_LSTM", operands, [out], version=4, fusedActivationFunction=4, timeMajor=major,
           cellClip=clip)  # fmt: skip
    return c.done(out)


def rsqrt(c: Case) -> bytes:
    """No input is negative: TensorFlow Lite Micro stops there."""
    shape, scale = c.shape(c.integer(2, 4)), _scale(c)
    x, positive = fed(c, shape, scale), value(c, shape, scale)
    least = c.constant(np.full((1,), c.integer(0, 1)), "int16", scale)
    out = value(c, shape, 10 ** c.random.uniform(-2, 0.5) / (math.sqrt(scale) * 32767))
    c.b.op("MAXIMUM", [x, least], [positive])
    c.b.op("RSQRT", [positive], [out])
    return c.done(out)


INT16_CASES: dict[str, Maker] = {
    "CONV_2D int16": conv("CONV_2D"), "DEPTHWISE_CONV_2D int16": conv("DEPTHWISE_CONV_2D"),
    "CONV_2D int16 of long sums": long_sums, "FULLY_CONNECTED int16": fully_connected,
    "TRANSPOSE_CONV int16": transpose_conv, "BATCH_MATMUL int16": batch_matmul, "ADD int16": binary("ADD"),
    "SUB int16": binary("SUB"), "MUL int16": binary("MUL"), "MAXIMUM int16": binary("MAXIMUM"),
    "MINIMUM int16": binary("MINIMUM"), "SQUARED_DIFFERENCE int16": binary("SQUARED_DIFFERENCE"),
    "RELU int16": unary("RELU"), "RELU6 int16": unary("RELU6"), "LEAKY_RELU int16": unary("LEAKY_RELU"),
    "ABS int16": unary("ABS"), "RSQRT int16": rsqrt, "PRELU int16": prelu, "LOGISTIC int16": unary("LOGISTIC", ONE),
    "TANH int16": unary("TANH", ONE), "SOFTMAX int16": unary("SOFTMAX", ONE),
    "MAX_POOL_2D int16": pool("MAX_POOL_2D"), "AVERAGE_POOL_2D int16": pool("AVERAGE_POOL_2D"),
    "MEAN int16": reduction("MEAN"), "SUM int16": reduction("SUM"), "REDUCE_MAX int16": reduction("REDUCE_MAX"),
    "REDUCE_MIN int16": reduction("REDUCE_MIN"), "UNIDIRECTIONAL_SEQUENCE_LSTM int16": lstm,
}  # fmt: skip
