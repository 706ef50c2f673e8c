"""Every small network on every back end: the table that shows kernels, planner and code generator to be exact."""

from __future__ import annotations

from pathlib import Path

import pytest

from secateur.compiler.bench.kernels import BACK_ENDS, Cell, from_zoo, markdown, measure
from secateur.models.zoo.small import SMALL
from secateur.runtime_bench.golden import tflm_available

SAMPLES = 4


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


def test_markdown_leaves_unknown_numbers_empty() -> None:
    """A host row has no instruction count, and the table does not show one as zero."""
    cell = Cell("mlp", "host", 1000, 900, None, 64, 48, None, 900, "golden", 4, 12, 0)
    row = markdown([cell]).splitlines()[2]
    assert row == "| mlp | host | 1,000 | 900 |  |  | 64 | 48 |  | 900 | 4 | 12 | 0 |"
