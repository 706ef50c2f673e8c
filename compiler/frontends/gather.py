"""From files to the three sets: read each once, cut windows, deal groups out, say what was found."""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy

from secateur.compiler.code_digest import code_digest
from secateur.compiler.frontends import windows_cache as cache
from secateur.compiler.frontends.csv_file import read_csv
from secateur.compiler.frontends.data_options import DataOptions, Progress
from secateur.compiler.frontends.folder import Entry, Folder, scan
from secateur.compiler.frontends.recordings import (
    SAME_RATE,
    Piece,
    Remark,
    Samples,
    Unreadable,
    cutter,
    padded,
    plain_window,
    resampled,
)
from secateur.compiler.frontends.wav_file import read_wav
from secateur.errors import UserError
from secateur.models.data import Data, sides_by_group
from secateur.models.front_end.image import ImageChain, Pixels
from secateur.models.preprocess import AnyFrontEnd
from secateur.models.recordings import Recording

STREAMS = 8
STREAM_WINDOWS = 10
FRAMES = 8
FRAMES_BYTES = 1 << 20
"""Of raw pictures, for a proof: as many as fit, one at least."""
SHOWN = 12
"""Classes that a line counts before it says `and n more`."""
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


def data_from_folder(
    root: Path,
    input_shape: tuple[int, ...],
    labels: tuple[str, ...],
    seed: int,
    options: DataOptions,
    front_end: AnyFrontEnd | None,
    progress: Progress,
) -> Data:
    """Data from a folder, or a CSV file: read, or taken from the cache if nothing has changed since.

    Raises UserError for whatever the user can mend.
    """
    folder = scan(root, options.label_column, options.group_column)
    name = root.resolve().name
    if folder.kind != "CSV":
        options.refuse(name, f"a folder of {folder.kind} files", windows=folder.kind == "image")
    digests, failed = _digests(folder.entries, progress)
    entries, notes = _without_twins(folder.entries, digests)
    known = [(e.name, e.label, e.group, e.side, digests.get(e.name)) for e in entries]
    said = (*folder.notes, *notes)
    key = cache.key_of(
        known, said, sorted(failed.items()), input_shape, labels, seed, options, front_end, name, _versions()
    )
    data = cache.load(name, key)
    if data is None:
        folder = replace(folder, entries=entries, notes=said)
        plan = _plan(name, folder, input_shape, labels, seed, options, front_end)
        with cache.writing(input_shape) as writer:
            _write(plan, writer, folder.notes, failed, progress)
            cache.keep(writer, key)
        data = cache.load_fresh(name, key)
    return data


def data_from_recordings(
    name: str,
    again: Callable[[], Iterable[Recording]],
    input_shape: tuple[int, ...],
    labels: tuple[str, ...],
    seed: int,
    options: DataOptions,
    front_end: AnyFrontEnd | None,
    progress: Progress,
) -> Data:
    """Data from recordings that Python yields, one after the other; `again` begins anew, and gives the same ones."""
    options.refuse(name, "a Python function that gives recordings", windows=False)
    if isinstance(front_end, ImageChain):
        raise UserError(f"{name}: recordings do not go through a front end of pictures; leave [image] out")
    cut, length = cutter(name, input_shape, options, front_end)

    def read(entry: Entry) -> Iterator[Piece]:
        for number, recording in enumerate(again()):
            yield resampled(_checked(name, number, recording, labels), front_end)

    def classes(found: Sequence[str]) -> tuple[str, ...]:
        if labels:
            return labels
        top = max(int(label) for label in found)
        if top > 10 * len(found) + 1000:
            raise UserError(
                f"{name}: labels run to {top}, which are {top + 1} classes for {len(found)} recordings; number the "
                "classes from 0 on"
            )
        return tuple(str(i) for i in range(1 + top))

    entry = Entry(Path(name), name, None, "")
    plan = Plan(name, (entry,), read, cut, lambda: length(STREAM_WINDOWS), classes, front_end is None, seed)
    with cache.writing(input_shape) as writer:
        _write(plan, writer, (), {}, progress)
        key = cache.key_of(name, (writer.folder / "about.json").read_text())  # it has the digests of all else
        cache.keep(writer, key)
    return cache.load_fresh(name, key)


