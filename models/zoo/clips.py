"""Clips and streams from spoken words: a place in time, an echo, a loudness, noise. 16 kHz, int16."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from secateur.models.front_end.stage import Counts

Wave = npt.NDArray[np.float64]

RATE_HZ = 16000
ECHO = 0.4
"""The strongest echo, of the sound itself."""
COLOURS = (0.0, 1.0, 2.0)
"""Noise power falls with frequency to this power: white, pink, brown."""


def clip(sound: Counts, start: int, length: int, noises: Sequence[Wave], random: np.random.Generator) -> Counts:
    """`length` samples with the sound from `start` on, which may lie before the clip."""
    found = np.zeros(length)
    inside = sound[max(0, -start) : length - start]
    found[max(0, start) : max(0, start) + len(inside)] = inside
    return in_room(found, noises, random)


def in_room(sound: Wave, noises: Sequence[Wave], random: np.random.Generator) -> Counts:
    """Sound with an echo, at a random loudness, 3 to 40 dB above noise."""
    delay, strength = int(random.integers(40, 800)), random.uniform(0, ECHO)
    sound = sound + strength * np.concatenate([np.zeros(delay), sound[:-delay]])
    sound *= 10 ** (random.uniform(-30, -1) / 20) / (1 + ECHO)
    loud = float(np.sqrt(np.mean(sound[sound != 0] ** 2)))
    return _counts(sound + _part(noises, len(sound), random) * loud / 10 ** (random.uniform(3, 40) / 20))


def silence(length: int, noises: Sequence[Wave], random: np.random.Generator) -> Counts:
    """Noise alone."""
    return _counts(_part(noises, length, random) * 32767 * 10 ** (random.uniform(-95, -25) / 20))


def make_noises(random: np.random.Generator, length: int) -> list[Wave]:
    """One of each colour, with a mean square of 1."""
    found = []
    for colour in COLOURS:
        spectrum = np.fft.rfft(random.standard_normal(length))
        hz = np.fft.rfftfreq(length, 1 / RATE_HZ)
        shaped = np.fft.irfft(spectrum * np.maximum(hz, 40.0) ** (-colour / 2), length)
        found.append(shaped / np.sqrt(np.mean(shaped**2)))
    return found


def _part(noises: Sequence[Wave], length: int, random: np.random.Generator) -> Wave:
    noise = noises[int(random.integers(len(noises)))]
    start = int(random.integers(0, len(noise) - length + 1))
    return noise[start : start + length]


def _counts(wave: Wave) -> Counts:
    return np.clip(np.rint(wave), -32768, 32767).astype(np.int16)
