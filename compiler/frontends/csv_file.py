"""CSV recordings: columns by name, cut where the time jumps or the label changes, put on an even grid."""

from __future__ import annotations

import csv
import io
import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from secateur.compiler.frontends.data_options import DataOptions
from secateur.compiler.frontends.recordings import Piece, Remark, Unreadable

GAP = 1.5
"""Periods; a longer step cuts the recording in two."""
JITTER = 0.25
"""Periods that a sample may be away from the even grid before the recording is interpolated."""
LOOKED_AT = 100
"""Rows below the first one that tell whether that is a header."""
NEAR = 0.05
"""A rate this close to the wanted one is interpolated right onto it; one farther away is filtered."""

MIN_PERIOD, MAX_PERIOD = 1e-12, 1e18
"""Of the time column's unit, whichever it is: 1 THz in seconds, thirty years in nanoseconds."""

_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_UNIT_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
_IN_NAME = re.compile(r"(?:^|[\s_.\-\[(])(s|sec|seconds|ms|msec|milliseconds|us|µs|μs|ns)[\])]?$", re.IGNORECASE)
_SPELLED = {"sec": "s", "seconds": "s", "msec": "ms", "milliseconds": "ms", "µs": "us", "μs": "us"}


@dataclass(frozen=True)
class _Table:
    """One file: `samples` (rows, channels), `times` in the column's unit or None, `lines` (rows,) of the file."""

    samples: npt.NDArray[np.float64]
    times: npt.NDArray[np.float64] | None
    dated: bool
    labels: list[str]
    groups: list[str]
    lines: list[int]
    remarks: tuple[Remark, ...]


def read_csv(
    path: Path, source: str, options: DataOptions, label: str | None, group: str, rate_hz: float = 0.0
) -> Iterator[Piece]:
    """The stretches of one file, in its order.

    Args:
        label, group: of the file, used where no column is named for them.
        rate_hz: wanted by a front end, 0 for none: it tells the unit of the time column where its name does not,
            and is the rate of a file without one.

    Raises Unreadable, with line and column.
    """
    table = _read(path, options, label, group)
    remarks = list(table.remarks)
    edges = _runs(table.labels, table.groups)
    if table.times is None:
        if rate_hz:
            remarks.append(Remark(f"{{files}} have no time column: their samples are taken to be at {rate_hz:g} Hz"))
        for start, stop in edges:
            if table.labels[start]:
                samples = table.samples[start:stop].astype(np.float32)
                yield Piece(samples, rate_hz, table.labels[start], table.groups[start], source, tuple(remarks))
                remarks = []
        return
    yield from _timed(table, table.times, edges, source, options, rate_hz, remarks)


