"""Which files of a folder are data: their kind, class, group and, where the folders say so, their set."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from secateur.errors import UserError

Kind = Literal["image", "WAV", "CSV"]

KINDS: dict[str, Kind] = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"), "image"),
    **dict.fromkeys((".wav", ".wave"), "WAV"),
    ".csv": "CSV",
}
SETS = {
    "train": "recovery", "training": "recovery",
    "validation": "validation", "valid": "validation", "val": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
"""Folders on top that are sets, when there are at least two and nothing else."""
SPEAKER = "_nohash_"
"""Speech Commands: what stands before it is the speaker."""


@dataclass(frozen=True)
class Entry:
    """A file. `name`: its path in the folder. `label` is None where a column will tell; `side`: its set, if given."""

    path: Path
    name: str
    label: str | None
    group: str
    side: str | None = None


@dataclass(frozen=True)
class Folder:
    """`classes`: the class folders' names, sorted, also of empty ones. `notes`: one sentence each."""

    kind: Kind
    entries: tuple[Entry, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...]


def scan(root: Path, label_column: str | None = None, group_column: str | None = None) -> Folder:
    """The data files below `root`, or `root` itself where it is a CSV file, in the order of their names.

    Raises UserError where there are none, two kinds, or files beside the class folders.
    """
    name = root.resolve().name
    if root.is_file():
        if label_column is None:
            raise UserError(f"{name}: one CSV file; say which of its columns holds the class with --label-column")
        return Folder("CSV", (Entry(root, name, None, name),), (), ())
    strange: Counter[str] = Counter()
    found = list(_files(root, strange))
    kinds = Counter(KINDS[path.suffix.lower()] for path in found)
    if not kinds:
        others = f" ({_others(strange)})" if strange else ""
        raise UserError(f"{name}: no image, WAV or CSV file in it{others}")
    if len(kinds) > 1:
        listed = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        raise UserError(f"{name}: {listed} files; one kind of data in a folder is expected")
    (kind,) = kinds
    notes = [f"Not read: {_others(strange)}."] if strange else []
    inside = [path.relative_to(root).parts for path in found]
    tops = sorted({parts[0] for parts in inside} | {p.name for p in _folders(root)})
    sides = [top for top in tops if top.lower() in SETS]
    split = len(sides) >= 2 and len(sides) == len(tops)
    if label_column is not None and kind != "CSV":
        raise UserError(f"--label-column goes with CSV files, {name} holds {kind} files; leave it out")
    depth = 1 if split else 0
    nested = label_column is None and any(len(parts) > depth + 2 for parts in inside)
    entries, bare = [], []
    for path, parts in zip(found, inside, strict=True):
        side = SETS[parts[0].lower()] if split else None
        rest = parts[depth:]
        if label_column is None and len(rest) < 2:
            bare.append("/".join(parts))
            continue
        label = None if label_column is not None else rest[0]
        group = _group("/".join(parts), rest[1:] if label_column is None else (), kind)
        entries.append(Entry(path, "/".join(parts), label, group, side))
    if bare:
        hint = ", or name the class's column with --label-column" if kind == "CSV" else ""
        raise UserError(
            f"{name}: {len(bare)} of {len(found)} {kind} files stand outside of a class folder: {', '.join(bare[:3])}; "
            f"give each class a folder with its files{hint}"
        )
    classes: set[str] = set()
    if label_column is None:
        for top in [root / side for side in sides] if split else [root]:
            classes |= {p.name for p in _folders(top)}
    for label in sorted(classes):
        if not label.isprintable():  # of bytes that are no UTF-8, too
            raise UserError(f"{name}: the class folder {label!r} cannot be printed; give it another name")
    if split:
        notes.append(f"The sets are the folders {', '.join(sides)}.")
    if group_column is None:
        notes.append(_about_groups(entries, kind, nested))
    empty = sorted(classes - {entry.label for entry in entries})
    if empty:
        raise UserError(
            f"{name}: no {kind} file in class folder{'s' * (len(empty) > 1)} {', '.join(empty[:5])}; "
            "add files or remove the folder"
        )
    return Folder(kind, tuple(entries), tuple(sorted(classes)), tuple(notes))


def _group(name: str, below: Sequence[str], kind: Kind) -> str:
    if len(below) > 1:  # the sub-folders of a class folder
        return "/".join(below[:-1])
    if kind == "WAV" and below and SPEAKER in below[-1]:
        return below[-1].split(SPEAKER)[0]
    return name


def _about_groups(entries: Sequence[Entry], kind: Kind, nested: bool) -> str:
    files = sum(entry.group == entry.name for entry in entries)
    if files == len(entries):
        better = "give each person a sub-folder in the class folders"
        if kind == "CSV":
            better = "name the persons' column with --group-column"
        return (
            f"Each file is a group of its own: if several are of one person or scene, accuracy is optimistic; {better}."
        )
    also = f"; {files} files without one are groups of their own" if files else ""
    if nested:
        return f"Groups are the class folders' sub-folders, one name being one group in all classes{also}."
    return f"Groups are the speakers, as the files' names tell before {SPEAKER}{also}."


def _files(root: Path, strange: Counter[str]) -> Iterator[Path]:
    """Data files, sorted; what is left out is counted in `strange`."""
    seen = {root.resolve()}
    stack = [root]
    found: list[Path] = []
    while stack:
        folder = stack.pop()
        for entry in sorted(os.scandir(folder), key=lambda e: e.name):
            path = Path(entry.path)
            if entry.name.startswith("."):
                strange["hidden"] += 1
            elif entry.is_dir():
                real = path.resolve()
                if real in seen:
                    strange["link to a folder that was read already"] += 1
                    continue
                seen.add(real)
                stack.append(path)
            elif not entry.is_file():
                strange["link to nowhere" if entry.is_symlink() else "no plain file"] += 1
            elif path.suffix.lower() in KINDS:
                found.append(path)
            else:
                strange[path.suffix.lower() or "no suffix"] += 1
    yield from sorted(found, key=lambda p: p.relative_to(root).parts)


def _folders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def _others(strange: Counter[str]) -> str:
    listed = ", ".join(f"{count} {kind}" for kind, count in sorted(strange.items()))
    total = sum(strange.values())
    return f"{total} other file{'s' * (total > 1)}: {listed}"
