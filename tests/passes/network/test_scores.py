"""What samples can tell apart, and what a tie is."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.passes.network.scores import FilterScores, Replicates, Scores


def test_a_jackknife_of_means_has_their_standard_error():
    """Of the difference of two means, by leaving out one sample at a time: s / sqrt(n), exactly."""
    values = np.random.default_rng(0).normal(size=(2, 30))
    left_out = {k: (v.sum() - v) / 29 for k, v in zip("ab", values, strict=True)}
    expected = np.std(values[0] - values[1], ddof=1) / np.sqrt(30)
    assert Replicates.jackknife(left_out).error("a", "b") == pytest.approx(expected, rel=1e-12)


def test_halves_have_the_standard_error_of_the_whole():
    """Means of random halves of 40 samples scatter as the mean of 40 does."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=40)
    halves = np.array([values[rng.permutation(40)[:20]].mean() for _ in range(2000)])
    noise = Replicates.halves({"a": halves, "b": np.zeros(2000)})
    assert noise.error("a", "b") == pytest.approx(np.std(values, ddof=1) / np.sqrt(40), rel=0.05)


def shaky(values, spread):
    """Scores whose candidates move on their own: a jackknife error of about `spread` each."""
    rng = np.random.default_rng(0)
    noise = {k: v + spread * rng.standard_normal(400) / np.sqrt(400) for k, v in values.items()}
    return Scores("", 10, values, replicates=Replicates.jackknife(noise))


def test_all_within_noise_of_the_best_are_tied():
    """Two of three losses are closer than 1.96 errors of their difference; without samples only equal ones are."""
    values = {"a": 0.5, "b": 0.11, "c": 0.1}
    assert shaky(values, 0.02).tied() == ("c", "b")
    assert shaky(values, 0.001).tied() == ("c",)
    assert Scores("", 0, {**values, "d": 0.1}).tied() == ("c", "d")


def test_a_tie_of_losses_per_saving_is_one_of_ratios():
    """The best ratio leads, and a loss is as uncertain as the saving that divides it makes it."""
    values = {"a": 0.5, "b": 0.11, "c": 0.1}
    saving = {"a": 8.0, "b": 1.0, "c": 1.0}
    assert shaky(values, 0.001).tied(saving) == ("a",)
    assert shaky(values, 0.04).tied(saving) == ("a", "c", "b")
    assert Scores("", 0, {"a": 0.0, "b": -1e-9}).tied({"a": 0.2, "b": 0.1}) == ("a",)  # both cost nothing: the saving


def test_margins_of_filters_are_those_of_their_group(make):
    """The two least important classes of each group, by value and noise; lowest takes them in order."""
    network = make("mlp")
    values = {"one": np.array([3.0, 1.0, 1.5, 2.0]), "two": np.array([0.1, 5.0])}
    rng = np.random.default_rng(0)
    left_out = {
        k: v + scale * rng.normal(size=(10, len(v))) for (k, v), scale in zip(values.items(), (0.5, 0.01), strict=True)
    }
    scores = FilterScores.measured(network, 100, values, left_out)
    assert scores.network_hash == network.hash() and scores.samples == 100
    assert scores.margins["one"].value == 0.5 and scores.margins["one"].tie
    assert scores.margins["two"].value == 4.9 and not scores.margins["two"].tie
    difference = left_out["one"][:, 1] - left_out["one"][:, 2]
    assert scores.margins["one"].error == pytest.approx(np.sqrt(9) * difference.std(), rel=1e-12)
    assert scores.lowest("one", 2) == (1, 2)
