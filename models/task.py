"""What a network is for: how its outputs are read, scored, trained, and what "a point" of its metric is.

A point is one percent of a metric that is higher where the network is better, so that `--max-drop 1` asks for the same
kind of thing of every task. A new task is one class here and its line in `TASKS`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from secateur.errors import UserError
from secateur.models.tally import Ranks, Tally, balanced_accuracy, class_f1, hits, label_f1, skill

if TYPE_CHECKING:
    from secateur.models.data import Split

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]

WORDS = {
    "accuracy": "accuracy",
    "macro-f1": "macro F1",
    "balanced": "balanced accuracy",
    "mae": "MAE skill",
    "auc": "AUC",
    "agreement": "agreement",
}
"""Metrics as a reader sees them."""

MOST_RESPONSES = 256
"""Columns of the response that filters are scored by; a longer reconstruction target is projected to so many."""


@dataclass(frozen=True)
class Measure:
    """A number beside the metric. `unit`: % or what `value` is in. `samples`: of how many, where not of all."""

    name: str
    unit: str
    value: float
    samples: int | None = None


@dataclass(frozen=True)
class Task(ABC):
    """The strategy of one task. Frozen: what it has to know of the data (a median) is a field of its own."""

    metric: str
    name: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]] = ()
    doubted: ClassVar[str] = ""
    """What else than the preprocessing may be wrong where a network only guesses."""
    reconstructs: ClassVar[bool] = False
    """Whether answers and losses look at `x`; where they do not, it may be empty, for sets larger than memory."""

    def __post_init__(self) -> None:
        if self.metric not in self.metrics:
            raise UserError(f"--metric {self.metric}: {self.name} is judged by {' or '.join(self.metrics)}")

    @property
    def word(self) -> str:
        return WORDS[self.metric]

    @abstractmethod
    def check(self, where: str, y: Array, labels: tuple[str, ...]) -> None:
        """Raise UserError where `y` is not what this task takes."""

    @abstractmethod
    def check_outputs(self, where: str, outputs: int, inputs: int, labels: tuple[str, ...]) -> None:
        """Raise UserError where a network of so many outputs and inputs (values of a sample) does something else.

        `where`: "DATA: MODEL", the start of the message.
        """

    @abstractmethod
    def answers(self, outputs: Floats, x: Floats, probabilities: bool) -> Array:
        """What the network says, sample by sample, read from real outputs (n, outputs).

        `x`: the samples as the network got them, (n, inputs), in the order of the outputs where that matters.
        `probabilities`: the outputs come from a logistic function.
        """

    @abstractmethod
    def tally(self, split: Split, answers: Array) -> Tally:
        """The metric."""

    def percent(self, split: Split, answers: Array) -> float:
        return self.tally(split, answers).percent

    @abstractmethod
    def chance(self, split: Split) -> tuple[float, str]:
        """Percent of the metric that needs no network, and what one would do for it."""

    def says(self, percent: float) -> str:
        """A metric on the validation set, in words."""
        return f"{self.word} of {percent:.1f} % on the validation samples"

    def guesses(self, split: Split, percent: float) -> str | None:
        """What to tell of a network that is no better on validation than none, as one is that is fed wrongly."""
        chance, how = self.chance(split)
        if percent > chance:
            return None
        also = f", and {self.doubted}" if self.doubted else ""
        return (
            f"{self.says(percent)}, {how} gives {chance:.1f} %. Is the preprocessing right (--mean and --std, channel "
            f"order){also}?"
        )

    def measures(self, split: Split, answers: Array, labels: tuple[str, ...]) -> tuple[Measure, ...]:
        """What else to tell of the same answers."""
        return ()

    def truth(self, y: Array) -> Tensor:
        """`y` as the loss takes it."""
        return torch.from_numpy(np.ascontiguousarray(y, dtype=np.float32))

    @abstractmethod
    def loss(self, output: Tensor, y: Tensor, x: Tensor, normalized: bool, smoothing: float = 0.0) -> Tensor:
        """Of a batch. `x`: the samples as preprocessed, without noise. `normalized`: the outputs are probabilities."""

    @abstractmethod
    def follow(self, output: Tensor, goal: Tensor, normalized: tuple[bool, bool], temperature: float) -> Tensor:
        """Loss of not saying what the teacher says; `normalized`: of both."""

    @abstractmethod
    def response(self, x: Floats, y: Array, every: Array) -> Floats:
        """(n, k): what the filters' values should explain, for a batch (x, y) of a set whose `y` are `every`."""

    def clip_norm(self) -> float:
        """Largest norm of a gradient in recovery, 0: any. Errors in the data's own units have no natural size."""
        return 1.0


