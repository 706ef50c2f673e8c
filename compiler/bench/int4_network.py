"""A whole small network on int8 activations with int4 weights."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from secateur.compiler.bench.int4_files import int4_tensor
from secateur.compiler.bench.tflite_builder import TfliteBuilder

Shape = tuple[int, ...]


def int4_network(seed: int = 0, dead: int = 3) -> bytes:
    """Two convolutions, a depthwise one, a pool and two fully connected layers on (1, 16, 16, 3).

    `dead`: channels of the first convolution that are 0 whatever the input, and can be cut.
    """
    random, b = np.random.default_rng(seed), TfliteBuilder()
    scale, zero = 0.02, -5
    x = last = b.tensor((1, 16, 16, 3), "int8", scale, zero)

    def layer(kind: str, shape: Shape, out: Shape, none: int = 0, **fields: Any) -> int:
        nonlocal scale
        axis = 3 if kind == "DEPTHWISE_CONV_2D" else 0
        count = 1 if kind == "FULLY_CONNECTED" else shape[axis]  # of scales: TensorFlow Lite Micro takes one there
        scales = random.uniform(0.05, 0.15, count).astype(np.float32)
        data = random.integers(-8, 8, shape)
        biases = random.integers(-200, 200, shape[axis])
        if none:
            np.moveaxis(data, axis, 0)[:none] = 0
            biases[:none] = -50
        weights = int4_tensor(b, data, scales.tolist(), axis)
        bias = b.tensor((shape[axis],), "int32", (np.float32(scale) * scales).tolist(), 0, biases)
        reach = 1.2 if kind == "FULLY_CONNECTED" else 3.7  # behind a pool values differ less
        scale = float(np.float32(scale * scales.mean() * reach * math.sqrt(math.prod(shape) // shape[axis])))
        found = b.tensor(out, "int8", scale, -128 if fields.get("fusedActivationFunction") else 4)
        b.op(kind, [last, weights, bias], [found], version=5, **fields)
        return found

    ones: dict[str, Any] = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1, "padding": 0}
    last = layer("CONV_2D", (15, 3, 3, 3), (1, 16, 16, 15), dead, fusedActivationFunction=1, **ones)
    last = layer(
        "DEPTHWISE_CONV_2D", (1, 3, 3, 15), (1, 16, 16, 15), depthMultiplier=1, fusedActivationFunction=1, **ones
    )
    last = layer("CONV_2D", (32, 1, 1, 15), (1, 16, 16, 32), fusedActivationFunction=1, **ones)
    pooled = b.tensor((1, 4, 4, 32), "int8", scale, -128)
    b.op("AVERAGE_POOL_2D", [last], [pooled], version=2, strideH=4, strideW=4, filterHeight=4, filterWidth=4, padding=1)
    last = b.tensor((1, 512), "int8", scale, -128)
    b.op("RESHAPE", [pooled, b.tensor((2,), "int32", data=[1, 512])], [last], newShape=[1, 512])
    last = layer("FULLY_CONNECTED", (32, 512), (1, 32), fusedActivationFunction=1)
    last = layer("FULLY_CONNECTED", (7, 32), (1, 7))
    return b.finish([x], [last])
