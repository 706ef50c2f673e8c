"""Train the weights that the zoo ships: `python -m secateur.models.zoo.train NAME [--output FILE]`.

Trained on the recovery groups, the best state chosen on the validation groups, the test groups measured once
at the end. One thread, so that a run on the same library versions and processor family gives the same file.
"""
# ruff: noqa: T201 - a program of its own: its results go to stdout

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

from secateur.errors import UserError
from secateur.models.data import Split
from secateur.models.preprocess import Preprocess
from secateur.models.training import Recipe, fit, predict, reinitialize
from secateur.models.zoo import catalogue, digits, keywords, watch

WATCH = Recipe(
    steps=4000,
    batch=64,
    lr=0.05,
    weight_decay=1e-3,
    label_smoothing=0.1,
    augmentation=watch.AUGMENTATION,
    evaluations=20,
)

WATCH_TRANSFORMER = Recipe(
    steps=3000,
    batch=64,
    lr=2e-3,
    optimizer="adamw",
    schedule="one-cycle",
    weight_decay=0.05,
    decayed="matrices",  # what the shipped weights were trained with
    label_smoothing=0.1,
    augmentation=watch.AUGMENTATION,
    evaluations=20,
)

DIGITS = Recipe(steps=600, batch=64, lr=0.1, weight_decay=1e-3, augmentation=digits.AUGMENTATION)

KEYWORDS = Recipe(
    steps=2000,
    batch=64,
    lr=0.05,
    weight_decay=1e-3,
    label_smoothing=0.1,
    augmentation=keywords.AUGMENTATION,
)

RECIPES = {
    "watch-resnet": WATCH, "watch-transformer": WATCH_TRANSFORMER, "digits-net": DIGITS, "keywords-dscnn": KEYWORDS,
}  # fmt: skip


def train(name: str, output: Path, seed: int = 0) -> dict[str, float]:
    """Train one entry and write its file; returns accuracy by set, in percent. Progress goes to stderr."""
    if name not in RECIPES:
        raise UserError(f"{name}: no recipe; the zoo trains {', '.join(RECIPES)}")
    torch.set_num_threads(1)
    recipe, entry = RECIPES[name], catalogue.ENTRIES[name]
    data = catalogue.zoo_data(name)
    module = entry.build()
    reinitialize(module, seed)
    preprocess = watch.standardize(data.recovery.x)
    if name == "digits-net":  # border pixels are constant and the image is one channel: 0..16 to 0..1
        preprocess = Preprocess((0.0,), (16.0,))
    start = time.monotonic()

    def progress(step: int, loss: float) -> None:
        if step % 250 == 0:
            seconds = time.monotonic() - start
            print(
                f"step {step} of {recipe.steps}  loss {loss:.3f}  {seconds:.0f} s",
                file=sys.stderr,
                flush=True,
            )

    log = fit(module, data.recovery, recipe, seed, preprocess, data.validation, on_step=progress)
    sets = {"recovery": data.recovery, "validation": data.validation, "test": data.test}
    accuracy = {key: _accuracy(module, split, preprocess) for key, split in sets.items()}
    about = {
        "preprocess": {"mean": preprocess.mean, "std": preprocess.std},
        "command": f"python -m secateur.models.zoo.train {name} --seed {seed}",
        "groups": {key: np.unique(split.groups).tolist() for key, split in sets.items()},
        "accuracy_percent": {key: round(value, 2) for key, value in accuracy.items()},
        "chosen_step": log.best_step,
        "torch": torch.__version__,
    }
    catalogue.write_weights(module, output, about)
    return accuracy


def _accuracy(module: torch.nn.Module, split: Split, preprocess: Preprocess) -> float:
    return 100 * float((predict(module, split.x, preprocess).argmax(1) == split.y).mean())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m secateur.models.zoo.train", description=__doc__)
    parser.add_argument("name", choices=sorted(RECIPES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="default: the file that the package ships")
    arguments = parser.parse_args()
    try:
        found = train(arguments.name, arguments.output or catalogue.weights_path(arguments.name), arguments.seed)
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    for key, value in found.items():
        print(f"{key:<11}{value:6.2f} %")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
