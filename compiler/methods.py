"""How the next removal is chosen: ours by similarity, and the controls that always run beside it.

Every method sees the same candidates' savings and gets the same recovery; only scoring and choosing differ.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from secateur.compiler.score_cache import kept_filter_scores, kept_layer_scores, kept_scores
from secateur.models.data import Data, Split
from secateur.models.network import Network
from secateur.passes.network.candidates import candidates
from secateur.passes.network.channels import FilterGroup, find_filters
from secateur.passes.network.cut_similarity import CutSimilarity
from secateur.passes.network.removal import Removal, apply
from secateur.passes.network.score_catalogue import FILTER_SCORES, LAYER_SCORES, Setting
from secateur.passes.network.scores import LEAST_LOSS, Evidence, FilterScores
from secateur.passes.network.weight_norms import filter_l1

if TYPE_CHECKING:
    from secateur.compiler.search import SearchOptions

log = logging.getLogger(__name__)
K = TypeVar("K")

PARAMETERS_PRICE = 2.0
"""What all of a network's parameters are worth beside a similarity of 1, when ours chooses (docs/policies.md)."""


@dataclass(frozen=True)
class Candidate:
    """`saving`: share of the remaining excess that goes. `loss`: 1 - CKA, or the method's own score.

    `parameters`: share of the network's that goes. `tied`: candidates that the samples could not tell apart, this
    one included, when it was chosen for its saving. `evidence`: of the score that it was chosen by.
    """

    removal: Removal
    saving: float
    loss: float | None
    parameters: float
    tied: int = 1
    evidence: Evidence | None = None


class Method(ABC):
    def __init__(self, options: SearchOptions) -> None:
        self.options = options

    @abstractmethod
    def candidates(self, network: Network, original: Network, data: Data, sample: Split) -> list[Removal]:
        """The removals worth costing next."""

    @abstractmethod
    def choose(self, network: Network, useful: list[Candidate], sample: Split, step: int) -> Candidate:
        """One of `useful`, which is never empty."""

    def _candidates(self, network: Network, scores: FilterScores) -> list[Removal]:
        return candidates(network, scores, granularity=self.options.granularity, floor=self.options.floor)


class Similarity(Method):
    """Ours: filters by the filter score, all compared by CKA and parameters lost per share of the violated limit saved.

    Parameters have a price since similarity, which is measured before any training, calls the many filters of the last
    layers redundant: training gives back what early filters did, but no parameters. Where the violated limit is flash,
    candidates save about as much of it as they have parameters, and similarity decides.

    Where only layers may go the layer score chooses. Another one than CKA sends its best layer to compete with the
    filters. With any score that was asked for CKA alone is compared, and what the samples cannot tell apart is decided
    by the saving; without, the ratio alone decides, which weighs savings already.
    """

    def candidates(self, network: Network, original: Network, data: Data, sample: Split) -> list[Removal]:
        self.setting = Setting(sample, data.task, self.options.floor, self.options.seed, filter_margins=False)
        if self.options.policy == "layers":
            return candidates(network, floor=self.options.floor)
        return self._candidates(network, filter_scores(self.options, self.setting, network))

    def choose(self, network: Network, useful: list[Candidate], sample: Split, step: int) -> Candidate:
        if self.options.policy == "layers":
            return best_layer(self.options, self.setting, network, useful)
        layers = [c for c in useful if c.removal.kind == "layer"]
        if layers and self.options.layer_score != "cka":
            best = best_layer(self.options, self.setting, network, layers).removal
            useful = [c for c in useful if c.removal.kind != "layer" or c.removal == best]
        measure = CutSimilarity(
            sample, samples=len(sample), floor=self.options.floor, seed=self.options.seed,
            replicates=not self.options.scores_by_default,
        )  # fmt: skip
        losses = kept_scores(measure, network, [c.removal for c in useful])
        scored = [replace(c, loss=losses[c.removal], evidence=losses.evidence) for c in useful]
        if not self.options.scores_by_default:
            return _of_tied(scored, [c.removal for c in scored], losses.tied({c.removal: c.saving for c in scored}))
        return min(scored, key=_price)


def _price(candidate: Candidate) -> tuple[float, float]:
    """What ours chooses by, the least first: what is lost per saving, then the larger saving."""
    loss = max(candidate.loss or 0.0, LEAST_LOSS)  # a loss of exactly 0 is as good as any other
    return (loss + PARAMETERS_PRICE * candidate.parameters) / candidate.saving, -candidate.saving


