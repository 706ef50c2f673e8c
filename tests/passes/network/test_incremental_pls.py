"""Incremental PLS: one component is batch PLS, the second is close to it, dead features weigh nothing."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.errors import UserError
from secateur.models.data import Split
from secateur.models.zoo.resnet1d import ResNet1d
from secateur.passes.network.filter_vip import FilterVip, PlsMoments
from secateur.passes.network.incremental_pls import Cipls, FilterCipls
from secateur.passes.network.samples import balanced


def problem(n, m, seed=0):
    """Standardised features, far from equal in what they say of two classes."""
    rng = np.random.default_rng(seed)
    y = np.where(rng.random(n) < 0.3, 1.0, -1.0)
    x = rng.normal(size=(n, m)) @ rng.normal(size=(m, m)) + y[:, np.newaxis] * rng.normal(size=m)
    return (x - x.mean(0)) / x.std(0, ddof=1), y[:, np.newaxis]


def fitted(x, y, components):
    model = Cipls(x.shape[1], y.shape[1], components)
    for u, v in zip(x, y, strict=True):
        model.update(u, v)
    return model


def nipals(x, y, components):
    """Weights of batch PLS1, by its textbook loop."""
    x, y = x - x.mean(0), y[:, 0] - y.mean()
    found = []
    for _ in range(components):
        w = x.T @ y
        w /= np.linalg.norm(w)
        t = x @ w
        x = x - np.outer(t, x.T @ t) / (t @ t)
        y = y - t * (y @ t) / (t @ t)
        found.append(w)
    return np.array(found)


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_one_component_is_that_of_all_samples_at_once(offset):
    """The first weights are Xc'y exactly, whatever the mean; VIP equals that of moments to 1e-6."""
    x, y = problem(150, 12)
    model = fitted(x + offset, y, 1)
    assert np.allclose(model.weights[0, 0], x.T @ (y[:, 0] - y.mean()), atol=1e-9)
    moments = PlsMoments()
    moments.update(x, y)
    assert np.abs(model.vip() - moments.vip(1)).max() < 1e-6
    assert np.square(model.vip()).mean() == pytest.approx(1, abs=1e-12)


def test_the_second_component_is_close_to_batch_pls():
    """Loadings divided by the scores' variance, as NIPALS has them: 1,000 samples leave it within 18 degrees."""
    x, y = problem(1000, 8)
    model = fitted(x, y, 2)
    batch = nipals(x, y, 2)
    cosines = [abs(model.weights[0, c] @ batch[c]) / np.linalg.norm(model.weights[0, c]) for c in (0, 1)]
    assert cosines[0] == pytest.approx(1, abs=1e-9) and cosines[1] > 0.95


def batch_vip(x, y, components):
    """VIP over PLS1 models of each response, by the textbook loop: s = q^2 / tau."""
    shares, total = np.zeros(x.shape[1]), 0.0
    for response in y.T:
        left, answer = x - x.mean(0), response - response.mean()
        for w in nipals(x, response[:, np.newaxis], components):
            t = left @ w
            explained = (answer @ t) ** 2 / (t @ t)
            shares, total = shares + explained * w * w, total + explained
            left, answer = left - np.outer(t, left.T @ t) / (t @ t), answer - t * (answer @ t) / (t @ t)
    return np.sqrt(x.shape[1] * shares / total)


def test_components_weigh_by_what_they_explain():
    """Two responses, features of scales 0.2 to 6: within 0.5 of batch PLS; without tau it would be 1.1 away."""
    rng = np.random.default_rng(1)
    y = np.stack([np.where(rng.random(3000) < share, 1.0, -1.0) for share in (0.2, 0.5)], 1)
    x = rng.normal(size=(3000, 8)) * [6, 4, 1, 1, 0.5, 0.5, 0.3, 0.2]
    x += y @ [[3, 0, 0.5, 0, 0.4, 0, 0.3, 0], [0, 0.2, 0, 0.9, 0, 0.1, 0, 0.3]]
    model, expected = fitted(x, y, 2), batch_vip(x, y, 2)
    assert np.abs(model.vip() - expected).max() < 0.5
    model.variances = np.ones_like(model.variances)
    assert np.abs(model.vip() - expected).max() > 1


def test_a_class_has_a_model_of_its_own():
    """Two responses at once give what each gives alone."""
    x, y = problem(80, 6)
    both = fitted(x, np.hstack([y, np.sign(x[:, :1])]), 2)
    assert np.allclose(both.weights[0], fitted(x, y, 2).weights[0])
    assert np.allclose(both.weights[1], fitted(x, np.sign(x[:, :1]), 2).weights[0])


def test_constant_features_weigh_nothing():
    """A dead filter has VIP 0; so has everything where no response changes."""
    x, y = problem(80, 6)
    x[:, 3] = 7.0
    vip = fitted(x, y, 2).vip()
    assert vip[3] == pytest.approx(0, abs=1e-9) and (np.delete(vip, 3) > 0).all()
    assert (fitted(x, np.ones_like(y), 2).vip() == 0).all()


def split(network, classes):
    rng = np.random.default_rng(0)
    y = np.arange(60) % classes
    x = rng.normal(size=(60, *network.input_shape)) + 0.5 * y.reshape(-1, *[1] * len(network.input_shape))
    return Split(x.astype(np.float32), y, np.arange(60))


def test_filters_of_two_classes_are_those_of_batch_pls(network_of):
    """One component, all samples in the first chunk: every group's numbers and margins are FilterVip's."""
    network = network_of(ResNet1d(3, 2, widths=(6, 8), blocks=(2, 2), strides=(1, 2)), (3, 12))
    data = split(network, 2)
    found = FilterCipls(data, components=1, blocks=3)(network)
    expected = FilterVip(data, components=1, blocks=3)(network)
    assert list(found.values) == list(expected.values)
    for name, values in expected.values.items():
        assert np.abs(found.values[name] - values).max() < 1e-6
        assert found.margins[name].value == pytest.approx(expected.margins[name].value, abs=1e-6)
    with pytest.raises(UserError, match="holds one class only"):
        FilterCipls(Split(data.x, np.zeros(60, np.int64), data.groups))(network)


def test_margins_of_batch_pls_leave_blocks_out(network_of):
    """A group's error is the jackknife of scores without each block; without margins the scores are the same bytes."""
    network = network_of(ResNet1d(3, 3, widths=(6, 8), blocks=(2, 2), strides=(1, 2)), (3, 12))
    data = split(network, 3)
    whole, plain = FilterVip(data, chunk=17, blocks=4)(network), FilterVip(data, chunk=17)(network)
    assert all(np.array_equal(whole.values[n], v) for n, v in plain.values.items()) and plain.margins == {}
    rows = balanced(data.y, 60)
    left_out = [FilterVip(data.subset(rows[np.arange(60) % 4 != b]))(network).values["stem.0"] for b in range(4)]
    low, second = np.argsort(whole.values["stem.0"])[:2]
    difference = np.array([v[low] - v[second] for v in left_out])
    expected = np.sqrt(3 / 4 * np.square(difference - difference.mean()).sum())
    assert whole.margins["stem.0"].error == pytest.approx(expected, rel=1e-6)
