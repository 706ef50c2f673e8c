"""One run of `bench pruning`: one method on one case, in a process of its own."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from secateur.compiler.bench import saved
from secateur.compiler.bench.folds import fold_data, load_recordings, train
from secateur.compiler.bench.hand_made import narrowed
from secateur.compiler.bench.pruning_plan import OURS, SEARCHES, Job, One, Plan
from secateur.compiler.budget import Budget, Margins, reached
from secateur.compiler.deploy import deploy
from secateur.compiler.exported import Exported, export
from secateur.compiler.frontends.data import load_data
from secateur.compiler.frontends.data_options import quiet
from secateur.compiler.frontends.load import load_model
from secateur.compiler.frontends.truth import Wanted, agreed
from secateur.compiler.judge import evaluate
from secateur.compiler.policies.policy import Exhausted
from secateur.compiler.recovery import from_scratch, recovery_recipe
from secateur.compiler.search import Search
from secateur.compiler.search_state import SearchState
from secateur.compiler.session import Request, budget_of, parse_shape
from secateur.errors import UserError
from secateur.models.data import Data
from secateur.models.network import Network
from secateur.models.training import Recipe
from secateur.models.zoo.watch import standardize
from secateur.passes.network.recover import Recover
from secateur.targets.target import find

VERIFIED_SAMPLES = 4


def key_of(plan: Plan) -> dict[str, Any]:
    """All that a run depends on, but its job."""
    request = plan.request
    if request.data is None:
        raise UserError(f"{request.model}: bench pruning takes a float network and --data")
    network = _architecture(request)
    data = load_recordings(request.data) if plan.folds else _divided(network, plan)
    return {
        "network": network.hash(), "data": data.fingerprint(), "target": request.target, "steps": plan.steps,
        "recovery": request.recovery,
        "budget": asdict(budget_of(request)), "folds": plan.folds, "metric": plan.metric, "emulate": plan.emulate,
        "train_steps": plan.train_steps if plan.folds else None,
    }  # fmt: skip


def _architecture(request: Request) -> Network:
    network = load_model(request.model, request.weights, parse_shape(request.input_shape))
    if not isinstance(network, Network):
        raise UserError(f"{request.model}: bench pruning takes a float network and --data")
    return network


def _divided(network: Network, plan: Plan) -> Data:
    assert plan.request.data is not None
    wanted = Wanted(None, plan.metric)
    return agreed(network, load_data(plan.request.data, network.input_shape, network.labels, wanted=wanted))


def _subject(plan: Plan, fold: int | None, seed: int, out: Path) -> tuple[Network, Data]:
    """The trained network and the three sets of a case."""
    network = _architecture(plan.request)
    if fold is None:
        return network, _divided(network, plan)
    assert plan.request.data is not None
    data = fold_data(load_recordings(plan.request.data), fold, plan.folds, plan.metric)
    weights = load_file(_weights(out, fold, seed))
    network.module.load_state_dict(weights)
    return replace(network, preprocess=standardize(data.recovery.x), labels=data.labels), data


def _weights(out: Path, fold: int, seed: int) -> Path:
    return out / "networks" / f"fold{fold}-{seed}.safetensors"


def trained(plan: Plan, fold: int, seed: int, folder: str) -> str:
    """Train a fold's network, unless it is there. Called in a process of its own; returns what to tell."""
    torch.set_num_threads(1)
    out, key = Path(folder), key_of(plan)
    path, record = _weights(out, fold, seed), out / "networks" / f"fold{fold}-{seed}.json"
    assert plan.request.data is not None
    if saved.read(record, key) is None or not path.is_file():
        data = fold_data(load_recordings(plan.request.data), fold, plan.folds, plan.metric)
        network = train(_architecture(plan.request), data, plan.train_steps, seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({k: v.contiguous() for k, v in network.module.state_dict().items()}, path)
        saved.write(record, key, {"steps": plan.train_steps})
    return f"fold {fold}, seed {seed}: its network is trained"


def one(plan: Plan, job: Job, folder: str) -> One:
    """Run one method on one case. Called in a process of its own."""
    torch.set_num_threads(1)
    out, target = Path(folder), find(plan.request.target)
    network, data = _subject(plan, job.fold, job.seed, out)
    budget = budget_of(plan.request).on(target)
    usual = SEARCHES.get(job.method, SEARCHES[OURS])
    options = replace(usual, total_steps=plan.steps, seed=job.seed, recovery=plan.request.recovery)
    recipe = recovery_recipe(network, data, plan.steps, options)
    if job.share is not None:
        budget = _share_of(Search(network, data, target, budget, options, recipe), job.share)

    def searching(name: str) -> Search:
        return Search(network, data, target, budget, options, recipe, out / "steps" / name, quiet)

    search, trainer = searching(job.name), _Trainer(network, data, recipe, job.seed)
    fits, removals, cut = True, 0, None
    if job.method == "original":
        result, fits = trainer(network), False
    elif job.method == "hand":
        architecture = narrowed(network, lambda n: search.limits.hold(n, SearchState(n)))
        fits, result = architecture is not None, trainer(architecture or network, scratch=True)
    elif job.method == "scratch":
        state = searching(replace(job, method=OURS).name).start(resume=True)
        if not state.finished:
            raise AssertionError(f"{out}: the search whose architecture is to be trained has not ended")
        result, removals = trainer(state.network, scratch=True), len(state.steps)
        fits = search.limits.hold(state.network, state)
    else:
        state = search.start(resume=True)
        try:
            state = search.run(state)
        except Exhausted:
            fits = False
        result, removals = state.network, len(state.steps)
        cut = state.steps[-1].accuracy_cut if state.steps else None
    return _measured(plan, job, search, result, fits, removals, cut, out)


@dataclass(frozen=True)
class _Trainer:
    """As long as every other method is trained, after the same teacher."""

    teacher: Network
    data: Data
    recipe: Recipe
    seed: int

    def __call__(self, network: Network, scratch: bool = False) -> Network:
        recipe = from_scratch(self.recipe) if scratch else self.recipe
        training = Recover(
            self.data.recovery, recipe, self.seed, self.data.validation, teacher=self.teacher, scratch=scratch
        )
        return training(network)


def _share_of(search: Search, share: int) -> Budget:
    """The budget with a share of the original's predicted latency as its limit."""
    whole = reached(search.limits.cost(search.original), search.limits.target, Margins()).latency_ms
    if whole is None:
        raise UserError(f"--shares: {search.limits.target.name} has no instruction model; name another target")
    return replace(search.limits.budget, latency_ms=whole * share / 100)


def _measured(
    plan: Plan, job: Job, search: Search, result: Network, fits: bool, removals: int, cut: float | None, out: Path
) -> One:
    data = search.data
    exported = export(result, data)
    scores = evaluate(
        exported.network, exported.program, exported.content, data.test, exported.inputs(data.test), data.task
    )
    cost = search.limits.judged(result, SearchState(result))
    found = reached(cost, search.limits.target, Margins())
    images = out / "images" / job.name
    emulated, values, mismatches = _emulated(exported, search, images) if plan.emulate else (None, 0, 0)
    return One(
        job.method, job.fold, job.seed, job.share, fits, removals, cut, search.accuracy(result), scores.float_percent,
        scores.int8_percent, cost.macs, found.ram_bytes, found.flash_bytes, cost.instructions, found.latency_ms,
        emulated, values, mismatches, data.task.word,
    )  # fmt: skip


def _emulated(exported: Exported, search: Search, project: Path) -> tuple[int | None, int, int]:
    """Instructions of one inference in the target's emulator, and how many outputs were compared and differed."""
    inputs = exported.inputs(search.data.validation)[:VERIFIED_SAMPLES]
    found = deploy(
        exported.content, exported.program, exported.network.name, search.limits.target, inputs, project, run="auto",
        limits="none", ram_bytes=search.limits.budget.room(Margins()), relief=search.limits.budget.relief,
    )  # fmt: skip
    if found.comparison is None:
        return None, 0, 0
    return found.instructions, found.comparison.values, found.comparison.mismatches
