"""The steps after compile, one at a time, on the folder that it wrote: build, run, flash, bench device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.table import Table

from secateur.compiler.deploy import golden_of
from secateur.compiler.frontends.preprocess_file import NAME as PREPROCESS
from secateur.compiler.frontends.preprocess_file import read_preprocess
from secateur.compiler.frontends.tflite_file import load_tflite
from secateur.compiler.loading import sample_shape
from secateur.compiler.look import table
from secateur.compiler.report.folder import read_report
from secateur.errors import ToolError, UserError
from secateur.firmware.board import EXAMPLE, environments, load_board
from secateur.firmware.esp import flash_board
from secateur.firmware.image import Image, build
from secateur.firmware.samples import read_samples
from secateur.runtime_bench.console import console
from secateur.runtime_bench.golden import Comparison, compare
from secateur.runtime_bench.runner import Run, runner_for
from secateur.targets.target import Target, find

TIMEOUT_S = 900.0


def _target(out: Path) -> Target:
    return find(read_report(out).target.name)


def _project(out: Path) -> Path:
    project = out / "firmware"
    if not (project / "platformio.ini").is_file():
        raise UserError(f"{out}: no firmware there; run secateur compile ... -o {out} first")
    return project


def build_out(out: Path, env: str | None) -> Image:
    """Build one environment of OUT's project."""
    project = _project(out)
    return build(project, env or _target(out).environment)


def image_document(image: Image) -> dict[str, Any]:
    return {
        "environment": image.environment, "elf": str(image.elf), "flash_bytes": image.flash_bytes,
        "code_bytes": image.code_bytes, "weights_bytes": image.weights_bytes, "arena_bytes": image.arena_bytes,
        "data_bytes": image.data_bytes, "bss_bytes": image.bss_bytes,
    }  # fmt: skip


def run_out(out: Path, env: str | None, port: str | None) -> dict[str, Any]:
    """Run OUT's firmware and compare with the golden runtime. Raises MismatchError on any difference."""
    project, target = _project(out), _target(out)
    where = env or (target.environment if port else target.emulator)
    image = build(project, where)
    found = runner_for(where, port).run(image, TIMEOUT_S)
    comparison = _compare(out, project, found, where)
    return {
        "environment": where, "kind": found.kind, "golden": comparison.golden, "samples": comparison.samples,
        "values": comparison.values, "mismatches": comparison.mismatches, "instructions": found.instructions,
        "cycles": found.cycles, "stack_bytes": found.stack_bytes,
    }  # fmt: skip


def is_example(env: str | None) -> bool:
    return env is not None and env.endswith(EXAMPLE)


def run_example(out: Path, env: str, port: str | None) -> str:
    """What OUT's plain example prints."""
    if port is not None:
        raise UserError(f"{env}: an example's lines are not read from a board; flash it and open a serial monitor")
    return console(build(_project(out), env), TIMEOUT_S)


def _compare(out: Path, project: Path, found: Run, where: str) -> Comparison:
    path, preprocess = out / "model.tflite", out / PREPROCESS
    program = replace(load_tflite(path), labels=read_report(out).details.labels)
    if preprocess.is_file():
        program = replace(program, preprocess=read_preprocess(preprocess, sample_shape(program)))
    return compare(golden_of(path.read_bytes(), program, read_samples(project)), found.outputs, where)


def flash_out(out: Path, env: str | None, port: str, tell: Callable[[str], None]) -> dict[str, Any]:
    """Build, write the chip at `port`, verify and read back. What missed its budget is flashed, but not in silence."""
    project, environment = _project(out), env or _target(out).environment
    if load_board(environment).chip is None:
        raise UserError(f"{environment}: nothing to flash; it is an emulator. Compile for esp32 or esp32c3")
    budget = read_report(out).budget
    if budget.met == "no":
        missed = ", ".join(violation.limit for violation in budget.violations)
        tell(f"warning: this network did not meet its budget ({missed}); see {out / 'report.html'}")
    if not (project / ".pio" / "build" / environment / "firmware.elf").is_file():
        build(project, environment)
    flash_board(project, environment, port)
    return {"environment": environment, "port": port, "result": "written, verified and read back"}


def bench_device(out: Path, port: str | None, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """Every environment that runs here, and the board at `port`."""
    project, target = _project(out), _target(out)
    rows = []
    for environment in environments():
        board = load_board(environment)
        on_board = port is not None and environment == target.environment
        if board.chip is not None and not on_board:
            continue
        try:
            image = build(project, environment)
            found = runner_for(environment, port if on_board else None).run(image, TIMEOUT_S)
        except ToolError as error:
            tell(f"{environment}: left out: {error}")
            continue
        comparison = _compare(out, project, found, environment)
        rows.append(
            image_document(image)
            | {
                "kind": found.kind, "instructions": found.instructions, "cycles": found.cycles,
                "stack_bytes": found.stack_bytes, "layer_instructions": found.layer_instructions,
                "values": comparison.values, "mismatches": comparison.mismatches,
            }
        )  # fmt: skip
    if not rows:
        raise ToolError("no environment could be built and run; secateur doctor says what is missing")
    return rows


def bench_table(rows: list[dict[str, Any]]) -> Table:
    numbers = ("instructions", "stack", "arena", "flash", "values", "mismatches")
    made = table("environment", "kind", *numbers, right=numbers)
    for row in rows:
        keys = ("instructions", "stack_bytes", "arena_bytes", "flash_bytes", "values", "mismatches")
        cells = ["" if row[k] is None else f"{row[k]:,}" for k in keys]
        made.add_row(row["environment"], row["kind"], *cells)
    return made
