"""Which filters matter, sample by sample: incremental partial least squares (CIPLS) and VIP.

Source: Jordao et al., "Covariance-free Partial Least Squares", WACV 2021 (arXiv 1910.02319). O(c m) memory for c
components of m features, where PLS by moments takes O(m^2). Corrected against the released code: loadings are divided
by the components' variance, as in NIPALS, and a component's own score, not the one before, goes into its loadings. One
model for every class (or column of the response), one VIP over all their components. Equal to batch PLS on one
component; later ones are built on scores by the weights so far.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from secateur.models.data import Split
from secateur.models.network import Network
from secateur.models.task import CLASSIFICATION, Task
from secateur.passes.network.channels import trace_channels
from secateur.passes.network.filter_vip import by_group, filter_features, scored_nodes, stacked, two_classes
from secateur.passes.network.samples import balanced, blocks_of, enough
from secateur.passes.network.scores import F64, FilterScores
from secateur.passes.network.work import counted


@dataclass(frozen=True)
class FilterCipls:
    """VIP of every filter group's classes by incremental PLS; features are FilterVip's, scaled by the first chunk's
    deviations. `samples`: at most so many, class-balanced and seeded; all by default. `blocks`: as FilterVip's.
    """

    data: Split
    task: Task = CLASSIFICATION
    samples: int | None = None
    components: int = 2
    seed: int = 0
    chunk: int = 256
    blocks: int = 10

    def __call__(self, network: Network) -> FilterScores:
        """Scores of every removable group. Raises UserError if the labels hold fewer than two classes."""
        two_classes(network, self.data, self.task)
        channels, nodes = trace_channels(network), scored_nodes(network)
        ids = np.concatenate([channels.values[n.name] for n in nodes])
        order = balanced(self.data.y, self.samples or len(self.data), self.seed)
        enough(network, len(order), 2 * max(1, self.blocks))
        block = blocks_of(len(order), self.blocks)
        models: list[Cipls] = []
        scale = np.zeros(0)
        seen = 0
        for rows in counted(np.array_split(order, -(-len(order) // self.chunk))):
            x = torch.from_numpy(network.preprocess(self.data.x[rows]))
            response = self.task.response(x.numpy(), self.data.y[rows], self.data.y)
            features = filter_features(network, nodes, x)
            if not models:
                scale = _scale(features)
                models = [Cipls(len(ids), response.shape[1], self.components) for _ in range(1 + self.blocks)]
            for i, (u, y) in enumerate(zip(features * scale, response, strict=True), seen):
                for number, model in enumerate(models):
                    if number == 0 or block[i] != number - 1:  # the first sees all, each other all but its block
                        model.update(u, y)
            seen += len(rows)
        whole, *others = (by_group(channels, ids, model.vip()) for model in models)
        return FilterScores.measured(network, len(order), whole, stacked(others) if others else None)


class Cipls:
    """PLS1 of each of k responses on m features, one sample at a time.

    `weights`, `loadings` (k, c, m), not normed; `answers` (k, c): sums of y t; `variances` (k, c): sums of t^2.
    """

    def __init__(self, features: int, responses: int, components: int = 2) -> None:
        self.n = 0
        self.sum_x, self.sum_y = np.zeros(features), np.zeros(responses)
        self.weights = np.zeros((responses, components, features))
        self.loadings = np.zeros_like(self.weights)
        self.answers, self.variances = np.zeros((2, responses, components))

    def update(self, x: F64, y: F64) -> None:
        """Add a sample (m,) and its responses (k,)."""
        old = self.sum_x / max(self.n, 1)
        self.n += 1
        earlier = self.sum_y.copy()
        self.sum_x += x
        self.sum_y += y
        if self.n == 1:
            return
        mean = self.sum_x / self.n
        left = np.tile(x - mean, (len(y), 1))
        answer = y - self.sum_y / self.n
        # Xc'y of all samples so far, exactly: those before it move with the mean
        self.weights[:, 0] += np.outer(y, x - mean) - np.outer(earlier, mean - old)
        for c in range(self.weights.shape[1]):
            if c:
                self.weights[:, c] += left * answer[:, np.newaxis]
            w = self.weights[:, c]
            t = _ratio((left * w).sum(1), np.linalg.norm(w, axis=1))
            self.variances[:, c] += t * t
            self.loadings[:, c] += left * t[:, np.newaxis]
            self.answers[:, c] += answer * t
            left = left - (_ratio(t, self.variances[:, c]))[:, np.newaxis] * self.loadings[:, c]
            answer = answer - _ratio(t, self.variances[:, c]) * self.answers[:, c]

    def vip(self) -> F64:
        """VIP_j = sqrt(m sum s w_j^2 / sum s) over all responses and components, s = q^2 / tau, |w| = 1; (m,)."""
        explained = _ratio(np.square(self.answers), self.variances)
        sizes = np.square(self.weights).sum(2)
        total = float(explained.sum())
        if total == 0:
            return np.zeros(self.weights.shape[2])
        shares = np.einsum("kc,kcm->m", _ratio(explained, sizes), np.square(self.weights))
        return np.asarray(np.sqrt(self.weights.shape[2] * shares / total), np.float64)


def _ratio(a: F64, b: F64) -> F64:
    """a / b, 0 where b is 0."""
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)


def _scale(features: F64) -> F64:
    """1 / standard deviation of each column, 0 for a constant."""
    size, deviation = np.square(features).mean(0), features.std(0, ddof=1)
    return _ratio(np.ones_like(deviation), np.where(np.square(deviation) > 1e-24 * size, deviation, 0.0))
