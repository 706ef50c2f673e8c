"""Networks with floats on every instruction set that has them: the bits of the reference interpreter."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from secateur.compiler.bench.float_files import FLOAT_CASES, NETWORKS
from secateur.compiler.bench.operator_files import Case
from secateur.compiler.cli import app
from secateur.compiler.deploy import deploy
from secateur.compiler.frontends.tflite_file import load_tflite, parse_tflite
from secateur.models.program import random_inputs
from secateur.runtime_bench.golden import tflm_available
from secateur.targets.target import find

RESNET = "mlperf_tiny/image_classification/pretrainedResnet.tflite"
AUTOENCODER = "mlperf_tiny/anomaly_detection/ad01_fp32.tflite"


@pytest.mark.emulator
@pytest.mark.parametrize("target", ["host", "qemu-cortex-m4", "qemu-riscv32"])
@pytest.mark.parametrize("kind", list(NETWORKS))
def test_network_has_the_same_bits_on_every_instruction_set(kind: str, target: str, tmp_path: Path) -> None:
    """A picture and a window network of floats, one with memory, an int8 one with floats inside; 1 KiB of stack."""
    content = FLOAT_CASES[f"{kind} float32"](Case(3))
    program = parse_tflite(content, "net", kind)
    found = deploy(content, program, "net", find(target), random_inputs(program, 8, 0), tmp_path / "firmware")
    assert found.comparison is not None and found.comparison.mismatches == 0
    assert found.comparison.golden.startswith("secateur reference interpreter")
    judged = tflm_available() and all(op.kind != "GELU" for op in program.ops)
    assert ("TensorFlow Lite Micro" in found.comparison.golden) == judged
    if target != "host":
        assert found.run is not None and found.run.stack_bytes is not None and found.run.stack_bytes <= 1024


@pytest.mark.slow
@pytest.mark.emulator
@pytest.mark.parametrize(("path", "target"), [(RESNET, "qemu-cortex-m4"), (AUTOENCODER, "host")])
def test_trained_float_network_has_the_same_bits(path: str, target: str, shared_data: Path, tmp_path: Path) -> None:
    """MLPerf Tiny's float ResNet-8 and autoencoder, as they are published."""
    file = shared_data / path
    program = load_tflite(file)
    samples = random_inputs(program, 2, 0)
    found = deploy(file.read_bytes(), program, "net", find(target), samples, tmp_path / "firmware")
    assert found.comparison is not None and found.comparison.mismatches == 0


@pytest.mark.emulator
def test_compile_tells_the_truth_about_floats(tmp_path: Path) -> None:
    """Exit 0; the report and the header speak of float32, nowhere of int8, and say what the outputs were held to."""
    file = tmp_path / "floats.tflite"
    file.write_bytes(FLOAT_CASES["small network float32"](Case(1)))
    done = CliRunner().invoke(app, ["compile", str(file), "--target", "qemu-cortex-m4", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "Accuracy, float32" in done.output and "int8" not in done.output
    report = (tmp_path / "out" / "report.json").read_text()
    assert "weights and biases of the float32 program" in report and "int8 program" not in report
    # 4 classes and 8 x 8 x 2 values of four bytes
    assert "16 B of output, and 512 B of input" in report
    assert "secateur reference interpreter" in report
    header = (tmp_path / "out" / "firmware" / "model" / "floats.h").read_text()
    assert header.startswith("/* floats: float32 network in C99.")


def test_compile_refuses_a_core_without_floats(tmp_path: Path) -> None:
    """One line that names the feature."""
    file = tmp_path / "floats.tflite"
    file.write_bytes(FLOAT_CASES["small network float32"](Case(1)))
    done = CliRunner().invoke(app, ["compile", str(file), "--target", "qemu-xtensa", "--out", str(tmp_path / "out")])
    assert done.exit_code != 0
    assert "5 operators compute float32, which the target lacks" in str(done.exception)
