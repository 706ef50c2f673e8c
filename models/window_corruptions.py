"""What happens to a sensor's windows in the field, at five severities: our own definitions, no benchmark's.

Windows are (n, c, length) in the sensor's units. `spread`: each channel's standard deviation on the recovery set, by
which noise is scaled.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Windows = npt.NDArray[np.float64]
SEVERITIES = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Sensor:
    """`spread`: (c,), of each channel. `triads`: channels that form a vector in space, such as acceleration."""

    spread: npt.NDArray[np.float64]
    triads: tuple[tuple[int, int, int], ...] = ()


Corruption = Callable[[Windows, int, np.random.Generator, Sensor], Windows]


def noise(x: Windows, severity: int, random: np.random.Generator, sensor: Sensor) -> Windows:
    """White, a share of each channel's spread."""
    share = (0.05, 0.1, 0.2, 0.3, 0.5)[severity - 1]
    return x + share * sensor.spread[:, np.newaxis] * random.normal(size=x.shape)


def dropped_channel(x: Windows, severity: int, random: np.random.Generator, sensor: Sensor) -> Windows:
    """One channel, another in each window, gives 0 over 20, 40, 60, 80 or 100 % of the window."""
    n, c, length = x.shape
    missing = max(1, round(length * severity / 5))
    channel, start = random.integers(c, size=(n, 1, 1)), random.integers(length - missing + 1, size=(n, 1, 1))
    at = np.arange(length)
    gone = (at >= start) & (at < start + missing)
    return np.where((np.arange(c)[:, np.newaxis] == channel) & gone, 0.0, x)


def gain_drift(x: Windows, severity: int, random: np.random.Generator, sensor: Sensor) -> Windows:
    """Each channel's gain moves evenly from 1 to 1 + or - a share, up or down as drawn."""
    n, c, length = x.shape
    end = (0.05, 0.1, 0.2, 0.3, 0.5)[severity - 1] * random.choice((-1.0, 1.0), size=(n, c, 1))
    return x * (1 + end * np.linspace(0, 1, length))


def rotation(x: Windows, severity: int, random: np.random.Generator, sensor: Sensor) -> Windows:
    """The sensor sits turned: by 5, 10, 20, 30 or 45 degrees about an axis drawn for each window."""
    angle = math.radians((5, 10, 20, 30, 45)[severity - 1])
    axis = random.normal(size=(len(x), 3))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    cross = np.zeros((len(x), 3, 3))
    for i, j, k, sign in ((0, 1, 2, -1), (0, 2, 1, 1), (1, 0, 2, 1), (1, 2, 0, -1), (2, 0, 1, -1), (2, 1, 0, 1)):
        cross[:, i, j] = sign * axis[:, k]
    turn = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * (cross @ cross)  # Rodrigues
    found = x.copy()
    for triad in sensor.triads:
        found[:, list(triad)] = turn @ x[:, list(triad)]
    return found


def time_shift(x: Windows, severity: int, random: np.random.Generator, sensor: Sensor) -> Windows:
    """Cut early or late by 2, 5, 10, 15 or 20 % of the window; the value at the end is held."""
    n, _, length = x.shape
    most = max(1, round(length * (0.02, 0.05, 0.1, 0.15, 0.2)[severity - 1]))
    return _sampled(x, np.arange(length) + most * random.choice((-1.0, 1.0), size=(n, 1)))


def time_jitter(x: Windows, severity: int, random: np.random.Generator, sensor: Sensor) -> Windows:
    """Samples are taken early or late: normal, deviation 0.25, 0.5, 1, 1.5 or 2 samples, in between linear."""
    n, _, length = x.shape
    return _sampled(x, np.arange(length) + (0.25, 0.5, 1, 1.5, 2)[severity - 1] * random.normal(size=(n, length)))


CORRUPTIONS: dict[str, Corruption] = {
    f.__name__: f for f in (noise, dropped_channel, gain_drift, rotation, time_shift, time_jitter)
}


def possible(length: int, sensor: Sensor) -> tuple[str, ...]:
    """The corruptions that mean something here: no rotation without a vector, no time in one sample."""
    without = set() if sensor.triads else {"rotation"}
    if length < 2:
        without |= {"gain_drift", "time_shift", "time_jitter"}
    return tuple(name for name in CORRUPTIONS if name not in without)


def corrupt(name: str, x: npt.NDArray[np.floating], severity: int, seed: int, sensor: Sensor) -> Windows:
    """Windows (n, c, length) of one corruption; the same seed gives the same bytes."""
    random = np.random.default_rng([seed, list(CORRUPTIONS).index(name), severity])
    return CORRUPTIONS[name](np.asarray(x, np.float64), severity, random, sensor)


def _sampled(x: Windows, at: npt.NDArray[np.float64]) -> Windows:
    """(n, c, length) at the places `at` (n, length), linear between samples, held at the ends."""
    length = x.shape[2]
    at = np.clip(at, 0, length - 1)
    low = np.minimum(np.floor(at), length - 2).astype(np.int64)
    part = (at - low)[:, np.newaxis]
    index = np.broadcast_to(low[:, np.newaxis], x.shape)
    found = np.take_along_axis(x, index, 2) * (1 - part) + np.take_along_axis(x, index + 1, 2) * part
    return np.asarray(found, np.float64)
