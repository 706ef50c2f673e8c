"""Simplification of programs on int16 activations: structure alone, and by int16's own limits."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.compiler.bench.int16_files import INT16_CASES
from secateur.compiler.bench.operator_files import Case
from secateur.compiler.bench.tflite_builder import TfliteBuilder
from secateur.compiler.frontends.tflite_file import parse_tflite
from secateur.models.program import random_inputs
from secateur.models.reference import run_reference
from secateur.passes.program.simplify import simplify
from secateur.passes.program.value_ranges import exact


def _padded_pool(value: int) -> bytes:
    b = TfliteBuilder()
    x, padded = b.tensor((1, 3, 3, 2), "int16", 0.01), b.tensor((1, 5, 5, 2), "int16", 0.01)
    amounts = b.tensor((4, 2), "int32", data=[[0, 0], [1, 1], [1, 1], [0, 0]])
    border = b.tensor((1,), "int16", 0.01, 0, [value])
    out = b.tensor((1, 4, 4, 2), "int16", 0.01)
    b.op("PADV2", [x, amounts, border], [padded])
    b.op("MAX_POOL_2D", [padded], [out], version=3, strideH=1, strideW=1, padding=1, filterHeight=2, filterWidth=2)
    return b.finish([x], [out])


@pytest.mark.parametrize(("value", "fused"), [(-128, False), (-32768, True)])
def test_padding_goes_into_a_max_pool_if_it_is_the_lowest_of_int16(value: int, fused: bool) -> None:
    """-128 is the lowest of int8 and a common value of int16."""
    program = parse_tflite(_padded_pool(value), "net", "net")
    simple = simplify(program)
    assert [op.kind for op in simple.ops] == ["MAX_POOL_2D"] if fused else ["PADV2", "MAX_POOL_2D"]
    samples = random_inputs(program, 8, 0)
    samples.view(np.int16)[1:] = -30000  # below -128 everywhere, so that a wrong border shows
    assert np.array_equal(run_reference(simple, samples), run_reference(program, samples))


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(INT16_CASES))
def test_simplified_int16_operators_keep_their_outputs(kind: str) -> None:
    """Their value ranges are unknown: nothing is cut by int8's."""
    for seed in range(4):
        program = parse_tflite(INT16_CASES[kind](Case(seed)), "net", kind)
        assert not exact(program)
        samples = random_inputs(program, 3, seed)
        assert np.array_equal(run_reference(simplify(program), samples), run_reference(program, samples))
