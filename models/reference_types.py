"""Reference arithmetic between types: QUANTIZE and DEQUANTIZE at a network's borders, CAST."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from secateur.models.fixed_point import quantize_multiplier, requantize
from secateur.models.program import DTYPES, Op, Program, Quantization

Ints = npt.NDArray[np.int64]


def quantized(x: npt.NDArray[np.float32], quantization: Quantization, dtype: str) -> Ints:
    """x / scale + zero point in float32, ties away from zero, saturating; what is no number is the lowest value."""
    limits = np.iinfo(DTYPES[dtype])
    with np.errstate(over="ignore", invalid="ignore"):
        ratio = np.asarray(x, np.float32) / np.float32(quantization.scale[0])
    value = np.nan_to_num(ratio.astype(np.float64), nan=-(2.0**24), posinf=2.0**24, neginf=-(2.0**24))
    whole = np.copysign(np.floor(np.abs(np.clip(value, -(2.0**24), 2.0**24)) + 0.5), value).astype(np.int64)
    return np.asarray(np.clip(whole + quantization.zero_point[0], limits.min, limits.max), np.int64)


def quantize(program: Program, op: Op, x: list[Any]) -> Ints:
    """QUANTIZE between any two types but int8 to int8."""
    source, out = program.tensors[op.inputs[0]], program.tensors[op.outputs[0]]
    assert out.quantization is not None
    if source.dtype == "float32":
        return quantized(x[0], out.quantization, out.dtype)
    limits = np.iinfo(DTYPES[out.dtype])
    moved = requantize(x[0].astype(np.int64) - source.zero_point, *quantize_multiplier(source.scale / out.scale))
    return np.asarray(np.clip(moved + out.zero_point, limits.min, limits.max), np.int64)


def dequantize(program: Program, op: Op, x: list[Any]) -> npt.NDArray[np.float32]:
    """scale * (x - zero point): the exact product, rounded once."""
    source = program.tensors[op.inputs[0]]
    value = (x[0].astype(np.int64) - source.zero_point).astype(np.float32)
    return np.asarray(np.float32(source.scale) * value, np.float32)


def cast(program: Program, op: Op, x: list[Any]) -> npt.NDArray[Any]:
    """Integers that do not fit wrap; floats are cut off towards zero and saturate, which C leaves open."""
    out = program.tensors[op.outputs[0]]
    if out.dtype == "float32":
        return np.asarray(x[0], np.float32)
    if x[0].dtype == np.float32:
        whole = np.nan_to_num(x[0].astype(np.float64), nan=0.0, posinf=2.0**31, neginf=-(2.0**31))
        limits = np.iinfo(DTYPES[out.dtype])
        return np.asarray(np.clip(np.trunc(whole), limits.min, limits.max), np.int64)
    return np.asarray(x[0], np.int64)
