"""TensorFlow operators on constants: what a SavedModel computes of its shapes and variables, in numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from secateur.compiler.frontends.channels_last import MAX_ELEMENTS, Refused
from secateur.compiler.frontends.saved_model_graph import Operator, setting
from secateur.compiler.frontends.tensor_bundle import DTYPES, Damaged, messages, tensor

Array = npt.NDArray[Any]


def constant(op: Operator) -> Array:
    """The values of a Const."""
    value = op.attributes.get("value", {})
    found = messages(value, 8)
    if op.kind != "Const" or not found:
        raise Damaged(f"{op.name} is no constant")
    return tensor(found[0])


def fold(op: Operator, inputs: list[Any]) -> Array:
    """The operator's value. Raises Refused where it is not known here."""
    if sum(v.size for v in inputs) > MAX_ELEMENTS:
        raise Refused("of large constants")
    with np.errstate(all="ignore"):
        result = np.asarray(FUNCTIONS[op.kind](op, inputs))
    if result.size > MAX_ELEMENTS:
        raise Refused("gives a large constant")
    return result.astype(np.float32) if result.dtype == np.float64 and inputs[0].dtype == np.float32 else result


def strided_slice(op: Operator, shape: tuple[int, ...], inputs: list[Any]) -> tuple[Any, ...]:
    """The key that StridedSlice takes out of a tensor of `shape`."""
    begin, end, step = ([int(v) for v in np.ravel(x)] for x in inputs[1:4])
    masks = {n: int(setting(op, f"{n}_mask") or 0) for n in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}
    if masks["new_axis"] or len(begin) != len(end) or len(begin) != len(step) or len(begin) > 16:
        raise Refused("with new dimensions")
    key: list[Any] = []
    for i, (b, e, s) in enumerate(zip(begin, end, step, strict=True)):
        bit = 1 << i
        if masks["ellipsis"] & bit:
            key.append(Ellipsis)
        elif masks["shrink_axis"] & bit:
            key.append(b)
        else:
            key.append(slice(None if masks["begin"] & bit else b, None if masks["end"] & bit else e, s))
    return tuple(key)


def _reduced(function: Callable[..., Any]) -> Callable[[Operator, list[Any]], Any]:
    def run(op: Operator, inputs: list[Any]) -> Any:
        axes = tuple(int(a) for a in np.ravel(inputs[1]))
        return function(inputs[0], axis=axes, keepdims=bool(setting(op, "keep_dims")))

    return run


def _cast(op: Operator, inputs: list[Any]) -> Any:
    kind = setting(op, "DstT")
    if kind not in DTYPES:
        raise Refused(f"to type {kind}")
    return inputs[0].astype(DTYPES[kind])


def _fill(op: Operator, inputs: list[Any]) -> Any:
    shape = tuple(int(v) for v in inputs[0])
    if min(shape, default=0) < 0 or int(np.prod(shape)) > MAX_ELEMENTS:
        raise Refused(f"of shape {shape}")
    return np.full(shape, inputs[1])


def _squeeze(op: Operator, inputs: list[Any]) -> Any:
    axes = setting(op, "squeeze_dims") or []
    return np.squeeze(inputs[0], tuple(axes) if axes else None)


FUNCTIONS: dict[str, Callable[[Operator, list[Any]], Any]] = {
    **dict.fromkeys(("Identity", "ReadVariableOp", "StopGradient", "Enter", "PreventGradient"), lambda o, x: x[0]),
    **dict.fromkeys(("Add", "AddV2"), lambda o, x: x[0] + x[1]),
    "Sub": lambda o, x: x[0] - x[1],
    "Mul": lambda o, x: x[0] * x[1],
    "RealDiv": lambda o, x: x[0] / x[1],
    "Div": lambda o, x: x[0] / x[1] if x[0].dtype.kind == "f" else x[0] // x[1],
    "FloorDiv": lambda o, x: x[0] // x[1],
    "FloorMod": lambda o, x: x[0] % x[1],
    "Maximum": lambda o, x: np.maximum(x[0], x[1]),
    "Minimum": lambda o, x: np.minimum(x[0], x[1]),
    "Rsqrt": lambda o, x: 1 / np.sqrt(x[0]),
    "Sqrt": lambda o, x: np.sqrt(x[0]),
    "Square": lambda o, x: np.square(x[0]),
    "Neg": lambda o, x: -x[0],
    "Exp": lambda o, x: np.exp(x[0]),
    "Reciprocal": lambda o, x: 1 / x[0],
    "Cast": _cast,
    "Shape": lambda o, x: np.array(x[0].shape),
    "Size": lambda o, x: np.array(x[0].size),
    "Rank": lambda o, x: np.array(x[0].ndim),
    "Pack": lambda o, x: np.stack(x, int(setting(o, "axis") or 0)),
    "ConcatV2": lambda o, x: np.concatenate(x[:-1], int(x[-1])),
    "GatherV2": lambda o, x: np.take(x[0], x[1], int(x[2])),
    "StridedSlice": lambda o, x: x[0][strided_slice(o, x[0].shape, x)],
    "ExpandDims": lambda o, x: np.expand_dims(x[0], int(x[1])),
    "Squeeze": _squeeze,
    "Reshape": lambda o, x: x[0].reshape([int(n) for n in x[1]]),
    "Transpose": lambda o, x: np.transpose(x[0], [int(n) for n in x[1]]),
    "Fill": _fill,
    "ZerosLike": lambda o, x: np.zeros_like(x[0]),
    "OnesLike": lambda o, x: np.ones_like(x[0]),
    "Prod": _reduced(np.prod),
    "Sum": _reduced(np.sum),
    "Mean": _reduced(np.mean),
    "BroadcastTo": lambda o, x: _fill(o, [x[1], np.array(0)]) + x[0],
}
