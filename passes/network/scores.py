"""What analyses measure and cuts use. Each record names the network it was measured on by its hash."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Scores:
    """Loss of similarity, 1 - CKA, by unit in network order; lower is safer to remove.

    `margin`: loss of the second best less that of the best, None with fewer than two units; `margin_error`
    its standard error. `tie`: the margin is within the noise of the samples (below 1.96 standard errors), so
    the two cannot be told apart.
    """

    network_hash: str
    samples: int
    values: dict[str, float]
    margin: float | None = None
    margin_error: float | None = None
    tie: bool = False

    def ranked(self) -> tuple[str, ...]:
        """Units from the safest to the most harmful; equal ones in network order."""
        return tuple(sorted(self.values, key=self.values.__getitem__))


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
