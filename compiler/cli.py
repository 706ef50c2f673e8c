"""The command line: a thin face of the driver. Only this file prints: results to stdout, progress to stderr."""

from __future__ import annotations

import errno
import json
import logging
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn, get_args, get_type_hints

import typer
from rich.console import Console

from secateur import __version__
from secateur.compiler import options, settings_file
from secateur.errors import MismatchError, UserError

INTERRUPTED = 130  # as a shell reports SIGINT

app = typer.Typer(
    name="secateur",
    help="Make a trained network fit a small device: remove layers and filters until its RAM, flash and latency "
    "budget holds, export int8, generate C, build, run and verify it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
bench = typer.Typer(help="Measurements that are there to be run again.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(bench, name="bench")


def main() -> None:
    """Entry point of `secateur`."""
    _guarded(lambda: app(standalone_mode=False))


def compile_main() -> None:
    """Entry point of `compile`, short for `secateur compile`."""
    sys.argv[1:1] = ["compile"]
    main()


def _guarded(run: Callable[[], Any]) -> None:
    """Errors that the user can act on end in one line and their exit code; ours keep their traceback (1)."""
    logging.basicConfig(level=os.environ.get("SECATEUR_LOG", "WARNING"), stream=sys.stderr, format="%(message)s")
    try:
        code = run()
        if code == INTERRUPTED:  # what the parser makes of Ctrl-C
            _interrupted()
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except UserError as error:
        _fail(" ".join(str(error).split()), error.exit_code)
    except MismatchError as error:
        _fail(f"BUG: {error}. Please report it with the model", error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        _interrupted()
    except BrokenPipeError:  # `secateur inspect ... | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.ENOSPC, errno.EROFS):
            _fail(f"{error.filename or 'a file'}: {error.strerror}", 2)
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # the parser's usage errors
            said = error.format_message().rstrip(".")
            context = getattr(error, "ctx", None)
            command = "secateur" if context is None else str(context.command_path)
            _fail(f"{said}; {command} --help shows what there is", 2)
        raise


def _interrupted() -> NoReturn:
    hint = "; the same command with --resume continues at the last step" if "compile" in sys.argv[1:2] else ""
    _fail(f"interrupted{hint}", INTERRUPTED)


def _fail(line: str, code: int) -> NoReturn:
    print(f"secateur: {line}", file=sys.stderr)
    sys.exit(code)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _print_json(document: Any) -> None:
    print(json.dumps(document, indent=2, sort_keys=True, allow_nan=False))


def _settings_beside(context: typer.Context, model: str) -> str:
    """Take what `secateur.toml` beside MODEL says as this command's defaults; it may hold any option of `compile`."""
    path = settings_file.settings_path(model)
    if path is not None:
        known = _options_of(compile_command)
        found = settings_file.read_settings(path, {name: kind for name, (_, kind) in known.items()})
        own = {parameter.name for parameter in context.command.params}
        taken = {name: value for name, value in found.items() if known[name][0] in own}
        context.default_map = {known[name][0]: value for name, value in taken.items()}
        if taken:
            tables = taken.get(settings_file.PREPROCESS) == str(path)
            said = ["its tables" if name == settings_file.PREPROCESS and tables else name for name in taken]
            _tell(f"taken from {path}: {', '.join(said)}")
    return model


def _options_of(command: Callable[..., None]) -> dict[str, tuple[str, settings_file.Kind]]:
    """A command's options by their long name without dashes: its parameter, and what it takes."""
    found = {}
    for parameter, hint in get_type_hints(command, include_extras=True).items():
        about = getattr(hint, "__metadata__", (None,))[0]
        if isinstance(about, typer.models.OptionInfo):
            given = (about.default, *(about.param_decls or ()))  # typer takes the first one for the default
            names = [n for n in given if isinstance(n, str) and n.startswith("--")]
            name = names[0].removeprefix("--") if names else parameter.replace("_", "-")
            kind = next(k for t, k in settings_file.KINDS if t in (get_args(hint.__origin__) or (hint.__origin__,)))
            found[name] = (parameter, kind)
    return found


ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help=options.MODEL_FORMS, is_eager=True, callback=_settings_beside)
]


@app.callback(invoke_without_command=True)
def version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop")] = False,
) -> None:
    if version:
        print(__version__)
        raise typer.Exit


