"""Words spoken by espeak-ng, Debian's speech synthesizer: the same words, voices and version give the same samples."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from secateur.errors import UserError
from secateur.models.cache_folder import Arrays, kept_arrays
from secateur.models.front_end.resample import Resample
from secateur.models.front_end.stage import Counts

PROGRAM = "espeak-ng"
INSTALL = "apt-get install espeak-ng"
NATIVE_HZ = 22050
TO_16K = Resample(320, 441)
THREADS = 2
QUIET = 0.02
"""Of the peak: what lies below it at a word's ends is not part of the word."""


@dataclass(frozen=True)
class Spoken:
    """A word as it is to be spoken. `voice`: espeak-ng's variant. `pitch`: 0 to 99. `speed`: words a minute."""

    word: str
    accent: str
    voice: str
    pitch: int
    speed: int


def speak(wanted: Sequence[Spoken]) -> list[Counts]:
    """Each as 16 kHz samples with a peak of 32767, cut where the word begins and ends; kept in the cache.

    Raises UserError where espeak-ng is missing, fails or lacks a voice.
    """
    version = _run(["--version"]).decode().split("Data at")[0].strip()
    decides = f"{_made_by()}\n{np.__version__}\n{version}\n{wanted!r}"
    made = kept_arrays("speech", decides, lambda: _spoken(wanted, version))
    return np.split(made["samples"], np.cumsum(made["lengths"])[:-1])


def _made_by() -> str:
    """A digest of the code that makes the samples: other code, other entries in the cache."""
    here = Path(__file__)
    files = (here, *sorted((here.parents[1] / "front_end").glob("*.py")))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _spoken(wanted: Sequence[Spoken], version: str) -> Arrays:
    known = {
        line.split("!v/")[1].split("  ")[0].strip() for line in _run(["--voices=variant"]).decode().splitlines()[1:]
    }
    missing = sorted({w.voice for w in wanted} - known)
    if missing:  # espeak-ng itself would speak with its own voice, and say nothing
        raise UserError(f"{version} has no voice {', '.join(missing)}; install Debian's: {INSTALL}")
    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(_word, wanted))
    return {"samples": np.concatenate(found), "lengths": np.array([len(f) for f in found], np.int64)}


def _word(spoken: Spoken) -> Counts:
    voice = f"{spoken.accent}+{spoken.voice}"
    wav = _run(["-v", voice, "-p", str(spoken.pitch), "-s", str(spoken.speed), "--stdout", spoken.word])
    samples = _samples(wav)
    if not samples.any():
        raise UserError(f"{PROGRAM} -v {voice} says nothing to {spoken.word!r}; reinstall it: {INSTALL}")
    loud = _full(TO_16K.rows(_full(samples)[:, np.newaxis])[:, 0])
    heard = np.flatnonzero(np.abs(loud.astype(np.int64)) > QUIET * 32767)
    return loud[heard[0] : heard[-1] + 1]


def _full(samples: Counts) -> Counts:
    """Scaled to a peak of 32767."""
    wide = samples.astype(np.int64)
    return np.asarray(wide * 32767 // max(1, int(np.abs(wide).max())), np.int16)


def _samples(wav: bytes) -> Counts:
    """The samples of a WAV that was written to a pipe, whose lengths are not filled in."""
    at = wav.find(b"data")
    rate = int.from_bytes(wav[24:28], "little")
    if wav[:4] != b"RIFF" or at < 0 or rate != NATIVE_HZ:
        raise UserError(f"{PROGRAM}: {NATIVE_HZ} Hz WAV is expected, not {wav[:4]!r} at {rate} Hz; {INSTALL}")
    count = (len(wav) - at - 8) // 2
    return np.frombuffer(wav, "<i2", count, at + 8).astype(np.int16)


def _run(arguments: list[str]) -> bytes:
    try:
        done = subprocess.run([PROGRAM, *arguments], capture_output=True, check=True, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise UserError(f"{PROGRAM} is not installed, and the words are spoken by it; {INSTALL}") from None
    except subprocess.CalledProcessError as error:
        said = " ".join(error.stderr.decode(errors="replace").split())
        raise UserError(f"{PROGRAM} {' '.join(arguments)}: exit status {error.returncode}: {said}; {INSTALL}") from None
    return done.stdout
