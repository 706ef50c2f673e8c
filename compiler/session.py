"""One `compile`: from what the user asked for to the files in OUT."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from secateur import __version__
from secateur.compiler.budget import Budget, parse_bytes, parse_ms
from secateur.compiler.driver import Build, Compiled, compile_network, compile_program
from secateur.compiler.frontends.data import load_data, read_labels
from secateur.compiler.frontends.load import load_model
from secateur.compiler.report.folder import write_report
from secateur.compiler.report.record import Report
from secateur.compiler.report.tell import to_report
from secateur.compiler.search import SearchOptions, recovery_recipe
from secateur.errors import UserError
from secateur.firmware.board import load_board
from secateur.models.network import Network
from secateur.targets.target import find

WRITTEN = ("report.json", "report.html", "run.json", "trace.jsonl", "model.onnx", "model.tflite", "attempts")


@dataclass(frozen=True)
class Request:
    """The options of `compile`, as given."""

    model: str
    target: str
    data: str | None = None
    max_ram: str | None = None
    max_flash: str | None = None
    max_latency: str | None = None
    max_drop: float = 1.0
    min_accuracy: float | None = None
    require: str = "predicted"
    policy: str = "everything"
    method: str = "similarity"
    recovery: str = "short"
    steps: int = 1000
    floor: int = 2
    seed: int = 0
    resume: bool = False
    optimize: str = "balanced"
    run: str = "auto"
    port: str | None = None
    weights: Path | None = None
    input_shape: str | None = None
    labels: Path | None = None


@dataclass(frozen=True)
class Result:
    report: Report
    compiled: Compiled
    exit_code: int
    flashable: bool


def parse_shape(text: str | None) -> tuple[int, ...] | None:
    """'1,6,128' (batch first) as (6, 128).

    >>> parse_shape("1,6,128")
    (6, 128)
    """
    if text is None:
        return None
    try:
        values = tuple(int(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        values = ()
    if len(values) < 2 or values[0] != 1 or min(values) < 1:
        raise UserError(f"--input-shape {text}: write it with the batch of 1 in front, e.g. 1,6,128")
    return values[1:]


def budget_of(request: Request) -> Budget:
    """Sizes and times in numbers."""
    return Budget(
        ram_bytes=None if request.max_ram is None else parse_bytes(request.max_ram),
        flash_bytes=None if request.max_flash is None else parse_bytes(request.max_flash),
        latency_ms=None if request.max_latency is None else parse_ms(request.max_latency),
        max_drop=request.max_drop,
        min_accuracy=request.min_accuracy,
        require=request.require,  # type: ignore[arg-type]
    )


def compile_to(request: Request, out: Path, tell: Callable[[str], None]) -> Result:
    """Run one compile into `out`. The report is written last: a folder without it is not finished.

    Raises UserError before anything in `out` is touched where the request itself is at fault.
    """
    target, budget = find(request.target), budget_of(request)
    labels = read_labels(request.labels) if request.labels is not None else ()
    shape = parse_shape(request.input_shape)
    model = load_model(request.model, weights=request.weights, input_shape=shape, labels=labels)
    build = Build(request.run, request.port, request.optimize)  # type: ignore[arg-type]
    if isinstance(model, Network):
        if request.data is None:
            raise UserError(
                f"{request.model}: a float network needs --data: recovery, calibration and the accuracy floor are "
                "measured on it (file.npz, file.py:loader or zoo:NAME)"
            )
        data = load_data(request.data, model.input_shape, model.labels, request.seed)
        if not model.labels:
            model = replace(model, labels=data.labels)
        options = SearchOptions(
            policy=request.policy, method=request.method, recovery=request.recovery, total_steps=request.steps,
            seed=request.seed, floor=request.floor,
        )  # fmt: skip
        recipe = recovery_recipe(data, request.steps)
        _clear(out, keep_checkpoints=request.resume)
        compiled = compile_network(model, data, target, budget, options, recipe, build, out, request.resume, tell)
    else:
        program = replace(model, labels=labels) if labels else model
        path = Path(request.model)
        shapes = program.tensors[program.inputs[0]].shape
        data = None
        if request.data is not None:
            data = load_data(request.data, _channels_first(shapes), program.labels, request.seed)
        _clear(out, keep_checkpoints=False)
        compiled = compile_program(program, path.read_bytes(), data, target, budget, build, out, request.seed, tell)
    report = to_report(compiled)
    _write_trace(compiled, out)
    write_report(report, out)
    flashable = compiled.after.deployed.image is not None and load_board(target.environment).chip is not None
    return Result(report, compiled, compiled.outcome.exit_code, flashable)


def _channels_first(shape: Sequence[int]) -> tuple[int, ...]:
    """A Program's input shape as data sets have it: (features,), (c, l) or (c, h, w)."""
    if len(shape) != 4:
        return tuple(shape[1:])
    _, h, w, c = shape
    return (c, w) if h == 1 else (c, h, w)


def _clear(out: Path, keep_checkpoints: bool) -> None:
    """Remove what an earlier run wrote, the report first, so that nothing half-done looks finished."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: a file is in the way; name a folder with -o")
    ours = ("firmware", "baseline", *(() if keep_checkpoints else ("checkpoints",)))
    for name in (*WRITTEN, *ours):
        path = out / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)


def _write_trace(compiled: Compiled, out: Path) -> None:
    """One JSON line an event: the path walked, for scripts."""
    lines = []
    for number, step in enumerate(compiled.state.steps if compiled.state else (), 1):
        lines.append(
            {
                "event": "remove", "step": number, "kind": step.kind, "unit": step.unit, "classes": step.classes,
                "similarity": step.similarity, "accuracy_cut": step.accuracy_cut,
                "accuracy_recovered": step.accuracy_recovered, "trained_steps": step.trained_steps,
                "macs": step.macs, "ram_bytes": step.reached.ram_bytes, "flash_bytes": step.reached.flash_bytes,
                "latency_ms": step.reached.latency_ms,
            }
        )  # fmt: skip
    lines.append({"event": "verdict", "met": compiled.outcome.met, "exit_code": compiled.outcome.exit_code})
    (out / "trace.jsonl").write_text("".join(json.dumps(line, sort_keys=True) + "\n" for line in lines))


def write_run_record(out: Path, started: float, command: list[str], host: str) -> None:
    """`run.json`: everything that differs from run to run."""
    record = {
        "command": command, "host": host, "started_unix": round(started, 3), "seconds": round(time.time() - started, 3),
        "python": sys.version.split()[0], "cores": os.cpu_count(), "secateur": __version__,
    }  # fmt: skip
    (out / "run.json").write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
