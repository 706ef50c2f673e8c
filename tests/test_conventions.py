"""Rules of the house that no linter knows: tests say what they show, documents link to what exists."""

from __future__ import annotations

import ast
import os
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
OTHERS = {".venv", ".git", "build", "dist", "__pycache__", ".mypy_cache", ".ruff_cache", ".hypothesis"}


@cache
def everything() -> tuple[Path, ...]:
    """Files of the repository, without what was built or installed."""
    found = []
    for folder, inside, names in os.walk(ROOT):
        inside[:] = sorted(set(inside) - OTHERS)
        found += [Path(folder) / name for name in sorted(names)]
    return tuple(found)


def files(*patterns: str) -> list[Path]:
    """Files of the repository whose names match one of the patterns."""
    return [p for p in everything() if any(p.match(pattern) for pattern in patterns)]


def test_every_test_says_in_a_docstring_what_it_shows() -> None:
    """The docstring of a test is the behaviour in one sentence."""
    silent = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in files("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and not ast.get_docstring(node)
    ]
    assert silent == []


def test_links_between_documents_lead_somewhere() -> None:
    """A relative link in a Markdown file names a file or folder that exists."""
    dead = []
    for path in files("*.md"):
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text()):
            if "://" not in target and not (path.parent / target).exists():
                dead.append(f"{path.relative_to(ROOT)}: {target}")
    assert dead == []


def test_no_file_names_a_package_index_or_a_folder_of_one_machine() -> None:
    """Where packages come from, and where a checkout lies, is each machine's own affair."""
    telltale = re.compile(r"(index-url|find-links)[ =]+\S*://|(?<![\w.~])/(work|root)/\w")
    named = []
    for path in files("*.py", "*.sh", "*.md", "*.toml", "*.txt", "*.json", "*.c", "*.h", "*.j2", "Makefile", "run"):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if telltale.search(line):
                named.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert named == []
