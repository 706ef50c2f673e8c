"""One network built and run on its target, its accuracies, and what its image teaches about predictions."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from secateur.compiler.budget import Margins
from secateur.compiler.deploy import Deployed, deploy
from secateur.compiler.exported import Exported, raw_inputs
from secateur.compiler.judge import Judged, Scores, evaluate
from secateur.firmware.project import Optimize
from secateur.models.data import Data
from secateur.passes.program.regions import PATCHES, Relief
from secateur.targets.target import Target

log = logging.getLogger(__name__)

VERIFIED_SAMPLES = 32


@dataclass(frozen=True)
class Build:
    """How the image is made and run: the build options of the command line."""

    run: str = "auto"
    port: str | None = None
    optimize: Optimize = "balanced"
    samples: int = VERIFIED_SAMPLES


def image_of(
    exported: Exported,
    data: Data,
    target: Target,
    build: Build,
    project: Path,
    room: int | None = None,
    relief: Relief = PATCHES,
    tell: Callable[[str], None] = log.debug,
    tight: bool = True,
    quick: bool = False,
) -> Deployed:
    """Build and run one network on validation samples. `room`: bytes of RAM above which `relief` is used.

    `tight`: linked within the target's memory. `quick`: for what never ships: linked without limits, on no board, and
    two samples, or what a front end takes.
    """
    count = 2 if quick else min(build.samples, len(data.validation))
    chosen = np.linspace(0, len(data.validation) - 1, count).astype(int)
    if exported.network.preprocess.front_end is not None:
        proof = raw_inputs(exported.program, data)
    else:
        proof = exported.inputs(data.validation.subset(chosen))
    run = "auto" if quick and build.run == "board" else build.run
    return deploy(
        exported.content, exported.program, exported.network.name, target, proof, project,
        run=run, port=None if quick else build.port, optimize=build.optimize, tell=tell,
        limits="target" if tight and not quick else "none", ram_bytes=room, relief=relief,
    )  # fmt: skip


def judged(exported: Exported, deployed: Deployed, data: Data, known: Scores | None = None) -> Judged:
    """With the accuracies on validation. `known`: those, where the same file was judged before."""
    scores = known or evaluate(
        exported.network, exported.program, exported.content, data.validation, exported.inputs(data.validation),
        data.task,
    )  # fmt: skip
    return Judged(deployed, scores, None, exported.program.macs, exported.program.parameters)


def front_end_margins(deployed: Deployed) -> Margins:
    """What the input network's image shows of a front end, whose code and time no prediction knows."""
    if deployed.planned.program.preprocess.front_end is None:
        return Margins()
    above = 0 if deployed.image is None else max(0, deployed.flash_bytes - deployed.cost.flash_bytes)
    return Margins(flash_bytes=above, front_end_instructions=deployed.front_end_instructions or 0)


def learned(deployed: Deployed, old: Margins) -> Margins:
    """What the image taught: measured less predicted, applied to the predictions that follow."""
    predicted, factor = deployed.cost, old.instructions
    front = deployed.front_end_instructions or old.front_end_instructions
    if deployed.instructions is not None and predicted.instructions:
        factor = max(factor, (deployed.instructions - front) / predicted.instructions)
    return Margins(
        ram_bytes=max(old.ram_bytes, deployed.ram_bytes - predicted.ram_bytes),
        flash_bytes=max(old.flash_bytes, deployed.flash_bytes - predicted.flash_bytes),
        instructions=factor,
        front_end_instructions=front,
    )
