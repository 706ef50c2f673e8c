"""Ratios of scales where rounding them to float32 on the way would show: TensorFlow Lite Micro's wheel does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from secateur.compiler.bench.tflite_builder import TfliteBuilder
from secateur.compiler.frontends.tflite_file import parse_tflite
from secateur.models.fixed_point import quantize_multiplier, requantize
from secateur.models.reference import run_reference
from secateur.runtime_bench.golden import run_tflm

Floats = npt.NDArray[np.float64]
SIGNS = {"RELU": 1, "ABS": 1, "LEAKY_RELU": -1}
HARD_SWISH = (
    (0.014603972434997559, 0.013292491436004639), (0.04191378876566887, 0.12793657183647156),
    (0.019183162599802017, 0.010313102044165134), (0.003716476261615753, 0.003144614864140749),
)  # fmt: skip
"""(input scale, output scale) whose 16-bit multipliers tell."""
ALPHA = float(np.float32(0.1234567))


def _pairs(real: Floats) -> tuple[Any, Any]:
    found = np.array([quantize_multiplier(float(r)) for r in real], np.int64)
    return found[:, :1], found[:, 1:]


def _telling(kind: str, count: int) -> list[tuple[float, float]]:
    """(input scale, output scale) whose table differs between a ratio of float32 and one of float64."""
    random = np.random.default_rng(1)
    factor = np.float32(ALPHA if kind == "LEAKY_RELU" else 1)
    values, found = SIGNS[kind] * np.arange(1, 128)[None, :], []
    while len(found) < count:
        x = (10 ** random.uniform(-2.5, 0, 20000)).astype(np.float32)
        out = (x * 10 ** random.uniform(-0.6, 0.6, 20000)).astype(np.float32)
        narrow, exact = (x * factor / out).astype(np.float64), x.astype(np.float64) * float(factor) / out
        tables = [requantize(values, *_pairs(r)) for r in (narrow, exact)]
        differ = ((tables[0] != tables[1]) & (np.abs(tables[0]) < 120)).any(axis=1)
        found += [(float(a), float(b)) for a, b in zip(x[differ], out[differ], strict=True)]
    return found[:count]


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(SIGNS))
def test_rescaled_values_equal_tflm(kind: str) -> None:
    """All 256 values, at scales chosen to tell."""
    for scale, out_scale in _telling(kind, 6):
        b = TfliteBuilder()
        x, out = b.tensor((1, 256), "int8", scale), b.tensor((1, 256), "int8", out_scale)
        slope: dict[str, Any] = {"alpha": ALPHA} if kind == "LEAKY_RELU" else {}
        b.op(kind, [x], [out], **slope)
        _compare(b.finish([x], [out]), np.arange(-128, 128, dtype=np.int8)[None])


def _fully_connected(scales: tuple[float, float, float], biases: npt.NDArray[np.int64]) -> bytes:
    b, rows = TfliteBuilder(), len(biases)
    x = b.tensor((1, 1), "int8", scales[0])
    weights = b.tensor((rows, 1), "int8", scales[1], 0, np.zeros((rows, 1)))
    bias = b.tensor((rows,), "int32", float(np.float32(scales[0] * scales[1])), 0, biases)
    out = b.tensor((1, rows), "int8", scales[2])
    b.op("FULLY_CONNECTED", [x, weights, bias], [out], version=5)
    return b.finish([x], [out])


def _svdf(scales: tuple[float, float, float], biases: npt.NDArray[np.int64]) -> bytes:
    """`scales`: of the memory, of the weights over time, of the output."""
    b, rows = TfliteBuilder(), len(biases)
    x = b.tensor((1, 1), "int8", 0.1)
    feature = b.tensor((rows, 1), "int8", 0.01, 0, np.zeros((rows, 1)))
    time = b.tensor((rows, 2), "int16", scales[1], 0, np.zeros((rows, 2)))
    bias = b.tensor((rows,), "int32", float(np.float32(scales[0] * scales[1])), 0, biases)
    state = b.tensor((1, 2 * rows), "int16", scales[0], 0, variable=True)
    out = b.tensor((1, rows), "int8", scales[2])
    b.op("SVDF", [x, feature, time, bias, state], [out], version=3, rank=1, fusedActivationFunction=1)
    return b.finish([x], [out])


@pytest.mark.slow
@pytest.mark.parametrize("make", [_fully_connected, _svdf])
def test_rescaled_sums_equal_tflm(make: Callable[[tuple[float, float, float], npt.NDArray[np.int64]], bytes]) -> None:
    """Sums at which a product of scales in float32 rounds the other way."""
    random, tried = np.random.default_rng(2), 0
    for _ in range(12):
        a, b = np.float32(10 ** random.uniform(-2, 0)), np.float32(random.uniform(0.002, 0.02))
        out = np.float32(float(a) * float(b) * 2**30 / 120)
        sums = random.integers(-(2**30), 2**30, 400000)
        narrow, exact = float(a * b) / float(out), float(a) * float(b) / float(out)
        differ = requantize(sums, *quantize_multiplier(narrow)) != requantize(sums, *quantize_multiplier(exact))
        if differ.any():
            tried += int(differ.sum())
            content = make((float(a), float(b), float(out)), sums[differ])
            _compare(content, np.zeros((1, 1), np.int8))
    assert tried > 5


def test_hard_swish_equals_tflm() -> None:
    """Its multipliers are cut to 16 bits, where the last of 31 decide."""
    for scale, out_scale in HARD_SWISH:
        b = TfliteBuilder()
        x, out = b.tensor((1, 256), "int8", scale, -3), b.tensor((1, 256), "int8", out_scale, -100)
        b.op("HARD_SWISH", [x], [out])
        _compare(b.finish([x], [out]), np.arange(-128, 128, dtype=np.int8)[None])


def _compare(content: bytes, samples: npt.NDArray[np.int8]) -> None:
    program = parse_tflite(content, "net", "net")
    assert np.array_equal(run_reference(program, samples), run_tflm(content, program, samples))
