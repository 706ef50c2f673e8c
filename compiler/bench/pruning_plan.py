"""What `bench pruning` runs: its methods, its cases, and the record of one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from secateur.compiler.search import SearchOptions
from secateur.compiler.session import Request
from secateur.errors import UserError

OURS = "similarity"
SEARCHES = {
    OURS: SearchOptions(),
    "layers": SearchOptions(policy="layers"),
    "filters": SearchOptions(policy="filters", filter_score="plsvip"),
    "children": SearchOptions(policy="children"),
    "random": SearchOptions(method="random"),
    "first": SearchOptions(method="first"),
    "l1": SearchOptions(method="l1"),
    "uniform": SearchOptions(method="uniform"),
}
FROM_SCRATCH = ("scratch", "hand")
WITHOUT_BUDGET = ("original",)
METHODS = (*SEARCHES, *FROM_SCRATCH, *WITHOUT_BUDGET)


@dataclass(frozen=True)
class Plan:
    """What is run. `shares`: budgets, each a share (percent) of the original's predicted latency; none: the limits as
    they are. `folds`: of recordings, None: the data's own three sets. `metric`: of `models/task.py`."""

    request: Request
    seeds: int = 3
    shares: tuple[int, ...] = ()
    folds: int | None = None
    train_steps: int = 500
    methods: tuple[str, ...] = METHODS
    metric: str | None = None
    emulate: bool = False

    @property
    def title(self) -> str:
        """Of the plot; files by their names, so that it is the same from every folder."""
        assert self.request.data is not None
        model, data = (Path(spec).name for spec in (self.request.model, self.request.data))
        return f"{model} on {data}, {self.request.target}"

    def __post_init__(self) -> None:
        if self.request.recovery not in ("short", "full", "published"):
            raise UserError(f"--recovery {self.request.recovery}: short, full or published; from scratch is a method")
        unknown = sorted(set(self.methods) - set(METHODS))
        if unknown:
            raise UserError(f"--methods {', '.join(unknown)}: unknown; {', '.join(METHODS)} are known")
        if "scratch" in self.methods and OURS not in self.methods:
            raise UserError(f"--methods scratch: trains what {OURS} finds; name both")
        if any(not 1 <= share < 100 for share in self.shares):
            raise UserError("--shares: percentages of the original's latency, above 0 and below 100, e.g. 50,25")

    @property
    def steps(self) -> int:
        """Optimizer steps of every run."""
        assert self.request.steps is not None, "equal training is what is compared"
        return self.request.steps


@dataclass(frozen=True)
class One:
    """One method on one case. Accuracies are the task's metric, `word`, in percent: after the last cut and after
    recovery on validation, float and int8 on test. Costs are predicted, but `emulated` (instructions) and
    `mismatches`."""

    method: str
    fold: int | None
    seed: int
    share: int | None
    fits: bool
    removals: int
    accuracy_cut: float | None
    accuracy_recovered: float
    accuracy_float: float
    accuracy_int8: float
    macs: int
    ram_bytes: int
    flash_bytes: int
    instructions: int | None
    latency_ms: float | None
    emulated: int | None = None
    values: int = 0
    mismatches: int = 0
    word: str = "accuracy"

    @property
    def case(self) -> tuple[int | None, int]:
        """What runs are paired by."""
        return self.fold, self.seed


@dataclass(frozen=True)
class Job:
    """One run that is to be made."""

    method: str
    fold: int | None
    seed: int
    share: int | None

    @property
    def name(self) -> str:
        fold = "" if self.fold is None else f"-fold{self.fold}"
        share = "" if self.share is None else f"-{self.share}"
        return f"{self.method}{share}{fold}-{self.seed}"


@dataclass(frozen=True)
class Row:
    """One method at one budget over all cases."""

    method: str
    share: int | None
    runs: tuple[One, ...]

    def document(self) -> dict[str, Any]:
        return {"method": self.method, "share": self.share, "runs": [asdict(r) for r in self.runs]}


def rows_of(document: dict[str, Any]) -> list[Row]:
    """The rows of a `pruning.json`."""
    return [Row(r["method"], r["share"], tuple(One(**run) for run in r["runs"])) for r in document["rows"]]


def parse_shares(text: str | None) -> tuple[int, ...]:
    """'50,25' as (50, 25)."""
    try:
        return () if text is None else tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"--shares {text}: percentages of the original's latency, e.g. 50,25") from None


def by_share(rows: Sequence[Row]) -> dict[int | None, list[Row]]:
    """The rows of each budget."""
    found: dict[int | None, list[Row]] = {}
    for row in rows:
        found.setdefault(row.share, []).append(row)
    return found
