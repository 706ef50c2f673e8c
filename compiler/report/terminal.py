"""The report on a terminal: rich renderables that read well at 80 columns and, without colours, in a pipe."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from secateur.compiler.report import facts, words
from secateur.compiler.report.record import Measured, Report, Robustness

_SHORT = ("MACs", "RAM", "  stack", "Flash", "Instructions", "Cycles", "Latency",
          "  interval")  # fmt: skip


def summary(
    report: Report,
    report_path: str | None = None,
    flash_command: str | None = None,
    spent: dict[str, Any] | None = None,
) -> Group:
    """Before and after, the steps, the comparison with the golden runtime, the verdict, the next step.

    `spent`: what run.json says of energy.
    """
    parts: list[RenderableType] = [headline_table(report)]
    if report.steps:
        parts += [Text(), steps_table(report)]
    if report.details.measures and report.task != "classification":
        parts += [Text(), measures_table(report)]
    if report.robustness is not None:
        parts += [Text(), robustness_table(report.robustness, report.details.arithmetic)]
        parts += [_indented(note) for note in report.robustness.notes]
    if report.energy is not None:
        parts += [Text(), *(Text(line) for line in facts.energy_lines(report.energy))]
        parts += [Text(line) for line in facts.spent_lines(spent)] if spent is not None else []
    parts += [Text(), Text(facts.verification_line(report)), *verdict_lines(report)]
    parts += [_indented(note) for note in report.details.notes]
    # A path or a command that is broken over lines cannot be copied.
    if report_path is not None:
        parts.append(Text(f"report: {report_path}", no_wrap=True, overflow="ignore"))
    if flash_command is not None:
        parts.append(Text(f"flash a board: {flash_command}", no_wrap=True, overflow="ignore"))
    return Group(*parts)


def headline_table(report: Report) -> Table:
    """Quantity, before, after, limit, and how the result's number was got."""
    table = _table()
    table.add_column("", no_wrap=True)
    for name in ("before", "after", "limit"):
        table.add_column(name, justify="right")
    table.add_column("how")
    metric = words.capital(words.metric_word(report.metric))
    for row in facts.headline(report):
        if row.label in _SHORT or row.label.startswith(metric):
            after = Text(row.after.text, style="bold red" if row.violated else "bold")
            table.add_row(row.label, row.before.text, after, row.limit, row.after.kind or "")
    return table


def measures_table(report: Report) -> Table:
    """What else the answers on the test set say, in its own units."""
    table = _table()
    table.add_column("on the test set")
    for name in ("before, float", f"after, {report.details.arithmetic}"):
        table.add_column(name, justify="right")
    for m in report.details.measures:
        text = functools.partial(words.measure_text, unit=m.unit)
        table.add_row(Text(m.name), _cell(m.before, text), _cell(m.after, text))
    return table


def robustness_table(found: Robustness, arithmetic: str) -> Table:
    """Clean, attacked and corrupted, each corruption by its mean; report.html has every severity."""
    table = _table()
    table.add_column(f"{found.samples:,} test samples, {found.inputs}")
    for name in ("before\nfloat", f"before\n{arithmetic}", "after\nfloat", f"after\n{arithmetic}", "change"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in found.rows:
        if row.kind != "corruption":
            cells = (row.baseline_float, row.baseline_int8, row.result_float, row.result_int8)
            change = _cell(row.change_int8, lambda v: f"{v:+.1f}")
            table.add_row(
                Text(facts.stress_text(row, found.inputs)), *(_cell(c, words.percent_text) for c in cells), change
            )
    return table


def steps_table(report: Report) -> Table:
    """One line a step: similarity, accuracy after the cut and after recovery, and the cost then."""
    table = _table()
    table.add_column("#", justify="right")
    table.add_column(facts.path_title(report), overflow="fold", min_width=12)
    for name in ("CKA", "cut\n%", "after\n%", "RAM\nKiB", "flash\nKiB", "ms"):
        table.add_column(name, justify="right", no_wrap=True)
    for i, s in enumerate(report.steps, 1):
        table.add_row(
            str(i),
            Text(facts.step_text(s)),  # filters say how many
            _cell(s.score, lambda v: f"{v:.3f}"),
            _cell(s.accuracy_cut, lambda v: f"{v:.1f}"),
            _cell(s.accuracy_recovered, lambda v: f"{v:.1f}"),
            _cell(s.ram_bytes, lambda v: f"{v / words.KIB:,.1f}"),
            _cell(s.flash_bytes, lambda v: f"{v / words.KIB:,.1f}"),
            _cell(s.latency_ms, lambda v: words.ms_text(v).removesuffix(" ms")),
        )
    return table


def verdict_lines(report: Report) -> list[RenderableType]:
    """The verdict in its first line, then how it was got, a line a limit, and what has not been run."""
    verdict = facts.verdict(report)
    text = Text(verdict.headline + ", " if verdict.met else verdict.headline + ". ",
                style="bold green" if verdict.met else "bold red")  # fmt: skip
    text.append(verdict.how, style="not bold default")
    return [text, *(_indented(line) for line in (*verdict.lines, verdict.silicon) if line)]


def _indented(line: str) -> RenderableType:
    return Padding(Text(line), (0, 0, 0, 2))


def _table() -> Table:
    return Table(box=None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0), header_style="dim")


def _cell(measured: Measured[Any] | None, text: Callable[[Any], str]) -> str:
    return "-" if measured is None else text(measured.value)
