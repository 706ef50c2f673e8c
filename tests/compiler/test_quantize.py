"""The int8 scheme against an independent converter, and the diagnosis of a layer that int8 damages."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from exported import Sample, sample
from flatbuffers import Builder

from secateur.compiler.export.calibrate import calibrate, rank_errors
from secateur.compiler.export.quantize import quantize, quantize_samples
from secateur.compiler.export.tflite import tflite_bytes
from secateur.compiler.frontends.tflite_file import parse_tflite
from secateur.models.program import Program, Quantization, Tensor
from secateur.models.reference import run_reference
from secateur.models.zoo.small import SMALL
from secateur.passes.program.lower import to_channels_last
from secateur.runtime_bench.golden import run_tflm


def with_signature(content: bytes) -> bytes:
    """The float file with a named input and output, by which the other converter feeds it."""
    model = schema.ModelT.InitFromPackedBuf(content)
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = "serving_default", 0
    graph = model.subgraphs[0]
    for role, tensors in (("inputs", graph.inputs), ("outputs", graph.outputs)):
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = role[0], int(tensors[0])
        setattr(signature, role, [entry])
    model.signatureDefs = [signature]
    builder = Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def by_other_converter(s: Sample) -> bytes:
    """The same float network and samples through ai-edge-quantizer: int8 throughout, calibrated by min/max."""
    quantizer = pytest.importorskip("ai_edge_quantizer.quantizer", reason="ai-edge-quantizer is not installed")
    from ai_edge_quantizer import calibrator, recipe
    from ai_edge_quantizer.utils import qsv_utils

    content = with_signature(tflite_bytes(s.floats))
    made = quantizer.Quantizer(content, recipe.static_wi8_ai8())
    measured = calibrator.Calibrator(content, num_threads=1, qsv_update_func=qsv_utils.min_max_update)
    samples = [{"i": x[None]} for x in to_channels_last(s.real)]
    measured.calibrate({"serving_default": samples}, made._recipe_manager)
    return bytes(made.quantize(measured.get_model_qsvs(), enable_progress_report=False).quantized_model)


def strip_ends(content: bytes) -> bytes:
    """The file without the QUANTIZE and DEQUANTIZE that convert float input and output."""
    model = schema.ModelT.InitFromPackedBuf(content)
    graph = model.subgraphs[0]
    for kind, ends, outer, inner in (
        ("QUANTIZE", "inputs", "inputs", "outputs"), ("DEQUANTIZE", "outputs", "outputs", "inputs"),
    ):  # fmt: skip
        number = getattr(schema.BuiltinOperator, kind)
        for op in list(graph.operators):
            same = model.operatorCodes[op.opcodeIndex].builtinCode == number
            if same and getattr(op, outer)[0] == getattr(graph, ends)[0]:
                setattr(graph, ends, np.array(getattr(op, inner), np.int32))
                graph.operators.remove(op)
    model.signatureDefs = []
    builder = Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["residual-2d", "ds-cnn", "har"])
def test_no_worse_than_an_independent_converter(name: str) -> None:
    """Signal to quantization noise at the output is at most 0.5 dB below ai-edge-quantizer's with min/max."""
    s = sample(name)
    content = strip_ends(by_other_converter(s))
    program = parse_tflite(content, name, name)
    golden = run_tflm(content, program, quantize_samples(program, to_channels_last(s.real)))
    theirs = replace(s, program=program, golden=golden).sqnr_db()
    assert s.sqnr_db() >= theirs - 0.5, f"{s.sqnr_db():.2f} dB, ai-edge-quantizer {theirs:.2f} dB"


