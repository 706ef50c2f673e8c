"""`secateur bench kernels --against NAME=FOLDER`: another stack beside ours, by the same harness in the same machine.

Where its networks come from says `stacks.py`. Its outputs are counted against the golden runtime like ours, but a
difference is a number in the table, not an error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from secateur.compiler.bench.kernels import Cell, Subject, measure
from secateur.compiler.bench.stacks import OURS, AnyStack
from secateur.compiler.deploy import RUN_TIMEOUT_S
from secateur.errors import MismatchError, ToolError
from secateur.firmware.board import load_board
from secateur.firmware.other_stack import build_other_stack
from secateur.runtime_bench.golden import golden_outputs
from secateur.runtime_bench.runner import runner_for
from secateur.targets.target import find


@dataclass(frozen=True)
class OtherCell:
    """One network of another stack on one back end: the numbers of `kernels.Cell` that both have.

    `arena_bytes`: what the stack says that it uses. `flash_bytes`, `ram_bytes`: None on the host, whose C library and
    start-up code say nothing about a device.
    """

    stack: str
    network: str
    back_end: str
    macs: int
    instructions: int | None
    arena_bytes: int
    stack_bytes: int | None
    flash_bytes: int | None
    ram_bytes: int | None
    golden: str
    samples: int
    values: int
    mismatches: int

    @property
    def instructions_per_mac(self) -> float | None:
        return None if self.instructions is None else self.instructions / self.macs

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self) | {"instructions_per_mac": self.instructions_per_mac}


@dataclass(frozen=True)
class Row:
    """Our cell and the others' for the same network, samples and back end."""

    ours: Cell
    others: tuple[OtherCell, ...]

    def documents(self) -> list[dict[str, Any]]:
        """For `--json`."""
        return [{"stack": OURS, **self.ours.document()}, *(other.document() for other in self.others)]


def bench(
    subjects: Sequence[Subject],
    back_ends: Sequence[str],
    stacks: Sequence[AnyStack],
    tell: Callable[[str], None] = lambda line: None,
) -> list[Row]:
    """All rows, network by network. Stops at our first mismatch, and at a library that does not link or run."""
    for stack in stacks:
        stack.check(subjects, back_ends)
    rows = []
    for subject in subjects:
        for back_end in back_ends:
            with TemporaryDirectory() as folder:
                ours = measure(subject, back_end, Path(folder))
            tell(f"{subject.name} on {back_end}: {ours.values} values, {ours.mismatches} mismatches")
            others = []
            for stack in stacks:
                reason = stack.left_out(subject.name, back_end)
                if reason is not None:
                    tell(f"{subject.name} on {back_end}: {stack.name} left out, {reason}")
                    continue
                with TemporaryDirectory() as folder:
                    others.append(measure_other(subject, back_end, stack, Path(folder), tell))
                tell(f"{subject.name} on {back_end}: {stack.name}, {others[-1].mismatches} mismatches")
            rows.append(Row(ours, tuple(others)))
    return rows


def measure_other(
    given: Subject, back_end: str, stack: AnyStack, folder: Path, tell: Callable[[str], None] = lambda line: None
) -> OtherCell:
    """Link the stack's network with our harness in the empty `folder` and run it.

    Raises ToolError when it does not compile or link, fails, or gives other outputs when it runs a second time.
    """
    found, called = stack.linkable(given, back_end, folder, tell), stack.called(given.name, back_end)
    project = folder / "project"
    image = build_other_stack(project, found.library, given.program, find(back_end), given.inputs, found.more, called)
    try:
        run = runner_for(back_end).run(image, RUN_TIMEOUT_S)
    except (ToolError, MismatchError) as error:
        raise ToolError(f"{called}: {error}") from error
    golden = golden_outputs(given.content, given.program, given.inputs)
    bare = load_board(back_end).bare
    ram_bytes = run.arena_bytes + image.data_bytes + image.bss_bytes + (run.stack_bytes or 0) if bare else None
    return OtherCell(
        stack.name, given.name, back_end, given.program.macs, run.instructions, run.arena_bytes, run.stack_bytes,
        image.flash_bytes if bare else None, ram_bytes, golden.runtime, len(run.outputs), run.outputs.size,
        int(np.count_nonzero(run.outputs != golden.outputs)),
    )  # fmt: skip


def markdown(rows: Sequence[Row]) -> str:
    """The table; each × column says how many times ours the other stack's number is."""
    lines = [
        "| network | back end | stack | instructions | × | per MAC | arena, B | stack, B | RAM, B | × | flash, B | × "
        "| mismatches |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        ours = row.ours
        lines.append(_line(OURS, ours, ours))
        lines += [_line(other.stack, other, ours) for other in row.others]
    first = rows[0].ours
    lines.append(
        f"\n{first.samples} samples each, outputs compared with {first.golden}. RAM: arena, data and the stack of one "
        "inference. Flash: code and constants without the harness. ×: times ours."
    )
    return "\n".join(lines) + "\n"


def _line(stack: str, cell: Cell | OtherCell, ours: Cell) -> str:
    def number(value: int | None) -> str:
        return "" if value is None else f"{value:,}"

    def times(value: int | None, our: int | None) -> str:
        return "" if cell is ours or value is None or not our else f"{value / our:.2f}"

    per_mac = cell.instructions_per_mac
    texts = (
        number(cell.instructions), times(cell.instructions, ours.instructions),
        "" if per_mac is None else f"{per_mac:.2f}",
        number(cell.arena_bytes), number(cell.stack_bytes),
        number(cell.ram_bytes), times(cell.ram_bytes, ours.ram_bytes),
        number(cell.flash_bytes), times(cell.flash_bytes, ours.flash_bytes),
        f"{cell.mismatches:,} of {cell.values:,}",
    )  # fmt: skip
    return f"| {cell.network} | {cell.back_end} | {stack} | {' | '.join(texts)} |"
