"""Random `.tflite` operators whose weights are int4, two a byte."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from secateur.compiler.bench.tflite_builder import TfliteBuilder

if TYPE_CHECKING:
    from secateur.compiler.bench.operator_files import Case

    Maker = Callable[[Case], bytes]

Shape = tuple[int, ...]


def int4_tensor(b: TfliteBuilder, data: npt.NDArray[Any], scales: Sequence[float], axis: int) -> int:
    """A constant of int4; the earlier of two values is in a byte's low bits."""
    flat = np.pad(data.ravel().astype(np.int64) & 15, (0, data.size % 2))
    return b.tensor(data.shape, "int4", scales, 0, (flat[::2] | flat[1::2] << 4).astype(np.uint8), axis)


def weights(c: Case, shape: Shape, axis: int, x_scale: float, fan_in: int, one: bool) -> tuple[int, int, float]:
    """(weights, bias, a fitting output scale). `one`: a scale for all, else one an output channel, or one."""
    channels = shape[axis]
    scales = c.random.uniform(0.02, 0.2, 1 if one or c.chance(0.2) else channels).astype(np.float32)
    w = int4_tensor(c.b, c.random.integers(-8, 8, shape), scales.tolist(), axis)
    bias_scale = [float(np.float32(x_scale) * s) for s in scales]
    bias = c.b.tensor((channels,), "int32", bias_scale, 0, c.random.integers(-300, 300, channels))
    return w, bias, float(np.float32(x_scale * scales.mean() * 4.5 * math.sqrt(fan_in)))


def conv(kind: str) -> Maker:
    """CONV_2D (grouped, dilated) or DEPTHWISE_CONV_2D."""

    def make(c: Case) -> bytes:
        n, h, w, k = max(c.integer(-3, 2), 1), c.integer(1, 7), c.integer(1, 7), c.integer(1, 6)
        kernel, x_scale = [c.integer(1, 3), c.integer(1, 3)], c.scale()
        strides, dilation = [c.integer(1, 3), c.integer(1, 3)], [c.integer(1, 2), c.integer(1, 2)]
        span = [(s - 1) * d + 1 for s, d in zip(kernel, dilation, strict=True)]
        same = c.chance() or h < span[0] or w < span[1]
        outer = [-(-(s if same else s - r + 1) // t) for s, r, t in zip((h, w), span, strides, strict=True)]
        depthwise, depth = kind == "DEPTHWISE_CONV_2D", c.integer(1, 2)
        groups = 1 if depthwise or c.chance(0.7) else c.integer(1, 2)
        out_c = k * depth if depthwise else groups * c.integer(1, 7)
        x = c.fed((n, h, w, k * groups), x_scale)
        shape = (1, *kernel, out_c) if depthwise else (out_c, *kernel, k)
        fan_in = math.prod(kernel) * (1 if depthwise else k)
        filters, bias, scale = weights(c, shape, 3 if depthwise else 0, x_scale, fan_in, False)
        out = c.value((n, *outer, out_c), scale)
        more: dict[str, Any] = {"depthMultiplier": depth} if depthwise else {}
        c.b.op(kind, [x, filters, bias], [out], version=5, strideH=strides[0], strideW=strides[1],
               padding=0 if same else 1, dilationHFactor=dilation[0], dilationWFactor=dilation[1],
               fusedActivationFunction=c.integer(0, 1) * c.integer(0, 3), **more)  # fmt: skip
        return c.done(out)

    return make


def fully_connected(c: Case) -> bytes:
    """TensorFlow Lite Micro takes one scale alone."""
    batch, inputs, outputs = c.integer(1, 3), c.integer(1, 9), c.integer(1, 9)
    x_scale = c.scale()
    x = c.fed((batch, inputs), x_scale)
    rows, bias, scale = weights(c, (outputs, inputs), 0, x_scale, inputs, True)
    out = c.value((batch, outputs), scale)
    c.b.op("FULLY_CONNECTED", [x, rows, bias if c.chance(0.8) else -1], [out], version=5,
           fusedActivationFunction=c.integer(0, 1) * c.integer(0, 3))  # fmt: skip
    return c.done(out)


INT4_CASES: dict[str, Maker] = {
    "CONV_2D of int4 weights": conv("CONV_2D"), "DEPTHWISE_CONV_2D of int4 weights": conv("DEPTHWISE_CONV_2D"),
    "FULLY_CONNECTED of int4 weights": fully_connected,
}  # fmt: skip
