"""Six keywords from a synthesizer, for keyword spotting with no download: clips of a second at 16 kHz, and streams.

Each voice says every keyword in several accents, pitches and speeds, and some other words; a clip is such a word at
a random place, with an echo, in noise. Synthetic speech is not human speech: a network that was trained on it shows
that a chain from microphone to decision works, and is no keyword spotter for people.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from secateur.errors import UserError
from secateur.models.augment import Augmentation
from secateur.models.cache_folder import Arrays, kept_arrays
from secateur.models.data import Data, Split
from secateur.models.front_end.chain import FrontEnd
from secateur.models.front_end.decide import Decisions
from secateur.models.front_end.log_mel import LogMel
from secateur.models.front_end.stage import Counts
from secateur.models.recordings import Recording
from secateur.models.zoo.clips import RATE_HZ, clip, in_room, make_noises, silence
from secateur.models.zoo.dscnn import DsCnn
from secateur.models.zoo.spoken import THREADS, Spoken, speak

KEYWORDS = ("down", "no", "off", "on", "up", "yes")
SILENCE, UNKNOWN = "silence", "unknown"
LABELS = (*KEYWORDS, SILENCE, UNKNOWN)
OTHERS = (
    "go", "stop", "left", "right", "dog", "cat", "bird", "tree", "house", "happy", "seven", "three", "window", "garden",
    "music", "light", "open", "table", "water", "nine", "morning", "and", "the", "people", "under", "yellow", "hello",
    "dawn", "yet", "own", "of", "us", "gone", "bound", "cough", "soft", "new", "now", "time", "what", "where", "school",
    "little", "number", "river", "orange", "kitchen", "summer", "zero", "five", "eight", "phone", "radio", "volume",
    "call", "please", "thank you", "good", "very", "question", "important", "ask", "less", "sun", "aunt", "doubt",
)  # fmt: skip
UNHEARD = ("often", "town", "one", "apple", "guess", "cup", "north", "coffee", "computer", "low", "hub", "answer")
"""Other words that no recovery voice says; validation and test voices say them too."""

VOICES = (
    "f1", "f2", "f3", "f4", "f5", "Alicia", "Andrea", "Annie", "aunty", "belinda", "linda", "steph", "anika", "grandma",
    "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "Alex", "Andy", "Denis", "Diogo", "Gene", "Hugo", "Jacky", "Lee",
    "Mario", "Mike", "Storm", "edward", "antonio", "benjamin", "david", "john", "max", "pablo", "quincy", "robert",
    "travis", "victor",
)  # fmt: skip
ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-us-nyc")
HELD_OUT = 9
"""Voices for validation, and as many for test."""
SEED = 0

PART = 0.4
"""Of a word, at most, where a clip holds its begin or its end only."""

FEATURES = LogMel(16000, 480, 320, 512, 10, 60.0, 7600.0)
FRONT_END = FrontEnd(RATE_HZ, 1, 49, 12, (1.0,), None, FEATURES)
"""30 ms every 20 ms, a window of 49 frames every 12th: a decision every 240 ms."""
DECISIONS = Decisions(smooth=2, refractory=4, background=(SILENCE, UNKNOWN), keep_percent=99.0)
INPUT_SHAPE = (1, 49, 10)
AUGMENTATION = Augmentation(jitter=0.1)


@dataclass(frozen=True)
class Recipe:
    """How much is made, a voice.

    `takes` of each keyword and `others` words, each in `mixes` clips; `parts`: clips with a word's begin or end, which
    is no word; `silences`: clips of noise.
    """

    voices: tuple[str, ...] = VOICES
    held_out: int = HELD_OUT
    takes: int = 4
    others: int = 26
    mixes: int = 2
    parts: int = 8
    silences: int = 10


FULL = Recipe()


@dataclass(frozen=True)
class Sentence:
    """A stream of one voice. `number`, `voice`: its index and name. `words`: the sample where it ends, and what."""

    number: int
    voice: str
    samples: Counts
    words: tuple[tuple[int, str], ...]


def keywords_net() -> DsCnn:
    """(n, 1, 49, 10) to logits (n, 8)."""
    return DsCnn(width=48, classes=len(LABELS))


def keywords_data(front_end: FrontEnd = FRONT_END, recipe: Recipe = FULL) -> Data:
    """What `front_end` makes of the clips, (n, 1, frames, features); groups are voices.

    `streams`: whole sentences of validation voices, words and pauses. Raises UserError where espeak-ng is missing.
    """
    if (front_end.rate_hz, front_end.channels) != (RATE_HZ, 1):
        raise UserError(
            f"zoo:keywords is one channel at {RATE_HZ} Hz, the front end takes {front_end.channels} at "
            f"{front_end.rate_hz:g} Hz; change [source] in --preprocess"
        )
    takes = _takes(recipe)
    said = _said(takes)
    heard = hashlib.sha256(b"".join(word.tobytes() for words in said for word in words)).hexdigest()
    decides = f"{_made_by()}\n{np.__version__}\n{front_end!r}\n{recipe!r}\n{takes!r}\n{heard}"
    made = kept_arrays("keywords", decides, lambda: _features(front_end, recipe, takes, said))
    shape = (1, front_end.window, front_end.width)
    x, y, groups = front_end.shaped(front_end.real(made["x"]), shape), made["y"], made["group"]
    sets = [Split(x[m], y[m], groups[m]) for m in (np.isin(groups, side) for side in sides(recipe))]
    streams = [
        Recording(
            s.samples.astype(np.float32)[:, np.newaxis], RATE_HZ, LABELS.index(UNKNOWN), s.number, f"voice {s.voice}"
        )
        for s in _sentences(recipe, takes, said, sides(recipe)[1][:2])
    ]
    note = "The words are synthesized (espeak-ng): accuracy on them says nothing about people's voices."
    data = Data("zoo:keywords", sets[0], sets[1], sets[2], LABELS, notes=(note,), streams=tuple(streams))
    data.check()
    return data


def sides(recipe: Recipe) -> tuple[npt.NDArray[np.int64], ...]:
    """Voices of recovery, validation and test."""
    order = np.random.default_rng(SEED).permutation(len(recipe.voices))
    test, validation, recovery = np.split(order, [recipe.held_out, 2 * recipe.held_out])
    return np.sort(recovery), np.sort(validation), np.sort(test)


def sentences(voices: Sequence[int] | npt.NDArray[np.int64], recipe: Recipe = FULL) -> list[Sentence]:
    """One of each voice: every keyword once and as many other words, in any order, with pauses, in noise."""
    takes = _takes(recipe)
    return _sentences(recipe, takes, _said(takes), voices)


def _said(takes: list[list[Spoken]]) -> list[list[Counts]]:
    """What is heard of each voice."""
    words = iter(speak([spoken for take in takes for spoken in take]))
    return [[next(words) for _ in take] for take in takes]


def _takes(recipe: Recipe) -> list[list[Spoken]]:
    """What each voice says: every keyword `takes` times, then other words."""
    recovery = sides(recipe)[0]
    found = []
    for number, voice in enumerate(recipe.voices):
        random = np.random.default_rng([SEED, 1, number])
        pool = OTHERS if number in recovery else (*OTHERS, *UNHEARD)
        words = [word for word in KEYWORDS for _ in range(recipe.takes)]
        words += [pool[i] for i in random.permutation(len(pool))[: recipe.others]]
        found.append(
            [
                Spoken(
                    word,
                    ACCENTS[random.integers(len(ACCENTS))],
                    voice,
                    *map(int, random.integers((25, 120), (80, 211))),
                )
                for word in words
            ]
        )
    return found


def _features(front: FrontEnd, recipe: Recipe, takes: list[list[Spoken]], said: list[list[Counts]]) -> Arrays:
    def voice(number: int) -> tuple[list[Counts], list[int]]:
        random = np.random.default_rng([SEED, 2, number])
        clips = _clips(recipe, takes[number], said[number], front.window_samples, random)
        return [front.windows(clip[:, np.newaxis])[0] for clip, _ in clips], [LABELS.index(label) for _, label in clips]

    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(voice, range(len(recipe.voices))))
    return {
        "x": np.stack([window for x, _ in found for window in x]),
        "y": np.array([label for _, y in found for label in y], np.int64),
        "group": np.repeat(np.arange(len(found), dtype=np.int64), [len(y) for _, y in found]),
    }


def _clips(
    recipe: Recipe, take: list[Spoken], sounds: list[Counts], length: int, random: np.random.Generator
) -> list[tuple[Counts, str]]:
    """What one voice gives, each clip with its label."""
    noises = make_noises(random, 4 * length)
    found = []
    for spoken, sound in zip(take, sounds, strict=True):
        label = spoken.word if spoken.word in KEYWORDS else UNKNOWN
        for _ in range(recipe.mixes):
            start = int(random.integers(0, max(0, length - len(sound)) + 1))
            found.append((clip(sound, start, length, noises, random), label))
    for _ in range(recipe.parts):
        sound = sounds[random.integers(len(sounds))][:length]
        seen = int(len(sound) * random.uniform(0.1, PART))
        start = length - seen if random.integers(2) else seen - len(sound)
        found.append((clip(sound, start, length, noises, random), UNKNOWN))
    found += [(silence(length, noises, random), SILENCE) for _ in range(recipe.silences)]
    return found


def _sentences(
    recipe: Recipe, takes: list[list[Spoken]], said: list[list[Counts]], voices: Sequence[int] | npt.NDArray[np.int64]
) -> list[Sentence]:
    found = []
    for number in map(int, voices):
        random = np.random.default_rng([SEED, 3, number])
        chosen = [k * recipe.takes + int(random.integers(recipe.takes)) for k in range(len(KEYWORDS))]
        chosen += [len(KEYWORDS) * recipe.takes + k for k in range(min(recipe.others, len(KEYWORDS)))]
        parts, words, at = [np.zeros(RATE_HZ // 2)], [], RATE_HZ // 2
        for i in random.permutation(len(chosen)):
            sound, pause = said[number][chosen[i]], int(random.integers(RATE_HZ // 2, RATE_HZ * 3 // 2))
            parts += [sound.astype(np.float64), np.zeros(pause)]
            words.append((at + len(sound), takes[number][chosen[i]].word))
            at += len(sound) + pause
        stream = in_room(np.concatenate(parts), make_noises(random, at), random)
        found.append(Sentence(number, recipe.voices[number], stream, tuple(words)))
    return found


def _made_by() -> str:
    """A digest of the code that makes clips and features: other code, other entries in the cache."""
    here = Path(__file__)
    files = (here, here.with_name("clips.py"), *sorted((here.parents[1] / "front_end").glob("*.py")))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
