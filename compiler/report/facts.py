"""What the report says, before how it looks: the verdict, the limits, the headline table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from secateur.compiler.report import words
from secateur.compiler.report.record import RESTORE_LAYER, Energy, Kind, LimitName, Measured, Report, Side, Step, Stress
from secateur.compiler.report.words import (
    bytes_text,
    clock_text,
    count_text,
    ms_range_text,
    ms_text,
    percent_text,
    points_text,
)


@dataclass(frozen=True)
class Shown:
    """A number as text, with how it was got; kind and source are None where it is unknown."""

    text: str
    kind: Kind | None = None
    source: str | None = None


@dataclass(frozen=True)
class Row:
    """One line of the headline table. `change`: how the result compares, or ''."""

    label: str
    before: Shown
    after: Shown
    limit: str
    change: str
    violated: bool


@dataclass(frozen=True)
class Limit:
    """A limit with both sides as (low, high), None where unknown. `text` writes a value of it."""

    name: LimitName
    label: str
    before: tuple[float, float] | None
    after: tuple[float, float] | None
    limit: float | None
    violated: bool
    kind: Kind | None
    source: str | None
    origin: Shown  # how `before` was got
    text: Callable[[float, float], str]

    def over(self, side: tuple[float, float]) -> str:
        """'35 % over' or '29 % below', by the upper end."""
        if not self.limit:
            return ""
        share = side[1] / self.limit - 1
        percent = f"{abs(share) * 100:.0f}" if abs(share) >= 0.01 else "under 1"
        return f"{percent} % {'over' if share > 0 else 'below'}" if share else "at the limit"


@dataclass(frozen=True)
class Verdict:
    """`headline`: met or not. `how`: how it was got. `lines`: one a limit. `silicon`: what has not run."""

    met: bool
    headline: str
    how: str
    lines: tuple[str, ...]
    silicon: str


def shown(measured: Measured[Any] | None, text: Callable[[Any], str]) -> Shown:
    """A leaf as text; 'unknown' for None."""
    if measured is None:
        return Shown(words.UNKNOWN)
    return Shown(text(measured.value), measured.kind, measured.source)


def latency(side: Side) -> Measured[tuple[float, float]] | None:
    """(low, high) in milliseconds: a board's one number twice, else the range, else None."""
    if side.latency_ms is not None:
        ms = side.latency_ms
        return Measured((ms.value, ms.value), ms.kind, ms.source)
    low, high = side.latency_ms_low, side.latency_ms_high
    if low is None or high is None:
        return None
    return Measured((low.value, high.value), high.kind, high.source)


def limits(report: Report) -> tuple[Limit, ...]:
    """RAM, flash and latency, in this order."""
    budget, before, after = report.budget, report.baseline, report.result

    def one(name: LimitName, label: str, b: Any, a: Any, limit: float | None, text: Any) -> Limit:
        result, was = shown(a, str), shown(b, str)
        violated = budget.violated(name)
        return Limit(name, label, _range(b), _range(a), limit, violated, result.kind, result.source, was, text)

    def size(_: float, high: float) -> str:
        return bytes_text(high)

    return (
        one("ram_bytes", "RAM", before.ram_bytes, after.ram_bytes, budget.ram_bytes, size),
        one("flash_bytes", "Flash", before.flash_bytes, after.flash_bytes, budget.flash_bytes, size),
        one("latency_ms", "Latency", latency(before), latency(after), budget.latency_ms, ms_range_text),
    )  # fmt: skip


