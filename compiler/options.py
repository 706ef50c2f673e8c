"""Arguments and options that commands share, each written once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

BUDGET, SEARCH, BUILD, MODEL = "Budget", "Search", "Build", "Model"
MODEL_FORMS = "net.onnx, net.tflite (int8 or float32), file.py:factory, package.module:factory or zoo:NAME"

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_FORMS)]
OutArgument = Annotated[Path, typer.Argument(metavar="OUT", help="Folder that `secateur compile -o` wrote")]
TargetOption = Annotated[str, typer.Option("--target", "-t", help="Device; `secateur targets` lists them")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout instead of text")]

MaxRam = Annotated[str | None, typer.Option(metavar="SIZE", help="e.g. 64K", rich_help_panel=BUDGET)]
MaxFlash = Annotated[str | None, typer.Option(metavar="SIZE", help="e.g. 1M", rich_help_panel=BUDGET)]
MaxLatency = Annotated[str | None, typer.Option(metavar="TIME", help="e.g. 20ms", rich_help_panel=BUDGET)]

Weights = Annotated[Path | None, typer.Option(help="w.safetensors or w.pt of a factory", rich_help_panel=MODEL)]
InputShape = Annotated[str | None, typer.Option(help="With batch, e.g. 1,6,128", rich_help_panel=MODEL)]
CutAt = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="End the network at this layer's output", rich_help_panel=MODEL),
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
Port = Annotated[str | None, typer.Option(help="Serial port of a board, e.g. /dev/ttyUSB0", rich_help_panel=BUILD)]
Floor = Annotated[int, typer.Option(min=1, help="Blocks that stay in each stage", rich_help_panel=SEARCH)]
