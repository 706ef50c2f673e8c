"""The pipeline on one screen: baseline, search, export, deploy, judge, report."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from torch import nn

from secateur.compiler.budget import Budget, Margins, violated
from secateur.compiler.deploy import Deployed, deploy
from secateur.compiler.export.calibrate import rank_errors
from secateur.compiler.export.norm_epsilon import norm_notes
from secateur.compiler.exported import Exported, export, program_inputs, raw_inputs
from secateur.compiler.frontends.preprocess_file import NAME as PREPROCESS
from secateur.compiler.frontends.preprocess_file import preprocess_text
from secateur.compiler.judge import Attempt, Judged, Outcome, Scores, evaluate, judge
from secateur.compiler.judge import reached as reached_by
from secateur.compiler.policies.policy import Exhausted
from secateur.compiler.proving import Build, front_end_margins, image_of, judged, learned
from secateur.compiler.quantization_aware import FILE, calibration_inputs, trained, wanted
from secateur.compiler.recovery import Training
from secateur.compiler.report.record import Robustness
from secateur.compiler.robustness import Subject, measure
from secateur.compiler.search import MORE, ROUNDS, Search, SearchOptions
from secateur.compiler.search_state import SearchState
from secateur.compiler.stream_proof import decisions_for, decisions_without_data
from secateur.errors import UserError
from secateur.models.data import Data
from secateur.models.front_end.decide import Decisions
from secateur.models.network import Network
from secateur.models.program import Program, random_inputs
from secateur.models.task import Anomaly, Classification, MultiLabel
from secateur.models.training import Recipe, ends_in, ends_in_softmax
from secateur.passes.program.cost import cost, plan
from secateur.passes.program.lower import to_channels_last
from secateur.targets.target import Target

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Compiled:
    """All that a run found; `report/` and the command line only tell it."""

    target: Target
    budget: Budget
    options: SearchOptions
    data: Data | None
    before: Judged
    after: Judged
    state: SearchState | None
    outcome: Outcome
    attempts: tuple[Attempt, ...] = ()
    notes: tuple[str, ...] = field(default=())
    robustness: Robustness | None = None
    carbon_intensity: float | None = None
    resumed: bool = False  # the search's first steps are another run's


def check_fit(model: Network | Program, data: Data) -> None:
    """Raise UserError where the data is broken, or is not what the model takes and tells apart."""
    data.check()
    pre = model.preprocess
    decides = pre.front_end is not None or pre.decisions != Decisions()
    wanted = Anomaly if pre.decisions.reconstructs else Classification
    if decides and not isinstance(data.task, wanted):
        raise UserError(
            f"{data.name}: a front end's decisions are between classes, or anomalies by reconstruction ([decisions] "
            f'kind = "reconstruction"), not for {data.task.name}; change preprocess.toml or --task'
        )
    shape = data.recovery.x.shape[1:]
    if isinstance(model, Network):
        if shape != model.input_shape:
            raise UserError(
                f"{data.name}: samples are {shape}, {model.name} takes {model.input_shape} "
                "(channels first); give the data in that shape"
            )
        outputs = model.classes
        if isinstance(data.task, MultiLabel) and ends_in(model.module, nn.Hardsigmoid):
            raise UserError(
                f"{model.name}: ends in a hard sigmoid, whose values are no probabilities to train; several labels "
                "need a sigmoid or logits: name the layer before it with --cut-at"
            )
        if isinstance(data.task, MultiLabel) and ends_in_softmax(model.module):
            raise UserError(
                f"{model.name}: ends in a softmax, which gives one class; several labels need logits: name the layer "
                "before it with --cut-at"
            )
    else:
        entry, end = model.tensors[model.inputs[0]].shape[1:], model.tensors[model.outputs[0]]
        given = to_channels_last(data.recovery.x[:1]).shape[1:]
        if given != tuple(entry):
            raise UserError(f"{data.name}: samples are {given} (channels last), {model.name} takes {tuple(entry)}")
        outputs = end.elements
    data.task.check_outputs(f"{data.name}: {model.name}", outputs, int(np.prod(shape)), data.labels)


def compile_network(
    network: Network,
    data: Data,
    target: Target,
    budget: Budget,
    options: SearchOptions,
    recipe: Recipe,
    build: Build,
    out: Path,
    resume: bool = False,
    tell: Callable[[str], None] = log.info,
    stressed: int = 0,
    meter: AbstractContextManager[object] = nullcontext(),  # noqa: B008 - it has no state
) -> Compiled:
    """Remove until the budget holds, prove the image, and judge it on data that chose nothing.

    `check_fit` comes first. `stressed`: test samples that robustness is measured on, 0: it is not. `meter`: is entered
    for search and recovery, quantization-aware training included.
    """
    budget = budget.on(target)
    tell(f"baseline: {network.name} on {data.name}, {len(data.validation)} validation samples")
    scratch = out / "baseline"
    to_files = partial(export, data=data, calibration=options.calibration)
    original = to_files(network)
    aside = partial(image_of, data=data, target=target, build=build, quick=True)
    before = judged(original, aside(original, project=scratch / "firmware"), data)
    floor = budget.floor(_above_chance(before.validation, data, network.name))

    def image_margins(network: Network, margins: Margins) -> Margins | None:
        if build.run == "board" or build.port is not None:
            return None  # what ships is judged by what the board takes, which no emulator tells
        room = budget.room(margins)
        found = aside(to_files(network), project=scratch / "untrained", room=room, relief=budget.relief)
        return learned(found, margins) if violated(reached_by(found, target), budget) else None

    search = Search(network, data, target, budget, options, recipe, out / "checkpoints", tell, image_margins)
    state = search.start(resume)
    resumed = bool(state.steps)
    if not resumed:
        state.margins = front_end_margins(before.deployed)
    exhausted: str | None = None
    for _ in range(ROUNDS):
        try:
            with meter:
                state = search.run(state)
        except Exhausted as error:
            exhausted = str(error)
        exported = to_files(state.network, folder=out)
        image = partial(
            image_of, data=data, target=target, build=build, project=out / "firmware",
            room=budget.room(state.margins), relief=budget.relief, tell=tell, tight=exhausted is None,
        )  # fmt: skip
        known = before.validation if exported.content == original.content else None
        after = judged(exported, image(exported), data, known)
        found = reached_by(after.deployed, target)
        if exhausted or not violated(found, budget):
            break
        state.margins = learned(after.deployed, state.margins)
        tell(MORE)
    files = out / "checkpoints"
    searched = state.network
    retrained = _quantization_aware(search, searched, exported, after, out, files / FILE, image, meter)
    if retrained is not None:
        _taken(state, retrained, after.validation)
        exported, after = retrained.exported, retrained.judged
    after = replace(after, errors=_worst_layers(exported, after, data))
    attempts: tuple[Attempt, ...] = ()
    outcome = judge(before, after, budget, target, floor, exhausted)
    if outcome.exit_code == 4:
        attempts = _keep_attempts(search, state, searched, after, build, out, meter)
    before = _tested(before, original, data)
    same = exported.content == original.content
    after = replace(after, test=before.test) if same else _tested(after, exported, data)
    shutil.rmtree(scratch, ignore_errors=True)
    robustness = None
    if stressed:
        other = None if same else exported.subject()
        robustness = measure(original.subject(), other, data, stressed, options.seed, tell)
    left_out = norm_notes(state.network, calibration_inputs(state.network, data))
    for line in left_out:
        tell(line)
    notes = _notes(data) + left_out
    return Compiled(
        target, budget, options, data, before, after, state, outcome, attempts, notes, robustness, resumed=resumed
    )


def compile_program(
    program: Program,
    content: bytes,
    data: Data | None,
    target: Target,
    budget: Budget,
    build: Build,
    out: Path,
    seed: int = 0,
    tell: Callable[[str], None] = log.info,
    stressed: int = 0,
) -> Compiled:
    """A `.tflite` as it is: nothing is removed, its outputs are proven and its cost is judged."""
    budget = budget.on(target)
    entry = program.tensors[program.inputs[0]]
    notes: tuple[str, ...] = ()
    if data is None:
        samples = random_inputs(program, build.samples, seed)
        compared = f": outputs were compared on {build.samples} random inputs (seed {seed})"
        notes = (f"No data was given{'' if build.run == 'none' else compared}.",)
        scores = test = None
        if program.preprocess.front_end is not None:
            known = replace(program.preprocess, decisions=decisions_without_data(program))
            program = replace(program, preprocess=known)
    else:
        data.check()
        notes = _notes(data)
        x = to_channels_last(data.validation.x[:1])
        if x.shape[1:] != tuple(entry.shape[1:]) and program.preprocess.front_end is None:
            raise UserError(f"{data.name}: samples {x.shape[1:]}, {program.name} takes {entry.shape[1:]}")
        samples = program_inputs(program, data.validation)
        found = decisions_for(program, content, lambda: samples, data.validation.y)
        program = replace(program, preprocess=replace(program.preprocess, decisions=found))
        scores = evaluate(None, program, content, data.validation, samples, data.task)
        inputs = program_inputs(program, data.test)
        test = evaluate(None, program, content, data.test, inputs, data.task)
        guesses = data.task.guesses(data.validation, scores.int8_percent)
        if guesses is not None:
            notes += (guesses,)
    out.mkdir(parents=True, exist_ok=True)
    (out / "model.tflite").write_bytes(content)
    proof, front = samples[: build.samples], program.preprocess.front_end
    if front is not None:
        proof = raw_inputs(program, data, seed)
        (out / PREPROCESS).write_text(preprocess_text(program.preprocess), encoding="utf-8")
    deployed = deploy(
        content, program, program.name, target, proof, out / "firmware",
        run=build.run, port=build.port, optimize=build.optimize, tell=tell, limits="target",
        ram_bytes=budget.room(Margins()), relief=budget.relief,
    )  # fmt: skip
    after = Judged(deployed, scores, test, program.macs, program.parameters)
    before = after
    if deployed.planned.patches or deployed.planned.memory.slow.buffers:  # in one piece: planned, not built
        whole = plan(program, target)
        before = replace(after, deployed=Deployed(whole, cost(whole, target), None, None, None, None))
    outcome = judge(before, after, budget, target, budget.min_accuracy, None)
    robustness = None
    if stressed and data is not None:
        subject = Subject(None, program, content, partial(program_inputs, program))
        robustness = measure(subject, None, data, stressed, seed, tell)
    options = SearchOptions(seed=seed)
    return Compiled(target, budget, options, data, before, after, None, outcome, (), notes, robustness)


@dataclass(frozen=True)
class _Retrained:
    """What quantization-aware training of `steps` came to: int8 at `percent` of validation, `kept` or not."""

    network: Network
    exported: Exported
    judged: Judged
    steps: int
    percent: float
    kept: bool


def _quantization_aware(
    search: Search, network: Network, exported: Exported, after: Judged, out: Path, file: Path,
    image: Callable[[Exported], Deployed], meter: AbstractContextManager[object],
) -> _Retrained | None:  # fmt: skip
    """Trained as int8 computes, where that is wanted, and kept where int8 does better within the same limits.

    `exported`, `after`: of `network`, as it lies in `out`; `file`: where its weights are kept.
    """
    was, data = after.validation, search.data
    to_files = partial(export, data=data, calibration=search.options.calibration)
    assert was is not None
    steps = wanted(search.options, data, was.float_percent - was.int8_percent)
    if not steps:
        return None
    with meter:
        retrained = trained(network, search.original, data, search.options, search.recipe, steps, file)
    again = to_files(retrained)
    now = evaluate(
        again.network, again.program, again.content, data.validation, again.inputs(data.validation), data.task
    )
    kept = now.int8_percent > was.int8_percent
    if kept:
        redone = judged(again, image(to_files(retrained, folder=out)), data, now)
        worse = set(violated(reached_by(redone.deployed, search.limits.target), search.limits.budget))
        kept = worse <= set(violated(reached_by(after.deployed, search.limits.target), search.limits.budget))
        if not kept:
            after = judged(exported, image(to_files(network, folder=out)), data, was)
    search.tell(
        f"     int8 {data.task.word} on validation {was.int8_percent:.1f} % (float {was.float_percent:.1f} %), after "
        f"{steps} quantization-aware steps {now.int8_percent:.1f} %: "
        f"{'kept' if kept else 'the network before it stays'}"
    )
    if kept:
        return _Retrained(retrained, again, redone, steps, now.int8_percent, True)
    return _Retrained(network, exported, after, steps, now.int8_percent, False)


def _taken(state: SearchState, found: _Retrained, was: Scores | None) -> None:
    """What the network that ships came from, in the state. `was`: before it."""
    assert was is not None
    before = state.network_steps
    state.trainings += (
        Training("as exported", "int8", before, was.int8_percent, not found.kept),
        Training("quantization-aware", "int8", before + found.steps, found.percent, found.kept),
    )
    state.aside_steps += found.steps
    if found.kept:
        state.network, state.quantized_steps = found.network, found.steps


def _tested(found: Judged, exported: Exported, data: Data) -> Judged:
    """With the accuracies on the test set: called once a network, after every choice is made."""
    inputs = exported.inputs(data.test)
    test = evaluate(exported.network, exported.program, exported.content, data.test, inputs, data.task)
    return replace(found, test=test)


def _above_chance(scores: Scores | None, data: Data, name: str) -> float:
    """The input network's metric, percent. One that guesses is almost always fed wrongly: UserError."""
    assert scores is not None
    guesses = data.task.guesses(data.validation, scores.float_percent)
    if guesses is not None:
        raise UserError(f"{name}: {guesses}")
    return scores.float_percent


