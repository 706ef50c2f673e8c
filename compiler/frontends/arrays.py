"""From a user's arrays to Data: layout, labels, groups, three disjoint sets. Every doubt is an error or a note."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from secateur.compiler.frontends.truth import Wanted, bound, find_task, to_truth, truth_labels
from secateur.errors import UserError
from secateur.models.data import Data, Split, chunks
from secateur.models.task import Agreement, Anomaly, Classification, MultiLabel, Task, pure_groups, strata

log = logging.getLogger(__name__)

Array = npt.NDArray[Any]

BLOCKS = 20
"""Pseudo groups per class where the user gives no groups."""

MOST_GROUPS = 1 << 62
"""Above the user's groups there is room to number more."""

KEYS = "x_train y_train x_test y_test, optional x_validation y_validation groups_train groups_validation groups_test"

_ALIASES = {
    "x_val": "x_validation",
    "y_val": "y_validation",
    "groups_val": "groups_validation",
    "groups": "groups_train",
    "class_names": "labels",
}
_PARTS = ("train", "validation", "test")
_KNOWN = {f"{kind}_{part}" for kind in ("x", "y", "groups") for part in _PARTS} | {"labels", "seen"}


@dataclass(frozen=True)
class _Part:
    """One of the user's sets, in our layout. `groups` is None where none were given."""

    x: npt.NDArray[np.float32]
    y: Array
    groups: npt.NDArray[np.int64] | None

    def subset(self, index: npt.NDArray[np.integer]) -> _Part:
        return _Part(self.x[index], self.y[index], None if self.groups is None else self.groups[index])


def data_from_arrays(
    name: str,
    arrays: Mapping[str, Array],
    input_shape: tuple[int, ...],
    labels: tuple[str, ...] = (),
    seed: int = 0,
    wanted: Wanted = Wanted(),  # noqa: B008 - frozen
) -> Data:
    """The three sets from arrays named as in `KEYS`, for the task that is `wanted` or that `y` shows.

    Without any `y` the data is for agreement with the input network; reconstruction needs no `y_train`, and its
    anomalies are left out.

    `x_train` is for recovery. Validation is `x_validation`; without it half of the test groups, because the
    network has most likely been trained on `x_train` and would look too good there; and only if the test set
    has a single group, a fifth of the training groups. Without groups, each class's samples, in file order, are
    cut into blocks, and blocks stand for groups. All of this is written into `Data.notes`.

    Raises UserError for what does not fit: names, shapes, lengths, types, labels, NaN, a class without samples.
    """
    table = {_ALIASES.get(key, key): np.asarray(value) for key, value in arrays.items()}
    unknown = sorted(table.keys() - _KNOWN)
    y = {part: table[f"y_{part}"] for part in _PARTS if f"y_{part}" in table}
    bare = next((key for key, part in y.items() if part.ndim > 1 and not part.size), None)
    if bare is not None:
        raise UserError(f"{name}: y_{bare} is {y[bare].shape}: there is no label in it")
    kind, how = find_task(y, wanted, int(np.prod(input_shape)))
    needed = {Agreement: (), Anomaly: ("y_test",)}.get(kind, ("y_train", "y_test"))
    missing = [key for key in ("x_train", "y_train", "x_test", "y_test") if key not in table]
    missing = [key for key in missing if key[0] == "x" or key in needed]
    if missing or unknown:
        found = ", ".join(sorted(arrays)) or "nothing"
        what = f"misses {', '.join(missing)}" if missing else f"holds unknown {', '.join(unknown)}"
        raise UserError(f"{name}: {what}; it holds {found}; expected: {KEYS}, labels, seen")
    labels = labels or tuple(_text(v) for v in table.get("labels", np.array([])).ravel())
    sorted_names = ""
    if kind is Classification:
        if not labels and y["train"].dtype.kind in "US":
            names = _labels_of(name, table)
            listed = ", ".join(f"{n} is output {i}" for i, n in enumerate(names[:4])) + (", .." if names[4:] else "")
            sorted_names = f"Class names are taken in sorted order ({listed}); --labels gives another one."
        labels = labels or _labels_of(name, table)
    elif kind is not Agreement:
        labels = truth_labels(kind, list(y.values()), labels)
    parts = {
        part: _part(name, part, table, input_shape, labels, kind)
        for part in _PARTS
        if f"x_{part}" in table or f"y_{part}" in table
    }
    left_out = ""
    if kind is Anomaly and parts["train"].y.any():
        anomalies = int(parts["train"].y.sum())
        left_out = f"{anomalies} anomalies of {len(parts['train'].y)} training samples were left out of recovery."
        parts["train"] = parts["train"].subset(np.flatnonzero(parts["train"].y == 0))
        if not len(parts["train"].y):
            raise UserError(f"{name}: train holds anomalies only; recovery needs normal samples (y 0)")
    seen = table.get("seen", np.array(False))
    if seen.size != 1 or seen.dtype.kind not in "fiub":
        raise UserError(f"{name}: seen is {seen.dtype} {seen.shape}; a single true or false is expected")
    data = _assemble(name, parts, labels, seed, bool(seen.item()), kind)
    data = bound(data, kind, wanted, how, all(part.groups is not None for part in parts.values()))
    said = tuple(note for note in (left_out, sorted_names) if note)
    data = replace(data, notes=(*data.notes, *said))
    given = table["x_train"].shape[1:]
    if given != input_shape and len(given) == len(input_shape):
        note = f"Samples are {_shape(given)}, channels last; they were transposed to {_shape(input_shape)}."
        data = replace(data, notes=(*data.notes, note))
    data.check()
    check_classes(data)
    return data


