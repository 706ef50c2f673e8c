"""Operators of constants are evaluated, equal constants shared."""

from __future__ import annotations

from random_programs import Maker, kinds, unchanged

from secateur.models.program import Options, Program, Quantization
from secateur.passes.program.fold_constants import FoldConstants
from secateur.passes.program.share_constants import ShareConstants

Q, FINE, COARSE = (Quantization((s,), (z,)) for s, z in ((0.05, 3), (0.1, 0), (0.2, 0)))
MAP = (1, 4, 4, 6)


def with_constants(reader: str) -> Program:
    """Constant (1, 4, 4, 6) -> RELU -> QUANTIZE -> `reader`, with the input where `reader` takes two."""
    m = Maker(9)
    entry = m.tensor(MAP, Q)
    x = m.constant(m.random.integers(-128, 128, MAP), "int8", Q)
    x = m.op("RELU", [x], m.tensor(MAP, FINE))
    x = m.op("QUANTIZE", [x], m.tensor(MAP, Q))
    options = Options(axis=3) if reader == "CONCATENATION" else Options()
    out = m.tensor((1, 4, 4, 12) if reader == "CONCATENATION" else MAP, Q)
    return m.program((entry,), (m.op(reader, [entry, x], out, options),))


def test_operators_of_constants_are_evaluated() -> None:
    """Where the reader takes a table they become one; a concatenation, whose kernel does not, keeps them."""
    program = with_constants("MUL")
    after = FoldConstants()(program)
    assert kinds(after) == ["MUL"] and unchanged(program, after)
    kept = with_constants("CONCATENATION")
    assert FoldConstants()(kept) is kept


def test_equal_constants_become_one() -> None:
    """Same bytes in the same scale: one tensor; in another scale: two."""
    m = Maker(10)
    x = entry = m.tensor(MAP, Q)
    values = m.random.integers(-128, 128, MAP)
    for q in (Q, Q, FINE):
        x = m.op("ADD", [x, m.constant(values, "int8", q)], m.tensor(MAP, COARSE))
    program = m.program((entry,), (x,))
    after = ShareConstants()(program)
    assert [sum(t.data is not None for t in p.tensors) for p in (program, after)] == [3, 2]
    assert unchanged(program, after)
