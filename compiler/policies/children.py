"""A child with a layer less against a child with filters less: the one most like their parent goes on.

Source: Nascimento et al., "Pruning Everything, Everywhere, All at Once", IJCNN 2025 (arXiv 2506.04513). There both
children lose the same number of filters (`children-published`). Ours save the same of the violated limits, as nearly as
the steps that kernels like allow. Differences of both from the source: similarity is debiased and measured on recovery
samples (there on test images) before any training (there after 10 epochs of each child); what a ratio leaves open goes
by score, not at random; when no layer is left, a tenth of the filters goes at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from secateur.compiler.budget import saving
from secateur.compiler.methods import best_layer, filter_scores
from secateur.compiler.policies.policy import Choice, Policy, useful
from secateur.compiler.score_cache import kept_layer_scores
from secateur.models.network import Network
from secateur.passes.network.candidates import candidates
from secateur.passes.network.network_similarity import network_similarity
from secateur.passes.network.removal import Removal, apply_all
from secateur.passes.network.scores import FilterScores
from secateur.passes.network.width import (
    cheapest_class,
    count_filters,
    thinned_by_grains,
    thinned_by_number,
    uniform_grains,
)
from secateur.passes.program.cost import Cost

if TYPE_CHECKING:
    from secateur.compiler.search_state import SearchState

ALONE = 0.1  # share of the filters that goes at a time when no layer is left (as Pons et al. 2024 go on)


@dataclass(frozen=True)
class Child:
    """`saving`: shares of what is too much of each violated limit, summed. `filters`: fewer than the parent's."""

    removals: tuple[Removal, ...]
    network: Network
    saving: float
    filters: int

    def told(self, similarity: float | None = None) -> str:
        unit = self.removals[0].unit if self.removals[0].kind == "layer" else f"{len(self.removals)} groups"
        alike = "" if similarity is None else f", CKA {similarity:.4f}"
        return f"{unit} saves {self.saving:.3f} of the excess, {self.filters} filters{alike}"


class Children(Policy):
    """One step is a layer, or filters of many groups at one ratio that save as much."""

    kinds: tuple[str, ...] = ("layer", "filters")

    def choose(self, state: SearchState, now: Cost) -> Choice:
        """The child with the higher similarity; a tie goes to depth. When one kind is exhausted the other goes on."""
        depth = self._depth(state, now)
        width = self._width(state, now, depth)
        if depth is None and width is None:
            raise self.search.exhausted(state)
        both = [child for child in (depth, width) if child is not None]
        alike = network_similarity(state.network, [c.network for c in both], self.search.sample)
        best = 0 if len(both) == 1 or alike[0] >= alike[1] else 1
        if depth is not None and width is not None:
            self.search.tell(
                f"     depth {depth.told(alike[0])}; width {width.told(alike[1])}; "
                f"mismatch {abs(depth.saving - width.saving):.3f}, {abs(depth.filters - width.filters)} filters"
            )
        note = "" if len(both) == 2 else f"no {'filters are' if width is None else 'layer is'} left"
        return Choice(both[best].removals, both[best].network, alike[best], note)

    def _depth(self, state: SearchState, now: Cost) -> Child | None:
        layers = useful(self.search, state, now, candidates(state.network, floor=self.options.floor))
        if not layers.candidates:
            return None
        removal = best_layer(self.options, self.setting, state.network, layers.candidates).removal
        return self._child(state, now, (removal,), layers.networks[removal])

    def _width(self, state: SearchState, now: Cost, depth: Child | None) -> Child | None:
        """The beginning of the uniform order whose saving is nearest to the layer's; the shorter of two as near."""
        scores = self._filter_scores(state)
        first = {name: (name, gone) for name, gone in reversed(uniform_grains(state.network, scores, scores.values))}
        steps = [r for grain in first.values() for r in thinned_by_grains(scores, [grain])]
        able = [c.removal.unit for c in useful(self.search, state, now, steps).candidates]
        grains = uniform_grains(state.network, scores, able)
        if not grains:
            return None

        made: dict[int, Child] = {}

        def child(count: int) -> Child:
            if count not in made:
                made[count] = self._child(state, now, thinned_by_grains(scores, grains[:count]))
            return made[count]

        if depth is None:
            wanted = ALONE * sum(len(scores.values[name]) for name in able)
            reach = [c for c in range(1, len(grains)) if sum(dict(grains[:c]).values()) >= wanted]
            return child(reach[0] if reach else len(grains))
        low, high = 1, len(grains)  # savings grow with the number of grains: the first that saves enough
        while low < high:
            middle = (low + high) // 2
            if child(middle).saving >= depth.saving:
                high = middle
            else:
                low = middle + 1
        near = [child(c) for c in (low - 1, low) if c]
        return min(near, key=lambda c: abs(c.saving - depth.saving))

    def _filter_scores(self, state: SearchState) -> FilterScores:
        return filter_scores(self.options, self.setting, state.network)

    def _child(
        self, state: SearchState, now: Cost, removals: tuple[Removal, ...], network: Network | None = None
    ) -> Child:
        search = self.search
        network = network or apply_all(state.network, removals, self.options.floor)
        gain = saving(search.limits.excess(now, state), search.limits.excess(search.limits.cost(network), state))
        return Child(removals, network, gain, count_filters(state.network).total - count_filters(network).total)


class ChildrenPublished(Children):
    """The same at an equal number of filters; what a step saves on the device has no say."""

    kinds = ()  # groups go down to one filter

    def _depth(self, state: SearchState, now: Cost) -> Child | None:
        if not self.scored(state.network, candidates(state.network, floor=self.options.floor)):
            return None
        scores = kept_layer_scores(self.options.layer_score, self.setting, state.network)
        return self._child(state, now, (Removal("layer", scores.ranked()[0]),))

    def _width(self, state: SearchState, now: Cost, depth: Child | None) -> Child | None:
        scores = self._filter_scores(state)
        if depth:
            number = depth.filters
        else:  # a tenth, and a head at least where heads are what is left
            total = count_filters(state.network).total
            number = max(round(ALONE * total), cheapest_class(state.network, scores))
        removals = thinned_by_number(state.network, scores, number)
        return self._child(state, now, removals) if removals else None
