"""CIFAR-10 for `--data docs/examples/cifar10.py:loader`: RGB 0..255, nothing scaled.

Reads cifar10/*.npz from the folder SECATEUR_DATA, or ../shared/data beside the repository. A network that was
trained on CIFAR-10 has seen `x_train`: recovery may use it, validation and test are the real test images.
Where the compiler finds `seen`, its report says that these accuracies certify nothing.

`docs/examples/cifar10.py:full` is all of CIFAR-10, from the folder SECATEUR_CIFAR10 with the binary version's files
(data_batch_1.bin to data_batch_5.bin, test_batch.bin). 5,000 training images, the last of every class, choose; a
network trained on the other 45,000 has seen neither them nor the test images.
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


NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
HELD_OUT = 500  # training images of every class that choose


def full():
    """45,000 training images, 5,000 that choose, 10,000 test images."""
    named = os.environ.get("SECATEUR_CIFAR10")
    if not named:
        raise FileNotFoundError("SECATEUR_CIFAR10 names no folder with CIFAR-10's binary files (data_batch_1.bin, ...)")
    x, y = records(sorted(Path(named).glob("data_batch_[1-5].bin")), 5)
    x_test, y_test = records(sorted(Path(named).glob("test_batch.bin")), 1)
    held = np.sort(np.concatenate([np.flatnonzero(y == label)[-HELD_OUT:] for label in range(len(NAMES))]))
    return {
        "x_train": np.delete(x, held, 0), "y_train": np.delete(y, held), "x_validation": x[held],
        "y_validation": y[held], "x_test": x_test, "y_test": y_test, "labels": NAMES,
    }  # fmt: skip


def records(paths, wanted):
    """Images (n, 32, 32, 3) and labels: a record is a label's byte and 3072 of red, green and blue planes."""
    if len(paths) != wanted:
        raise FileNotFoundError(f"SECATEUR_CIFAR10: {len(paths)} of {wanted} files of the binary version are there")
    rows = np.concatenate([np.fromfile(path, np.uint8).reshape(-1, 3073) for path in paths])
    return rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), rows[:, 0].astype(np.int64)
