"""Report to one self-contained HTML file: no script, no request, the same bytes for the same report."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from secateur.compiler.report import charts, facts, words
from secateur.compiler.report.document import to_document
from secateur.compiler.report.record import Confusion, Kind, Layer, MemoryMap, Report, Side, Step

SHOWN_LAYERS = 16
SHOWN_CLASSES = 20
SHOWN_CONFUSIONS = 20


@dataclass(frozen=True)
class Bar:
    """A layer's bar; widths are percent of the widest, `was` is the same layer's before."""

    name: str
    op: str
    text: str
    share: str
    width: float
    was: float | None
    was_text: str


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix as shown: `rows` of (label, cells (count, share of row 0 to 1), recall)."""

    title: str
    caption: str
    rows: tuple[tuple[str, tuple[tuple[int, float], ...], str], ...]
    worst: tuple[tuple[str, str, int], ...]


@dataclass(frozen=True)
class Source:
    """A line of the provenance table; `pointer` has * where several numbers share kind and source."""

    pointer: str
    numbers: int
    kind: Kind
    source: str


@cache
def _template() -> Template:
    """Compiled once a process: that takes longer than a report."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals.update(words=words, facts=facts, shown=facts.shown, value_of=words.value_of)
    environment.filters.update(
        {n.removesuffix("_text"): getattr(words, n) for n in dir(words) if n.endswith("_text")},
        plural=words.plural,
    )
    return environment.get_template("report.html.j2")


def render(report: Report) -> str:
    """The text of `report.html`. Names from the user's files are escaped."""
    layers, layer_unit = layer_bars(report)
    verdict = facts.verdict(report)
    return _template().render(
        r=report,
        d=report.details,
        verdict=verdict,
        how=words.capital(verdict.how) if verdict.met else verdict.how,
        verification=words.capital(facts.verification_line(report)),
        limits=facts.limits(report),
        headline=facts.headline(report),
        metric=words.metric_word(report.metric),
        columns=[
            (c[0], c[1].replace("accuracy", words.metric_word(report.metric)), c[2])
            for c in _COLUMNS
            if any(getattr(s, c[0]) is not None for s in report.steps)
        ],
        column_kinds={c[0]: _one_kind(report.steps, c[0]) for c in _COLUMNS},
        panels=path_panels(report),
        memories=memory_charts(report),
        bars=layers,
        bar_unit=layer_unit,
        bar_kind=_one_kind(report.result.layers, layer_unit.lower()),
        matrices=matrices(report),
        sources=sources(report),
        width=_percent,
    )


_COLUMNS = (
    ("score", "similarity", words.score_text),
    ("accuracy_cut", "accuracy after cut", words.percent_text),
    ("accuracy_recovered", "after recovery", words.percent_text),
    ("macs", "MACs", words.count_text),
    ("ram_bytes", "RAM", words.bytes_text),
    ("flash_bytes", "flash", words.bytes_text),
    ("latency_ms", "latency, at most", words.ms_text),
)


def path_panels(report: Report) -> list[tuple[str, str, Markup]]:
    """(title, what came of it, chart) for each quantity that the steps know."""
    budget, base, steps = report.budget, report.baseline, report.steps
    titles = ["input network", *(f"step {i}, {s.pass_name} {s.unit}" for i, s in enumerate(steps, 1))]
    span = facts.latency(base)
    start: dict[str, Any] = {
        "macs": words.value_of(base.macs),
        "ram_bytes": words.value_of(base.ram_bytes),
        "flash_bytes": words.value_of(base.flash_bytes),
        "latency_ms": span.value[1] if span else None,
    }
    limit = {
        "ram_bytes": budget.ram_bytes,
        "flash_bytes": budget.flash_bytes,
        "latency_ms": budget.latency_ms,
    }

    def series(name: str, text: Any, style: str, line: bool = True) -> charts.Series:
        values = [start.get(name), *(words.value_of(getattr(s, name)) for s in steps)]
        said = [f"{t}: {text(v)}" if v is not None else t for t, v in zip(titles, values, strict=True)]
        return charts.Series(values, said, style, line)

    found = []
    accuracy = [
        series("accuracy_cut", words.percent_text, "before", line=False),
        series("accuracy_recovered", words.percent_text, "after"),
    ]
    for name, title, text in _COLUMNS:
        if name == "accuracy_recovered":
            continue
        if name == "accuracy_cut":
            title, parts, zero = f"validation {words.metric_word(report.metric)}", accuracy, False
        else:
            parts, zero = [series(name, text, "after", line=name != "score")], name != "score"
        chart = charts.path_panel(title, parts, text, limit.get(name), zero)
        if chart:
            known = [v for v in parts[-1].values if v is not None]
            came = f"{text(known[0])} to {text(known[-1])}" if known else ""
            found.append((title[0].upper() + title[1:], came, chart))
    return found


