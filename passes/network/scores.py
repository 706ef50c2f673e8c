"""What analyses measure and cuts use. Each record names the network it was measured on by its hash.

A layer score maps (network, units) to `Scores`, a filter score maps a network to `FilterScores`; both are bound to
their samples when they are made. `score_catalogue.py` lists them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from secateur.models.network import Network
from secateur.passes.network.removal import Removal

K = TypeVar("K")
F64 = npt.NDArray[np.float64]

CONFIDENCE = 1.96  # standard errors of a two-sided 95 % interval
LEAST_LOSS = 1e-6  # a loss of exactly 0 is as good as any other: then the larger saving decides


@dataclass(frozen=True)
class Replicates(Generic[K]):
    """The same scores on parts of the samples: how far other samples would move them.

    `values`: (parts,) of each candidate. Variance of a statistic: `weight` times its squared deviations' sum.
    """

    values: Mapping[K, F64]
    weight: float

    @classmethod
    def jackknife(cls, values: Mapping[K, F64]) -> Replicates[K]:
        """`values`: without each of so many equal blocks (Efron and Stein 1981). For smooth statistics."""
        blocks = len(next(iter(values.values()), ()))
        return cls(values, (blocks - 1) / max(blocks, 1))

    @classmethod
    def halves(cls, values: Mapping[K, F64]) -> Replicates[K]:
        """`values`: on random halves, whose spread is that of the whole (McCarthy 1969). For ranks too."""
        return cls(values, 1 / max(len(next(iter(values.values()), ())) - 1, 1))

    def error(self, a: K, b: K, per: Mapping[K, float] | None = None) -> float:
        """Standard error of the difference of two candidates' scores, each divided by what `per` says."""
        one, other = (self.values[k] / (per[k] if per else 1.0) for k in (a, b))
        difference = one - other
        return float(np.sqrt(self.weight * np.square(difference - difference.mean()).sum()))


@dataclass(frozen=True)
class Losses(Generic[K]):
    """What each removal loses, in the order of the candidates; lower is safer to remove.

    `margin`: loss of the second best less that of the best, None with fewer than two units; `margin_error`
    its standard error, 0 where no samples were looked at. `tie`: the margin is within the noise of the samples
    (below 1.96 standard errors), so the two cannot be told apart.
    """

    network_hash: str
    samples: int
    values: dict[K, float]
    margin: float | None = None
    margin_error: float | None = None
    tie: bool = False
    replicates: Replicates[K] | None = field(default=None, compare=False, repr=False)

    def __getitem__(self, candidate: K) -> float:
        return self.values[candidate]

    @property
    def evidence(self) -> Evidence:
        return Evidence(self.samples, self.margin, self.margin_error, self.tie)

    def ranked(self) -> tuple[K, ...]:
        """Candidates from the safest to the most harmful; equal ones in their order."""
        return tuple(sorted(self.values, key=self.values.__getitem__))

    def tied(self, per: Mapping[K, float] | None = None) -> tuple[K, ...]:
        """The best candidate, then all that the samples cannot tell from it, from the safest to the most harmful.

        `per`: what a loss is divided by, such as the share of a limit that the removal saves.
        """
        order = self.ranked()
        if per is None:
            at = self.values
        else:
            at = {k: max(v, LEAST_LOSS) / per[k] for k, v in self.values.items()}
            order = tuple(sorted(order, key=at.__getitem__))
        best = order[0]

        def alike(k: K) -> bool:
            # the order of equal scores is not noise: without samples nothing but equal losses are alike
            error = self.replicates.error(k, best, per) if self.replicates else 0.0
            return at[k] - at[best] <= CONFIDENCE * error

        return tuple(k for k in order if k == best or alike(k))


@dataclass(frozen=True)
class Evidence:
    """What a choice rests on: how many samples were scored, by how much the second best score is worse than the best,
    the standard error of that (0 without samples, None without a second), and whether it is within the noise."""

    samples: int
    margin: float | None
    margin_error: float | None
    tie: bool


class Scores(Losses[str]):
    """Losses of layers by name, in network order."""

    @classmethod
    def measured(
        cls, network: Network, samples: int, values: dict[str, float], replicates: Replicates[str] | None = None
    ) -> Scores:
        """With the margin between the two best; without `replicates` there is no noise."""
        found = cls(network.hash(), samples, values, replicates=replicates)
        if len(values) < 2:
            return found
        margin = margin_of(found.ranked(), values, replicates)
        return cls(network.hash(), samples, values, margin.value, margin.error, margin.tie, replicates)


class CutScores(Losses[Removal]):
    """Losses of any removals, layers and filters on one scale."""


@dataclass(frozen=True)
class Margin:
    """By how much the second best is worse, the standard error of that, and whether it is within the noise."""

    value: float
    error: float
    tie: bool


def margin_of(order: Sequence[K], values: Mapping[K, float], replicates: Replicates[K] | None) -> Margin:
    """Between the first two of `order`."""
    best, second = order[:2]
    value = float(values[second] - values[best])
    error = replicates.error(best, second) if replicates else 0.0
    return Margin(value, error, value <= CONFIDENCE * error)


@dataclass(frozen=True)
class FilterScores:
    """Importance of every channel class by group name, in the order of the group's classes; low first.

    `margins`: of each group's two least important classes, which compete for the first place; where the samples
    cannot tell them apart channel order decides, for every class of a group saves the device the same.
    """

    network_hash: str
    samples: int
    values: dict[str, npt.NDArray[np.float64]]
    margins: dict[str, Margin] = field(default_factory=dict)

    @classmethod
    def measured(
        cls,
        network: Network,
        samples: int,
        values: dict[str, npt.NDArray[np.float64]],
        left_out: dict[str, npt.NDArray[np.float64]] | None = None,
    ) -> FilterScores:
        """`left_out`: (blocks, classes) of each group, the importance without each block of the samples."""
        margins = {}
        for name, importance in values.items():
            if len(importance) > 1:
                pair = [int(i) for i in np.argsort(importance, kind="stable")[:2]]
                parts = left_out[name] if left_out else None
                noise = Replicates.jackknife({i: parts[:, i] for i in pair}) if parts is not None else None
                margins[name] = margin_of(pair, {i: float(importance[i]) for i in pair}, noise)
        return cls(network.hash(), samples, values, margins)

    def lowest(self, group: str, count: int) -> tuple[int, ...]:
        """Positions of the `count` least important classes, ascending; equal ones in channel order."""
        order = np.argsort(self.values[group], kind="stable")
        return tuple(sorted(int(i) for i in order[:count]))


class LayerScore(Protocol):
    """Scores of the removable layers, or of those among `units`, in network order whatever theirs is."""

    def __call__(self, network: Network, units: Collection[str] | None = None) -> Scores: ...


class FilterScore(Protocol):
    """Scores of every removable group that the score is defined for."""

    def __call__(self, network: Network) -> FilterScores: ...
