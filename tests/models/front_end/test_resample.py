"""The resampler against scipy's filters and float64 maths."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal

from secateur.errors import UserError
from secateur.models.front_end.resample import Resample, resample_between

RATIOS = [(1, 2), (1, 3), (2, 1), (3, 1), (2, 3), (3, 2), (160, 441), (25, 26), (1, 10)]


def _whole(made: Resample) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """The filter at `up` times the input's rate, gain 1 a phase."""
    return made.taps.T.ravel() / 16384


@pytest.mark.parametrize("up, down", RATIOS)
def test_it_is_upfirdn_with_integer_taps(up: int, down: int) -> None:
    """Every output is scipy's, rounded half up and saturated, of full-scale noise in two channels."""
    made = Resample(up, down)
    x = np.random.default_rng(up).choice([-32768, 32767, 5, -17000], (500, 2)).astype(np.int16)
    whole = scipy.signal.upfirdn(_whole(made) * 16384, x.astype(np.float64), up, down, axis=0)
    expected = np.clip(np.floor((whole + 8192) / 16384), -32768, 32767)
    found = made.rows(x)
    assert len(found) == -(-len(x) * up // down)
    np.testing.assert_array_equal(found, expected[: len(found)])


@pytest.mark.parametrize("up, down", RATIOS)
def test_taps_are_the_windowed_sinc(up: int, down: int) -> None:
    """Within a unit of scipy's firwin, and each phase sums to exactly 1."""
    made, half = Resample(up, down), 12 * max(up, down)
    window = ("kaiser", scipy.signal.kaiser_beta(60.0))
    expected = scipy.signal.firwin(2 * half + 1, 1 / max(up, down), window=window) * up
    assert (made.taps.sum(axis=1, dtype=np.int64) == 16384).all()
    ours = _whole(made)
    # Rounding, and the phases' own gains, which in scipy's filter differ from 1 by about the damping.
    assert np.abs(ours[: len(expected)] - expected).max() < 1.6 / 16384 + 2e-3 * expected.max()
    assert not ours[len(expected) :].any()


@pytest.mark.slow
@pytest.mark.parametrize("up, down", RATIOS)
def test_the_stop_band_is_damped_and_the_delay_is_the_stated_one(up: int, down: int) -> None:
    """At least 55 dB beyond the transition band, like scipy's own; flat below it; the delay is that of `delay`."""
    made, edge = Resample(up, down), 1 / max(up, down)
    window = ("kaiser", scipy.signal.kaiser_beta(60.0))
    theirs = scipy.signal.firwin(24 * max(up, down) + 1, edge, window=window)
    w = np.linspace(0, np.pi, 20001)
    _, ours = scipy.signal.freqz(_whole(made) / up, worN=w)
    _, other = scipy.signal.freqz(theirs, worN=w)
    stop, band = w > np.pi * edge * 1.16, w < np.pi * edge * 0.8
    level = 20 * np.log10(np.abs(ours[stop]).max())
    assert level < -55
    assert level < 20 * np.log10(np.abs(other[stop]).max()) + 6
    assert np.abs(20 * np.log10(np.abs(ours[band]))).max() < 0.1
    _, delay = scipy.signal.group_delay((_whole(made), 1), w=w[band])
    assert np.abs(delay.mean() / up - made.delay) < 0.01


def test_a_sine_comes_out_as_the_delayed_sine() -> None:
    """44.1 to 16 kHz: within a thousandth of full scale of the ideal, once the filter is full."""
    made = resample_between(44100, 16000)
    assert made == Resample(160, 441)
    x = 20000 * np.sin(2 * np.pi * 1000 * np.arange(20000) / 44100)
    found = made.rows(np.rint(x).astype(np.int16)[:, None])[:, 0]
    ideal = 20000 * np.sin(2 * np.pi * 1000 * (np.arange(len(found)) / 16000 - made.delay / 44100))
    assert np.abs(found - ideal)[60:].max() < 33


def test_ratios_of_rates() -> None:
    """The simplest fraction within 10 ppm; equal rates need no resampler; others are refused by name."""
    assert resample_between(48000, 16000) == Resample(1, 3)
    assert resample_between(104, 100) == Resample(25, 26)
    assert resample_between(100, 100) is None
    with pytest.raises(UserError, match="resample 16000 Hz to 15999 Hz: no fraction"):
        resample_between(16000, 15999)
    with pytest.raises(UserError, match="2/4: give a reduced fraction"):
        Resample(2, 4)


def test_a_constant_and_an_empty_signal() -> None:
    """Full scale comes out as full scale once the filter is full; nothing gives nothing."""
    made = Resample(3, 7)
    assert made.rows(np.full((200, 1), -32768, np.int16))[30:].tolist() == [[-32768]] * (86 - 30)
    assert made.rows(np.zeros((0, 2), np.int16)).shape == (0, 2)