@dataclass(frozen=True)
class Classification(Task):
    """One class a sample. y: (n,) int64."""

    metric: str = "accuracy"
    name = "classification"
    recall_word: ClassVar[str] = "recall of"
    doubted: ClassVar[str] = "the order of the classes (--labels)"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "balanced", "macro-f1")

    def check(self, where: str, y: Array, labels: tuple[str, ...]) -> None:
        if y.ndim != 1 or y.dtype.kind not in "iu":
            raise UserError(f"{where}: labels are {y.dtype} {y.shape}; (n,) class numbers are expected, or name --task")
        if y.min() < 0 or y.max() >= len(labels):
            raise UserError(
                f"{where} labels run from {y.min()} to {y.max()}, "
                f"{len(labels)} classes are known (0 to {len(labels) - 1})"
            )

    def check_outputs(self, where: str, outputs: int, inputs: int, labels: tuple[str, ...]) -> None:
        if len(labels) != outputs:
            data, _, model = where.partition(": ")
            if len(labels) == 1:
                raise UserError(f"{data}: one class only, {labels[0]}; {model} has {outputs} outputs")
            raise UserError(f"{data}: {len(labels)} classes, {model} has {outputs} outputs")

    def answers(self, outputs: Floats, x: Floats, probabilities: bool) -> Array:
        """The first of equals, as the device does."""
        return np.asarray(outputs.argmax(axis=1), dtype=np.int64)

    def tally(self, split: Split, answers: Array) -> Tally:
        if self.metric == "balanced":
            return balanced_accuracy(split.y, answers, split.groups)
        if self.metric == "macro-f1":
            return class_f1(split.y, answers, split.groups)
        return hits(split.y == answers, split.groups)

    def chance(self, split: Split) -> tuple[float, str]:
        commonest = np.full(len(split), np.bincount(split.y).argmax())
        return self.percent(split, commonest), "always saying the commonest class"

    def says(self, percent: float) -> str:
        plain = f"{percent:.1f} % of the validation samples right"
        return plain if self.metric == "accuracy" else super().says(percent)

    def measures(self, split: Split, answers: Array, labels: tuple[str, ...]) -> tuple[Measure, ...]:
        others = [replace(self, metric=m) for m in self.metrics if m != self.metric]
        found = [Measure(t.word, "%", t.percent(split, answers)) for t in others]
        counts = np.bincount(split.y, minlength=len(labels))
        right = np.bincount(split.y[split.y == answers], minlength=len(labels))
        for label, count, hit in zip(labels, counts, right, strict=True):
            if count:
                found.append(Measure(f"{self.recall_word} {label}", "%", 100 * float(hit) / float(count), int(count)))
        return tuple(found)

    def truth(self, y: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(y, dtype=np.int64))

    def loss(self, output: Tensor, y: Tensor, x: Tensor, normalized: bool, smoothing: float = 0.0) -> Tensor:
        return nn.functional.cross_entropy(_logarithms(output, normalized), y, label_smoothing=smoothing)

    def follow(self, output: Tensor, goal: Tensor, normalized: tuple[bool, bool], temperature: float) -> Tensor:
        """Hinton, Vinyals, Dean 2015, section 2."""
        t, mine, theirs = temperature, _logarithms(output, normalized[0]), _logarithms(goal, normalized[1])
        return (t * t) * nn.functional.kl_div(
            (mine / t).log_softmax(1), (theirs / t).log_softmax(1), reduction="batchmean", log_target=True
        )

    def response(self, x: Floats, y: Array, every: Array) -> Floats:
        """One-hot."""
        return np.asarray(y[:, np.newaxis] == np.unique(every), np.float64)

    def clip_norm(self) -> float:
        return 0.0


