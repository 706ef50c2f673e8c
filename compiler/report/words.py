"""Numbers as a reader sees them. Only ASCII, so that a pipe and an old terminal show them too."""

from __future__ import annotations

from typing import Any

from secateur.compiler.report.record import Measured, Training
from secateur.models.task import WORDS
from secateur.passes.program.plan_memory import MemoryPlan

UNKNOWN = "unknown"
SHOWN_NAMES = 4
KIB = 1024


def bytes_text(n: float) -> str:
    """512 B, 45.1 KiB, 4,096 KiB: one unit for all sizes that stand side by side, so that they compare."""
    if n < KIB:
        return f"{n:.0f} B"
    return f"{n / KIB:,.0f} KiB" if n % KIB == 0 else f"{n / KIB:,.1f} KiB"


def count_text(n: float) -> str:
    return f"{n:,.0f}"


def ms_text(ms: float) -> str:
    """Three significant digits, milliseconds."""
    return f"{_digits(ms)} ms"


def ms_range_text(low: float, high: float) -> str:
    return ms_text(low) if low == high else f"{_digits(low)} to {_digits(high)} ms"


def percent_text(percent: float) -> str:
    return f"{percent:.1f} %"


def points_text(points: float) -> str:
    return f"{points:+.1f} points"


def metric_word(metric: str | None) -> str:
    """What accuracies are: 'accuracy', 'macro F1'; accuracy where nothing was measured."""
    return WORDS[metric or "accuracy"]


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def measure_text(value: float, unit: str) -> str:
    """A number of any size in its unit: a percentage as others, else four significant digits.

    >>> measure_text(93.333, "%"), measure_text(0.0123456, "units of y"), measure_text(54321.4, "units of y")
    ('93.3 %', '0.01235 units of y', '54321 units of y')
    """
    if unit == "%":
        return percent_text(value)
    return f"{value:.0f} {unit}" if abs(value) >= 1000 else f"{value:.4g} {unit}"


def score_text(score: float) -> str:
    return f"{score:.4f}"


def clock_text(hz: float) -> str:
    return f"{hz / 1e6:g} MHz"


def name_text(name: str) -> str:
    """The name of a layer short enough to read: TensorFlow's lists all that were fused, the last being the latest.

    >>> name_text("model/bn/Fused;model/conv2d_1/BiasAdd;model/conv2d_1/Conv2D1")
    'model/conv2d_1/Conv2D1'
    >>> name_text("model/dw/depthwise;model/dw/BiasAdd/ReadVariableOp/resource1")
    'model/dw/depthwise'
    """
    parts = name.split(";")
    last = next((part for part in reversed(parts) if "ReadVariableOp" not in part), parts[-1])
    return last if len(last) <= 48 else f"...{last[-45:]}"


def plural(n: int, one: str, many: str = "") -> str:
    """'1 layer', '12 layers'."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def slow_memory_text(memory: MemoryPlan) -> str:
    """What lies in slow memory and how often it is accessed; nothing where a plan has none."""
    slow = memory.slow
    if not slow.buffers:
        return ""
    names = [name_text(memory.buffers[i].name) for i in sorted(slow.buffers)]
    more = [f"{len(names) - SHOWN_NAMES} more"] if len(names) > SHOWN_NAMES else []
    return (
        f"{slow.arena_bytes:,} bytes of slow memory hold {', '.join(names[:SHOWN_NAMES] + more)}: "
        f"{slow.accesses:,} accesses of {slow.all_accesses:,} per inference; their time is not modelled"
    )


def trainings_text(trainings: tuple[Training, ...]) -> str:
    """Which way of training was kept, with the numbers of all of them."""
    told = [
        f"{t.name} {percent_text(t.percent.value) if t.percent else UNKNOWN} ({plural(t.steps, 'training step')})"
        for t in trainings
    ]
    kept = next(t.name for t in trainings if t.kept)
    return f"On validation, {trainings[0].program}: {', '.join(told)}; kept: {kept}."


def value_of(measured: Measured[Any] | None) -> Any:
    """The bare value, or None."""
    return None if measured is None else measured.value


def _digits(x: float) -> str:
    if x == 0:
        return "0"
    if abs(x) >= 100:
        return f"{x:,.0f}"
    return f"{x:.1f}" if abs(x) >= 10 else f"{x:.2f}" if abs(x) >= 1 else f"{x:.3g}"
