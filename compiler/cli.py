"""The command line: a thin face of the driver. Only `cli*.py` print: results to stdout, progress to stderr."""

from __future__ import annotations

import errno
import logging
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from secateur import __version__
from secateur.compiler import cli_bench, options
from secateur.compiler.cli_shared import ModelArgument, check_paths, choose, print_json, tell
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
app.add_typer(cli_bench.bench, name="bench")


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
    skip_columns: options.SkipColumns = None,
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
    filter_score: options.FilterScore = "auto",
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
    reconstruct: options.Reconstruct = "auto",
    calibration: options.Calibration = "minmax",
    floor: options.Floor = 2,
    score_samples: options.ScoreSamples = 256,
    seed: Annotated[int, typer.Option(min=0, max=options.SEEDS - 1, rich_help_panel=options.SEARCH)] = 0,
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
    check_paths(model, data)
    from secateur.compiler import session
    from secateur.compiler.reading_bar import ReadingBar

    choose("--require", require, ("predicted", "emulated", "measured"))
    choose("--policy", policy, options.POLICIES)
    choose("--layer-score", layer_score, options.LAYER_SCORES)
    choose("--filter-score", filter_score, options.FILTER_SCORES)
    choose("--method", method, ("similarity", "random", "first", "l1", "uniform"))
    choose("--recovery", recovery, options.RECOVERIES)
    choose("--quantization-aware", quantization_aware, ("auto", "on", "off"))
    choose("--reconstruct", reconstruct, ("auto", "on", "off"))
    choose("--calibration", calibration, options.CALIBRATIONS)
    choose("--optimize", optimize, ("balanced", "size", "speed"))
    choose("--patches", patches, ("auto", "off"))
    choose("--run", run, ("auto", "host", "emulator", "board", "none"))
    request = session.Request(
        model=model, target=target, data=data, max_ram=max_ram, max_flash=max_flash, max_latency=max_latency,
        max_drop=max_drop, min_accuracy=min_accuracy, require=require, policy=policy, method=method,
        layer_score=layer_score, filter_score=filter_score,
        recovery=recovery, jobs=jobs, steps=steps, distill=distill, recalibrate=recalibrate,
        train_only=train_only, low_rank=low_rank, critical_period=critical_period,
        quantization_aware=quantization_aware, reconstruct=reconstruct, calibration=calibration,
        floor=floor, score_samples=score_samples, seed=seed, resume=resume, optimize=optimize, run=run,
        patches=patches, slow_ram=slow_ram, port=port, weights=weights, input_shape=input_shape, labels=labels,
        cut_at=cut_at, layout=layout, mean=mean, std=std, task=task, metric=metric, preprocess=preprocess,
        window=window, hop=hop, group_column=group_column, time_column=time_column, label_column=label_column,
        skip_columns=skip_columns,
        robustness=robustness, robustness_samples=robustness_samples, energy=energy, carbon_intensity=carbon_intensity,
    )  # fmt: skip
    with ReadingBar(tell) as progress:
        scored = progress.of("parts")
        result = session.compile_to(request, out, progress.tell, sys.argv, progress, scored)
    if as_json:
        print((out / "report.json").read_text(), end="")
    else:
        from secateur.compiler.report.terminal import summary

        flash = f"secateur flash {shlex.quote(str(out))} --port /dev/ttyUSB0"
        command = flash if result.flashable and result.exit_code == 0 else None
        Console().print(summary(result.report, str(out / "report.html"), command, result.spent), crop=False)
    raise typer.Exit(result.exit_code)


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
    check_paths(model)
    from secateur.compiler import look
    from secateur.compiler.session import Request

    choose("--patches", patches, ("auto", "off"))
    source = context.get_parameter_source("target")
    if all_targets and source is not None and source.name == "DEFAULT_MAP":  # secateur.toml names its usual one
        target = None
    request = Request(
        model, target or "", max_ram=max_ram, max_flash=max_flash, max_latency=max_latency, patches=patches,
        slow_ram=slow_ram, weights=weights, input_shape=input_shape, cut_at=cut_at, preprocess=preprocess,
        layout=layout,
    )  # fmt: skip
    rows = look.check(request, all_targets, tell)
    if as_json:
        print_json([row.document() for row in rows])
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
    check_paths(model)
    from secateur.compiler import look
    from secateur.compiler.session import Request

    found = look.inspect(
        Request(
            model, target, weights=weights, input_shape=input_shape, cut_at=cut_at, floor=floor,
            preprocess=preprocess, layout=layout,
        ),
        tell,
    )  # fmt: skip
    if as_json:
        print_json(found.document())
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
        print_json(look.targets_document(name))
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
        print_json([asdict(f) for f in findings])
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
            print_json({"environment": env, "lines": said.splitlines()})
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

    _show(steps.flash_out(out, env, port, tell), as_json)


def _show(document: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(document)
        return
    for key, value in document.items():
        text = "unknown" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
        print(f"{key:22s} {text}")
