"""Weights that are int4 in the file stay two a byte in flash, and nothing changes but the bytes."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from c_host import generated, planned, run_sanitized, write

from secateur.compiler.bench.int4_files import INT4_CASES, int4_tensor
from secateur.compiler.bench.int4_network import int4_network
from secateur.compiler.bench.kernels import BACK_ENDS, Subject, measure
from secateur.compiler.bench.operator_files import Case
from secateur.compiler.bench.tflite_builder import TfliteBuilder
from secateur.compiler.frontends.tflite_file import parse_tflite
from secateur.errors import UserError
from secateur.firmware.kernels.descriptor import Constant
from secateur.firmware.kernels.nibbles import pack_rows
from secateur.models.program import Program, random_inputs
from secateur.models.reference import run_reference
from secateur.passes.program.choose_kernels import choose_kernels
from secateur.passes.program.cost import constant_bytes
from secateur.passes.program.simplify import simplify
from secateur.runtime_bench.golden import golden_outputs, run_tflm


def _program(content: bytes) -> Program:
    return parse_tflite(content, "net", "net")


def _unpacked(program: Program) -> Program:
    """The same weights as if they were int8 in the file."""
    return replace(program, tensors=tuple(replace(t, nibbles=False) for t in program.tensors))


def test_rows_are_packed_in_pairs_and_an_odd_one_by_itself() -> None:
    """Six rows of three: two bytes a place, then one; a seventh of three takes two bytes."""
    rows = np.array([[1, 2, 3], [-1, -2, -3], [4, 5, 6], [7, -8, 0], [1, 1, 1], [2, 2, 2], [3, -4, 5]], np.int64)
    found = (pack_rows(rows) & 255).tolist()
    assert found[:6] == [0xF1, 0x74, 0xE2, 0x85, 0xD3, 0x06]
    assert found[6:9] == [0x21, 0x21, 0x21]
    assert found[9:] == [0xC3, 0x05]


@pytest.mark.parametrize("kind", list(INT4_CASES))
def test_constants_are_told_as_they_are(kind: str) -> None:
    """`constant_bytes` is what the tables take: half of int8's weights, but the end of rows and taps."""
    for seed in range(12):
        program = _program(INT4_CASES[kind](Case(seed)))
        for op, kernel in zip(program.ops, choose_kernels(program, ()), strict=True):
            if program.tensors[op.inputs[0]].shape[0] > 1 and kind != "FULLY_CONNECTED of int4 weights":
                continue  # kernels of several batch elements unpack
            assert kernel.name.endswith("_s4")
            tables = [a for c in kernel.calls(program, op) for a in c.arguments if isinstance(a, Constant)]
            assert kernel.constant_bytes(program, op) == sum(t.size_bytes for t in tables)


def test_a_network_of_int4_weights_takes_half_the_flash() -> None:
    """18.1 KB of constants become 9.4; the arena stays."""
    program = _program(int4_network())
    packed, unpacked = planned(program), planned(_unpacked(program))
    assert (constant_bytes(packed), constant_bytes(unpacked)) == (9382, 18094)
    assert packed.memory.arena_bytes == unpacked.memory.arena_bytes


def test_int8_weights_that_would_fit_are_left_alone() -> None:
    """Packing costs instructions: it is the file's choice."""
    kernels = choose_kernels(_unpacked(_program(int4_network())), ())
    assert not [k.name for k in kernels if k.name.endswith("_s4")]


def test_cut_channels_leave_packed_weights() -> None:
    """Three dead channels go, with the same outputs, and what is left is still two a byte."""
    program = _program(int4_network(dead=3))
    simple = simplify(program)
    assert [simple.tensors[op.outputs[0]].shape[-1] for op in simple.ops[:2]] == [12, 12]
    assert all(k.name.endswith("_s4") for k in choose_kernels(simple, ())[:3])
    samples = random_inputs(program, 6, 0)
    assert np.array_equal(run_reference(simple, samples), run_reference(program, samples))


@pytest.mark.emulator
def test_generated_c_equals_tflm_and_keeps_its_promises(tmp_path: Path) -> None:
    """Clean under ASan and UBSan, and no conversion that the compiler doubts."""
    content = int4_network(1)
    program = _program(content)
    samples = random_inputs(program, 6, 0)
    model = generated(planned(program))
    assert np.array_equal(run_sanitized(model, samples, tmp_path), run_tflm(content, program, samples))
    for source in write(model, tmp_path):
        command = ["gcc", "-std=c99", "-pedantic-errors", "-Wall", "-Wextra", "-Wconversion", "-Wvla", "-Werror", "-O2",
                   "-mgeneral-regs-only", "-c", str(source), "-o", str(source.with_suffix(".o"))]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.emulator
@pytest.mark.parametrize("back_end", BACK_ENDS)
def test_network_is_exact_on_back_end(back_end: str, tmp_path: Path) -> None:
    """Every output value equals TFLM's; at most a third more instructions than with a byte a weight."""
    content = int4_network()
    program = _program(content)
    samples = random_inputs(program, 3, 0)
    packed = measure(Subject("int4", program, content, samples), back_end, tmp_path / "packed")
    assert packed.mismatches == 0 and packed.values == 3 * 7
    if back_end != "host":
        plain = measure(Subject("int8", _unpacked(program), content, samples), back_end, tmp_path / "plain")
        assert packed.instructions is not None and plain.instructions is not None
        assert packed.instructions < 1.33 * plain.instructions
        assert packed.flash_bytes < plain.flash_bytes - 8000
        sys.stdout.write(  # docs/results.md quotes these; pytest -s shows them
            f"{back_end}: {plain.flash_bytes} -> {packed.flash_bytes} bytes, "
            f"{plain.instructions} -> {packed.instructions} instructions (emulated)\n"
        )


def test_a_scale_an_output_is_judged_by_the_reference_interpreter() -> None:
    """TensorFlow Lite Micro takes one scale for FULLY_CONNECTED of int4."""
    b = TfliteBuilder()
    x, out = b.tensor((1, 2), "int8", 0.1), b.tensor((1, 2), "int8", 0.1)
    b.op("FULLY_CONNECTED", [x, int4_tensor(b, np.array([[1, -8], [7, 3]]), [0.1, 0.2], 0)], [out], version=5)
    content = b.finish([x], [out])
    program = _program(content)
    found = golden_outputs(content, program, random_inputs(program, 2, 0))
    assert found.runtime == "secateur reference interpreter"


@pytest.mark.parametrize("role", ["input", "between", "operand"])
def test_int4_beside_weights_is_refused(role: str) -> None:
    """They would be taken as int8, which has other limits and another size."""
    b = TfliteBuilder()
    x = b.tensor((1, 4), "int4" if role == "input" else "int8", 0.1)
    middle, out = b.tensor((1, 4), "int4" if role == "between" else "int8", 0.1), b.tensor((1, 4), "int8", 0.2)
    b.op("RELU", [x], [middle])
    b.op("ADD", [middle, int4_tensor(b, np.array([[1, -8, 7, 3]]), [0.1], 0) if role == "operand" else x], [out])
    with pytest.raises(UserError, match=r"int4; (constant )?weights alone may be"):
        _program(b.finish([x], [out]))
