"""Random `.tflite` files of one float32 operator each, and of int8 networks with floats inside."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from secateur.compiler.bench.operator_files import (
    CASES,
    Case,
    Shape,
    _window,
    arg,
    gather_computed,
    of_type,
    pool,
    reduction,
    resize_bilinear,
    unary,
)

UNARY = (
    "RELU", "RELU6", "RELU_N1_TO_1", "LEAKY_RELU", "ABS", "NEG", "SQUARE", "HARD_SWISH", "ELU", "LOGISTIC", "TANH",
    "EXP", "LOG", "SQRT", "RSQRT", "SOFTMAX", "L2_NORMALIZATION", "GELU",
)  # fmt: skip
BINARY = ("ADD", "SUB", "MUL", "DIV", "SQUARED_DIFFERENCE", "MAXIMUM", "MINIMUM")
NO_ACTIVATION = ("SQUARED_DIFFERENCE", "MAXIMUM", "MINIMUM")


def _normal(c: Case, shape: Shape, size: float = 1.0) -> int:
    """A constant of random floats."""
    return c.constant((size * c.random.normal(size=shape)).astype(np.float32), "float32")


def _activation(c: Case) -> int:
    return c.integer(0, 1) * c.integer(0, 3)


def binary(kind: str) -> Callable[[Case], bytes]:
    """Either operand broadcast, the second one sometimes constant."""

    def make(c: Case) -> bytes:
        shape = c.shape(4)
        shapes = [shape, tuple(n if c.chance(0.7) else 1 for n in shape)]
        if c.chance():
            shapes.reverse()
        first = c.fed(shapes[0])
        second = _normal(c, shapes[1], 3.0) if c.chance(0.3) else c.fed(shapes[1])
        out = c.value(shape)
        fields: dict[str, Any] = {} if kind in NO_ACTIVATION else {"fusedActivationFunction": _activation(c)}
        c.b.op(kind, [first, second], [out], version=1, **fields)
        return c.done(out)

    return make


def prelu(c: Case) -> bytes:
    shape = c.shape()
    x, out = c.fed(shape), c.value(shape)
    c.b.op("PRELU", [x, _normal(c, (1, 1, shape[3]))], [out])
    return c.done(out)


def conv(kind: str) -> Callable[[Case], bytes]:
    """CONV_2D, in groups too, or DEPTHWISE_CONV_2D, of one to three batch elements."""

    def make(c: Case) -> bytes:
        n, h, w, k = max(c.integer(-1, 3), 1), c.integer(1, 7), c.integer(1, 7), c.integer(1, 6)
        kernel, depth = [c.integer(1, 3), c.integer(1, 3)], c.integer(1, 2)
        fields, (out_h, out_w) = _window(c, [h, w], kernel)
        depthwise = kind == "DEPTHWISE_CONV_2D"
        out_c = k * depth if depthwise else c.integer(1, 6)
        x = c.fed((n, h, w, k))
        weights = _normal(c, (1, *kernel, out_c) if depthwise else (out_c, *kernel, k))
        out = c.value((n, out_h, out_w, out_c))
        more: dict[str, Any] = {"depthMultiplier": depth} if depthwise else {}
        more |= {"dilationHFactor": 1, "dilationWFactor": 1, "fusedActivationFunction": _activation(c)}
        # a depthwise one without biases stops TensorFlow Lite Micro
        operands = [x, weights, *([_normal(c, (out_c,))] if depthwise or c.chance(0.8) else [])]
        c.b.op(kind, operands, [out], version=1, **fields, **more)
        return c.done(out)

    return make


def dilated(kind: str) -> Callable[[Case], bytes]:
    def make(c: Case) -> bytes:
        k, kernel, rate = c.integer(1, 5), [c.integer(1, 3), c.integer(1, 3)], [c.integer(1, 3), c.integer(1, 3)]
        depthwise = kind == "DEPTHWISE_CONV_2D"
        out_c = k if depthwise else c.integer(1, 5)
        sizes, same = [c.integer(7, 9), c.integer(7, 9)], c.chance()
        wanted = sizes if same else [n - (m - 1) * r for n, m, r in zip(sizes, kernel, rate, strict=True)]
        x, out = c.fed((1, *sizes, k)), c.value((1, *wanted, out_c))
        weights = _normal(c, (1, *kernel, out_c) if depthwise else (out_c, *kernel, k))
        fields: dict[str, Any] = {"strideH": 1, "strideW": 1, "padding": 0 if same else 1}
        fields |= {"dilationHFactor": rate[0], "dilationWFactor": rate[1]} | (
            {"depthMultiplier": 1} if depthwise else {}
        )
        c.b.op(kind, [x, weights, _normal(c, (out_c,))], [out], version=2, **fields)
        return c.done(out)

    return make


def transpose_conv(c: Case) -> bytes:
    n, k, out_c, kernel = c.integer(1, 2), c.integer(1, 4), c.integer(1, 4), [c.integer(1, 4), c.integer(1, 4)]
    strides, same = [c.integer(1, 3), c.integer(1, 3)], c.chance()
    outer = [c.integer(1, 9) if same else k + c.integer(0, 7) for k in kernel]
    inner = [-(-(o if same else o - k + 1) // s) for o, k, s in zip(outer, kernel, strides, strict=True)]
    x, out = c.fed((n, *inner, k)), c.value((n, *outer, out_c))
    operands = [c.constant([n, *outer, out_c]), _normal(c, (out_c, *kernel, k)), x]
    operands += [_normal(c, (out_c,))] if c.chance(0.7) else []
    fields: dict[str, Any] = {"strideH": strides[0], "strideW": strides[1], "padding": 0 if same else 1}
    c.b.op("TRANSPOSE_CONV", operands, [out], version=4, fusedActivationFunction=_activation(c), **fields)
    return c.done(out)


def batch_matmul(c: Case) -> bytes:
    """Both flags; batches that repeat; either operand constant."""
    rows, depth, columns = c.integer(1, 5), c.integer(1, 9), c.integer(1, 5)
    batch = tuple(c.integer(1, 3) for _ in range(c.integer(0, 3)))
    adjoint, fixed = [c.chance(), c.chance()], c.integer(0, 3)
    operands, shapes = [], []
    for i, (size, adj) in enumerate(zip(((rows, depth), (depth, columns)), adjoint, strict=True)):
        shape = (*(n if c.chance(0.7) else 1 for n in batch), *(size[::-1] if adj else size))
        shapes.append(shape)
        operands.append(_normal(c, shape) if i == fixed else c.fed(shape))
    out = c.value((*np.broadcast_shapes(shapes[0][:-2], shapes[1][:-2]), rows, columns))
    c.b.op("BATCH_MATMUL", operands, [out], version=1, adjX=adjoint[0], adjY=adjoint[1])
    return c.done(out)


def fully_connected(c: Case, computed: bool | None = None) -> bytes:
    """Constant or computed weights (either where None), the input's dimensions kept or not, with or without a bias."""
    computed = c.chance(0.4) if computed is None else computed
    batch, inputs, outputs = tuple(c.integer(1, 3) for _ in range(c.integer(1, 3))), c.integer(1, 9), c.integer(1, 9)
    x, kept = c.fed((*batch, inputs)), c.chance()
    weights = c.fed((outputs, inputs)) if computed else _normal(c, (outputs, inputs))
    out = c.value((*batch, outputs) if kept else (math.prod(batch), outputs))
    operands = [x, weights, _normal(c, (outputs,)) if c.chance(0.7) else -1]
    c.b.op("FULLY_CONNECTED", operands, [out], version=1, keepNumDims=kept, fusedActivationFunction=_activation(c))
    return c.done(out)


