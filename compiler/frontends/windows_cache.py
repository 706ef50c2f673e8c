"""Windows on disk: data may be larger than memory, and is read from its files once.

A finished entry is a folder named after all that made it. It is written elsewhere and renamed, so an entry is whole
or absent; one whose content is not what was written is made again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from secateur.errors import UserError
from secateur.models.cache_folder import cache_folder
from secateur.models.data import CHUNK_BYTES, Data, Split
from secateur.models.recordings import Recording

log = logging.getLogger(__name__)

SIDES = ("recovery", "validation", "test")
FRAMES = "frames.npy"


def stable(value: Any) -> str:
    """Text that is equal for equal values: records field by field, arrays by content."""
    if is_dataclass(value) and not isinstance(value, type):
        inside = ", ".join(f"{f.name}={stable(getattr(value, f.name))}" for f in fields(value))
        return f"{type(value).__module__}.{type(value).__qualname__}({inside})"
    if isinstance(value, np.ndarray):
        return f"{value.dtype.str}{value.shape}{hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()}"
    if isinstance(value, (tuple, list)):
        return f"({', '.join(stable(v) for v in value)})"
    return repr(value)


def key_of(*parts: Any) -> str:
    """SHA-256 of what decides an entry's content."""
    return hashlib.sha256("\n".join(stable(part) for part in parts).encode()).hexdigest()


@dataclass(frozen=True)
class Row:
    """One piece's windows, in the order in which they were written. `unit`, `number`: which file, which piece of it."""

    unit: int
    number: int
    start: int
    count: int
    y: int
    group: int


class Writer:
    """Collects windows in a temporary folder beside the entries."""

    def __init__(self, folder: Path, shape: tuple[int, ...]) -> None:
        self.folder, self.shape, self.count = folder, shape, 0
        self._raw = (folder / "windows.raw").open("wb")

    def append(self, windows: npt.NDArray[np.float32]) -> None:
        self._raw.write(np.ascontiguousarray(windows, dtype=np.float32).data)
        self.count += len(windows)

    def divide(self, rows: Sequence[Row], sides: Sequence[npt.NDArray[np.int64]]) -> None:
        """Write each set's windows, classes and groups as arrays; `sides`: the sets' groups."""
        self._raw.close()
        raw = self.folder / "windows.raw"
        size = 4 * math.prod(self.shape)
        for name, side in zip(SIDES, sides, strict=True):
            mine = set(side.tolist())
            chosen = [row for row in rows if row.group in mine and row.count]
            total = sum(row.count for row in chosen)
            if not total:
                raise UserError(f"the {name} set is empty")
            with raw.open("rb") as source, (self.folder / f"{name}_x.npy").open("wb") as out:
                header = {"descr": "<f4", "fortran_order": False, "shape": (total, *self.shape)}
                np.lib.format.write_array_header_1_0(out, header)
                for row in chosen:
                    source.seek(row.start * size)
                    for part in range(0, row.count * size, CHUNK_BYTES):
                        out.write(source.read(min(CHUNK_BYTES, row.count * size - part)))
            for what in ("y", "group"):
                values = np.repeat([getattr(row, what) for row in chosen], [row.count for row in chosen])
                np.save(self.folder / f"{name}_{what}.npy", values.astype(np.int64))
        raw.unlink()

    def finish(
        self,
        streams: Sequence[Recording],
        labels: Sequence[str],
        notes: Sequence[str],
        frames: npt.NDArray[np.uint8] | None = None,
    ) -> None:
        """Write what else there is to know, and the digests of all files last."""
        np.savez(self.folder / "streams.npz", **{f"s{i}": s.samples for i, s in enumerate(streams)})  # type: ignore[arg-type]
        if frames is not None:
            np.save(self.folder / FRAMES, frames)
        about = [{"rate_hz": s.rate_hz, "label": s.label, "group": s.group, "source": s.source} for s in streams]
        digests = {path.name: _digest(path) for path in sorted(self.folder.iterdir())}
        document = {"labels": list(labels), "notes": list(notes), "streams": about, "digests": digests}
        (self.folder / "about.json").write_text(json.dumps(document))

    def close(self) -> None:
        self._raw.close()


@contextmanager
def writing(shape: tuple[int, ...]) -> Iterator[Writer]:
    """A writer whose folder is gone afterwards, unless `keep` moved it."""
    base = cache_folder() / "windows"
    try:
        base.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".part-", dir=base))
    except OSError as error:
        raise UserError(
            f"{base}: {error.strerror}; windows are kept there, choose another folder with SECATEUR_CACHE"
        ) from None
    writer = Writer(folder, shape)
    try:
        yield writer
    finally:
        writer.close()
        shutil.rmtree(folder, ignore_errors=True)


def keep(writer: Writer, key: str) -> None:
    """Move the finished folder to its place, unless another run of the same data was faster; replace a broken entry."""
    entry = cache_folder() / "windows" / key
    with suppress(OSError):
        writer.folder.rename(entry)
        return
    # One run at a time: what another one has just put there is seen to be whole, and stays.
    with _locked(entry.parent):
        if _whole(entry):
            return
        old = Path(tempfile.mkdtemp(prefix=".part-", dir=entry.parent))
        with suppress(FileNotFoundError):
            entry.rename(old / "old")
        shutil.rmtree(old, ignore_errors=True)
        try:
            writer.folder.rename(entry)
        except OSError:  # a run that found no entry needs no lock
            if not _whole(entry):
                raise


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    number = os.open(folder, os.O_RDONLY)
    try:
        with suppress(
            OSError
        ):  # a disk without locks: two runs that replace one broken entry may be in each other's way
            fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)


def _whole(entry: Path) -> bool:
    try:
        _check(entry, json.loads((entry / "about.json").read_text()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return True


def _check(entry: Path, about: Any) -> None:
    for file, digest in about["digests"].items():
        if _digest(entry / file) != digest:
            raise ValueError(f"{file} has changed")


def load_fresh(name: str, key: str) -> Data:
    """The data of an entry that was kept right now. Raises UserError where it is gone already."""
    data = load(name, key, fresh=True)
    if data is None:
        raise UserError(f"{cache_folder() / 'windows' / key}: was removed while it was read; run again")
    return data


def load(name: str, key: str, fresh: bool = False) -> Data | None:
    """The data of an entry, `x` memory-mapped; None where there is no such entry, or a broken one.

    `fresh`: it was written right now, and need not be compared with its digests.
    """
    entry = cache_folder() / "windows" / key
    if not (entry / "about.json").is_file():
        return None
    try:
        about = json.loads((entry / "about.json").read_text())
        if not fresh:
            _check(entry, about)
        # Copy on write: torch wants writable memory, the file stays as it is.
        splits = [
            Split(
                np.load(entry / f"{side}_x.npy", mmap_mode="c"),
                np.load(entry / f"{side}_y.npy"),
                np.load(entry / f"{side}_group.npy"),
            )
            for side in SIDES
        ]
        with np.load(entry / "streams.npz") as archive:
            streams = tuple(Recording(archive[f"s{i}"], **known) for i, known in enumerate(about["streams"]))
        recovery, validation, test = splits
        labels, notes = tuple(about["labels"]), tuple(about["notes"])
        frames = np.load(entry / FRAMES) if FRAMES in about["digests"] else None
        return Data(name, recovery, validation, test, labels, notes=notes, streams=streams, frames=frames)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
        log.info("%s: %s; it is made again", entry, error)
        return None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
