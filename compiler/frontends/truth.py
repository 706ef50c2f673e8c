"""Which task the user's `y` is for, `y` as that task takes it, and the task bound to its data.

What is not asked for with `--task` is found only where a classifier is impossible or `y` says so itself, and noted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from secateur.errors import UserError
from secateur.models.data import Data, Split
from secateur.models.network import Network
from secateur.models.program import Program
from secateur.models.task import TASKS, Agreement, Anomaly, Classification, Regression, Task, pure_groups
from secateur.models.training import predict

Array = npt.NDArray[Any]

AUC = "AUC is of "
"""A note of what the area under the curve is of begins so."""


@dataclass(frozen=True)
class Wanted:
    """`--task` and `--metric`, None where not given, and how many outputs the network has, where known."""

    task: str | None = None
    metric: str | None = None
    outputs: int | None = None

    def __post_init__(self) -> None:
        if self.task is not None and self.task not in TASKS:
            raise UserError(f"--task {self.task}: unknown; one of {', '.join(TASKS)}")
        known = {m for t in TASKS.values() for m in t.metrics}
        if self.metric is not None and self.metric not in known:
            raise UserError(f"--metric {self.metric}: unknown; one of {', '.join(sorted(known))}")

    def of(self, kind: type[Task]) -> Task:
        """The task with the metric asked for, or its first."""
        return kind(self.metric or kind.metrics[0])


def outputs_of(model: Network | Program) -> int:
    """Values that a model gives for a sample."""
    return model.classes if isinstance(model, Network) else model.tensors[model.outputs[0]].elements


def find_task(y: Mapping[str, Array], wanted: Wanted, inputs: int) -> tuple[type[Task], str]:
    """(task, how it was found, '' where it was asked for) for `y` by set: train, validation, test.

    `inputs`: values of a sample. Whatever is in doubt is a classification, whose errors say what is wrong.
    """
    if wanted.task is not None:
        return TASKS[wanted.task], ""
    parts = list(y.values())
    if not parts:
        return Agreement, "no labels were given"
    if any(part.dtype.kind not in "fiub" for part in parts):
        return Classification, ""
    widths = {part.shape[1] if part.ndim == 2 else 1 for part in parts if part.ndim in (1, 2)}
    if len(widths) != 1 or any(part.ndim not in (1, 2) for part in parts):
        return Classification, ""
    width = widths.pop()
    binary = all(np.isin(part, (0, 1)).all() for part in parts)
    if width > 1 and binary and any((part.sum(axis=1) > 1).any() for part in parts):
        if wanted.outputs in (None, width):
            return TASKS["multi-label"], "rows of y hold several ones"
        return Classification, ""
    if wanted.outputs is None:
        return Classification, ""
    normal = "train" not in y or not y["train"].any()
    if wanted.outputs == inputs > 2 and width == 1 and binary and normal:
        return Anomaly, "the network gives back as many values as it takes, and y is 0 and 1"
    if wanted.outputs != width:
        return Classification, ""
    if width == 1:  # one output tells no two classes apart
        if binary:
            return TASKS["multi-label"], "the network has one output, and y is 0 and 1"
        return Regression, "the network has one output"
    finite = [part[np.isfinite(part)] for part in parts]
    whole = all(np.array_equal(part, np.rint(part)) for part in finite)
    shares = all(part.min() >= 0 and np.allclose(part.sum(axis=1), 1) for part in parts)
    return (Classification, "") if whole or shares else (Regression, "y are not whole numbers")


def truth_labels(kind: type[Task], y: Sequence[Array], labels: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the outputs of any task but classification: those given, else numbers."""
    if kind is Anomaly:
        return ("normal", "anomaly")
    width = y[0].shape[1] if y[0].ndim == 2 else 1
    if labels:
        return labels
    word = "value" if kind is Regression else "label"
    return (word,) if width == 1 else tuple(f"{word} {i}" for i in range(width))


def to_truth(where: str, y: Array, kind: type[Task]) -> Array:
    """`y` as the task takes it, of any task but classification."""
    if y.dtype.kind not in "fiub":
        raise UserError(f"{where}: y is of type {y.dtype}; {kind.name} takes numbers")
    if y.ndim == 2 and y.shape[1] == 1 and kind is Anomaly:
        y = y[:, 0]
    if y.ndim != 1 and (y.ndim != 2 or kind is Anomaly):
        expected = "(n,)" if kind is Anomaly else "(n,) or (n, outputs)"
        raise UserError(f"{where}: y is {y.shape}; {kind.name} takes {expected}")
    if y.ndim == 1 and kind is not Anomaly:
        y = y[:, np.newaxis]
    if kind is Regression:
        return np.asarray(y, np.float32)
    if not np.isin(y, (0, 1)).all():
        strange = np.ravel(y)[~np.isin(np.ravel(y), (0, 1))][0]
        raise UserError(f"{where}: y holds {strange}; {kind.name} takes 0 and 1")
    return np.asarray(y, np.int64)


