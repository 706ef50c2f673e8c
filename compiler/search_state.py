"""Where a search stands: its steps, the network that they led to, and what images have taught."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from secateur.compiler.budget import Margins, Reached
from secateur.compiler.recovery import Training
from secateur.models.network import Network
from secateur.passes.network.removal import Removal
from secateur.passes.network.scores import Evidence


@dataclass(frozen=True)
class Step:
    """One step and what it did. Accuracies are validation's, percent; costs are predicted.

    `more`: what went in the same step, after the removal that the first three fields are. `trained_steps`: optimizer
    steps that were taken in it, kept or not; `network_steps`: those that the network after it was trained with in all.
    `evidence`: what the score that chose it rests on.
    """

    kind: str
    unit: str
    classes: tuple[int, ...]
    similarity: float | None
    accuracy_cut: float
    accuracy_recovered: float
    trained_steps: int
    macs: int
    reached: Reached
    more: tuple[Removal, ...] = ()
    network_steps: int = 0
    evidence: Evidence | None = None

    @property
    def removals(self) -> tuple[Removal, ...]:
        return (Removal(self.kind, self.unit, self.classes), *self.more)

    @property
    def what(self) -> str:
        """`conv1 -4`, or `conv1 -4 and 3 more -12`."""
        first = self.unit + (f" -{len(self.classes)}" if self.classes else "")
        if not self.more:
            return first
        count = sum(len(r.classes) for r in self.more)
        return f"{first} and {len(self.more)} more" + (f" -{count}" if count else "")


@dataclass
class SearchState:
    """Where the search stands: the network now, the removals that led to it, what images have taught."""

    network: Network
    steps: list[Step] = field(default_factory=list)
    margins: Margins = field(default_factory=Margins)
    finished: bool = False  # the last recovery is done
    best: tuple[float, str] | None = None  # accuracy and checkpoint of the most accurate state on the way
    before_final: tuple[Network, Step] | None = None  # what the last recovery started from
    trainings: tuple[Training, ...] = ()  # ways of training that were compared
    exhausted: tuple[str, Margins] | None = None  # why nothing more can be removed, and the margins that this is of
    aside_steps: int = 0  # optimizer steps that no step counts: quantization-aware, of what was undone
    quantized_steps: int = 0  # those of them that the network was trained with

    @property
    def trained_steps(self) -> int:
        """That the steps took in all."""
        return sum(s.trained_steps for s in self.steps)

    @property
    def network_steps(self) -> int:
        """Optimizer steps that the network as it is now was trained with."""
        return (self.steps[-1].network_steps if self.steps else 0) + self.quantized_steps

    @property
    def spent_steps(self) -> int:
        """All that were taken, whatever was kept of them."""
        return self.trained_steps + self.aside_steps

    def reopen(self) -> None:
        """Undo the last recovery, so that further removals are followed by training again."""
        self.finished, self.trainings, self.exhausted = False, (), None
        if self.before_final is not None:
            self.aside_steps += self.steps[-1].trained_steps - self.before_final[1].trained_steps
            self.network, self.steps[-1] = self.before_final
            self.before_final = None


def step_from(record: dict[str, Any]) -> Step:
    """A step from what `dataclasses.asdict` and JSON made of it."""
    more = tuple(Removal(r["kind"], r["unit"], tuple(r["classes"])) for r in record["more"])
    evidence = None if record["evidence"] is None else Evidence(**record["evidence"])
    reached, classes = Reached(**record["reached"]), tuple(record["classes"])
    return Step(**{**record, "classes": classes, "reached": reached, "more": more, "evidence": evidence})
