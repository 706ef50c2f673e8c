"""Metrics against scikit-learn and scipy, intervals against known answers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as reference

from secateur.models.metrics import (
    accuracy,
    bootstrap,
    can_certify,
    confusion,
    macro_f1,
    paired_bootstrap,
    predicted,
    student_interval,
)
from secateur.models.tally import hits


@pytest.mark.parametrize("seed", range(5))
def test_scores_equal_scikit_learn(seed):
    """Accuracy, confusion and macro F1 agree with scikit-learn, a class that nobody has included."""
    rng = np.random.default_rng(seed)
    truth, guess = rng.integers(0, 5, 200), rng.integers(0, 6, 200)
    assert accuracy(truth, guess) == reference.accuracy_score(truth, guess)
    assert (confusion(truth, guess, 7) == reference.confusion_matrix(truth, guess, labels=range(7))).all()
    assert macro_f1(truth, guess, 7) == pytest.approx(reference.f1_score(truth, guess, average="macro"))


def test_the_first_of_equal_outputs_wins():
    """Ties go to the lowest class, for float and for int8 outputs."""
    assert predicted(np.array([[1, 5, 5], [7, 7, 7]], dtype=np.int8)).tolist() == [1, 0]


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_student_interval_equals_scipy(level):
    """Mean and bounds over folds are scipy's t interval; one fold has no bounds."""
    values = [65.8, 71.2, 80.0, 77.5, 69.1]
    found = student_interval(values, level)
    low, high = stats.t.interval(level, 4, loc=np.mean(values), scale=stats.sem(values))
    assert (found.value, found.low, found.high) == pytest.approx((np.mean(values), low, high))
    assert student_interval([3.0]).low is None


def test_student_interval_covers_as_often_as_it_says():
    """Of 400 draws with a known mean, about 90 % of the 90 % intervals hold it."""
    rng = np.random.default_rng(0)
    found = [student_interval(rng.normal(5, 2, 8)) for _ in range(400)]
    assert 0.86 < np.mean([i.low < 5 < i.high for i in found]) < 0.94


def _results(groups: int, size: int, drop: float, seed: int = 0):
    rng = np.random.default_rng(seed)
    before = rng.random(groups * size) < 0.9
    after = before & (rng.random(groups * size) >= drop)
    numbers = np.repeat(np.arange(groups), size)
    return hits(before, numbers), hits(after, numbers)


def test_paired_bootstrap_is_seeded_and_surrounds_the_difference():
    """The value is the plain difference in points; equal seeds, equal bounds; 95 % is wider than 90 %."""
    before, after = _results(10, 60, 0.05)
    narrow = paired_bootstrap(before, after)
    assert narrow.value == pytest.approx(after.percent - before.percent)
    assert narrow.low < narrow.value < narrow.high
    assert narrow == paired_bootstrap(before, after)
    wide = paired_bootstrap(before, after, level=0.95)
    assert wide.low < narrow.low
    assert wide.high > narrow.high


def test_equal_networks_differ_by_nothing():
    """Pairing removes what is hard for both: the same answers give the interval 0 to 0."""
    before, _ = _results(4, 50, 0)
    found = paired_bootstrap(before, before)
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_groups_are_resampled_not_samples():
    """Where one person fails altogether, the interval by person is far wider than by sample."""
    right = np.ones(500, dtype=bool)
    right[:100] = False
    groups = np.repeat(np.arange(5), 100)
    by_person, by_sample = bootstrap(hits(right, groups)), bootstrap(hits(right, np.arange(500)))
    assert by_person.high - by_person.low > 5 * (by_sample.high - by_sample.low)
    assert bootstrap(hits(right, np.zeros(500, int))).low is None


def test_what_a_data_set_can_certify():
    """Much data certifies a small drop; few groups, few samples or seen data do not, and the reason says so."""
    big, small, two = _results(20, 500, 0.01), _results(5, 20, 0.05), _results(2, 500, 0.01)
    assert can_certify(*big, drop_points=1.0).possible
    assert not can_certify(*small, drop_points=1.0).possible
    assert "cannot be certified" in can_certify(*small, drop_points=1.0).reason
    assert "2 groups" in can_certify(*two, drop_points=1.0).reason
    assert not can_certify(*big, drop_points=1.0, seen=True).possible
    flat = can_certify(small[0], small[0], drop_points=0.5)  # one sample is 1 point
    assert flat.resolution_points == 1.0
    assert not flat.possible
