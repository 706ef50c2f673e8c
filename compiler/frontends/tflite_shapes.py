"""The shape arithmetic of a dynamic batch, computed when a file is read: on a device every shape is known.

SHAPE gives constants, and integer operators of constants are evaluated as numpy does it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from secateur.models.program import DTYPES, Tensor

INTEGERS = ("int32", "int64", "bool")


def fold(kind: str, options: Any, inputs: Sequence[int], outputs: Sequence[int], tensors: list[Tensor]) -> bool:
    """Make the outputs constants where that is possible; False where the operator has to run.

    Only what TensorFlow emits for shapes is known: integers, one output (UNPACK: several).
    """
    if kind == "SHAPE":
        _set(tensors, outputs[0], np.array(tensors[inputs[0]].shape))
        return True
    evaluate = _EVALUATE.get(kind)
    if evaluate is None or not all(i >= 0 and tensors[i].data is not None for i in inputs):
        return False
    if any(tensors[i].dtype not in INTEGERS for i in (*inputs, *outputs)):
        return False
    if kind == "GATHER" and int(getattr(options, "batchDims", 0) or 0):
        return False
    values = [tensors[i].data for i in inputs]
    if kind == "UNPACK":
        for i, part in zip(outputs, np.moveaxis(np.asarray(values[0]), int(options.axis), 0), strict=True):
            _set(tensors, i, part)
    else:
        _set(tensors, outputs[0], evaluate(options, *values))
    return True


def _set(tensors: list[Tensor], index: int, value: npt.ArrayLike) -> None:
    old = tensors[index]
    data = np.asarray(value).astype(DTYPES[old.dtype])
    tensors[index] = Tensor(old.name, data.shape, old.dtype, old.quantization, data)


def _slice(o: Any, x: Any, begin: Any, end: Any, strides: Any) -> Any:
    """One axis, as TensorFlow slices shapes; masks as in STRIDED_SLICE."""
    begin_mask, end_mask, shrink = (int(getattr(o, n, 0) or 0) for n in ("beginMask", "endMask", "shrinkAxisMask"))
    index: list[Any] = []
    for i, (b, e, s) in enumerate(zip(begin.tolist(), end.tolist(), strides.tolist(), strict=True)):
        if shrink >> i & 1:
            index.append(b)
        else:
            index.append(slice(None if begin_mask >> i & 1 else b, None if end_mask >> i & 1 else e, s))
    return x[tuple(index)]


def _reduce(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda o, x, axes: function(x, axis=tuple(np.ravel(axes).tolist()), keepdims=bool(o.keepDims))


_EVALUATE: dict[str, Callable[..., Any]] = {
    "STRIDED_SLICE": _slice,
    "PACK": lambda o, *x: np.stack(x, axis=int(o.axis)),
    "CONCATENATION": lambda o, *x: np.concatenate(x, axis=int(o.axis)),
    "ADD": lambda o, a, b: a + b,
    "SUB": lambda o, a, b: a - b,
    "MUL": lambda o, a, b: a * b,
    "MAXIMUM": lambda o, a, b: np.maximum(a, b),
    "MINIMUM": lambda o, a, b: np.minimum(a, b),
    "FLOOR_DIV": lambda o, a, b: a // b,
    "CAST": lambda o, x: x,
    "SQUEEZE": lambda o, x: np.squeeze(x),
    "EXPAND_DIMS": lambda o, x, axis: np.expand_dims(x, int(np.ravel(axis)[0])),
    "RESHAPE": lambda o, x, shape: np.reshape(x, np.ravel(shape).tolist()),
    "GATHER": lambda o, x, index: np.take(x, index, axis=int(getattr(o, "axis", 0) or 0)),
    "REDUCE_PROD": _reduce(np.prod),
    "SUM": _reduce(np.sum),
    "UNPACK": lambda o, x: x,
}
