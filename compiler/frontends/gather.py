"""From a folder's files, or a function's recordings, to the three sets: how each kind is read and cut."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import scipy

from secateur.compiler.code_digest import code_digest
from secateur.compiler.frontends import windows_cache as cache
from secateur.compiler.frontends.csv_file import read_csv
from secateur.compiler.frontends.data_options import Need
from secateur.compiler.frontends.folder import Entry, Folder, scan
from secateur.compiler.frontends.recordings import Piece, Remark, Samples, cutter, padded, plain_window, resampled
from secateur.compiler.frontends.twins import digests_of, without_twins
from secateur.compiler.frontends.wav_file import read_wav
from secateur.compiler.frontends.write_sets import Plan, write_sets
from secateur.errors import UserError
from secateur.models.data import Data
from secateur.models.front_end.image import ImageChain
from secateur.models.recordings import Recording

STREAM_WINDOWS = 10


def data_from_folder(root: Path, need: Need) -> Data:
    """Data from a folder, or a CSV file: read, or taken from the cache if nothing has changed since.

    Raises UserError for whatever the user can mend.
    """
    folder = scan(root, need.options.label_column, need.options.group_column)
    name = root.resolve().name
    if folder.kind != "CSV":
        need.options.refuse(name, f"a folder of {folder.kind} files", windows=folder.kind == "image")
    digests, failed = digests_of(folder.entries, need.progress)
    entries, notes = without_twins(folder.entries, digests)
    known = [(e.name, e.label, e.group, e.side, digests.get(e.name)) for e in entries]
    said = (*folder.notes, *notes)
    key = cache.key_of(known, said, sorted(failed.items()), *need.decisive, name, _versions())
    data = cache.load(name, key)
    if data is None:
        folder = replace(folder, entries=entries, notes=said)
        plan = _plan(name, folder, need)
        with cache.writing(need.input_shape) as writer:
            write_sets(plan, writer, folder.notes, failed, need.progress)
            cache.keep(writer, key)
        data = cache.load_fresh(name, key)
    return data


def data_from_recordings(name: str, again: Callable[[], Iterable[Recording]], need: Need) -> Data:
    """Data from recordings that Python yields, one after the other; `again` begins anew, and gives the same ones."""
    need.options.refuse(name, "a Python function that gives recordings", windows=False)
    front_end = need.front_end
    if isinstance(front_end, ImageChain):
        raise UserError(f"{name}: recordings do not go through a front end of pictures; leave [image] out")
    cut, length = cutter(name, need.input_shape, need.options, front_end)

    def read(entry: Entry) -> Iterator[Piece]:
        for number, recording in enumerate(again()):
            yield resampled(_checked(name, number, recording, need.labels), front_end)

    def classes(found: Sequence[str]) -> tuple[str, ...]:
        if need.labels:
            return need.labels
        top = max(int(label) for label in found)
        if top > 10 * len(found) + 1000:
            raise UserError(
                f"{name}: labels run to {top}, which are {top + 1} classes for {len(found)} recordings; number the "
                "classes from 0 on"
            )
        return tuple(str(i) for i in range(1 + top))

    entry = Entry(Path(name), name, None, "")
    plan = Plan(name, (entry,), read, cut, lambda: length(STREAM_WINDOWS), classes, front_end is None, need.seed)
    with cache.writing(need.input_shape) as writer:
        write_sets(plan, writer, (), {}, need.progress)
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


def _plan(name: str, folder: Folder, need: Need) -> Plan:
    input_shape, labels, seed = need.input_shape, need.labels, need.seed
    options, front_end = need.options, need.front_end
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


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
