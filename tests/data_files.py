"""Small folders of recordings and images, as people have them, for tests to read and to spoil."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

RATE_HZ = 8000


def noise(seed: int, *shape: int) -> npt.NDArray[np.int16]:
    """Samples that no other seed gives."""
    return np.random.default_rng(seed).integers(-20000, 20000, shape).astype(np.int16)


def wav_bytes(data: bytes, bits: int = 16, channels: int = 1, rate: int = RATE_HZ, encoding: int = 1) -> bytes:
    """A RIFF file with one chunk of samples."""
    align = channels * bits // 8
    layout = struct.pack("<HHIIHH", encoding, channels, rate, rate * align, align, bits)
    chunks = b"fmt " + struct.pack("<I", len(layout)) + layout + b"data" + struct.pack("<I", len(data)) + data
    chunks += b"\0" * (len(data) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def write_words(folder: Path, classes: Sequence[str] = ("no", "yes"), files: int = 6, length: int = 400) -> Path:
    """Class folders of WAV files."""
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(files):
            content = wav_bytes(noise(100 * number + i, length).tobytes())
            (folder / name / f"{i}.wav").write_bytes(content)
    return folder


def csv_rows(seed: int, rows: int = 64, channels: int = 3) -> list[list[str]]:
    """A header and rows: time in ms, 50 Hz, and numbers."""
    values = noise(seed, rows, channels) / 1000
    table = [["time_ms", *"xyz"[:channels]]]
    return table + [[str(20 * i), *(f"{v:.3f}" for v in row)] for i, row in enumerate(values)]


def csv_text(rows: Sequence[Sequence[str]], delimiter: str = ",") -> str:
    """Rows as lines."""
    return "".join(delimiter.join(row) + "\n" for row in rows)


def write_motion(folder: Path, classes: Sequence[str] = ("still", "walk"), files: int = 6) -> Path:
    """Class folders of CSV files."""
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(files):
            (folder / name / f"{i}.csv").write_text(csv_text(csv_rows(100 * number + i)))
    return folder


def picture(seed: int, height: int = 8, width: int = 8) -> Image.Image:
    """An RGB image that no other seed gives."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    return Image.fromarray(pixels)


def write_pets(folder: Path, classes: Sequence[str] = ("cat", "dog"), files: int = 6) -> Path:
    """Class folders of PNG files."""
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(files):
            picture(100 * number + i).save(folder / name / f"{i}.png")
    return folder