@dataclass(frozen=True)
class Agreement(Classification):
    """No labels: y are the input network's own classes, -1 where it has not been asked yet.

    Accuracy cannot fall by more points than agreement does: only samples that the two name differently can be lost.
    """

    metric: str = "agreement"
    name = "agreement"
    recall_word: ClassVar[str] = "agreement where the input network says"
    doubted: ClassVar[str] = ""  # the classes are the network's own
    metrics: ClassVar[tuple[str, ...]] = ("agreement",)

    def check(self, where: str, y: Array, labels: tuple[str, ...]) -> None:
        if y.ndim != 1 or (y != -1).any():
            super().check(where, y, labels)

    def says(self, percent: float) -> str:
        return f"all {percent:.1f} % of the validation samples are the input network's own classes"

    def chance(self, split: Split) -> tuple[float, str]:
        return 100 * float(np.bincount(split.y).max()) / len(split), "but its commonest class"


@dataclass(frozen=True)
class MultiLabel(Task):
    """Any number of labels a sample. y: (n, labels) int64 of 0 and 1; a label is said above probability 0.5."""

    metric: str = "macro-f1"
    name = "multi-label"
    doubted: ClassVar[str] = "the order of the labels"
    metrics = ("macro-f1",)

    def check(self, where: str, y: Array, labels: tuple[str, ...]) -> None:
        if y.ndim != 2 or y.shape[1] != len(labels):
            raise UserError(f"{where}: labels are {y.shape}; (n, {len(labels)}) of 0 and 1 are expected")
        if not np.isin(y, (0, 1)).all():
            row = int(np.flatnonzero(~np.isin(y, (0, 1)).all(axis=1))[0])
            raise UserError(f"{where}: row {row} of the labels holds {y[row][~np.isin(y[row], (0, 1))][0]}; 0 or 1")
        if not y.any():
            raise UserError(f"{where}: no sample has any label, so F1 says nothing; check y")

    def check_outputs(self, where: str, outputs: int, inputs: int, labels: tuple[str, ...]) -> None:
        if len(labels) != outputs:
            data, _, model = where.partition(": ")
            raise UserError(f"{data}: {len(labels)} labels, {model} has {outputs} outputs")

    def answers(self, outputs: Floats, x: Floats, probabilities: bool) -> Array:
        """Scores that are above 0 where the label is said."""
        return np.asarray(outputs, np.float64) - (0.5 if probabilities else 0.0)

    def tally(self, split: Split, answers: Array) -> Tally:
        return label_f1(split.y == 1, answers > 0, split.groups)

    def chance(self, split: Split) -> tuple[float, str]:
        return self.percent(split, np.ones(split.y.shape)), "always saying every label"

    def measures(self, split: Split, answers: Array, labels: tuple[str, ...]) -> tuple[Measure, ...]:
        found, precisions = [], []
        for i, label in enumerate(labels):
            true, said = split.y[:, i] == 1, answers[:, i] > 0
            if true.any():
                precisions.append(average_precision(answers[:, i], true))
                recall = 100 * float((true & said).sum() / true.sum())
                found.append(Measure(f"recall of {label}", "%", recall, int(true.sum())))
        return (Measure("mean average precision", "%", 100 * float(np.mean(precisions))), *found)

    def loss(self, output: Tensor, y: Tensor, x: Tensor, normalized: bool, smoothing: float = 0.0) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(_logits(output, normalized), y)

    def follow(self, output: Tensor, goal: Tensor, normalized: tuple[bool, bool], temperature: float) -> Tensor:
        t, mine, theirs = temperature, _logits(output, normalized[0]), _logits(goal, normalized[1])
        return (t * t) * nn.functional.binary_cross_entropy_with_logits(mine / t, torch.sigmoid(theirs / t))

    def response(self, x: Floats, y: Array, every: Array) -> Floats:
        return np.asarray(y, np.float64)


