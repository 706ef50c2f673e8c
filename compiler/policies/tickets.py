"""Layer lottery tickets: which layers go is decided without training, or training begins again at its beginning.

Source: Jordao et al., "When Layers Play the Lottery, all Tickets Win at Initialization", 2023 (arXiv 2301.10835), after
Frankle and Carbin, ICLR 2019. `tickets`: the untrained network is scored. `rewind`: the trained one is, then what
survives goes back to its initial values. Both are then trained once, with all of the run's steps. The source has its
networks' initial values theta_0; a trained network comes without them, so theta_0 is drawn anew from the run's seed.
Layers go one at a time, each scored without those before it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from secateur.compiler.methods import Similarity, best_layer
from secateur.compiler.policies.everything import Layers
from secateur.compiler.policies.policy import Choice, scarcest, useful
from secateur.errors import UserError
from secateur.models.network import Network
from secateur.models.training import reinitialize
from secateur.passes.network.candidates import candidates
from secateur.passes.network.recover import step_seed
from secateur.passes.network.removal import apply
from secateur.passes.program.cost import Cost

if TYPE_CHECKING:
    from secateur.compiler.search import Search, SearchOptions
    from secateur.compiler.search_state import SearchState

THETA_0 = 1 << 32  # a number that no step of a search has: the seed of the initial values is none of training's


class Rewind(Layers):
    """One layer a step, chosen as --policy layers does; what is left is trained from theta_0."""

    controls = False
    trains_between = False
    reconstructs = False

    def __init__(self, search: Search) -> None:
        super().__init__(search)
        self.method = Similarity(replace(self.options, policy="layers"))
        self._theta: Network | None = None

    @classmethod
    def check(cls, options: SearchOptions) -> None:
        super().check(options)
        strange = {
            f"--recovery {options.recovery}": options.recovery not in ("short", "full", "published"),
            f"--train-only {options.train_only:g}": options.train_only < 1,
            f"--low-rank {options.low_rank}": options.low_rank > 0,
            "--recalibrate": options.recalibrate,
        }
        for option, given in strange.items():
            if given:
                raise UserError(
                    f"{option}: --policy {options.policy} trains all that is left from its initial values; leave one "
                    "of the two out"
                )
        if options.total_steps == 0:
            raise UserError(f"--steps 0: --policy {options.policy} gives an untrained network; take more")

    def begins_last(self, network: Network) -> Network:
        """What survives, as it was before any training."""
        self.search.tell(f"     trained from theta_0: weights drawn anew, seed {self.options.seed}")
        return self._initial(network)

    def _initial(self, network: Network) -> Network:
        """A network that layers of the original are missing from, with the values of theta_0."""
        if self._theta is None:
            self._theta = self.search.original.clone()
            reinitialize(self._theta.module, step_seed(self.options.seed, THETA_0))
        drawn = self._theta.module.state_dict()
        initial = network.clone()
        initial.module.load_state_dict({name: drawn[name] for name in initial.module.state_dict()})
        return initial


class Tickets(Rewind):
    """One layer a step, chosen on the untrained network."""

    def choose(self, state: SearchState, now: Cost) -> Choice:
        """By the layer score of the untrained network among the layers that lower the scarcest violated limit."""
        search = self.search
        untrained = self._initial(state.network)
        found = useful(search, state, now, candidates(untrained, floor=self.options.floor))
        if not found.candidates:
            raise search.exhausted(state)
        limit = scarcest(list(found.lowered.values()))
        left = [c for c in found.candidates if limit in found.lowered[c.removal]]
        chosen = best_layer(self.options, self.setting, untrained, left)
        smaller = apply(untrained, chosen.removal, self.options.floor)
        note = f"untrained, seed {self.options.seed}"
        if chosen.tied > 1:
            note += f", tie of {chosen.tied}: most saved"
        similarity = None if chosen.loss is None else 1 - chosen.loss
        return Choice((chosen.removal,), smaller, similarity, note, evidence=chosen.evidence)