@app.command("compile")
def compile_command(
    model: ModelArgument,
    target: options.TargetOption,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for everything that is written")],
    data: Annotated[str | None, typer.Option(help=options.DATA_FORMS)] = None,
    window: options.Window = None,
    hop: options.Hop = None,
    group_column: options.GroupColumn = None,
    time_column: options.TimeColumn = None,
    label_column: options.LabelColumn = None,
    max_ram: options.MaxRam = None,
    max_flash: options.MaxFlash = None,
    max_latency: options.MaxLatency = None,
    max_drop: Annotated[
        float, typer.Option(min=0, max=100, help="Points of the metric int8 may lose", rich_help_panel=options.BUDGET)
    ] = 1.0,
    min_accuracy: Annotated[
        float | None,
        typer.Option(min=0, max=100, help="Percent of the metric; replaces --max-drop", rich_help_panel=options.BUDGET),
    ] = None,
    require: Annotated[
        str, typer.Option(help="predicted, emulated or measured", rich_help_panel=options.BUDGET)
    ] = "predicted",
    policy: options.Policy = "everything",
    layer_score: options.LayerScore = "cka",
    filter_score: options.FilterScore = "plsvip",
    method: Annotated[
        str, typer.Option(help="similarity, or a control: random, first, l1, uniform", rich_help_panel=options.SEARCH)
    ] = "similarity",
    recovery: options.Recovery = "short",
    steps: options.Steps = None,
    distill: options.Distill = None,
    recalibrate: options.Recalibrate = False,
    train_only: options.TrainOnly = 1.0,
    low_rank: options.LowRank = 0,
    critical_period: options.CriticalPeriod = False,
    quantization_aware: options.QuantizationAware = "auto",
    floor: options.Floor = 2,
    seed: Annotated[int, typer.Option(min=0, rich_help_panel=options.SEARCH)] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue at the last saved step", rich_help_panel=options.SEARCH)
    ] = False,
    jobs: Annotated[
        int, typer.Option(min=1, help="Threads that score candidates; the same bytes", rich_help_panel=options.SEARCH)
    ] = 1,
    optimize: Annotated[str, typer.Option(help="balanced, size or speed", rich_help_panel=options.BUILD)] = "balanced",
    patches: options.Patches = "auto",
    slow_ram: options.SlowRam = None,
    run: Annotated[
        str, typer.Option(help="auto, host, emulator, board or none", rich_help_panel=options.BUILD)
    ] = "auto",
    port: options.Port = None,
    weights: options.Weights = None,
    input_shape: options.InputShape = None,
    cut_at: options.CutAt = None,
    layout: options.Layout = None,
    labels: options.Labels = None,
    mean: options.Mean = None,
    std: options.Std = None,
    preprocess: options.PreprocessFile = None,
    task: options.Task = None,
    metric: options.Metric = None,
    robustness: options.Robustness = False,
    robustness_samples: options.RobustnessSamples = None,
    energy: options.Energy = False,
    carbon_intensity: options.CarbonIntensity = None,
    as_json: options.JsonOption = False,
) -> None:
    """Remove until the budget holds; export, build, run, verify."""
    from secateur.compiler import session
    from secateur.compiler.reading_bar import ReadingBar

    _choose("--require", require, ("predicted", "emulated", "measured"))
    _choose("--policy", policy, options.POLICIES)
    _choose("--layer-score", layer_score, options.LAYER_SCORES)
    _choose("--filter-score", filter_score, options.FILTER_SCORES)
    _choose("--method", method, ("similarity", "random", "first", "l1", "uniform"))
    _choose("--recovery", recovery, options.RECOVERIES)
    _choose("--quantization-aware", quantization_aware, ("auto", "on", "off"))
    _choose("--optimize", optimize, ("balanced", "size", "speed"))
    _choose("--patches", patches, ("auto", "off"))
    _choose("--run", run, ("auto", "host", "emulator", "board", "none"))
    request = session.Request(
        model=model, target=target, data=data, max_ram=max_ram, max_flash=max_flash, max_latency=max_latency,
        max_drop=max_drop, min_accuracy=min_accuracy, require=require, policy=policy, method=method,
        layer_score=layer_score, filter_score=filter_score,
        recovery=recovery, jobs=jobs, steps=steps, distill=distill, recalibrate=recalibrate,
        train_only=train_only, low_rank=low_rank, critical_period=critical_period,
        quantization_aware=quantization_aware,
        floor=floor, seed=seed, resume=resume, optimize=optimize, run=run,
        patches=patches, slow_ram=slow_ram, port=port, weights=weights, input_shape=input_shape, labels=labels,
        cut_at=cut_at, layout=layout, mean=mean, std=std, task=task, metric=metric, preprocess=preprocess,
        window=window, hop=hop, group_column=group_column, time_column=time_column, label_column=label_column,
        robustness=robustness, robustness_samples=robustness_samples, energy=energy, carbon_intensity=carbon_intensity,
    )  # fmt: skip
    with ReadingBar(_tell) as progress:
        scored = progress.of("candidates")
        result = session.compile_to(request, out, progress.tell, sys.argv, progress, scored)
    if as_json:
        print((out / "report.json").read_text(), end="")
    else:
        from secateur.compiler.report.terminal import summary

        flash = f"secateur flash {shlex.quote(str(out))} --port /dev/ttyUSB0"
        command = flash if result.flashable and result.exit_code == 0 else None
        Console().print(summary(result.report, str(out / "report.html"), command, result.spent), crop=False)
    raise typer.Exit(result.exit_code)


