"""Every small network on every back end: kernels, planner and code generator are exact, and get no worse.

python tests/runtime_bench/test_networks_on_back_ends.py     # write tests/golden/kernels.json anew
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import warnings
from functools import cache
from pathlib import Path

import pytest

from secateur.compiler.bench.kernels import BACK_ENDS, Cell, from_zoo, markdown, measure
from secateur.firmware.board import load_board
from secateur.models.zoo.small import SMALL
from secateur.runtime_bench.golden import tflm_available

SAMPLES = 4
GOLDEN = Path(__file__).parents[1] / "golden" / "kernels.json"
WORSE = 1.02  # a count may grow by this much before a test fails
COUNTS = ("instructions", "arena_bytes", "stack_bytes", "flash_bytes")


@cache
def compiler_of(back_end: str) -> str:
    """Name and version: counts are compared with those of the same compiler only."""
    compiler = load_board(back_end).compiler
    done = subprocess.run([compiler, "-dumpfullversion"], capture_output=True, text=True, check=True)
    return f"{compiler} {done.stdout.strip()}"


@pytest.mark.emulator
@pytest.mark.parametrize("back_end", BACK_ENDS)
@pytest.mark.parametrize("name", SMALL)
def test_network_is_exact_on_back_end(name: str, back_end: str, tmp_path: Path) -> None:
    """Every output value equals TFLM's, and the emulators count instructions and stack."""
    cell = measure(from_zoo(name, SAMPLES), back_end, tmp_path)
    assert cell.mismatches == 0
    assert cell.samples == SAMPLES
    assert cell.values == SAMPLES * (cell.values // SAMPLES) > 0
    assert ("TensorFlow Lite Micro" in cell.golden) == tflm_available()
    assert cell.arena_bytes >= cell.arena_lower_bound_bytes > 0
    assert cell.flash_bytes > 0
    if back_end == "host":
        assert cell.instructions is None
    else:
        # A MAC takes more than one instruction where no kernel uses SIMD; 60 would be a call a MAC.
        assert cell.instructions is not None and cell.instructions > cell.macs / 2
        assert cell.stack_bytes is not None and 0 < cell.stack_bytes <= 1024
        no_worse(cell)


def no_worse(cell: Cell) -> None:
    """No count is more than 2 % above the recorded one."""
    recorded = json.loads(GOLDEN.read_text())
    known, here = recorded["compilers"][cell.back_end], compiler_of(cell.back_end)
    if known != here:  # another compiler's code says nothing about ours
        warnings.warn(f"{cell.back_end}: counts were recorded with {known}, not compared with {here}'s", stacklevel=2)
        return
    for name in COUNTS:
        best = recorded["cells"][f"{cell.network} on {cell.back_end}"][name]
        found = getattr(cell, name)
        assert found <= best * WORSE, f"{cell.network} on {cell.back_end}: {name} is {found:,}, recorded {best:,}"


def test_markdown_leaves_unknown_numbers_empty() -> None:
    """A host row has no instruction count, and the table does not show one as zero."""
    cell = Cell("mlp", "host", 1000, 900, None, 64, 48, None, 900, "golden", 4, 12, 0, None)
    row = markdown([cell]).splitlines()[2]
    assert row == "| mlp | host | 1,000 | 900 |  |  | 64 | 48 |  | 900 | 4 | 12 | 0 |"


def main() -> None:
    """Record today's counts."""
    back_ends = [b for b in BACK_ENDS if b != "host"]
    cells = {}
    for name in SMALL:
        for back_end in back_ends:
            with tempfile.TemporaryDirectory() as folder:
                cell = measure(from_zoo(name, SAMPLES), back_end, Path(folder))
            cells[f"{name} on {back_end}"] = {count: getattr(cell, count) for count in COUNTS}
    document = {"compilers": {b: compiler_of(b) for b in back_ends}, "cells": cells}
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
