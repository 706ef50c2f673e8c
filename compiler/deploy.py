"""A `.tflite` made into firmware and proven: plan, generate, build, run, compare with the golden runtime."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from secateur.compiler.picture_proof import picture_golden
from secateur.compiler.report.words import name_text, plural, slow_memory_text
from secateur.compiler.stream_proof import stream_golden
from secateur.errors import ToolError
from secateur.firmware.codegen import generate
from secateur.firmware.image import DoesNotFitLink, Image, build
from secateur.firmware.project import Limits, Optimize, write_project
from secateur.models.front_end.image import ImageChain
from secateur.models.program import Program
from secateur.passes.program.cost import Cost, Planned, cost, plan
from secateur.passes.program.regions import PATCHES, Relief
from secateur.runtime_bench.emulator import boot, can_boot
from secateur.runtime_bench.golden import Comparison, Golden, compare, golden_outputs
from secateur.runtime_bench.runner import Run, runner_for
from secateur.targets.target import Target

log = logging.getLogger(__name__)

RUN_TIMEOUT_S = 900.0
BOOT_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Deployed:
    """One Program on one target. `image`: what would be flashed; None, like `run`, with --run none.

    The image is None too where only the host ran: that proves values, and its sizes are no device's.
    `ran_on`: environment of the run. `booted`: samples that the device's own image computed in an emulator of
    the chip, None where no such emulator is installed.
    """

    planned: Planned
    cost: Cost
    image: Image | None
    run: Run | None
    comparison: Comparison | None
    ran_on: str | None
    booted: Comparison | None = None
    overflow_bytes: dict[str, int] = field(default_factory=dict)  # by region; the image is then linked without limits

    @property
    def kind(self) -> str:
        """How the numbers were got: predicted, emulated or measured; a host run proves values, no cost."""
        if self.run is None or self.run.kind == "host":
            return "predicted"
        return self.run.kind

    @property
    def front_end_instructions(self) -> int | None:
        """What a decision costs beside the network's layers; None where unknown, 0 without a front end.

        Frames that are computed after a window's last one, within the same piece of the stream, count too.
        """
        if self.planned.program.preprocess.front_end is None:
            return 0
        layers, total = self.layer_counts, self.instructions
        return None if layers is None or total is None else total - sum(layers)

    @property
    def layer_counts(self) -> tuple[int, ...] | None:
        """Instructions (on a board: cycles) of the network's operators in one inference, None where nothing ran."""
        layers = self.run.layer_instructions if self.run is not None else None
        if layers is None or self.planned.program.preprocess.front_end is None:
            return layers
        return layers[1:]

    @property
    def stack_bytes(self) -> int | None:
        seen = self.run.stack_bytes if self.run is not None else None
        return self.cost.stack_bytes if seen is None else seen

    @property
    def ram_bytes(self) -> int:
        if self.image is None:
            return self.cost.ram_bytes
        i = self.image
        weights = self.cost.constant_bytes if self.cost.weights_in_ram else 0
        return i.arena_bytes + i.data_bytes + i.bss_bytes + (self.stack_bytes or 0) + weights

    @property
    def flash_bytes(self) -> int:
        return self.cost.flash_bytes if self.image is None else self.image.flash_bytes

    @property
    def instructions(self) -> int | None:
        if self.run is not None and self.run.instructions is not None:
            return self.run.instructions
        return self.cost.instructions


