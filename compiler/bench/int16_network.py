"""A whole small network on int16 activations with int8 weights, as TFLite's converter writes them ("16x8")."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from secateur.compiler.bench.tflite_builder import TfliteBuilder

Shape = tuple[int, ...]


class _Network:
    """Layers one after another; `loud` over 1 makes their outputs saturate, far below 1 vanish."""

    def __init__(self, seed: int, loud: float) -> None:
        self.random, self.loud, self.b = np.random.default_rng(seed), loud, TfliteBuilder()
        self.scale = float(np.float32(1e-6 * loud**4))  # of the newest value; four layers later TANH reads about 1e-4
        self.last = self.b.tensor((1, 12, 10, 3), "int16", self.scale)

    def value(self, shape: Shape, scale: float) -> int:
        self.scale = float(np.float32(scale))
        self.last = self.b.tensor(shape, "int16", self.scale)
        return self.last

    def weighted(
        self, kind: str, shape: Shape, out: Shape, bias_type: str, per_channel: bool = True, **fields: Any
    ) -> int:
        """An operator with weights of `shape`, one bias in eight too large for int32 where that is int64."""
        axis, x = (3 if kind == "DEPTHWISE_CONV_2D" else 0), self.last
        scales = self.random.uniform(0.004, 0.012, shape[axis] if per_channel else 1).astype(np.float32)
        weights = self.b.tensor(shape, "int8", scales.tolist(), 0, self.random.integers(-127, 128, shape), axis)
        values = self.random.integers(-(1 << 19), 1 << 19, shape[axis])
        if bias_type == "int64":
            values[::8] = 1 << 33
        bias = self.b.tensor((shape[axis],), bias_type, (np.float32(self.scale) * scales).tolist(), 0, values)
        fan_in = math.prod(shape) // shape[axis]
        reach = self.scale * float(scales.mean()) * 73 * math.sqrt(fan_in) / self.loud
        found = self.value(out, reach)
        self.b.op(kind, [x, weights, bias], [found], version=5, **fields)
        return found


def int16_network(seed: int = 0, loud: float = 1.0) -> bytes:
    """Convolution, depthwise, residual sum, pools, tanh, fully connected and softmax on (1, 12, 10, 3)."""
    n = _Network(seed, loud)
    x, map_shape = n.last, (1, 12, 10, 8)
    ones: dict[str, Any] = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1, "padding": 0}
    first = n.weighted("CONV_2D", (8, 3, 3, 3), map_shape, "int64", fusedActivationFunction=1, **ones)
    first_scale = n.scale
    n.weighted("DEPTHWISE_CONV_2D", (1, 3, 3, 8), map_shape, "int64", depthMultiplier=1, **ones)
    third = n.weighted("CONV_2D", (8, 1, 1, 8), map_shape, "int32", per_channel=False, **ones)
    total = n.value(map_shape, max(first_scale, n.scale) * 1.3)
    n.b.op("ADD", [third, first], [total], version=2, potScaleInt16=False, fusedActivationFunction=1)
    window: dict[str, Any] = {"strideH": 2, "strideW": 2, "padding": 1, "filterHeight": 2, "filterWidth": 2}
    pooled, mean = n.value((1, 6, 5, 8), n.scale), n.value((1, 3, 2, 8), n.scale)
    n.b.op("MAX_POOL_2D", [total], [pooled], version=3, **window)
    n.b.op("AVERAGE_POOL_2D", [pooled], [mean], version=3, **window)
    flat = n.value((1, 48), n.scale)
    n.b.op("RESHAPE", [mean, n.b.tensor((2,), "int32", data=[1, 48])], [flat], newShape=[1, 48])
    hidden = n.weighted("FULLY_CONNECTED", (10, 48), (1, 10), "int64", per_channel=False)
    curve = n.value((1, 10), 1 / 32768)
    n.b.op("TANH", [hidden], [curve])
    scores = n.weighted("FULLY_CONNECTED", (5, 10), (1, 5), "int64")
    out = n.value((1, 5), 1 / 32768)
    n.b.op("SOFTMAX", [scores], [out], beta=1.0)
    return n.b.finish([x], [out])
