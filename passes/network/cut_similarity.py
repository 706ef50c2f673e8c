"""How much of a network's representation a removal loses: 1 - CKA of what its classifier is given.

Layers and filters are measured on one scale, so that they can compete. Layers: Pons et al., "Effective Layer
Pruning Through Similarity Metric Perspective", ICPR 2024; filters beside layers: Nascimento et al., "Pruning
Everything, Everywhere, All at Once", IJCNN 2025. Differences from both: debiased CKA by default, recovery samples
(never test samples), ties called ties.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from secateur.errors import UserError
from secateur.models.data import Split
from secateur.models.network import Network
from secateur.passes.network.cka import StoredCKA, StreamingCKA, jackknife_error
from secateur.passes.network.layers import feature_node
from secateur.passes.network.prefix_walk import PrefixWalk
from secateur.passes.network.removal import Removal
from secateur.passes.network.samples import balanced, enough
from secateur.passes.network.scores import CONFIDENCE, CutScores, Replicates
from secateur.passes.network.walking import walk_over

_ENOUGH = 4000  # samples beyond which more features do not ask for more samples by themselves
_CHUNK_BYTES = 1 << 26


@dataclass(frozen=True)
class CutSimilarity:
    """Loss of similarity of removals, measured on class-balanced samples of `data` (the recovery set).

    `samples`: how many; by default max(1000, 10 p) for p features, at most 4000, or all there are. `blocks`:
    parts of the jackknife behind the margin; it takes samples as independent, so with few groups (people,
    recordings) the true error is larger. `replicates`: keep every loss without each part, for `CutScores.tied`.
    """

    data: Split
    floor: int = 2
    samples: int | None = None
    debiased: bool = True
    seed: int = 0
    blocks: int = 20
    replicates: bool = False

    def __call__(self, network: Network, removals: Sequence[Removal]) -> CutScores:
        """Raises UserError if there are too few samples, or if the representation is the same for all of them."""
        width = int(np.prod(network.shapes()[feature_node(network)]))
        chosen = balanced(self.data.y, self.samples or wanted(width), self.seed)
        enough(network, len(chosen), 2 * self.blocks)
        if not removals:
            return CutScores(network.hash(), len(chosen), {})
        walk = PrefixWalk(network, removals, self.floor, chunk(network))
        few = len(chosen) < 4 * self.blocks * width  # rows take less memory than moments by block
        cka = (StoredCKA if few else StreamingCKA)(len(removals), self.debiased, self.blocks)
        low, high = np.inf, -np.inf
        batches = np.array_split(chosen, -(-len(chosen) // chunk(network)))
        for reference, others in walk_over(walk, network, self.data, batches):
            columns = reference.cpu().numpy()
            low, high = np.minimum(low, columns.min(0)), np.maximum(high, columns.max(0))
            cka.update(columns, [f.cpu().numpy() for f in others])
        if np.array_equal(low, high):
            raise UserError(
                f"{network.name}: {feature_node(network)} is the same for all {len(chosen)} samples, so nothing "
                "can be compared; check the weights and the preprocessing"
            )
        return self._scores(network, removals, cka, len(chosen))

    def _scores(
        self, network: Network, removals: Sequence[Removal], cka: StoredCKA | StreamingCKA, samples: int
    ) -> CutScores:
        losses = 1 - cka.values()
        values = {r: float(loss) for r, loss in zip(removals, losses, strict=True)}
        if len(values) < 2:
            return CutScores(network.hash(), samples, values)
        best, second = np.argsort(losses, kind="stable")[:2]
        margin = float(losses[second] - losses[best])
        error = jackknife_error(cka.leave_out(int(best)) - cka.leave_out(int(second)))
        kept = None
        if self.replicates:
            kept = Replicates.jackknife({r: 1 - cka.leave_out(i) for i, r in enumerate(removals)})
        return CutScores(network.hash(), samples, values, margin, error, margin <= CONFIDENCE * error, kept)


def chunk(network: Network) -> int:
    """Samples a batch: the largest value of one takes at most 64 MiB."""
    largest = max(int(np.prod(shape)) for shape in network.shapes().values())
    return max(16, min(512, _CHUNK_BYTES // (4 * largest)))


def wanted(width: int) -> int:
    """Samples that comparing `width` features asks for."""
    return max(1000, min(10 * width, _ENOUGH))
