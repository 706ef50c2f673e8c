"""Data as the compiler sees it: three disjoint sets, no group in two of them.

*recovery* trains, scores and calibrates (of a reconstruction, whose recovery set has no anomalies, validation
calibrates too); *validation* makes every choice; *test* is touched once, for the report. A group is what must not be
on two sides: a person, a recording, a file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from secateur.errors import UserError
from secateur.models.recordings import Recording
from secateur.models.task import CLASSIFICATION, Task

CHUNK_BYTES = 1 << 24
"""What is looked at in one go where `x` may be a memory-mapped file larger than memory."""


@dataclass(frozen=True)
class Split:
    """`x`: raw samples (n, *input_shape), channels first, float32. `y`: what the task takes. `groups`: (n,).

    `y` of classes: (n,) int64; of labels: (n, labels) int64; of numbers: (n, outputs) float32 (`models/task.py`).
    `x` may be a memory-mapped file that is larger than memory: take it in parts, as `chunks` gives them.
    """

    x: npt.NDArray[np.float32]
    y: npt.NDArray[Any]
    groups: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.x)

    def subset(self, index: npt.NDArray[np.integer]) -> Split:
        return Split(self.x[index], self.y[index], self.groups[index])

    def fingerprint(self) -> str:
        """SHA-256 of the content."""
        digest = hashlib.sha256()
        for array in (self.x, self.y, self.groups):
            digest.update(repr((array.shape, array.dtype.str)).encode())
            for part in chunks(array):
                digest.update(np.ascontiguousarray(array[part]).tobytes())
        return digest.hexdigest()


def chunks(array: npt.NDArray[Any]) -> Iterator[slice]:
    """Slices of the first axis, one after the other, of about `CHUNK_BYTES` each."""
    step = max(1, CHUNK_BYTES * len(array) // max(1, array.nbytes))
    for start in range(0, len(array), step):
        yield slice(start, start + step)


@dataclass(frozen=True)
class Data:
    """The three sets. `seen`: the input network was trained on these samples, so they certify nothing.

    `notes`: what a reader of the report must know about how the sets were made, one sentence each.
    `streams`: some raw validation recordings, for the proof of a front end; empty where the data is windows already.
    `frames`: the same of pictures, as the camera would send them, (n, height, width, bytes a pixel).
    """

    name: str
    recovery: Split
    validation: Split
    test: Split
    labels: tuple[str, ...]
    seen: bool = False
    notes: tuple[str, ...] = ()
    streams: tuple[Recording, ...] = ()
    frames: npt.NDArray[np.uint8] | None = None
    task: Task = CLASSIFICATION

    def fingerprint(self) -> str:
        """SHA-256 of name, task and content."""
        sets = (self.recovery, self.validation, self.test)
        parts = (self.name, repr(self.task), *(split.fingerprint() for split in sets))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def check(self) -> None:
        """Raise UserError if a group stands on two sides, a set is empty or a value is not finite or in range."""
        sets = {"recovery": self.recovery, "validation": self.validation, "test": self.test}
        for name, split in sets.items():
            if not len(split):
                raise UserError(f"{self.name}: the {name} set is empty; three groups at least are needed")
            if not len(split.x) == len(split.y) == len(split.groups):
                raise UserError(
                    f"{self.name}: {name} has {len(split.x)} samples, {len(split.y)} labels "
                    f"and {len(split.groups)} groups; one of each a sample is expected"
                )
            if split.x.shape[1:] != self.recovery.x.shape[1:]:
                raise UserError(
                    f"{self.name}: {name} samples are {split.x.shape[1:]}, recovery samples {self.recovery.x.shape[1:]}"
                )
            for part in chunks(split.x):
                bad = np.flatnonzero(~np.isfinite(split.x[part].reshape(len(split.x[part]), -1)).all(axis=1))
                if len(bad):
                    place = part.start + int(bad[0])
                    raise UserError(f"{self.name}: {name} sample {place} holds NaN or infinity; clean the data first")
            self.task.check(f"{self.name}: {name}", split.y, self.labels)
        names = list(sets)
        for i, a in enumerate(names):
            for b in names[i + 1 :]:
                both = np.intersect1d(sets[a].groups, sets[b].groups)
                if both.size:
                    raise UserError(f"{self.name}: group {both[0]} is in {a} and in {b}")


def split_by_group(
    name: str,
    x: npt.NDArray[np.float32],
    y: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int64],
    labels: tuple[str, ...],
    seed: int = 0,
    validation: float = 0.2,
    test: float = 0.2,
) -> Data:
    """Whole groups to test, validation and recovery, as `sides_by_group` chooses them.

    Raises UserError if there are fewer than three groups.
    """
    sides = sides_by_group(name, y, groups, seed, validation, test)
    held = [Split(x[m], y[m], groups[m]) for m in (np.isin(groups, side) for side in sides)]
    return Data(name, recovery=held[0], validation=held[1], test=held[2], labels=labels)


def sides_by_group(
    name: str,
    y: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int64],
    seed: int = 0,
    validation: float = 0.2,
    test: float = 0.2,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The groups of recovery, validation and test, by a seeded shuffle.

    Where that leaves a class off a side which enough groups hold, groups are dealt out class by class instead, those
    in the fewest groups first: of two groups one is for recovery, one for test or validation; a single one recovers.

    Raises UserError if there are fewer than three groups.
    """
    unique = np.unique(groups)
    if len(unique) < 3:
        raise UserError(f"{name}: {len(unique)} groups; three at least (recovery, validation, test) are needed")
    order = np.random.default_rng(seed).permutation(unique)
    n_test = max(1, round(test * len(unique)))
    n_validation = max(1, min(round(validation * len(unique)), len(unique) - n_test - 1))
    first, second, rest = np.split(order, [n_test, n_test + n_validation])
    plain = (rest, second, first)
    holders = {int(value): np.unique(groups[y == value]) for value in np.unique(y)}
    if all(_covered(held, plain) for held in holders.values()):
        return plain
    rank = {int(group): place for place, group in enumerate(order)}
    sides: tuple[list[int], ...] = ([], [], [])
    given: set[int] = set()
    for held in sorted(holders.values(), key=len):
        n = len(held)
        to_test = n > 2 or (n == 2 and len(sides[2]) <= len(sides[1]))
        wanted_test = max(1, round(test * n)) if to_test else 0
        wanted_validation = max(1, min(round(validation * n), n - wanted_test - 1)) if n > 1 else 0
        has = [sum(int(group) in side for group in held) for side in sides]
        free = sorted((int(group) for group in held if int(group) not in given), key=rank.__getitem__)
        for group in free:
            if has[0] == 0:
                side = 0
            elif has[2] < wanted_test:
                side = 2
            else:
                side = 1 if has[1] < wanted_validation and (n > 2 or not to_test) else 0
            has[side] += 1
            sides[side].append(group)
            given.add(group)
    if not all(sides):
        return plain
    return tuple(np.array(sorted(side), dtype=groups.dtype) for side in sides)  # type: ignore[return-value]


