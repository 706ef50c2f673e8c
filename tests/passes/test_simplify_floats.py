"""Simplification leaves floats as they are: no zero points, no ranges, no operator that only seems idle."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.compiler.bench.float_files import FLOAT_CASES
from secateur.compiler.bench.operator_files import Case
from secateur.compiler.frontends.tflite_file import parse_tflite
from secateur.models.program import Op, Options, Program, Tensor, pack, random_inputs
from secateur.models.reference import run_reference
from secateur.passes.program.simplify import simplify
from secateur.passes.program.value_ranges import exact


def _one(kind: str, options: Options, *operands: Tensor, out: tuple[int, ...] = (1, 2, 2, 1)) -> Program:
    tensors = (Tensor("x", (1, 2, 2, 1), "float32"), Tensor("y", out, "float32"), *operands)
    op = Op(kind, (0, *range(2, len(tensors))), (1,), options)
    return Program("net", tensors, (op,), (0,), (1,))


SPECIAL = np.array([-0.0, np.inf, -np.inf, 1.0], np.float32).reshape(1, 2, 2, 1)


@pytest.mark.parametrize(
    "program",
    [
        _one("AVERAGE_POOL_2D", Options(kernel=(1, 1))),
        _one("MAX_POOL_2D", Options(kernel=(1, 1))),
        _one("MEAN", Options(keep_dims=True), Tensor("axes", (1,), "int32", data=np.array([3], np.int32))),
    ],
    ids=["average pool", "max pool", "mean"],
)
def test_what_changes_minus_zero_or_infinity_is_not_idle(program: Program) -> None:
    """A pool or a mean of one position, which int8 programs lose."""
    simple = simplify(program)
    assert len(simple.ops) == 1
    given = pack(program, (0,), [SPECIAL])[None]
    found, expected = run_reference(simple, given), run_reference(program, given)
    assert np.array_equal(found, expected)
    assert not np.array_equal(expected, given)  # the input bits did change, so dropping it would have shown


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(FLOAT_CASES))
def test_float_files_keep_their_outputs(kind: str) -> None:
    """Simplified, every bit of every file's outputs is the same."""
    for seed in range(3):
        program = parse_tflite(FLOAT_CASES[kind](Case(seed)), "net", kind)
        assert not exact(program)
        x = random_inputs(program, 3, seed)
        with np.errstate(all="ignore"):
            assert np.array_equal(run_reference(simplify(program), x), run_reference(program, x)), f"{kind} {seed}"


def test_padding_of_zeros_moves_into_a_convolution_of_floats() -> None:
    """A tap outside is left out there, which is a product with 0; other values stay a PADV2."""
    for value, kinds in ((None, ["CONV_2D"]), (0.0, ["CONV_2D"]), (1.0, ["PADV2", "CONV_2D"])):
        c = Case(0)
        c.dtype = "float32"
        x, padded, out = c.fed((1, 3, 3, 2)), c.value((1, 5, 5, 2)), c.value((1, 3, 3, 1))
        pads = c.constant([[0, 0], [1, 1], [1, 1], [0, 0]])
        more = [] if value is None else [c.constant(np.array([value], np.float32), "float32")]
        c.b.op("PAD" if value is None else "PADV2", [x, pads, *more], [padded])
        weights = c.constant(np.random.default_rng(0).normal(size=(1, 3, 3, 2)).astype(np.float32), "float32")
        c.b.op("CONV_2D", [padded, weights], [out], padding=1, strideH=1, strideW=1, dilationHFactor=1,
               dilationWFactor=1)  # fmt: skip
        program = parse_tflite(c.done(out), "net", "net")
        simple = simplify(program)
        assert [op.kind for op in simple.ops] == kinds
        given = random_inputs(program, 4, 0)
        assert np.array_equal(run_reference(simple, given), run_reference(program, given))