def bound(data: Data, kind: type[Task], wanted: Wanted, found: str, groups_given: bool = True) -> Data:
    """The data with its task, which learns what it has to know of it, and with notes on both."""
    task, notes = wanted.of(kind), list(data.notes)
    if isinstance(task, Regression):
        if not np.isfinite(data.recovery.y).all():
            task.check(f"{data.name}: recovery", data.recovery.y, data.labels)
        task = task.of(data.recovery.y)
    if found:
        notes.append(f"The task is taken to be {kind.name}: {found} (--task names another).")
    if isinstance(task, Anomaly):
        pure = all(pure_groups(s.y, s.groups) for s in (data.validation, data.test))
        task = replace(task, by_group=groups_given and pure)
        notes.append(_of_what(task, data, groups_given))
    return replace(data, task=task, notes=tuple(notes))


def retasked(data: Data, wanted: Wanted) -> Data:
    """Data that a loader or the zoo gave, with the task that is asked for or that its `y` shows."""
    own = type(data.task)
    if wanted.task in (None, own.name) and (own is not Classification or _classes(data)):
        metric = wanted.metric or data.task.metric
        if _knows_its_data(data):
            return replace(data, task=replace(data.task, metric=metric))
        for name, s in (("recovery", data.recovery), ("validation", data.validation), ("test", data.test)):
            data.task.check(f"{data.name}: {name}", s.y, data.labels)
        return bound(data, own, replace(wanted, metric=metric), "")
    sets = {"train": data.recovery, "validation": data.validation, "test": data.test}
    inputs = int(np.prod(data.recovery.x.shape[1:]))
    kind, found = find_task({part: s.y for part, s in sets.items()}, wanted, inputs)
    if kind is Classification:
        return replace(data, task=wanted.of(kind))
    if kind is Agreement:
        silent = [replace(s, y=np.full(len(s), -1, np.int64)) for s in sets.values()]
        return bound(replace(data, recovery=silent[0], validation=silent[1], test=silent[2]), kind, wanted, found)
    names = {"train": "recovery", "validation": "validation", "test": "test"}
    made = [replace(s, y=to_truth(f"{data.name}: {names[part]}", s.y, kind)) for part, s in sets.items()]
    width = made[0].y.shape[1] if made[0].y.ndim == 2 else 2
    labels = truth_labels(kind, [made[0].y], data.labels if len(data.labels) == width else ())
    changed = replace(data, recovery=made[0], validation=made[1], test=made[2], labels=labels)
    return bound(changed, kind, wanted, found)


def _knows_its_data(data: Data) -> bool:
    """Whether a task that learns something of its data was bound to it already."""
    if isinstance(data.task, Regression):
        return bool(data.task.median)
    return not isinstance(data.task, Anomaly) or data.task.by_group or any(n.startswith(AUC) for n in data.notes)


def agreed(model: Network | Program, data: Data) -> Data:
    """Data without labels, labelled by the input network: its classes are what later networks are compared with.

    Other data is given back as it is. Raises UserError for a `.tflite`, which would be compared with itself.
    """
    if not isinstance(data.task, Agreement) or (data.recovery.y != -1).any():
        return data
    if isinstance(model, Program):
        raise UserError(
            f"{data.name}: has no labels, and {model.name} has no float network to agree with. Give labels (y_test), "
            "or leave --data out: outputs are then compared on random inputs"
        )
    sets = [_own(model, split) for split in (data.recovery, data.validation, data.test)]
    labels = data.labels or model.labels or tuple(str(i) for i in range(model.classes))
    note = (
        "There are no labels: recovery follows the input network, and every accuracy is agreement with its classes. "
        "Accuracy on labels, whatever it is, cannot fall by more points than agreement does."
    )
    return replace(data, recovery=sets[0], validation=sets[1], test=sets[2], labels=labels, notes=(*data.notes, note))


def _own(network: Network, split: Split) -> Split:
    outputs = predict(network.module, split.x, network.preprocess)
    return replace(split, y=np.asarray(outputs.argmax(axis=1), np.int64))


def _classes(data: Data) -> bool:
    return all(s.y.ndim == 1 and s.y.dtype.kind in "iu" for s in (data.recovery, data.validation, data.test))


def _of_what(task: Anomaly, data: Data, groups_given: bool) -> str:
    if task.by_group:
        count = len(np.unique(data.test.groups))
        return f"{AUC}groups: the mean score of each of the {count} groups of the test set, all of one kind."
    why = "no groups were given" if not groups_given else "groups mix normal samples and anomalies, or are one sample"
    return f"{AUC}single samples: {why}."
