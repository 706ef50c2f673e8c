"""What TensorFlow Lite takes for granted of operators on int16 activations."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from secateur.errors import UserError
from secateur.models.program import Op, Tensor
from secateur.models.reference_int16 import RULES, SOFTMAX_STEPS, SUM_LIMIT

LARGEST_SCALE = 2.0**60
WIDE_MULTIPLIER = 2.0**7
"""Above it the rescaling of a 64-bit sum leaves its range."""
LARGEST_MULTIPLIER = 2.0**30
ROOT_FACTORS = (2.0**-11, 2.0**29)
"""Of RSQRT: outside, rescaling a root of 20 bits leaves 32."""
LONGEST_REDUCTION = 65535
"""So many values of 16 bits have a sum of 32."""
WITH_WEIGHTS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")
POOLS = ("MAX_POOL_2D", "AVERAGE_POOL_2D")
REDUCTIONS = ("SUM", "MEAN")
COMPARING = ("REDUCE_MAX", "REDUCE_MIN")
FIXED_OUTPUT = ("LOGISTIC", "TANH", "SOFTMAX")


def int32_sums(kind: str, options: Any, inputs: tuple[int, ...], tensors: list[Tensor]) -> tuple[int, ...]:
    """`inputs`, a bias of zeros added where there is none and the options say that sums are 32 bits wide."""
    asked = getattr(options, "quantizedBiasType", None) == schema.TensorType.INT32
    if kind not in ("CONV_2D", "FULLY_CONNECTED") or not asked or tensors[inputs[0]].dtype != "int16":
        return inputs
    if len(inputs) > 2 and inputs[2] >= 0:
        return inputs
    channels = tensors[inputs[1]].shape[0]
    tensors.append(Tensor(f"no_bias_{len(tensors)}", (channels,), "int32", data=np.zeros(channels, np.int32)))
    return (*inputs[:2], len(tensors) - 1)


def check_int16(op: Op, tensors: list[Tensor], where: str) -> None:
    """Raise UserError, `where` first, if `op` reads int16 that has no scale, a zero point, or scales out of range."""
    x, out = tensors[op.inputs[0]], tensors[op.outputs[0]]
    if x.dtype != "int16" or op.kind not in (*RULES, *WITH_WEIGHTS, *POOLS, *COMPARING):
        return
    for t in (tensors[i] for i in (*op.inputs, *op.outputs) if i >= 0):
        if t.dtype != "int16":
            continue
        q = t.quantization
        if q is None or len(q.scale) != 1 or not 1 / LARGEST_SCALE <= q.scale[0] <= LARGEST_SCALE:
            raise UserError(f"{where}: int16 tensor {t.name} has no scale, several, or one out of range")
        if q.zero_point[0] != 0:
            raise UserError(f"{where}: int16 tensor {t.name} has zero point {q.zero_point[0]}; TFLite's are 0")
    if op.kind in WITH_WEIGHTS:
        _check_sums(op, tensors, where)
    if op.kind in REDUCTIONS and x.elements // max(out.elements, 1) > LONGEST_REDUCTION:
        raise UserError(f"{where}: a sum of {x.elements // out.elements} values; {LONGEST_REDUCTION} fit in 32 bits")
    if op.kind == "AVERAGE_POOL_2D" and int(np.prod(op.options.kernel)) > LONGEST_REDUCTION:
        raise UserError(f"{where}: a window of {op.options.kernel}; sums of {LONGEST_REDUCTION} values fit in 32 bits")
    if op.kind == "SOFTMAX" and x.scale * op.options.beta * SOFTMAX_STEPS >= LARGEST_MULTIPLIER:
        raise UserError(f"{where}: scale {x.scale:g} with beta {op.options.beta:g} is out of range")
    if out.quantization is not None and op.kind not in FIXED_OUTPUT:
        _check_multiplier(op, tensors, where)


def _check_sums(op: Op, tensors: list[Tensor], where: str) -> None:
    """The largest sum of products and bias is below 2**47, which TFLite's rescaling of 64 bits takes for granted."""
    weights = tensors[op.inputs[1]]
    if weights.data is None:
        return
    axis = 3 if op.kind == "DEPTHWISE_CONV_2D" else 0
    others = tuple(i for i in range(weights.data.ndim) if i != axis)
    total = np.abs(weights.data.astype(np.int64)).sum(axis=others) * 32768
    bias = tensors[op.inputs[2]].data if len(op.inputs) > 2 and op.inputs[2] >= 0 else None
    largest = int(total.max(initial=0))
    if bias is not None and bias.dtype.kind == "i":
        largest += max((abs(int(b)) for b in bias.ravel()), default=0)
    if largest >= SUM_LIMIT:
        raise UserError(f"{where}: sums up to {largest}; TFLite rescales those below 2**47")


def _check_multiplier(op: Op, tensors: list[Tensor], where: str) -> None:
    x, out = tensors[op.inputs[0]], tensors[op.outputs[0]]
    if op.kind == "RSQRT":
        factor = 1 / (x.scale**0.5 * out.scale)
        if not ROOT_FACTORS[0] <= factor < ROOT_FACTORS[1]:
            raise UserError(f"{where}: scales {x.scale:g} to {out.scale:g} are out of range: a factor of {factor:g}")
        return
    scales = [max(q.scale) for i in op.inputs[:2] if i >= 0 and (q := tensors[i].quantization) is not None]
    limit = LARGEST_MULTIPLIER
    if op.kind in (*WITH_WEIGHTS, "BATCH_MATMUL"):
        real, limit = float(np.prod(scales)) / out.scale, WIDE_MULTIPLIER
    elif op.kind in ("MUL", "PRELU"):
        real = max(float(np.prod(scales)), x.scale) / out.scale
    elif op.kind == "SQUARED_DIFFERENCE":
        real = 4 * max(scales) ** 2 / out.scale
    elif op.kind in ("ADD", "SUB"):
        real, limit = 2 * max(scales) / (2.0**15 * out.scale), 1.0
    else:
        real = max(1.0, abs(op.options.alpha)) * x.scale / out.scale
    if real >= limit:
        raise UserError(
            f"{where}: scales {', '.join(f'{s:g}' for s in scales)} to {out.scale:g} are out of range: a factor of "
            f"{real:g}, {limit:g} is the end"
        )
