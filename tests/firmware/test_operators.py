"""Every operator in random files: the reference interpreter and the generated C equal TensorFlow Lite Micro.

Operators of float32 are at most the units in the last place from it that `ULPS` grants; most are granted none.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from c_host import generated, planned, run_many_sanitized
from litert import run_litert

from secateur.compiler.bench.float_files import ALL_CASES, FLOAT_CASES, NETWORKS
from secateur.compiler.bench.operator_files import CASES, NOT_TFLM, Case
from secateur.compiler.frontends.tflite_file import parse_tflite
from secateur.errors import UserError
from secateur.firmware.kernels.catalogue import KERNELS
from secateur.firmware.kernels.floats import FloatKernel
from secateur.models.program import Program, pack, random_inputs, unpack
from secateur.models.reference import run_reference
from secateur.models.reference_float import ULPS
from secateur.passes.program.choose_kernels import choose_kernels
from secateur.passes.program.cost import instruction_model
from secateur.runtime_bench.golden import compare, golden_outputs, run_tflm
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


@pytest.mark.slow
@pytest.mark.parametrize("kind", [k for k in FLOAT_CASES if k.removesuffix(" float32") not in NETWORKS])
@pytest.mark.parametrize("extreme", [False, True])
def test_float_operator_is_as_near_to_tflm_as_granted(kind: str, extreme: bool) -> None:
    """No unit in the last place apart, or as many as ULPS says; for values of every size, infinity and no numbers too.

    LiteRT's reference kernels judge where TensorFlow Lite Micro lacks the operator.
    """
    for seed in range(FILES):
        content = FLOAT_CASES[kind](Case(seed))
        program = parse_tflite(content, kind.lower(), kind)
        samples = _extreme(program, seed) if extreme else _samples(program, seed)
        runtime = run_litert if kind in ("RELU_N1_TO_1 float32", "GELU float32") else run_tflm
        ours, theirs = run_reference(program, samples), runtime(content, program, samples)
        granted = max(ULPS.get(op.kind, 0) for op in program.ops)
        for sample, a, b in zip(samples, ours, theirs, strict=True):
            (x,), (y,) = unpack(program, program.outputs, a), unpack(program, program.outputs, b)
            units = {
                "GELU": unpack(program, program.inputs, sample)[0],
                "UNIDIRECTIONAL_SEQUENCE_LSTM": np.ones_like(y),
            }
            assert _ulps(x, y, units.get(program.ops[0].kind, y)).max() <= granted, f"{kind} file {seed}"


def _ulps(ours: npt.NDArray[Any], theirs: npt.NDArray[Any], of: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Units in the last place of `of` between two arrays; 0 where neither is a number, infinite where one is none."""
    if ours.dtype != np.float32:
        return np.where(ours == theirs, 0.0, np.inf)
    same = (ours.view(np.uint32) == theirs.view(np.uint32)) | (np.isnan(ours) & np.isnan(theirs))
    with np.errstate(all="ignore"):
        unit = np.spacing(np.maximum(np.abs(of), np.float32(2.0**-126))).astype(np.float64)
        apart = np.abs(ours.astype(np.float64) - theirs.astype(np.float64)) / unit
    return np.where(same, 0.0, np.where(np.isfinite(apart), np.maximum(apart, 0.5), np.inf))


def _extreme(program: Program, seed: int) -> Bytes:
    """Floats of any bits, and a few special ones; of other types, the values that all tests take."""
    random = np.random.default_rng(seed)
    pieces = []
    for sample in _samples(program, seed):
        given = dict(zip(program.inputs, unpack(program, program.inputs, sample), strict=True))
        values = []
        for i in program.inputs:
            shape = program.tensors[i].shape
            if program.tensors[i].dtype != "float32":
                values.append(given[i])
                continue
            value = random.integers(0, 2**32, shape, dtype=np.uint32).view(np.float32)
            special = np.array([0, -0.0, np.inf, -np.inf, np.nan, 1e-45, 3.4e38, -1], np.float32)
            value = np.where(random.random(shape) < 0.1, random.choice(special, shape), value)
            values.append(np.where(np.isnan(value) & (random.random(shape) < 0.7), np.float32(1), value))
        pieces.append(pack(program, program.inputs, values))
    return np.stack(pieces)


