"""TFLite Micro's audio front end against pymicro-features, which is TFLite Micro's own code."""

from __future__ import annotations

import ctypes
import ctypes.util
import wave
from pathlib import Path

import numpy as np
import pytest
from front_end_c import Values

from secateur.errors import UserError
from secateur.models.front_end.micro import Micro, log1p_float32
from secateur.models.front_end.micro_fft import real_fft

SECOND = 16000


def _libm_log1p(x: float) -> float:
    function = ctypes.CDLL(ctypes.util.find_library("m")).log1pf
    function.restype, function.argtypes = ctypes.c_float, [ctypes.c_float]
    return float(function(x))


@pytest.fixture(scope="module")
def _same_logarithm() -> None:
    """glibc from 2.41 rounds log1pf correctly; pymicro-features takes its bands' weights from it."""
    x = (np.arange(1, 257) * np.float32(31.25) / np.float32(700)).astype(np.float32)
    if [_libm_log1p(float(v)) for v in x] != log1p_float32(x).tolist():
        pytest.skip("this machine's log1pf is not the one that microcontrollers have")


def _theirs(samples: Values) -> Values:
    """As pymicro-features is used: 10 ms a call; its floats are counts times 10/256."""
    from pymicro_features import MicroFrontend

    front, found = MicroFrontend(), []
    for i in range(0, len(samples) - 159, 160):
        made = front.process_samples(samples[i : i + 160].tobytes())
        assert made.samples_read == 160
        if made.features:
            found.append(made.features)
    return np.rint(np.array(found) * 25.6).astype(np.int16).reshape(-1, 40)


def _signals(n: int) -> dict[str, Values]:
    rng, t = np.random.default_rng(7), np.arange(n)
    made = {
        "noise": rng.integers(-32768, 32768, n),
        "soft noise": rng.integers(-3, 4, n),
        "tone": 32767 * np.sin(0.3 * t),
        "chirp": 20000 * np.sin(0.5 * t * t / n),
        "square": np.where(t // 37 % 2, 32767, -32768),
        "random square": np.where(rng.integers(0, 2, n), 32767, -32768),
        "silence": np.zeros(n),
        "lowest value": np.full(n, -32768),
        "clicks": np.where(t % 997 == 0, -32768, 0),
        "soft and loud": rng.normal(0, 1, n) * np.exp(4 + 5 * np.sin(t / 16000)),
    }
    return {name: np.clip(x, -32768, 32767).astype(np.int16) for name, x in made.items()}


@pytest.mark.parametrize("name", _signals(1))
@pytest.mark.usefixtures("_same_logarithm")
def test_every_feature_is_that_of_tflite_micro(name: str) -> None:
    """12 s of each signal, without one count of difference."""
    samples = _signals(12 * SECOND)[name]
    np.testing.assert_array_equal(Micro().rows(samples), _theirs(samples))


@pytest.mark.usefixtures("_same_logarithm")
@pytest.mark.slow
def test_minutes_of_mixed_signals_in_one_stream() -> None:
    """5 minutes in which what one signal leaves behind meets the next."""
    samples = np.concatenate([x for _ in range(3) for x in _signals(10 * SECOND).values()])
    np.testing.assert_array_equal(Micro().rows(samples), _theirs(samples))


@pytest.mark.usefixtures("_same_logarithm")
def test_speech(shared_data: Path) -> None:
    """The recordings of a benchmark's wake word."""
    names = sorted((shared_data / "mlperf_tiny" / "streaming_wakeword").glob("*.wav"))
    assert names
    for name in names:
        with wave.open(str(name)) as f:
            assert (f.getframerate(), f.getsampwidth()) == (SECOND, 2)
            samples = np.frombuffer(f.readframes(f.getnframes()), np.int16).reshape(-1, f.getnchannels())
        for one in samples.T.copy():
            np.testing.assert_array_equal(Micro().rows(one), _theirs(one))


def test_the_logarithm_is_the_true_one_but_for_its_last_bit() -> None:
    """From 0 to the highest ratio of frequencies, and at 1, where its series begins anew."""
    x = np.concatenate([np.linspace(0, 35, 20001), 1 + np.arange(-50, 51) * 2.0**-23]).astype(np.float32)
    true = np.log1p(x.astype(np.float64))
    assert (np.abs(log1p_float32(x) - true) <= np.spacing(true.astype(np.float32))).all()


def test_a_longer_step_and_another_window() -> None:
    """Frame i begins at sample i * frame_step, and a stream too short for a frame gives none."""
    samples = _signals(2 * SECOND)["soft and loud"]
    micro = Micro(step_ms=20)
    found = micro.rows(samples)
    assert found.shape == ((len(samples) - 480) // 320 + 1, 40)
    np.testing.assert_array_equal(found[:20], micro.rows(samples[: 19 * 320 + 480]))
    assert micro.rows(samples[:479]).shape == (0, 40)


def test_frames_are_computed_in_blocks_of_one_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many frames are computed at once changes nothing."""
    samples = _signals(SECOND)["chirp"]
    whole = Micro().rows(samples)
    monkeypatch.setattr("secateur.models.front_end.micro.BLOCK", 7)
    np.testing.assert_array_equal(Micro().rows(samples), whole)


@pytest.mark.parametrize("length", [8, 16, 64, 512, 1024])
def test_the_fft_is_near_the_true_one(length: int) -> None:
    """Divided by its length, within the rounding of its stages."""
    x = np.random.default_rng(length).integers(-20000, 20000, (length, 5)).astype(np.int16)
    re, im = real_fft(x)
    true = np.fft.rfft(x, axis=0) / length
    assert np.abs(re + 1j * im - true).max() < 4


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"window_ms": 300}, "4800 and 160 samples at 16000 Hz; the window takes 8 to 4096"),
        ({"step_ms": 40}, "the step 1 to a window"),
        ({"rate_hz": 22050.5}, "22050.5 Hz; the rate must be a whole number"),
        ({"upper_hz": 9000.0}, "125 to 9000 Hz is no band below half the rate, 16000 Hz"),
        ({"upper_hz": 8000.0}, "the bands reach the highest frequency, 8000 Hz"),
        ({"channels": 0}, "channels 0; it ranges from 1 to 256"),
        ({"log_shift": 11}, "log_shift 11; it ranges from 0 to 10"),
        ({"pcan_offset": 1.0, "pcan_strength": 2.0, "smoothing_bits": 4}, "too steeply"),
    ],
)
def test_what_16_bits_do_not_hold_is_refused(wrong: dict[str, float], message: str) -> None:
    """One line that says which parameter, and its range."""
    with pytest.raises(UserError, match=message):
        Micro(**wrong)  # type: ignore[arg-type]
