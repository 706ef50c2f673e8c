"""CIFAR-10 for benchmarks, where SECATEUR_DATA or shared/data has it; networks with random weights learn from it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from secateur.errors import UserError
from secateur.models.data import Split
from secateur.models.network import Network
from secateur.models.preprocess import IDENTITY, Preprocess
from secateur.models.training import Recipe, fit

DATA = "SECATEUR_DATA"
TRAINING_IMAGES = "cifar10/cifar10_train10k.npz"
TEST_IMAGES = "cifar10/cifar10_test2k.npz"
SCALE = Preprocess((0.485 * 255, 0.456 * 255, 0.406 * 255), (0.229 * 255, 0.224 * 255, 0.225 * 255))
COUNTS = {TRAINING_IMAGES: 4000, TEST_IMAGES: 500}
CLIP_NORM = 2.0  # without a bound gates diverge


def data_folder() -> Path:
    """SECATEUR_DATA, or shared/data beside the repository."""
    named = os.environ.get(DATA)
    return Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "data"


def read_images(path: Path) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
    """All images of a file, (n, 3, 32, 32), preprocessed, and their labels."""
    with np.load(path) as archive:
        return SCALE(archive["images"].transpose(0, 3, 1, 2)), archive["labels"]


def check_pictures() -> None:
    """Raise UserError where CIFAR-10 is not there to train on."""
    for name in COUNTS:
        path = data_folder() / name
        if not path.is_file():
            raise UserError(f"--steps: {path} is not there; name the folder that holds it in {DATA}")


def read_pictures(side: int, classes: int) -> tuple[Split, Split]:
    """Training and test images scaled to `side`, preprocessed; of fewer classes, labels modulo their number."""
    training, test = (_read(name, side, classes) for name in (TRAINING_IMAGES, TEST_IMAGES))
    return training, test


def _read(name: str, side: int, classes: int) -> Split:
    images, labels = (a[: COUNTS[name]] for a in read_images(data_folder() / name))
    if side != images.shape[-1]:
        scaled = functional.interpolate(torch.from_numpy(images), (side, side), mode="bilinear", align_corners=False)
        images = scaled.numpy()
    return Split(images, labels.astype(np.int64) % classes, np.arange(len(labels)))


def train(network: Network, training: Split, steps: int) -> Network:
    """A copy, trained for `steps` of 64 samples with the default `Recipe` and bounded gradients, without a teacher."""
    trained = network.clone()
    fit(trained.module, training, Recipe(steps, clip_norm=CLIP_NORM), 0, IDENTITY)
    return trained


def accuracy(network: Network, test: Split) -> float:
    """Percent of the test images."""
    with torch.no_grad():
        found = network.module.eval()(torch.from_numpy(test.x)).argmax(1).numpy()
    return 100 * float((found == test.y).mean())
