"""Distance of two representations as Gaussians by class, up to a rotation.

Source: Duong, Zhou, Nassar, Berman, Olieslagers, Williams, "Representational Dissimilarity Metric Spaces for
Stochastic Neural Networks", ICLR 2023, for classes in place of repeated stimuli:

    d^2 = mean_c [ a |mu_c - mu'_c T|^2 + (2 - a) Bures^2(S_c, T' S'_c T) ],  T orthogonal
    Bures^2(A, B) = tr A + tr B - 2 |A^.5 B^.5|_*   (the sum of singular values)

with mu the mean and S the sample covariance of a class; a = 2 looks at means alone, a = 0 at covariances alone. T is
found by alternating: rotations of each class given T, then T given them. That ends where no small turn is better, so it
begins at the best of three: no turn; the turn of the means, as in the source (fewer classes than features leave it
open: the one nearest to no turn); principal axes onto principal axes.

The covariance of n samples has n - 1 directions at most, and all is computed in those, which with few samples a class
are much fewer than the features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]

ROUNDS = 1000
_FALL = 1e-6  # of the residual in a round, as a part of the target's norm, below which no more rounds follow: 1e-8
# takes twice to five times the rounds (282 for 127 at 32 features) and moves the distance by 0.0003 of itself


@dataclass(frozen=True)
class Gaussians:
    """`means` (k, d); covariances by their `axes` (k, d, r), orthonormal, and the `deviations` along these (k, r)."""

    means: F64
    axes: F64
    deviations: F64

    @classmethod
    def of(cls, x: F64, labels: npt.NDArray[np.int64]) -> Gaussians:
        """Of classes with two samples at least, for one has no covariance. Raises ValueError where there is none."""
        kept = [c for c, count in zip(*np.unique(labels, return_counts=True), strict=True) if count >= 2]
        if not kept:
            raise ValueError("no class has two samples")
        parts = [x[labels == c] for c in kept]
        covariances = np.stack([np.atleast_2d(np.cov(part, rowvar=False)) for part in parts])
        values, vectors = np.linalg.eigh(covariances)
        least = max(0, x.shape[1] - max(len(part) - 1 for part in parts))  # the first have no variance in any class
        deviations = np.sqrt(np.maximum(values[:, least:], 0.0))
        return cls(np.stack([part.mean(0) for part in parts]), vectors[:, :, least:], deviations)

    @property
    def spread(self) -> F64:
        """(k, d, r), whose product with its transpose is the covariance."""
        return self.axes * self.deviations[:, np.newaxis, :]


def gaussian_distance(
    one: Gaussians, other: Gaussians, a: float, start: F64 | None = None, rounds: int = ROUNDS
) -> tuple[float, F64]:
    """The distance, and the rotation T (d, d) that gives it; `start` is one to begin with. `a` is 0, 1 or 2."""
    turn = _first(one, other, a) if start is None else start
    means = a * a * other.means.T @ one.means
    goal, stack = _size(one, a), _size(other, a)
    residual = np.inf
    for step in range(rounds):
        if a == 2:
            turn = _turn(means)
            break
        # S_c^.5 and the rotated S'_c^.5 both end in the axes of S_c: their product needs no others
        u, _, v = np.linalg.svd(_shared(one, other, turn))
        rotated = other.spread @ (u @ v).transpose(0, 2, 1) @ one.spread.transpose(0, 2, 1)
        product = means + (2 - a) ** 2 * rotated.sum(0)
        turn = _turn(product)
        now = float(np.sqrt(max(0.0, goal + stack - 2 * float((turn * product).sum()))))
        if step >= 2 and residual - now < _FALL * max(goal**0.5, 1e-300):
            break
        residual = now
    return _distance(one, other, a, turn), turn


def _size(g: Gaussians, a: float) -> float:
    """Squared norm of the means, times a, and of all covariances' roots, times 2 - a."""
    return float(a * a * np.square(g.means).sum() + (2 - a) ** 2 * np.square(g.deviations).sum())


def _shared(one: Gaussians, other: Gaussians, turn: F64) -> F64:
    """(k, r, r): S_c^.5 T' S'_c^.5 along the axes of both."""
    return one.spread.transpose(0, 2, 1) @ turn.T @ other.spread


def _distance(one: Gaussians, other: Gaussians, a: float, turn: F64) -> float:
    means = np.square(one.means - other.means @ turn).sum(1)
    shared = np.linalg.svd(_shared(one, other, turn), compute_uv=False).sum(1)
    spreads = np.square(one.deviations).sum(1) + np.square(other.deviations).sum(1) - 2 * shared
    return float(np.sqrt(np.maximum(a * means + (2 - a) * spreads, 0.0).mean()))


def _first(one: Gaussians, other: Gaussians, a: float) -> F64:
    product = other.means.T @ one.means
    near = _turn(product + (1e-9 * float(np.linalg.norm(product)) or 1.0) * np.eye(len(product)))
    mine, theirs = _axes(one), _axes(other)
    signs = np.where(((one.means @ mine) * (other.means @ theirs)).sum(0) < 0, -1.0, 1.0)
    starts = (np.eye(len(product)), near, (theirs * signs) @ mine.T)
    return min(starts, key=lambda turn: _distance(one, other, a, turn))


def _axes(g: Gaussians) -> F64:
    """Principal axes (d, d) of the second moments of all classes together."""
    return np.asarray(
        np.linalg.eigh((g.spread @ g.spread.transpose(0, 2, 1)).sum(0) + g.means.T @ g.means)[1], np.float64
    )


def _turn(product: F64) -> F64:
    """The orthogonal T that makes B T nearest to A, of B'A (Procrustes)."""
    u, _, v = np.linalg.svd(product)
    return np.asarray(u @ v, np.float64)