def deploy(
    content: bytes,
    program: Program,
    name: str,
    target: Target,
    samples: npt.NDArray[np.int8],
    project: Path,
    *,
    run: str = "auto",
    port: str | None = None,
    limits: Limits = "target",
    optimize: Optimize = "balanced",
    ram_bytes: int | None = None,
    relief: Relief = PATCHES,
    tell: Callable[[str], None] = log.info,
) -> Deployed:
    """Build `program`, which is the `.tflite` bytes `content`, and run `samples` (n, input bytes) through it.

    `run`: auto (the board at `port`, else the target's emulator), host, emulator, board, none.
    An image that the linker cannot place in the device's memory is linked without limits, measured all the same,
    and its `overflow_bytes` say by how much it is too large. Above `ram_bytes`, the plan does what `relief` allows.
    Behind a front end, `samples` are pieces of a raw stream, or a camera's frames.
    Raises MismatchError when any output value differs from the golden runtime, ToolError when a tool is
    missing or fails.
    """
    planned = plan(program, target, ram_bytes=ram_bytes, relief=relief)

    def build_and_run(planned: Planned) -> Deployed:
        for p in planned.patches:
            tell(
                f"in patches for the RAM limit: {plural(p.layers, 'layer')}, {name_text(p.first)} to "
                f"{name_text(p.last)}, in {p.bands} bands of rows; {p.extra_macs:,} MACs are computed again"
            )
        slow = slow_memory_text(planned.memory)
        if slow:
            tell(f"for the RAM limit, {slow}")
        return _build_and_run(
            planned, content, program, name, target, samples, project, run, port, limits, optimize, tell
        )

    made = build_and_run(planned)
    if ram_bytes is None or made.image is None or made.ram_bytes <= ram_bytes:
        return made
    tighter = plan(program, target, ram_bytes=2 * ram_bytes - made.ram_bytes, relief=relief)
    if tighter.memory.arena_bytes >= planned.memory.arena_bytes:
        return made
    tell(f"the image takes {made.ram_bytes - ram_bytes:,} bytes of RAM more than allowed: planned anew")
    return build_and_run(tighter)


def _build_and_run(
    planned: Planned, content: bytes, program: Program, name: str, target: Target, samples: npt.NDArray[np.int8],
    project: Path, run: str, port: str | None, limits: Limits, optimize: Optimize, tell: Callable[[str], None],
) -> Deployed:  # fmt: skip
    p, memory = planned.program, planned.memory
    model = generate(
        p, planned.selection, memory.tensor_offsets, memory.arena_bytes, name, memory.slow.tensors,
        memory.slow.arena_bytes,
    )  # fmt: skip
    write_project(project, model, target, samples, limits=limits, optimize=optimize)
    predicted = cost(planned, target)
    if run == "none":
        return Deployed(planned, predicted, None, None, None, None)
    golden = golden_of(content, program, samples)
    where = _where(run, target, port)
    overflow: dict[str, int] = {}
    try:
        image = build(project, "host" if where == "host" else target.environment)
    except DoesNotFitLink as error:
        if limits == "none":
            raise
        tell(str(error))
        overflow = error.overflow_bytes
        write_project(project, model, target, samples, limits="none", optimize=optimize)
        image = build(project, target.environment)
    built = image if where == image.environment else build(project, where)
    found = runner_for(where, port if where == target.environment else None).run(built, RUN_TIMEOUT_S)
    comparison = compare(golden, found.outputs, where)
    tell(
        f"{where}: outputs equal {golden.runtime}: {comparison.samples} samples, {comparison.values} values, "
        f"{comparison.mismatches} mismatches"
    )
    booted = None
    if where not in (target.environment, "host") and can_boot(target.environment):
        try:
            outputs = boot(image, BOOT_TIMEOUT_S).outputs
        except ToolError as error:  # one more witness, not the verdict's: a user's other QEMU must not stop a compile
            tell(f"{target.environment}: the image was not seen to boot: {error}")
        else:
            booted = compare(golden, outputs, f"{target.environment} machine")
            tell(
                f"{target.environment}: the image boots in an emulated {target.environment}; its outputs are equal too"
            )
    real = None if where != target.environment and where == "host" else image
    return Deployed(planned, predicted, real, found, comparison, where, booted, overflow)


def golden_of(content: bytes, program: Program, samples: npt.NDArray[np.int8]) -> Golden:
    """What the harness must report of its samples: the network's outputs, behind a front end decisions too."""
    front = program.preprocess.front_end
    if isinstance(front, ImageChain):
        return picture_golden(content, program, samples)
    if front is not None:
        return stream_golden(content, program, samples)
    return golden_outputs(content, program, samples)


def _where(run: str, target: Target, port: str | None) -> str:
    if run == "board" and port is None:
        raise ToolError(f"{target.name}: --run board needs --port; secateur doctor lists what is connected")
    if run == "board" or (run == "auto" and port is not None):
        return target.environment
    return "host" if run == "host" else target.emulator