def svdf(c: Case) -> bytes:
    """With the activations that are known."""
    batch, inputs, units, rank, memory = (c.integer(1, n) for n in (2, 6, 4, 3, 6))
    filters = units * rank
    operands = [c.fed((batch, inputs)), *(_normal(c, s) for s in ((filters, inputs), (filters, memory), (units,)))]
    state = c.b.tensor((batch, filters * memory), "float32", variable=True)
    out = c.value((batch, units))
    c.b.op("SVDF", [*operands, state], [out], rank=rank, fusedActivationFunction=_activation(c))
    return c.done(out)


def lstm(c: Case) -> bytes:
    batch, steps, inputs, units = (c.integer(1, n) for n in (3, 4, 6, 5))
    major = c.chance()
    rows = (steps, batch) if major else (batch, steps)
    x = c.fed((*rows, inputs))
    weights = [_normal(c, (units, n), 1 / math.sqrt(n)) for n in (inputs,) * 4 + (units,) * 4]
    biases = [_normal(c, (units,)) for _ in range(4)]
    hidden, cell = (c.b.tensor((batch, units), "float32", variable=True) for _ in range(2))
    out = c.value((*rows, units))
    operands = [x, *weights, -1, -1, -1, *biases, -1, -1, hidden, cell, -1, -1, -1, -1]
    clip = float(c.random.choice([0.0, 0.0, 0.3, 10.0]))
    c.b.op("UNIDIRECTIONAL_SEQUENCE_LSTM", operands, [out], fusedActivationFunction=4, timeMajor=major, cellClip=clip)
    return c.done(out)


