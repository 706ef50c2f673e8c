"""GATHER by indices that are computed or fed: what an index outside does, and networks on every instruction set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from c_host import generated, planned, run_library, run_sanitized

from secateur.compiler.bench.operator_files import Case
from secateur.compiler.bench.tflite_builder import TYPES
from secateur.compiler.deploy import deploy
from secateur.compiler.frontends.tflite_file import parse_tflite
from secateur.errors import UserError
from secateur.models.program import Program, pack, random_inputs, unpack
from secateur.models.reference import run_reference
from secateur.runtime_bench.golden import run_tflm
from secateur.targets.target import find


def fed(rows: int = 4, index: str = "int32", data: list[int] | None = None) -> bytes:
    """Three rows of (1, rows, 6) by indices that are an input, or the constant `data`."""
    c = Case(0)
    x = c.fed((1, rows, 6), 0.1, 3)
    indices = c.b.tensor((3,), index, data=data)
    c.inputs += [indices] if data is None else []
    out = c.value((1, 3, 6), 0.1, 3)
    c.b.op("GATHER", [x, indices], [out], axis=1)
    return c.done(out)


def embedding() -> bytes:
    """Words to rows of a constant table, the mean of those, and the row of the largest class behind a dense layer."""
    c = Case(5)
    words = c.b.tensor((1, 8), "int32")
    c.inputs.append(words)
    table = c.any_of_type((20, 6), 0.05, 3)
    rows, mean, scores, out = (c.value(s, 0.05, 3) for s in ((1, 8, 6), (1, 6), (1, 5), (1, 4)))
    c.b.op("GATHER", [table, words], [rows], axis=0)
    c.b.op("MEAN", [rows, c.constant([1])], [mean], keepDims=False)
    weights = c.b.tensor((5, 6), "int8", 0.02, 0, c.random.integers(-127, 128, (5, 6)))
    c.b.op("FULLY_CONNECTED", [mean, weights, -1], [scores], version=5)
    best = c.b.tensor((1,), "int32")
    c.b.op("ARG_MAX", [scores, c.constant([1])], [best], outputType=TYPES["int32"])
    c.b.op("GATHER", [c.any_of_type((5, 4), 0.05, 3), best], [out], axis=0)
    return c.done(out)


def _program(content: bytes) -> Program:
    return parse_tflite(content, "net", "net")


@pytest.mark.emulator
@pytest.mark.parametrize(("index", "wrong"), [("int32", 4), ("int32", -(2**31)), ("int64", -1), ("int64", 2**32)])
def test_an_index_outside_ends_the_inference(index: str, wrong: int, tmp_path: Path) -> None:
    """invoke returns E_INDEX and no byte outside is read; TensorFlow Lite Micro and the interpreter stop too."""
    content = fed(index=index)
    program = _program(content)
    good = random_inputs(program, 1, 0)
    values = unpack(program, program.inputs, good[0])
    bad = pack(program, program.inputs, [values[0], np.array([1, wrong, 0], index)])[None]
    with pytest.raises(UserError, match=rf"index {wrong} of an axis of 4"):
        run_reference(program, bad)
    if index == "int32":
        with pytest.raises(RuntimeError):
            run_tflm(content, program, bad)
    model = generated(planned(program))
    with pytest.raises(AssertionError, match="invoke returned 4"):
        run_library(model, bad, tmp_path / "library")
    with pytest.raises(AssertionError) as stopped:
        run_sanitized(model, bad, tmp_path / "sanitized")
    said = str(stopped.value)  # of what the program that stops has not freed, nothing else
    assert "LeakSanitizer" in said and "ERROR: AddressSanitizer" not in said and "runtime error" not in said


def test_the_code_is_in_the_header_of_such_networks_alone() -> None:
    """No other header changes."""
    header = generated(planned(_program(fed()))).files["net.h"]
    assert "#define NET_E_INDEX 4 " in header
    assert "E_INDEX" not in generated(planned(_program(fed(data=[3, 0, 1])))).files["net.h"]


@pytest.mark.parametrize("dtype", ["int8", "int32", "float32"])
def test_random_indices_lie_inside(dtype: str) -> None:
    """Where an input is cast and reshaped on its way to be an index, every value of it is one, and all are met."""
    c = Case(0)
    x = c.fed((1, 4, 6), 0.1, 3)
    given, whole, index = c.b.tensor((3, 1), dtype), c.b.tensor((3, 1), "int32"), c.b.tensor((3,), "int32")
    c.inputs.append(given)
    c.b.op("CAST", [given], [whole])
    c.b.op("RESHAPE", [whole, c.constant([3])], [index], newShape=[3])
    out = c.value((1, 3, 6), 0.1, 3)
    c.b.op("GATHER", [x, index], [out], axis=1)
    content = c.done(out)
    program = _program(content)
    samples = random_inputs(program, 20, 0)
    assert np.array_equal(run_reference(program, samples), run_tflm(content, program, samples))
    seen = {int(v) for s in samples for v in unpack(program, program.inputs, s)[1].ravel()}
    assert seen == {0, 1, 2, 3}


@pytest.mark.emulator
@pytest.mark.parametrize("target", ["host", "qemu-cortex-m4", "qemu-riscv32", "qemu-xtensa"])
def test_embedding_on_every_instruction_set(target: str, tmp_path: Path) -> None:
    """Indices of an input and of ARG_MAX, rows in flash: no mismatch with TensorFlow Lite Micro."""
    content = embedding()
    program = _program(content)
    found = deploy(content, program, "net", find(target), random_inputs(program, 8, 0), tmp_path / "firmware")
    assert found.comparison is not None and found.comparison.mismatches == 0
    assert found.comparison.golden.startswith("TensorFlow Lite Micro")


def _refused(batch: int, indices: tuple[int, ...], dtype: str, out: tuple[int, ...], data: list[int] | None) -> str:
    c = Case(0)
    x, index = c.fed((2, 4, 3), 0.1, 3), c.b.tensor(indices, dtype, data=data)
    c.inputs += [index] if data is None else []
    result = c.value(out, 0.1, 3)
    c.b.op("GATHER", [x, index], [result], axis=1, batchDims=batch)
    with pytest.raises(UserError) as refused:
        _program(c.done(result))
    return str(refused.value)


def test_contradictions_are_refused() -> None:
    """Batches that do not fit, shapes that do not follow, constants outside, indices of another type."""
    assert "2 batch dimensions" in _refused(2, (2, 4), "int32", (2, 4, 3), None)
    assert "1 batch dimensions of (2, 4, 3) and of indices (3, 2)" in _refused(1, (3, 2), "int32", (3, 2, 3), None)
    assert "gives (2, 5, 3)" in _refused(1, (2, 5), "int32", (2, 4, 3), None)
    assert "takes elements outside" in _refused(1, (2, 1), "int32", (2, 1, 3), [0, 4])
    assert "indices of int16" in _refused(0, (5,), "int16", (2, 5, 3), None)


def test_constant_indices_of_a_batch_are_not_taken_as_those_of_a_shape() -> None:
    """Constant integers are computed when the file is read, but a batch's rows each have their own indices."""
    c = Case(0)
    x, index = c.fed((2, 4, 3), 0.1, 3), c.b.tensor((2, 1), "int32")
    c.b.op("GATHER", [c.constant([[3, 1], [0, 2]]), c.constant([[1], [0]])], [index], axis=1, batchDims=1)
    out = c.value((2, 1, 3), 0.1, 3)
    c.b.op("GATHER", [x, index], [out], axis=1, batchDims=1)
    program = _program(c.done(out))
    samples = random_inputs(program, 3, 0)
    given = np.stack([unpack(program, program.inputs, s)[0] for s in samples])
    assert np.array_equal(run_reference(program, samples), given[:, [0, 1], [1, 0]].reshape(3, -1))
