"""A network on int16 activations on every back end: exact, within its promises, and told truly."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from c_host import generated, planned, run_sanitized, write
from typer.testing import CliRunner

from secateur.compiler.bench.int16_network import int16_network
from secateur.compiler.bench.kernels import BACK_ENDS, Subject, measure
from secateur.compiler.cli import app
from secateur.compiler.frontends.tflite_file import parse_tflite
from secateur.models.program import Program, random_inputs
from secateur.models.reference import run_reference
from secateur.runtime_bench.golden import run_tflm

LOUD = (0.02, 0.3, 1.0, 8.0, 60.0)
"""From outputs that vanish to outputs that saturate."""


def _program(content: bytes) -> Program:
    return parse_tflite(content, "net", "net")


@pytest.mark.parametrize("loud", LOUD)
def test_reference_interpreter_equals_tflm(loud: float) -> None:
    """The stand-in golden runtime is equal to the real one, at every scale."""
    content = int16_network(1, loud)
    program = _program(content)
    samples = random_inputs(program, 6, 0)
    assert np.array_equal(run_reference(program, samples), run_tflm(content, program, samples))


@pytest.mark.emulator
@pytest.mark.parametrize("loud", LOUD)
def test_generated_c_equals_tflm(loud: float, tmp_path: Path) -> None:
    """Clean under ASan and UBSan, the arena exactly as large as stated."""
    content = int16_network(2, loud)
    program = _program(content)
    samples = random_inputs(program, 6, 0)
    found = run_sanitized(generated(planned(program)), samples, tmp_path)
    assert np.array_equal(found, run_tflm(content, program, samples))


@pytest.mark.emulator
@pytest.mark.parametrize("back_end", BACK_ENDS)
def test_network_is_exact_on_back_end(back_end: str, tmp_path: Path) -> None:
    """Every output value equals TFLM's, on a stack of 1 KiB."""
    content = int16_network()
    program = _program(content)
    cell = measure(Subject("int16", program, content, random_inputs(program, 4, 0)), back_end, tmp_path)
    assert cell.mismatches == 0 and cell.values == 4 * 5
    assert back_end == "host" or (cell.stack_bytes is not None and 0 < cell.stack_bytes <= 1024)


@pytest.mark.emulator
def test_generated_c_keeps_its_promises(tmp_path: Path) -> None:
    """ISO C99 without floating point, and no conversion that the compiler doubts."""
    for source in write(generated(planned(_program(int16_network()))), tmp_path):
        command = ["gcc", "-std=c99", "-pedantic-errors", "-Wall", "-Wextra", "-Wconversion", "-Wvla", "-Werror", "-O2",
                   "-mgeneral-regs-only", "-c", str(source), "-o", str(source.with_suffix(".o"))]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.emulator
def test_compile_tells_the_truth_of_an_int16_network(tmp_path: Path) -> None:
    """Exit 0, exact, and the caller's buffers in bytes."""
    model, out = tmp_path / "net.tflite", tmp_path / "out"
    model.write_bytes(int16_network())
    done = CliRunner().invoke(app, ["compile", str(model), "--target", "esp32", "-o", str(out)])
    assert done.exit_code == 0, done.output
    report = json.loads((out / "report.json").read_text())
    assert report["verification"]["mismatches"] == 0
    assert "TensorFlow Lite Micro" in report["verification"]["golden"]
    ram = report["provenance"]["/result/ram_bytes"]["source"]
    assert "(10 B of output, and 720 B of input" in ram
