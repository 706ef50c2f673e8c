"""Linear centred kernel alignment (CKA): how alike two representations of the same samples are.

Debiased by default: the biased one of independent features with p = 64 is 0.38 at n = 100.

X (n, p), Y (n, q), columns centred; a, b the squared norms of their rows:

    H(X, Y)  = ||X'Y||_F^2
    H~(X, Y) = H - n/(n-2) sum_k a_k b_k + (sum_k a_k)(sum_k b_k) / ((n-1)(n-2))
    CKA      = H(X, Y) / sqrt(H(X, X) H(Y, Y)), debiased: H~ throughout

H~ is n(n-3) times the unbiased HSIC of Song et al. 2012. Source: Kornblith et al., "Similarity of Neural
Network Representations Revisited", 2019; Nguyen et al. 2021 for the debiased form. Everything is float64:
candidates may differ by 1e-4, and float32 loses their order. A representation that is constant over the samples
has no similarity to anything: 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
Rows = npt.NDArray[np.floating[Any]]

_CONSTANT = 1e-24  # share of the squared size below which a variance is the rounding of a constant


def linear_cka(x: Rows, y: Rows, debiased: bool = True) -> float:
    """CKA of two whole representations (n, p) and (n, q), by covariances, or Gram matrices where p or q > n.

    The range is [0, 1], for the debiased form up to the noise of the samples, which may take it below 0.
    Raises ValueError for fewer than 4 samples or unequal numbers of them.
    """
    return float(StoredCKA.of(x, [y], debiased).values()[0])


def debiased_product(h: float, ab: float, a: float, b: float, n: int) -> float:
    """H~ from H, sum_k a_k b_k, sum_k a_k, sum_k b_k."""
    return h - n / (n - 2) * ab + a * b / ((n - 1) * (n - 2))


def _alike(xy: float, xx: float, yy: float) -> float:
    return xy / float(np.sqrt(xx * yy)) if xx > 0 and yy > 0 else 0.0


def _check(x: Rows, ys: Sequence[Rows]) -> None:
    counts = {len(x), *(len(y) for y in ys)}
    if len(counts) > 1 or any(v.ndim != 2 for v in (x, *ys)):
        raise ValueError(f"representations of one batch have shapes {[v.shape for v in (x, *ys)]}")


@dataclass
class _Moments:
    """Sums over samples of everything that H~(X, Y) needs, with u = |x|^2 and v = |y|^2 of shifted rows."""

    n: int
    x: F64
    y: F64
    xy: F64
    u: float
    v: float
    uv: float
    uy: F64
    vx: F64

    @classmethod
    def of(cls, x: F64, y: F64) -> _Moments:
        u, v = np.einsum("np,np->n", x, x), np.einsum("np,np->n", y, y)
        return cls(len(x), x.sum(0), y.sum(0), x.T @ y, float(u.sum()), float(v.sum()), float(u @ v), u @ y, v @ x)

    def plus(self, other: _Moments, sign: int = 1) -> _Moments:
        return _Moments(
            self.n + sign * other.n,
            self.x + sign * other.x,
            self.y + sign * other.y,
            self.xy + sign * other.xy,
            self.u + sign * other.u,
            self.v + sign * other.v,
            self.uv + sign * other.uv,
            self.uy + sign * other.uy,
            self.vx + sign * other.vx,
        )

    def product(self, debiased: bool) -> float:
        """H or H~, the sums moved to the mean: a_k = u_k - 2 m.x_k + m.m, with m the mean of x, l of y."""
        n, m, l = self.n, self.x / self.n, self.y / self.n  # noqa: E741 - the mean of y
        h = float(np.square(self.xy - n * np.outer(m, l)).sum())
        if not debiased:
            return h
        mm, ll = float(m @ m), float(l @ l)
        ab = (
            self.uv
            - 2 * float(l @ self.uy)
            + ll * self.u
            + mm * self.v
            - 2 * float(m @ self.vx)
            + 4 * float(m @ self.xy @ l)
            - 3 * n * mm * ll
        )
        return debiased_product(h, ab, self.u - n * mm, self.v - n * ll, n)


class StreamingCKA:
    """CKA of one reference with several candidates over batches; memory O(p^2), whatever the number of samples.

    Exact: equal to the CKA of all samples at once for any batch sizes. Rows go round `blocks` parts, so that the
    statistic without each part is known as well (a jackknife); all of them are shifted by the first batch's mean.
    """

    def __init__(self, candidates: int = 1, debiased: bool = True, blocks: int = 1) -> None:
        self.debiased = debiased
        self.seen = 0
        self.shifts: list[F64] = []
        # per block: the reference with itself, then each candidate with itself and with the reference
        self.sums: list[list[_Moments]] = [[] for _ in range(blocks)]
        self.candidates = candidates

    def update(self, x: Rows, ys: Sequence[Rows]) -> None:
        """Add a batch: the reference (n, p) and each candidate's (n, q). Raises ValueError if they disagree."""
        _check(x, ys)
        if len(ys) != self.candidates:
            raise ValueError(f"{len(ys)} candidates, {self.candidates} expected")
        wide = [np.asarray(v, dtype=np.float64) for v in (x, *ys)]
        if not self.shifts:
            self.shifts = [v.mean(0) for v in wide]
        wide = [v - s for v, s in zip(wide, self.shifts, strict=True)]
        for block in range(len(self.sums)):
            rows = slice((block - self.seen) % len(self.sums), None, len(self.sums))
            part = [v[rows] for v in wide]
            new = [_Moments.of(part[0], part[0])]
            for y in part[1:]:
                new += [_Moments.of(y, y), _Moments.of(part[0], y)]
            old = self.sums[block]
            self.sums[block] = [a.plus(b) for a, b in zip(old, new, strict=True)] if old else new
        self.seen += len(x)

    def values(self) -> F64:
        """CKA with every candidate, (candidates,). Raises ValueError for fewer than 4 samples."""
        return np.array([self._value(i, None) for i in range(self.candidates)])

    def leave_out(self, index: int) -> F64:
        """CKA with one candidate when one block is left out, (blocks,)."""
        return np.array([self._value(index, block) for block in range(len(self.sums))])

    def _value(self, index: int, without: int | None) -> float:
        xx, yy, xy = (self._total(i, without) for i in (0, 1 + 2 * index, 2 + 2 * index))
        if xy.n < 4:
            raise ValueError(f"CKA of {xy.n} samples; 4 at least are needed")
        for moments, shift in ((xx, self.shifts[0]), (yy, self.shifts[1 + index])):
            mean = moments.x / moments.n
            spread = moments.u - moments.n * float(mean @ mean)
            if spread <= _CONSTANT * (moments.u + moments.n * float(shift @ shift)):
                return 0.0
        return _alike(*(m.product(self.debiased) for m in (xy, xx, yy)))

    def _total(self, which: int, without: int | None) -> _Moments:
        kept = [b[which] for i, b in enumerate(self.sums) if i != without and b]
        if not kept:
            raise ValueError("CKA of 0 samples; 4 at least are needed")
        total = kept[0]
        for moments in kept[1:]:
            total = total.plus(moments)
        return total


