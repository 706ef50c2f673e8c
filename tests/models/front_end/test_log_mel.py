"""Log-mel energies in integers against float64."""

from __future__ import annotations

import time
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mel_float import ANOMALY, KWS, log_mel_float, ratio_db, sounds

from secateur.errors import UserError
from secateur.models.front_end.fft import log2_q15, power_spectrum, root
from secateur.models.front_end.log_mel import LogMel

LEAST_DB = {
    "kws": {"noise": 67, "quiet noise": 67, "quiet sine": 70, "vowel": 71, "quiet vowel": 71},
    "anomaly": {"noise": 61, "quiet noise": 61, "quiet sine": 67, "vowel": 70, "quiet vowel": 72},
    "emphasis": {"noise": 72, "quiet noise": 72, "quiet sine": 70, "vowel": 68, "quiet vowel": 68},
}
MELS = {"kws": LogMel(**KWS), "anomaly": LogMel(**ANOMALY), "emphasis": LogMel(**KWS, pre_emphasis=0.97)}


@pytest.mark.parametrize("name", MELS)
def test_the_error_is_small_for_loud_and_quiet_sounds(name: str) -> None:
    """As dB below the variation of the features themselves."""
    mel = MELS[name]
    found = {sound: ratio_db(log_mel_float(mel, x), mel.rows(x) * mel.unit) for sound, x in sounds().items()}
    assert all(found[sound] > least for sound, least in LEAST_DB[name].items()), found


def test_speech(shared_data: Path) -> None:
    """A recorded word: at least 77 dB, and never off by more than 0.003 of a natural logarithm."""
    with wave.open(str(shared_data / "mlperf_tiny" / "streaming_wakeword" / "marvin_617de221_0.wav")) as f:
        x = np.frombuffer(f.readframes(f.getnframes()), np.int16).reshape(-1, f.getnchannels())[:, 0]
    mel = MELS["kws"]
    expected, found = log_mel_float(mel, x), mel.rows(x) * mel.unit
    assert found.shape == (49, 40)
    assert ratio_db(expected, found) > 77
    assert np.abs(found - expected).max() < 0.003


def test_a_pure_tone_at_full_scale() -> None:
    """Its neighbours, 100 dB below, have the 15 bits of the window: all within 75 dB of the peak are right."""
    x = np.rint(32767 * np.sin(2 * np.pi * 1000.3 * np.arange(16000) / 16000)).astype(np.int16)
    mel = MELS["kws"]
    expected, found = log_mel_float(mel, x), mel.rows(x) * mel.unit
    near = expected > expected.max() - 75 * np.log(10) / 20
    assert 0.2 < near.mean() < 0.9
    assert np.abs(found - expected)[near].max() < 0.05


def test_silence_is_the_floor() -> None:
    """Every energy below the floor gives its logarithm, and no sound at all too."""
    silence = np.zeros(16000, np.int16)
    for mel in MELS.values():
        rows = mel.rows(silence)
        assert (rows == mel.floor_count).all()
    assert MELS["kws"].floor_count * MELS["kws"].unit == pytest.approx(np.log(1e-6), abs=1e-3)
    assert MELS["anomaly"].floor_count * MELS["anomaly"].unit == -100
    high = LogMel(**{**KWS, "floor": 10.0})
    x = sounds()["vowel"]
    np.testing.assert_array_equal(high.rows(x), np.maximum(MELS["kws"].rows(x), high.floor_count))


def test_a_frame_does_not_depend_on_others() -> None:
    """Frame i begins at sample i * step, only whole frames are made, and blocks of frames join."""
    mel, x = MELS["kws"], np.tile(sounds()["vowel"], 6)
    rows = mel.rows(x)
    assert len(rows) == 1 + (len(x) - 480) // 320 > 256
    for i in (0, 255, 256, len(rows) - 1):
        np.testing.assert_array_equal(mel.rows(x[320 * i : 320 * i + 480]), rows[i : i + 1])
    assert mel.rows(x[:479]).shape == (0, 40)


@pytest.mark.parametrize("length", [16, 32, 64, 128, 256, 512, 1024, 2048, 4096])
def test_power_spectrum(length: int) -> None:
    """Magnitudes are within 7 counts of float64 at every loudness, full-scale squares and constants included."""
    rng = np.random.default_rng(length)
    most = 32768 * 32767
    frames = [rng.integers(-limit, limit + 1, length) for limit in (most, 1 << 20, 1 << 12, 1)]
    frames += [np.full(length, -most), np.where(np.arange(length) % 2, -most, most)]
    frames += [np.where(np.arange(length) // (length // 8) % 2, -most, most), np.where(np.arange(length), 0, most)]
    x = np.array(frames)
    power = power_spectrum(x)
    expected = np.abs(np.fft.rfft(x / length))[:, 1:-1]
    assert power.max() < 1 << 61
    assert np.abs(np.sqrt(power[:, 1:].astype(np.float64)) - expected).max() < 7


def test_roots_and_logarithms() -> None:
    """Over all exponents: roots within 5e-5 or one, logarithms within 6e-5 of an octave (and half a count)."""
    rng = np.random.default_rng(0)
    values = rng.integers(1, 1 << 62, 50000, dtype=np.uint64) >> rng.integers(0, 62, 50000).astype(np.uint64)
    values = np.concatenate([values[values > 0], np.uint64(1) << np.arange(62, dtype=np.uint64)])
    real = values.astype(np.float64)
    off = np.abs(root(values) + 0.5 - np.sqrt(real))
    assert (off <= 0.51 + 5e-5 * np.sqrt(real)).all()
    assert root(np.zeros(1, np.uint64)) == 0
    values = np.concatenate([values, np.array([(1 << 64) - 1, 1 << 63], np.uint64)])
    assert np.abs(log2_q15(values) / 2**15 - np.log2(values.astype(np.float64))).max() < 6e-5


def test_a_second_takes_less_than_50_ms() -> None:
    """About 4 ms where nothing else runs; the best of five."""
    x = sounds()["noise"]

    def seconds() -> float:
        begin = time.perf_counter()
        MELS["kws"].rows(x)
        return time.perf_counter() - begin

    assert min(seconds() for _ in range(5)) < 0.05


@pytest.mark.parametrize(
    "change, message",
    [
        ({"fft_length": 500}, "FFT length 500 is no power of two from 16 to 4096"),
        ({"frame_length": 513}, "frames of 513 samples for an FFT of 512"),
        ({"frame_step": 0}, "a frame every 0 samples"),
        ({"upper_hz": 8001}, "mel filters from 20 to 8001 Hz at 16000 samples/s"),
        ({"lower_hz": 4000}, "mel filters from 4000 to 4000 Hz"),
        ({"pre_emphasis": 1.0}, "pre-emphasis 1"),
        ({"bins": 0}, "0 mel filters over 256 bins"),
        ({"bins": 120}, r"mel filter \d+ of 120 lies between two bins of the FFT, 31.25 Hz apart"),
        ({"floor": 0.0}, "floor 0"),
        ({"floor": 1e-30}, "floor 1e-30"),
        ({"window": "kaiser"}, "window 'kaiser' is unknown; choose hann or hamming"),
    ],
)
def test_what_cannot_be_is_said(change: dict[str, Any], message: str) -> None:
    """One line with the numbers."""
    with pytest.raises(UserError, match=message):
        LogMel(**{**KWS, **change})
