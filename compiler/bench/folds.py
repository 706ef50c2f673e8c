"""Recordings divided by group, each group a test set once: the network of a fold never saw its test groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from secateur.compiler.frontends.arrays import data_from_arrays
from secateur.compiler.frontends.data import call_loader
from secateur.compiler.frontends.truth import Wanted, retasked
from secateur.errors import UserError
from secateur.models.data import Data, Split
from secateur.models.network import Network
from secateur.models.training import Recipe, fit, reinitialize
from secateur.models.zoo.watch import standardize

VALIDATION_GROUPS = 2


@dataclass(frozen=True)
class Recordings:
    """`x`: (n, channels, length) raw windows; `y`: (n,) classes; `people`: (n,), whatever must stay on one side."""

    name: str
    x: npt.NDArray[np.float32]
    y: npt.NDArray[np.int64]
    people: npt.NDArray[np.int64]

    def fingerprint(self) -> str:
        """Digest of the content."""
        return Split(self.x, self.y, self.people).fingerprint()


def load_recordings(spec: str) -> Recordings:
    """From `file.py:function`, which returns a dict of x (n, channels, length), y (n,) and groups (n,)."""
    path, _, function = spec.rpartition(":")
    if not path.endswith(".py"):
        raise UserError(f"{spec}: file.py:function is expected, which returns a dict of x, y and groups")
    found = call_loader(Path(path), function)
    if not isinstance(found, Mapping) or set(found) != {"x", "y", "groups"}:
        held = ", ".join(map(str, found)) if isinstance(found, Mapping) else type(found).__name__
        raise UserError(f"{spec} returned {held}; a dict of x, y and groups is expected")
    x, y, people = (np.asarray(found[key]) for key in ("x", "y", "groups"))
    if x.ndim != 3 or y.shape != (len(x),) or people.shape != (len(x),):
        raise UserError(f"{spec}: x {x.shape}, y {y.shape}, groups {people.shape}; (n, channels, length), (n,), (n,)")
    count = len(np.unique(people))
    if count < VALIDATION_GROUPS + 2:
        raise UserError(f"{spec}: {count} groups; {VALIDATION_GROUPS + 2} at least are needed")
    return Recordings(spec.rpartition("/")[2], x.astype(np.float32), y.astype(np.int64), people.astype(np.int64))


def fold_data(recordings: Recordings, fold: int, folds: int | None = None, metric: str | None = None) -> Data:
    """The three sets with every `folds`-th group from `fold` on as the test set; by default each group is a fold.

    As many of the groups after them choose (validation), two at least; the rest is recovery. Raises UserError.
    """
    people = np.unique(recordings.people)
    folds = folds or len(people)
    if not VALIDATION_GROUPS + 1 <= folds <= len(people):
        raise UserError(f"--folds {folds}: {recordings.name} has {len(people)} groups; 3 to {len(people)} are possible")
    test = people[fold::folds]
    others = np.concatenate([people[(fold + k) % folds :: folds] for k in range(1, folds)])
    validation, rest = np.split(others, [max(VALIDATION_GROUPS, len(test))])
    if not len(rest):
        raise UserError(
            f"--folds {folds}: {len(people)} groups of {recordings.name} leave none for recovery; more folds"
        )
    arrays: dict[str, npt.NDArray[Any]] = {}
    for part, members in (("train", rest), ("validation", validation), ("test", test)):
        mask = np.isin(recordings.people, members)
        arrays[f"x_{part}"], arrays[f"y_{part}"] = recordings.x[mask], recordings.y[mask]
        arrays[f"groups_{part}"] = recordings.people[mask]
    labels = tuple(str(i) for i in range(int(recordings.y.max()) + 1))
    name = f"{recordings.name} without {', '.join(map(str, test))}"
    data = data_from_arrays(name, arrays, recordings.x.shape[1:], labels)
    return data if metric is None else retasked(data, Wanted(None, metric))


def train(network: Network, data: Data, steps: int, seed: int) -> Network:
    """The architecture of `network` trained anew on the recovery groups, the best state on the validation groups."""
    preprocess = standardize(data.recovery.x)
    trained = network.clone()
    trained.module.requires_grad_(True)
    reinitialize(trained.module, seed)
    recipe = Recipe(steps=steps, lr=0.05, weight_decay=1e-3, label_smoothing=0.1, task=data.task)
    fit(trained.module, data.recovery, recipe, seed, preprocess, data.validation)
    return Network(network.name, trained.module, network.input_shape, preprocess, data.labels)
