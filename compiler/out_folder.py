"""OUT: whose it is, what an earlier run left in it, and the files that tell of a run."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from secateur import __version__
from secateur.compiler.driver import Compiled
from secateur.errors import UserError
from secateur.passes.network.removal import RESTORED

RUN = "run.json"
# The report first: without it nothing half-done looks finished.
WRITTEN = (
    "report.json",
    "report.html",
    "trace.jsonl",
    "model.onnx",
    "model.tflite",
    "preprocess.toml",
    "attempts",
    "firmware",
    "baseline",
)
CHECKPOINTS = "checkpoints"


def check_out(out: Path, inputs: Sequence[Path]) -> None:
    """Raise UserError where writing to `out` would destroy what is not ours: `inputs`, or another tool's files."""
    try:
        blocked = out.exists() and not out.is_dir()
    except OSError as error:  # a name that is too long
        raise UserError(f"{str(out)[:80]}: {error.strerror}; name another folder with -o") from error
    if blocked:
        raise UserError(f"{out}: a file is in the way; name a folder with -o")
    for path in inputs:
        if path.is_file() and out.resolve() in path.resolve().parents:
            raise UserError(f"{path} lies in {out}, where compile writes; name another folder with -o")
    there = [name for name in (*WRITTEN, CHECKPOINTS) if (out / name).exists()]
    if there and not _ours(out / RUN):
        raise UserError(
            f"{out}: holds {', '.join(there)}, not written by secateur (no {RUN} of ours beside); "
            "name an empty or a new folder with -o"
        )


def _ours(record: Path) -> bool:
    try:
        return "secateur" in json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def _reachable(out: Path) -> None:
    """Make the folder. Raises UserError where its path cannot be one."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out}: cannot be made: {error.strerror}; name another folder with -o") from error


def claim_out(out: Path, keep_checkpoints: bool, command: Sequence[str], started: float) -> None:
    """Mark `out` as ours, then remove what an earlier run wrote. `check_out` comes first."""
    _reachable(out)
    write_run_record(out, command, started, finished=False)
    for name in (*WRITTEN, *(() if keep_checkpoints else (CHECKPOINTS,))):
        path = out / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def write_run_record(
    out: Path, command: Sequence[str], started: float, finished: bool, energy: dict[str, Any] | None = None
) -> None:
    """`run.json`: everything that differs from run to run; `energy`: what search and recovery took."""
    seconds = round(time.time() - started, 3) if finished else None
    record = {
        "command": list(command), "host": platform.platform(), "started_unix": round(started, 3), "seconds": seconds,
        "finished": finished, "python": sys.version.split()[0], "cores": os.cpu_count(), "secateur": __version__,
    }  # fmt: skip
    record |= {} if energy is None else {"energy": energy}
    part = out / f"{RUN}.part"
    part.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
    part.replace(out / RUN)


def write_trace(compiled: Compiled, out: Path) -> None:
    """`trace.jsonl`: one JSON line an event, the path walked, for scripts."""
    lines: list[dict[str, Any]] = []
    for number, step in enumerate(compiled.state.steps if compiled.state else (), 1):
        lines.append(
            {
                "event": "restore" if step.kind == RESTORED else "remove",
                "step": number, "kind": step.kind, "unit": step.unit, "classes": step.classes,
                "similarity": step.similarity, "accuracy_cut": step.accuracy_cut,
                "accuracy_recovered": step.accuracy_recovered, "trained_steps": step.trained_steps,
                "network_steps": step.network_steps,
                "macs": step.macs, "ram_bytes": step.reached.ram_bytes, "flash_bytes": step.reached.flash_bytes,
                "latency_ms": step.reached.latency_ms,
                **({"more": [asdict(r) for r in step.more]} if step.more else {}),
            }
        )  # fmt: skip
    verdict: dict[str, Any] = {"event": "verdict", "met": compiled.outcome.met, "exit_code": compiled.outcome.exit_code}
    if compiled.state is not None:
        verdict |= {"network_steps": compiled.state.network_steps, "spent_steps": compiled.state.spent_steps}
    lines.append(verdict)
    (out / "trace.jsonl").write_text("".join(json.dumps(line, sort_keys=True) + "\n" for line in lines))
