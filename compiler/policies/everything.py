"""Layers and filters against each other, or one kind alone: the least lost per share of the violated limit saved.

How is scored and chosen is the method's (`methods.py`): ours by similarity, or one of the controls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from secateur.compiler.methods import METHODS
from secateur.compiler.policies.policy import Choice, Policy, scarcest, useful
from secateur.errors import UserError
from secateur.passes.network.removal import Removal
from secateur.passes.program.cost import Cost

if TYPE_CHECKING:
    from secateur.compiler.search import Search, SearchOptions
    from secateur.compiler.search_state import SearchState


class Everything(Policy):
    """One removal a step, a layer or filters of one group."""

    controls = True
    kinds: tuple[str, ...] = ("layer", "filters")

    def __init__(self, search: Search) -> None:
        super().__init__(search)
        self.method = METHODS[self.options.method](self.options)
        if self.options.method == "uniform":
            self.kinds = ("filters",)

    def choose(self, state: SearchState, now: Cost) -> Choice:
        """The candidate that the method prefers among those that lower the scarcest violated limit."""
        search = self.search
        found = useful(search, state, now, self._candidates(state))
        if not found.candidates:
            raise search.exhausted(state)
        limit = scarcest(list(found.lowered.values()))
        left = [c for c in found.candidates if limit in found.lowered[c.removal]]
        chosen = self.method.choose(state.network, left, search.sample, len(state.steps))
        similarity = None if chosen.loss is None else 1 - chosen.loss
        tie = f"tie of {chosen.tied}: most saved" if chosen.tied > 1 else ""
        network = found.networks[chosen.removal]
        return Choice((chosen.removal,), network, similarity, tie, evidence=chosen.evidence)

    def _candidates(self, state: SearchState) -> list[Removal]:
        search = self.search
        removals = self.method.candidates(state.network, search.original, search.data, search.sample)
        return [r for r in removals if r.kind in self.kinds]


class Layers(Everything):
    """Whole layers only."""

    filter_score = False
    kinds = ("layer",)

    @classmethod
    def check(cls, options: SearchOptions) -> None:
        super().check(options)
        if options.method == "uniform":
            raise UserError(
                f"--method uniform: it thins filters, --policy {options.policy} leaves them; leave one of the two out"
            )


class Filters(Everything):
    """Filters only."""

    layer_score = False
    kinds = ("filters",)