def _worst_layers(exported: Exported, after: Judged, data: Data) -> tuple[tuple[str, float], ...]:
    """Layers ranked by quantization error where int8 loses more than half a point, else nothing."""
    scores = after.validation
    if scores is None or scores.float_percent - scores.int8_percent <= 0.5:
        return ()
    x = to_channels_last(exported.network.preprocess(data.recovery.x[:64]))
    ranked = rank_errors(exported.floats, exported.program, x)
    return tuple((e.name, e.sqnr_db) for e in ranked)


def _keep_attempts(
    search: Search, state: SearchState, searched: Network, after: Judged, build: Build, out: Path,
    meter: AbstractContextManager[object],
) -> tuple[Attempt, ...]:  # fmt: skip
    """Below the floor: the attempt that fits and the most accurate one on the way, both as files, by the same path.

    `searched`: what the search ended with, before quantization-aware training.
    """
    data, target = search.data, search.limits.target
    to_files = partial(export, data=data, calibration=search.options.calibration)
    to_files(state.network, folder=out / "attempts" / "best-fitting")
    kept = [Attempt("best fitting", "attempts/best-fitting", after)]
    best = search.best_network(state)
    if best is not None:
        folder, file = out / "attempts" / "most-accurate", out / "checkpoints" / f"most-accurate-{FILE}"
        image = partial(
            image_of, data=data, target=target, build=build, project=out / "baseline" / "attempt", quick=True
        )
        exported = to_files(best, folder=folder)
        found = judged(exported, image(exported), data)
        retrained = _quantization_aware(search, best, exported, found, folder, file, image, meter)
        if retrained is not None:
            state.aside_steps += retrained.steps if best.hash() != searched.hash() else 0  # those were taken for both
            found = retrained.judged
        kept.append(Attempt("most accurate", "attempts/most-accurate", found))
    search.tell(f"{data.task.word} is below the floor: the best fitting and the most accurate attempt are in attempts/")
    return tuple(kept)


def _notes(data: Data) -> tuple[str, ...]:
    if data.seen:
        return (*data.notes, "The input network was trained on this data, so these accuracies certify nothing.")
    return data.notes
