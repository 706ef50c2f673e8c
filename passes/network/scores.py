"""What analyses measure and cuts use. Each record names the network it was measured on by its hash."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from secateur.passes.network.removal import Removal

K = TypeVar("K")


@dataclass(frozen=True)
class Losses(Generic[K]):
    """Loss of similarity, 1 - CKA, in the order of the candidates; lower is safer to remove.

    `margin`: loss of the second best less that of the best, None with fewer than two units; `margin_error`
    its standard error. `tie`: the margin is within the noise of the samples (below 1.96 standard errors), so
    the two cannot be told apart.
    """

    network_hash: str
    samples: int
    values: dict[K, float]
    margin: float | None = None
    margin_error: float | None = None
    tie: bool = False

    def __getitem__(self, candidate: K) -> float:
        return self.values[candidate]

    def ranked(self) -> tuple[K, ...]:
        """Candidates from the safest to the most harmful; equal ones in their order."""
        return tuple(sorted(self.values, key=self.values.__getitem__))


class Scores(Losses[str]):
    """Losses of layers by name, in network order."""


class CutScores(Losses[Removal]):
    """Losses of any removals, layers and filters on one scale."""


@dataclass(frozen=True)
class FilterScores:
    """Importance of every channel class by group name, in the order of the group's classes; low first."""

    network_hash: str
    samples: int
    values: dict[str, npt.NDArray[np.float64]]

    def lowest(self, group: str, count: int) -> tuple[int, ...]:
        """Positions of the `count` least important classes, ascending; equal ones in channel order."""
        order = np.argsort(self.values[group], kind="stable")
        return tuple(sorted(int(i) for i in order[:count]))
