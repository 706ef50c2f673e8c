"""Depth grown stage by stage, from the least to what the budget holds.

Source: Jordao et al., "Stage-Wise Neural Architecture Search", ICPR 2020 (arXiv 2004.11178). A trial network has one
block more in every stage (there two) and is trained; the stages whose score rose keep theirs. The score is the mean VIP
of a stage's last output. As a network comes in trained, growth puts back its own blocks with their trained weights, in
network order, and no stage gets more than it had; the source trains new blocks from random weights, each network anew.
Growth ends where the budget would be broken, no score rises or no block is left; then the most accurate network on the
way, by validation, is taken.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from secateur.compiler.policies.policy import Choice, Policy
from secateur.errors import UserError
from secateur.models.network import Network
from secateur.passes.network.layers import NO_STAGE, LayerUnit, find_layers
from secateur.passes.network.removal import RESTORED, Removal, apply_all
from secateur.passes.network.stage_vip import StageVip
from secateur.passes.program.cost import Cost

if TYPE_CHECKING:
    from secateur.compiler.search import Search, SearchOptions
    from secateur.compiler.search_state import SearchState


class Growth(Policy):
    """The first step takes every stage to its floor; each later one puts blocks back, or takes some back again."""

    layer_score = False
    filter_score = False
    reconstructs = False
    improves = True

    def __init__(self, search: Search) -> None:
        super().__init__(search)
        units = [u for u in find_layers(search.original, self.options.floor) if u.stage != NO_STAGE]
        self.stages: dict[int, list[LayerUnit]] = {}
        for unit in units:
            self.stages.setdefault(unit.stage, []).append(unit)

    @classmethod
    def check(cls, options: SearchOptions) -> None:
        super().check(options)
        if options.recovery not in ("short", "best"):
            raise UserError(
                f"--recovery {options.recovery}: --policy {options.policy} grows by what a short training makes of a "
                "block; take --recovery short or best, or another policy"
            )
        if options.total_steps == 0:
            raise UserError(
                f"--steps 0: --policy {options.policy} grows by what a short training makes of a block; leave one of "
                "the two out"
            )

    def choose(self, state: SearchState, now: Cost) -> Choice | None:
        """None where growth has ended. Raises Exhausted where the smallest network breaks the budget."""
        search = self.search
        if search.limits.hold(state.network, state):
            if not state.steps or any(step.kind == "layer" for step in state.steps[1:]):
                return None
            return self._grown(state) or self._best(state)
        gone = self._above_floor() if not state.steps else self._last_put_back(state)
        if not gone:
            raise search.exhausted(state)
        return Choice(gone, apply_all(state.network, gone, self.options.floor), None)

    def _above_floor(self) -> tuple[Removal, ...]:
        """All but the first blocks of every stage, the last one first."""
        left = [u for units in self.stages.values() for u in reversed(units[self.options.floor :]) if u.removable]
        return tuple(Removal("layer", u.name) for u in left)

    def _last_put_back(self, state: SearchState) -> tuple[Removal, ...]:
        """What the last step put back that is still there, the last block first."""
        present = self._present(state.network)
        for step in reversed(state.steps):
            back = [r.unit for r in step.removals if r.kind == RESTORED and r.unit in present]
            if back:
                return tuple(Removal("layer", name) for name in reversed(back))
        return ()

    def _grown(self, state: SearchState) -> Choice | None:
        """The trial network without the blocks of the stages that gain nothing by theirs."""
        search = self.search
        present = self._present(state.network)
        missing = {s: [u.name for u in units if u.name not in present][:1] for s, units in self.stages.items()}
        each = {stage: names[0] for stage, names in missing.items() if names}
        if not any(search.limits.hold(self._with(state.network, [name]), state) for name in each.values()):
            search.tell(f"     grow: {'no block fits the budget' if each else 'every block is back'}")
            return None
        steps = search.recovery.short_steps(state.trained_steps) // 2
        if not steps:
            search.tell(
                "     grow: no steps are left to try a block with; between removals a third of --steps is taken"
            )
            return None
        trial = search.recovery.after_cut(self._with(state.network, each.values()), steps, len(state.steps) + 1)
        measure = StageVip(search.sample, search.data.task)
        before, after = measure(state.network), measure(trial)
        told = ", ".join(f"{s} {before[s]:.4f} -> {after[s]:.4f}" for s in each)
        search.tell(f"     grow: VIP of stages {told} with a block more, after {steps} steps")
        kept = sorted((s for s in each if after[s] > before[s]), key=lambda s: before[s] - after[s])
        while kept:  # those that rose most stay while the budget does not hold all
            others = [Removal("layer", each[s]) for s in each if s not in kept]
            grown = apply_all(trial, others, self.options.floor)
            if search.limits.hold(grown, state):
                back = tuple(Removal(RESTORED, each[s]) for s in sorted(kept))
                return Choice(back, grown, None, trained=steps)
            kept.pop()
        state.aside_steps += steps
        search.tell("     grow: no stage's score rose with a block that fits the budget")
        return None

    def _best(self, state: SearchState) -> Choice | None:
        """Back to the most accurate network on the way, where that is not the last one."""
        assert state.best is not None, "a step was taken"
        number, best = self.search.best_step(state), self.search.best_network(state)
        if number == len(state.steps) or best is None:
            return None
        kept = self._present(best)
        order = [u.name for units in self.stages.values() for u in reversed(units)]
        gone = [n for n in order if n in self._present(state.network) and n not in kept]
        note = f"back to step {number}, the most accurate"
        return Choice(tuple(Removal("layer", n) for n in gone), best, None, note, back_to=number)

    def _with(self, network: Network, names: Collection[str]) -> Network:
        """`network` and these blocks of the original, with the weights that they came in with."""
        present = {*self._present(network), *names}
        order = [u.name for units in self.stages.values() for u in reversed(units)]
        gone = [Removal("layer", n) for n in order if n not in present]
        grown = apply_all(self.search.original, gone, self.options.floor).clone()
        grown.module.load_state_dict({**grown.module.state_dict(), **network.module.state_dict()})
        return grown

    def _present(self, network: Network) -> set[str]:
        return {u.name for u in find_layers(network, self.options.floor)}
