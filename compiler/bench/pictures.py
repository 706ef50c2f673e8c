"""CIFAR-10 for networks with random weights: what int8 costs one that has learned something."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from secateur.compiler.bench.search import IMAGES, SCALE, data_folder
from secateur.errors import UserError
from secateur.models.data import Split
from secateur.models.network import Network
from secateur.models.preprocess import IDENTITY
from secateur.models.training import Recipe, fit

TEST_IMAGES = "cifar10/cifar10_test2k.npz"
TRAINING, TEST = 4000, 500
CLIP_NORM = 2.0  # without a bound gates diverge


def read_pictures(side: int, classes: int) -> tuple[Split, Split]:
    """Training and test images scaled to `side`, preprocessed; of fewer classes, labels modulo their number."""
    training, test = (_read(name, count, side, classes) for name, count in ((IMAGES, TRAINING), (TEST_IMAGES, TEST)))
    return training, test


def _read(name: str, count: int, side: int, classes: int) -> Split:
    path = data_folder() / name
    if not path.is_file():
        raise UserError(f"--steps: {path} is not there; name the folder that holds it in SECATEUR_DATA")
    with np.load(path) as archive:
        raw, labels = archive["images"][:count], archive["labels"][:count]
    x = torch.from_numpy(SCALE(raw.transpose(0, 3, 1, 2).astype(np.float32)))
    if side != x.shape[-1]:
        x = functional.interpolate(x, (side, side), mode="bilinear", align_corners=False)
    return Split(x.numpy(), labels.astype(np.int64) % classes, np.arange(len(labels)))


def train(network: Network, training: Split, steps: int) -> Network:
    """A copy, trained for `steps` of 64 samples as recovery trains (`models/training.py`), without a teacher."""
    trained = network.clone()
    fit(trained.module, training, Recipe(steps, clip_norm=CLIP_NORM), 0, IDENTITY)
    return trained


def accuracy(network: Network, test: Split) -> float:
    """Percent of the test images."""
    with torch.no_grad():
        found = network.module.eval()(torch.from_numpy(test.x)).argmax(1).numpy()
    return 100 * float((found == test.y).mean())
