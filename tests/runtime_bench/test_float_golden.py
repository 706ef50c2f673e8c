"""The rule that holds our reference interpreter to TensorFlow Lite Micro where floats are computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from secateur.compiler.bench.float_files import FLOAT_CASES
from secateur.compiler.bench.operator_files import Case
from secateur.compiler.frontends.tflite_file import parse_tflite
from secateur.errors import MismatchError
from secateur.models.program import Program, pack, random_inputs, unpack
from secateur.models.reference import run_reference
from secateur.runtime_bench import golden as golden_module
from secateur.runtime_bench.float_golden import BOUND, borders, same_bits, witness
from secateur.runtime_bench.golden import Golden, compare, golden_outputs, tflm_available

pytestmark = pytest.mark.skipif(not tflm_available(), reason="the tflite-micro wheel is not installed")


def _read(kind: str) -> tuple[bytes, Program, npt.NDArray[np.int8]]:
    content = FLOAT_CASES[f"{kind} float32"](Case(2))
    program = parse_tflite(content, "net", kind)
    return content, program, random_inputs(program, 6, 0)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("window network", "which is equal to TensorFlow Lite Micro (tflite-micro wheel) bit for bit"),
        ("small network", "which is within 2^-18 of the largest value of TensorFlow Lite Micro (tflite-micro wheel)"),
        ("island", "which is within 2^-18 of the largest value of TensorFlow Lite Micro (tflite-micro wheel)"),
    ],
)
def test_the_name_says_who_ran_and_how_near(kind: str, words: str) -> None:
    """The reference interpreter is golden, and its distance to the witness is told."""
    content, program, samples = _read(kind)
    golden = golden_outputs(content, program, samples)
    assert golden.runtime == f"secateur reference interpreter, {words}"
    assert np.array_equal(golden.outputs, run_reference(program, samples))


def _moved(kind: str, move: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]) -> None:
    """Judge with TFLM's outputs moved."""
    content, program, samples = _read(kind)
    theirs, seen = golden_module._run_tflm(
        content, program, samples, [program.tensors[op.outputs[0]].name for op in borders(program)]
    )
    values = [[move(v) for v in unpack(program, program.outputs, piece)] for piece in theirs]
    theirs = np.stack([pack(program, program.outputs, v) for v in values])
    witness(program, samples, run_reference(program, samples), theirs, seen, same_bits(program))


def test_one_bit_is_too_much_where_no_library_is_asked() -> None:
    """Convolutions and sums are exact."""
    assert same_bits(_read("window network")[1])
    _moved("window network", lambda v: v)
    with pytest.raises(MismatchError, match="every bit is to be equal"):
        _moved("window network", lambda v: np.nextafter(v, np.float32(9)))


def test_floats_are_held_to_the_bound() -> None:
    """Half of it passes, twice is an error that names the output, the sample and both values."""
    assert not same_bits(_read("small network")[1])
    _moved("small network", lambda v: v + np.float32(BOUND / 2) * np.abs(v).max())
    with pytest.raises(MismatchError, match=r"output t10, sample 0, value 0: .* is not within 2\^-18 of the largest"):
        _moved("small network", lambda v: v + np.float32(BOUND * 2) * np.abs(v).max())


def test_integers_behind_an_island_are_equal() -> None:
    """One step is too much: what follows the border is computed from the witness's own integers there."""
    with pytest.raises(MismatchError, match="is not equal"):
        _moved("island", lambda v: v + np.int8(1))


def test_integers_at_a_border_differ_only_where_floats_are_near_it() -> None:
    """A step elsewhere is an error; the same step is granted, and followed, where the float lies on the border."""
    content, program, samples = _read("island")
    name = program.tensors[borders(program)[0].outputs[0]].name
    theirs, seen = golden_module._run_tflm(content, program, samples, [name])
    wrong = [{name: s[name] + np.int8(1)} for s in seen]
    with pytest.raises(MismatchError, match=r"QUANTIZE .* of \d integers of TensorFlow Lite Micro are none"):
        witness(program, samples, run_reference(program, samples), theirs, wrong, False)

    c = Case(0)
    x, out = c.b.tensor((1, 2), "float32"), c.b.tensor((1, 2), "int8", 0.5, 0)
    c.inputs.append(x)
    c.b.op("EXP", [x], [power := c.b.tensor((1, 2), "float32")])
    c.b.op("QUANTIZE", [power], [out])
    program = parse_tflite(c.done(out), "net", "net")
    at_border = pack(program, (0,), [np.array([[np.log(1.75), 0.0]], np.float32)])[None]  # 3.5 steps, and 2
    ours = run_reference(program, at_border)
    other = ours.copy()
    other[0, 0] = 7 - ours[0, 0]  # 3 or 4
    assert "within" in witness(program, at_border, ours, other, [{out_name(program): other}], False)
    other[0, 1] += 1
    with pytest.raises(MismatchError):
        witness(program, at_border, ours, other, [{out_name(program): other}], False)


def test_a_library_asked_for_what_is_a_constant_here_is_held_to_the_bound() -> None:
    """EXP of constants is computed when the file is read, so no operator that is left says so."""
    c = Case(0)
    x, out, powers = (c.b.tensor((1, 64), "float32") for _ in range(3))
    c.inputs.append(x)
    values = np.random.default_rng(0).normal(size=(1, 64)).astype(np.float32)
    c.b.op("EXP", [c.constant(3 * values, "float32")], [powers])
    c.b.op("MUL", [x, powers], [out])
    content = c.done(out)
    program = parse_tflite(content, "net", "net")
    assert same_bits(program)
    assert "which is within" in golden_outputs(content, program, random_inputs(program, 2, 0)).runtime


def out_name(program: Program) -> str:
    return program.tensors[program.outputs[0]].name


def test_no_number_is_equal_to_no_number_of_other_bits() -> None:
    """Processors differ in sign and payload; any number instead is a mismatch. Values are counted, not bytes."""
    bits = np.array([[0x7FC00000, 0x3F800000], [0xFFC00000, 0x3F800000]], np.uint32).view(np.int8)
    golden = Golden("reference", bits[:1], 2, ((0, 8),))
    assert compare(golden, bits[1:], "here").values == 2
    with pytest.raises(MismatchError, match="4 of 8 output bytes differ"):
        compare(golden, np.array([[0x3F813F81, 0x3F800000]], np.uint32).view(np.int8), "here")
