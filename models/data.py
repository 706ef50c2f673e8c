"""Data as the compiler sees it: three disjoint sets, no group in two of them.

*recovery* trains, scores and calibrates; *validation* makes every choice; *test* is touched once, for the
report. A group is what must not be on two sides: a person, a recording, a file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from secateur.errors import UserError
from secateur.models.recordings import Recording


@dataclass(frozen=True)
class Split:
    """`x`: raw samples (n, *input_shape), channels first, float32. `y`: classes (n,), int64. `groups`: (n,)."""

    x: npt.NDArray[np.float32]
    y: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.x)

    def subset(self, index: npt.NDArray[np.integer]) -> Split:
        return Split(self.x[index], self.y[index], self.groups[index])

    def fingerprint(self) -> str:
        """SHA-256 of the content."""
        digest = hashlib.sha256()
        for array in (self.x, self.y, self.groups):
            digest.update(repr((array.shape, array.dtype.str)).encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Data:
    """The three sets. `seen`: the input network was trained on these samples, so they certify nothing.

    `notes`: what a reader of the report must know about how the sets were made, one sentence each.
    `streams`: some raw validation recordings, for the proof of a front end; empty where the data is windows already.
    """

    name: str
    recovery: Split
    validation: Split
    test: Split
    labels: tuple[str, ...]
    seen: bool = False
    notes: tuple[str, ...] = ()
    streams: tuple[Recording, ...] = ()

    def fingerprint(self) -> str:
        """SHA-256 of name and content."""
        parts = (self.name, *(split.fingerprint() for split in (self.recovery, self.validation, self.test)))
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
            if not np.isfinite(split.x).all():
                bad = int(np.flatnonzero(~np.isfinite(split.x.reshape(len(split), -1)).all(axis=1))[0])
                raise UserError(f"{self.name}: {name} sample {bad} holds NaN or infinity; clean the data first")
            if split.y.min() < 0 or split.y.max() >= len(self.labels):
                raise UserError(
                    f"{self.name}: {name} labels run from {split.y.min()} to {split.y.max()}, "
                    f"{len(self.labels)} classes are known (0 to {len(self.labels) - 1})"
                )
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
    """Whole groups to test, validation and recovery, by a seeded shuffle of the groups.

    Raises UserError if there are fewer than three groups.
    """
    unique = np.unique(groups)
    if len(unique) < 3:
        raise UserError(f"{name}: {len(unique)} groups; three at least (recovery, validation, test) are needed")
    order = np.random.default_rng(seed).permutation(unique)
    n_test = max(1, round(test * len(unique)))
    n_validation = max(1, min(round(validation * len(unique)), len(unique) - n_test - 1))
    parts = np.split(order, [n_test, n_test + n_validation])
    held = [Split(x[m], y[m], groups[m]) for m in (np.isin(groups, part) for part in parts)]
    return Data(name, recovery=held[2], validation=held[1], test=held[0], labels=labels)


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
