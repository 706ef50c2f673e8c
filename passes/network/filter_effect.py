"""What every single filter does to the features, measured and not estimated: each is removed alone.

All of them in one pass over the data (`prefix_walk.py`). What is kept of a filter between batches does not grow
with the samples: moments of its features (two matrices of features squared in float64, 66 KB at 64 features, 66 MB for
the 1,008 filters of ResNet-56). Source of removing filters one by one: Nascimento et al., "Pruning Everything,
Everywhere, All at Once", IJCNN 2025. Ours: debiased CKA.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from secateur.errors import UserError
from secateur.models.data import Split
from secateur.models.network import Network
from secateur.passes.network.channel_deletion import single_filters
from secateur.passes.network.channels import trace_channels
from secateur.passes.network.cka import StreamingCKA
from secateur.passes.network.cut_similarity import chunk
from secateur.passes.network.prefix_walk import PrefixWalk
from secateur.passes.network.samples import balanced
from secateur.passes.network.scores import FilterScores
from secateur.passes.network.walking import walk_over


@dataclass(frozen=True)
class FilterEffect:
    """1 - CKA of the features with and without a filter. `samples`: class-balanced, of `data`, the recovery set."""

    data: Split
    samples: int = 1000
    seed: int = 0

    def __call__(self, network: Network) -> FilterScores:
        """Scores of all removable groups. Raises UserError for fewer than 4 samples."""
        chosen = balanced(self.data.y, self.samples, self.seed)
        if len(chosen) < 4:
            raise UserError(f"{network.name}: {len(chosen)} samples to score filters on, 4 at least are needed")
        removals = single_filters(network, trace_channels(network))
        walk = PrefixWalk(network, removals, together=chunk(network))
        cka = StreamingCKA(len(removals))
        batches = np.array_split(chosen, -(-len(chosen) // chunk(network)))
        for whole, others in walk_over(walk, network, self.data, batches):
            cka.update(_rows(whole), [_rows(other) for other in others])
        values: dict[str, list[float]] = {}
        for removal, value in zip(removals, (1 - cka.values()).tolist(), strict=True):
            values.setdefault(removal.unit, []).append(value)
        return FilterScores(network.hash(), len(chosen), {group: np.array(v) for group, v in values.items()})


def _rows(values: Tensor) -> npt.NDArray[np.float32]:
    return np.asarray(values.cpu().numpy())
