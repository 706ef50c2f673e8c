"""Synthesized keywords: whole voices are held out, the bytes are the same each time, a missing espeak-ng is named."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from secateur.errors import UserError
from secateur.models.cache_folder import kept_arrays
from secateur.models.data import Data
from secateur.models.training import predict
from secateur.models.zoo import catalogue, clips, keywords, spoken
from secateur.models.zoo.spoken import Spoken

installed = pytest.mark.skipif(shutil.which(spoken.PROGRAM) is None, reason=f"no espeak-ng; {spoken.INSTALL}")

SMALL = keywords.Recipe(("f1", "m1", "Alex", "Annie"), 1, takes=1, others=2, mixes=1, parts=1, silences=1)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SECATEUR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _bytes(data: Data) -> list[bytes]:
    sets = [a.tobytes() for s in (data.recovery, data.validation, data.test) for a in (s.x, s.y, s.groups)]
    return sets + [s.samples.tobytes() for s in data.streams]


@pytest.mark.slow
@installed
def test_small_data_is_whole_voices_and_the_same_bytes_each_time(cache: Path) -> None:
    """Each voice: every keyword once, three unknown, one silence, all on one side; made, made again, and kept."""
    data = keywords.keywords_data(recipe=SMALL)
    order = np.concatenate([np.unique(s.groups) for s in (data.recovery, data.validation, data.test)])
    assert sorted(order.tolist()) == list(range(4))
    for split, voices in zip((data.recovery, data.validation, data.test), keywords.sides(SMALL), strict=True):
        assert np.unique(split.groups).tolist() == voices.tolist()
        for voice in voices:
            assert np.bincount(split.y[split.groups == voice]).tolist() == [1] * 6 + [1, 3]
        assert split.x.shape == (10 * len(voices), *keywords.INPUT_SHAPE)
    assert [s.group for s in data.streams] == keywords.sides(SMALL)[1].tolist()
    assert "nothing about people's voices" in data.notes[0]
    again = keywords.keywords_data(recipe=SMALL)
    for entry in [*cache.glob("speech/*"), *cache.glob("keywords/*")]:
        entry.write_bytes(entry.read_bytes()[:-3000])  # damaged, so made again
    made = keywords.keywords_data(recipe=SMALL)
    assert len(list(cache.glob("*/*.npz"))) == 2
    assert _bytes(data) == _bytes(again) == _bytes(made)


@pytest.mark.slow
@installed
def test_a_sentence_says_every_keyword_where_it_says_so(cache: Path) -> None:
    """Loud before each word's end, and the pause after it is quieter."""
    (sentence,) = keywords.sentences(keywords.sides(SMALL)[2][:1], SMALL)
    assert sorted(w for _, w in sentence.words if w in keywords.KEYWORDS) == sorted(keywords.KEYWORDS)
    assert len(sentence.words) == 6 + 2
    wide = sentence.samples.astype(float) ** 2
    for end, _ in sentence.words:
        assert wide[end - 3200 : end].mean() > wide[end + 4000 : end + 7000].mean()


@installed
def test_another_front_end_makes_other_windows_and_a_wrong_rate_is_refused(cache: Path) -> None:
    """20 features instead of 10; 8 kHz is one line."""
    features = replace(keywords.FEATURES, bins=20)
    data = keywords.keywords_data(replace(keywords.FRONT_END, features=features), SMALL)
    assert data.recovery.x.shape[1:] == (1, 49, 20)
    with pytest.raises(
        UserError, match=r"one channel at 16000 Hz, the front end takes 1 at 8000 Hz; change \[source\]"
    ):
        keywords.keywords_data(replace(keywords.FRONT_END, rate_hz=8000), SMALL)


def test_voices_and_words() -> None:
    """44 voices: 26, 9 and 9. Words of their own for the voices that are held out; no word is a keyword twice."""
    sides = keywords.sides(keywords.FULL)
    assert [len(s) for s in sides] == [26, 9, 9]
    assert sorted(np.concatenate(sides).tolist()) == list(range(len(set(keywords.VOICES))))
    words = (*keywords.KEYWORDS, *keywords.OTHERS, *keywords.UNHEARD)
    assert len(set(words)) == len(words)
    takes = keywords._takes(keywords.FULL)
    said = [{spoken.word for number in side for spoken in takes[number]} for side in sides]
    assert not said[0] & set(keywords.UNHEARD) and said[1] & set(keywords.UNHEARD) and said[2] & set(keywords.UNHEARD)
    assert {s.voice for s in takes[3]} == {keywords.VOICES[3]}
    assert catalogue.ENTRIES["keywords-dscnn"].labels == keywords.LABELS


