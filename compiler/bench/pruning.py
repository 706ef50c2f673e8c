"""`secateur bench pruning`: the method beside its controls, at the same budget and the same total training.

Every row trains `steps` optimizer steps per seed with the same recipe and is measured in int8 on test groups that
nothing was chosen on. Costs are predicted by the compiler's own model. Each run is saved, so that a stopped
benchmark continues.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from secateur.compiler.bench import saved
from secateur.compiler.budget import Margins, reached
from secateur.compiler.driver import export
from secateur.compiler.frontends.data import load_data
from secateur.compiler.frontends.load import load_model
from secateur.compiler.frontends.truth import agreed
from secateur.compiler.judge import evaluate
from secateur.compiler.search import Exhausted, Search, SearchOptions, SearchState, recovery_recipe
from secateur.compiler.session import Request, budget_of
from secateur.errors import UserError
from secateur.models.data import Data
from secateur.models.metrics import student_interval
from secateur.models.network import Network
from secateur.passes.network.recover import Recover
from secateur.targets.target import find

LABELS = {
    "similarity": "ours (similarity)",
    "random": "random",
    "first": "first in order",
    "l1": "L1",
    "uniform": "uniform width",
    "scratch": "our final architecture, from scratch",
    "original": "the original, trained as long",
}
AFTER_OURS = ("scratch",)


@dataclass(frozen=True)
class One:
    """One method and seed. Accuracies in percent: validation after the last cut, then test."""

    method: str
    seed: int
    fits: bool
    removals: int
    accuracy_cut: float
    accuracy_float: float
    accuracy_int8: float
    macs: int
    ram_bytes: int
    flash_bytes: int
    latency_ms: float | None


@dataclass(frozen=True)
class Row:
    """One method over all seeds."""

    method: str
    runs: tuple[One, ...]

    def document(self) -> dict[str, Any]:
        return {"method": self.method, "runs": [asdict(r) for r in self.runs]}


def bench(request: Request, seeds: int, jobs: int, out: Path, tell: Callable[[str], None]) -> list[Row]:
    """All methods and seeds; runs of the same network, data, budget, steps and code are read from `out`."""
    out.mkdir(parents=True, exist_ok=True)
    network, data = _load(request)
    key = {
        "network": network.hash(), "data": data.fingerprint(), "target": request.target, "steps": request.steps,
        "budget": asdict(budget_of(request)),
    }  # fmt: skip
    wanted = [(m, s) for s in range(seeds) for m in LABELS]
    waves = [[w for w in wanted if w[0] not in AFTER_OURS], [w for w in wanted if w[0] in AFTER_OURS]]
    for wave in waves:
        missing = [(m, s) for m, s in wave if saved.read(_path(out, m, s), key) is None]
        with ProcessPoolExecutor(max_workers=jobs) as pool:
            started = {pool.submit(one, request, m, s, str(out)): (m, s) for m, s in missing}
            for future in as_completed(started):
                method, seed = started[future]
                found = future.result()
                saved.write(_path(out, method, seed), key, asdict(found))
                tell(f"{found.method} seed {found.seed}: int8 {found.accuracy_int8:.1f} % on test")
    runs = {(m, s): One(**saved.read(_path(out, m, s), key)) for m, s in wanted}
    rows = [Row(m, tuple(runs[m, s] for s in range(seeds))) for m in LABELS]
    (out / "pruning.json").write_text(json.dumps([r.document() for r in rows], indent=1) + "\n")
    (out / "pruning.md").write_text(markdown(rows, request.steps))
    return rows


def _path(out: Path, method: str, seed: int) -> Path:
    return out / f"{method}-{seed}.json"


def _load(request: Request) -> tuple[Network, Data]:
    network = load_model(request.model, weights=request.weights)
    if not isinstance(network, Network) or request.data is None:
        raise UserError(f"{request.model}: bench pruning takes a float network and --data")
    return network, agreed(network, load_data(request.data, network.input_shape, network.labels))


def one(request: Request, method: str, seed: int, folder: str) -> One:
    """Run one method with one seed. Called in a process of its own."""
    torch.set_num_threads(1)
    out = Path(folder)
    target, budget = find(request.target), budget_of(request)
    network, data = _load(request)
    recipe = recovery_recipe(data, request.steps)
    kind = "similarity" if method in ("scratch", "original") else method
    options = SearchOptions(method=kind, total_steps=request.steps, seed=seed)
    if method == "scratch":
        options = replace(options, recovery="scratch")
    quiet: Callable[[str], None] = lambda line: None  # noqa: E731
    search = Search(network, data, target, budget.on(target), options, recipe, out / f"{method}-{seed}", quiet)
    state = SearchState(network)
    fits, cut = True, float("nan")
    if method == "original":
        trained = Recover(data.recovery, recipe, seed=seed, validation=data.validation, teacher=network)(network)
        state = SearchState(trained)
        fits = False
    elif method == "scratch":
        ours = Search(
            network, data, target, budget.on(target), replace(options, recovery="short"), recipe,
            out / f"similarity-{seed}", quiet,
        ).start(resume=True)  # fmt: skip
        if not ours.finished:
            raise AssertionError(f"{out}: the search whose architecture is to be trained has not ended")
        architecture = ours.network
        trained = Recover(data.recovery, recipe, seed=seed, validation=data.validation, teacher=network, scratch=True)(
            architecture
        )
        state = SearchState(trained, ours.steps)
    else:
        try:
            state = search.run(search.start(resume=True))
        except Exhausted:
            fits = False
        cut = state.steps[-1].accuracy_cut if state.steps else float("nan")
    exported = export(state.network, data)
    inputs = exported.inputs(data.test)
    scores = evaluate(exported.network, exported.program, exported.content, data.test, inputs)
    cost = search.cost(state.network)
    found = reached(cost, target, Margins())
    return One(
        method, seed, fits, len(state.steps), cut, scores.float_percent, scores.int8_percent, cost.macs,
        found.ram_bytes, found.flash_bytes, found.latency_ms,
    )  # fmt: skip


def markdown(rows: list[Row], steps: int) -> str:
    """The table, as it stands in README: mean over seeds, lowest to highest."""
    lines = [
        f"| method, {steps:,} training steps each | removals | after the cuts, validation % | "
        "int8, test people % (lowest to highest seed) | MACs | RAM, B | flash, B | ms at most |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        values = [r.accuracy_int8 for r in row.runs]
        interval = student_interval(values)
        mean = f"**{interval.value:.1f}** ({min(values):.1f} to {max(values):.1f})"
        cuts = [r.accuracy_cut for r in row.runs if r.accuracy_cut == r.accuracy_cut]
        label = LABELS[row.method] + ("" if all(r.fits for r in row.runs) else " (does not fit)")

        def middle(name: str, runs: tuple[One, ...] = row.runs) -> str:
            found = [getattr(r, name) for r in runs if getattr(r, name) is not None]
            return f"{statistics.mean(found):,.0f}" if found else ""

        cut = f"{statistics.mean(cuts):.1f}" if cuts and row.method != "scratch" else ""
        costs = " | ".join(middle(n) for n in ("macs", "ram_bytes", "flash_bytes", "latency_ms"))
        lines.append(f"| {label} | {middle('removals')} | {cut} | {mean} | {costs} |")
    return "\n".join(lines) + "\n"
