"""Arguments and options that commands share, each written once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

BUDGET, SEARCH, RECOVERY, BUILD = "Budget", "Search", "Recovery", "Build"
MODEL, DATA, BESIDE = "Model", "Data", "Measured beside"
DATA_FORMS = "A folder of images, WAV or CSV files, file.csv, file.npz, file.py:loader or zoo:NAME"
MODEL_FORMS = (
    "net.onnx (float32 or QDQ int8), net.tflite (int8 or float32), net.keras, net.h5, a SavedModel folder, "
    "file.py:factory, package.module:factory or zoo:NAME. A secateur.toml beside it may hold any option, --target and "
    "--out too"
)

POLICIES = (
    "everything", "layers", "filters", "children", "children-published", "mixture", "tickets", "rewind", "growth",
)  # fmt: skip
LAYER_SCORES = (
    "cka", "cka-biased", "cka-flow", "consensus", "kl", "taylor", "snip", "l1", "l2", "bn-scale", "random", "first",
)  # fmt: skip
FILTER_SCORES = (
    "auto", "reconstruction", "plsvip", "cipls", "cka", "kl", "taylor", "amp", "l1", "l2", "bn-scale", "random",
    "first",
)  # fmt: skip
"""The names of `policies` and of `score_catalogue`, whose import takes seconds; `auto` is one of them, by recovery."""
LEAST_SAMPLES = 40
"""That scores are of, where there are as many; scores that look at samples refuse fewer."""
SEEDS = 2**32
"""How many seeds there are; a training's own is a multiple of the run's, which generators must hold."""
RECOVERIES = ("short", "full", "published", "scratch", "best", "bn", "none")
"""`recovery.MODES`, whose import takes seconds."""
CALIBRATIONS = ("minmax", "output")
"""`post_training.CALIBRATIONS`, whose import takes seconds."""

OutArgument = Annotated[Path, typer.Argument(metavar="OUT", help="Folder that `secateur compile -o` wrote")]
TargetOption = Annotated[str, typer.Option("--target", "-t", help="Device; `secateur targets` lists them")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout instead of text")]

MaxRam = Annotated[str | None, typer.Option(metavar="SIZE", help="e.g. 64K", rich_help_panel=BUDGET)]
MaxFlash = Annotated[str | None, typer.Option(metavar="SIZE", help="e.g. 1M", rich_help_panel=BUDGET)]
MaxLatency = Annotated[str | None, typer.Option(metavar="TIME", help="e.g. 20ms", rich_help_panel=BUDGET)]

Weights = Annotated[
    Path | None, typer.Option(help="w.safetensors or w.pt of a factory, w.h5 of a net.json", rich_help_panel=MODEL)
]
InputShape = Annotated[str | None, typer.Option(help="With batch, e.g. 1,6,128", rich_help_panel=MODEL)]
CutAt = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="End the network at this layer's output", rich_help_panel=MODEL),
]
Layout = Annotated[
    str | None,
    typer.Option(help="nchw or nhwc, of an ONNX file's input; found out where it says", rich_help_panel=MODEL),
]
Labels = Annotated[Path | None, typer.Option(help="Class names, one a line", rich_help_panel=MODEL)]
Mean = Annotated[
    str | None,
    typer.Option(metavar="A,B,..", help="Samples become (x - mean) / std; one a channel", rich_help_panel=MODEL),
]
Std = Annotated[str | None, typer.Option(metavar="A,B,..", help="See --mean", rich_help_panel=MODEL)]
PreprocessFile = Annotated[
    Path | None,
    typer.Option(
        "--preprocess",
        help="TOML: sensor, features, windows, mean and std, decisions (docs/front-end.md)",
        rich_help_panel=MODEL,
    ),
]
Window = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Samples of a recording in a window", rich_help_panel=DATA),
]
Hop = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Samples from window to window; half of it", rich_help_panel=DATA),
]
GroupColumn = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="CSV: what stays on one side, as a person; else the file", rich_help_panel=DATA),
]
TimeColumn = Annotated[
    str | None, typer.Option(metavar="NAME", help="CSV: timestamps, numbers or dates", rich_help_panel=DATA)
]
LabelColumn = Annotated[
    str | None, typer.Option(metavar="NAME", help="CSV: the class; else the folder's name", rich_help_panel=DATA)
]
SkipColumns = Annotated[
    str | None, typer.Option(metavar="A,B,..", help="CSV: columns that are no channels", rich_help_panel=DATA)
]
Patches = Annotated[
    str,
    typer.Option(
        help="auto: above the RAM limit, wide layers run band of rows by band of rows; or off",
        rich_help_panel=BUILD,
    ),
]
SlowRam = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="Memory slower than RAM that activations may use, e.g. 1M of PSRAM",
        rich_help_panel=BUILD,
    ),
]
Task = Annotated[
    str | None,
    typer.Option(
        help="classification, multi-label, regression, anomaly, or agreement with the input network; found from the "
        "labels where they show it",
        rich_help_panel=DATA,
    ),
]
Metric = Annotated[
    str | None,
    typer.Option(help="accuracy, balanced or macro-f1 of classes; others have one", rich_help_panel=DATA),
]
Policy = Annotated[
    str,
    typer.Option(
        help=f"{', '.join(POLICIES)}: what competes to go, and how it is chosen (docs/policies.md)",
        rich_help_panel=SEARCH,
    ),
]
Robustness = Annotated[
    bool,
    typer.Option("--robustness", help="FGSM, PGD and corruptions, before and after", rich_help_panel=BESIDE),
]
RobustnessSamples = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Test samples that it is measured on; 256", rich_help_panel=BESIDE),
]
Energy = Annotated[
    bool,
    typer.Option(
        "--energy",
        help="Energy and CO2-eq of search and recovery, and of an inference (pip install 'secateur[energy]')",
        rich_help_panel=BESIDE,
    ),
]
CarbonIntensity = Annotated[
    float | None,
    typer.Option(min=0, metavar="KG", help="kg of CO2-eq per kWh, for --energy; 0.432", rich_help_panel=BESIDE),
]
LayerScore = Annotated[
    str,
    typer.Option(
        help=f"{', '.join(LAYER_SCORES)}. Chooses where only layers go; else another one than cka sends its best layer "
        "to compete with filters",
        rich_help_panel=SEARCH,
    ),
]
FilterScore = Annotated[
    str,
    typer.Option(
        help=f"{', '.join(FILTER_SCORES)}: which filters of a group go first; auto is reconstruction where what is "
        "left is fitted (--reconstruct), else plsvip",
        rich_help_panel=SEARCH,
    ),
]
Port = Annotated[str | None, typer.Option(help="Serial port of a board, e.g. /dev/ttyUSB0", rich_help_panel=BUILD)]
ScoreSamples = Annotated[
    int,
    typer.Option(
        min=LEAST_SAMPLES,
        help="Recovery samples that layers and filters are scored on, at most: more tell closer scores apart and take "
        "longer",
        rich_help_panel=SEARCH,
    ),
]

Floor = Annotated[int, typer.Option(min=1, help="Blocks that stay in each stage", rich_help_panel=SEARCH)]

Recovery = Annotated[
    str,
    typer.Option(
        help="short (after cuts that harm, and at the end), full (at the end), published (at the end, by the papers' "
        "recipe), scratch (at the end, from random weights), best (of short and scratch), bn (batch norms' statistics, "
        "no training) or none",
        rich_help_panel=RECOVERY,
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(min=0, help="Of all training; 1000, of published its 200 epochs", rich_help_panel=RECOVERY),
]
Distill = Annotated[
    float | None,
    typer.Option(
        min=0, max=1,
        help="Share of the loss that follows the input network; 0.7, of published 0 (none)",
        rich_help_panel=RECOVERY,
    ),
]  # fmt: skip
TrainOnly = Annotated[
    float,
    typer.Option(
        help="Share of the layers that is trained: those that change most what goes through them (CKA)",
        rich_help_panel=RECOVERY,
    ),
]
LowRank = Annotated[
    int,
    typer.Option(
        min=0, metavar="RANK",
        help="Train low-rank adapters of linear layers and 1 x 1 convolutions, merged afterwards; 0: the weights",
        rich_help_panel=RECOVERY,
    ),
]  # fmt: skip
CriticalPeriod = Annotated[
    bool,
    typer.Option(
        "--critical-period",
        help="Stop augmentation, and an epoch's copies, when the weights turn slowly: fewer steps",
        rich_help_panel=RECOVERY,
    ),
]
QuantizationAware = Annotated[
    str,
    typer.Option(
        help="auto (where int8 loses over 0.5 points of float), on or off: a fifth more steps, on values rounded to "
        "int8, kept where int8 gains",
        rich_help_panel=RECOVERY,
    ),
]
Calibration = Annotated[
    str,
    typer.Option(
        help="How int8 is found: minmax (ranges that clip nothing, weights to the nearest) or output (both such that "
        "the outputs err least; seconds more, for large networks minutes)",
        rich_help_panel=BUILD,
    ),
]
Reconstruct = Annotated[
    str,
    typer.Option(
        help="Fit what each removal leaves to the values before it, without training: auto (with --recovery short, "
        "full and best), on or off",
        rich_help_panel=RECOVERY,
    ),
]
Recalibrate = Annotated[
    bool,
    typer.Option("--recalibrate", help="Measure batch norms anew after each removal", rich_help_panel=RECOVERY),
]