def test_a_clip_holds_the_part_of_the_sound_that_lies_in_it() -> None:
    """From before the clip: its end; beyond the clip: its begin; else all of it; the rest is noise."""
    sound = np.full(400, 20000, np.int16)
    noises = [np.zeros(4000)]
    for start, loud in ((-300, range(100)), (900, range(900, 1000)), (200, range(200, 600))):
        made = clips.clip(sound, start, 1000, noises, np.random.default_rng(1))
        assert (made[loud] != 0).all() and (made[: loud.start] == 0).all()
        assert made[loud.stop :].max(initial=0) < made[loud].min() / 2  # an echo at most
    for noise in clips.make_noises(np.random.default_rng(0), 4096):
        assert np.mean(noise**2) == pytest.approx(1)


def test_without_espeak_one_line_says_what_to_install(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing on PATH."""
    monkeypatch.setenv("PATH", str(cache))
    with pytest.raises(UserError, match=r"^espeak-ng is not installed, .*; apt-get install espeak-ng$"):
        catalogue.zoo_data("zoo:keywords")


@installed
def test_a_voice_that_espeak_lacks_is_named(cache: Path) -> None:
    """espeak-ng itself would use another voice, and not say so."""
    with pytest.raises(UserError, match="has no voice nobody; install Debian's: apt-get install espeak-ng"):
        spoken.speak([Spoken("yes", "en-us", "nobody", 50, 150)])
    assert not list(cache.glob("speech/*"))
    with pytest.raises(UserError, match=r"espeak-ng -v nowhere.m1 .*: exit status 1: "):
        spoken.speak([Spoken("yes", "nowhere", "m1", 50, 150)])


def test_arrays_that_cannot_be_kept_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache is a file: a warning, no failure."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SECATEUR_CACHE", str(tmp_path / "file"))
    assert kept_arrays("kind", "key", lambda: {"a": np.arange(3)})["a"].tolist() == [0, 1, 2]


@installed
@pytest.mark.slow
def test_shipped_weights_know_keywords_of_voices_they_never_met() -> None:
    """More than 90 % of validation and test voices, as the file says of itself."""
    network, data = catalogue.load("keywords-dscnn"), catalogue.zoo_data("zoo:keywords-dscnn")
    about = catalogue.about_weights("keywords-dscnn")
    assert about["command"].startswith("python -m secateur.models.zoo.train keywords-dscnn")
    assert catalogue.weights_path("keywords-dscnn").stat().st_size < 200_000
    for name in ("validation", "test"):
        split = getattr(data, name)
        assert about["groups"][name] == np.unique(split.groups).tolist()
        found = 100 * (predict(network.module, split.x, network.preprocess).argmax(1) == split.y).mean()
        assert found > 90
        # Another version of espeak-ng speaks a little otherwise.
        assert found == pytest.approx(about["accuracy_percent"][name], abs=2)
    assert network.preprocess.front_end == keywords.FRONT_END


def test_other_code_does_not_take_up_what_was_spoken_before(tmp_path, monkeypatch):
    """As after an update of the package: the words are spoken again, once."""
    monkeypatch.setenv("SECATEUR_CACHE", str(tmp_path))
    words, calls = [spoken.Spoken("yes", "en-us", "f1", 50, 160)], []
    monkeypatch.setattr(spoken, "_run", lambda arguments: b"eSpeak NG 1")
    monkeypatch.setattr(
        spoken, "_spoken", lambda *a: calls.append(a) or {"samples": np.ones(5, np.int16), "lengths": np.array([5])}
    )
    spoken.speak(words)
    spoken.speak(words)
    other = tmp_path / "models" / "zoo" / "spoken.py"
    other.parent.mkdir(parents=True)
    other.write_text("# other code")
    monkeypatch.setattr(spoken, "__file__", str(other))
    spoken.speak(words)
    spoken.speak(words)
    assert len(calls) == 2