def _timed(
    table: _Table,
    times: npt.NDArray[np.float64],
    edges: list[tuple[int, int]],
    source: str,
    options: DataOptions,
    rate_hz: float,
    remarks: list[Remark],
) -> Iterator[Piece]:
    inner = np.ones(max(len(times) - 1, 0), bool)
    inner[[stop - 1 for _, stop in edges[:-1]]] = False  # from one run to the next
    with np.errstate(over="ignore"):
        steps = np.diff(times)
    forward = steps[inner & (steps > 0)]
    if not len(forward):
        raise Unreadable(f"column {options.time_column!r}: time stands still")
    median = float(np.median(forward))
    back, same = np.flatnonzero(inner & (steps < 0)), inner & (steps == 0)
    if len(back) > max(1, len(times) // 100):
        raise Unreadable(
            f"timestamps go back at {len(back)} of {len(times)} rows, first in line {table.lines[back[0] + 1]}; "
            "sort the rows by time"
        )
    if same.sum() > len(times) // 10:
        raise Unreadable(f"{int(same.sum())} of {len(times)} timestamps repeat the one before; give them finer")
    typical = forward[(forward > median / 2) & (forward < GAP * median)]
    period = float(typical.mean()) if len(typical) else math.nan
    if not MIN_PERIOD < period < MAX_PERIOD:
        raise Unreadable(f"column {options.time_column!r}: steps of {median:g} are none that a recording has")
    unit, guessed = _unit(options.time_column or "", table.dated, period, rate_hz)
    rate = 1 / (period * _UNITS[unit])
    if guessed:
        remarks.append(Remark(f"{{files}} have times in {_UNIT_NAMES[unit]}, as their steps tell"))
    if same.any():
        text = "Rows that repeat the timestamp before theirs are left out: {n}, in {files}"
        remarks.append(Remark(text, int(same.sum())))
    if len(back):
        remarks.append(Remark("A new recording begins where time goes back: {n}, in {files}", len(back)))
    gaps = int((inner & (steps > GAP * median)).sum())
    if gaps:
        remarks.append(Remark("Gaps in time cut recordings in two: {n}, in {files}", gaps))
    near = rate_hz if rate_hz and abs(rate / rate_hz - 1) <= NEAR else rate
    grid_step = 1 / (near * _UNITS[unit])
    kept = np.concatenate([[True], ~same])
    for start, stop in edges:
        if not table.labels[start]:
            continue
        cuts = [start, *(start + 1 + np.flatnonzero(_breaks(steps[start : stop - 1], median))).tolist(), stop]
        for a, b in itertools.pairwise(cuts):
            chosen = a + np.flatnonzero(kept[a:b] | (np.arange(a, b) == a))
            samples, moved = _even(times[chosen], table.samples[chosen], grid_step)
            if moved:
                text = "{files} have uneven timestamps: their samples were interpolated onto an even grid"
                remarks.append(Remark(text))
            yield Piece(samples, near, table.labels[start], table.groups[start], source, tuple(remarks))
            remarks = []


def _breaks(steps: npt.NDArray[np.float64], median: float) -> npt.NDArray[np.bool_]:
    return np.asarray((steps < 0) | (steps > GAP * median))


def _even(
    times: npt.NDArray[np.float64], samples: npt.NDArray[np.float64], step: float
) -> tuple[npt.NDArray[np.float32], bool]:
    """Samples every `step` from the first time on, and whether they had to be interpolated."""
    even = times[0] + step * np.arange(len(times))
    if np.abs(times - even).max() <= JITTER * step:
        return samples.astype(np.float32), False
    grid = times[0] + step * np.arange(math.floor((times[-1] - times[0]) / step + 1e-6) + 1)
    columns = [np.interp(grid, times, samples[:, c]) for c in range(samples.shape[1])]
    return np.stack(columns, axis=1).astype(np.float32), True


def _unit(column: str, dated: bool, period: float, rate_hz: float) -> tuple[str, bool]:
    """The unit of the time column, and whether it was guessed: from its name, the wanted rate, or the step's size."""
    if dated:
        return "s", False
    found = _IN_NAME.search(column)
    if found and found.group(0) != column:
        word = found.group(1).lower()
        return _SPELLED.get(word, word), False
    if rate_hz:
        return min(_UNITS, key=lambda unit: abs(math.log(1 / (period * _UNITS[unit]) / rate_hz))), True
    return next(unit for unit, least in (("ns", 1e6), ("us", 1e3), ("ms", 1.0), ("s", 0.0)) if period >= least), True


def _runs(labels: Sequence[str], groups: Sequence[str]) -> list[tuple[int, int]]:
    """(start, stop) of the rows in a row that share label and group."""
    changes = [i for i in range(1, len(labels)) if labels[i] != labels[i - 1] or groups[i] != groups[i - 1]]
    edges = [0, *changes, len(labels)]
    return list(itertools.pairwise(edges))


def _read(path: Path, options: DataOptions, label: str | None, group: str) -> _Table:
    text = _text(path)
    delimiter = _delimiter(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise Unreadable(f"line {reader.line_num}: {error}") from None
    if not rows:
        raise Unreadable("empty file")
    header = [cell.strip() for cell in rows[0][1]]
    if header and not header[-1]:  # a delimiter at every line's end
        header = header[:-1]
        rows = [(line, row[:-1] if len(row) == len(header) + 1 and not row[-1].strip() else row) for line, row in rows]
    if not _is_header(header, [row for _, row in rows[1 : 1 + LOOKED_AT]], options):
        header = [str(i + 1) for i in range(len(header))]
    else:
        del rows[0]
    if not rows:
        raise Unreadable("a header, and no rows")
    twice = next((name for i, name in enumerate(header) if name in header[:i]), None)
    if twice is not None:
        raise Unreadable(f"two columns are called {twice!r}")
    special = {
        key: _column(header, name)
        for key, name in (
            ("time", options.time_column),
            ("label", options.label_column),
            ("group", options.group_column),
        )
        if name is not None
    }
    skipped = [_column(header, name) for name in options.skip_columns]
    channels = [i for i in range(len(header)) if i not in special.values() and i not in skipped]
    if not channels:
        raise Unreadable("no column is left for samples")
    comma = delimiter != "," and any("," in rows[0][1][i] for i in channels if i < len(rows[0][1]))
    samples = np.empty((len(rows), len(channels)))
    times: list[float] = []
    dated, labels, groups = False, [], []
    for number, (line, row) in enumerate(rows):
        if len(row) != len(header):
            raise Unreadable(f"line {line} has {len(row)} columns, the header {len(header)}")
        try:
            samples[number] = [float(row[i]) for i in channels]
        except ValueError:  # cell by cell, which tells where
            samples[number] = [_number(row[i], line, header[i], comma) for i in channels]
        if "time" in special:
            value, is_date = _time(row[special["time"]], line, header[special["time"]], comma)
            dated = dated or is_date
            times.append(value)
        labels.append(row[special["label"]].strip() if "label" in special else label or "")
        groups.append(row[special["group"]].strip() if "group" in special else group)
        if not groups[-1]:
            raise Unreadable(f"line {line}, column {options.group_column!r} is empty")
    bare = sum(not text for text in labels)
    if bare == len(labels):
        raise Unreadable("no row has a label")
    wrong = ~(np.abs(samples) <= np.finfo(np.float32).max)  # NaN is wrong too
    if wrong.any():
        row_number, place = (int(k[0]) for k in np.nonzero(wrong))
        line, row = rows[row_number]
        raise Unreadable(f"line {line}, column {header[channels[place]]!r}: {row[channels[place]].strip()}")
    remarks = (Remark("Rows without a label are left out: {n}, in {files}", bare),) if bare else ()
    stamps = np.array(times) if times else None
    return _Table(samples, stamps, dated, labels, groups, [line for line, _ in rows], remarks)


def _is_header(first: Sequence[str], below: Sequence[Sequence[str]], options: DataOptions) -> bool:
    """Whether the first row holds names: text above numbers, text alone, or a name that an option says.

    A row of samples may hold text too: a class, a date. It has more of the same below.
    """
    texts = [i for i, cell in enumerate(first) if cell and not _is_number(cell)]
    if not texts or all(i in texts or not cell for i, cell in enumerate(first)):
        return bool(texts)
    named = (options.time_column, options.label_column, options.group_column, *options.skip_columns)
    if any(first[i] in named for i in texts):
        return True
    return any(i < len(row) and _is_number(row[i]) for row in below for i in texts)


def _text(path: Path) -> str:
    raw = path.read_bytes()
    if not raw.strip():
        raise Unreadable("empty file")
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise Unreadable("UTF-16; save it as UTF-8")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise Unreadable(f"line {line}: byte {error.start} is not UTF-8; save it as UTF-8") from None


def _delimiter(text: str) -> str:
    first = next((line for line in text.splitlines() if line.strip()), "")
    counts = {mark: first.count(mark) for mark in ",;\t"}
    if counts[";"]:  # commas beside semicolons are decimal ones
        return ";"
    return "\t" if counts["\t"] > counts[","] else ","


def _column(header: Sequence[str], name: str) -> int:
    if name not in header:
        raise Unreadable(f"no column {name!r}; it has {', '.join(header[:12])}")
    return header.index(name)


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return False
    return True


def _number(cell: str, line: int, column: str, comma: bool) -> float:
    try:
        value = float(cell.replace(",", ".") if comma else cell)
    except ValueError:
        what = f": {cell.strip()[:20]!r} is not a number" if cell.strip() else " is empty"
        raise Unreadable(f"line {line}, column {column!r}{what}") from None
    if not math.isfinite(value):
        raise Unreadable(f"line {line}, column {column!r}: {cell.strip()}")
    return value


def _time(cell: str, line: int, column: str, comma: bool) -> tuple[float, bool]:
    """A timestamp: a number, or a date and time (ISO 8601), then in seconds."""
    try:
        moment = datetime.fromisoformat(cell.strip()) if not _is_number(cell) else None
    except ValueError:
        raise Unreadable(f"line {line}, column {column!r}: {cell.strip()[:20]!r} is neither number nor date") from None
    if moment is None:
        return _number(cell, line, column, comma), False
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp(), True
