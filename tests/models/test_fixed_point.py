"""The reference interpreter's arithmetic: what is computed for many values at once is what is computed for one."""

import numpy as np
import numpy.typing as npt

from secateur.compiler.bench.operator_files import Case
from secateur.compiler.frontends.tflite_file import parse_tflite
from secateur.models.fixed_point import high_mul, high_mul_int
from secateur.models.reference import run_reference


def test_high_mul_of_python_numbers_is_that_of_arrays() -> None:
    """At the ends of int32, around zero and between."""
    ends = [-(1 << 31), -(1 << 31) + 1, -(1 << 30), -1, 0, 1, 1 << 30, (1 << 31) - 1]
    drawn = np.random.default_rng(0).integers(-(1 << 31), 1 << 31, 200).tolist()
    values = ends + drawn
    for a in values:
        assert [high_mul_int(a, b) for b in values] == high_mul(np.array(a), np.array(values)).tolist()


def test_softmax_of_many_rows_is_that_of_each() -> None:
    """A flat row, whose sum leaves the fixed point, beside rows that are flat in part, peaked and drawn."""
    depth = 600
    rows = np.random.default_rng(0).integers(-128, 128, (5, depth)).astype(np.int8)
    rows[0], rows[1, : depth // 2], rows[2], rows[2, 3] = 7, 127, -128, 127
    together, alone = (_softmax(count, depth, rows.reshape(-1, count * depth)) for count in (5, 1))
    assert (together.reshape(5, depth) == alone).all()
    assert (alone[0] == -128).all()
    assert alone[2].tolist() == [-128] * 3 + [127] + [-128] * (depth - 4)


def _softmax(count: int, depth: int, samples: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    c = Case(0)
    x, out = c.fed((count, depth), 0.05, 0), c.value((count, depth), 1 / 256, -128)
    c.b.op("SOFTMAX", [x], [out], beta=1.0)
    return run_reference(parse_tflite(c.done(out), "net", "softmax"), samples)
