"""Networks with several inputs and outputs and with memory from call to call, against TensorFlow Lite Micro."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from arena import split
from c_host import generated, planned, run_many_sanitized, run_sanitized
from memory_networks import streaming

from secateur.compiler.bench.operator_files import CASES, Case
from secateur.compiler.bench.tflite_builder import TfliteBuilder
from secateur.compiler.frontends.tflite_file import parse_tflite
from secateur.firmware.image import build
from secateur.firmware.project import write_project
from secateur.models.program import slots
from secateur.models.reference import run_reference
from secateur.runtime_bench.golden import run_tflm
from secateur.runtime_bench.runner import runner_for
from secateur.targets.target import find

CALLS = 24
BACK_ENDS = ("host", "qemu-riscv32", "qemu-cortex-m4", "qemu-xtensa")


def _calls(size: int) -> npt.NDArray[np.int8]:
    return np.random.default_rng(3).integers(-128, 128, (CALLS, size)).astype(np.int8)


@pytest.mark.parametrize("initial", [None, 0, -9])
def test_reference_keeps_state_as_tflm_does(initial: int | None) -> None:
    """24 calls in a row; the variable starts as TensorFlow Lite Micro starts it."""
    content = streaming(initial)
    program = parse_tflite(content, "stream", "stream")
    assert len(program.states) == 1
    assert np.array_equal(run_reference(program, _calls(4)), run_tflm(content, program, _calls(4)))


def test_a_state_is_written_where_it_was_read() -> None:
    """Nothing reads the old window once the new one is cut: 12 bytes of state, 16 of window, no second copy."""
    program = parse_tflite(streaming(), "stream", "stream")
    made = planned(program)
    (state,) = made.program.states
    assert made.memory.tensor_offsets[state.before] == made.memory.tensor_offsets[state.after]
    assert made.memory.arena_bytes == made.memory.lower_bound_bytes


def delay() -> bytes:
    """The sum of this input and the one before: a state whose new value is the input, which lies elsewhere."""
    b = TfliteBuilder()
    x, handle, old = (b.tensor((1, 8), "int8", 0.1, 0), b.tensor((), "resource"), b.tensor((1, 8), "int8", 0.1, 0))
    out = b.tensor((1, 8), "int8", 0.2, 3)
    b.op("VAR_HANDLE", [], [handle], container="", sharedName="before")
    b.op("READ_VARIABLE", [handle], [old])
    b.op("ADD", [old, x], [out])
    b.op("ASSIGN_VARIABLE", [handle, x], [])
    return b.finish([x], [out])


@pytest.mark.emulator
@pytest.mark.parametrize("content", [streaming(0), streaming(-9), delay()])
def test_a_state_in_slow_memory_is_kept(content: bytes, tmp_path: Path) -> None:
    """Every buffer in either memory, a state and its new value in two of them too; 24 calls, arenas of exact size."""
    read = parse_tflite(content, "stream", "stream")
    program = planned(read).program
    count = len(split(program, frozenset()).memory.buffers)
    assert 3 <= count <= 6
    samples = _calls(program.bytes_of(program.inputs[0]))
    given = []
    for slow in (frozenset(c) for n in range(1, count + 1) for c in combinations(range(count), n)):
        given.append((generated(split(program, slow), f"net{len(given)}"), samples))
    expected = run_tflm(content, read, samples)
    assert all(np.array_equal(found, expected) for found in run_many_sanitized(given, tmp_path))


def test_a_variable_that_is_never_assigned_is_a_constant() -> None:
    """No state is left, and the reading operators see the value."""
    b = TfliteBuilder()
    x, handle = b.tensor((1, 4), "int8", 0.1, 0), b.tensor((), "resource")
    kept, out = b.tensor((1, 4), "int8", 0.1, 0), b.tensor((1, 4), "int8", 0.2, 0)
    b.op("CALL_ONCE", [], [], initSubgraphIndex=1)
    b.op("VAR_HANDLE", [], [handle], container="", sharedName="v")
    b.op("READ_VARIABLE", [handle], [kept])
    b.op("ADD", [x, kept], [out])
    b.graph()
    first, values = b.tensor((), "resource"), b.tensor((1, 4), "int8", 0.1, 0, np.array([[9, -3, 77, 0]]))
    b.op("VAR_HANDLE", [], [first], container="", sharedName="v")
    b.op("ASSIGN_VARIABLE", [first, values], [])
    content = b.finish([x], [out])
    program = parse_tflite(content, "constant", "constant")
    assert program.states == () and program.ops[0].kind == "ADD"
    assert np.array_equal(run_reference(program, _calls(4)), run_tflm(content, program, _calls(4)))


@pytest.mark.emulator
@pytest.mark.parametrize("environment", BACK_ENDS)
@pytest.mark.parametrize("what", ["stream", "two inputs", "three outputs"])
def test_every_back_end_equals_tflm(what: str, environment: str, tmp_path: Path) -> None:
    """State over 24 calls, several inputs and several outputs through the harness, every value."""
    content = {
        "stream": lambda: streaming(-9), "two inputs": lambda: CASES["SUB"](Case(1)),
        "three outputs": lambda: CASES["UNPACK"](Case(2)),
    }[what]()  # fmt: skip
    program = parse_tflite(content, "net", "net")
    made = planned(program)
    samples = _calls(slots(program, program.inputs)[-1])
    write_project(tmp_path, generated(made), find("esp32"), samples, limits="none")
    run = runner_for(environment).run(build(tmp_path, environment), 120)
    assert np.array_equal(run.outputs, run_tflm(content, program, samples))


@pytest.mark.emulator
def test_state_under_the_sanitizers(tmp_path: Path) -> None:
    """No byte outside the arena, and init sets the state's beginning."""
    content = streaming(5)
    program = parse_tflite(content, "net", "net")
    found = run_sanitized(generated(planned(program)), _calls(4), tmp_path)
    assert np.array_equal(found, run_tflm(content, program, _calls(4)))
