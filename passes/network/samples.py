"""Which samples an analysis looks at."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from secateur.errors import UserError
from secateur.models.network import Network
from secateur.models.task import strata


def balanced(truth: npt.NDArray[Any], count: int, seed: int = 0) -> npt.NDArray[np.int64]:
    """Indices of at most `count` samples, as equal in number by class as there are, in seeded random order.

    Of several labels the rarest that a sample has is its class; numbers are of one class.
    """
    y = strata(truth)
    random = np.random.default_rng(seed)
    shuffled = random.permutation(len(y))
    rank = np.empty(len(y), dtype=np.int64)  # of a sample within its class
    for label in np.unique(y):
        mine = shuffled[y[shuffled] == label]
        rank[mine] = np.arange(len(mine))
    first = shuffled[np.argsort(rank[shuffled], kind="stable")][:count]
    return np.asarray(random.permutation(first), dtype=np.int64)


def enough(network: Network, samples: int, least: int) -> None:
    """Raise UserError where there are fewer than `least`."""
    if samples < least:
        raise UserError(
            f"{network.name}: {samples} samples to compare representations on, {least} at least are needed; give "
            "more recovery data, or take --method l1, which looks at none"
        )


def blocks_of(samples: int, blocks: int) -> npt.NDArray[np.int64]:
    """(samples,): the block of a jackknife that each sample belongs to; they go round; all of one where none are."""
    return np.arange(samples, dtype=np.int64) % max(1, blocks)
