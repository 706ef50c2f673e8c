"""The three sets on disk, from what a plan reads: groups dealt out, findings told, streams and frames for proofs."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from secateur.compiler.frontends import windows_cache as cache
from secateur.compiler.frontends.data_options import Progress
from secateur.compiler.frontends.folder import Entry
from secateur.compiler.frontends.recordings import SAME_RATE, Piece, Samples, Unreadable
from secateur.errors import UserError
from secateur.models.data import sides_by_group
from secateur.models.front_end.image import Pixels
from secateur.models.recordings import Recording

STREAMS = 8
FRAMES = 8
FRAMES_BYTES = 1 << 20
"""Of raw pictures, for a proof: as many as fit, one at least."""
LISTED = 5
"""Files that a line names before it says `and n more`."""

Read = Callable[[Entry], Iterable[Piece]]


@dataclass(frozen=True)
class Plan:
    """How a folder's files become windows. `stream_samples`: raw samples of a stream; 0: there are none.

    `least`: what a recording must be as long as. `frame`: a picture as the camera sends it, and its bytes.
    """

    name: str
    entries: tuple[Entry, ...]
    read: Read
    cut: Callable[[Piece], Iterator[Samples]]
    stream_samples: Callable[[], int]
    classes: Callable[[Sequence[str]], tuple[str, ...]]
    one_rate: bool
    seed: int
    least: str = "one window"
    frame: tuple[Callable[[Entry], Pixels], int] | None = None


def write_sets(
    plan: Plan, writer: cache.Writer, notes: Sequence[str], failed: dict[str, str], progress: Progress
) -> None:
    """Read all files, then write the sets."""
    failed = dict(failed)
    rows: list[tuple[int, int, int, int, str, str]] = []
    remarks: dict[str, tuple[list[str], list[int]]] = {}
    rates: dict[float, list[str]] = {}
    short: Counter[str] = Counter()
    for unit, entry in enumerate(plan.entries):
        if entry.name not in failed:
            try:
                for number, piece in enumerate(plan.read(entry)):
                    for remark in piece.remarks:
                        files, n = remarks.setdefault(remark.text, ([], []))
                        files += [entry.name] * (entry.name not in files[-1:])
                        n.append(remark.n)
                    _one_rate(plan, rates, piece, entry.name)
                    start = writer.count
                    for windows in plan.cut(piece):
                        writer.append(windows)
                    if writer.count == start:
                        short[piece.source] += 1
                    else:
                        rows.append((unit, number, start, writer.count - start, piece.label, piece.group))
            except (Unreadable, OSError) as error:
                failed[entry.name] = str(getattr(error, "strerror", None) or error)
                rows = [row for row in rows if row[0] != unit]
        progress("reading", unit + 1, len(plan.entries))
    notes = [*notes, *_findings(plan, failed, remarks, short)]
    if not rows:
        raise UserError(f"{plan.name}: no recording is as long as {plan.least}")
    labels = plan.classes([label for *_, label, _ in rows])
    if len(labels) < 2:
        raise UserError(f"{plan.name}: one class only, {labels[0]}; two at least are expected")
    names = sorted({_whole_group(plan, row) for row in rows}, key=lambda n: (_by_number(n), n))
    numbers = {group: i for i, group in enumerate(names)}
    y = {label: i for i, label in enumerate(labels)}
    final = [cache.Row(row[0], row[1], row[2], row[3], y[row[4]], numbers[_whole_group(plan, row)]) for row in rows]
    sides, more = _sides(plan, final, names, labels)
    writer.divide(final, sides)
    streams = _streams(plan, final, sides[1], names)
    writer.finish(streams, labels, (*notes, *more), _frames(plan, final, sides[1]))


def _whole_group(plan: Plan, row: tuple[int, int, int, int, str, str]) -> str:
    """The group with the set that folders gave: one name in two of them is two groups."""
    side = plan.entries[row[0]].side
    return row[5] if side is None else f"{side}: {row[5]}"


def _by_number(name: str) -> tuple[tuple[int, str], ...]:
    """Names in the order that people count in: p2 before p10."""
    parts = re.findall(r"\d+|\D+", name)
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts)


def _one_rate(plan: Plan, rates: dict[float, list[str]], piece: Piece, name: str) -> None:
    if not plan.one_rate or not piece.rate_hz:
        return
    near = next((rate for rate in rates if abs(piece.rate_hz / rate - 1) <= SAME_RATE), piece.rate_hz)
    rates.setdefault(near, []).append(name)
    if len(rates) > 1:
        (a, first), (b, second) = list(rates.items())[:2]
        raise UserError(
            f"{plan.name}: {first[0]} is at {a:g} Hz, {second[0]} at {b:g} Hz: windows of as many samples would last "
            "differently. Convert the files to one rate, or give a front end with its rate in --preprocess"
        )


def _findings(
    plan: Plan, failed: dict[str, str], remarks: dict[str, tuple[list[str], list[int]]], short: Counter[str]
) -> list[str]:
    total = len(plan.entries)
    found = []
    if failed:
        first = sorted(failed.items())[:LISTED]
        more = f", and {len(failed) - LISTED} more" if len(failed) > LISTED else ""
        line = f"{len(failed)} of {total} files could not be read"
        if len(set(failed.values())) == 1 < len(failed):
            line += f" ({next(iter(failed.values()))}): {', '.join(name for name, _ in first)}{more}"
        else:
            line += f": {', '.join(f'{name} ({why})' for name, why in first)}{more}"
        if 2 * len(failed) > total:
            if total == 1:
                raise UserError(f"{plan.name}: {next(iter(failed.values()))}")
            raise UserError(f"{plan.name}: {line}; that is more than half")
        found.append(f"{line}.")
    for text, (files, n) in remarks.items():
        found.append(f"{text.format(files=f'{len(files)} of {total} files ({files[0]})', n=sum(n))}.")
    if short:
        example = min(short)
        found.append(f"Recordings that are shorter than {plan.least} give none: {sum(short.values())} ({example}).")
    return found


def _sides(
    plan: Plan, rows: Sequence[cache.Row], names: Sequence[str], labels: tuple[str, ...]
) -> tuple[tuple[npt.NDArray[np.int64], ...], list[str]]:
    """The groups of recovery, validation and test, and what is to be said about them."""
    notes: list[str] = []
    y = np.array([row.y for row in rows])
    groups = np.array([row.group for row in rows])
    given = [plan.entries[row.unit].side for row in rows]
    if any(given):
        sides, notes = _given_sides(plan, y, groups, given, names)
    else:
        if len(names) < 3:
            listed = ", ".join(names)
            raise UserError(
                f"{plan.name}: {len(names)} group{'s' * (len(names) != 1)} ({listed}), three at least are needed, for "
                f"recovery, validation and test: give more files or persons"
            )
        sides = sides_by_group(plan.name, y, groups, plan.seed)
    for number, label in enumerate(labels):
        held = groups[y == number]
        missing = [side for side, own in zip(cache.SIDES, sides, strict=True) if not np.isin(held, own).any()]
        if missing and "recovery" not in missing:
            count = len(np.unique(held))
            where = " and the ".join(missing)
            notes.append(f"Class {label} has {count} group{'s' * (count != 1)} and is not in the {where} set.")
    return sides, notes


def _given_sides(
    plan: Plan,
    y: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int64],
    given: Sequence[str | None],
    names: Sequence[str],
) -> tuple[tuple[npt.NDArray[np.int64], ...], list[str]]:
    """Sets as the folders have them. A missing validation or test set is half of the other one."""
    notes: list[str] = []
    held = {side: np.unique(groups[[s == side for s in given]]) for side in cache.SIDES}
    plain = Counter(name.split(": ", 1)[1] for name in names)
    both = [name for name, count in plain.items() if count > 1]
    if both:
        notes.append(
            f"{len(both)} groups ({min(both)}) stand in two of the given sets, which were left so: "
            "accuracy is optimistic."
        )
    if not len(held["recovery"]):
        raise UserError(f"{plan.name}: no files to train on; a folder train is expected beside the others")
    missing = [side for side in ("validation", "test") if not len(held[side])]
    if missing:
        other = "test" if missing == ["validation"] else "validation"
        pool = np.random.default_rng(plan.seed).permutation(held[other])
        if len(missing) == 2 or len(pool) < 2:
            raise UserError(f"{plan.name}: the {other} set is one group; a second is needed for the {missing[0]} set")
        half = len(pool) // 2
        held[missing[0]], held[other] = np.sort(pool[:half]), np.sort(pool[half:])
        notes.append(f"No {missing[0]} set was given: half of the groups in {other} became it.")
    return tuple(held[side] for side in cache.SIDES), notes


def _streams(
    plan: Plan, rows: Sequence[cache.Row], validation: npt.NDArray[np.int64], names: Sequence[str]
) -> list[Recording]:
    """Some validation recordings, of different classes first, read once more."""
    length = plan.stream_samples()
    if not length:
        return []
    found = []
    for row in _by_turns(rows, validation)[:STREAMS]:
        piece = next(itertools.islice(plan.read(plan.entries[row.unit]), row.number, None), None)
        if piece is None:
            raise UserError(
                f"{plan.name}: it is read twice, and recording {row.number} was there the first time only; "
                "the same ones are expected each time"
            )
        samples = np.ascontiguousarray(piece.samples[:length])
        found.append(Recording(samples, piece.rate_hz, row.y, row.group, piece.source))
    return found


def _frames(plan: Plan, rows: Sequence[cache.Row], validation: npt.NDArray[np.int64]) -> Pixels | None:
    """Some validation pictures as the camera sends them, of different classes first."""
    if plan.frame is None:
        return None
    read, size = plan.frame
    count = max(1, min(FRAMES, FRAMES_BYTES // size))
    return np.stack([read(plan.entries[row.unit]) for row in _by_turns(rows, validation)[:count]])


def _by_turns(rows: Sequence[cache.Row], groups: npt.NDArray[np.int64]) -> list[cache.Row]:
    """The rows of some groups, one of each class after the other."""
    mine = [row for row in rows if row.group in set(groups.tolist())]
    turns: dict[int, int] = {}
    order = []
    for row in mine:
        order.append((turns.get(row.y, 0), row.y, row))
        turns[row.y] = turns.get(row.y, 0) + 1
    order.sort(key=lambda item: item[:2])
    return [row for _, _, row in order]