def headline(report: Report) -> tuple[Row, ...]:
    """The before/after table, all rows always: an unknown says so."""
    b, a, budget = report.baseline, report.result, report.budget

    def row(
        label: str,
        was: Any,
        now: Any,
        text: Any,
        limit: str = "",
        name: LimitName | None = None,
        by: Any = _share,
    ) -> Row:
        change = "" if was is None or now is None else by(was.value, now.value)
        return Row(
            label,
            shown(was, text),
            shown(now, text),
            limit,
            change,
            name is not None and budget.violated(name),
        )

    def allowed(limit: float | None, text: Callable[[float], str]) -> str:
        return "" if limit is None else text(limit)

    floor, metric = "", words.capital(words.metric_word(report.metric))
    if budget.min_accuracy is not None:
        floor = f"min {percent_text(budget.min_accuracy)}"
    elif budget.max_drop is not None:
        floor = f"drop {budget.max_drop:g} point{'s' * (budget.max_drop != 1)}"
    return (
        row("MACs", b.macs, a.macs, count_text),
        row("Parameters", b.params, a.params, count_text),
        row("RAM", b.ram_bytes, a.ram_bytes, bytes_text, allowed(budget.ram_bytes, bytes_text), "ram_bytes"),
        row("  arena", b.arena_bytes, a.arena_bytes, bytes_text),
        row("  arena, lower bound", b.arena_lower_bound_bytes, a.arena_lower_bound_bytes, bytes_text),
        row("  stack", b.stack_bytes, a.stack_bytes, bytes_text),
        row("Flash", b.flash_bytes, a.flash_bytes, bytes_text,
            allowed(budget.flash_bytes, bytes_text), "flash_bytes"),
        row("  weights", b.weights_bytes, a.weights_bytes, bytes_text),
        row("Instructions", b.instructions, a.instructions, count_text),
        *([row("Cycles", b.cycles, a.cycles, count_text)] if b.cycles or a.cycles else []),
        row("Latency", latency(b), latency(a), lambda r: ms_range_text(*r),
            allowed(budget.latency_ms, ms_text), "latency_ms"),
        row(f"{metric}, float", b.accuracy_float, a.accuracy_float, percent_text, by=_points),
        row(f"{metric}, {report.details.arithmetic}", b.accuracy_int8, a.accuracy_int8, percent_text, floor,
            "accuracy", _points),
        row("  interval", b.accuracy_interval, a.accuracy_interval, lambda r: f"{r[0]:.1f} to {r[1]:.1f} %",
            by=_no_change),
    )  # fmt: skip


def verdict(report: Report) -> Verdict:
    """In plain words: is the budget met, on what evidence, and what nobody has tried."""
    budget, verification = report.budget, report.verification
    met = budget.met != "no"
    if met:
        headline = "The budget is met"
        how = {
            "measured": "measured on a board",
            "emulated": "emulated: the same code ran in an emulator, whose time is not a board's",
            "predicted": "predicted: at least one number behind this is a model's or rests on an assumed range",
        }[budget.met]
    else:
        names = list(dict.fromkeys(_limit_word(report, v.limit) for v in budget.violations))
        headline = "The budget is not met: " + _listed(names)
        how = " ".join(dict.fromkeys(_sentence(v.why) for v in budget.violations))
    if verification is not None and verification.mismatches:
        met = False
        headline = "The outputs are wrong"
        how = f"{verification_line(report)}. This is a bug in secateur; do not use the firmware."
    silicon = "" if budget.met == "measured" else "Nothing has run on silicon."
    return Verdict(met, headline, how, tuple(_limit_lines(report)), silicon)


def verification_line(report: Report) -> str:
    """'outputs equal the golden runtime: N samples, M values, 0 mismatches', or that nothing was compared."""
    v = report.verification
    if v is None:
        return "outputs not compared with a golden runtime: the image was not run"
    relation = "differ from" if v.mismatches else "equal"
    witness = "the golden runtime"
    if "reference interpreter" in v.golden:
        witness = f"the {v.golden}"
    return (
        f"outputs {relation} {witness}: {words.plural(v.samples, 'sample')}, "
        f"{words.plural(v.outputs, 'value')}, {words.plural(v.mismatches, 'mismatch', 'mismatches')}"
    )


_LIMITS: dict[str, str] = {
    "ram_bytes": "RAM",
    "flash_bytes": "flash",
    "latency_ms": "latency",
    "evidence": "evidence weaker than asked for",
}


def _limit_word(report: Report, limit: LimitName) -> str:
    return words.metric_word(report.metric) if limit == "accuracy" else _LIMITS[limit]


