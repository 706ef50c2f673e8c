"""Files of one content among those of a folder: one group, and in one set."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from secateur.compiler.frontends import windows_cache as cache
from secateur.compiler.frontends.data_options import Progress
from secateur.compiler.frontends.folder import Entry


def digests_of(entries: Sequence[Entry], progress: Progress) -> tuple[dict[str, str], dict[str, str]]:
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


def without_twins(entries: tuple[Entry, ...], digests: dict[str, str]) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
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