@dataclass(frozen=True)
class Regression(Task):
    """Numbers. y: (n, outputs) float32.

    Percent is skill: 100 (1 - MAE / MAE of always saying `median`), the recovery set's, mean over outputs. 100 is
    exact, 0 is no better than a constant, and a point is one percent of the constant's error.
    `spread`: the mean distance of the recovery set from its median, by which the loss is scaled.
    """

    metric: str = "mae"
    median: tuple[float, ...] = ()
    spread: tuple[float, ...] = ()
    name = "regression"
    doubted: ClassVar[str] = "the unit and the order of the values"
    metrics = ("mae",)

    def of(self, y: Array) -> Regression:
        """The task of a recovery set `y` (n, outputs)."""
        median = np.median(np.asarray(y, np.float64), axis=0)
        spread = np.abs(y - median).mean(axis=0)
        return replace(self, median=tuple(median.tolist()), spread=tuple(spread.tolist()))

    def check(self, where: str, y: Array, labels: tuple[str, ...]) -> None:
        if y.ndim != 2 or y.shape[1] != len(labels):
            raise UserError(f"{where}: values are {y.shape}; (n, {len(labels)}) numbers are expected")
        if not np.isfinite(y).all():
            row = int(np.flatnonzero(~np.isfinite(y).all(axis=1))[0])
            raise UserError(f"{where}: value {row} is NaN or infinite; clean the data first")
        constant = np.flatnonzero((y == y[0]).all(axis=0))
        if len(constant):
            raise UserError(
                f"{where}: {labels[constant[0]]} is {y[0, constant[0]]:g} in all {len(y)} samples; there is nothing to "
                "predict"
            )

    def check_outputs(self, where: str, outputs: int, inputs: int, labels: tuple[str, ...]) -> None:
        if len(labels) != outputs:
            data, _, model = where.partition(": ")
            raise UserError(f"{data}: {len(labels)} values a sample, {model} has {outputs} outputs")

    def answers(self, outputs: Floats, x: Floats, probabilities: bool) -> Array:
        return np.asarray(outputs, np.float64)

    def tally(self, split: Split, answers: Array) -> Tally:
        return skill(np.abs(answers - split.y), np.abs(np.asarray(self.median) - split.y), split.groups)

    def chance(self, split: Split) -> tuple[float, str]:
        return 0.0, "always saying the recovery set's median"

    def measures(self, split: Split, answers: Array, labels: tuple[str, ...]) -> tuple[Measure, ...]:
        found = []
        of = [f" of {label}" for label in labels] if len(labels) > 1 else [""]
        for i, name in enumerate(of):
            error = answers[:, i] - split.y[:, i]
            found.append(Measure(f"MAE{name}", "units of y", float(np.abs(error).mean())))
            found.append(Measure(f"RMSE{name}", "units of y", float(np.sqrt(np.square(error).mean()))))
            constant = float(np.abs(split.y[:, i] - self.median[i]).mean())
            found.append(Measure(f"MAE{name} of always saying {self.median[i]:.6g}", "units of y", constant))
        return tuple(found)

    def loss(self, output: Tensor, y: Tensor, x: Tensor, normalized: bool, smoothing: float = 0.0) -> Tensor:
        return self._distance(output, y)

    def follow(self, output: Tensor, goal: Tensor, normalized: tuple[bool, bool], temperature: float) -> Tensor:
        return self._distance(output, goal)

    def response(self, x: Floats, y: Array, every: Array) -> Floats:
        return np.asarray(y, np.float64)

    def _distance(self, output: Tensor, y: Tensor) -> Tensor:
        """Huber's loss, close to the L1 that is judged, in units of the spread."""
        scale = torch.tensor(self.spread, dtype=torch.float32)
        return nn.functional.smooth_l1_loss(output / scale, y / scale, beta=0.5)


