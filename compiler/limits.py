"""What the networks of a search cost on its target, and how far each is from the budget.

RAM that patches or slow memory hold is held: no removal has to. What they take counts in the other limits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from secateur.compiler.budget import Budget, Margins, excess, reached, violated
from secateur.compiler.report.words import count_text, ms_text
from secateur.compiler.search_state import SearchState
from secateur.models.network import Network
from secateur.passes.program.cost import Cost, cost, plan
from secateur.passes.program.lower import lower
from secateur.passes.program.regions import Relief
from secateur.targets.target import Target

QUICK_PLAN = 12  # dead ends of the placement's search for a candidate; the final image gets the full search


@dataclass(frozen=True)
class _ReliefPrice:
    """`excess`: of RAM, without it. `instructions`, `flash_bytes`: that it takes."""

    excess: float
    instructions: int
    flash_bytes: int


class Limits:
    """Those of one budget on one target.

    Costs are predicted; what is compared with a limit has the margins of a search's state added.
    """

    def __init__(self, target: Target, budget: Budget) -> None:
        self.target, self.budget = target, budget
        self._relieved: tuple[tuple[Network, int | None, Relief], Cost] | None = None
        self._price: tuple[tuple[Network, Margins, Budget], _ReliefPrice | None] | None = None

    def cost(self, network: Network) -> Cost:
        """In one piece and in fast memory, by shape-only lowering."""
        return cost(plan(lower(network), self.target, QUICK_PLAN), self.target)

    def cost_with_relief(self, network: Network, state: SearchState) -> Cost:
        """The same where patches or slow memory may hold the RAM limit: fewer bytes, more operations or slower ones.

        Some tenths of a second and more, so the last answer is kept.
        """
        asked = network, self.budget.room(state.margins), self.budget.relief
        if self._relieved is None or self._relieved[0] != asked:
            self._relieved = asked, cost(plan(lower(network), self.target, QUICK_PLAN, *asked[1:]), self.target)
        return self._relieved[1]

    def judged(self, network: Network, state: SearchState, whole: Cost | None = None) -> Cost:
        """What limits are judged by: the cost with relief where RAM needs it and is held by it, else in one piece.

        `whole`: the network's cost in one piece, where it is known.
        """
        whole = whole or self.cost(network)
        if "ram_bytes" not in self._broken(whole, state):
            return whole
        relieved = self.cost_with_relief(network, state)
        return whole if "ram_bytes" in self._broken(relieved, state) else relieved

    def hold(self, network: Network, state: SearchState, whole: Cost | None = None) -> bool:
        """Whether every limit is predicted to hold. `whole`: as for `judged`."""
        return not self._broken(self.judged(network, state, whole), state)

    def lacks(self, network: Network, state: SearchState) -> list[tuple[str, str]]:
        """Of each limit broken with all that may relieve RAM: what is reached, with its unit, and what is allowed."""
        memory = {"ram_bytes": "bytes of RAM", "flash_bytes": "bytes of flash"}
        broken = self._broken(self.cost_with_relief(network, state), state)
        return [
            (f"{count_text(value)} {memory[name]}", count_text(limit))
            if name in memory
            else (ms_text(value), ms_text(limit))
            for name, (value, limit) in broken.items()
        ]

    def excess(self, found: Cost, state: SearchState) -> dict[str, float]:
        """How far each violated limit that removals have to hold is from holding, for a network that costs `found`.

        Where patches or slow memory hold the RAM limit of the network as it is, no removal has to: cut for RAM go
        filters of the first layers, which cost the most accuracy. What patches take counts in the other limits, and
        is taken to fall with the RAM above the limit, since planning them for every candidate takes too long.
        """
        relief, whole = self._relief_price(state), excess(found, self.target, self.budget, state.margins)
        if relief is None:
            return whole
        left = min(1.0, whole.get("ram_bytes", 0.0) / relief.excess)
        code = (found.code_bytes or 0) + math.ceil(left * relief.flash_bytes)
        run = None if found.instructions is None else found.instructions + math.ceil(left * relief.instructions)
        dearer = replace(found, code_bytes=code, instructions=run)
        return excess(dearer, self.target, replace(self.budget, ram_bytes=None), state.margins)

    def _relief_price(self, state: SearchState) -> _ReliefPrice | None:
        """Of what holds the RAM limit of the network as it is; None where nothing does or has to.

        Slow memory beside a latency limit does not: the time that it takes is not known.
        """
        asked = state.network, state.margins, self.budget
        if self._price is None or self._price[0] != asked:
            now, found = self.cost(state.network), None
            over = excess(now, self.target, self.budget, state.margins).get("ram_bytes", 0.0)
            relieved = self.judged(state.network, state, now)
            if relieved != now and not (relieved.slow_arena_bytes and self.budget.latency_ms is not None):
                more = (relieved.instructions or 0) - (now.instructions or 0)
                found = _ReliefPrice(over, more, relieved.flash_bytes - now.flash_bytes)
            self._price = asked, found
        return self._price[1]

    def _broken(self, found: Cost, state: SearchState) -> dict[str, tuple[float, float]]:
        return violated(reached(found, self.target, state.margins), self.budget)
