"""What a run found, written down: report.json (schema 1) and report.html."""

from secateur.compiler.report.document import ReportError, from_json, to_json, validate
from secateur.compiler.report.folder import read_report, write_report
from secateur.compiler.report.html import render
from secateur.compiler.report.record import Measured, Report
from secateur.compiler.report.terminal import summary

__all__ = [
    "Measured",
    "Report",
    "ReportError",
    "from_json",
    "read_report",
    "render",
    "summary",
    "to_json",
    "validate",
    "write_report",
]
