"""scikit-learn's handwritten digits: 1797 images of 8x8, values 0 to 16, ten classes.

scikit-learn does not say who wrote what. The *groups* here are blocks of 45 consecutive samples: neighbours
in the file resemble each other, so a block keeps them together, but two blocks may share a writer. Accuracy
on these groups is therefore slightly optimistic, and never a claim about new writers.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np

from secateur.models.augment import Augmentation
from secateur.models.data import Data, split_by_group

INPUT_SHAPE = (1, 8, 8)
LABELS = tuple(str(digit) for digit in range(10))
BLOCK = 45
"""Samples in a pseudo group: 40 groups, the last of 42."""
SPLIT_SEED = 0

AUGMENTATION = Augmentation(crop=1, jitter=0.02)
"""One pixel of shift; no flip, which would make other digits."""


@functools.cache
def digits_data() -> Data:
    """Images (n, 1, 8, 8), raw 0..16; 24 pseudo groups recovery, 8 validation, 8 test."""
    from sklearn.datasets import load_digits  # slow to import

    table = load_digits()
    x = np.ascontiguousarray(table.images[:, np.newaxis], dtype=np.float32)
    y = np.asarray(table.target, dtype=np.int64)
    groups = np.arange(len(x), dtype=np.int64) // BLOCK
    data = replace(
        split_by_group("zoo:digits", x, y, groups, LABELS, seed=SPLIT_SEED),
        notes=(f"The set does not name its writers; groups are blocks of {BLOCK} consecutive samples.",),
    )
    data.check()
    return data
