"""Float32 in `.tflite` files: what is read, what is computed while reading, and what is refused with which line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from exported import sample

from secateur.compiler.bench.float_files import FLOAT_CASES, NETWORKS
from secateur.compiler.bench.operator_files import Case
from secateur.compiler.export.tflite import tflite_bytes
from secateur.compiler.frontends.tflite_file import load_tflite, parse_tflite
from secateur.errors import UserError
from secateur.firmware.kernels.floats import FloatKernel
from secateur.models.program import Program, pack, random_inputs
from secateur.models.reference import run_reference
from secateur.models.reference_float import arithmetic, is_float
from secateur.passes.program.choose_kernels import choose_kernels
from secateur.runtime_bench.golden import golden_outputs, tflm_lacks
from secateur.targets.target import find

MLPERF = "mlperf_tiny/keyword_spotting/kws_ref_model_float32.tflite"


def _weights(dtype: str, values: Any, scale: float | None = None, unpacked: bool = True) -> bytes:
    """A fully connected layer of floats; its weights of another type, behind a DEQUANTIZE if `unpacked`."""
    c = Case(0)
    c.dtype = "float32"
    x, out = c.fed((1, 3)), c.value((1, 2))
    data = np.asarray(values)
    weights = c.b.tensor(data.shape, "float32" if dtype == "float16" else dtype, scale, 0, data)
    if dtype == "float16":
        record, buffer = c.b.graphs[0].tensors[weights], c.b.buffers[c.b.graphs[0].tensors[weights].buffer]
        record.type = schema.TensorType.FLOAT16
        buffer.data = np.frombuffer(data.astype(np.float16).tobytes(), np.uint8)
    if unpacked:
        c.b.op("DEQUANTIZE", [weights], [weights := c.value(data.shape)])
    c.b.op("FULLY_CONNECTED", [x, weights, -1], [out])
    return c.done(out)


def _run(program: Program, x: list[float]) -> Any:
    piece = pack(program, program.inputs, [np.array(x, np.float32)])
    return run_reference(program, piece[None]).view(np.float32)[0]


def test_weights_of_float16_become_float32_when_the_file_is_read() -> None:
    """One operator is left, and TensorFlow Lite Micro, which takes no float16, is no witness."""
    content = _weights("float16", [[1.5, -2, 0.25], [0, 1, 3]])
    program = parse_tflite(content, "net", "net")
    assert [op.kind for op in program.ops] == ["FULLY_CONNECTED"]
    assert _run(program, [1, 2, 4]).tolist() == [-1.5, 14.0]
    assert tflm_lacks(content) == "its DEQUANTIZE takes no float16"
    golden = golden_outputs(content, program, random_inputs(program, 2, 0))
    assert golden.runtime == "secateur reference interpreter"


def test_constants_of_int8_behind_dequantize_become_float32() -> None:
    """scale * (q - zero point), once, in the compiler."""
    program = parse_tflite(_weights("int8", [[1, -2, 3], [0, 5, 0]], 0.5), "net", "net")
    assert [op.kind for op in program.ops] == ["FULLY_CONNECTED"]
    assert _run(program, [1, 1, 1]).tolist() == [1.0, 2.5]


def test_dynamic_range_quantization_is_refused_with_what_to_do() -> None:
    """int8 weights, float activations."""
    with pytest.raises(UserError, match=r"operator 0 FULLY_CONNECTED t1: int8 weights for float32 .*convert with full"):
        parse_tflite(_weights("int8", [[1, 2, 3], [4, 5, 6]], 0.5, unpacked=False), "net", "net")


def test_the_mlperf_keyword_file_is_of_dynamic_range(shared_data: Path) -> None:
    """It is called float32, and has int8 weights."""
    with pytest.raises(UserError, match="int8 weights for float32 activations"):
        load_tflite(shared_data / MLPERF)


def test_constants_that_are_no_finite_numbers_are_refused() -> None:
    """Their names are told."""
    with pytest.raises(UserError, match="the constant t2 holds values that are no finite numbers"):
        parse_tflite(_weights("float32", [[1, np.inf, 0], [0, 0, np.nan]], unpacked=False), "net", "net")


def test_scales_of_float_tensors_mean_nothing() -> None:
    """Some writers leave them."""
    c = Case(0)
    x, out = (c.b.tensor((1, 3), "float32", 0.5, 3) for _ in range(2))
    c.inputs.append(x)
    c.b.op("RELU", [x], [out])
    program = parse_tflite(c.done(out), "net", "net")
    assert [t.quantization for t in program.tensors] == [None, None]


@pytest.mark.parametrize("kind", list(NETWORKS))
def test_floats_take_float_kernels_and_targets_without_refuse(kind: str) -> None:
    """Every float operator has one; a core without floats is told the feature and the way out."""
    program = parse_tflite(FLOAT_CASES[f"{kind} float32"](Case(1)), "net", "net")
    chosen = choose_kernels(program, find("qemu-riscv32").features)
    for op, kernel in zip(program.ops, chosen, strict=True):
        assert isinstance(kernel, FloatKernel) == is_float(program, op)
    assert arithmetic(program) == ("int8 and float32" if kind == "island" else "float32")
    for target in ("esp32", "qemu-xtensa"):
        with pytest.raises(UserError, match="operators compute float32, which the target lacks"):
            choose_kernels(program, find(target).features)


def test_a_network_to_be_quantized_keeps_its_int8_kernels() -> None:
    """Its float Program has shapes only; the same network read from a float file is computed in floats."""
    floats = sample("mlp").floats
    assert floats.shape_only and not any(isinstance(k, FloatKernel) for k in choose_kernels(floats, ("float32",)))
    assert arithmetic(floats) == "int8"
    program = parse_tflite(tflite_bytes(floats), "net", "net")
    assert arithmetic(program) == "float32"
    assert all(isinstance(k, FloatKernel) for k in choose_kernels(program, ("float32",)) if k.kinds != ("RESHAPE",))


def test_a_refusal_tells_the_float_kernels_reason() -> None:
    """Not that the int8 kernel takes int8."""
    c = Case(0)
    c.dtype = "float32"
    x, out = c.fed((2, 1, 1, 1, 3)), c.value((2, 1, 1, 1, 3))
    c.b.op("ADD", [x, x], [out])
    with pytest.raises(UserError):
        parse_tflite(c.done(out), "net", "net")
    c = Case(0)
    c.dtype = "float32"
    x, y, out = c.fed((1, 4)), c.fed((1, 4)), c.value((1, 4))
    c.b.op("PRELU", [x, y], [out])
    program = parse_tflite(c.done(out), "net", "net")
    assert [k.name for k in choose_kernels(program, ("float32",))] == ["prelu_f32"]
    c.b.graphs[0].tensors[out].type = schema.TensorType.INT32
    program = parse_tflite(c.done(out), "net", "net")
    with pytest.raises(UserError, match=r"no kernel for PRELU \(operator 0: types float32, float32, int32\)"):
        choose_kernels(program, ("float32",))
