"""Which layer can go by eight dissimilarities at once: each ranks the layers, and the ranks are added.

Source: Mugnaini, Tavares Duarte et al., "Layer Pruning with Consensus", 2024 (arXiv 2411.14345). All eight are of one
set of pre-classifier features, of the network as it is and with each layer bypassed:

    cka                  1 - CKA
    gaussian_0, _1, _2   Gaussians by class up to a rotation, a = 0, 1, 2 (gaussian_distance.py)
    permutation          angle after matching features (alignment_distance.py)
    linear_0, linear_1   angle on held-out samples after any linear map, after a rotation
    wasserstein          of all values

Ranks are 1..L, equal values in network order; of equal sums the one with the lower rank in cka. Differences from the
released code: the sum is used (there the first block in network order went whatever the ranks were); held-out samples
are a fifth of the samples, drawn once (there 2 of 10 rows, drawn anew for each layer); labels are those of the samples
looked at; debiased CKA by default; recovery samples.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from secateur.errors import UserError
from secateur.models.data import Split
from secateur.models.network import Network
from secateur.models.task import strata
from secateur.passes.network.alignment_distance import linear_distance, permutation_distance, wasserstein_distance
from secateur.passes.network.cka import linear_cka
from secateur.passes.network.cut_similarity import chunk, wanted
from secateur.passes.network.gaussian_distance import ROUNDS, Gaussians, gaussian_distance
from secateur.passes.network.layers import feature_node, removable_layers
from secateur.passes.network.prefix_walk import PrefixWalk
from secateur.passes.network.removal import Removal
from secateur.passes.network.samples import balanced, enough
from secateur.passes.network.scores import F64, Replicates, Scores, margin_of
from secateur.passes.network.walking import walk_over
from secateur.passes.network.work import each

METRICS = (
    "cka", "gaussian_0", "gaussian_1", "gaussian_2", "permutation", "linear_0", "linear_1", "wasserstein",
)  # fmt: skip
STORED_BYTES = 1 << 29
_LEAST_SAMPLES = 40
_AGAIN = 3


@dataclass(frozen=True)
class ConsensusScores(Scores):
    """Sums of ranks. `metrics`: (layers,) of each dissimilarity."""

    metrics: dict[str, F64] = field(default_factory=dict, compare=False, repr=False)

    def ranked(self) -> tuple[str, ...]:
        """By the sum, then by the rank in cka, which no two share."""
        place = dict(zip(self.values, ranks(self.metrics["cka"]), strict=True))
        return tuple(sorted(self.values, key=lambda name: (self.values[name], place[name])))


@dataclass(frozen=True)
class Consensus:
    """Sums of the ranks of eight dissimilarities, on class-balanced samples of `data` (the recovery set).

    `samples`: as many as CutSimilarity takes, and so few that the features of the network and of all candidates take
    512 MiB at most. Covariances of classes mean little below as many samples a class as there are features. `halves`:
    random halves of the samples, on which everything is done again, for the noise of the sums.
    """

    data: Split
    samples: int | None = None
    debiased: bool = True
    floor: int = 2
    seed: int = 0
    halves: int = 10

    def __call__(self, network: Network, units: Collection[str] | None = None) -> ConsensusScores:
        """Raises UserError if there are too few samples, or if the features are the same for all of them."""
        names = [u.name for u in removable_layers(network, self.floor, units)]
        width = int(np.prod(network.shapes()[feature_node(network)]))
        limit = max(1, STORED_BYTES // (4 * width * (len(names) + 1)))
        rows = balanced(self.data.y, min(self.samples or wanted(width), limit), self.seed)
        enough(network, len(rows), _LEAST_SAMPLES)
        labels = strata(self.data.y[rows])
        if np.unique(labels, return_counts=True)[1].max() < 3:  # a half of two is one, which has no covariance
            raise UserError(f"{network.name}: no class has three samples of {len(rows)}; give more recovery data")
        if not names:
            return self._scores(network, len(rows), [], {m: np.zeros(0) for m in METRICS}, None)
        features = self._features(network, names, rows)
        if (features[0] == features[0][0]).all():
            raise UserError(
                f"{network.name}: {feature_node(network)} is the same for all {len(rows)} samples, so nothing can be "
                "compared; check the weights and the preprocessing"
            )
        turns: dict[tuple[int, int], F64] = {}
        metrics = self._metrics(features, labels, turns, 0)
        sums = []
        for half in range(self.halves):
            part = _half(labels, [self.seed, half])
            sums.append(rank_sums(self._metrics([f[part] for f in features], labels[part], turns, 1 + half)))
        noise = Replicates.halves({name: np.array([s[i] for s in sums]) for i, name in enumerate(names)})
        return self._scores(network, len(rows), names, metrics, noise)

    def _features(
        self, network: Network, names: list[str], rows: npt.NDArray[np.int64]
    ) -> list[npt.NDArray[np.float32]]:
        """(n, d) of the network, then of every candidate."""
        walk = PrefixWalk(network, [Removal("layer", name) for name in names], self.floor, chunk(network))
        parts = []
        batches = np.array_split(rows, -(-len(rows) // chunk(network)))
        for reference, others in walk_over(walk, network, self.data, batches):
            parts.append([f.cpu().numpy() for f in (reference, *others)])
        return [np.concatenate(part) for part in zip(*parts, strict=True)]

    def _metrics(
        self,
        features: list[npt.NDArray[np.float32]],
        labels: npt.NDArray[np.int64],
        turns: dict[tuple[int, int], F64],
        number: int,
    ) -> dict[str, F64]:
        """`turns`: rotations of the Gaussians by candidate and a, found here where there are none.

        Those of all samples are nearly right on half of them: a few rounds follow. `number`: of such passes
        before this one, the whole and halves of the samples.
        """
        x = features[0].astype(np.float64)
        gaussians = Gaussians.of(x, labels)

        def compare(i: int) -> dict[str, float]:
            y = features[1 + i].astype(np.float64)
            found = {"cka": 1 - linear_cka(x, y, self.debiased)}
            others = Gaussians.of(y, labels)
            for a in (0, 1, 2):
                start = turns.get((i, a))
                distance, turn = gaussian_distance(gaussians, others, a, start, ROUNDS if start is None else _AGAIN)
                turns.setdefault((i, a), turn)
                found[f"gaussian_{a}"] = distance
            found["permutation"] = permutation_distance(x, y)
            for a in (0, 1):
                found[f"linear_{a}"] = linear_distance(x, y, a, self.seed)
            found["wasserstein"] = wasserstein_distance(x, y)
            return found

        candidates = range(len(features) - 1)
        done, total = number * len(candidates), (1 + self.halves) * len(candidates)
        all_found = each("comparing", compare, candidates, done, total)
        return {m: np.array([found[m] for found in all_found]) for m in METRICS}

    def _scores(
        self, network: Network, samples: int, names: list[str], metrics: dict[str, F64], noise: Replicates[str] | None
    ) -> ConsensusScores:
        values = dict(zip(names, rank_sums(metrics).tolist(), strict=True))
        found = ConsensusScores(network.hash(), samples, values, replicates=noise, metrics=metrics)
        if len(names) < 2:
            return found
        margin = margin_of(found.ranked(), values, noise)
        return replace(found, margin=margin.value, margin_error=margin.error, tie=margin.tie)


def rank_sums(metrics: Mapping[str, F64]) -> F64:
    """(layers,) sums of the ranks."""
    return np.asarray(np.sum([ranks(v) for v in metrics.values()], axis=0), np.float64)


def ranks(values: F64) -> npt.NDArray[np.int64]:
    """1 for the lowest; equal values in their order."""
    found = np.empty(len(values), np.int64)
    found[np.argsort(values, kind="stable")] = np.arange(1, len(values) + 1)
    return found


def _half(labels: npt.NDArray[np.int64], seed: list[int]) -> npt.NDArray[np.int64]:
    """Half of every class at random, the larger one of an odd number, ascending."""
    order = np.random.default_rng(seed).permutation(len(labels))
    parts = [order[labels[order] == c] for c in np.unique(labels)]
    return np.sort(np.concatenate([part[: -(-len(part) // 2)] for part in parts]))
