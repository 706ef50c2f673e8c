"""One `compile`: from what the user asked for to the files in OUT."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from secateur.compiler import robustness
from secateur.compiler.budget import Budget, parse_bytes, parse_ms
from secateur.compiler.driver import Compiled, check_fit, compile_network, compile_program
from secateur.compiler.energy import CARBON_INTENSITY, Extras, Meter, run_document
from secateur.compiler.frontends.data import load_data, read_labels
from secateur.compiler.frontends.data_options import DataOptions, Progress, quiet
from secateur.compiler.frontends.truth import Wanted, agreed, outputs_of
from secateur.compiler.loading import How, load, sample_shape
from secateur.compiler.out_folder import check_out, claim_out, write_run_record, write_trace
from secateur.compiler.policies import POLICIES
from secateur.compiler.proving import Build
from secateur.compiler.quantization_aware import check_quantization_aware
from secateur.compiler.recovery import check_recovery, recovery_recipe, total_steps
from secateur.compiler.report.folder import write_report
from secateur.compiler.report.record import Report
from secateur.compiler.report.tell import to_report
from secateur.compiler.robustness import SAMPLES
from secateur.compiler.search import SearchOptions
from secateur.errors import UserError
from secateur.firmware.board import load_board
from secateur.models.data import Data
from secateur.models.network import Network
from secateur.models.preprocess import Preprocess
from secateur.models.program import Program
from secateur.passes.network.work import Work, working
from secateur.targets.target import Target, find

LARGEST_DIMENSION = 1 << 24
T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """The options of `compile`, as given."""

    model: str
    target: str
    data: str | None = None
    max_ram: str | None = None
    max_flash: str | None = None
    max_latency: str | None = None
    max_drop: float = 1.0
    min_accuracy: float | None = None
    require: str = "predicted"
    policy: str = "everything"
    layer_score: str = "cka"
    filter_score: str = "auto"
    method: str = "similarity"
    recovery: str = "short"
    steps: int | None = None
    distill: float | None = None
    recalibrate: bool = False
    train_only: float = 1.0
    low_rank: int = 0
    critical_period: bool = False
    quantization_aware: str = "auto"
    reconstruct: str = "auto"
    calibration: str = "minmax"
    floor: int = 2
    score_samples: int = 256
    seed: int = 0
    resume: bool = False
    jobs: int = 1
    optimize: str = "balanced"
    patches: str = "auto"
    slow_ram: str | None = None
    run: str = "auto"
    port: str | None = None
    weights: Path | None = None
    input_shape: str | None = None
    labels: Path | None = None
    cut_at: str | None = None
    layout: str | None = None
    mean: str | None = None
    std: str | None = None
    preprocess: Path | None = None
    window: int | None = None
    hop: int | None = None
    group_column: str | None = None
    time_column: str | None = None
    label_column: str | None = None
    skip_columns: str | None = None
    task: str | None = None
    metric: str | None = None
    robustness: bool = False
    robustness_samples: int | None = None
    energy: bool = False
    carbon_intensity: float | None = None


@dataclass(frozen=True)
class Result:
    """What one compile found. `report`: the record of report.json; `exit_code`: 0 met, 3 too large, 4 inaccurate.

    `spent`: what run.json says of energy, None where it was not asked for.
    """

    report: Report
    compiled: Compiled
    exit_code: int
    flashable: bool
    out: Path
    spent: dict[str, Any] | None = None


def parse_shape(text: str | None) -> tuple[int, ...] | None:
    """'1,6,128' (batch first) as (6, 128).

    >>> parse_shape("1,6,128")
    (6, 128)
    """
    if text is None:
        return None
    try:
        values = tuple(int(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        values = ()
    if len(values) < 2 or values[0] != 1 or min(values) < 1 or max(values) > LARGEST_DIMENSION:
        raise UserError(f"--input-shape {text}: write it with the batch of 1 in front, e.g. 1,6,128")
    return values[1:]


def parse_preprocess(mean: str | None, std: str | None) -> Preprocess | None:
    """One value, or one a channel, of each; None where neither is given.

    >>> parse_preprocess("0.5,0.4", "0.25,0.2")
    Preprocess(mean=(0.5, 0.4), std=(0.25, 0.2))
    """
    if mean is None and std is None:
        return None
    if mean is None or std is None:
        raise UserError("--mean and --std go together: samples become (x - mean) / std; give 0 or 1 for the other")
    means, stds = _numbers("--mean", mean), _numbers("--std", std)
    if len(means) != len(stds):
        raise UserError(f"--mean has {len(means)} values, --std {len(stds)}; give as many of each, one a channel")
    if min(stds) <= 0:
        raise UserError(f"--std {std}: every value must be above 0")
    return Preprocess(means, stds)


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = (math.nan,)
    if not all(map(math.isfinite, values)):
        raise UserError(f"{option} {text}: not numbers; write one, or one a channel, e.g. 0.485,0.456,0.406")
    return values


def parse_option(option: str, text: str | None, parse: Callable[[str], T]) -> T | None:
    """The value of an option, None where it was not given; an error names the option."""
    try:
        return None if text is None else parse(text)
    except UserError as error:
        raise UserError(f"{option}: {error}") from None


def budget_of(request: Request) -> Budget:
    """Sizes and times in numbers."""
    return Budget(
        ram_bytes=parse_option("--max-ram", request.max_ram, parse_bytes),
        flash_bytes=parse_option("--max-flash", request.max_flash, parse_bytes),
        latency_ms=parse_option("--max-latency", request.max_latency, parse_ms),
        max_drop=request.max_drop,
        min_accuracy=request.min_accuracy,
        require=request.require,  # type: ignore[arg-type]
        patches=request.patches == "auto",
        slow_ram_bytes=parse_option("--slow-ram", request.slow_ram, parse_bytes) or 0,
    )


def extras_of(request: Request) -> Extras:
    """What is measured beside. Raises UserError for an option that says something of what was not asked for."""
    for flag, option, asked, value in (
        ("--robustness", "--robustness-samples", request.robustness, request.robustness_samples),
        ("--energy", "--carbon-intensity", request.energy, request.carbon_intensity),
    ):
        if value is not None and not asked:
            raise UserError(f"{option}: without {flag} this says nothing. Give {flag}, or leave it out")
    intensity = CARBON_INTENSITY if request.carbon_intensity is None else request.carbon_intensity
    return Extras((request.robustness_samples or SAMPLES) if request.robustness else 0, request.energy, intensity)


def model_of(request: Request, tell: Callable[[str], None]) -> tuple[Network | Program, bytes | None]:
    """What MODEL and its options name, with its preprocessing; and the bytes of a `.tflite`."""
    labels = read_labels(request.labels) if request.labels is not None else ()
    shape, scaling = parse_shape(request.input_shape), parse_preprocess(request.mean, request.std)
    how = How(request.weights, shape, labels, request.cut_at, request.layout, scaling, request.preprocess)
    return load(request.model, how, tell)


def options_of_data(request: Request) -> DataOptions:
    """How recordings are read."""
    skipped = tuple(name.strip() for name in (request.skip_columns or "").split(",") if name.strip())
    if request.skip_columns is not None and not skipped:
        raise UserError(f"--skip-columns {request.skip_columns}: names no column; write them as a,b")
    return DataOptions(
        request.window, request.hop, request.group_column, request.time_column, request.label_column, skipped
    )


def compile_to(
    request: Request,
    out: Path,
    tell: Callable[[str], None],
    command: Sequence[str] = (),
    progress: Progress = quiet,
    scored: Progress = quiet,
) -> Result:
    """Run one compile, as the command line asks for it, into `out`; `command` is for its run record.

    `progress` hears how many of the data's files are read, `scored` how many candidates of a removal are scored.

    Raises UserError before anything in `out` is touched where the request itself is at fault.
    """
    target, budget = find(request.target), budget_of(request)
    budget.check(target)
    options = SearchOptions(
        policy=request.policy, method=request.method, recovery=request.recovery, total_steps=request.steps,
        seed=request.seed, floor=request.floor, layer_score=request.layer_score, filter_score=request.filter_score,
        distillation=request.distill, recalibrate=request.recalibrate,
        train_only=request.train_only, low_rank=request.low_rank,
        critical_period=request.critical_period, quantization_aware=request.quantization_aware,
        reconstruct=request.reconstruct, calibration=request.calibration, samples=request.score_samples,
    )  # fmt: skip
    wanted, extras = Wanted(request.task, request.metric), extras_of(request)
    given = (request.weights, request.labels, request.preprocess)
    check_out(out, [Path(request.model), *(path for path in given if path is not None)])
    model, content = model_of(request, tell)
    data = None
    if request.data is None:
        _check_dataless(request)
    else:
        data = load_data(
            request.data, sample_shape(model), model.labels, request.seed, options_of_data(request),
            front_end=model.preprocess.front_end, tell=tell, progress=progress,
            wanted=replace(wanted, outputs=outputs_of(model)),
        )  # fmt: skip
    if request.run == "board" and request.port is None:
        raise UserError("--run board needs --port; secateur doctor lists what is connected")
    build = Build(request.run, request.port, request.optimize)  # type: ignore[arg-type]
    with working(Work(request.jobs, scored)):
        return compile_model(
            model, content, data, target, budget, options, build, out, request.resume, tell, command, extras
        )


def _check_dataless(request: Request) -> None:
    """Raise UserError for options that say something of data, where there is none."""
    names = ("window", "hop", "group_column", "time_column", "label_column", "skip_columns", "task", "metric")
    given = [f"--{name.replace('_', '-')}" for name in names if getattr(request, name) is not None]
    if given:
        raise UserError(f"{', '.join(given)}: without --data this says nothing. Give data, or leave it out")


def _idle(options: SearchOptions, resume: bool) -> list[str]:
    """Options of the search that were changed, as the command line names them."""
    usual = SearchOptions()
    names = {
        "policy": "--policy", "method": "--method", "recovery": "--recovery", "total_steps": "--steps",
        "floor": "--floor", "layer_score": "--layer-score", "filter_score": "--filter-score",
        "distillation": "--distill", "recalibrate": "--recalibrate", "train_only": "--train-only",
        "low_rank": "--low-rank", "critical_period": "--critical-period", "quantization_aware": "--quantization-aware",
        "reconstruct": "--reconstruct", "calibration": "--calibration", "samples": "--score-samples",
    }  # fmt: skip
    changed = [o for name, o in names.items() if getattr(options, name) != getattr(usual, name)]
    return changed + ["--resume"] * resume


def _named(model: Network | Program, data: Data) -> Network | Program:
    """With the data's class names, where the model has none and they are needed."""
    if model.labels or (isinstance(model, Program) and model.preprocess.front_end is None):
        return model
    fit = len(data.labels) == (model.classes if isinstance(model, Network) else outputs_of(model))
    return replace(model, labels=data.labels) if fit else model


