"""Scores measured once."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from secateur.compiler import score_cache
from secateur.compiler.score_cache import kept_filter_scores, kept_layer_scores, kept_scores
from secateur.models.data import Split
from secateur.models.preprocess import Preprocess
from secateur.models.zoo import catalogue
from secateur.passes.network.consensus import METRICS, ConsensusScores
from secateur.passes.network.cut_similarity import CutSimilarity
from secateur.passes.network.removal import Removal
from secateur.passes.network.score_catalogue import FILTER_SCORES, LAYER_SCORES, Setting

REMOVALS = [Removal("filters", "layers.1", (i,)) for i in (0, 7)]  # of digits-mlp


@pytest.fixture
def counted(tmp_path, monkeypatch):
    """How often something is measured, with a cache of its own."""
    monkeypatch.setenv("SECATEUR_CACHE", str(tmp_path))
    times = []
    measure = CutSimilarity.__call__
    monkeypatch.setattr(CutSimilarity, "__call__", lambda *args: times.append(1) or measure(*args))
    return times


def split(seed=0):
    rng = np.random.default_rng(seed)
    return Split(rng.normal(size=(48, 1, 8, 8)).astype(np.float32), np.arange(48) % 10, np.arange(48))


def test_the_same_question_is_answered_from_the_cache(counted):
    """Values, margin, its error and the tie come back as they were measured; one candidate has no margin."""
    network = catalogue.load("digits-mlp")
    for asked in (REMOVALS, REMOVALS[:1]):
        first, again = (kept_scores(CutSimilarity(split()), network, asked) for _ in range(2))
        assert first == again == CutSimilarity(split())(network, asked)
    assert (first.margin is None) and len(counted) == 4


def test_what_ties_are_made_of_is_kept_too(counted):
    """Losses without each block come back for whoever asks for them, and are not there for others."""
    network, measure = catalogue.load("digits-mlp"), CutSimilarity(split())
    assert kept_scores(measure, network, REMOVALS).replicates is None
    first, again = (kept_scores(replace(measure, replicates=True), network, REMOVALS) for _ in range(2))
    assert len(counted) == 2 and first.margin_error == pytest.approx(again.replicates.error(*REMOVALS), rel=1e-9)


@pytest.mark.parametrize("what", ["weights", "preprocessing", "data", "removals", "options", "code"])
def test_anything_else_is_measured(counted, monkeypatch, what):
    """Other weights, preprocessing, samples, removals, options or code: nothing kept answers for them."""
    network, measure = catalogue.load("digits-mlp"), CutSimilarity(split())
    removals = REMOVALS
    before = kept_scores(measure, network, removals)
    if what == "weights":
        network = network.clone()
        next(network.module.parameters()).data[0] += 0.5
    elif what == "preprocessing":
        network = replace(network, preprocess=Preprocess(mean=(0.5,), std=(2.0,)))
    elif what == "data":
        measure = CutSimilarity(split(1))
    elif what == "removals":
        removals = [removals[0], replace(removals[1], classes=(3,))]
    elif what == "options":
        measure = replace(measure, debiased=False)
    else:
        monkeypatch.setattr(score_cache, "code_digest", lambda: "other")
    after = kept_scores(measure, network, removals)
    assert len(counted) == 2 and (after == before) == (what == "code")


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Names of the scores that are measured, with a cache of its own."""
    monkeypatch.setenv("SECATEUR_CACHE", str(tmp_path))
    names = []

    def make(name, kind, setting):
        names.append(name)
        return kind.make(setting)

    for scores in (LAYER_SCORES, FILTER_SCORES):
        for name, kind in scores.items():
            monkeypatch.setitem(scores, name, replace(kind, make=partial(make, name, kind)))
    return names


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cka", "kl", "cka-flow", "consensus", "taylor", "snip"])
def test_layer_scores_are_kept(made, name):
    """All of them with their noise, which ties come from; of other layers, seeds or samples they are measured."""
    network, setting = catalogue.load("digits-net"), Setting(split())
    units = list(LAYER_SCORES["first"].make(setting)(network).values)
    made.clear()
    first, again = (kept_layer_scores(name, setting, network, units) for _ in range(2))
    assert made == [name] and first == again == LAYER_SCORES[name].make(setting)(network)
    assert again.tied() == LAYER_SCORES[name].make(setting)(network).tied()
    assert kept_layer_scores(name, setting, network) == first
    assert again.replicates.error(*units[:2]) == first.replicates.error(*units[:2]) > 0
    made.clear()
    kept_layer_scores(name, setting, network, units[1:])
    kept_layer_scores(name, replace(setting, seed=1), network, units)
    kept_layer_scores(name, Setting(split(1)), network, units)
    assert made == [name] * 3


def test_equal_sums_of_ranks_are_decided_as_they_were_measured(tmp_path, monkeypatch):
    """By CKA, not by the network's order."""
    monkeypatch.setenv("SECATEUR_CACHE", str(tmp_path))
    network, units = catalogue.load("digits-net"), ["stages.0.2.conv1..conv2", "stages.1.1.conv1..conv2"]
    metrics = {m: np.array([2.0, 1.0] if i < 4 else [1.0, 2.0]) for i, m in enumerate(METRICS)}
    measured = ConsensusScores(network.hash(), 48, dict.fromkeys(units, 12.0), metrics=metrics)
    kind = replace(LAYER_SCORES["consensus"], make=lambda setting: lambda network, units: measured)
    monkeypatch.setitem(LAYER_SCORES, "consensus", kind)
    for _ in range(2):
        assert kept_layer_scores("consensus", Setting(split()), network, units).ranked() == (units[1], units[0])


@pytest.mark.parametrize("name", ["reconstruction", "plsvip"])
def test_filter_scores_are_kept(made, name):
    """Each group's, and its margin; with or without margins is another question, and so is another score."""
    network = catalogue.load("digits-net")
    for setting in (Setting(split()), Setting(split(), filter_margins=False)):
        first, again = (kept_filter_scores(name, setting, network) for _ in range(2))
        plain = FILTER_SCORES[name].make(setting)(network)
        for found in (first, again):
            assert list(found.values) == list(plain.values) and found.margins == plain.margins
            assert all(np.array_equal(found.values[g], v) for g, v in plain.values.items())
            assert (found.network_hash, found.samples) == (plain.network_hash, plain.samples)
    assert made == [name] * 4
    kept_filter_scores("taylor", setting, network)
    assert made[-1] == "taylor"


def test_what_looks_at_no_samples_is_not_kept(made, tmp_path):
    """It is sooner computed than read."""
    network, setting = catalogue.load("digits-net"), Setting(split())
    for _ in range(2):
        kept_layer_scores("l1", setting, network, ["stages.0.1.conv1..conv2"])
        kept_filter_scores("l2", setting, network)
    assert made == ["l1", "l2"] * 2 and not list(tmp_path.iterdir())