@dataclass(frozen=True)
class _Side:
    """Rows (n, p), or their Gram matrix (n, n)."""

    values: F64
    gram: bool

    def of(self, rows: npt.NDArray[np.int64]) -> _Side:
        """The chosen rows, centred among themselves."""
        if not self.gram:
            kept = self.values[rows]
            return _Side(kept - kept.mean(0), False)
        k = self.values[np.ix_(rows, rows)]
        return _Side(k - k.mean(0) - k.mean(1, keepdims=True) + k.mean(), True)

    def as_gram(self) -> F64:
        return self.values if self.gram else self.values @ self.values.T

    def squared_norms(self) -> F64:
        return np.diag(self.values) if self.gram else np.einsum("np,np->n", self.values, self.values)


class StoredCKA:
    """The same interface with the rows kept: less memory than moments when samples are few or features many.

    A side with more features than samples becomes its Gram matrix XX' (n, n), shared by all candidates.
    """

    def __init__(self, candidates: int = 1, debiased: bool = True, blocks: int = 1) -> None:
        self.debiased = debiased
        self.blocks = blocks
        self.parts: list[list[Rows]] = [[] for _ in range(1 + candidates)]
        self.sides: dict[int, _Side] = {}

    @classmethod
    def of(cls, x: Rows, ys: Sequence[Rows], debiased: bool = True) -> StoredCKA:
        stored = cls(len(ys), debiased)
        stored.update(x, ys)
        return stored

    def update(self, x: Rows, ys: Sequence[Rows]) -> None:
        """Add a batch, as for StreamingCKA."""
        _check(x, ys)
        for part, v in zip(self.parts, (x, *ys), strict=True):
            part.append(v)
        self.sides.clear()

    def values(self) -> F64:
        """CKA with every candidate, (candidates,). Raises ValueError for fewer than 4 samples."""
        everything = np.arange(sum(map(len, self.parts[0])))
        found = []
        for i in range(1, len(self.parts)):
            found.append(self._value(i, everything))
            self.sides.pop(i, None)
        return np.array(found)

    def leave_out(self, index: int) -> F64:
        """CKA with one candidate when one block of rows is left out, (blocks,)."""
        rows = np.arange(sum(map(len, self.parts[0])))
        kept = [rows[rows % self.blocks != block] for block in range(self.blocks)]
        return np.array([self._value(1 + index, k) for k in kept])

    def _side(self, index: int) -> _Side:
        """All rows, shifted to zero mean, or their Gram matrix: the smaller of the two."""
        if index not in self.sides:
            rows = np.concatenate(self.parts[index]).astype(np.float64)
            size = float(np.square(rows).sum())
            rows -= rows.mean(0)
            if float(np.square(rows).sum()) <= _CONSTANT * size:
                rows[:] = 0.0
            gram = rows.shape[1] > len(rows)
            self.sides[index] = _Side(rows @ rows.T if gram else rows, gram)
        return self.sides[index]

    def _value(self, index: int, rows: npt.NDArray[np.int64]) -> float:
        n = len(rows)
        if n < 4:
            raise ValueError(f"CKA of {n} samples; 4 at least are needed")
        x, y = self._side(0).of(rows), self._side(index).of(rows)
        return _alike(self._product(x, y), self._product(x, x), self._product(y, y))

    def _product(self, x: _Side, y: _Side) -> float:
        if x.gram or y.gram:
            h = float((x.as_gram() * y.as_gram()).sum())
        else:
            h = float(np.square(x.values.T @ y.values).sum())
        if not self.debiased:
            return h
        a, b = x.squared_norms(), y.squared_norms()
        return debiased_product(h, float(a @ b), float(a.sum()), float(b.sum()), len(a))


def jackknife_error(left_out: F64) -> float:
    """Standard error of a statistic from its values without each of B equal blocks (Efron and Stein 1981)."""
    blocks = len(left_out)
    return float(np.sqrt((blocks - 1) / blocks * np.square(left_out - left_out.mean()).sum()))
