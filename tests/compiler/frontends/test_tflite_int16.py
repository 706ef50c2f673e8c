"""What TensorFlow Lite takes for granted of int16 operators is checked: one line, not a wrong image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from secateur.compiler.bench.tflite_builder import TfliteBuilder
from secateur.compiler.frontends.tflite_file import parse_tflite
from secateur.errors import UserError
from secateur.models.program import random_inputs
from secateur.models.reference import run_reference
from secateur.passes.program.choose_kernels import choose_kernels
from secateur.runtime_bench.golden import run_tflm


def _unary(kind: str, scale: float, out_scale: float, zero: int = 0, **fields: Any) -> bytes:
    b = TfliteBuilder()
    x, out = b.tensor((1, 4), "int16", scale, zero), b.tensor((1, 4), "int16", out_scale)
    b.op(kind, [x], [out], **fields)
    return b.finish([x], [out])


def _fully_connected(out_scale: float, bias: int = 0, bias_type: str = "int64", **fields: Any) -> bytes:
    b = TfliteBuilder()
    x, weights = b.tensor((1, 700), "int16", 1e-3), b.tensor((1, 700), "int8", 0.01, 0, np.full((1, 700), -128))
    out = b.tensor((1, 1), "int16", out_scale)
    biases = [b.tensor((1,), bias_type, 1e-5, 0, [bias])] if bias_type else [-1]
    b.op("FULLY_CONNECTED", [x, weights, *biases], [out], version=5, **fields)
    return b.finish([x], [out])


def _add(out_scale: float) -> bytes:
    b = TfliteBuilder()
    x, out = b.tensor((1, 4), "int16", 1.0), b.tensor((1, 4), "int16", out_scale)
    b.op("ADD", [x, x], [out], version=2)
    return b.finish([x], [out])


def _depthwise(bias_type: str) -> bytes:
    b = TfliteBuilder()
    x, weights = b.tensor((1, 2, 2, 1), "int16", 1e-3), b.tensor((1, 1, 1, 1), "int8", 0.01, 0, [[[[3]]]])
    out = b.tensor((1, 2, 2, 1), "int16", 1e-3)
    b.op("DEPTHWISE_CONV_2D", [x, weights, b.tensor((1,), bias_type, 1e-5, 0, [5])], [out], version=5, strideH=1,
         strideW=1, dilationHFactor=1, dilationWFactor=1, depthMultiplier=1)  # fmt: skip
    return b.finish([x], [out])


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (_unary("RELU", 1e-3, 1e-3, zero=4), "has zero point 4; TFLite's are 0"),
        (_fully_connected(1e-8), "out of range: a factor of 1000, 128 is the end"),
        (_fully_connected(1.0, bias=1 << 47), "sums up to .*; TFLite rescales those below 2"),
        (_add(1e-6), "out of range: a factor of .*, 1 is the end"),
        (_unary("SOFTMAX", 1e6, 1 / 32768, beta=1.0), "scale 1e.06 with beta 1 is out of range"),
    ],
)
def test_what_leaves_tflites_range_is_refused(content: bytes, line: str) -> None:
    """Zero points, rescalings of 2**7 and more, sums of 2**47 and more."""
    with pytest.raises(UserError, match=line):
        parse_tflite(content, "net", "net")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (_depthwise("int32"), "a bias of int32, where TFLite takes int64"),
        (_unary("TANH", 1e-4, 1e-4), "an output scale other than 1/32768"),
        (_unary("LOGISTIC", 3.0, 1 / 32768), "an input scale above 2.6"),
        (_unary("HARD_SWISH", 1e-4, 1e-4), "HARD_SWISH .*types int16"),
        (_unary("LEAKY_RELU", 1e-4, 1e-4, alpha=-0.5), "a negative slope"),
    ],
)
def test_what_no_kernel_computes_is_named(content: bytes, line: str) -> None:
    """With the reason that is true, not that of kernels for other types."""
    program = parse_tflite(content, "net", "net")
    with pytest.raises(UserError, match=line):
        choose_kernels(program, ())


@pytest.mark.parametrize("bias_type", ["", "int32", "int64"])
@pytest.mark.parametrize("asked", [schema.TensorType.FLOAT32, schema.TensorType.INT32])
def test_width_of_sums_is_tflms(bias_type: str, asked: int) -> None:
    """Of 700 products at the ends of their types: 32 bits, which wrap, where the bias or the options say so."""
    content = _fully_connected(2.0, 1000, bias_type, quantizedBiasType=asked)
    program = parse_tflite(content, "net", "net")
    samples = random_inputs(program, 4, 0)
    samples.view(np.int16)[0], samples.view(np.int16)[1] = -32768, 32767
    expected = run_tflm(content, program, samples)
    assert np.array_equal(run_reference(program, samples), expected)
    wraps = bias_type == "int32" or (not bias_type and asked == schema.TensorType.INT32)
    assert (expected.view(np.int16)[0, 0] > 0) != wraps
