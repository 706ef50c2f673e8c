"""SVDF and UNIDIRECTIONAL_SEQUENCE_LSTM: operators that change variable tensors in place become ones whose further
outputs are those tensors' new values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from secateur.compiler.frontends.tflite_int16 import WIDE_MULTIPLIER
from secateur.compiler.frontends.tflite_variables import Variables
from secateur.errors import UserError
from secateur.models.program import Op, Options, Tensor
from secateur.models.reference_int16 import SUM_LIMIT

RECURRENT_KINDS = ("SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM")
LARGEST_MULTIPLIER = 2.0**30
ACTIVATIONS = {v: k for k, v in vars(schema.ActivationFunctionType).items() if isinstance(v, int)}
Shape = tuple[int, ...]


def read_recurrent(
    kind: str, options: Any, inputs: Shape, outputs: Shape, tensors: list[Tensor], variables: Variables
) -> Op:
    """The operator, its states followed in `variables`; their new values are added to `tensors`.

    `inputs`: as the file has them. Raises UserError, without a place, where the record contradicts itself or is of a
    variant that TensorFlow Lite Micro does not compute.
    """
    read = _svdf if kind == "SVDF" else _lstm
    return read(options, inputs, outputs, tensors, variables)


def _svdf(o: Any, inputs: Shape, outputs: Shape, tensors: list[Tensor], variables: Variables) -> Op:
    if len(inputs) != 5 or min(inputs) < 0 or len(outputs) != 1:
        raise UserError(f"operands {inputs}; input, feature weights, time weights, bias and state are expected")
    x, feature, time, bias, state = (tensors[i] for i in (variables.now(inputs[0]), *inputs[1:]))
    out, rank = tensors[outputs[0]], int(o.rank)
    real = x.dtype == "float32"
    _types([x, feature, out], "float32" if real else "int8")
    _types([bias], "float32" if real else "int32")
    if real:
        _types([time, state], "float32")
    elif time.dtype not in ("int8", "int16") or state.dtype != time.dtype:
        raise UserError(f"time weights of {time.dtype} and a state of {state.dtype}; int8 or int16 both are known")
    _constants([feature, time, bias])
    if any(len(t.shape) != 2 for t in (x, feature, time, state, out)) or rank < 1 or feature.shape[0] % rank:
        raise UserError(f"input {x.shape}, weights {feature.shape} and {time.shape} of rank {rank}")
    batch, filters, memory = x.shape[0], feature.shape[0], time.shape[1]
    expected = [
        (feature, (filters, x.shape[1])), (time, (filters, memory)), (bias, (filters // rank,)),
        (state, (batch, memory * filters)), (out, (batch, filters // rank)),
    ]  # fmt: skip
    _shapes(expected)
    options = Options(rank=rank)
    if real:
        number = int(o.fusedActivationFunction)
        options = replace(options, activation=ACTIVATIONS.get(number, f"number {number}"))
    else:
        if state.zero_point and state.dtype == "int16":
            raise UserError(f"an int16 state with zero point {state.zero_point}")
        _multipliers([x.scale * feature.scale / state.scale, state.scale * time.scale / out.scale])
    before, after = variables.keep(inputs[4], tensors)
    operands = (variables.now(inputs[0]), *inputs[1:4], before)
    return Op("SVDF", operands, (outputs[0], after), options, out.name)


def _lstm(o: Any, inputs: Shape, outputs: Shape, tensors: list[Tensor], variables: Variables) -> Op:
    if len(inputs) != 24 or len(outputs) != 1:
        raise UserError(f"{len(inputs)} operands; 24 are expected")
    absent = (*inputs[9:12], *inputs[16:18], *inputs[20:24])
    if max(absent) >= 0:
        raise UserError("peephole, projection or layer normalization weights")
    present = (inputs[0], *inputs[1:9], *inputs[12:16], inputs[18], inputs[19])
    if min(present) < 0:
        raise UserError("absent weights, biases or states (coupled gates)")
    if o.fusedActivationFunction != schema.ActivationFunctionType.TANH:
        raise UserError(f"activation number {o.fusedActivationFunction}; TANH is known")
    x, out = tensors[variables.now(inputs[0])], tensors[outputs[0]]
    weights, biases = [tensors[i] for i in inputs[1:9]], [tensors[i] for i in inputs[12:16]]
    hidden, cell = tensors[inputs[18]], tensors[inputs[19]]
    wide, real = x.dtype == "int16", x.dtype == "float32"
    if real:
        _types([*weights, *biases, x, hidden, cell, out], "float32")
    else:
        _types([x, hidden, out], "int16" if wide else "int8")
        _types(weights, "int8")
        _types(biases, "int64" if wide else "int32")
        _types([cell], "int16")
    if wide and (x.zero_point or hidden.zero_point):
        raise UserError("int16 with a zero point other than 0")
    _constants([*weights, *biases])
    if len(x.shape) != 3 or len(out.shape) != 3:
        raise UserError(f"input {x.shape}, output {out.shape}; three dimensions are expected")
    units, batch = out.shape[2], x.shape[1] if o.timeMajor else x.shape[0]
    expected = [(w, (units, x.shape[2] if i < 4 else units)) for i, w in enumerate(weights)]
    _shapes([*expected, *((b, (units,)) for b in biases), (out, (*x.shape[:2], units))])
    if not hidden.elements == cell.elements == batch * units:
        raise UserError(f"states {hidden.shape} and {cell.shape} for {batch} x {units} units")
    if not real:
        _lstm_scales(x, weights, biases, hidden, cell, out)
    operands = [variables.now(inputs[0]), *inputs[1:9], *inputs[12:16]]
    new = [outputs[0]]
    for i in inputs[18:20]:
        before, after = variables.keep(i, tensors)
        operands.append(before)
        new.append(after)
    options = Options(time_major=bool(o.timeMajor), cell_clip=float(np.float32(o.cellClip)))
    return Op("UNIDIRECTIONAL_SEQUENCE_LSTM", tuple(operands), tuple(new), options, out.name)


def _lstm_scales(
    x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], hidden: Tensor, cell: Tensor, out: Tensor
) -> None:
    """Of an integer LSTM: every rescaling is in range, every sum below its limit."""
    if hidden.quantization != out.quantization:
        raise UserError("the hidden state's scale is not the output's")
    power = math.log2(cell.scale)
    if power != round(power) or not -24 <= power <= 0 or cell.zero_point:
        raise UserError(f"a cell state of scale {cell.scale:g}, zero point {cell.zero_point}; a power of two is known")
    factors = [t.scale * w.scale for i, w in enumerate(weights) for t in ((x,) if i < 4 else (hidden,))]
    _multipliers([*(f * 2**12 for f in factors), 2.0**-30 / hidden.scale, 2.0**-30 / cell.scale])
    if x.dtype == "int16":
        _multipliers([f * 2**12 for f in factors], WIDE_MULTIPLIER)
        largest = max(abs(int(n)) for b in biases if b.data is not None for n in b.data)
        if largest + 2**22 * max(x.shape[2], out.shape[2]) >= SUM_LIMIT:
            raise UserError(f"biases up to {largest}; TFLite rescales sums below 2**47")


def _types(found: Sequence[Tensor], wanted: str) -> None:
    for t in found:
        if t.dtype != wanted:
            raise UserError(f"{t.name} is {t.dtype}, not {wanted}")
        if wanted not in ("int32", "int64", "float32") and t.quantization is None:
            raise UserError(f"{t.name} has no scale")


def _constants(found: Sequence[Tensor]) -> None:
    for t in found:
        if t.data is None:
            raise UserError(f"{t.name} is computed, not constant")
        q = t.quantization
        if t.dtype not in ("int32", "int64", "float32") and (q is None or q.per_channel or q.zero_point[0]):
            raise UserError(f"{t.name} has a zero point, or not one scale")


def _shapes(expected: Sequence[tuple[Tensor, Shape]]) -> None:
    for t, shape in expected:
        if t.shape != shape:
            raise UserError(f"{t.name} has shape {t.shape}, not {shape}")


def _multipliers(found: Sequence[float], limit: float = LARGEST_MULTIPLIER) -> None:
    if max(found) >= limit:
        raise UserError("scales are out of range")
