"""What our reference interpreter has to do with TensorFlow Lite Micro where a program computes with floats.

Both do the same IEEE operations in the same order, so their bits are equal, but for the kinds of `ULPS`: there TFLM
asks a C library, whose last bits differ from library to library. A program that has one of those is held to this rule:

- a float output is at most `BOUND` times the largest output of its tensor from TFLM's;
- where floats become integers (QUANTIZE, CAST, ARG_MAX, ARG_MIN), TFLM's integer is one that our float gives when it is
  moved by at most `BOUND` times the largest float of its tensor;
- all that integers alone decide behind such a place equals TFLM's, when computed from TFLM's integers there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from secateur.errors import MismatchError
from secateur.models.program import Op, Program, slots, unpack
from secateur.models.reference import run_values
from secateur.models.reference_float import ULPS, is_float

BOUND = 2.0**-18
BOUND_WORDS = "2^-18 of the largest value"
TO_INTEGERS = ("QUANTIZE", "CAST", "ARG_MAX", "ARG_MIN")

Values = npt.NDArray[Any]


def computes_floats(program: Program) -> bool:
    return any(is_float(program, op) for op in program.ops)


def same_bits(program: Program) -> bool:
    """No operator asks a C library in TensorFlow Lite Micro."""
    return not any(is_float(program, op) and op.kind in ULPS for op in program.ops)


def borders(program: Program) -> list[Op]:
    """Operators that make integers of floats."""
    return [
        op for op in program.ops
        if op.kind in TO_INTEGERS and program.tensors[op.inputs[0]].dtype == "float32"
        and program.tensors[op.outputs[0]].dtype != "float32"
    ]  # fmt: skip


def float_places(program: Program) -> tuple[tuple[int, int], ...]:
    """[start, end) of the float32 bytes among the packed outputs."""
    found = zip(program.outputs, slots(program, program.outputs), strict=False)
    return tuple(
        (start, start + program.tensors[i].size_bytes) for i, start in found if program.tensors[i].dtype == "float32"
    )


def one_no_number(outputs: npt.NDArray[np.int8], floats: Sequence[tuple[int, int]]) -> npt.NDArray[np.int8]:
    """`outputs` (samples, bytes) where all that is no number has the same bits: processors differ in those."""
    found = outputs.copy()
    for start, end in floats:
        values = found[:, start:end].copy().view(np.float32)
        values[np.isnan(values)] = np.float32(np.nan)
        found[:, start:end] = values.view(np.int8)
    return found


def witness(
    program: Program,
    samples: npt.NDArray[np.int8],
    ours: npt.NDArray[np.int8],
    theirs: npt.NDArray[np.int8],
    seen: Sequence[Mapping[str, Values]],
    exact: bool,
) -> str:
    """In a few words how `ours`, the reference interpreter's outputs, are equal to `theirs`, TFLM's.

    `seen`: for every sample, TFLM's tensors by name, of `borders`. `exact`: TFLM asks no C library. Raises
    MismatchError where the rule is broken.
    """
    places = float_places(program)
    if exact:
        wrong = np.argwhere(one_no_number(ours, places) != one_no_number(theirs, places))
        if len(wrong):
            raise MismatchError(
                f"{program.name}: reference interpreter and TensorFlow Lite Micro differ in output byte {wrong[0][1]} "
                f"of sample {wrong[0][0]}; every bit is to be equal"
            )
        return "equal to TensorFlow Lite Micro (tflite-micro wheel) bit for bit"
    states = {s.before: s.initial for s in program.states}
    for number, (sample, expected) in enumerate(zip(samples, theirs, strict=True)):
        given = _follow(program, seen[number])
        values = run_values(program, sample, states, given)
        states = {s.before: values[s.after] for s in program.states}
        for op in borders(program):
            _check_border(program, op, values, number)
        for i, value in zip(program.outputs, unpack(program, program.outputs, expected), strict=True):
            _check_output(program, i, values[i], value, number)
    return f"within {BOUND_WORDS} of TensorFlow Lite Micro (tflite-micro wheel)"


def _follow(program: Program, seen: Mapping[str, Values]) -> dict[int, Values]:
    """TFLM's integers where floats become such, by tensor index."""
    found = {}
    for op in borders(program):
        out = program.tensors[op.outputs[0]]
        if out.name in seen:
            found[op.outputs[0]] = seen[out.name].reshape(out.shape)
    return found


def _check_border(program: Program, op: Op, values: Mapping[int, Values], sample: int) -> None:
    x, found = values[op.inputs[0]], values[op.outputs[0]]
    finite = np.abs(x[np.isfinite(x)])
    reach = np.float32(BOUND * (finite.max() if finite.size else 0))
    if op.kind.startswith("ARG"):
        best = x.max(axis=op.options.axis) if op.kind == "ARG_MAX" else -(-x).max(axis=op.options.axis)
        taken = np.take_along_axis(x, np.expand_dims(found.astype(np.int64), op.options.axis), op.options.axis)
        good = np.abs(taken.ravel() - best.ravel()) <= 2 * reach
    else:
        alone = replace(program, ops=(op,), inputs=(op.inputs[0],), outputs=op.outputs, states=())
        low, high = (
            run_values(alone, np.ascontiguousarray(end, np.float32).reshape(-1).view(np.int8))[op.outputs[0]]
            for end in (x - reach, x + reach)
        )
        good = ((low <= found) & (found <= high)).ravel()
    if not good.all():
        raise MismatchError(
            f"{program.name}: {op.kind} {program.tensors[op.outputs[0]].name}, sample {sample}: {int((~good).sum())} "
            f"of {good.size} integers of TensorFlow Lite Micro are none that floats within {BOUND_WORDS} give"
        )


def _check_output(program: Program, tensor: int, ours: Values, theirs: Values, sample: int) -> None:
    if ours.dtype == np.float32:
        finite = np.abs(theirs[np.isfinite(theirs)]).astype(np.float64)
        with np.errstate(invalid="ignore"):
            apart = np.abs(ours.astype(np.float64) - theirs.astype(np.float64))
        good = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
        good |= apart <= BOUND * (finite.max() if finite.size else 0)
        rule = f"is not within {BOUND_WORDS}"
    else:
        good, rule = ours == theirs, "is not equal"
    if not good.all():
        at = int(np.argmin(good.ravel()))
        raise MismatchError(
            f"{program.name}: output {program.tensors[tensor].name}, sample {sample}, value {at}: {ours.ravel()[at]} "
            f"by the reference interpreter {rule} of TensorFlow Lite Micro's {theirs.ravel()[at]}"
        )
