"""The consensus of eight dissimilarities: each is what it says, and the ranks, not the order, decide."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import wasserstein_distance as scipy_wasserstein

from secateur.errors import UserError
from secateur.models.data import Split
from secateur.models.zoo.resnet1d import ResNet1d
from secateur.passes.network import consensus
from secateur.passes.network.alignment_distance import (
    held_out,
    linear_distance,
    permutation_distance,
    wasserstein_distance,
)
from secateur.passes.network.cka import linear_cka
from secateur.passes.network.consensus import METRICS, Consensus, ConsensusScores, rank_sums, ranks
from secateur.passes.network.gaussian_distance import Gaussians, gaussian_distance
from secateur.passes.network.samples import balanced


def features(n=90, d=5, seed=0):
    """Two representations of the same samples of three classes, and the classes."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    x = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 2 * rng.normal(size=(3, d))[labels]
    return x, x @ rng.normal(size=(d, d)) + rng.normal(size=(n, d)), labels


def orthogonal(d, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]


def test_permutation_is_the_best_of_all():
    """Equal to trying the 120 orders of five features; nothing is lost by one order of them."""
    x, y, _ = features()
    a, b = x - x.mean(0), y - y.mean(0)
    best = max(float((a * b[:, order]).sum()) for order in map(list, itertools.permutations(range(5))))
    expected = np.arccos(best / np.linalg.norm(a) / np.linalg.norm(b))
    assert permutation_distance(x, y) == pytest.approx(expected, abs=1e-12)
    assert permutation_distance(x, 3 * x[:, [2, 0, 4, 1, 3]] + 1) == pytest.approx(0, abs=1e-7)


def test_linear_distances_forgive_what_they_say():
    """A rotation costs neither anything; a linear map costs only the one that allows rotations alone."""
    x, y, _ = features()
    rotated, mapped = x @ orthogonal(5), x @ np.random.default_rng(5).normal(size=(5, 5))
    assert linear_distance(x, rotated, 1) == pytest.approx(0, abs=1e-6)
    assert linear_distance(x, rotated, 0) == pytest.approx(0, abs=1e-6)
    assert linear_distance(x, mapped, 0) == pytest.approx(0, abs=1e-6)
    assert linear_distance(x, mapped, 1) > 0.1
    assert 0.1 < linear_distance(x, y, 0) < linear_distance(x, np.random.default_rng(6).normal(size=y.shape), 0)


def test_linear_distances_are_judged_on_rows_that_aligned_nothing():
    """A fifth of the samples, the same ones for every candidate: their values change the angle, not the maps."""
    x, y, _ = features()
    fit, test = held_out(90, 0)
    assert len(test) == 18 and len(fit) == 72 and not set(fit) & set(test)
    a, b = x - x[fit].mean(0), y - y[fit].mean(0)
    u, _, v = np.linalg.svd(a[fit].T @ b[fit])
    one, other = a[test] @ u, b[test] @ v.T
    expected = np.arccos((one * other).sum() / np.linalg.norm(one) / np.linalg.norm(other))
    assert linear_distance(x, y, 1) == pytest.approx(expected, abs=1e-12)


def test_wasserstein_is_that_of_all_values():
    """As scipy has it, of the n d values of each."""
    x, y, _ = features()
    assert wasserstein_distance(x, y) == pytest.approx(scipy_wasserstein(x.ravel(), y.ravel()), rel=1e-12)


@pytest.mark.parametrize("few", [False, True])
@pytest.mark.parametrize("a", [0, 1, 2])
def test_gaussians_up_to_a_rotation(a, few):
    """0 for a rotated copy; the distance is the formula at the rotation that is returned, and no other is better.

    With four, three and two samples a class too, whose covariances have fewer directions than features.
    """
    x, y, labels = features()
    if few:
        rows = np.concatenate([np.flatnonzero(labels == c)[: 4 - c] for c in range(3)])
        x, y, labels = x[rows], y[rows], labels[rows]
    one, other = Gaussians.of(x, labels), Gaussians.of(y, labels)
    assert gaussian_distance(one, Gaussians.of(x @ orthogonal(5), labels), a)[0] < 0.02
    distance, turn = gaussian_distance(one, other, a)
    assert np.allclose(turn @ turn.T, np.eye(5))

    def by_definition(t):
        total = 0.0
        for c in range(3):
            p, q = x[labels == c], y[labels == c] @ t
            s, r = np.cov(p, rowvar=False), np.cov(q, rowvar=False)
            bures = np.trace(s) + np.trace(r) - 2 * np.trace(root(root(s) @ r @ root(s)))
            total += a * np.square(p.mean(0) - q.mean(0)).sum() + (2 - a) * bures
        return np.sqrt(total / 3)

    assert distance == pytest.approx(by_definition(turn), rel=1e-6)
    near = [turn @ orthogonal_near(5, seed) for seed in range(5)]
    assert all(by_definition(t) > distance for t in near)


def root(a):
    """The square root of a symmetric matrix of any rank."""
    values, vectors = np.linalg.eigh(a)
    return vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T


def orthogonal_near(d, seed):
    """A small rotation."""
    from scipy.linalg import expm

    m = 0.1 * np.random.default_rng(seed).normal(size=(d, d))
    return expm(m - m.T)


