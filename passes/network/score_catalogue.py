"""Every layer score and filter score by name: what `--layer-score` and `--filter-score` take.

A new score is one file, one line here and one in docs/scores.md.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from secateur.models.data import Split
from secateur.models.network import Network
from secateur.models.task import CLASSIFICATION, Task
from secateur.passes.network.amp import Amp, heads_and_units
from secateur.passes.network.baselines import FirstFilters, FirstLayers, RandomFilters, RandomLayers
from secateur.passes.network.consensus import Consensus
from secateur.passes.network.filter_effect import FilterEffect
from secateur.passes.network.filter_reconstruction import FilterReconstruction
from secateur.passes.network.filter_vip import FilterVip
from secateur.passes.network.incremental_pls import FilterCipls
from secateur.passes.network.layer_flow import LayerFlow
from secateur.passes.network.layer_similarity import LayerSimilarity
from secateur.passes.network.norm_scale import FilterScale, LayerScale, normed_filters, normed_layers
from secateur.passes.network.output_divergence import FilterDivergence, LayerDivergence, OutputDivergence
from secateur.passes.network.scores import FilterScore, LayerScore
from secateur.passes.network.snip import LayerSnip
from secateur.passes.network.taylor import FilterTaylor, LayerTaylor
from secateur.passes.network.weight_norms import FilterNorm, LayerNorm


@dataclass(frozen=True)
class Setting:
    """What a score is bound to. `data`: the samples that it may look at, all of them if its memory allows.

    `filter_margins`: filter scores whose margins take long have them; a search has no use for them, for all classes of
    a group save the same.
    """

    data: Split
    task: Task = CLASSIFICATION
    floor: int = 2
    seed: int = 0
    filter_margins: bool = True

    @property
    def blocks(self) -> int:
        """Parts of the jackknife behind a filter score's margins."""
        return 10 if self.filter_margins else 0


@dataclass(frozen=True)
class LayerKind:
    """`ranking`: scores only order the layers; else they are losses, which a saving may be weighed against. `covers`:
    of a network and the floor, the names of the removable layers that have a score; None: all have. `looks`: whether
    samples are looked at."""

    make: Callable[[Setting], LayerScore]
    about: str
    ranking: bool = False
    covers: Callable[[Network, int], Collection[str]] | None = None
    looks: bool = True


@dataclass(frozen=True)
class FilterKind:
    """`covers`: of a network, the names of the removable groups that have a score; None: all have. `looks`: whether
    samples are looked at."""

    make: Callable[[Setting], FilterScore]
    about: str
    covers: Callable[[Network], Collection[str]] | None = None
    looks: bool = True


def _similarity(s: Setting, debiased: bool) -> LayerScore:
    return LayerSimilarity(s.data, len(s.data), debiased=debiased, floor=s.floor, seed=s.seed, replicates=True)


def _divergence(s: Setting) -> OutputDivergence:
    return OutputDivergence(s.data, s.task, len(s.data), floor=s.floor, seed=s.seed)


LAYER_SCORES: dict[str, LayerKind] = {
    "cka": LayerKind(lambda s: _similarity(s, True), "similarity lost before the classifier, debiased"),
    "cka-biased": LayerKind(lambda s: _similarity(s, False), "the same, biased as published"),
    "cka-flow": LayerKind(lambda s: LayerFlow(s.data, len(s.data), floor=s.floor, seed=s.seed), "input against output"),
    "consensus": LayerKind(
        lambda s: Consensus(s.data, len(s.data), floor=s.floor, seed=s.seed), "ranks by eight dissimilarities", True
    ),
    "kl": LayerKind(lambda s: LayerDivergence(_divergence(s)), "divergence of the outputs"),
    "taylor": LayerKind(
        lambda s: LayerTaylor(s.data, s.task, floor=s.floor, seed=s.seed), "change of the loss to first order"
    ),
    "snip": LayerKind(
        lambda s: LayerSnip(s.data, s.task, floor=s.floor, seed=s.seed),
        "what weights matter to the loss",
    ),
    "l1": LayerKind(lambda s: LayerNorm(1, s.floor), "norm of the weights", looks=False),
    "l2": LayerKind(lambda s: LayerNorm(2, s.floor), "norm of the weights", looks=False),
    "bn-scale": LayerKind(lambda s: LayerScale(s.floor), "scale of the last batch norm", False, normed_layers, False),
    "random": LayerKind(lambda s: RandomLayers(s.seed, s.floor), "baseline", True, looks=False),
    "first": LayerKind(lambda s: FirstLayers(s.floor), "baseline: network order", True, looks=False),
}

FILTER_SCORES: dict[str, FilterKind] = {
    "reconstruction": FilterKind(
        lambda s: FilterReconstruction(s.data, s.seed, s.blocks), "what fitting the other filters cannot give back"
    ),
    "plsvip": FilterKind(lambda s: FilterVip(s.data, task=s.task, seed=s.seed, blocks=s.blocks), "importance in PLS"),
    "cipls": FilterKind(
        lambda s: FilterCipls(s.data, s.task, seed=s.seed, blocks=s.blocks), "importance in incremental PLS"
    ),
    "cka": FilterKind(
        lambda s: FilterEffect(s.data, len(s.data), s.seed), "similarity lost before the classifier, debiased"
    ),
    "kl": FilterKind(lambda s: FilterDivergence(_divergence(s)), "divergence of the outputs"),
    "taylor": FilterKind(lambda s: FilterTaylor(s.data, s.task, seed=s.seed), "change of the loss to first order"),
    "amp": FilterKind(lambda s: Amp(s.data, seed=s.seed), "heads' and hidden units' activations", heads_and_units),
    "l1": FilterKind(lambda s: FilterNorm(1), "norm of the weights", looks=False),
    "l2": FilterKind(lambda s: FilterNorm(2), "norm of the weights", looks=False),
    "bn-scale": FilterKind(lambda s: FilterScale(), "scale of the batch norm", normed_filters, False),
    "random": FilterKind(lambda s: RandomFilters(s.seed), "baseline", looks=False),
    "first": FilterKind(lambda s: FirstFilters(), "baseline: channel order", looks=False),
}
