"""SOFTMAX of rows in which so much is equal that TensorFlow Lite Micro stops: every output is the nearest to 1 / n."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from c_host import generated, planned, run_sanitized

from secateur.compiler.bench.operator_files import Case
from secateur.compiler.frontends.tflite_file import parse_tflite
from secateur.models.reference import run_reference
from secateur.runtime_bench.golden import golden_outputs, tflm_lacks


def _softmax(depth: int) -> bytes:
    c = Case(0)
    x, out = c.fed((1, depth), 0.05, 0), c.value((1, depth), 1 / 256, -128)
    c.b.op("SOFTMAX", [x], [out], beta=1.0)
    return c.done(out)


@pytest.mark.emulator
@pytest.mark.parametrize("depth", [511, 512, 1000, 4096, 9000])
def test_flat_rows_are_zero_from_512_equal_values_on(depth: int, tmp_path: Path) -> None:
    """256 / n rounded; sums of 512 and of 4096 leave TFLite's fixed point and an int32."""
    content = _softmax(depth)
    program = parse_tflite(content, "net", "flat")
    samples = np.full((3, depth), 7, np.int8)
    samples[1, : depth // 2] = -128
    samples[2] = np.random.default_rng(0).integers(-128, 128, depth)
    expected = golden_outputs(content, program, samples).outputs
    assert np.array_equal(run_reference(program, samples), expected)
    assert np.array_equal(run_sanitized(generated(planned(program)), samples, tmp_path), expected)
    assert np.array_equal(expected[0], np.full(depth, -127 if depth < 512 else -128))


def test_the_golden_runtime_is_not_tflm_where_that_may_stop() -> None:
    """A failed check of its C++ would end this process too."""
    assert tflm_lacks(_softmax(511)) is None
    assert "511" in (tflm_lacks(_softmax(512)) or "")
