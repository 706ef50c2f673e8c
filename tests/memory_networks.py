"""Small `.tflite` files whose networks remember from call to call."""

from __future__ import annotations

import numpy as np

from secateur.compiler.bench.tflite_builder import TfliteBuilder


def streaming(initial: int | None = None) -> bytes:
    """A window of four frames that slides by one a call: kept in a variable, read by a fully connected layer.

    `initial`: value of the variable's first frames, set by a subgraph that is called once; else the default.
    """
    b = TfliteBuilder()
    scale, zero = 0.05, 7
    x = b.tensor((1, 1, 4), "int8", scale, zero)
    handle, old = b.tensor((), "resource"), b.tensor((1, 3, 4), "int8", scale, zero)
    window, new = b.tensor((1, 4, 4), "int8", scale, zero), b.tensor((1, 3, 4), "int8", scale, zero)
    flat, out = b.tensor((1, 16), "int8", scale, zero), b.tensor((1, 5), "int8", 0.3, -4)
    random = np.random.default_rng(0)
    weights = b.tensor((5, 16), "int8", 0.02, 0, random.integers(-127, 128, (5, 16)))
    bias = b.tensor((5,), "int32", scale * 0.02, 0, random.integers(-500, 500, 5))
    bounds = [b.tensor((3,), "int32", data=v) for v in ([0, 1, 0], [1, 4, 4], [1, 1, 1])]
    shape = b.tensor((2,), "int32", data=[1, 16])
    name = {"container": "", "sharedName": "window"}
    if initial is not None:
        b.op("CALL_ONCE", [], [], initSubgraphIndex=1)
    b.op("VAR_HANDLE", [], [handle], **name)
    b.op("READ_VARIABLE", [handle], [old])
    b.op("CONCATENATION", [old, x], [window], axis=1)
    b.op("STRIDED_SLICE", [window, *bounds], [new])
    b.op("ASSIGN_VARIABLE", [handle, new], [])
    b.op("RESHAPE", [window, shape], [flat], newShape=[1, 16])
    b.op("FULLY_CONNECTED", [flat, weights, bias], [out], version=4)
    if initial is not None:
        b.graph()
        first, values = b.tensor((), "resource"), b.tensor((1, 3, 4), "int8", scale, zero, np.full((1, 3, 4), initial))
        b.op("VAR_HANDLE", [], [first], **name)
        b.op("ASSIGN_VARIABLE", [first, values], [])
    return b.finish([x], [out])
