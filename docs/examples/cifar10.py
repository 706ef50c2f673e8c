"""CIFAR-10 for `--data docs/examples/cifar10.py:loader`: RGB 0..255, nothing scaled.

Reads cifar10/*.npz from the folder SECATEUR_DATA, or ../shared/data beside the repository. A network that was
trained on CIFAR-10 has seen `x_train`: recovery may use it, validation and test are the real test images.
Where the compiler finds `seen`, its report says that these accuracies certify nothing.
"""

import os
from pathlib import Path

import numpy as np


def folder():
    named = os.environ.get("SECATEUR_DATA")
    return Path(named) if named else Path(__file__).resolve().parents[2].parent / "shared" / "data"


def loader():
    """10,000 training images for recovery, 2,000 test images, half of which become the validation set."""
    with np.load(folder() / "cifar10" / "cifar10_train10k.npz") as train:
        x_train, y_train = train["images"], train["labels"]
    with np.load(folder() / "cifar10" / "cifar10_test2k.npz") as test:
        x_test, y_test, labels = test["images"], test["labels"], test["class_names"]
    return {
        "x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test, "labels": labels, "seen": True,
    }  # fmt: skip
