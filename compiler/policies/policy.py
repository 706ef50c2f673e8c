"""What a policy is: asked where the search stands, it gives the next step, or says that there is none."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from secateur.compiler.budget import saving
from secateur.compiler.methods import Candidate
from secateur.errors import UserError
from secateur.models.network import Network
from secateur.passes.network.macs import network_parameters
from secateur.passes.network.removal import Removal, apply
from secateur.passes.network.score_catalogue import FILTER_SCORES, LAYER_SCORES, Setting
from secateur.passes.network.scores import Evidence
from secateur.passes.program.cost import Cost

if TYPE_CHECKING:
    from secateur.compiler.search import Search, SearchOptions
    from secateur.compiler.search_state import SearchState


class Exhausted(Exception):
    """Nothing that can still be removed lowers a violated limit."""


@dataclass(frozen=True)
class Choice:
    """One step: what goes, and the network that this leads to.

    `similarity`: to the network before, where it was measured. `note`: ends the line that is told of the step.
    `trained`: optimizer steps that the network was trained for to be chosen. `back_to`: the number of the earlier step
    whose network this is; None: it comes from the last one. `evidence`: of the score that chose, where one did.
    """

    removals: tuple[Removal, ...]
    network: Network
    similarity: float | None
    note: str = ""
    trained: int = 0
    back_to: int | None = None
    evidence: Evidence | None = None


class Policy(ABC):
    """Chooses steps for one search. It holds no state that its choices depend on: a resumed search is as good.

    `kinds`: of removals that go on until none is left where the budget asks for it; none: it ends in a way of its own.
    `layer_score`, `filter_score`: whether those options have a say. `controls`: whether `--method` has one.
    `trains_between`: whether a step that harms is followed by training. `reconstructs`: whether steps only remove, from
    the network before them, and its weights go on. `improves`: whether it takes steps within the budget too, until it
    says that it has ended.
    """

    kinds: tuple[str, ...] = ()
    layer_score = True
    filter_score = True
    controls = False
    trains_between = True
    reconstructs = True
    improves = False

    def __init__(self, search: Search) -> None:
        self.search = search
        self._check_scores(search.original)

    @abstractmethod
    def choose(self, state: SearchState, now: Cost) -> Choice | None:
        """The next step of a search whose network costs `now`; None where `improves` has ended. Raises Exhausted."""

    def begins_last(self, network: Network) -> Network:
        """What the last recovery begins with, for the network that the last step led to."""
        return network

    @classmethod
    def check(cls, options: SearchOptions) -> None:
        """Raise UserError where other options make no sense beside this policy."""
        if not cls.controls and options.method != "similarity":
            score = "random" if options.method == "uniform" else options.method
            raise UserError(
                f"--method {options.method}: --policy {options.policy} chooses in a way of its own; leave one of the "
                f"two out{f', or take --layer-score {score}' if cls.layer_score else ''}"
            )
        if options.reconstruct == "on" and not cls.reconstructs:
            raise UserError(
                f"--reconstruct on: --policy {options.policy} draws weights anew or puts blocks back, which leaves "
                "nothing to fit; leave one of the two out"
            )

    @classmethod
    def check_network(cls, network: Network) -> None:
        """Raise UserError for a network that the policy is not made for: of itself, for none."""
        return

    @property
    def options(self) -> SearchOptions:
        return self.search.options

    def _check_scores(self, network: Network) -> None:
        """Raise the UserError of a score that says nothing of the network: later on that ends nothing."""
        layer, filters = LAYER_SCORES[self.options.layer_score], FILTER_SCORES[self.options.ranks_filters_by]
        if layer.covers is not None and not layer.covers(network, self.options.floor):
            layer.make(self.setting)(network)
        if filters.covers is not None and not filters.covers(network):
            filters.make(self.setting)(network)

    def scored(self, network: Network, removals: Sequence[Removal]) -> list[Removal]:
        """Those of `removals` but layers that the layer score says nothing of; these stay."""
        covers = LAYER_SCORES[self.options.layer_score].covers
        if covers is None:
            return list(removals)
        named = covers(network, self.options.floor)
        return [r for r in removals if r.kind != "layer" or r.unit in named]

    @property
    def setting(self) -> Setting:
        """What scores are bound to."""
        task, floor, seed = self.search.data.task, self.options.floor, self.options.seed
        return Setting(self.search.sample, task, floor, seed, filter_margins=False)


@dataclass(frozen=True)
class Useful:
    """Candidates that lower a violated limit, and the network that each leads to.

    `lowered`: the limits that each lowers.
    """

    candidates: list[Candidate]
    networks: dict[Removal, Network]
    lowered: dict[Removal, set[str]]


def useful(search: Search, state: SearchState, now: Cost, removals: Sequence[Removal]) -> Useful:
    """Those of `removals` that lower a violated limit, and of layers those that the layer score says something of."""
    before = search.limits.excess(now, state)
    found, whole = Useful([], {}, {}), network_parameters(state.network)
    for removal in search.policy.scored(state.network, removals):
        smaller = apply(state.network, removal, search.options.floor)
        after = search.limits.excess(search.limits.cost(smaller), state)
        gain = saving(before, after)
        if gain > 0:
            found.candidates.append(Candidate(removal, gain, None, 1 - network_parameters(smaller) / whole))
            found.networks[removal] = smaller
            found.lowered[removal] = {name for name, amount in before.items() if after.get(name, 0.0) < amount}
    return found


def scarcest(lowered: list[set[str]]) -> str:
    """Of the limits that candidates lower, the one that the fewest do: it is met first.

    Its removals lower the other limits on the way, while what is cut for those first may turn out to be needless.
    """
    names = sorted({name for names in lowered for name in names})
    return min(names, key=lambda name: sum(name in names for names in lowered))