def island(c: Case) -> bytes:
    """int8, then DEQUANTIZE, float operators that C libraries compute, QUANTIZE, and int8 again."""
    n, k = c.integer(2, 6), c.integer(2, 6)
    x = c.fed((1, n), 0.05, 3, "int8")
    real, power, total, ratio = (c.b.tensor((1, n), "float32") for _ in range(4))
    c.b.op("DEQUANTIZE", [x], [real], version=2)
    c.b.op("TANH", [real], [power])
    c.b.op("MUL", [power, _normal(c, (1, n))], [total], fusedActivationFunction=0)
    c.b.op("LOGISTIC", [total], [ratio])
    inner, out = c.value((1, n), 1 / 256, -128, "int8"), c.value((1, k), 0.01, 5, "int8")
    c.b.op("QUANTIZE", [ratio], [inner])
    scales = c.random.uniform(0.002, 0.02, k).astype(np.float32)
    weights = c.b.tensor((k, n), "int8", scales.tolist(), 0, c.random.integers(-127, 128, (k, n)))
    biases = c.random.integers(-300, 300, k)
    bias = c.b.tensor((k,), "int32", [float(np.float32(1 / 256) * s) for s in scales], 0, biases)
    c.b.op("FULLY_CONNECTED", [inner, weights, bias], [out], version=5)
    return c.done(out)


def small_network(c: Case) -> bytes:
    """A picture through a convolution, a depthwise one, a pool, a dense layer and a softmax."""
    k, classes = c.integer(2, 6), c.integer(2, 5)
    x, first, second, pooled = c.fed((1, 8, 8, 2)), c.value((1, 4, 4, k)), c.value((1, 4, 4, k)), c.value((1, 2, 2, k))
    conv_fields: dict[str, Any] = {
        "padding": 0,
        "dilationHFactor": 1,
        "dilationWFactor": 1,
        "fusedActivationFunction": 1,
    }
    c.b.op(
        "CONV_2D", [x, _normal(c, (k, 3, 3, 2), 0.3), _normal(c, (k,))], [first], strideH=2, strideW=2, **conv_fields
    )
    operands = [first, _normal(c, (1, 3, 3, k), 0.3), _normal(c, (k,))]
    c.b.op("DEPTHWISE_CONV_2D", operands, [second], strideH=1, strideW=1, depthMultiplier=1, **conv_fields)
    c.b.op("AVERAGE_POOL_2D", [second], [pooled], filterHeight=2, filterWidth=2, strideH=2, strideW=2, padding=1)
    flat, logits, out = c.value((1, 4 * k)), c.value((1, classes)), c.value((1, classes))
    c.b.op("RESHAPE", [pooled, c.constant([1, 4 * k])], [flat], newShape=[1, 4 * k])
    c.b.op("FULLY_CONNECTED", [flat, _normal(c, (classes, 4 * k), 0.3), _normal(c, (classes,))], [logits])
    c.b.op("SOFTMAX", [logits], [out], beta=1.0)
    return c.done(out)


