"""What passes over Programs require and promise; each raises AssertionError with numbers."""

from __future__ import annotations

from secateur.models.program import Program
from secateur.passes.program.value_ranges import exact


def exact_activations(program: Program) -> None:
    """Every activation is int8 with one scale: its integers are defined."""
    assert exact(program), f"{program.name}: not every activation is int8 with one scale"


def same_ends(before: Program, after: Program) -> None:
    """Inputs and outputs keep their names, types and quantization."""
    for side in ("inputs", "outputs"):
        was, now = ([p.tensors[i] for i in getattr(p, side)] for p in (before, after))
        assert was == now, f"{side} {was} became {now}"


def no_more_macs(before: Program, after: Program) -> None:
    assert after.macs <= before.macs, f"{before.macs} MACs became {after.macs}"


def no_more_operators(before: Program, after: Program) -> None:
    assert len(after.ops) <= len(before.ops), f"{len(before.ops)} operators became {len(after.ops)}"


def no_more_constants(before: Program, after: Program) -> None:
    """Bytes of all constant tensors, each counted once."""
    was, now = (sum(t.size_bytes for t in p.tensors if t.data is not None) for p in (before, after))
    assert now <= was, f"{was} bytes of constants became {now}"