def _limit_lines(report: Report) -> list[str]:
    lines = []
    for limit in limits(report):
        if limit.limit is None:
            continue
        allowed = limit.text(limit.limit, limit.limit)
        if limit.after is None:
            lines.append(f"{limit.label} unknown, limit {allowed}")
            continue
        value, high = limit.text(*limit.after), limit.after[1]
        if high != limit.limit and abs(high - limit.limit) <= 0.01 * limit.limit:
            # rounding could hide which side of the limit it is on
            unit = "bytes" if limit.name.endswith("bytes") else "ms"
            value, allowed = f"{high:,.10g}", f"{limit.limit:,.10g} {unit}"
        lines.append(f"{limit.label} {value} of {allowed} ({limit.kind})")
    c = report.details.certificate
    if c is not None and c.validation_drop is not None:
        drop = c.validation_drop.value
        allowed = "" if report.budget.max_drop is None else f", {report.budget.max_drop:g} may be lost"
        change = f"{'lost' if drop > 0 else 'gained'} on validation {abs(drop):.1f} points"
        if abs(drop) < 0.05:
            change = "unchanged on validation"
        metric = words.capital(words.metric_word(report.metric))
        lines.append(f"{metric} {change}, int8 against the float input network{allowed}")
    if c is not None and c.test_drop is not None:
        drop = c.test_drop.value
        change = f"{abs(drop):.1f} points {'lost' if drop > 0 else 'gained'}"
        allowed = (
            "" if report.budget.max_drop is None else f" by these groups to lose at most {report.budget.max_drop:g}"
        )
        proof = f"certified{allowed}" if c.certified else f"not certified: {c.why}"
        lines.append(f"On the test set {'no change' if abs(drop) < 0.05 else change}; {proof}")
    return lines


def path_text(report: Report) -> str:
    """How many steps removed, and how many put back."""
    back = sum(map(puts_back, report.steps))
    removals = words.plural(len(report.steps) - back, "removal")
    return f"{removals}, {back} put back" if back else removals


def puts_back(step: Step) -> bool:
    """Whether a step gives back what another removed, as growth does."""
    return step.pass_name == RESTORE_LAYER


def path_title(report: Report) -> str:
    """What heads the column of `step_text`."""
    return "removed or put back" if any(map(puts_back, report.steps)) else "removed"


def step_text(step: Step) -> str:
    """What was removed, or put back."""
    return f"put back {step.unit}" if puts_back(step) else step.unit


def _range(measured: Measured[Any] | None) -> tuple[float, float] | None:
    if measured is None:
        return None
    v = measured.value
    return v if isinstance(v, tuple) else (v, v)


def _share(was: Any, now: Any) -> str:
    """'-56 %', by the upper end of ranges."""
    was, now = (v[1] if isinstance(v, tuple) else v for v in (was, now))
    percent = round((now / was - 1) * 100) if was else 0
    return f"{percent:+d} %" if percent else "same" if now == was else ""


def _points(was: float, now: float) -> str:
    return points_text(now - was)


def _no_change(was: Any, now: Any) -> str:
    return ""


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else text + "."


def stress_text(row: Stress, inputs: str) -> str:
    """FGSM 8/255, FGSM 0.1 sd, PGD-10 8/255, transferred, gaussian noise 3, gaussian noise, mean."""
    name = row.name.replace("_", " ")
    if row.kind == "clean":
        return "clean"
    if row.kind == "mean":
        return f"{name}, mean"
    if row.kind == "corruption":
        return f"{name} {row.strength:g}"
    scale = "/255" if inputs == "pictures" else " sd"
    return f"{name} {row.strength:g}{scale}" + (", transferred" if row.kind == "transfer" else "")


def energy_lines(energy: Energy) -> list[str]:
    """An inference on the device, clock by clock, as a reader of a terminal or of report.html sees it."""
    lines = [f"energy: {energy.why}"] if energy.why else []
    for clock in energy.clocks:
        if clock.baseline_mj is None or clock.result_mj is None:
            continue
        ends = clock.baseline_mj.value, clock.result_mj.value
        before, after = (f"{low:.3g} to {high:.3g} mJ" for low, high in ends)
        lines.append(f"an inference at {clock_text(clock.clock_hz)}, predicted: {before} before, {after} after")
    return lines


def spent_lines(document: dict[str, Any]) -> list[str]:
    """What run.json says of energy, for a terminal."""
    lines = [
        f"energy of {document['of']}: {document['kwh'] * 1000:.3g} Wh, {document['co2eq_kg'] * 1000:.3g} g CO2-eq at "
        f"{document['carbon_intensity_kg_per_kwh']:g} kg/kWh, {document['processor_seconds']:,.1f} s of processor time",
        f"  {document['how']}",
    ]
    for hz, ends in document["break_even_inferences"].items():
        if ends is not None:
            at = clock_text(int(hz))
            lines.append(f"  saved again on the device after {ends[0]:,} to {ends[1]:,} inferences at {at}")
    return lines
