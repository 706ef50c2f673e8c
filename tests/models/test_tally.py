"""Metrics of resampled groups against scikit-learn on the samples of the same groups, written out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn import metrics as reference

from secateur.models import tally
from secateur.models.metrics import bootstrap, can_certify, paired_bootstrap

GROUPS = np.repeat(np.arange(6), 20)
RNG = np.random.default_rng(3)
TRUTH = RNG.integers(0, 4, 120)
GUESS = np.where(RNG.random(120) < 0.6, TRUTH, RNG.integers(0, 5, 120))
LABELS = RNG.random((120, 3)) < (0.5, 0.2, 0.3)
SAID = LABELS ^ (RNG.random((120, 3)) < 0.2)
SCORES = np.round(RNG.normal(size=120) + LABELS[:, 0], 1)  # rounded: many are equal
VALUES = RNG.normal(size=(120, 2)) * (3, 50)
ERROR, BASELINE = np.abs(VALUES - VALUES.round()), np.abs(VALUES - np.median(VALUES, axis=0))


def _skill(rows):
    found = [
        reference.mean_absolute_error(VALUES[rows, i], VALUES[rows, i].round())
        / reference.mean_absolute_error(VALUES[rows, i], np.full(len(rows), np.median(VALUES[:, i])))
        for i in range(2)
    ]
    return 1 - np.mean(found)


CASES: dict[str, tuple[tally.Tally, Callable]] = {
    "accuracy": (tally.hits(TRUTH == GUESS, GROUPS), lambda r: reference.accuracy_score(TRUTH[r], GUESS[r])),
    "balanced": (
        tally.balanced_accuracy(TRUTH, GUESS, GROUPS),
        lambda r: reference.recall_score(TRUTH[r], GUESS[r], labels=np.unique(TRUTH[r]), average="macro"),
    ),
    "macro-f1": (
        tally.class_f1(TRUTH, GUESS, GROUPS),
        lambda r: reference.f1_score(TRUTH[r], GUESS[r], average="macro"),
    ),
    "labels": (
        tally.label_f1(LABELS, SAID, GROUPS),
        lambda r: reference.f1_score(LABELS[r], SAID[r], average="macro", zero_division=np.nan),
    ),
    "skill": (tally.skill(ERROR, BASELINE, GROUPS), _skill),
    "auc": (tally.Ranks(SCORES, LABELS[:, 0], GROUPS), lambda r: reference.roc_auc_score(LABELS[r, 0], SCORES[r])),
}


@pytest.mark.parametrize("name", CASES)
def test_a_metric_of_drawn_groups_is_that_of_their_samples(name):
    """All groups once, and 20 draws with repeats and gaps: scikit-learn on the samples written out agrees."""
    found, expected = CASES[name]
    rng = np.random.default_rng(0)
    weights = np.vstack([np.ones(6), rng.multinomial(6, np.full(6, 1 / 6), size=20)])
    got = found.percents(weights)
    assert found.percent == pytest.approx(100 * expected(np.arange(120)))
    for row, percent in zip(weights, got, strict=True):
        rows = np.concatenate([np.flatnonzero(GROUPS == g) for g in range(6) for _ in range(int(row[g]))])
        assert percent == pytest.approx(100 * expected(rows))


def test_scores_in_chunks_are_scores_at_once(monkeypatch):
    """The area under the curve of many draws takes bounded memory and gives the same numbers."""
    found, weights = CASES["auc"][0], np.random.default_rng(1).multinomial(6, np.full(6, 1 / 6), size=50)
    whole = found.percents(weights)
    monkeypatch.setattr(tally, "_CHUNK_VALUES", 700)
    assert np.array_equal(found.percents(weights), whole)


def test_draws_that_say_nothing_do_not_count():
    """Recordings wholly of one kind: a draw of normal ones alone has no area, and the interval is of the others."""
    groups, positive = np.arange(6), np.arange(6) >= 3
    found = tally.Ranks(np.array([0.1, 0.2, 0.6, 0.5, 0.7, 0.9]), positive, groups)
    assert np.isnan(found.percents(np.array([[2.0, 2, 2, 0, 0, 0]]))).all()
    interval = bootstrap(found)
    assert interval.value == pytest.approx(100 * 8 / 9)
    assert interval.low is not None and interval.low < interval.value < interval.high == 100
    assert found.step_points == pytest.approx(100 / 3)


def test_one_sample_of_a_rare_class_limits_what_can_be_certified():
    """Equal networks on 1,000 samples of which 4 are the rare class: half its recall is 12.5 points of the mean."""
    truth = np.zeros(1000, int)
    truth[::250] = 1
    found = tally.balanced_accuracy(truth, truth, np.arange(1000) // 50)
    assert can_certify(found, found, 1.0).resolution_points == pytest.approx(12.5)
    plain = tally.hits(truth == truth, np.arange(1000) // 50)
    assert can_certify(plain, plain, 1.0).possible


def test_only_results_of_the_same_samples_are_a_pair():
    """Another number of samples or groups is our bug, not a wide interval."""
    with pytest.raises(ValueError, match="not a pair"):
        paired_bootstrap(CASES["accuracy"][0], tally.hits(np.ones(10, bool), np.arange(10)))
