"""Distances of two representations after aligning them: by permutation, rotation or any linear map; and of values.

Source: Williams, Kunz, Kornblith, Linderman, "Generalized Shape Metrics on Neural Representations", NeurIPS 2021.
All take (n, d) and (n, d) of the same samples. Angles are in [0, pi / 2] or a little above; a constant representation
is at a right angle to any other.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]

_LEAST = 1e-7  # of the largest eigenvalue: what a whitening takes smaller ones for
HELD_OUT = 0.2


def permutation_distance(x: F64, y: F64) -> float:
    """Angle between X and the permutation of Y's features that is nearest to it."""
    from scipy.optimize import linear_sum_assignment  # slow to import

    x, y = x - x.mean(0), y - y.mean(0)
    product = x.T @ y
    rows, columns = linear_sum_assignment(product, maximize=True)
    return _angle(float(product[rows, columns].sum()), x, y)


def held_out(samples: int, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows to align on and rows to compare, 80 and 20 %; the same for every candidate."""
    order = np.random.default_rng([seed, samples]).permutation(samples)
    test = max(1, round(HELD_OUT * samples))
    return np.sort(order[test:]), np.sort(order[:test])


def linear_distance(x: F64, y: F64, a: float, seed: int = 0) -> float:
    """Angle on held-out rows after a linear map of each: rotations only at a = 1, any invertible ones at a = 0."""
    fit, test = held_out(len(x), seed)
    (x_fit, x_test), (y_fit, y_test) = (_centred(v, fit, test) for v in (x, y))
    zx, zy = _whitening(x_fit, a), _whitening(y_fit, a)
    u, _, v = np.linalg.svd((x_fit @ zx).T @ (y_fit @ zy))
    one, other = x_test @ zx @ u, y_test @ zy @ v.T
    return _angle(float((one * other).sum()), one, other)


def wasserstein_distance(x: F64, y: F64) -> float:
    """First Wasserstein distance of the n d values of each, whatever feature they are of."""
    return float(np.abs(np.sort(x, axis=None) - np.sort(y, axis=None)).mean())


def _centred(v: F64, fit: npt.NDArray[np.int64], test: npt.NDArray[np.int64]) -> tuple[F64, F64]:
    mean = v[fit].mean(0)
    return v[fit] - mean, v[test] - mean


def _whitening(x: F64, a: float) -> F64:
    """V diag(a + (1 - a) lam^-.5) V' of the covariance, scaled to keep the total variance."""
    if a == 1:
        return np.eye(x.shape[1])
    values, vectors = np.linalg.eigh(x.T @ x)
    if values[-1] <= 0:
        return np.eye(x.shape[1])
    values = np.maximum(values, _LEAST * values[-1])
    factors = a + (1 - a) / np.sqrt(values)
    factors *= np.sqrt(values.sum() / (np.square(factors) * values).sum())
    return np.asarray((vectors * factors) @ vectors.T, np.float64)


def _angle(product: float, x: F64, y: F64) -> float:
    size = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(np.arccos(np.clip(product / size, -1.0, 1.0))) if size > 0 else float(np.pi / 2)
