"""SVDF and LSTM: memory over many calls, equal to TensorFlow Lite Micro, and kept in one place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from c_host import generated, planned, run_sanitized

from secateur.compiler.bench.float_files import ALL_CASES
from secateur.compiler.bench.operator_files import CASES, Case
from secateur.compiler.frontends.tflite_file import parse_tflite
from secateur.errors import UserError
from secateur.models.program import Program, random_inputs, slots
from secateur.models.reference import run_reference
from secateur.runtime_bench.golden import run_tflm

CALLS = 40
KINDS = ("SVDF", "SVDF int8", "UNIDIRECTIONAL_SEQUENCE_LSTM")
FLOATS = (("SVDF float32", 0.0), ("UNIDIRECTIONAL_SEQUENCE_LSTM float32", 4 * 2.0**-23))
"""And how far any output may be from TensorFlow Lite Micro's."""


def _calls(program: Program) -> npt.NDArray[np.int8]:
    return np.random.default_rng(3).integers(-128, 128, (CALLS, slots(program, program.inputs)[-1])).astype(np.int8)


@pytest.mark.emulator
@pytest.mark.parametrize("kind", KINDS)
def test_memory_over_many_calls(kind: str, tmp_path: Path) -> None:
    """40 calls in a row: the reference interpreter, the generated C and TensorFlow Lite Micro agree on every byte."""
    for seed in range(50, 53):
        content = CASES[kind](Case(seed))
        program = parse_tflite(content, "net", "net")
        expected = run_tflm(content, program, _calls(program))
        assert np.array_equal(run_reference(program, _calls(program)), expected)
        found = run_sanitized(generated(planned(program)), _calls(program), tmp_path / str(seed))
        assert np.array_equal(found, expected)


@pytest.mark.emulator
@pytest.mark.parametrize(("kind", "apart"), FLOATS)
def test_memory_of_floats_over_many_calls(kind: str, apart: float, tmp_path: Path) -> None:
    """20 calls in a row: the generated C has the interpreter's bits, and TensorFlow Lite Micro is as near as stated."""
    for seed in range(50, 53):
        content = ALL_CASES[kind](Case(seed))
        program = parse_tflite(content, "net", "net")
        samples = random_inputs(program, 20, seed)
        expected = run_reference(program, samples)
        assert not np.array_equal(expected, np.concatenate([run_reference(program, s[None]) for s in samples]))
        assert np.array_equal(run_sanitized(generated(planned(program)), samples, tmp_path / str(seed)), expected)
        theirs = run_tflm(content, program, samples)
        assert np.abs(expected.view(np.float32) - theirs.view(np.float32)).max() <= apart


@pytest.mark.parametrize("kind", [*KINDS, *(kind for kind, _ in FLOATS)])
def test_states_are_changed_in_place(kind: str) -> None:
    """The new value of each state lies where the old one lay: nothing is copied, no arena byte is spent twice."""
    program = parse_tflite(ALL_CASES[kind](Case(1)), "net", "net")
    made = planned(program)
    assert len(program.states) == (2 if "LSTM" in kind else 1)
    for state in made.program.states:
        assert made.memory.tensor_offsets[state.before] == made.memory.tensor_offsets[state.after]
    kept = (*(s.before for s in program.states), *program.inputs, *program.outputs)
    assert made.memory.arena_bytes <= sum(-(-program.bytes_of(i) // 4) * 4 for i in kept)


def test_a_state_that_is_no_variable_is_refused() -> None:
    """Its memory would be lost between calls."""
    case = Case(1)
    make = case.b.tensor
    case.b.tensor = lambda *a, variable=False, **k: make(*a, **k)  # type: ignore[method-assign]
    with pytest.raises(UserError, match="not a variable tensor"):
        parse_tflite(CASES["SVDF"](case), "net", "net")


@pytest.mark.parametrize("activation", [4, 5])
def test_a_float_svdf_with_another_activation_is_refused(activation: int) -> None:
    """TANH and SIGN_BIT, which the kernel does not have."""
    case = Case(1)
    emit = case.b.op
    case.b.op = lambda *a, **k: emit(*a, **{**k, "fusedActivationFunction": activation})  # type: ignore[method-assign]
    with pytest.raises(UserError, match=r"SVDF.*fused activation (TANH|SIGN_BIT); known: NONE"):
        parse_tflite(ALL_CASES["SVDF float32"](case), "net", "net")


def test_integer_weights_of_a_float_svdf_are_refused() -> None:
    """A hybrid one, which TensorFlow Lite Micro does not compute either."""
    case = Case(1)
    make = case.b.tensor

    def hybrid(shape: tuple[int, ...], *a: Any, **k: Any) -> int:
        weights = len(shape) == 2 and k.get("data", a[3] if len(a) > 3 else None) is not None
        return make(shape, "int8", 0.1, 0, np.ones(shape)) if weights else make(shape, *a, **k)

    case.b.tensor = hybrid  # type: ignore[method-assign, assignment]
    with pytest.raises(UserError, match="is int8, not float32"):
        parse_tflite(ALL_CASES["SVDF float32"](case), "net", "net")