def memory_charts(report: Report) -> list[tuple[str, MemoryMap, str, Markup, Markup, Markup]]:
    """(title, map, operator at the peak, live bytes, both arenas) before and after, as far as known."""
    sides = [
        (title, memory, style)
        for title, memory, style in (
            ("Before", report.details.memory_baseline, "before"),
            ("After", report.details.memory_result, "after"),
        )
        if memory is not None
    ]
    top = max((max(m.live_bytes, default=0) for _, m, _ in sides), default=0)
    return [
        (
            title,
            m,
            m.steps[max(range(len(m.live_bytes)), key=m.live_bytes.__getitem__)] if m.live_bytes else "",
            charts.live_panel(title, m, top, style, words.bytes_text),
            charts.arena_map(title, m, style, words.bytes_text),
            charts.arena_map(title, m, style, words.bytes_text, "slow") if m.slow_arena_bytes else Markup(""),
        )
        for title, m, style in sides
    ]


def layer_bars(report: Report) -> tuple[list[Bar], str]:
    """The result's layers, the most expensive first, and what they are counted in ('' if unknown)."""
    for unit in ("instructions", "macs"):
        cost = {layer: words.value_of(getattr(layer, unit)) for layer in report.result.layers}
        known = sorted(((c, x) for x, c in cost.items() if c is not None), key=lambda p: -p[0])
        if known:
            return _bars(known, report.baseline, unit), "instructions" if unit == "instructions" else "MACs"
    return [], ""


def _bars(known: list[tuple[int, Layer]], baseline: Side, unit: str) -> list[Bar]:
    total = sum(c for c, _ in known) or 1
    was = {layer.name: words.value_of(getattr(layer, unit)) for layer in baseline.layers}
    shown, rest = known[:SHOWN_LAYERS], known[SHOWN_LAYERS:]
    widest = max([c for c, _ in shown] + [was.get(x.name) or 0 for _, x in shown] + [sum(c for c, _ in rest)]) or 1
    bars = [
        Bar(
            layer.name,
            layer.op,
            words.count_text(c),
            f"{c / total * 100:.1f} %",
            c / widest * 100,
            None if (b := was.get(layer.name)) is None else b / widest * 100,
            "" if b is None else words.count_text(b),
        )
        for c, layer in shown
    ]
    if rest:
        c = sum(c for c, _ in rest)
        name = f"{len(rest)} smaller {'layer' if len(rest) == 1 else 'layers'}"
        bars.append(Bar(name, "", words.count_text(c), f"{c / total * 100:.1f} %", c / widest * 100, None, ""))
    return bars


def matrices(report: Report) -> list[Matrix]:
    """Confusion matrices before and after, as far as known."""
    both = (("Before", report.details.confusion_baseline), ("After", report.details.confusion_result))
    return [_matrix(title, c, report.details.labels) for title, c in both if c is not None]


def _matrix(title: str, confusion: Confusion, labels: tuple[str, ...]) -> Matrix:
    counts = confusion.counts
    names = [labels[i] if i < len(labels) else str(i) for i in range(len(counts))]
    rows = []
    for i, row in enumerate(counts):
        total = sum(row)
        cells = tuple((n, n / total if total else 0.0) for n in row)
        rows.append((names[i], cells, f"{row[i] / total * 100:.0f} %" if total else ""))
    wrong = [(n, i, j) for i, row in enumerate(counts) for j, n in enumerate(row) if i != j and n]
    wrong.sort(key=lambda w: (-w[0], w[1], w[2]))
    worst = tuple((names[i], names[j], n) for n, i, j in wrong[:SHOWN_CONFUSIONS])
    right, total = sum(row[i] for i, row in enumerate(counts)), sum(map(sum, counts))
    caption = f"{right:,} of {total:,} {confusion.split} samples right, {confusion.program}"
    return Matrix(title, caption, tuple(rows) if len(counts) <= SHOWN_CLASSES else (), worst)


def sources(report: Report) -> list[Source]:
    """Where every number is from, with the members of a list that agree in one line."""
    found: dict[tuple[str, Kind, str], int] = {}
    for pointer, origin in to_document(report)["provenance"].items():
        key = (re.sub(r"/\d+(?=/|$)", "/*", pointer), origin["kind"], origin["source"])
        found[key] = found.get(key, 0) + 1
    return [Source(p, n, kind, source) for (p, kind, source), n in found.items()]


def _one_kind(records: tuple[Step | Layer, ...], name: str) -> Kind | None:
    """The kind that a whole column shares; None where it is mixed or empty, and every cell says its own."""
    kinds = {getattr(r, name).kind for r in records if name and getattr(r, name) is not None}
    return kinds.pop() if len(kinds) == 1 else None


def _percent(value: float, scale: float) -> str:
    """A CSS width, kept within its track."""
    return f"{min(max(value / scale, 0.0), 1.0) * 100:.2f}%"