def window_network(c: Case) -> bytes:
    """A window of sensor samples through convolutions along time, a mean and a dense layer."""
    k, classes = c.integer(3, 6), c.integer(2, 5)
    x, a, b, mean = c.fed((1, 32, 1, 3)), c.value((1, 16, 1, k)), c.value((1, 16, 1, k)), c.value((1, k))
    joined, out = c.value((1, 16, 1, k)), c.value((1, classes))
    fields: dict[str, Any] = {"padding": 0, "dilationHFactor": 1, "dilationWFactor": 1, "strideW": 1}
    c.b.op("CONV_2D", [x, _normal(c, (k, 5, 1, 3), 0.3), _normal(c, (k,))], [a], strideH=2, fusedActivationFunction=3,
           **fields)  # fmt: skip
    c.b.op("CONV_2D", [a, _normal(c, (k, 3, 1, k), 0.3), _normal(c, (k,))], [b], strideH=1, **fields)
    c.b.op("ADD", [a, b], [joined], fusedActivationFunction=1)
    c.b.op("MEAN", [joined, c.constant([1, 2])], [mean], keepDims=False)
    c.b.op("FULLY_CONNECTED", [mean, _normal(c, (classes, k)), _normal(c, (classes,))], [out])
    return c.done(out)


def memory_network(c: Case) -> bytes:
    """An LSTM over some steps, GELU, an SVDF over calls, GELU by tanh."""
    x, hidden, cell = c.fed((1, 4, 3)), *(c.b.tensor((1, 5), "float32", variable=True) for _ in range(2))
    rows, bent, memory = c.value((1, 4, 5)), c.value((1, 4, 5)), c.b.tensor((1, 24), "float32", variable=True)
    weights = [_normal(c, (5, n), 0.5) for n in (3,) * 4 + (5,) * 4]
    biases = [_normal(c, (5,)) for _ in range(4)]
    operands = [x, *weights, -1, -1, -1, *biases, -1, -1, hidden, cell, -1, -1, -1, -1]
    c.b.op("UNIDIRECTIONAL_SEQUENCE_LSTM", operands, [rows], fusedActivationFunction=4, timeMajor=False, cellClip=2.0)
    c.b.op("GELU", [rows], [bent], approximate=False)
    flat, scores, out = c.value((1, 20)), c.value((1, 3)), c.value((1, 3))
    c.b.op("RESHAPE", [bent, c.constant([1, 20])], [flat], newShape=[1, 20])
    tables = [_normal(c, shape) for shape in ((6, 20), (6, 4), (3,))]
    c.b.op("SVDF", [flat, *tables, memory], [scores], rank=2, fusedActivationFunction=0)
    c.b.op("GELU", [scores], [out], approximate=True)
    return c.done(out)


def _float32(make: Callable[[Case], bytes]) -> Callable[[Case], bytes]:
    return of_type(make, "float32")


OPERATORS: dict[str, Callable[[Case], bytes]] = {
    **{kind: unary(kind) for kind in UNARY}, **{kind: binary(kind) for kind in BINARY}, "PRELU": prelu,
    "CONV_2D": conv("CONV_2D"), "DEPTHWISE_CONV_2D": conv("DEPTHWISE_CONV_2D"),
    "dilated CONV_2D": dilated("CONV_2D"), "dilated DEPTHWISE_CONV_2D": dilated("DEPTHWISE_CONV_2D"),
    "TRANSPOSE_CONV": transpose_conv, "BATCH_MATMUL": batch_matmul, "FULLY_CONNECTED": fully_connected,
    "FULLY_CONNECTED computed": partial(fully_connected, computed=True),
    "MAX_POOL_2D": pool("MAX_POOL_2D"), "AVERAGE_POOL_2D": pool("AVERAGE_POOL_2D"),
    **{kind: reduction(kind) for kind in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN")},
    "ARG_MAX": arg("ARG_MAX"), "ARG_MIN": arg("ARG_MIN"), "RESIZE_BILINEAR": resize_bilinear,
    "GATHER computed": gather_computed(), "SVDF": svdf,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": lstm,
}  # fmt: skip
NETWORKS: dict[str, Callable[[Case], bytes]] = {
    "small network": small_network, "window network": window_network, "island": island,
    "memory network": memory_network,
}  # fmt: skip

FLOAT_CASES: dict[str, Callable[[Case], bytes]] = {
    f"{kind} float32": _float32(make) for kind, make in (OPERATORS | NETWORKS).items()
}
ALL_CASES: dict[str, Callable[[Case], bytes]] = CASES | FLOAT_CASES
