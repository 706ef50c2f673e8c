"""Metrics as functions of how often each group counts, so that whole groups can be drawn again and again.

A metric that is a function of sums over samples (accuracy, recall, F1, mean error) keeps the sums of every group; one
of ranks (the area under the ROC curve) keeps the order of all scores. Either way one call gives many resamples.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
Ints = npt.NDArray[np.integer]

MANY, FEW = 2000, 500  # resamples: of sums, of ranks
_CHUNK_VALUES = 1 << 22


class Tally(ABC):
    """One metric of one set, higher is better, in percent.

    `samples`, `groups`: how many. `step_points`: by how much one sample can move it, at most. `resamples`: how many a
    bootstrap takes.
    """

    samples: int
    groups: int
    step_points: float
    resamples: int

    @abstractmethod
    def percents(self, weights: F64) -> F64:
        """(r,) for weights (r, groups): how often each group counts. NaN where the metric says nothing."""

    @property
    def percent(self) -> float:
        """Every group once."""
        return float(self.percents(np.ones((1, self.groups)))[0])


class Sums(Tally):
    """`metric` of the sums (r, d) of `values` (n, d)."""

    resamples = MANY

    def __init__(self, values: F64, groups: Ints, metric: Callable[[F64], F64], step_points: float) -> None:
        if len(values) != len(groups) or not len(values):
            raise ValueError(f"{len(values)} results and {len(groups)} groups")
        unique, index = np.unique(groups, return_inverse=True)
        self.samples, self.groups, self.step_points = len(values), len(unique), step_points
        self._sums = np.zeros((len(unique), values.shape[1]))
        np.add.at(self._sums, index, values)
        self._metric = metric

    def percents(self, weights: F64) -> F64:
        return 100 * self._metric(weights @ self._sums)


class Ranks(Tally):
    """Area under the ROC curve of `scores` (n,), higher for `positive` (n,) bool; equal scores count half.

    Mann and Whitney 1947: the share of (positive, negative) pairs in the right order.
    """

    resamples = FEW

    def __init__(self, scores: F64, positive: npt.NDArray[np.bool_], groups: Ints) -> None:
        if not len(scores) == len(positive) == len(groups) or not len(scores):
            raise ValueError(f"{len(scores)} scores, {len(positive)} truths and {len(groups)} groups")
        unique, index = np.unique(groups, return_inverse=True)
        order = np.argsort(scores, kind="stable")
        self.samples, self.groups = len(scores), len(unique)
        self._index, self._positive = index[order], positive[order]
        self._starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])
        rarer = min(int(positive.sum()), int((~positive).sum()))
        self.step_points = 100 / rarer if rarer else 100.0

    def percents(self, weights: F64) -> F64:
        size = max(1, _CHUNK_VALUES // self.samples)
        return np.concatenate([self._chunk(weights[i : i + size]) for i in range(0, len(weights), size)])

    def _chunk(self, weights: F64) -> F64:
        drawn = weights[:, self._index]
        positive = np.add.reduceat(drawn * self._positive, self._starts, axis=1)
        negative = np.add.reduceat(drawn * ~self._positive, self._starts, axis=1)
        below = np.cumsum(negative, axis=1) - negative / 2
        pairs = positive.sum(axis=1) * negative.sum(axis=1)
        return 100 * _ratio((positive * below).sum(axis=1), pairs)


def hits(right: npt.NDArray[np.bool_], groups: Ints) -> Tally:
    """Share of samples that are right."""
    values = np.stack([np.asarray(right, np.float64), np.ones(len(right))], axis=1)
    return Sums(values, groups, lambda s: s[:, 0] / s[:, 1], 100 / max(1, len(right)))


def balanced_accuracy(truth: Ints, guess: Ints, groups: Ints) -> Tally:
    """Mean of the recall of the classes that `truth` has."""
    values = _by_class(truth, guess)
    return Sums(values, groups, _mean_recall, _step(values))


def class_f1(truth: Ints, guess: Ints, groups: Ints) -> Tally:
    """Mean F1 of the classes that occur in `truth` or in `guess`."""
    values = _by_class(truth, guess)
    return Sums(values, groups, _mean_f1, _step(values))


def label_f1(truth: npt.NDArray[np.bool_], guess: npt.NDArray[np.bool_], groups: Ints) -> Tally:
    """Mean F1 of the labels (n, labels) that occur in `truth` or in `guess`."""
    values = np.stack([truth & guess, truth, guess], axis=2).astype(np.float64).reshape(len(truth), -1)
    return Sums(values, groups, _mean_f1, _step(values))


def skill(error: F64, baseline: F64, groups: Ints) -> Tally:
    """Mean over outputs of 1 - mean error / mean error of the baseline; both (n, outputs), not negative."""
    values = np.concatenate([error, baseline], axis=1)
    outputs = error.shape[1]

    def metric(sums: F64) -> F64:
        return np.asarray(1 - _ratio(sums[:, :outputs], sums[:, outputs:]).mean(axis=1))

    return Sums(values, groups, metric, 0.0)


def _by_class(truth: Ints, guess: Ints) -> F64:
    """(n, 3 k): for every class, whether the sample is a hit, of it, said to be it."""
    if len(truth) != len(guess) or not len(truth):
        raise ValueError(f"{len(truth)} labels, {len(guess)} predictions")
    classes = np.arange(1 + max(int(truth.max()), int(guess.max())))
    is_it, said = truth[:, np.newaxis] == classes, guess[:, np.newaxis] == classes
    return np.stack([is_it & said, is_it, said], axis=2).astype(np.float64).reshape(len(truth), -1)


def _step(values: F64) -> float:
    """One sample in the recall of the rarest class there is, as a part of the mean."""
    counts = values.reshape(len(values), -1, 3)[:, :, 1].sum(axis=0)
    present = counts[counts > 0]
    return float(100 / (len(present) * present.min())) if len(present) else 100.0


def _mean_recall(sums: F64) -> F64:
    table = sums.reshape(len(sums), -1, 3)
    return _mean(_ratio(table[..., 0], table[..., 1]))


def _mean_f1(sums: F64) -> F64:
    table = sums.reshape(len(sums), -1, 3)
    return _mean(_ratio(2 * table[..., 0], table[..., 1] + table[..., 2]))


def _ratio(over: F64, under: F64) -> F64:
    """NaN where there is nothing to divide by."""
    return np.where(under > 0, over / np.where(under > 0, under, 1), np.nan)


def _mean(table: F64) -> F64:
    """Row means without the NaN; NaN where a row has nothing else."""
    known = ~np.isnan(table)
    return _ratio(np.where(known, table, 0).sum(axis=1), known.sum(axis=1).astype(np.float64))
