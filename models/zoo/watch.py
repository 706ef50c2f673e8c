"""Shoulder exercises recorded with a smartwatch: 140 recordings, 10 people, 7 exercises, 6 channels, 50 Hz.

The recordings travel in the PyPI package `seglearn` (BSD). Source: Burns et al., "Shoulder Physiotherapy
Exercise Recognition", Physiological Measurement 39 (2018). Each person did each exercise with each arm.
Channels: acceleration x, y, z in g, then angular rate x, y, z in rad/s.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import io
import pickle
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from secateur.errors import UserError
from secateur.models.augment import Augmentation
from secateur.models.data import Data, split_by_group
from secateur.models.preprocess import Preprocess
from secateur.models.recordings import Recording

RATE_HZ = 50
WINDOW = 128
"""Samples in a window: 2.56 s, about one repetition of an exercise."""
HOP = 64
"""Samples between two windows' starts: a decision every 1.28 s."""
INPUT_SHAPE = (6, WINDOW)
CHANNELS = ("ax", "ay", "az", "wx", "wy", "wz")
LABELS = ("PEN", "ABD", "FEL", "IR", "ER", "TRAP", "ROW")
"""Pendulum, abduction, forward elevation, internal, external rotation, trapezius extension, upright row."""
SPLIT_SEED = 0
"""Fixed: the shipped weights were trained on this split's recovery people."""

AUGMENTATION = Augmentation(
    warp=0.2,
    shift=12,
    rates=(3, 4, 5),
    mirror=(0, 4, 5),
    rotation_degrees=15,
    triads=((0, 1, 2), (3, 4, 5)),
    scale=0.1,
    jitter=0.1,
)
"""Speed and angular rates change together; the watch sits a little turned. `mirror` is the other arm:
reflected across the body, x acceleration and the angular rates about the other two axes change sign."""

INSTALL = "pip install --no-deps seglearn==1.2.5"
SHA256 = "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"


@dataclass(frozen=True)
class WatchRecording:
    """One person doing one exercise with one arm. `samples`: (length, 6), float32, g and rad/s."""

    samples: npt.NDArray[np.float32]
    exercise: int
    person: int
    right_arm: bool


def watch_recordings() -> tuple[WatchRecording, ...]:
    """All 140 recordings, in the file's order.

    Raises UserError if the package is not installed or its file is not the one that we know.
    """
    return _read(_locate())


def watch_data(window: int = WINDOW, hop: int = HOP) -> Data:
    """Windows (n, 6, window) in raw units; groups are people: 6 recovery, 2 validation, 2 test.

    Overlapping windows come from one recording, hence one person, so they never stand on two sides.
    """
    x, y, groups = [], [], []
    for recording in watch_recordings():
        cut = windows(recording.samples, window, hop)
        x.append(cut)
        y.append(np.full(len(cut), recording.exercise, dtype=np.int64))
        groups.append(np.full(len(cut), recording.person, dtype=np.int64))
    data = split_by_group(
        "zoo:watch", np.concatenate(x), np.concatenate(y), np.concatenate(groups), LABELS, seed=SPLIT_SEED
    )
    data.check()
    return replace(data, streams=_streams(set(data.validation.groups.tolist()), 4 * window))


def _streams(people: set[int], length: int) -> tuple[Recording, ...]:
    """The first validation recording of each exercise."""
    found: dict[int, Recording] = {}
    for number, r in enumerate(watch_recordings()):
        if r.person in people and r.exercise not in found:
            source = f"recording {number} of person {r.person}"
            found[r.exercise] = Recording(r.samples[:length], RATE_HZ, r.exercise, r.person, source)
    return tuple(found[key] for key in sorted(found))


def windows(samples: npt.NDArray[np.float32], window: int, hop: int) -> npt.NDArray[np.float32]:
    """(length, channels) to (n, channels, window): every `hop` samples one full window, no padding."""
    if len(samples) < window:
        return np.empty((0, samples.shape[1], window), dtype=np.float32)
    view = np.lib.stride_tricks.sliding_window_view(samples, window, axis=0)[::hop]
    return np.ascontiguousarray(view, dtype=np.float32)


def standardize(x: npt.NDArray[np.float32]) -> Preprocess:
    """Mean and standard deviation per channel of (n, c, ...) samples: give it recovery samples only."""
    axes = (0, *range(2, x.ndim))
    mean = x.mean(axis=axes, dtype=np.float64)
    std = x.std(axis=axes, dtype=np.float64)
    if not (std > 0).all():
        raise UserError(f"channel {int(np.argmin(std))} is constant over {len(x)} samples; remove it")
    return Preprocess(tuple(float(np.float32(v)) for v in mean), tuple(float(np.float32(v)) for v in std))


def _locate() -> Path:
    # find_spec does not import a top-level package: seglearn's __init__ wants pandas and an old sklearn.
    spec = importlib.util.find_spec("seglearn")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"zoo:watch: the recordings come with the package seglearn; install it: {INSTALL}")
    return Path(spec.submodule_search_locations[0]) / "data" / "watch_dataset.npy"


class _Restricted(pickle.Unpickler):
    """Builds numpy arrays and plain containers, nothing else: a pickle can otherwise run any code."""

    _ALLOWED = (
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise UserError(f"zoo:watch: the data file asks for {module}.{name}, which is refused; {INSTALL}")
        # numpy 2 moved the module and warns about the old path.
        return super().find_class("numpy._core.multiarray" if name == "_reconstruct" else module, name)


@functools.cache
def _read(path: Path) -> tuple[WatchRecording, ...]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(f"zoo:watch: {path}: {error.strerror}; reinstall: {INSTALL}") from None
    found = hashlib.sha256(raw).hexdigest()
    if found != SHA256:
        raise UserError(f"zoo:watch: {path} has SHA-256 {found[:12]}..., {SHA256[:12]}... expected; {INSTALL}")
    # The file is an object array (a dict of ragged lists), which numpy stores only as a pickle. So: a known
    # hash first, then an unpickler that can build nothing but arrays.
    stream = io.BytesIO(raw)
    np.lib.format.read_magic(stream)
    np.lib.format.read_array_header_1_0(stream)
    table = _Restricted(stream).load().item()
    rows = zip(table["X"], table["y"], table["subject"], table["side"], strict=True)
    return tuple(
        WatchRecording(np.asarray(x, dtype=np.float32), int(y), int(person), bool(side)) for x, y, person, side in rows
    )
