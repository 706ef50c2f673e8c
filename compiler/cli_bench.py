"""The commands of `secateur bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from secateur.compiler import options
from secateur.compiler.cli_shared import ModelArgument, check_paths, choose, print_json, tell

bench = typer.Typer(help="Measurements that are there to be run again.", no_args_is_help=True, rich_markup_mode=None)


@bench.command("device")
def bench_device(
    out: options.OutArgument,
    port: options.Port = None,
    as_json: options.JsonOption = False,
) -> None:
    """Instructions (or a board's cycles), in total and by layer, stack, RAM and flash of every environment."""
    from secateur.compiler import steps

    rows = steps.bench_device(out, port, tell)
    if as_json:
        print_json(rows)
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
    check_paths(model, data)
    from secateur.compiler.bench import pruning, pruning_plan
    from secateur.compiler.session import Request

    request = Request(
        model, target, data, max_ram, max_flash, max_latency, steps=steps, recovery=recovery, weights=weights,
        input_shape=input_shape,
    )  # fmt: skip
    chosen = pruning_plan.METHODS if methods is None else tuple(methods.split(","))
    wanted = pruning_plan.parse_shares(shares)
    cases = seeds or (1 if folds else 3)
    plan = pruning_plan.Plan(request, cases, wanted, folds, train_steps, chosen, metric, emulate)
    rows = pruning.bench(plan, jobs, out, tell)
    if as_json:
        print_json([row.document() for row in rows])
    else:
        print((out / "pruning.md").read_text(), end="")


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
    seed: Annotated[int, typer.Option(min=0, max=options.SEEDS - 1, help="Of weights, training and search")] = 0,
    as_json: options.JsonOption = False,
) -> None:
    """Leave each person out in turn: accuracy and macro F1 before, after removal and recovery, after int8."""
    from secateur.compiler.bench import folds, loso
    from secateur.compiler.session import Request, budget_of
    from secateur.targets.target import find

    budget = budget_of(Request("zoo:har-resnet", target, data, max_ram, max_flash, max_latency, max_drop))
    found = loso.bench(folds.load_recordings(data), find(target), budget, out, train_steps, steps, seed, tell)
    if as_json:
        print_json(loso.document(found))
    else:
        print(loso.markdown(found), end="")


@bench.command("search")
def bench_search(
    only: Annotated[str | None, typer.Option(help="layers or filters; both by default")] = None,
    images: Annotated[int, typer.Option(min=8, help="CIFAR-10 images, or noise where SECATEUR_DATA has none")] = 1000,
    repeats: Annotated[int, typer.Option(min=1, help="Times that each side runs; the median counts")] = 5,
    batch: Annotated[int, typer.Option(min=1, help="Images at a time, on both sides")] = 100,
    jobs: Annotated[int, typer.Option(min=1, help="Threads of both sides")] = 1,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of finished repeats, which a stopped run continues from")
    ] = None,
    as_json: options.JsonOption = False,
) -> None:
    """Scores of all layers of ResNet-110 and all filters of ResNet-56: one after the other, and by one walk."""
    from secateur.compiler.bench import search
    from secateur.compiler.reading_bar import ReadingBar

    if only is not None:
        choose("--only", only, ("layers", "filters"))
    chosen = search.Options(images, repeats, batch, jobs)
    found = {}
    with ReadingBar(tell, unit="scores") as progress:
        for part in ("layers", "filters") if only is None else (only,):
            found[part] = search.bench(part, chosen, progress, progress.tell, out)
    if as_json:
        print_json(search.document(found, chosen))
    else:
        print(search.markdown(found, chosen), end="")


@bench.command("architectures")
def bench_architectures(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Rows of the table; all by default")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Samples that int8 is compared with float on")] = 8,
    compared: Annotated[int, typer.Option(min=0, help="Samples that the image computes; 0: none is built")] = 4,
    steps: Annotated[
        int, typer.Option(min=0, help="That networks of pictures are trained for on CIFAR-10 before they become int8")
    ] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of finished rows, which a stopped run continues from")
    ] = None,
    as_json: options.JsonOption = False,
) -> None:
    """What can be removed from each architecture, proven; then cut, trained a step, int8, and an exact image."""
    from secateur.compiler.bench import architectures, architectures_tables

    for name in names or ():
        choose("NAME", name, tuple(dict.fromkeys(s.name for s in architectures.SUBJECTS)))
    chosen = architectures.Options(samples=samples, compared=compared, steps=steps)
    rows = architectures.bench(names or (), chosen, tell, out)
    if as_json:
        print_json(architectures_tables.document(rows, chosen))
    else:
        print(architectures_tables.markdown(rows), end="")


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
            help="Another stack, measured beside ours; may be repeated. tflm=FOLDER and cmsis-nn=FOLDER: your source "
            "trees of TFLite Micro and CMSIS-NN (with both, its kernels under that interpreter). Or FOLDER holds "
            "static libraries NETWORK.BACK_END.a of yours, with the functions of "
            "firmware/templates/other_stack/sec_other.h",
        ),
    ] = None,
    as_json: options.JsonOption = False,
) -> None:
    """Int8 networks on every back end: MACs, instructions, arena, stack, flash, each output against the golden."""
    from secateur.compiler.bench import against as beside
    from secateur.compiler.bench import kernels
    from secateur.compiler.bench.stacks import parse_stacks
    from secateur.models.zoo.small import SMALL

    stacks = parse_stacks(against or ())
    subjects = [kernels.from_file(path, samples) for path in files or ()]
    subjects = subjects or [kernels.from_zoo(name, samples) for name in SMALL]
    if stacks:
        rows = beside.bench(subjects, target or kernels.BACK_ENDS, stacks, tell)
        if as_json:
            print_json([document for row in rows for document in row.documents()])
        else:
            print(beside.markdown(rows), end="")
        return
    cells = kernels.bench(subjects, target or kernels.BACK_ENDS, tell=tell)
    if as_json:
        print_json([cell.document() for cell in cells])
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