def shared_samples(recovery: Split, validation: Split, test: Split) -> tuple[str, ...]:
    """A note where validation or test has samples that are recovery's too, value for value."""
    known = set(_rows(recovery))
    found = [
        (sum(row in known for row in _rows(s)), len(s), side)
        for s, side in ((validation, "validation"), (test, "test"))
    ]
    told = [f"{count} of {total} {side} samples" for count, total, side in found if count]
    if not told:
        return ()
    return (
        f"{' and '.join(told)} stand in recovery too, value for value: what is measured and certified on them is "
        "optimistic.",
    )


def _rows(split: Split) -> Iterator[bytes]:
    """A digest of each sample."""
    for part in chunks(split.x):
        for row in split.x[part]:
            yield hashlib.blake2b(np.ascontiguousarray(row).tobytes(), digest_size=16).digest()


def check_classes(data: Data) -> None:
    """Raise UserError if a class or a label has no recovery sample: training would make the network forget it."""
    if isinstance(data.task, MultiLabel):
        counts = data.recovery.y.sum(axis=0)
    elif isinstance(data.task, Classification) and not isinstance(data.task, Agreement):
        counts = np.bincount(data.recovery.y, minlength=len(data.labels))
    else:
        return
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        listed = ", ".join(f"{i} ({data.labels[i]})" for i in empty[:5])
        what = "labels" if isinstance(data.task, MultiLabel) else "classes"
        lowest, highest = int(np.argmax(counts > 0)), len(counts) - 1
        if what == "classes" and lowest and data.labels[0] == "0" and counts[lowest:].all():
            raise UserError(
                f"{data.name}: labels run from {lowest} to {highest}; classes are counted from 0, as the network's "
                f"outputs are: subtract {lowest}, or add samples of the classes before"
            )
        raise UserError(
            f"{data.name}: {len(empty)} of {len(counts)} {what} have no recovery sample: {listed}; "
            "training would make the network forget them; add samples, or try another --seed"
        )