def _checked(name: str, number: int, recording: object, labels: tuple[str, ...]) -> Piece:
    if not isinstance(recording, Recording):
        raise UserError(f"{name} gave a {type(recording).__name__} as number {number}; Recording is expected")
    samples, where = np.asarray(recording.samples), f"{name}: recording {number} ({recording.source})"
    if samples.ndim != 2 or samples.dtype.kind not in "fiu":
        raise UserError(f"{where}: {samples.dtype} {samples.shape}; numbers (length, channels) are expected")
    if not np.isfinite(samples).all():
        raise UserError(f"{where}: row {int(np.argmin(np.isfinite(samples).all(axis=1)))} holds NaN or infinity")
    if not _whole_number(recording.label):
        raise UserError(f"{where}: label {recording.label!r} is no class number; a whole number from 0 on is expected")
    if not _whole_number(recording.group) and not (isinstance(recording.group, str) and recording.group):
        raise UserError(f"{where}: group {recording.group!r} is neither a whole number nor a name")
    try:
        rate_hz = float(recording.rate_hz or 0)
    except (TypeError, ValueError):
        rate_hz = math.nan
    if not 0 <= rate_hz < math.inf:
        raise UserError(f"{where}: rate {recording.rate_hz!r}; Hz are expected, or 0 where they are not known")
    if recording.label < 0 or (labels and recording.label >= len(labels)):
        raise UserError(f"{where}: label {recording.label}; the network has {len(labels) or 'no'} labels")
    label = labels[recording.label] if labels else str(recording.label)
    group = recording.group if isinstance(recording.group, str) else f"{recording.group:06d}"
    return Piece(samples.astype(np.float32), rate_hz, label, group, recording.source)


