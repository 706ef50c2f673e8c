"""What a network's samples are, pictures or a sensor's windows, and so how far they can be moved and what can befall
them: the scales of attacks and corruptions, all from the recovery set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from secateur.models import picture_corruptions, window_corruptions
from secateur.models.attacks import Ball
from secateur.models.data import Data, Split, chunks
from secateur.models.front_end.chain import FrontEnd
from secateur.models.front_end.image import ImageChain
from secateur.models.preprocess import AnyFrontEnd
from secateur.models.task import strata
from secateur.models.window_corruptions import Sensor
from secateur.models.zoo.catalogue import augmentation

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

PICTURE_STRENGTHS = (1.0, 2.0, 4.0, 8.0)
"""In 1/255 of the input's range."""
WINDOW_STRENGTHS = (0.05, 0.1, 0.2, 0.4)
"""In standard deviations of each channel on the recovery set."""
MOST_AXES = 9
"""Channels of a sensor of motion without a description, read as vectors of three; more are something else."""


@dataclass(frozen=True)
class Inputs:
    """`one`, `low`, `high`: (c,), by channel of a sample: what strength 1 of an attack is, and the range.

    `unit`: what strengths of attacks are in, in words. `sensor`: of windows, None for pictures.
    """

    kind: Literal["pictures", "windows"]
    unit: str
    strengths: tuple[float, ...]
    one: Floats
    low: Floats
    high: Floats
    front: AnyFrontEnd | None
    sensor: Sensor | None
    names: tuple[str, ...]
    """Of the corruptions that mean something here."""

    def ball(self, strength: float) -> Ball:
        return Ball(self.step(strength), self.low, self.high)

    def step(self, strength: float) -> Floats:
        return (self.one * strength).astype(np.float32)

    def corrupt(self, name: str, x: Floats, severity: int, seed: int) -> Floats:
        """Raw samples (n, c, ...) of one corruption, inside the range where they were inside it."""
        if self.sensor is None:
            low, span = self.low[0], max(self.high[0] - self.low[0], np.float32(1e-12))
            made = picture_corruptions.corrupt(name, (x - low) / span, severity, seed)
            return np.asarray(made * span + low, np.float32)
        flat = window_corruptions.corrupt(name, as_windows(x, self.front), severity, seed, self.sensor)
        made = from_windows(flat, x.shape, self.front)
        free = Ball(np.full_like(self.low, np.inf), self.low, self.high)
        return free.into(made, x)


def describe(data: Data, front: AnyFrontEnd | None) -> Inputs:
    """Pictures are what a camera's front end gives and, without a front end, (1 or 3, h, w); all else is windows."""
    shape = data.recovery.x.shape[1:]
    spread, low, high = _channels(data.recovery, front, windows=False)
    flat = len(shape) == 3 and shape[0] in (1, 3) and min(shape[1:]) > 1
    if isinstance(front, ImageChain) or (front is None and flat):
        ends = (0.0, 255.0) if isinstance(front, ImageChain) else (float(low.min()), float(high.max()))
        bottom, top = _full(shape[0], ends[0]), _full(shape[0], ends[1])
        unit = f"1/255 of the input's range, {ends[0]:g} to {ends[1]:g}"
        names = tuple(picture_corruptions.CORRUPTIONS)
        one = np.asarray((top - bottom) / 255, np.float32)
        return Inputs("pictures", unit, PICTURE_STRENGTHS, one, bottom, top, front, None, names)
    of_windows, _, _ = _channels(data.recovery, front, windows=True)
    sensor = Sensor(of_windows, _triads(data, len(of_windows), front))
    length = as_windows(data.recovery.x[:1], front).shape[2]
    names = window_corruptions.possible(length, sensor)
    unit = "standard deviations of each channel on the recovery set"
    one, bottom, top = spread.astype(np.float32), low.astype(np.float32), high.astype(np.float32)
    return Inputs("windows", unit, WINDOW_STRENGTHS, one, bottom, top, front, sensor, names)


def _full(channels: int, value: float) -> Floats:
    return np.full(channels, value, np.float32)


def as_windows(x: Floats, front: AnyFrontEnd | None) -> Floats:
    """(n, channels, length) of samples: rows of a sensor's front end are time; without one the last axes are."""
    if isinstance(front, FrontEnd):
        return np.moveaxis(np.moveaxis(x, 1, -1).reshape(len(x), front.window, front.width), 1, 2)
    return x.reshape(len(x), x.shape[1], -1)


def from_windows(windows: npt.NDArray[np.floating], shape: tuple[int, ...], front: AnyFrontEnd | None) -> Floats:
    """`as_windows` undone."""
    if isinstance(front, FrontEnd):
        last = np.moveaxis(windows, 2, 1).reshape(len(windows), *shape[2:], shape[1])
        return np.ascontiguousarray(np.moveaxis(last, -1, 1), np.float32)
    return np.asarray(windows.reshape(len(windows), *shape[1:]), np.float32)


def balanced(split: Split, count: int, seed: int) -> Split:
    """`count` samples, as many of each class as there are, in the split's order; the whole split where it has fewer."""
    if count >= len(split):
        return split
    kinds = strata(split.y)
    order = np.random.default_rng(seed).permutation(len(split))
    turn = np.zeros(len(split), np.int64)  # of its class the first, the second, ...
    for kind in np.unique(kinds):
        mine = order[kinds[order] == kind]
        turn[mine] = np.arange(len(mine))
    return split.subset(np.sort(order[np.argsort(turn[order], kind="stable")][:count]))


def _triads(data: Data, channels: int, front: AnyFrontEnd | None) -> tuple[tuple[int, int, int], ...]:
    """Vectors in space: as the zoo's data says, else channels in threes, of a sensor's own samples."""
    known = augmentation(data).triads
    featured = isinstance(front, FrontEnd) and front.features is not None
    if known or featured or channels % 3 or channels > MOST_AXES:
        return known
    return tuple((i, i + 1, i + 2) for i in range(0, channels, 3))


def _channels(split: Split, front: AnyFrontEnd | None, windows: bool) -> tuple[Doubles, Doubles, Doubles]:
    """Standard deviation, lowest and highest value of each channel of the samples, or of their windows, (c,)."""
    parts = []
    for part in chunks(split.x):
        x = np.asarray(split.x[part], np.float32)
        x = as_windows(x, front) if windows else x
        x = np.moveaxis(x, 1, 0).reshape(x.shape[1], -1)
        wide = x.astype(np.float64)
        parts.append((wide.sum(axis=1), np.square(wide).sum(axis=1), x.min(axis=1), x.max(axis=1), x.shape[1]))
    sums, squares, lows, highs, counts = (np.array(v, np.float64) for v in zip(*parts, strict=True))
    mean = sums.sum(axis=0) / counts.sum()
    variance = np.maximum(squares.sum(axis=0) / counts.sum() - np.square(mean), 0)
    return np.sqrt(variance), lows.min(axis=0), highs.max(axis=0)