@dataclass(frozen=True)
class Anomaly(Task):
    """Reconstruction: the outputs should equal the inputs, and the mean squared error is the score.

    y: (n,) int64, 0 normal, 1 anomaly; recovery holds normal samples only. Percent is the area under the ROC curve, of
    the samples or, `by_group`, of the groups' mean scores: a recording's windows are one answer.
    """

    metric: str = "auc"
    by_group: bool = False
    name = "anomaly"
    reconstructs: ClassVar[bool] = True
    metrics = ("auc",)

    def check(self, where: str, y: Array, labels: tuple[str, ...]) -> None:
        if y.ndim != 1 or y.dtype.kind not in "iu" or not np.isin(y, (0, 1)).all():
            raise UserError(f"{where}: labels are {y.dtype} {y.shape}; (n,) of 0 (normal) and 1 (anomaly) are expected")
        if where.endswith(" recovery"):
            if y.any():
                raise UserError(f"{where}: {int(y.sum())} of {len(y)} samples are anomalies; normal ones only train")
        elif y.min() == y.max():
            raise UserError(
                f"{where}: all {len(y)} samples are {labels[int(y[0])]}; the area under the curve takes both kinds, "
                "in whole groups"
            )

    def check_outputs(self, where: str, outputs: int, inputs: int, labels: tuple[str, ...]) -> None:
        if outputs != inputs:
            _, _, model = where.partition(": ")
            raise UserError(
                f"{model}: {outputs} outputs for {inputs} input values; anomalies are found by reconstruction, whose "
                "output is as large as its input"
            )

    def answers(self, outputs: Floats, x: Floats, probabilities: bool) -> Array:
        error = np.asarray(outputs, np.float64) - np.asarray(x, np.float64)
        return np.asarray(np.square(error).mean(axis=1))

    def tally(self, split: Split, answers: Array) -> Tally:
        return self._by_group(split, answers) if self.by_group else Ranks(answers, split.y == 1, split.groups)

    def chance(self, split: Split) -> tuple[float, str]:
        return 50.0, "guessing"

    def measures(self, split: Split, answers: Array, labels: tuple[str, ...]) -> tuple[Measure, ...]:
        found = []
        if self.by_group:
            found.append(Measure("AUC of single samples", "%", Ranks(answers, split.y == 1, split.groups).percent))
        for kind, label in enumerate(labels):
            score = float(answers[split.y == kind].mean())
            found.append(Measure(f"mean score, {label}", "squared input units", score, int((split.y == kind).sum())))
        return tuple(found)

    def truth(self, y: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(y, dtype=np.int64))

    def loss(self, output: Tensor, y: Tensor, x: Tensor, normalized: bool, smoothing: float = 0.0) -> Tensor:
        """Mean squared error as a part of the batch's variance."""
        goal = x.flatten(1)
        normal = y == 0
        if not bool(normal.all()):  # validation has anomalies: they are no aim
            output, goal = output[normal], goal[normal]
        variance = (goal - goal.mean(0)).square().mean().clamp_min(1e-12)
        return nn.functional.mse_loss(output, goal) / variance

    def follow(self, output: Tensor, goal: Tensor, normalized: tuple[bool, bool], temperature: float) -> Tensor:
        variance = (goal - goal.mean(0)).square().mean().clamp_min(1e-12)
        return nn.functional.mse_loss(output, goal) / variance

    def response(self, x: Floats, y: Array, every: Array) -> Floats:
        """What is to be reconstructed; of many values, so many random sums, which keep distances."""
        flat = np.asarray(x, np.float64).reshape(len(x), -1)
        if flat.shape[1] <= MOST_RESPONSES:
            return flat
        return flat @ np.random.default_rng(0).normal(size=(flat.shape[1], MOST_RESPONSES))

    def _by_group(self, split: Split, answers: Array) -> Tally:
        unique, index = np.unique(split.groups, return_inverse=True)
        scores = np.bincount(index, answers) / np.bincount(index)
        return Ranks(scores, np.bincount(index, split.y) > 0, unique)


CLASSIFICATION = Classification()

TASKS: dict[str, type[Task]] = {t.name: t for t in (Classification, MultiLabel, Regression, Anomaly, Agreement)}


def strata(y: Array) -> Ints:
    """(n,): what samples are drawn equally of. Classes; of several labels the rarest; of numbers nothing."""
    if y.ndim == 1 and y.dtype.kind in "iu":
        return np.asarray(y, np.int64)
    if y.dtype.kind in "iu":
        rarest = np.argsort(y.sum(axis=0), kind="stable")
        return np.where(y.any(axis=1), rarest[y[:, rarest].argmax(axis=1)], -1).astype(np.int64)
    return np.zeros(len(y), np.int64)


def average_precision(scores: Array, positive: npt.NDArray[np.bool_]) -> float:
    """Sum over thresholds of (recall gained) x precision, equal scores at once; 0 to 1."""
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.r_[np.diff(scores[order]) != 0, True])
    found = np.cumsum(positive[order])[last]
    return float((np.diff(found, prepend=0) * found / (last + 1)).sum() / positive.sum())


def pure_groups(y: Array, groups: Ints) -> bool:
    """Whether every group is wholly normal or wholly anomalous, and some hold more than one sample."""
    _, index = np.unique(groups, return_inverse=True)
    share = np.bincount(index, y) / np.bincount(index)
    return bool(np.isin(share, (0, 1)).all()) and len(share) < len(y)


def _logarithms(output: Tensor, normalized: bool) -> Tensor:
    """Logits, or logarithms of probabilities: softmax of either is the same."""
    return output.clamp_min(1e-12).log() if normalized else output


def _logits(output: Tensor, normalized: bool) -> Tensor:
    """What a logistic function took, for each of several labels."""
    return torch.logit(output, 1e-6) if normalized else output