def _choose(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UserError(f"{option} {value}: unknown; one of {', '.join(known)}")


@app.command()
def check(
    context: typer.Context,
    model: ModelArgument,
    target: Annotated[str | None, typer.Option("--target", "-t", help="Device")] = None,
    all_targets: Annotated[bool, typer.Option("--all-targets", help="Every device but the host")] = False,
    max_ram: options.MaxRam = None,
    max_flash: options.MaxFlash = None,
    max_latency: options.MaxLatency = None,
    patches: options.Patches = "auto",
    slow_ram: options.SlowRam = None,
    weights: options.Weights = None,
    input_shape: options.InputShape = None,
    cut_at: options.CutAt = None,
    preprocess: options.PreprocessFile = None,
    layout: options.Layout = None,
    as_json: options.JsonOption = False,
) -> None:
    """Does it fit, and why not? Predicted; changes nothing. Exit 3 where it fits no device asked for."""
    from secateur.compiler import look
    from secateur.compiler.session import Request

    _choose("--patches", patches, ("auto", "off"))
    source = context.get_parameter_source("target")
    if all_targets and source is not None and source.name == "DEFAULT_MAP":  # secateur.toml names its usual one
        target = None
    request = Request(
        model, target or "", max_ram=max_ram, max_flash=max_flash, max_latency=max_latency, patches=patches,
        slow_ram=slow_ram, weights=weights, input_shape=input_shape, cut_at=cut_at, preprocess=preprocess,
        layout=layout,
    )  # fmt: skip
    rows = look.check(request, all_targets, _tell)
    if as_json:
        _print_json([row.document() for row in rows])
    else:
        Console().print(look.check_table(rows))
        for row in rows:
            for line in (row.patches, row.slow, row.front_end, row.why):
                if line:
                    print(line)
    raise typer.Exit(0 if any(row.fits for row in rows) else 3)


@app.command()
def inspect(
    model: ModelArgument,
    target: Annotated[str, typer.Option("--target", "-t", help="Device whose costs are shown")] = "esp32",
    weights: options.Weights = None,
    input_shape: options.InputShape = None,
    cut_at: options.CutAt = None,
    preprocess: options.PreprocessFile = None,
    layout: options.Layout = None,
    floor: options.Floor = 2,
    as_json: options.JsonOption = False,
) -> None:
    """Layers, their cost, what is removable, and why the rest is not."""
    from secateur.compiler import look
    from secateur.compiler.session import Request

    found = look.inspect(
        Request(
            model, target, weights=weights, input_shape=input_shape, cut_at=cut_at, floor=floor,
            preprocess=preprocess, layout=layout,
        ),
        _tell,
    )  # fmt: skip
    if as_json:
        _print_json(found.document())
    else:
        Console().print(found.renderable())


@app.command()
def targets(
    name: Annotated[str | None, typer.Argument(help="One device, in full")] = None,
    as_json: options.JsonOption = False,
) -> None:
    """Devices and what we know of each."""
    from secateur.compiler import look

    if as_json:
        _print_json(look.targets_document(name))
    else:
        Console().print(look.targets_table(name))


@app.command()
def doctor(as_json: options.JsonOption = False) -> None:
    """What is installed, what is missing, and what installs it."""
    from dataclasses import asdict

    from secateur.compiler import look
    from secateur.compiler.doctor import examine

    findings = examine()
    if as_json:
        _print_json([asdict(f) for f in findings])
    else:
        Console().print(look.doctor_table(findings))


@app.command("build")
def build_command(
    out: options.OutArgument,
    env: Annotated[str | None, typer.Option(help="Environment; the target's by default")] = None,
    as_json: options.JsonOption = False,
) -> None:
    """Build the firmware that compile wrote."""
    from secateur.compiler import steps

    image = steps.build_out(out, env)
    _show(steps.image_document(image), as_json)


@app.command("run")
def run_command(
    out: options.OutArgument,
    env: Annotated[str | None, typer.Option(help="Environment; the target's emulator by default")] = None,
    port: options.Port = None,
    as_json: options.JsonOption = False,
) -> None:
    """Run the firmware that compile wrote; compare every output.

    Each value of the embedded samples must equal the golden runtime's. An environment that ends in -example runs the
    plain example instead, and prints its lines.
    """
    from secateur.compiler import steps

    if env is not None and steps.is_example(env):
        said = steps.run_example(out, env, port)
        if as_json:
            _print_json({"environment": env, "lines": said.splitlines()})
        else:
            print(said, end="")
        return
    _show(steps.run_out(out, env, port), as_json)


@app.command()
def flash(
    out: options.OutArgument,
    port: Annotated[str, typer.Option(help="Serial port or socket:// of the board")],
    env: Annotated[str | None, typer.Option(help="Environment; the target's by default")] = None,
    as_json: options.JsonOption = False,
) -> None:
    """Build where needed, write the chip, verify and read back."""
    from secateur.compiler import steps

    _show(steps.flash_out(out, env, port, _tell), as_json)


@bench.command("device")
def bench_device(
    out: options.OutArgument,
    port: options.Port = None,
    as_json: options.JsonOption = False,
) -> None:
    """Instructions (or a board's cycles), in total and by layer, stack, RAM and flash of every environment."""
    from secateur.compiler import steps

    rows = steps.bench_device(out, port, _tell)
    if as_json:
        _print_json(rows)
    else:
        Console().print(steps.bench_table(rows))


@bench.command("pruning")
def bench_pruning(
    model: ModelArgument,
    target: options.TargetOption,
    data: Annotated[
        str, typer.Option(help=f"{options.DATA_FORMS}; with --folds file.py:function, a dict of x, y and groups")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the tables, the plot and every run")],
    max_ram: options.MaxRam = None,
    max_flash: options.MaxFlash = None,
    max_latency: options.MaxLatency = None,
    shares: Annotated[
        str | None,
        typer.Option(metavar="A,B,..", help="Budgets as percentages of the original's predicted latency, e.g. 50,25"),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps of every method")] = 1000,
    recovery: Annotated[str, typer.Option(help="short, full or published: the recipe of every method")] = "short",
    seeds: Annotated[int | None, typer.Option(min=1, help="How many seeds; 3, or 1 a fold")] = None,
    folds: Annotated[
        int | None, typer.Option(min=3, help="Divide by group; MODEL is trained anew on each fold")
    ] = None,
    train_steps: Annotated[int, typer.Option(min=1, help="Optimizer steps of a fold's network")] = 500,
    methods: Annotated[str | None, typer.Option(metavar="A,B,..", help="Some of the methods; all by default")] = None,
    emulate: Annotated[bool, typer.Option("--emulate", help="Build and run every result in the emulator")] = False,
    metric: options.Metric = None,
    weights: options.Weights = None,
    input_shape: options.InputShape = None,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time")] = 2,
    as_json: options.JsonOption = False,
) -> None:
    """Our methods beside their controls at equal training: random, first in order, L1, uniform, from scratch."""
    from secateur.compiler.bench import pruning, pruning_plan, pruning_tables
    from secateur.compiler.session import Request

    request = Request(
        model, target, data, max_ram, max_flash, max_latency, steps=steps, recovery=recovery, weights=weights,
        input_shape=input_shape,
    )  # fmt: skip
    chosen = pruning_plan.METHODS if methods is None else tuple(methods.split(","))
    wanted = pruning_plan.parse_shares(shares)
    cases = seeds or (1 if folds else 3)
    plan = pruning_plan.Plan(request, cases, wanted, folds, train_steps, chosen, metric, emulate)
    rows = pruning.bench(plan, jobs, out, _tell)
    word = metric or "accuracy"
    text = pruning_tables.markdown(rows, steps, word)
    (out / "pruning.md").write_text(text)
    pruning_tables.plot(rows, out / "pruning.svg", f"{model} on {data}, {target}", word)
    if as_json:
        _print_json([row.document() for row in rows])
    else:
        print(text, end="")


@bench.command("loso")
def bench_loso(
    data: Annotated[str, typer.Argument(metavar="DATA", help="file.py:function, a dict of x, y and groups")],
    target: options.TargetOption,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the tables and of every fold")],
    max_ram: options.MaxRam = None,
    max_flash: options.MaxFlash = None,
    max_latency: options.MaxLatency = None,
    max_drop: Annotated[float, typer.Option(min=0, help="Points of accuracy int8 may lose on validation")] = 1.0,
    train_steps: Annotated[int, typer.Option(min=1, help="Optimizer steps of the network before removal")] = 500,
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps of recovery")] = 300,
    seed: Annotated[int, typer.Option(help="Of weights, training and search")] = 0,
    as_json: options.JsonOption = False,
) -> None:
    """Leave each person out in turn: accuracy and macro F1 before, after removal and recovery, after int8."""
    from secateur.compiler.bench import folds, loso
    from secateur.compiler.session import Request, budget_of
    from secateur.targets.target import find

    budget = budget_of(Request("zoo:har-resnet", target, data, max_ram, max_flash, max_latency, max_drop))
    found = loso.bench(folds.load_recordings(data), find(target), budget, out, train_steps, steps, seed, _tell)
    if as_json:
        _print_json(loso.document(found))
    else:
        print(loso.markdown(found), end="")


@bench.command("search")
def bench_search(
    only: Annotated[str | None, typer.Option(help="layers or filters; both by default")] = None,
    images: Annotated[int, typer.Option(min=8, help="CIFAR-10 images, or noise where SECATEUR_DATA has none")] = 1000,
    repeats: Annotated[int, typer.Option(min=1, help="Times that each side runs; the median counts")] = 5,
    batch: Annotated[int, typer.Option(min=1, help="Images at a time, on both sides")] = 100,
    jobs: Annotated[int, typer.Option(min=1, help="Threads of both sides")] = 1,
    as_json: options.JsonOption = False,
) -> None:
    """Scores of all layers of ResNet-110 and all filters of ResNet-56: one after the other, and by one walk."""
    from secateur.compiler.bench import search
    from secateur.compiler.reading_bar import ReadingBar

    if only is not None:
        _choose("--only", only, ("layers", "filters"))
    chosen = search.Options(images, repeats, batch, jobs)
    found = {}
    with ReadingBar(_tell, unit="scores") as progress:
        for part in ("layers", "filters") if only is None else (only,):
            found[part] = search.bench(part, chosen, progress, progress.tell)
    if as_json:
        _print_json(search.document(found, chosen))
    else:
        print(search.markdown(found, chosen), end="")


@bench.command("architectures")
def bench_architectures(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Rows of the table; all by default")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Samples that int8 is compared with float on")] = 8,
    compared: Annotated[int, typer.Option(min=0, help="Samples that the image computes; 0: none is built")] = 4,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of finished rows, which a stopped run continues from")
    ] = None,
    as_json: options.JsonOption = False,
) -> None:
    """What can be removed from each architecture, proven; then cut, trained a step, int8, and an exact image."""
    from secateur.compiler.bench import architectures

    for name in names or ():
        _choose("NAME", name, tuple(dict.fromkeys(s.name for s in architectures.SUBJECTS)))
    chosen = architectures.Options(samples=samples, compared=compared)
    rows = architectures.bench(names or (), chosen, _tell, out)
    if as_json:
        _print_json(architectures.document(rows, chosen))
    else:
        print(architectures.markdown(rows), end="")


