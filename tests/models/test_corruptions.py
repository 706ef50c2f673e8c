"""Corruptions of pictures and of a sensor's windows: what each does, how much, and that it is the same each time."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest

from secateur.models import picture_corruptions as pictures
from secateur.models import window_corruptions as windows
from secateur.models.window_corruptions import Sensor

RANDOM = np.random.default_rng(0)
COLOURS = RANDOM.uniform(size=(4, 3, 32, 32)).astype(np.float32)
GREY = RANDOM.uniform(size=(4, 1, 8, 8)).astype(np.float32)
SERIES = np.cumsum(RANDOM.normal(size=(200, 6, 64)), axis=2)
SENSOR = Sensor(SERIES.std(axis=(0, 2)), ((0, 1, 2), (3, 4, 5)))


@pytest.mark.parametrize("name", pictures.CORRUPTIONS)
@pytest.mark.parametrize("x", [COLOURS, GREY], ids=["colours", "grey"])
def test_a_picture_stays_a_picture_and_severity_counts(name, x):
    """Shape, range and 8 bits stay, the seed decides, and severity 5 is further away than 1."""
    found = [pictures.corrupt(name, x, s, seed=7) for s in pictures.SEVERITIES]
    for made in found:
        assert made.shape == x.shape and made.dtype == np.float32
        np.testing.assert_allclose(made * 255, np.rint(made * 255), atol=1e-4)
        assert made.min() >= 0 and made.max() <= 1
    far = [float(np.square(made - x).mean()) for made in found]
    assert far[4] > far[0] and far[4] > 1e-4
    np.testing.assert_array_equal(found[2], pictures.corrupt(name, x, 3, seed=7))


def test_noise_of_pictures_has_the_deviation_that_it_says():
    """Gaussian 0.1 at severity 5; photons' variance is x / 50; of impulses 7 % of the values are hit."""
    flat = np.full((8, 3, 64, 64), 0.5, np.float32)
    np.testing.assert_allclose(pictures.corrupt("gaussian_noise", flat, 5, 0).std(), 0.1, rtol=0.02)
    np.testing.assert_allclose(pictures.corrupt("shot_noise", flat, 5, 0).std(), 0.1, rtol=0.02)
    struck = pictures.corrupt("impulse_noise", flat, 5, 0)
    np.testing.assert_allclose((np.abs(struck - 0.5) > 0.1).mean(), 0.07, rtol=0.05)
    assert 0.9 < (struck == 1).sum() / (struck == 0).sum() < 1.1


def test_brightness_raises_the_value_of_hsv_alone():
    """Against the standard library's conversions, black included."""
    x = COLOURS.copy()
    x[0, :, 0, 0] = 0
    found = pictures.brightness(x.astype(np.float64), 4, RANDOM)
    for at in ((0, 0, 0), (1, 5, 6), (3, 31, 2)):
        h, s, v = colorsys.rgb_to_hsv(*x[at[0], :, at[1], at[2]].tolist())
        np.testing.assert_allclose(found[at[0], :, at[1], at[2]], colorsys.hsv_to_rgb(h, s, min(v + 0.2, 1)), atol=1e-6)


def test_contrast_and_defocus_keep_the_mean():
    """Contrast leaves a 0.15 of each deviation at severity 5; a blur's weights sum to 1 and it is symmetric."""
    x = COLOURS.astype(np.float64)
    mean = x.mean(axis=(2, 3), keepdims=True)
    np.testing.assert_allclose(pictures.contrast(x, 5, RANDOM) - mean, 0.15 * (x - mean), atol=1e-12)
    point = np.zeros((1, 1, 9, 9))
    point[0, 0, 4, 4] = 1
    spread = pictures.defocus_blur(point, 5, RANDOM)[0, 0]
    np.testing.assert_allclose(spread.sum(), 1)
    np.testing.assert_allclose(spread, spread.T)
    assert (spread > 0.05).sum() == 9  # the disk of radius 1.5


@pytest.mark.parametrize("name", windows.CORRUPTIONS)
def test_a_window_stays_a_window_and_severity_counts(name):
    """Shape stays, the input is left alone, the seed decides, and severity 5 is further away than 1."""
    before = SERIES.copy()
    found = [windows.corrupt(name, SERIES, s, 7, SENSOR) for s in windows.SEVERITIES]
    np.testing.assert_array_equal(SERIES, before)
    assert all(made.shape == SERIES.shape for made in found)
    far = [float(np.square(made - SERIES).mean()) for made in found]
    assert far == sorted(far) and far[0] > 0
    np.testing.assert_array_equal(found[2], windows.corrupt(name, SERIES, 3, 7, SENSOR))
    assert not np.array_equal(found[2], windows.corrupt(name, SERIES, 3, 8, SENSOR))


def test_what_a_sensor_does_is_what_the_definitions_say():
    """Shares of the spread, one channel of six, lengths of vectors, gains at the end, ends held."""
    made = windows.corrupt("noise", SERIES, 5, 0, SENSOR) - SERIES
    np.testing.assert_allclose(made.std(axis=(0, 2)), 0.5 * SENSOR.spread, rtol=0.05)
    gone = (windows.corrupt("dropped_channel", SERIES, 2, 0, SENSOR) == 0) & (SERIES != 0)
    assert (gone.any(axis=2).sum(axis=1) == 1).all() and (gone.sum(axis=(1, 2)) == 26).all()  # 40 % of 64
    turned = windows.corrupt("rotation", SERIES, 4, 0, SENSOR)
    for a in (0, 3):
        was, now = SERIES[:, a : a + 3], turned[:, a : a + 3]
        np.testing.assert_allclose(np.linalg.norm(now, axis=1), np.linalg.norm(was, axis=1))
        cosine = (now * was).sum(axis=1) / np.square(was).sum(axis=1)
        assert cosine.min() >= np.cos(np.radians(30)) - 1e-9 and cosine.min() < 0.9
    gain = windows.corrupt("gain_drift", SERIES, 3, 0, SENSOR) / SERIES
    np.testing.assert_allclose(gain[..., 0], 1)
    np.testing.assert_allclose(np.abs(gain[..., -1] - 1), 0.2)
    shifted = windows.corrupt("time_shift", SERIES, 5, 0, SENSOR)
    late = shifted[:, 0, -1] == SERIES[:, 0, -1]
    assert 0 < late.sum() < len(late)
    np.testing.assert_allclose(shifted[late][..., :-13], SERIES[late][..., 13:])


def test_what_means_nothing_is_not_asked():
    """Three axes are needed to turn a sensor, and more than one sample for time."""
    assert windows.possible(64, SENSOR) == tuple(windows.CORRUPTIONS)
    assert windows.possible(1, Sensor(SENSOR.spread)) == ("noise", "dropped_channel")