def _whole_number(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def sets_text(data: Data, what: str) -> tuple[str, ...]:
    """One line a set: its groups, its samples, and how many of each class."""
    lines = []
    for side in cache.SIDES:
        split = getattr(data, side)
        groups = len(np.unique(split.groups))
        inside = ", ".join(_inside(split.y, data.labels))
        lines.append(f"{side + ':':11} {groups} group{'s' * (groups != 1)}, {len(split)} {what}: {inside}")
    return tuple(lines)


def _inside(y: npt.NDArray[Any], labels: tuple[str, ...]) -> list[str]:
    """How many of each class or label there are, or between which values numbers lie, as the task's `y` has it."""
    if y.dtype.kind == "f":
        found = [f"{label} {low:g} to {high:g}" for label, low, high in zip(labels, y.min(0), y.max(0), strict=True)]
    elif y.ndim == 1 and (y < 0).all():
        return ["no labels"]
    else:
        counts = y.sum(axis=0) if y.ndim == 2 else np.bincount(y, minlength=len(labels))
        found = [f"{label} {count}" for label, count in zip(labels, counts, strict=True)]
    return found if len(found) <= SHOWN else [*found[:SHOWN], f"and {len(found) - SHOWN} more"]


def match_labels(name: str, found: Sequence[str], labels: tuple[str, ...], what: str) -> tuple[str, ...]:
    """The classes in the order of the network's outputs: its labels, else the data's own, sorted."""
    if not labels:
        return tuple(sorted(set(found)))
    strange = sorted(set(found) - set(labels))
    if strange:
        raise UserError(
            f"{name}: {what} {', '.join(strange[:5])} {'is' if len(strange) == 1 else 'are'} not among the network's "
            f"{len(labels)} labels: {', '.join(labels[:12])}; rename or remove, or give --labels"
        )
    return labels


def _versions() -> tuple[str, ...]:
    from PIL import __version__ as pillow

    return (code_digest(), np.__version__, scipy.__version__, pillow)


def _digests(entries: Sequence[Entry], progress: Progress) -> tuple[dict[str, str], dict[str, str]]:
    """name -> SHA-256 of the content, and name -> why it cannot be read."""
    found, failed = {}, {}
    for done, entry in enumerate(entries):
        try:
            with entry.path.open("rb") as file:
                found[entry.name] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            failed[entry.name] = error.strerror or str(error)
        progress("looking through files", done + 1, len(entries))
    return found, failed


def _without_twins(entries: tuple[Entry, ...], digests: dict[str, str]) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
    """Files of one content in one group; where folders are the sets, only in the set that judges the most."""
    same: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.name in digests:
            same.setdefault(digests[entry.name], []).append(entry)
    twins = [group for group in same.values() if len(group) > 1 and group[0].path.stat().st_size]
    if not twins:
        return entries, ()
    parent = {entry.group: entry.group for entry in entries}

    def top(group: str) -> str:
        while parent[group] != group:
            group = parent[group]
        return group

    left_out: set[str] = set()
    for group in twins:
        sides = {entry.side for entry in group}
        if len(sides) > 1:
            judge = next(side for side in reversed(cache.SIDES) if side in sides)
            left_out |= {entry.name for entry in group if entry.side != judge}
        first, *others = sorted(top(entry.group) for entry in group if entry.name not in left_out)
        for other in others:
            parent[other] = first
    notes = []
    joined = sum(len(group) for group in twins)
    two = sum(len({entry.label for entry in group}) > 1 for group in twins)
    example = f"{twins[0][0].name} = {twins[0][1].name}"
    classes = f". Contents that stand in two classes: {two}" if two else ""
    notes.append(f"Files with a twin of the same content: {joined} ({example}); twins are in one group{classes}.")
    if left_out:
        notes.append(
            f"Files left out because a set that judges holds the same content: {len(left_out)} ({min(left_out)})."
        )
    kept = tuple(replace(entry, group=top(entry.group)) for entry in entries if entry.name not in left_out)
    return kept, tuple(notes)


def _plan(
    name: str,
    folder: Folder,
    input_shape: tuple[int, ...],
    labels: tuple[str, ...],
    seed: int,
    options: DataOptions,
    front_end: AnyFrontEnd | None,
) -> Plan:
    what = f"column {options.label_column!r} holds" if options.label_column else "class folder"
    classes = lambda found: match_labels(name, found, labels, what)  # noqa: E731 - a closure of three names
    if folder.classes:
        match_labels(name, folder.classes, labels, what)
    if folder.kind == "image":
        if front_end is not None and not isinstance(front_end, ImageChain):
            raise UserError(f"{name}: images do not go through a front end of recordings; leave it out")
        if len(input_shape) != 3 or input_shape[0] not in (1, 3):
            raise UserError(f"{name}: images, but the network takes {_shape(input_shape)}, not 1xHxW or 3xHxW")
        plan = Plan(name, folder.entries, lambda e: _read_image(e, input_shape), _one, lambda: 0, classes, False, seed)
        return plan if front_end is None else _from_frames(plan, front_end, input_shape)
    if isinstance(front_end, ImageChain):
        raise UserError(f"{name}: {folder.kind} files do not go through a front end of pictures; leave [image] out")
    cut, length = cutter(name, input_shape, options, front_end)
    rate = front_end.rate_hz if front_end is not None else 0.0

    def read(entry: Entry) -> Iterator[Piece]:
        if folder.kind == "WAV":
            samples, hz = read_wav(entry.path)
            piece = resampled(Piece(samples, hz, entry.label or "", entry.group, entry.name), front_end)
            yield padded(piece, plain_window(name, piece, input_shape) if front_end is None else length(1))
            return
        for piece in read_csv(entry.path, entry.name, options, entry.label, entry.group, rate):
            yield resampled(piece, front_end)

    least = "a quarter of a window" if folder.kind == "WAV" else "one window"
    return Plan(
        name, folder.entries, read, cut, lambda: length(STREAM_WINDOWS), classes, front_end is None, seed, least
    )


def _read_image(entry: Entry, input_shape: tuple[int, ...]) -> list[Piece]:
    from secateur.compiler.frontends.image_file import read_image

    image, (width, height) = read_image(entry.path, input_shape)
    _, h, w = input_shape
    remarks: tuple[Remark, ...] = ()
    if (height, width) != (h, w):
        remarks = (Remark(f"{{files}} are of another size and were cropped and resized to {w}x{h}"),)
    return [Piece(image, 0.0, entry.label or "", entry.group, entry.name, remarks)]


def _from_frames(plan: Plan, chain: ImageChain, input_shape: tuple[int, ...]) -> Plan:
    """The plan whose images are a camera's frames first, and the front end's pictures then."""
    from secateur.compiler.frontends.image_file import read_frame

    chain.check(input_shape)
    other = Remark(f"{{files}} are of another size and were cropped and resized to the camera's {chain.size}")

    def read(entry: Entry) -> list[Piece]:
        frame, (width, height) = read_frame(entry.path, chain)
        remarks = () if (height, width) == (chain.height, chain.width) else (other,)
        return [Piece(chain.samples(frame[np.newaxis])[0], 0.0, entry.label or "", entry.group, entry.name, remarks)]

    return replace(plan, read=read, frame=(lambda entry: read_frame(entry.path, chain)[0], chain.frame_bytes))


def _one(piece: Piece) -> Iterator[Samples]:
    yield piece.samples[np.newaxis]


def _write(plan: Plan, writer: cache.Writer, notes: Sequence[str], failed: dict[str, str], progress: Progress) -> None:
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


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
