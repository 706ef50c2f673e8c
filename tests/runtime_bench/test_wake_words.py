"""The four wake words of pymicro-wakeword, from samples to "heard", against the package itself."""

from __future__ import annotations

import shutil
import subprocess
import wave
from pathlib import Path

import numpy as np
import pytest
from wake_words import WakeWord

from secateur.models.front_end.resample import resample_between
from secateur.models.front_end.stage import Counts

NAMES = ("alexa", "hey_jarvis", "hey_mycroft", "okay_nabu")


@pytest.fixture(scope="module")
def models() -> Path:
    """The package's folder of networks; it is none of this project's, and large."""
    package = pytest.importorskip("pymicro_wakeword", reason="pymicro-wakeword is not installed; pip install it")
    return Path(package.__file__).parent / "models"


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Counts:
    """Each wake word and other sentences by two voices, with pauses, at 16 kHz."""
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng, which speaks the words, is not installed")
    said = tmp_path_factory.mktemp("speech") / "said.wav"
    parts, noise = [], np.random.default_rng(0)
    for text in ("alexa", "hey jarvis", "what time is it", "hey mycroft", "okay nabu", "turn on the light please"):
        for voice in ("en-us", "en-us+f3", "en-gb"):
            subprocess.run(["espeak-ng", "-v", voice, "-s", "140", "-w", said, text], check=True)
            with wave.open(str(said)) as file:
                raw = np.frombuffer(file.readframes(file.getnframes()), np.int16)[:, None]
                to_16k = resample_between(file.getframerate(), 16000)
            parts += [raw[:, 0] if to_16k is None else to_16k.rows(raw)[:, 0], noise.normal(0, 10, 12000)]
    return np.concatenate(parts).astype(np.int16)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_package_hears_what_we_hear(name: str, models: Path, speech: Counts) -> None:
    """LiteRT's fast kernels on our inputs give the package's probability after every call, without a difference.

    TensorFlow Lite Micro's round at other places: within a sixteenth, and they decide otherwise only near the cutoff.
    """
    from pymicro_wakeword import MicroWakeWord, MicroWakeWordFeatures

    ours = WakeWord(models / f"{name}.json")
    theirs = MicroWakeWord.from_config(models / f"{name}.json")
    assert theirs.stride == ours.front.window
    means, heard = [], []
    for row in MicroWakeWordFeatures().process_streaming(speech.tobytes()):
        means.append(theirs.process_streaming_prob(row))
        heard.append(means[-1] > theirs.probability_cutoff)
    last = slice(theirs.stride - 1, None, theirs.stride)
    same, micro = ours.litert(speech), ours.tflm(speech)
    assert len(set(same)) > 8
    np.testing.assert_array_equal(ours.heard(same), heard[last])
    sums = np.convolve(same, np.ones(ours.smooth))[: len(same)] / ours.smooth
    np.testing.assert_allclose(sums[ours.smooth - 1 :], means[last][ours.smooth - 1 :], rtol=0, atol=1e-7)
    assert np.abs(micro - same).max() < 1 / 16
    apart = ours.heard(micro) != ours.heard(same)
    assert (np.abs(sums[apart] - ours.cutoff) < 1 / 32).all()
