"""Charts as inline SVG. Positions along x are percent and along y pixels, so that a chart takes the width
that a page or a phone gives it while its text and strokes keep their size.

Colours are CSS classes: before, after, limit, warn. Every mark carries a <title> for readers who point at it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

from secateur.compiler.report.record import MemoryMap
from secateur.compiler.report.words import plural

PLOT_HEIGHT = 96
MAP_HEIGHT = 220
_PAD = 7  # pixels above and below, so that a mark on the edge is whole


@dataclass(frozen=True)
class Series:
    """One line: y or None at each x, with the words shown where a reader points."""

    values: Sequence[float | None]
    titles: Sequence[str]
    style: str  # CSS class
    line: bool = True


def path_panel(
    name: str,
    series: Sequence[Series],
    text: Callable[[float], str],
    limit: float | None = None,
    zero: bool = True,
) -> Markup:
    """One quantity over the steps: x is the step (0: the input network), y starts at 0 if `zero`."""
    values = [v for s in series for v in s.values if v is not None]
    if not values:
        return Markup("")
    every = values if limit is None else [*values, limit]
    top = max(every)
    bottom = 0.0 if zero else min(every)
    if top == bottom:
        top, bottom = top + 1, bottom - (0 if zero else 1)
    y = _scale(bottom, top, PLOT_HEIGHT)
    last = max(len(s.values) for s in series) - 1
    marks = [_rule(y(bottom), "axis")]
    labels = [(y(top), text(top)), (y(bottom), text(bottom))]
    if limit is not None:
        marks.append(_rule(y(limit), "limit", f"limit {text(limit)}"))
        labels = [(h, t) for h, t in labels if abs(h - y(limit)) > 15]
        labels.append((y(limit), f"limit {text(limit)}"))
    for s in series:
        known = [(_x(i, last), y(v), s.titles[i]) for i, v in enumerate(s.values) if v is not None]
        if s.line:
            marks += [
                Markup('<line class="{}" x1="{}%" y1="{}" x2="{}%" y2="{}"/>').format(
                    s.style, _n(a), _n(b), _n(c), _n(d)
                )
                for (a, b, _), (c, d, _) in pairwise(known)
            ]
        marks += [
            Markup('<circle class="{}" cx="{}%" cy="{}" r="3"><title>{}</title></circle>').format(
                s.style, _n(a), _n(b), t
            )
            for a, b, t in known
        ]
    said = f"{name} over {plural(last, 'step')}, from {text(values[0])} to {text(values[-1])}"
    return _plot(said, PLOT_HEIGHT, marks, labels, last)


def live_panel(name: str, memory: MemoryMap, top: int, style: str, text: Callable[[float], str]) -> Markup:
    """Bytes in use during each operator step, as bars; `top` bytes is the scale, shared by both sides."""
    y = _scale(0, max(top, 1), PLOT_HEIGHT)
    width = 100 / max(len(memory.live_bytes), 1)
    peak = max(memory.live_bytes, default=0)
    marks = [_rule(y(0), "axis")]
    for i, live in enumerate(memory.live_bytes):
        marks.append(
            Markup('<rect class="{}" x="{}%" y="{}" width="{}%" height="{}"><title>{}</title></rect>').format(
                style if live < peak else f"{style} peak",
                _n(i * width + width * 0.06),
                _n(y(live)),
                _n(width * 0.88),
                _n(y(0) - y(live)),
                f"step {i}, {memory.steps[i]}: {text(live)}",
            )
        )
    said = f"{name}: live activation bytes over {len(memory.steps)} operator steps, peak {text(peak)}"
    return _plot(said, PLOT_HEIGHT, marks, [(y(top), text(top)), (y(0), "0")], len(memory.steps) - 1)


def arena_map(
    name: str, memory: MemoryMap, style: str, text: Callable[[float], str], region: str = "ram"
) -> Markup:  # fmt: skip
    """Tensors of one memory as rectangles: x is the operator steps in which one lives, y its addresses, 0 below."""
    size = memory.slow_arena_bytes if region == "slow" else memory.arena_bytes
    tensors = [t for t in memory.tensors if t.region == region]
    top = max(size, 1)
    y = _scale(0, top, MAP_HEIGHT)
    steps = max(len(memory.steps), 1)
    marks = [_rule(y(0), "axis"), _rule(y(top), "axis")]
    for t in tensors:
        x, width = t.first_step / steps * 100, (t.last_step - t.first_step + 1) / steps * 100
        height = y(t.offset_bytes) - y(t.offset_bytes + t.size_bytes)
        label = (
            Markup('<text x="4" y="13">{}</text>').format(t.tensor) if _fits(t.tensor, width, height) else Markup("")
        )
        marks.append(
            # an inner svg clips its label, so that a long name never runs over its neighbour
            Markup(
                '<svg x="{}%" y="{}" width="{}%" height="{}"><rect class="{}" width="100%" height="100%"/>'
                "{}<title>{}</title></svg>"
            ).format(
                _n(x),
                _n(y(t.offset_bytes + t.size_bytes)),
                _n(width),
                _n(max(height, 1)),
                f"tensor {style}",
                label,
                f"{t.tensor}: {text(t.size_bytes)} at {t.offset_bytes}, step {t.first_step} to {t.last_step}",
            )
        )
    where = " in slow memory" if region == "slow" else ""
    said = f"{name}: arena of {text(size)}{where}, {len(tensors)} tensors by step and address"
    return _plot(said, MAP_HEIGHT, marks, [(y(top), text(top)), (y(0), "0")], steps - 1)


def _fits(label: str, width: float, height: float) -> bool:
    """Does a label fit its rectangle (percent of the plot, pixels) on a plot of 300 pixels, a narrow one?"""
    return height >= 16 and len(label) * 6.5 + 8 <= width * 3


def _plot(said: str, height: int, marks: Sequence[Markup], labels: Sequence[tuple[float, str]], last: int) -> Markup:
    """Axis labels as HTML on the left and below (steps 0 to `last`), the drawing on the right."""
    left = Markup("").join(Markup('<span style="top:{}px">{}</span>').format(_n(at), t) for at, t in labels)
    return Markup(
        '<div class="plot"><div class="y" aria-hidden="true">{}</div>'
        '<svg role="img" aria-label="{}" width="100%" height="{}">{}</svg>'
        '<div class="x" aria-hidden="true"><span>step 0</span><span>{}</span></div></div>'
    ).format(left, escape(said), height, Markup("").join(marks), last)


def _rule(y: float, style: str, title: str = "") -> Markup:
    said = Markup("<title>{}</title>").format(title) if title else Markup("")
    return Markup('<line class="{}" x1="0" x2="100%" y1="{}" y2="{}">{}</line>').format(style, _n(y), _n(y), said)


def _scale(bottom: float, top: float, height: int) -> Callable[[float], float]:
    return lambda v: height - _PAD - (v - bottom) / (top - bottom) * (height - 2 * _PAD)


def _x(i: int, last: int) -> float:
    return 2 + 96 * i / last if last else 50


def _n(x: float) -> str:
    return f"{x:.2f}".rstrip("0").rstrip(".")
