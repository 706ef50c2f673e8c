"""Which code made a saved result: after any change to it, nothing saved before is taken up again."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

FOLDERS = ("models", "targets", "firmware", "passes", "runtime_bench", "compiler")
SOURCES = (".py", ".toml", ".h", ".c", ".S", ".ld", ".j2")
ROOT = Path(__file__).parents[1]


@cache
def code_digest() -> str:
    """SHA-256 of the package's sources, paths included."""
    digest = hashlib.sha256()
    for folder in FOLDERS:
        for path in sorted(p for p in (ROOT / folder).rglob("*") if p.suffix in SOURCES and p.is_file()):
            digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return digest.hexdigest()
