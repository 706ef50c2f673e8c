"""CKA: its invariances, and that the whole, the streamed and the Gram form are one number."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.passes.network.cka import StoredCKA, StreamingCKA, jackknife_error, linear_cka


def related(n=200, p=12, q=7, seed=0):
    """Two representations of the same samples that share half their signal, far from zero mean."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(n, p))
    x = shared + 0.5 * rng.normal(size=(n, p)) + 30
    y = shared @ rng.normal(size=(p, q)) + rng.normal(size=(n, q)) - 5
    return x, y


def by_definition(x, y, debiased):
    """Unbiased (Song et al. 2012) or biased HSIC, from the n x n kernels as their papers print them."""

    def hsic(a, b):
        n = len(a)
        if not debiased:
            h = np.eye(n) - 1 / n
            return np.trace(a @ h @ b @ h)
        a, b = a - np.diag(np.diag(a)), b - np.diag(np.diag(b))
        one = np.ones(n)
        middle = (one @ a @ one) * (one @ b @ one) / ((n - 1) * (n - 2))
        return np.trace(a @ b) + middle - 2 / (n - 2) * (one @ a @ b @ one)

    kx, ky = x @ x.T, y @ y.T
    return hsic(kx, ky) / np.sqrt(hsic(kx, kx) * hsic(ky, ky))


@pytest.mark.parametrize("debiased", [True, False])
def test_equals_the_definition(debiased):
    """The published kernel formulas give the same number."""
    x, y = related()
    assert linear_cka(x, y, debiased) == pytest.approx(by_definition(x - 30, y, debiased), abs=1e-10)


@pytest.mark.parametrize("debiased", [True, False])
@pytest.mark.parametrize(("n", "p", "q"), [(200, 12, 7), (30, 80, 50), (60, 8, 100), (40, 41, 39)])
def test_whole_streamed_and_gram_forms_are_equal(n, p, q, debiased):
    """Any batch sizes, covariances or Gram matrices or one of each: 1e-10."""
    x, y = related(n, p, q)
    whole = linear_cka(x, y, debiased)
    wide = [np.hstack([v, np.zeros((n, 2 * n))]) for v in (x, y)]  # zero columns change the form alone
    assert linear_cka(wide[0], y, debiased) == pytest.approx(whole, abs=1e-10)
    assert linear_cka(*wide, debiased) == pytest.approx(whole, abs=1e-10)
    for sizes in ([1], [n // 2, n - 3], range(5, n, 6)):
        stream = StreamingCKA(1, debiased, blocks=3)
        for a, b in zip(np.split(x, sizes), np.split(y, sizes), strict=True):
            stream.update(a, [b])
        assert stream.values()[0] == pytest.approx(whole, abs=1e-10)


@pytest.mark.parametrize("debiased", [True, False])
def test_leaving_a_block_out_is_exact(debiased):
    """Moments without a block, stored rows without it, and the remaining samples alone agree."""
    x, y = related(90, 6, 9)
    z = np.tanh(y)
    stored, stream = StoredCKA(2, debiased, blocks=7), StreamingCKA(2, debiased, blocks=7)
    for part in np.array_split(np.arange(90), 4):
        stored.update(x[part], [y[part], z[part]])
        stream.update(x[part], [y[part], z[part]])
    for block in range(7):
        rows = np.arange(90) % 7 != block
        alone = linear_cka(x[rows], z[rows], debiased)
        assert stored.leave_out(1)[block] == pytest.approx(alone, abs=1e-10)
        assert stream.leave_out(1)[block] == pytest.approx(alone, abs=1e-10)


@pytest.mark.parametrize("debiased", [True, False])
def test_invariances(debiased):
    """1 with itself; unchanged by scaling, rotation, shift and the order of samples; changed by a linear map."""
    x, y = related()
    rng = np.random.default_rng(1)
    rotation = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    order = rng.permutation(len(x))
    value = linear_cka(x, y, debiased)
    assert linear_cka(x, x, debiased) == pytest.approx(1, abs=1e-12)
    assert linear_cka(3.7 * (x @ rotation) - 2, y, debiased) == pytest.approx(value, abs=1e-10)
    assert linear_cka(x[order], y[order], debiased) == pytest.approx(value, abs=1e-10)
    assert abs(linear_cka(x * np.geomspace(0.1, 10, 12), y, debiased) - value) > 0.05


def test_independent_features_are_unlike_only_when_debiased():
    """n = 100, p = 500 Gaussians: about 0 debiased, about 0.8 biased."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 100, 500))
    assert abs(linear_cka(x, y)) < 0.05
    assert linear_cka(x, y, debiased=False) == pytest.approx(0.83, abs=0.05)


@pytest.mark.parametrize("debiased", [True, False])
def test_constant_features_are_like_nothing(debiased):
    """Features that are the same for every sample score 0, not the ratio of two rounding errors."""
    x, y = related()
    for constant in (np.zeros((200, 3)), np.full((200, 3), 0.1), np.full((200, 300), 1e6 + 0.1)):
        stream = StreamingCKA(2, debiased)
        for part in np.array_split(np.arange(200), 3):
            stream.update(x[part], [constant[part], y[part]])
        assert stream.values()[0] == 0
        assert linear_cka(x, constant, debiased) == 0


def test_small_differences_survive_a_large_offset():
    """float32 features near 1000 that differ by 1e-3: streamed equals whole to 1e-10."""
    rng = np.random.default_rng(0)
    x = (1000 + 1e-3 * rng.normal(size=(500, 16))).astype(np.float32)
    y = (x + 1e-4 * rng.normal(size=x.shape)).astype(np.float32)
    stream = StreamingCKA()
    for part in np.array_split(np.arange(500), 9):
        stream.update(x[part], [y[part]])
    assert stream.values()[0] == pytest.approx(linear_cka(x, y), abs=1e-10)


def test_jackknife_error_is_that_of_a_mean():
    """For a mean the jackknife gives the textbook s / sqrt(n)."""
    values = np.random.default_rng(0).normal(size=50)
    left_out = (values.sum() - values) / 49
    assert jackknife_error(left_out) == pytest.approx(values.std(ddof=1) / np.sqrt(50), rel=1e-9)


def test_wrong_input_is_refused():
    """Fewer than 4 samples and unequal numbers of samples."""
    x, y = related()
    with pytest.raises(ValueError, match="3 samples"):
        linear_cka(x[:3], y[:3])
    with pytest.raises(ValueError, match="shapes"):
        linear_cka(x[:10], y[:11])
    with pytest.raises(ValueError, match="0 samples"):
        StreamingCKA().values()
