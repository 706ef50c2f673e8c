"""Which layer can go: the loss of similarity of every removable one.

Source: Pons et al., "Effective Layer Pruning Through Similarity Metric Perspective", ICPR 2024. The reference is
the network as it is now, not the original one. See cut_similarity.py for what differs.
"""

from __future__ import annotations

from collections.abc import Collection

from secateur.models.data import Split
from secateur.models.network import Network
from secateur.passes.network.cut_similarity import CutSimilarity
from secateur.passes.network.layers import removable_layers
from secateur.passes.network.removal import Removal
from secateur.passes.network.scores import Replicates, Scores


class LayerSimilarity:
    """1 - CKA between the pre-classifier features of a network and those with one layer bypassed."""

    def __init__(
        self,
        data: Split,
        samples: int | None = None,
        *,
        debiased: bool = True,
        floor: int = 2,
        seed: int = 0,
        blocks: int = 20,
        replicates: bool = False,
    ) -> None:
        """The arguments are CutSimilarity's."""
        self.floor = floor
        self.measure = CutSimilarity(data, floor, samples, debiased, seed, blocks, replicates)

    def __call__(self, network: Network, units: Collection[str] | None = None) -> Scores:
        """Scores of the removable layers, or of those among `units`, in network order whatever theirs is."""
        asked = removable_layers(network, self.floor, units)
        found = self.measure(network, [Removal("layer", u.name) for u in asked])
        values = {removal.unit: loss for removal, loss in found.values.items()}
        kept = found.replicates
        by_name = None if kept is None else Replicates({r.unit: v for r, v in kept.values.items()}, kept.weight)
        return Scores(found.network_hash, found.samples, values, found.margin, found.margin_error, found.tie, by_name)
