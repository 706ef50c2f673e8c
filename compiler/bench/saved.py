"""Runs of a benchmark that are kept: a stopped benchmark continues, and a stale result is never taken for a new one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from secateur.compiler.code_digest import code_digest


def read(path: Path, key: Mapping[str, Any]) -> Any:
    """What was saved under the same key by the same code; None where nothing was."""
    if not path.is_file():
        return None
    record = json.loads(path.read_text())
    return record["run"] if record.get("key") == _normal(key) else None


def write(path: Path, key: Mapping[str, Any], run: Any) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"key": _normal(key), "run": run}, indent=1) + "\n")
    part.replace(path)


def _normal(key: Mapping[str, Any]) -> Any:
    """As JSON gives it back, with the code that ran."""
    return json.loads(json.dumps({**key, "code": code_digest()}))
