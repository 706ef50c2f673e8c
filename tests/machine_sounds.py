"""The hum of a machine, as WAV files in class folders: `normal`, and two ways of being broken."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np

RATE_HZ = 16000
FILES = {"normal": 36, "knocking": 9, "whistling": 9}

PREPROCESS = """
[source]
rate = 16000
[features]
kind = "log-mel"
frame-length = 1024
frame-step = 512
fft-length = 1024
bins = 16
lower-hz = 0
upper-hz = 8000
spectrum = "power"
log = "decibel"
floor = 1e-4
[window]
length = 5
hop = 5
[normalize]
mean = -5
std = 20
[decisions]
kind = "reconstruction"
smooth = 3
"""

NET = """
from torch import nn

def autoencoder():
    widths = [80, 32, 6, 32]
    layers = [nn.Flatten()]
    for a, b in zip(widths, widths[1:]):
        layers += [nn.Linear(a, b), nn.BatchNorm1d(b), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(32, 80))
"""


def write_sounds(folder: Path, seconds: float = 1.5) -> None:
    """One file a recording; the same files at every call."""
    random = np.random.default_rng(0)
    t = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    for kind, count in FILES.items():
        (folder / kind).mkdir(parents=True)
        for number in range(count):
            hz = random.uniform(95, 105)
            tones = (random.uniform(0.5, 1) / k * np.sin(2 * np.pi * hz * k * t + k) for k in range(1, 9))
            x = np.sum(list(tones), axis=0) + random.normal(0, 0.2, len(t))
            if kind == "knocking":
                x[:: int(RATE_HZ / random.uniform(6, 9))] += 25
            if kind == "whistling":
                x += 0.5 * np.sin(2 * np.pi * random.uniform(2800, 3200) * t)
            with wave.open(str(folder / kind / f"{number:02}.wav"), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(RATE_HZ)
                file.writeframes(np.clip(x * 3000, -32768, 32767).astype("<i2").tobytes())
