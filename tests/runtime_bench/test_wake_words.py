"""The four wake words of pymicro-wakeword, from samples to "heard", against the package itself."""

from __future__ import annotations

import logging
import shutil
import subprocess
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from wake_words import WakeWord

from secateur.compiler.deploy import deploy
from secateur.compiler.stream_proof import pieces, stream_golden
from secateur.firmware.generated import NO_DECISION
from secateur.models.front_end.resample import resample_between
from secateur.models.front_end.stage import Counts
from secateur.targets.target import find

log = logging.getLogger(__name__)

NAMES = ("alexa", "hey_jarvis", "hey_mycroft", "okay_nabu")


@pytest.fixture(scope="module")
def models() -> Path:
    """The package's folder of networks; it is none of this project's, and large."""
    package = pytest.importorskip("pymicro_wakeword", reason="pymicro-wakeword is not installed; make setup brings it")
    return Path(package.__file__).parent / "models"


@dataclass(frozen=True)
class Speech:
    """`samples` at 16 kHz; `ends`: of each word, where it ends."""

    samples: Counts
    ends: dict[str, list[int]]


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Speech:
    """Each wake word and other sentences by three voices, with pauses."""
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng, which speaks the words, is not installed; make setup brings it")
    said = tmp_path_factory.mktemp("speech") / "said.wav"
    parts, noise, ends = [], np.random.default_rng(0), dict[str, list[int]]()
    for text in ("alexa", "hey jarvis", "what time is it", "hey mycroft", "okay nabu", "turn on the light please"):
        for voice in ("en-us", "en-us+f3", "en-gb"):
            subprocess.run(["espeak-ng", "-v", voice, "-s", "140", "-w", said, text], check=True)
            with wave.open(str(said)) as file:
                raw = np.frombuffer(file.readframes(file.getnframes()), np.int16)[:, None]
                to_16k = resample_between(file.getframerate(), 16000)
            parts.append(raw[:, 0] if to_16k is None else to_16k.rows(raw)[:, 0])
            ends.setdefault(text.replace(" ", "_"), []).append(sum(map(len, parts)))
            parts.append(noise.normal(0, 10, 12000))
    return Speech(np.concatenate(parts).astype(np.int16), ends)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_package_hears_what_we_hear(name: str, models: Path, speech: Speech) -> None:
    """LiteRT's fast kernels on our inputs give the package's probability after every call, without a difference.

    TensorFlow Lite Micro's round at other places: within a sixteenth, and they decide otherwise only near the cutoff.
    """
    from pymicro_wakeword import MicroWakeWord, MicroWakeWordFeatures

    ours = WakeWord(models / f"{name}.json")
    theirs = MicroWakeWord.from_config(models / f"{name}.json")
    assert theirs.stride == ours.front.window
    means, heard = [], []
    for row in MicroWakeWordFeatures().process_streaming(speech.samples.tobytes()):
        means.append(theirs.process_streaming_prob(row))
        heard.append(means[-1] > theirs.probability_cutoff)
    last = slice(theirs.stride - 1, None, theirs.stride)
    same, micro = ours.litert(speech.samples), ours.tflm(speech.samples)
    assert len(set(same)) > 8
    np.testing.assert_array_equal(ours.heard(same), heard[last])
    sums = np.convolve(same, np.ones(ours.smooth))[: len(same)] / ours.smooth
    np.testing.assert_allclose(sums[ours.smooth - 1 :], means[last][ours.smooth - 1 :], rtol=0, atol=1e-7)
    assert np.abs(micro - same).max() < 1 / 16
    apart = ours.heard(micro) != ours.heard(same)
    assert (np.abs(sums[apart] - ours.cutoff) < 1 / 32).all()


@pytest.mark.emulator
@pytest.mark.slow
@pytest.mark.parametrize("target", ["qemu-cortex-m4", "esp32"])
@pytest.mark.parametrize("name", NAMES)
def test_the_firmware_hears_it_from_raw_audio(
    name: str, target: str, models: Path, speech: Speech, tmp_path: Path
) -> None:
    """Firmware that is pushed 30 ms of audio at a time: after each, its decision, confidence and output are Python's.

    Python's decisions are those of `heard`: its own word at least once, and nothing else.
    """
    ours = WakeWord(models / f"{name}.json")
    given = pieces(ours.program, speech.samples)
    expected = stream_golden(ours.content, ours.program, given)
    labels = np.ascontiguousarray(expected.outputs[:, :4]).view("<i4").ravel()
    told = labels[labels != NO_DECISION]
    np.testing.assert_array_equal(told == 0, ours.heard(ours.tflm(speech.samples))[ours.smooth - 1 :][: len(told)])
    at = (np.flatnonzero(labels == 0) + 1) * ours.front.hop_samples
    assert len(at) and all(any(-8000 < sample - end < 12000 for end in speech.ends[name]) for sample in at)
    found = deploy(ours.content, ours.program, name, find(target), given, tmp_path)
    assert found.comparison is not None
    log.info(
        "%s %s: %d pieces, %d decisions, heard at %d, %d mismatches; instructions: front end %s, network %d",
        target, name, len(given), len(told), len(at), found.comparison.mismatches,
        found.front_end_instructions, sum(found.layer_counts or ()),
    )  # fmt: skip
    assert (found.comparison.samples, found.comparison.mismatches) == (len(given), 0)
