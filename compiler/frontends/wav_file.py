"""WAV files: integers of 8 to 32 bits and floats, any rate, any number of channels."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

from secateur.compiler.frontends.recordings import Unreadable

PCM, FLOAT, EXTENSIBLE = 0x0001, 0x0003, 0xFFFE
_ENCODINGS = {2: "ADPCM", 6: "A-law", 7: "mu-law", 17: "IMA ADPCM", 85: "MP3"}
_UNKNOWN_SIZE = 0xFFFFFFFF  # as programs write it that stream


def read_wav(path: Path) -> tuple[npt.NDArray[np.float32], float]:
    """Mono samples (n, 1) on the scale of 16 bits, -32768 to 32767, whatever the file's own is; and the rate in Hz.

    Channels are averaged. 8, 24 and 32 bits are shifted to 16 with their fraction, floats are times 32768: so the
    values are what a microphone's 16-bit samples are on the device. The standard library's `wave` takes a truncated
    file for a short one and knows no floats, hence the own reader.

    Raises Unreadable.
    """
    raw = path.read_bytes()
    if not raw:
        raise Unreadable("empty file")
    if len(raw) < 12 or raw[:4] != b"RIFF" or raw[8:12] != b"WAVE":
        raise Unreadable(f"cut after {len(raw)} bytes" if raw[:4] == b"RIFF" and len(raw) < 12 else "no WAV file")
    layout, place = None, 12
    while place + 8 <= len(raw):
        kind, size = raw[place : place + 4], int.from_bytes(raw[place + 4 : place + 8], "little")
        body = place + 8
        if kind == b"fmt ":
            layout = _layout(raw[body : body + size], len(raw))
        elif kind == b"data":
            if layout is None:
                raise Unreadable("the samples come before their format")
            if size != _UNKNOWN_SIZE and body + size > len(raw):
                raise Unreadable(f"cut after {len(raw)} bytes, {body + size} expected")
            return _samples(raw[body : body + size], *layout[:3]), float(layout[3])
        place = body + size + size % 2
    raise Unreadable(f"cut after {len(raw)} bytes, before the samples")


def _layout(chunk: bytes, size: int) -> tuple[int, int, int, int]:
    """(encoding, bits, channels, rate)."""
    if len(chunk) < 16:
        raise Unreadable(f"cut after {size} bytes, in the format")
    encoding, channels, rate, _, align, bits = struct.unpack("<HHIIHH", chunk[:16])
    if encoding == EXTENSIBLE:
        if len(chunk) < 40:
            raise Unreadable("WAVE_FORMAT_EXTENSIBLE without its extension")
        encoding = int.from_bytes(chunk[24:26], "little")
    known = {PCM: (8, 16, 24, 32), FLOAT: (32, 64)}
    if encoding not in known:
        called = _ENCODINGS.get(encoding, "unknown")
        raise Unreadable(f"encoding {encoding} ({called}); write it as PCM")
    if bits not in known[encoding] or channels == 0 or align != channels * bits // 8:
        raise Unreadable(f"{bits} bits in {align} bytes for {channels} channels; 8, 16, 24 or 32 bits are known")
    if rate == 0:
        raise Unreadable("a rate of 0 Hz")
    return encoding, bits, channels, rate


def _samples(data: bytes, encoding: int, bits: int, channels: int) -> npt.NDArray[np.float32]:
    width = bits // 8
    data = data[: len(data) // (width * channels) * width * channels]
    if not data:
        raise Unreadable("no samples")
    if encoding == FLOAT:
        values = np.frombuffer(data, f"<f{width}").astype(np.float64) * 32768
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise Unreadable(f"sample {bad[0] // channels} is NaN or infinite")
    elif bits == 8:
        values = (np.frombuffer(data, np.uint8).astype(np.float64) - 128) * 256  # the one unsigned width
    elif bits == 24:
        padded = np.zeros((len(data) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        values = padded.view("<i4").ravel() / 65536
    else:
        values = np.frombuffer(data, f"<i{width}") / float(1 << (bits - 16))
    return np.asarray(values.reshape(-1, channels).mean(axis=1, keepdims=True), dtype=np.float32)