def filter_scores(options: SearchOptions, setting: Setting, network: Network) -> FilterScores:
    """By the filter score; of a network that it says nothing of any more, none: its filters stay."""
    kind = FILTER_SCORES[options.ranks_filters_by]
    if kind.covers is not None and not kind.covers(network):
        return FilterScores(network.hash(), 0, {})
    return kept_filter_scores(options.ranks_filters_by, setting, network)


def best_layer(options: SearchOptions, setting: Setting, network: Network, layers: list[Candidate]) -> Candidate:
    """By the layer score: the lowest loss per saving, or the first of a ranking; the larger saving of a tie."""
    kind = LAYER_SCORES[options.layer_score]
    savings = {c.removal.unit: c.saving for c in layers}
    scores = kept_layer_scores(options.layer_score, setting, network, savings)
    margin = "" if scores.margin is None else f", margin {scores.margin:.3g} +- {scores.margin_error:.2g}"
    log.info(
        "layer score %s: %d layers on %d samples%s%s", options.layer_score, len(scores.values), scores.samples,
        margin, ", a tie" if scores.tie else "",
    )  # fmt: skip
    names = [c.removal.unit for c in layers]
    chosen = _of_tied(layers, names, scores.tied(None if kind.ranking else savings))
    chosen = replace(chosen, evidence=scores.evidence)
    of_the_whole = options.layer_score == "cka"  # a step's record calls debiased CKA similarity, nothing else
    return replace(chosen, loss=scores[chosen.removal.unit]) if of_the_whole else chosen


def _of_tied(found: list[Candidate], keys: Sequence[K], tied: Sequence[K]) -> Candidate:
    """The one of the tied that saves most; of equal savings the best. `keys`: what `tied` calls each of `found`."""
    by_key = dict(zip(keys, found, strict=True))
    chosen = max((by_key[k] for k in tied), key=lambda c: c.saving)
    return replace(chosen, tied=len(tied))


class RandomChoice(Method):
    """Control: a random candidate, filters at random within it."""

    def candidates(self, network: Network, original: Network, data: Data, sample: Split) -> list[Removal]:
        rng = np.random.default_rng([self.options.seed, sum(g.size for g in find_filters(network))])
        groups = {g.name: rng.random(g.size) for g in find_filters(network)}
        return self._candidates(network, FilterScores(network.hash(), 0, groups))

    def choose(self, network: Network, useful: list[Candidate], sample: Split, step: int) -> Candidate:
        return useful[int(np.random.default_rng([self.options.seed, 1, step]).integers(len(useful)))]


class FirstInOrder(Method):
    """Control: the first removable layer in network order; when none helps, the first filters of the first group."""

    def candidates(self, network: Network, original: Network, data: Data, sample: Split) -> list[Removal]:
        groups = {g.name: np.arange(g.size, dtype=np.float64) for g in find_filters(network)}
        return self._candidates(network, FilterScores(network.hash(), 0, groups))

    def choose(self, network: Network, useful: list[Candidate], sample: Split, step: int) -> Candidate:
        return useful[0]


class L1(Method):
    """Control: the least weight mass removed per saving, filters by their L1 norm."""

    def candidates(self, network: Network, original: Network, data: Data, sample: Split) -> list[Removal]:
        return self._candidates(network, filter_l1(network))

    def choose(self, network: Network, useful: list[Candidate], sample: Split, step: int) -> Candidate:
        def mass(n: Network) -> float:
            return sum(float(p.detach().abs().sum()) for k, p in n.module.named_parameters() if p.dim() > 1)

        total = mass(network)
        with torch.no_grad():
            scored = [replace(c, loss=1 - mass(apply(network, c.removal, self.options.floor)) / total) for c in useful]
        best = min(scored, key=lambda c: (c.loss or 0.0) / c.saving)
        return replace(best, loss=None)  # a share of weights, no similarity


class UniformWidth(Method):
    """Control: every group that lowers a violated limit thinned alike, by L1; no layer goes."""

    def candidates(self, network: Network, original: Network, data: Data, sample: Split) -> list[Removal]:
        self.sizes = {_ends(g): g.size for g in find_filters(original)}
        return [r for r in self._candidates(network, filter_l1(network)) if r.kind == "filters"]

    def choose(self, network: Network, useful: list[Candidate], sample: Split, step: int) -> Candidate:
        now = {g.name: g for g in find_filters(network)}

        def left(candidate: Candidate) -> float:
            group = now[candidate.removal.unit]
            return group.size / self.sizes[_ends(group)]

        return max(useful, key=left)


def _ends(group: FilterGroup) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What stays the same of a group where a cut of its first channels gives its name to another."""
    return group.producers, group.consumers


METHODS: dict[str, type[Method]] = {
    "similarity": Similarity,
    "random": RandomChoice,
    "first": FirstInOrder,
    "l1": L1,
    "uniform": UniformWidth,
}
