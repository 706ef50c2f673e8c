"""`secateur bench loso`: each person left out in turn; accuracy and macro F1 before, after removal, after int8.

Of every fold, the person left out is the test set, the next two choose (validation), the rest trains the network,
recovers it after removals and calibrates it. So the network never saw its test person, and neither did any choice.
Costs are emulated and predicted, accuracy is measured on the person left out; nothing has run on silicon.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from secateur.compiler.bench import saved
from secateur.compiler.bench.folds import Recordings, fold_data, train
from secateur.compiler.budget import Budget
from secateur.compiler.driver import Compiled, compile_network
from secateur.compiler.judge import reached
from secateur.compiler.proving import Build
from secateur.compiler.recovery import recovery_recipe
from secateur.compiler.search import SearchOptions
from secateur.models.data import Split
from secateur.models.metrics import accuracy, macro_f1, student_interval
from secateur.models.preprocess import IDENTITY
from secateur.models.torch_threads import torch_threads
from secateur.models.zoo.catalogue import to_network
from secateur.models.zoo.har import har_resnet
from secateur.targets.target import Target

STAGES = ("before", "after_float", "after_int8")
TITLES = {
    "before": "trained network, float",
    "after_float": "after removal and recovery, float",
    "after_int8": "after int8",
}


@dataclass(frozen=True)
class Fold:
    """One person left out. Accuracy and F1 in percent, by STAGES; costs before and after, on the target."""

    person: int
    windows: int
    accuracy: dict[str, float]
    macro_f1: dict[str, float]
    removals: int
    instructions: tuple[int | None, int | None]
    ram_bytes: tuple[int, int]
    flash_bytes: tuple[int, int]
    latency_ms: tuple[float | None, float | None]
    ran_on: str
    golden: str
    values: int
    mismatches: int
    exit_code: int
    met: str


def bench(
    recordings: Recordings,
    target: Target,
    budget: Budget,
    out: Path,
    train_steps: int = 500,
    steps: int = 300,
    seed: int = 0,
    tell: Callable[[str], None] = lambda line: None,
) -> list[Fold]:
    """All folds; each is saved in `out`, and one of the same data, options and code is not computed again."""
    options = {
        "data": recordings.name, "content": recordings.fingerprint(), "target": target.name,
        "budget": asdict(budget), "train_steps": train_steps, "steps": steps, "seed": seed,
    }  # fmt: skip
    folds = []
    for person in np.unique(recordings.people).tolist():
        path = out / f"fold-{person}.json"
        if saved.read(path, options) is None:
            found = one(recordings, person, target, budget, out / f"fold-{person}", train_steps, steps, seed, tell)
            saved.write(path, options, asdict(found))
        folds.append(_fold(saved.read(path, options)))
        last = folds[-1]
        tell(f"person {person} left out: {', '.join(f'{s} {last.accuracy[s]:.1f} %' for s in STAGES)}")
    (out / "loso.json").write_text(json.dumps(document(folds), indent=1) + "\n")
    (out / "loso.md").write_text(markdown(folds))
    return folds


def one(
    recordings: Recordings, person: int, target: Target, budget: Budget, out: Path, train_steps: int, steps: int,
    seed: int, tell: Callable[[str], None],
) -> Fold:  # fmt: skip
    """One fold: train, compile into `out`, score on the person left out. One thread: the same bytes everywhere."""
    with torch_threads(1):
        data = fold_data(recordings, int(np.flatnonzero(np.unique(recordings.people) == person)[0]))
        tell(f"person {person} left out: {len(data.recovery)} windows to train, {len(data.test)} to test")
        module = har_resnet(data.recovery.x.shape[1], len(data.labels))
        network = to_network("har-resnet", module, data.recovery.x.shape[1:], data.labels, IDENTITY)
        network = train(network, data, train_steps, seed)
        options = SearchOptions(total_steps=steps, seed=seed)
        recipe = recovery_recipe(network, data, steps)
        compiled = compile_network(network, data, target, budget, options, recipe, Build(), out, tell=lambda line: None)
    return _scored(person, compiled, data.test, target)


def _scored(person: int, compiled: Compiled, test: Split, target: Target) -> Fold:
    before, after = compiled.before, compiled.after
    assert before.test is not None and after.test is not None and compiled.state is not None
    assert before.test.float_guess is not None and after.test.float_guess is not None
    comparison = after.deployed.comparison
    assert comparison is not None
    guesses = dict(zip(STAGES, (before.test.float_guess, after.test.float_guess, after.test.int8_guess), strict=True))
    classes = len(compiled.data.labels) if compiled.data is not None else int(test.y.max()) + 1
    costs = [reached(j.deployed, target) for j in (before, after)]
    return Fold(
        person, len(test), {s: 100 * accuracy(test.y, g) for s, g in guesses.items()},
        {s: 100 * macro_f1(test.y, g, classes) for s, g in guesses.items()}, len(compiled.state.steps),
        (before.deployed.instructions, after.deployed.instructions), (costs[0].ram_bytes, costs[1].ram_bytes),
        (costs[0].flash_bytes, costs[1].flash_bytes), (costs[0].latency_ms, costs[1].latency_ms),
        after.deployed.ran_on or "", comparison.golden, comparison.values, comparison.mismatches,
        compiled.outcome.exit_code, compiled.outcome.met,
    )  # fmt: skip


def _fold(record: dict[str, Any]) -> Fold:
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in record.items()}
    return Fold(**values)


def summary(folds: list[Fold]) -> dict[str, dict[str, dict[str, float | None]]]:
    """Mean and 90 % Student-t interval over folds, by measure and stage."""
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for measure in ("accuracy", "macro_f1"):
        found[measure] = {}
        for stage in STAGES:
            i = student_interval([getattr(f, measure)[stage] for f in folds])
            found[measure][stage] = {"mean": i.value, "low": i.low, "high": i.high, "level": i.level}
    return found


def document(folds: list[Fold]) -> dict[str, Any]:
    """For `--json`."""
    return {"folds": [asdict(f) for f in folds], "summary": summary(folds)}


def markdown(folds: list[Fold]) -> str:
    """Two tables: the means over folds, and the folds."""
    lines = [
        "| on the person left out | accuracy %, mean (90 % interval over folds) | macro F1 %, mean (90 % interval) |",
        "|---|---|---|",
    ]
    means = summary(folds)
    for stage in STAGES:
        cells = [_interval(means[measure][stage]) for measure in ("accuracy", "macro_f1")]
        lines.append(f"| {TITLES[stage]} | {' | '.join(cells)} |")
    lines += [
        "",
        "| left out | windows | accuracy % before, after, int8 | macro F1 % before, after, int8 | removals "
        "| instructions | RAM, B | flash, B | ms at most | values, mismatches | exit |",
        "|---|---:|---|---|---:|---|---|---|---|---|---:|",
    ]
    for f in folds:
        scores = [", ".join(f"{m[s]:.1f}" for s in STAGES) for m in (f.accuracy, f.macro_f1)]
        costs = [_change(pair) for pair in (f.instructions, f.ram_bytes, f.flash_bytes, f.latency_ms)]
        lines.append(
            f"| {f.person} | {f.windows} | {' | '.join(scores)} | {f.removals} | {' | '.join(costs)} "
            f"| {f.values:,}, {f.mismatches} | {f.exit_code} |"
        )
    values, wrong = sum(f.values for f in folds), sum(f.mismatches for f in folds)
    where = ", ".join(sorted({f.ran_on for f in folds}))
    lines += [
        "",
        f"{values:,} output values of the {len(folds)} images on {where} equal {folds[0].golden}, "
        f"{wrong} mismatches. Instructions, RAM and stack are emulated, flash is exact, milliseconds predicted.",
    ]
    return "\n".join(lines) + "\n"


def _interval(found: dict[str, float | None]) -> str:
    mean, low, high = found["mean"], found["low"], found["high"]
    return f"{mean:.1f}" if low is None or high is None else f"{mean:.1f} ({low:.1f} to {high:.1f})"


def _change(pair: tuple[float | None, float | None]) -> str:
    return " to ".join("unknown" if v is None else f"{v:,.0f}" for v in pair)
