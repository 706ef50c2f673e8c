"""The tables and the plot of `bench pruning`: means over cases, and differences within them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from secateur.compiler.bench.pruning_plan import OURS, One, Row, by_share
from secateur.models.metrics import Interval, student_interval

LABELS = {
    OURS: "ours: layers and filters, similarity and weights lost per saving",
    "layers": "layers only, CKA",
    "filters": "filters only, PLS and VIP",
    "children": "a layer's child against a filters' child, CKA",
    "random": "random",
    "first": "first in order",
    "l1": "L1",
    "uniform": "uniform width, L1",
    "scratch": "our final architecture, from scratch",
    "hand": "the original made narrower, from scratch",
    "original": "the original, trained as long",
}
# of LABELS, in their order
COLOURS = (
    "#0b6e4f",
    "#3f88c5",
    "#7a5195",
    "#00a6a6",
    "#888888",
    "#c0a060",
    "#d1495b",
    "#edae49",
    "#222222",
    "#9c6644",
    "#000000",
)


def markdown(rows: Sequence[Row], steps: int) -> str:
    """A table a budget: the mean over cases with its 90 % interval, the costs, and where each difference stands."""
    parts = []
    for share, found in by_share(rows).items():
        if share is not None:
            parts.append(f"At {share} % of the original's latency:\n")
        word = found[0].runs[0].word
        parts.append(_means(found, steps, word))
        parts.append(_differences(found, word))
    return "\n".join(parts)


def _means(rows: Sequence[Row], steps: int, word: str) -> str:
    lines = [
        f"| method, {steps:,} training steps each | removals | after the cuts, validation {word} % "
        f"| after recovery, validation % | float, test % | int8, test % (90 % interval) | MACs | RAM, B | flash, B "
        "| instructions |",
        "|---|---:|---:|---:|---:|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        fit = sum(r.fits for r in row.runs)
        label = LABELS[row.method] + ("" if fit == len(row.runs) else f" (fits in {fit} of {len(row.runs)})")
        predicted = "" if all(r.emulated is not None for r in row.runs) else " predicted"
        cells = [
            _middle([float(r.removals) for r in row.runs], 0) if row.method not in ("hand", "original") else "",
            _middle([r.accuracy_cut for r in row.runs if r.accuracy_cut is not None], 1),
            _middle([r.accuracy_recovered for r in row.runs], 1),
            _middle([r.accuracy_float for r in row.runs], 1),
            f"**{_interval(student_interval([r.accuracy_int8 for r in row.runs]))}**",
            *(_middle([float(getattr(r, n)) for r in row.runs], 0) for n in ("macs", "ram_bytes", "flash_bytes")),
            _middle([float(r.emulated or r.instructions or 0) for r in row.runs], 0) + predicted,
        ]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _differences(rows: Sequence[Row], word: str) -> str:
    """Ours less each rival, paired by case."""
    runs = {row.method: {r.case: r for r in row.runs} for row in rows}
    if OURS not in runs:
        return ""
    lines = []
    for rival in runs:
        if rival != OURS:
            found = difference(runs[OURS], runs[rival])
            sure = "" if found.low is None or found.high is None or found.low <= 0 <= found.high else ", without 0"
            unfit = "" if all(r.fits for r in runs[rival].values()) else ", which does not fit"
            lines.append(f"- ours less {LABELS[rival]}{unfit}: {_interval(found, signed=True)} points of {word}{sure}")
    return "\n".join(lines) + "\n"


def difference(ours: dict[tuple[int | None, int], One], other: dict[tuple[int | None, int], One]) -> Interval:
    """Mean difference of int8 test accuracy in points with its 90 % Student-t interval over folds, seeds averaged
    first: the seeds of a fold share its people. Without folds, over seeds."""
    by_fold: dict[int | None, list[float]] = {}
    for case in ours.keys() & other.keys():
        by_fold.setdefault(case[0], []).append(ours[case].accuracy_int8 - other[case].accuracy_int8)
    if set(by_fold) == {None}:
        return student_interval(by_fold[None])
    return student_interval([statistics.mean(by_fold[fold]) for fold in sorted(by_fold, key=str)])


def _middle(values: Sequence[float], digits: int) -> str:
    return f"{statistics.mean(values):,.{digits}f}" if values else ""


def _interval(found: Interval, signed: bool = False) -> str:
    sign = "+" if signed else ""
    if found.low is None or found.high is None:
        return f"{found.value:{sign}.1f}"
    return f"{found.value:{sign}.1f} ({found.low:{sign}.1f} to {found.high:{sign}.1f})"


def plot(rows: Sequence[Row], path: Path, title: str) -> None:
    """The metric of the int8 network on test groups against its instructions and its RAM on the target, as SVG.

    The same rows give the same bytes.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = {"instructions": "instructions of one inference, millions", "ram_bytes": "RAM, KiB"}
    scale = {"instructions": 1e6, "ram_bytes": 1024.0}
    with pyplot.rc_context({"svg.hashsalt": "secateur", "font.size": 9}):
        figure, axes = pyplot.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
        for colour, method in zip(COLOURS, LABELS, strict=True):
            mine = [row for row in rows if row.method == method]
            for axis, cost in zip(axes, names, strict=True):
                x = [statistics.mean(float(getattr(r, cost) or 0) for r in row.runs) / scale[cost] for row in mine]
                found = [student_interval([r.accuracy_int8 for r in row.runs]) for row in mine]
                spread = [0.0 if i.high is None else i.high - i.value for i in found]
                style = "o-" if method == OURS else "s--" if method in ("scratch", "hand", "original") else "^:"
                axis.errorbar(
                    x, [i.value for i in found], spread, fmt=style, color=colour, markersize=4, linewidth=1,
                    elinewidth=0.6, capsize=2, label=LABELS[method] if mine else None,
                )  # fmt: skip
                axis.set_xlabel(names[cost])
        axes[0].set_ylabel(f"int8 {rows[0].runs[0].word} on test groups, %")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
        figure.suptitle(title)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
        pyplot.close(figure)
