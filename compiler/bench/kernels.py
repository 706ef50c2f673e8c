"""`secateur bench kernels`: int8 networks on every back end, each output compared with the golden runtime.

Any `.tflite` files, or the small networks of the zoo with seeded, random weights: this measures kernels, planner and
code generator, and says nothing about accuracy. Instructions and stack are emulated; arena and flash are read from
the built image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from secateur.compiler.deploy import deploy
from secateur.compiler.export.calibrate import calibrate
from secateur.compiler.export.quantize import quantize, quantize_samples
from secateur.compiler.export.tflite import tflite_bytes
from secateur.compiler.frontends.tflite_file import load_tflite, parse_tflite
from secateur.models.program import Program, random_inputs
from secateur.models.zoo.small import small_network
from secateur.passes.program.lower import lower, to_channels_last
from secateur.targets.target import find

BACK_ENDS = ("host", "qemu-riscv32", "qemu-cortex-m4", "qemu-xtensa")
CALIBRATION_SAMPLES = 16


@dataclass(frozen=True)
class Cell:
    """One network on one back end; sizes in bytes, instructions of one inference (None: the host counts none).

    `macs`: of the file as it is; `live_macs`: what is left of them after exact simplification.
    `ram_bytes`: arena, data and stack; None on the host, whose start-up code says nothing about a device.
    `values` output values of `samples` samples were compared with the runtime named `golden`.
    """

    network: str
    back_end: str
    macs: int
    live_macs: int
    instructions: int | None
    arena_bytes: int
    arena_lower_bound_bytes: int
    stack_bytes: int | None
    flash_bytes: int
    golden: str
    samples: int
    values: int
    mismatches: int
    ram_bytes: int | None

    @property
    def instructions_per_mac(self) -> float | None:
        return None if self.instructions is None else self.instructions / self.macs

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self) | {"instructions_per_mac": self.instructions_per_mac}


@dataclass(frozen=True)
class Subject:
    """A network as the `.tflite` file that all back ends are given; `inputs`: (n, input bytes)."""

    name: str
    program: Program
    content: bytes
    inputs: npt.NDArray[np.int8]


def from_file(path: Path, samples: int) -> Subject:
    """Anybody's int8 `.tflite`, on seeded random inputs."""
    program = load_tflite(path)
    return Subject(path.stem, program, path.read_bytes(), random_inputs(program, samples, 0))


@cache
def from_zoo(name: str, samples: int) -> Subject:
    """A network of SMALL with seeded weights, quantized on seeded noise, and the first `samples` of that noise."""
    network = small_network(name)
    count = max(samples, CALIBRATION_SAMPLES)
    noise = np.random.default_rng(1).normal(size=(count, *network.input_shape)).astype(np.float32)
    x = to_channels_last(noise)
    floats = lower(network)
    content = tflite_bytes(quantize(floats, calibrate(floats, x)))
    program = parse_tflite(content, name, f"{name}.tflite")
    return Subject(name, program, content, quantize_samples(program, x[:samples]).reshape(samples, -1))


def measure(given: Subject, back_end: str, project: Path) -> Cell:
    """Build for `back_end` in the folder `project` and run it.

    Raises MismatchError when an output differs from the golden runtime, ToolError when a tool is missing or fails.
    """
    found = deploy(given.content, given.program, given.name, find(back_end), given.inputs, project, limits="none")
    assert found.image is not None and found.run is not None and found.comparison is not None
    c, r = found.comparison, found.run
    return Cell(
        given.name, back_end, given.program.macs, found.planned.program.macs, r.instructions, found.image.arena_bytes,
        found.cost.arena_lower_bound_bytes, r.stack_bytes, found.image.flash_bytes, c.golden, c.samples, c.values,
        c.mismatches, found.ram_bytes if r.kind == "emulated" else None,
    )  # fmt: skip


def bench(
    subjects: Iterable[Subject],
    back_ends: Iterable[str] = BACK_ENDS,
    tell: Callable[[str], None] = lambda line: None,
) -> list[Cell]:
    """All cells, network by network. Stops at the first mismatch: it is our bug."""
    cells = []
    for subject in subjects:
        for back_end in back_ends:
            with TemporaryDirectory() as folder:
                cells.append(measure(subject, back_end, Path(folder)))
            tell(f"{subject.name} on {back_end}: {cells[-1].values} values, {cells[-1].mismatches} mismatches")
    return cells


def markdown(cells: list[Cell]) -> str:
    """The table, as it stands in docs/results.md."""
    lines = [
        "| network | back end | MACs | live MACs | instructions | per MAC | arena, B | its lower bound, B | stack, B "
        "| flash, B | samples | values | mismatches |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for c in cells:
        ratio = "" if c.instructions_per_mac is None else f"{c.instructions_per_mac:.2f}"
        numbers = (c.arena_bytes, c.arena_lower_bound_bytes, c.stack_bytes, c.flash_bytes, c.samples, c.values,
                   c.mismatches)  # fmt: skip
        texts = ["" if n is None else f"{n:,}" for n in (c.macs, c.live_macs, c.instructions)]
        texts += [ratio, *("" if n is None else f"{n:,}" for n in numbers)]
        lines.append(f"| {c.network} | {c.back_end} | {' | '.join(texts)} |")
    total, wrong = sum(c.values for c in cells), sum(c.mismatches for c in cells)
    lines.append(f"\n{len(cells)} cells, {total:,} output values compared with {cells[0].golden}, {wrong} mismatches.")
    return "\n".join(lines) + "\n"