@pytest.mark.emulator
@pytest.mark.parametrize("kind", list(ALL_CASES))
def test_generated_c_equals_tflm(kind: str, tmp_path: Path) -> None:
    """The same with the C under ASan and UBSan, the arena exactly as large as stated."""
    expected, given = [], []
    for seed in range(0, FILES, 4):
        content = ALL_CASES[kind](Case(seed))
        program = parse_tflite(content, kind.lower(), kind)
        samples = _samples(program, seed)
        golden = golden_outputs(content, program, samples)
        if kind in FLOAT_CASES and all(program.tensors[i].dtype == "float32" for i in program.inputs):
            samples = np.concatenate([samples, _extreme(program, seed)])
            further = run_reference(program, samples)[len(golden.outputs) :]  # states go on
            golden = replace(golden, outputs=np.concatenate([golden.outputs, further]))
        expected.append(golden)
        given.append((generated(planned(program), f"file{seed}"), samples))
    for golden, (model, _), found in zip(expected, given, run_many_sanitized(given, tmp_path), strict=True):
        compare(golden, found, f"{kind} {model.name}")


def test_the_golden_runtime_is_not_tflm_where_that_is_wrong() -> None:
    """A padded SPACE_TO_BATCH_ND and a GELU are judged by the reference interpreter, which LiteRT confirms above."""
    for kind in NOT_TFLM:
        content = CASES[kind](Case(1))
        program = parse_tflite(content, kind.lower(), kind)
        assert golden_outputs(content, program, _samples(program, 1)).runtime == "secateur reference interpreter"


def test_rsqrt_has_its_factor_in_double_precision() -> None:
    """In single precision one value of this file would be 7997 instead of 7996; factors beyond 32 bits are refused."""
    content = CASES["RSQRT int16"](Case(22))
    program = parse_tflite(content, "rsqrt", "rsqrt")
    samples = _samples(program, 22)
    assert np.array_equal(run_reference(program, samples), run_tflm(content, program, samples))
    for scale in (1e-12, 1e9):
        case = Case(0)
        x, out = case.fed((1, 4), 0.01, 0, "int16"), case.value((1, 4), scale, 0, "int16")
        case.b.op("RSQRT", [x], [out])
        with pytest.raises(UserError, match=r"RSQRT.*are out of range: a factor of"):
            parse_tflite(case.done(out), "rsqrt", "rsqrt")


def test_floats_are_refused_where_the_target_has_none() -> None:
    """One line with the operator and the feature, not a linker's message."""
    program = parse_tflite(CASES["QUANTIZE float32 to int8"](Case(0)), "border", "border")
    with pytest.raises(UserError, match=r"QUANTIZE \(operator 0: float32, which the target lacks\)"):
        choose_kernels(program, find("esp32").features)
    assert choose_kernels(program, find("esp32c3").features)


@pytest.mark.parametrize("isa", ["rv32imc", "armv7em", "xtensa-lx106"])
def test_every_kernel_has_a_cost(isa: str) -> None:
    """`secateur bench calibrate` has seen all of the catalogue, but floats where the core has none."""
    floats = {"quantize_f32", "dequantize", *(k.name for k in KERNELS if isinstance(k, FloatKernel))}
    known = set(instruction_model()[isa]["kernels"]) | (floats if isa.startswith("xtensa") else set())
    assert {k.name for k in KERNELS if not k.free} <= known


def test_a_float_network_is_refused_in_one_line_that_says_what_to_do() -> None:
    """Not operator by operator where all of it is float32."""
    program = parse_tflite(ALL_CASES["window network float32"](Case(0)), "net", "net")
    with pytest.raises(UserError, match=r"net: \d+ operators compute float32, which the target lacks"):
        choose_kernels(program, find("esp32").features)
