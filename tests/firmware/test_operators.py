"""Every operator in random files: the reference interpreter and the generated C equal TensorFlow Lite Micro."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from c_host import generated, planned, run_sanitized
from litert import run_litert

from secateur.compiler.bench.operator_files import CASES, NOT_TFLM, Case
from secateur.compiler.frontends.tflite_file import parse_tflite
from secateur.errors import UserError
from secateur.firmware.kernels.catalogue import KERNELS
from secateur.models.program import Program, random_inputs
from secateur.models.reference import run_reference
from secateur.passes.program.choose_kernels import choose_kernels
from secateur.passes.program.cost import instruction_model
from secateur.runtime_bench.golden import golden_outputs, run_tflm
from secateur.targets.target import find

Bytes = npt.NDArray[np.int8]
FILES = 12  # random files an operator
SAMPLES = 4


def _samples(program: Program, seed: int) -> Bytes:
    found = random_inputs(program, SAMPLES, seed)
    if all(program.tensors[i].dtype == "int8" for i in program.inputs):
        found[0] = 127
        found[1] = -128
    if all(program.tensors[i].dtype == "int16" for i in program.inputs):
        found.view(np.int16)[:2] = [[32767], [-32768]]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(CASES))
def test_reference_interpreter_equals_tflm(kind: str) -> None:
    """Every output byte of every file."""
    for seed in range(FILES):
        content = CASES[kind](Case(seed))
        program = parse_tflite(content, kind.lower(), kind)
        samples = _samples(program, seed)
        expected = (run_litert if kind in NOT_TFLM else run_tflm)(content, program, samples)
        assert np.array_equal(run_reference(program, samples), expected), f"{kind} file {seed}"


@pytest.mark.emulator
@pytest.mark.parametrize("kind", list(CASES))
def test_generated_c_equals_tflm(kind: str, tmp_path: Path) -> None:
    """The same with the C under ASan and UBSan, the arena exactly as large as stated."""
    for seed in range(0, FILES, 4):
        content = CASES[kind](Case(seed))
        program = parse_tflite(content, kind.lower(), kind)
        samples = _samples(program, seed)
        found = run_sanitized(generated(planned(program)), samples, tmp_path / str(seed))
        assert np.array_equal(found, golden_outputs(content, program, samples).outputs), f"{kind} file {seed}"


def test_the_golden_runtime_is_not_tflm_where_that_is_wrong() -> None:
    """A padded SPACE_TO_BATCH_ND and a GELU are judged by the reference interpreter, which LiteRT confirms above."""
    for kind in NOT_TFLM:
        content = CASES[kind](Case(1))
        program = parse_tflite(content, kind.lower(), kind)
        assert golden_outputs(content, program, _samples(program, 1)).runtime == "secateur reference interpreter"


def test_floats_are_refused_where_the_target_has_none() -> None:
    """One line with the operator and the feature, not a linker's message."""
    program = parse_tflite(CASES["QUANTIZE float32 to int8"](Case(0)), "border", "border")
    with pytest.raises(UserError, match=r"QUANTIZE \(operator 0: float32, which the target lacks\)"):
        choose_kernels(program, find("esp32").features)
    assert choose_kernels(program, find("esp32c3").features)


@pytest.mark.parametrize("isa", ["rv32imc", "armv7em", "xtensa-lx106"])
def test_every_kernel_has_a_cost(isa: str) -> None:
    """`secateur bench calibrate` has seen all of the catalogue, but floats where the core has none.

    Computed weights of FULLY_CONNECTED are in none of its files: their instructions are unknown, not wrong.
    """
    float_kernels = {"quantize_f32", "dequantize"} if isa.startswith("xtensa") else set()
    known = set(instruction_model()[isa]["kernels"])
    assert {k.name for k in KERNELS} - known - float_kernels <= {"fully_connected_computed_s8"}
