"""Who is the golden runtime where TensorFlow Lite Micro has no defined answer."""

from __future__ import annotations

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from secateur.compiler.bench.int4_files import int4_tensor
from secateur.compiler.bench.operator_files import Case
from secateur.compiler.frontends.tflite_file import parse_tflite
from secateur.models.program import random_inputs
from secateur.models.reference import run_reference
from secateur.runtime_bench import golden
from secateur.runtime_bench.golden import golden_outputs

REFERENCE = "secateur reference interpreter"


def division(divisor_scale: float) -> bytes:
    c = Case(0)
    x, out = c.fed((1, 9), 0.02, 0), c.value((1, 9), 0.05, 0)
    c.b.op("DIV", [x, c.constant(np.array([100]), "int8", divisor_scale, 0)], [out])
    return c.done(out)


@pytest.mark.parametrize("scale,judge", [(0.001, "TensorFlow Lite Micro (tflite-micro wheel)"), (9.0, REFERENCE)])
def test_a_quotient_shifted_by_more_than_31_bits_is_judged_by_the_reference(scale: float, judge: str) -> None:
    """C leaves such a shift open: TensorFlow Lite Micro gives -128 for a quotient of -0.00002 on x86-64."""
    content = division(scale)
    program = parse_tflite(content, "net", "net")
    samples = random_inputs(program, 2, 1)
    found = golden_outputs(content, program, samples)
    assert found.runtime == judge
    assert np.array_equal(found.outputs, run_reference(program, samples))


def test_a_file_that_tflm_stops_on_is_judged_by_the_reference_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a traceback, and not silently."""

    def stops(*_: object) -> None:
        raise RuntimeError("TFLM failed to allocate tensors")

    monkeypatch.setattr(golden, "run_tflm", stops)
    content = division(0.001)
    program = parse_tflite(content, "net", "net")
    found = golden_outputs(content, program, random_inputs(program, 1, 1))
    assert found.runtime == f"{REFERENCE} (TensorFlow Lite Micro stops on this file)"


def test_a_float_file_that_tflm_stops_on_is_judged_by_the_reference_and_says_so() -> None:
    """Weights of int4 behind DEQUANTIZE are constants here; TensorFlow Lite Micro's DEQUANTIZE takes none."""
    c = Case(0)
    x, weights, out = c.fed((1, 4), dtype="float32"), c.b.tensor((4, 4), "float32"), c.value((1, 4), dtype="float32")
    c.b.op("DEQUANTIZE", [int4_tensor(c.b, np.arange(-8, 8).reshape(4, 4), [0.1], 0)], [weights], version=5)
    c.b.op("FULLY_CONNECTED", [x, weights], [out])
    content = c.done(out)
    program = parse_tflite(content, "net", "net")
    found = golden_outputs(content, program, random_inputs(program, 1, 1))
    assert found.runtime == f"{REFERENCE} (TensorFlow Lite Micro stops on this file)"


def test_floats_in_tensors_that_share_a_name_have_no_witness() -> None:
    """TensorFlow Lite Micro's integers behind a float border are found by name: without one they prove nothing."""

    def island(name: str) -> bytes:
        c = Case(0)
        x = c.fed((1, 5), 0.05, 0)
        real, power = c.b.tensor((1, 5), "float32"), c.b.tensor((1, 5), "float32")
        inner, out = c.value((1, 5), 0.01, 0), c.value((1, 5), 0.01, 0)
        c.b.op("DEQUANTIZE", [x], [real], version=2)
        c.b.op("TANH", [real], [power])
        c.b.op("QUANTIZE", [power], [inner])
        c.b.op("ABS", [inner], [out])
        model = schema.ModelT.InitFromPackedBuf(c.done(out))
        model.subgraphs[0].tensors[inner].name = name.encode()
        model.subgraphs[0].tensors[power].name = b"one"
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    for name, said in (("two", "within"), ("one", "tensors share a name")):
        program = parse_tflite(island(name), "net", "net")
        assert said in golden_outputs(island(name), program, random_inputs(program, 2, 1)).runtime


def test_operators_that_nobody_reads_are_dropped_when_a_file_is_read() -> None:
    """Even of a kind that nothing here computes."""
    c = Case(0)
    x, out = c.fed((1, 4), 0.1, 0), c.value((1, 4), 0.1, 0)
    c.b.op("RELU", [x], [out])
    c.b.op("COS", [x], [c.value((1, 4), 0.1, 0)])
    program = parse_tflite(c.done(out), "net", "net")
    assert [op.kind for op in program.ops] == ["RELU"]