def _covered(held: npt.NDArray[np.int64], sides: tuple[npt.NDArray[np.int64], ...]) -> bool:
    """Whether the groups that hold a class stand on as many sides as they could."""
    on = [bool(np.isin(held, side).any()) for side in sides]
    return on[0] and (len(held) < 3 or all(on)) and (len(held) < 2 or sum(on) >= 2)


def leave_one_group_out(
    name: str,
    x: npt.NDArray[np.float32],
    y: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int64],
    labels: tuple[str, ...],
    seed: int = 0,
    validation: float = 0.2,
) -> Iterator[Data]:
    """One Data a group, in ascending order: it is the test set, a fifth of the others validation.

    Raises UserError if there are fewer than three groups.
    """
    unique = np.unique(groups)
    if len(unique) < 3:
        raise UserError(f"{name}: {len(unique)} groups; three at least are needed to leave one out")
    for number, held in enumerate(unique):
        others = np.random.default_rng([seed, number]).permutation(unique[unique != held])
        chosen = others[: max(1, round(validation * len(others)))]
        test, middle = groups == held, np.isin(groups, chosen)
        sets = [Split(x[m], y[m], groups[m]) for m in (~test & ~middle, middle, test)]
        yield Data(f"{name} without {held}", sets[0], sets[1], sets[2], labels)