@bench.command("kernels")
def bench_kernels(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE.tflite]...", help="The zoo's small networks by default")
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option("--target", "-t", help="Back end, may be repeated; all by default")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Samples that each network computes on each back end")] = 4,
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FOLDER",
            help="Another stack, measured beside ours; may be repeated. FOLDER holds its networks as static libraries "
            "NETWORK.BACK_END.a that you have built, with the functions of firmware/templates/other_stack/sec_other.h",
        ),
    ] = None,
    as_json: options.JsonOption = False,
) -> None:
    """Int8 networks on every back end: MACs, instructions, arena, stack, flash, each output against the golden."""
    from secateur.compiler.bench import against as beside
    from secateur.compiler.bench import kernels
    from secateur.models.zoo.small import SMALL

    stacks = beside.parse_stacks(against or ())
    subjects = [kernels.from_file(path, samples) for path in files or ()]
    subjects = subjects or [kernels.from_zoo(name, samples) for name in SMALL]
    if stacks:
        rows = beside.bench(subjects, target or kernels.BACK_ENDS, stacks, _tell)
        if as_json:
            _print_json([document for row in rows for document in row.documents()])
        else:
            print(beside.markdown(rows), end="")
        return
    cells = kernels.bench(subjects, target or kernels.BACK_ENDS, tell=_tell)
    if as_json:
        _print_json([cell.document() for cell in cells])
    else:
        print(kernels.markdown(cells), end="")


@bench.command("calibrate")
def bench_calibrate(
    to: Annotated[Path | None, typer.Option(help="Where to write; the package's own costs.toml by default")] = None,
) -> None:
    """Measure the instruction and code-size model of every instruction set in the emulators."""
    from secateur.compiler.bench.calibrate import calibrate
    from secateur.firmware.codegen import KERNEL_FOLDER

    print(calibrate(to or KERNEL_FOLDER / "costs.toml"), end="")


def _show(document: dict[str, Any], as_json: bool) -> None:
    if as_json:
        _print_json(document)
        return
    for key, value in document.items():
        text = "unknown" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
        print(f"{key:22s} {text}")
