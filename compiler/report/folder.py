"""The report's two files in OUT."""

from __future__ import annotations

from pathlib import Path

from secateur.compiler.report.document import from_json, to_json
from secateur.compiler.report.html import render
from secateur.compiler.report.record import Report
from secateur.errors import UserError


def read_report(folder: Path) -> Report:
    """The report in OUT. Raises UserError where there is none."""
    path = folder / "report.json"
    if not path.is_file():
        raise UserError(f"{path}: no report there. Run secateur compile first")
    return from_json(path.read_text(encoding="utf-8"))


def write_report(report: Report, folder: Path) -> tuple[Path, Path]:
    """Write `report.json` and `report.html`, each whole or not at all, and return their paths.

    Raises ReportError, before anything is written, where the document breaks the schema.
    """
    texts = {"report.json": to_json(report), "report.html": render(report)}
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        part = folder / f"{name}.part"
        part.write_text(text, encoding="utf-8", newline="\n")
        part.replace(folder / name)
    return folder / "report.json", folder / "report.html"