def to_layout(name: str, x: Array, input_shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """(n, ...) samples as float32 (n, *input_shape); channels-last ones are transposed where no doubt is left.

    Raises UserError, with both shapes, if nothing fits.
    """
    if x.dtype.kind not in "fiub":
        raise UserError(f"{name}: samples are of type {x.dtype}; numbers are expected")
    if x.ndim == 0:
        raise UserError(f"{name}: a single number where samples (n, {_shape(input_shape)}) are expected")
    shape = x.shape[1:]
    if shape == input_shape:
        return np.ascontiguousarray(x, dtype=np.float32)
    channels, spatial = input_shape[0], input_shape[1:]
    if shape == (*spatial, channels) and spatial:
        log.info("%s: samples %s are channels last; transposed to %s", name, _shape(shape), _shape(input_shape))
        return np.ascontiguousarray(np.moveaxis(x, -1, 1), dtype=np.float32)
    if channels == 1 and shape == spatial:
        log.info("%s: samples %s got their one channel: %s", name, _shape(shape), _shape(input_shape))
        return np.ascontiguousarray(x[:, np.newaxis], dtype=np.float32)
    raise UserError(
        f"{name}: samples are {_shape(shape)}, the network takes {_shape(input_shape)} (channels first); "
        "reshape the data or give --input-shape"
    )


def to_classes(name: str, y: Array, labels: tuple[str, ...]) -> npt.NDArray[np.int64]:
    """Labels as class indices (n,): integers, whole floats, one-hot rows, or the labels' own names."""
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.dtype.kind in "US":
        return _named(name, y, labels)
    if y.dtype.kind not in "fiub":
        raise UserError(f"{name}: labels are of type {y.dtype}; class numbers or names are expected")
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise UserError(f"{name}: label {int(np.flatnonzero(~np.isfinite(y.ravel()))[0])} is NaN or infinite")
    if y.ndim == 2 and np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all():
        if y.shape[1] != len(labels):
            raise UserError(f"{name}: one-hot labels of {y.shape[1]} classes, {len(labels)} are known")
        return np.asarray(y.argmax(axis=1), dtype=np.int64)
    if y.ndim != 1:
        raise UserError(f"{name}: labels are {y.shape}; (n,) class numbers or one-hot (n, classes) are expected")
    whole = y.astype(np.int64)
    if not np.array_equal(whole, y):
        raise UserError(f"{name}: label {y[int(np.argmax(whole != y))]} is not a whole number")
    return whole


def blocks(y: npt.NDArray[np.int64], first: int = 0, count: int = BLOCKS) -> npt.NDArray[np.int64]:
    """Pseudo groups (n,), numbered from `first`: each class's samples, in file order, in up to `count` blocks.

    Neighbours in the file (overlapping windows, frames) stay together but at a block's edges.
    """
    groups = np.empty(len(y), dtype=np.int64)
    for value in np.unique(y):
        index = np.flatnonzero(y == value)
        parts = min(count, len(index))
        groups[index] = first + np.arange(len(index)) * parts // len(index)
        first += parts
    return groups


def _part(
    name: str,
    part: str,
    table: Mapping[str, Array],
    input_shape: tuple[int, ...],
    labels: tuple[str, ...],
    kind: type[Task],
) -> _Part:
    where = f"{name}: {part}"
    silent = kind is Agreement or (kind is Anomaly and part == "train")  # of which y says nothing that is needed
    for key in (f"x_{part}", f"y_{part}"):
        if key not in table and not (silent and key[0] == "y"):
            raise UserError(f"{name}: {key} is missing; {KEYS} are expected")
    x = to_layout(where, table[f"x_{part}"], input_shape)
    y: Array
    if kind is Agreement:
        y = np.full(len(x), -1, np.int64)
    elif kind is not Classification:
        y = to_truth(where, table.get(f"y_{part}", np.zeros(len(x), np.int64)), kind)
    else:
        y = to_classes(where, table[f"y_{part}"], labels)
    if len(x) != len(y):
        raise UserError(f"{where} has {len(x)} samples and {len(y)} labels")
    if not len(x):
        raise UserError(f"{where} is empty")
    if kind is Classification and (y.min() < 0 or y.max() >= len(labels)):
        raise UserError(
            f"{where} labels run from {y.min()} to {y.max()}; {len(labels)} classes are known (0 to {len(labels) - 1})"
        )
    groups = table.get(f"groups_{part}")
    if groups is None:
        return _Part(x, y, None)
    if groups.shape != (len(x),):
        raise UserError(f"{where} has {len(x)} samples and groups {groups.shape}; one group a sample is expected")
    if groups.dtype.kind in "US":
        everybody = np.unique(np.concatenate([table[k] for k in sorted(table) if k.startswith("groups_")]))
        groups = np.searchsorted(everybody, groups)
    elif groups.dtype.kind not in "iu":
        raise UserError(f"{where} groups are of type {groups.dtype}; whole numbers or names are expected")
    elif groups.max() >= MOST_GROUPS:
        raise UserError(f"{where} groups run to {groups.max()}; numbers below {MOST_GROUPS} are expected")
    return _Part(x, y, groups.astype(np.int64))


def _assemble(
    name: str, parts: dict[str, _Part], labels: tuple[str, ...], seed: int, seen: bool, kind: type[Task]
) -> Data:
    given = [part for part in parts.values() if part.groups is not None]
    free = 1 + max((int(part.groups.max()) for part in given if part.groups is not None), default=-1)
    splits: dict[str, Split] = {}
    notes: list[str] = []
    invented = []
    for key, part in parts.items():
        groups = part.groups
        if groups is None:
            groups = blocks(strata(part.y), free)
            free = int(groups.max()) + 1
            invented.append(key)
        splits[key] = Split(part.x, part.y, groups)
    if invented:
        notes.append(
            f"No groups were given for {' and '.join(invented)}: up to {BLOCKS} blocks{_each(kind)}, in file order, "
            "stand for them; if persons or recordings are mixed, "
            f"{'accuracy' if kind is Classification else 'what is measured'} is optimistic."
        )
    rng = np.random.default_rng(seed)
    train, test = splits["train"], splits["test"]
    if "validation" in splits:
        validation = splits["validation"]
    elif len(np.unique(test.groups)) > 1:
        kinds = "test" in invented or (kind is Anomaly and pure_groups(test.y, test.groups))
        test, validation = _divide(test, 0.5, rng, stratified=kinds)
        notes.append(
            f"No validation set was given: {len(validation)} of {len(validation) + len(test)} test samples, whole "
            "groups, became it; the rest is the test set."
        )
    elif len(np.unique(train.groups)) > 1:
        train, validation = _divide(train, 0.2, rng, stratified="train" in invented)
        notes.append(
            f"No validation set was given and the test set is one group: {len(validation)} training samples, "
            "whole groups, became it; if the network was trained on them, the baseline looks too good there."
        )
    else:
        raise UserError(f"{name}: training and test set are one group each; a third is needed for validation")
    notes += shared_samples(train, validation, test)
    for note in notes:
        log.info("%s: %s", name, note)
    return Data(name, train, validation, test, labels, seen, tuple(notes))


def _each(kind: type[Task]) -> str:
    return " a class" if kind in (Classification, Anomaly) else " a label" if kind is MultiLabel else ""


def _divide(split: Split, share: float, rng: np.random.Generator, stratified: bool) -> tuple[Split, Split]:
    """(kept, taken): whole groups, about `share` of them taken; `stratified`: of each class's own groups."""
    pools = [np.unique(split.groups)]
    if stratified:
        y = strata(split.y)
        pools = [np.unique(split.groups[y == value]) for value in np.unique(y)]
        # A class of one block goes where the others leave a choice: it stays.
        pools = [pool for pool in pools if len(pool) > 1] or [np.unique(split.groups)]
    taken = [rng.permutation(pool)[: max(1, round(share * len(pool)))] for pool in pools]
    mask = np.isin(split.groups, np.concatenate(taken))
    return split.subset(np.flatnonzero(~mask)), split.subset(np.flatnonzero(mask))


def _labels_of(name: str, table: Mapping[str, Array]) -> tuple[str, ...]:
    """Without names, the classes are counted, or, where `y` holds names, sorted."""
    y = [table[key] for key in ("y_train", "y_validation", "y_test") if key in table]
    if all(part.dtype.kind in "US" for part in y):
        return tuple(sorted({_text(v) for part in y for v in part.ravel()}))
    if all(part.ndim == 2 and part.shape[1] > 1 for part in y):
        return tuple(str(i) for i in range(max(part.shape[1] for part in y)))
    finite = [part[np.isfinite(part)] for part in y if part.dtype.kind in "fiub"]
    top = max((int(part.max()) for part in finite if part.size), default=0)
    samples = sum(len(part) for part in y if part.ndim)
    if top > 10 * samples + 1000:
        raise UserError(
            f"{name}: labels run to {top}, which are {top + 1} classes for {samples} samples; number the "
            "classes from 0 on"
        )
    return tuple(str(i) for i in range(top + 1))


def _named(name: str, y: Array, labels: tuple[str, ...]) -> npt.NDArray[np.int64]:
    index = {label: i for i, label in enumerate(labels)}
    words = [_text(v) for v in y.ravel()]
    strange = sorted({word for word in words if word not in index})
    if strange or y.ndim != 1:
        raise UserError(
            f"{name}: {len(strange)} labels are not among the network's: {', '.join(strange[:5])}; "
            f"known: {', '.join(labels[:8])}"
        )
    return np.array([index[word] for word in words], dtype=np.int64)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(str(n) for n in shape) or "single numbers"