@pytest.mark.parametrize("name", list(SMALL))
def test_weights_and_ranges_follow_the_scheme(name: str) -> None:
    """Weights symmetric and never -128, zero representable, every calibrated value inside its range."""
    s = sample(name)
    q = quantize(s.floats, calibrate(s.floats, to_channels_last(s.real)))
    for op in q.ops:
        if op.kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            weights, bias = q.tensors[op.inputs[1]], q.tensors[op.inputs[2]]
            assert weights.data is not None
            assert weights.data.min() >= -127
            assert not any(weights.quantization.zero_point)
            assert np.allclose(
                bias.quantization.scale, q.tensors[op.inputs[0]].scale * np.array(weights.quantization.scale)
            )
    for index, (low, high) in calibrate(s.floats, to_channels_last(s.real)).items():
        t = q.tensors[index]
        if t.name.endswith("_pad") and low < -1e30:
            continue
        assert -128 <= t.zero_point <= 127
        assert (-128 - t.zero_point) * t.scale <= low + t.scale
        assert (127 - t.zero_point) * t.scale >= high - t.scale


@pytest.mark.parametrize("name", ["residual-2d", "har"])
def test_a_damaged_layer_is_ranked_first(name: str) -> None:
    """One weight blown up leaves a layer a handful of levels: it heads the ranking, and only then."""
    s = sample(name)
    x = to_channels_last(s.real)
    convolutions = [op for op in s.floats.ops if op.kind == "CONV_2D"]
    victim = convolutions[len(convolutions) // 2]
    healthy = rank_errors(s.floats, quantize(s.floats, calibrate(s.floats, x)), x)
    good = quantize(s.floats, calibrate(s.floats, x))
    tensors = list(good.tensors)
    weights = tensors[victim.inputs[1]]
    assert weights.data is not None
    assert weights.quantization is not None
    coarse = np.where(np.abs(weights.data) > 40, np.sign(weights.data) * 127, 0).astype(np.int8)
    tensors[victim.inputs[1]] = replace(weights, data=coarse)
    ranked = rank_errors(s.floats, replace(good, tensors=tuple(tensors)), x)
    damaged = s.floats.tensors[victim.outputs[0]].name
    assert ranked[0].name == damaged
    tensors = list(good.tensors)
    bias = tensors[victim.inputs[2]]
    assert bias.data is not None
    tensors[victim.inputs[2]] = replace(bias, data=(bias.data + 100_000).astype(np.int32))
    assert rank_errors(s.floats, replace(good, tensors=tuple(tensors)), x)[0].name == damaged
    assert healthy[0].sqnr_db > ranked[0].sqnr_db + 10
    assert [e.sqnr_db for e in ranked] == sorted(e.sqnr_db for e in ranked)


def test_samples_are_quantized_by_ties_away_from_zero() -> None:
    """Rounding and saturation of the input, in numbers."""
    s = sample("mlp")
    entry = s.program.tensors[s.program.inputs[0]]
    steps = np.array([0.5, -0.5, 1.49, -1.5, 1e6, -1e6], np.float32)
    got = quantize_samples(s.program, steps * np.float32(entry.scale))
    assert got.tolist() == [*(np.array([1, -1, 1, -2]) + entry.zero_point).tolist(), 127, -128]
    assert np.array_equal(run_reference(s.program, s.inputs[:2]), s.golden[:2])


@pytest.mark.parametrize("dtype", ["uint8", "float32", "int16"])
def test_samples_are_given_in_the_type_of_the_input(dtype: str) -> None:
    """Bytes of uint8, float32 or int16, as the generated C takes them."""
    quantization = Quantization((0.5,), (3,)) if dtype != "float32" else None
    program = Program("net", (Tensor("x", (1, 2), dtype, quantization),), (), (0,), (0,))
    found = quantize_samples(program, np.array([[1.25, -2.0], [1000.0, 0.0]], np.float32))
    expected = {
        "uint8": np.array([[6, 0], [255, 3]], np.uint8), "int16": np.array([[6, -1], [2003, 3]], np.int16),
        "float32": np.array([[1.25, -2.0], [1000.0, 0.0]], np.float32),
    }[dtype]  # fmt: skip
    assert found.dtype == np.int8 and np.array_equal(found, expected.view(np.int8))
