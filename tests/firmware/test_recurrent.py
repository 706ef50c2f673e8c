"""SVDF and LSTM: memory over many calls, equal to TensorFlow Lite Micro, and kept in one place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from c_host import generated, planned, run_sanitized

from secateur.compiler.bench.operator_files import CASES, Case
from secateur.compiler.frontends.tflite_file import parse_tflite
from secateur.errors import UserError
from secateur.models.program import Program, slots
from secateur.models.reference import run_reference
from secateur.runtime_bench.golden import run_tflm

CALLS = 40
KINDS = ("SVDF", "SVDF int8", "UNIDIRECTIONAL_SEQUENCE_LSTM")


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


@pytest.mark.parametrize("kind", KINDS)
def test_states_are_changed_in_place(kind: str) -> None:
    """The new value of each state lies where the old one lay: nothing is copied, no arena byte is spent twice."""
    program = parse_tflite(CASES[kind](Case(1)), "net", "net")
    made = planned(program)
    assert len(program.states) == (2 if kind == "UNIDIRECTIONAL_SEQUENCE_LSTM" else 1)
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