def test_means_that_leave_the_rotation_open_turn_nothing():
    """Two classes in five features fix one direction or two: an unchanged representation is at distance 0."""
    x, _, labels = features()
    same = Gaussians.of(x, labels % 2)
    for a in (0, 1, 2):
        assert gaussian_distance(same, same, a)[0] == pytest.approx(0, abs=1e-6)


def test_ranks_sum_to_what_they_must():
    """1..L in each metric, equal values in network order: 8 L (L + 1) / 2 in all."""
    rng = np.random.default_rng(0)
    metrics = {m: rng.integers(0, 4, 7).astype(float) for m in METRICS}
    assert rank_sums(metrics).sum() == 8 * 7 * 8 / 2
    assert ranks(np.array([0.3, 0.1, 0.3, 0.1])).tolist() == [3, 1, 4, 2]


def test_equal_sums_go_by_cka():
    """Of two layers with one sum the one that loses less similarity is first, wherever it stands."""
    metrics = {m: np.zeros(3) for m in METRICS} | {"cka": np.array([0.3, 0.2, 0.1])}
    scores = ConsensusScores("", 50, {"a": 12.0, "b": 12.0, "c": 20.0}, metrics=metrics)
    assert scores.ranked() == ("b", "a", "c")


def test_a_half_is_half_of_every_class():
    """No sample twice, the larger half of an odd number; another draw, another half."""
    labels = np.repeat([4, 0, 7], [20, 11, 2])
    halves = [consensus._half(labels, [0, draw]) for draw in (0, 0, 1)]
    assert all(np.bincount(labels[h]).tolist() == [6, 0, 0, 0, 10, 0, 0, 1] for h in halves)
    assert len(set(halves[0].tolist())) == 17
    assert np.array_equal(halves[0], halves[1]) and not np.array_equal(halves[0], halves[2])


@pytest.fixture
def small(network_of):
    """Two stages of three blocks, 6 and 8 channels wide; the last block does nothing at all."""
    network = network_of(ResNet1d(3, 3, widths=(6, 8), blocks=(3, 3), strides=(1, 2)), (3, 12))
    norm = network.module.get_submodule("stages.1.2.bn2")
    for tensor in (norm.weight.data, norm.bias.data, norm.running_mean):
        tensor.zero_()
    return network


def split(network, count=60):
    rng = np.random.default_rng(0)
    y = np.arange(count) % 3
    x = rng.normal(size=(count, *network.input_shape)) + 0.5 * y.reshape(-1, *[1] * len(network.input_shape))
    return Split(x.astype(np.float32), y, np.arange(count))


def test_a_layer_that_does_nothing_is_chosen_wherever_it_stands(small):
    """The last of four, first in all eight: the released code would have taken the first block in network order."""
    scores = Consensus(split(small), halves=2)(small)
    names = list(scores.values)
    assert scores.ranked()[0] == names[-1] == "stages.1.2.conv1..conv2"
    assert scores.values[names[-1]] == 8
    assert sum(scores.values.values()) == 8 * 4 * 5 / 2
    assert all(np.argmin(v) == 3 for v in scores.metrics.values()) and set(scores.metrics) == set(METRICS)
    assert scores.margin == sorted(scores.values.values())[1] - 8


def test_each_metric_is_under_its_own_name(small):
    """Of every candidate what the functions above give for its features, and no two of the eight the same."""
    data, names = split(small), ["stages.0.1.conv1..conv2", "stages.1.1.conv1..conv2"]
    measure = Consensus(data, halves=1)
    scores = measure(small, names)
    rows = balanced(data.y, len(data), 0)
    x, *others = (f.astype(np.float64) for f in measure._features(small, names, rows))
    labels = data.y[rows]
    gaussians = Gaussians.of(x, labels)
    for i, y in enumerate(others):
        by_name = {
            "cka": 1 - linear_cka(x, y),
            **{f"gaussian_{a}": gaussian_distance(gaussians, Gaussians.of(y, labels), a)[0] for a in (0, 1, 2)},
            "permutation": permutation_distance(x, y),
            **{f"linear_{a}": linear_distance(x, y, a, 0) for a in (0, 1)},
            "wasserstein": wasserstein_distance(x, y),
        }
        assert set(by_name) == set(METRICS) and len({round(v, 6) for v in by_name.values()}) == 8
        for name, value in by_name.items():
            assert scores.metrics[name][i] == pytest.approx(value, rel=1e-6), name


def test_stored_features_are_bounded(small, monkeypatch):
    """So many samples as the features of the network and of four candidates take at most the stated bytes."""
    monkeypatch.setattr(consensus, "STORED_BYTES", 5 * 8 * 4 * 50)
    assert Consensus(split(small), halves=1)(small).samples == 50
    monkeypatch.setattr(consensus, "STORED_BYTES", 5 * 8 * 4 * 30)
    with pytest.raises(UserError, match="30 samples"):
        Consensus(split(small))(small)


def test_samples_that_cannot_tell_are_refused(small):
    """The same features for all of them; classes of one or two samples."""
    data = split(small)
    with pytest.raises(UserError, match="the same for all 60 samples"):
        Consensus(Split(np.zeros_like(data.x), data.y, data.groups))(small)
    with pytest.raises(UserError, match="no class has three samples"):
        Consensus(Split(data.x, np.arange(60) // 2, data.groups))(small)