def _check_labels(model: Network | Program) -> None:
    """Raise UserError where names and outputs are not as many; a reconstruction's are of what it tells."""
    outputs = 2 if model.preprocess.decisions.reconstructs else outputs_of(model)
    if model.labels and len(model.labels) != outputs:
        raise UserError(f"{model.name}: {len(model.labels)} labels for {outputs} outputs; give one label per output")


def _check_background(model: Network | Program) -> None:
    """Raise UserError where a class of [decisions] background is none of the model's."""
    strange = [name for name in model.preprocess.decisions.background if name not in model.labels]
    if strange:
        known = f"has {', '.join(model.labels)}" if model.labels else "names no classes; name them with --labels"
        raise UserError(f"[decisions]: background {', '.join(strange)}: {model.name} {known}")


def compile_model(
    model: Network | Program,
    content: bytes | None,
    data: Data | None,
    target: Target,
    budget: Budget,
    options: SearchOptions,
    build: Build,
    out: Path,
    resume: bool = False,
    tell: Callable[[str], None] = lambda line: None,
    command: Sequence[str] = (),
    extras: Extras = Extras(),  # noqa: B008 - frozen
) -> Result:
    """Compile what is loaded into `out`. `content`: the bytes of the `.tflite` that a Program was read from.

    The report is written last: a folder without it is not finished. Raises UserError before anything in `out`
    is touched where model, data and options do not go together.
    """
    started = time.time()
    if isinstance(model, Network) and data is None:
        raise UserError(
            f"{model.name}: a float network needs --data: recovery, calibration and the accuracy floor are "
            "measured on it (a folder, file.csv, file.npz, file.py:loader or zoo:NAME)"
        )
    if build.run == "board" and build.port is None:
        raise UserError("--run board needs --port, e.g. --port /dev/ttyUSB0; secateur doctor lists what is connected")
    budget.check(target)
    if data is None and budget.min_accuracy is not None:
        raise UserError("--min-accuracy: without --data this says nothing. Give data, or leave it out")
    if data is not None:
        data = agreed(model, data)
        check_fit(model, data)
        model = _named(model, data)
        if isinstance(model, Network):
            check_recovery(model, data, options)
            check_quantization_aware(options, data)
            POLICIES[options.policy].check_network(model)
    _check_labels(model)
    _check_background(model)
    if extras.robustness:
        robustness.check(model.name, data)
    meter = Meter() if extras.energy else None
    check_out(out, ())
    claim_out(out, resume, command, started)
    if isinstance(model, Network):
        assert data is not None
        recipe = recovery_recipe(model, data, total_steps(options, data), options)
        compiled = compile_network(
            model, data, target, budget, options, recipe, build, out, resume, tell, extras.robustness,
            meter or nullcontext(),
        )  # fmt: skip
    else:
        assert content is not None, "a Program is verified on the bytes that it was read from"
        idle = _idle(options, resume)
        if idle:
            tell(f"{model.name} enters as int8, nothing is removed from it: {', '.join(idle)} left aside")
        compiled = compile_program(
            model, content, data, target, budget, build, out, options.seed, tell, extras.robustness
        )
    if extras.energy:
        compiled = replace(compiled, carbon_intensity=extras.carbon_intensity)
    report = to_report(compiled)
    write_trace(compiled, out)
    write_report(report, out)
    spent = None
    if meter is not None and report.energy is not None:
        spent = run_document(meter.spent, report.energy, compiled.resumed)
    write_run_record(out, command, started, finished=True, energy=spent)
    flashable = compiled.after.deployed.image is not None and load_board(target.environment).chip is not None
    return Result(report, compiled, compiled.outcome.exit_code, flashable, out, spent)
