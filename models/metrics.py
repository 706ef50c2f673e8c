"""Accuracy and how far to trust it: confusion, F1, intervals by group, and what a data set can certify.

Samples of one group (a person, a recording) resemble each other, so the *groups* are what is resampled; an
interval over samples as if they were independent would be far too narrow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from secateur.models.tally import Tally

IntArray = npt.NDArray[np.integer]

LEAST_GROUPS = 3  # to certify: of two, an interval is the lower and the higher


@dataclass(frozen=True)
class Interval:
    """`low` <= `high` around `value` at `level` (0.9: nine in ten). None bounds: too little data to say."""

    value: float
    low: float | None
    high: float | None
    level: float


def predicted(outputs: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    """Class of each row of outputs (n, classes), float or int8; the first of equals, as the device does."""
    return np.asarray(outputs.argmax(axis=1), dtype=np.int64)


def accuracy(truth: IntArray, guess: IntArray) -> float:
    """Share of equal entries, 0 to 1. Both (n,), n > 0."""
    if len(truth) != len(guess) or not len(truth):
        raise ValueError(f"{len(truth)} labels, {len(guess)} predictions")
    return float(np.mean(np.asarray(truth) == np.asarray(guess)))


def confusion(truth: IntArray, guess: IntArray, classes: int) -> npt.NDArray[np.int64]:
    """(classes, classes) counts; the row is the true class, the column the predicted one."""
    table = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(table, (truth, guess), 1)
    return table


def macro_f1(truth: IntArray, guess: IntArray, classes: int) -> float:
    """Mean of the classes' F1, 0 to 1, over classes that occur in `truth` or in `guess`.

    F1 = 2 hits / (true + predicted). A class that nobody has or names has no F1 and is left out, as
    scikit-learn does without a `labels` argument.
    """
    table = confusion(truth, guess, classes)
    total = table.sum(axis=0) + table.sum(axis=1)
    present = total > 0
    if not present.any():
        raise ValueError("no samples")
    return float(np.mean(2 * np.diag(table)[present] / total[present]))


def paired_bootstrap(before: Tally, after: Tally, level: float = 0.9, seed: int = 0) -> Interval:
    """Interval of the metric after less before, in points (1.0 = one percent), by resampling groups.

    Both are of the same samples: the pairing removes what is hard for both. Whole groups are drawn with replacement
    (cluster bootstrap, percentile interval: Efron and Tibshirani 1993, sections 8.6 and 13.3). One group gives no
    interval; of two it is the lower and the higher. Draws of which a metric says nothing, such as the area under the
    curve of normal groups alone, do not count.
    """
    if (before.samples, before.groups) != (after.samples, after.groups):
        raise ValueError(
            f"{before.samples} samples in {before.groups} groups, and {after.samples} in {after.groups}: not a pair"
        )
    return _cluster_bootstrap(
        lambda w: after.percents(w) - before.percents(w), before.groups, before.resamples, level, seed
    )


def bootstrap(tally: Tally, level: float = 0.9, seed: int = 0) -> Interval:
    """Interval of a metric, in percent, by resampling groups, as `paired_bootstrap`."""
    return _cluster_bootstrap(tally.percents, tally.groups, tally.resamples, level, seed)


def student_interval(values: npt.ArrayLike, level: float = 0.9) -> Interval:
    """Mean of independent folds with its Student-t interval: mean +- t(level, n - 1) s / sqrt(n).

    One value has a mean and no interval.
    """
    from scipy.stats import t  # slow to import

    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or not len(x):
        raise ValueError(f"values of shape {x.shape}")
    mean = float(x.mean())
    if len(x) < 2:
        return Interval(mean, None, None, level)
    half = float(t.ppf(0.5 + level / 2, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x)))
    return Interval(mean, mean - half, mean + half, level)


@dataclass(frozen=True)
class Certificate:
    """Whether a data set can show that accuracy dropped by no more than `drop_points`.

    `resolution_points`: the smallest drop that it could certify if both networks were equally good, None if
    it can certify none. `reason`: one sentence for the report.
    """

    drop_points: float
    possible: bool
    resolution_points: float | None
    reason: str


def can_certify(
    before: Tally, after: Tally, drop_points: float, seen: bool = False, level: float = 0.9, seed: int = 0
) -> Certificate:
    """Can this data certify a drop of at most `drop_points`?

    It can when the paired interval's distance from its centre down to `low` is no larger than the drop, there
    are at least three groups, one sample weighs no more than the drop, and the input network has not seen it.
    Whether the drop *holds* is another question: `low >= -drop_points`.
    """
    if seen:
        return Certificate(drop_points, False, None, "the input network was trained on this data")
    if before.groups < LEAST_GROUPS:
        return Certificate(drop_points, False, None, f"{before.groups} groups; {LEAST_GROUPS} at least are needed")
    interval = paired_bootstrap(before, after, level, seed)
    if interval.low is None:
        return Certificate(drop_points, False, None, "no draw of groups has all that the metric needs")
    resolution = max(interval.value - interval.low, before.step_points)
    possible = resolution <= drop_points
    words = f"{before.samples} samples in {before.groups} groups resolve {resolution:.2f} points at {100 * level:.0f} %"
    verdict = "can" if possible else "cannot"
    reason = f"{words}: a drop of {drop_points:g} {verdict} be certified"
    return Certificate(drop_points, possible, resolution, reason)


def _cluster_bootstrap(
    percents: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]],
    groups: int,
    resamples: int,
    level: float,
    seed: int,
) -> Interval:
    if not 0 < level < 1:
        raise ValueError(f"level {level}")
    value = float(percents(np.ones((1, groups)))[0])
    if groups < 2:
        return Interval(value, None, None, level)
    drawn = np.random.default_rng(seed).integers(groups, size=(resamples, groups))
    place = drawn + groups * np.arange(resamples)[:, np.newaxis]
    weights = np.bincount(place.ravel(), minlength=resamples * groups).reshape(resamples, groups)
    found = percents(weights.astype(np.float64))
    found = found[~np.isnan(found)]
    if not len(found):
        return Interval(value, None, None, level)
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), level)
