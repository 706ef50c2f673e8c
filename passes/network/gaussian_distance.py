"""Distance of two representations as Gaussians by class, up to a rotation.

Source: Duong, Zhou, Nassar, Berman, Olieslagers, Williams, "Representational Dissimilarity Metric Spaces for
Stochastic Neural Networks", ICLR 2023, for classes in place of repeated stimuli:

    d^2 = mean_c [ a |mu_c - mu'_c T|^2 + (2 - a) Bures^2(S_c, T' S'_c T) ],  T orthogonal
    Bures^2(A, B) = tr A + tr B - 2 |A^.5 B^.5|_*   (the sum of singular values)

with mu the mean and S the sample covariance of a class; a = 2 looks at means alone, a = 0 at covariances alone. T is
found by alternating: rotations of each class given T, then T given them. That ends where no small turn is better, so it
begins at the best of three: no turn; the turn of the means, as in the source (fewer classes than features leave it
open: the one nearest to no turn); principal axes onto principal axes.
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
    """`means` (k, d) and `roots` (k, d, d), the covariances' symmetric square roots."""

    means: F64
    roots: F64

    @classmethod
    def of(cls, x: F64, labels: npt.NDArray[np.int64]) -> Gaussians:
        """Of classes with two samples at least, for one has no covariance. Raises ValueError where there is none."""
        kept = [c for c, count in zip(*np.unique(labels, return_counts=True), strict=True) if count >= 2]
        if not kept:
            raise ValueError("no class has two samples")
        parts = [x[labels == c] for c in kept]
        covariances = np.stack([np.atleast_2d(np.cov(part, rowvar=False)) for part in parts])
        values, vectors = np.linalg.eigh(covariances)
        scaled = vectors * np.sqrt(np.maximum(values, 0.0))[:, np.newaxis, :]
        return cls(np.stack([part.mean(0) for part in parts]), scaled @ vectors.transpose(0, 2, 1))


def gaussian_distance(
    one: Gaussians, other: Gaussians, a: float, start: F64 | None = None, rounds: int = ROUNDS
) -> tuple[float, F64]:
    """The distance, and the rotation T (d, d) that gives it; `start` is one to begin with. `a` is 0, 1 or 2."""
    turn = _first(one, other, a) if start is None else start
    k, d = one.means.shape
    goal = np.concatenate([a * one.means, ((2 - a) * one.roots).reshape(k * d, d)])
    size = max(float(np.linalg.norm(goal)), 1e-300)
    residual = np.inf
    for step in range(rounds):
        if a == 2:
            stack = 2 * other.means
            turn = _turn(stack.T @ (2 * one.means))
            break
        turned = other.roots @ turn
        u, _, v = np.linalg.svd(one.roots @ turned.transpose(0, 2, 1))
        stack = np.concatenate([a * other.means, ((2 - a) * (u @ v) @ other.roots).reshape(k * d, d)])
        turn = _turn(stack.T @ goal)
        now = float(np.linalg.norm(stack @ turn - goal))
        if step >= 2 and residual - now < _FALL * size:
            break
        residual = now
    return _distance(one, other, a, turn), turn


def _distance(one: Gaussians, other: Gaussians, a: float, turn: F64) -> float:
    means = np.square(one.means - other.means @ turn).sum(1)
    shared = np.linalg.svd(one.roots @ (other.roots @ turn).transpose(0, 2, 1), compute_uv=False).sum(1)
    spreads = np.square(one.roots).sum((1, 2)) + np.square(other.roots).sum((1, 2)) - 2 * shared
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
    return np.asarray(np.linalg.eigh((g.roots @ g.roots).sum(0) + g.means.T @ g.means)[1], np.float64)


def _turn(product: F64) -> F64:
    """The orthogonal T that makes B T nearest to A, of B'A (Procrustes)."""
    u, _, v = np.linalg.svd(product)
    return np.asarray(u @ v, np.float64)
