"""What samples are taken for, on which scale they are moved, and which of them are looked at."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from secateur.models.data import Data, Split
from secateur.models.disturbances import as_windows, balanced, describe, from_windows
from secateur.models.front_end.chain import FrontEnd
from secateur.models.front_end.image import ImageChain

RANDOM = np.random.default_rng(0)


def data(x: np.ndarray) -> Data:
    y, groups = np.arange(len(x)) % 2, np.arange(len(x))
    split = Split(x.astype(np.float32), y, groups)
    return Data("made up", split, split, split, ("a", "b"))


def test_pictures_are_moved_by_parts_of_the_range():
    """The recovery set's lowest and highest value are the range; a camera's front end knows its own."""
    x = RANDOM.uniform(0, 10, (40, 3, 5, 6))
    x[0, 0, 0, 0], x[0, 1, 0, 0] = -2, 14
    found = describe(data(x), None)
    assert found.kind == "pictures" and found.strengths == (1, 2, 4, 8) and "-2 to 14" in found.unit
    np.testing.assert_allclose(found.ball(8).eps, 8 / 255 * 16, rtol=1e-6)
    np.testing.assert_array_equal((found.low, found.high), ([-2] * 3, [14] * 3))
    chain = ImageChain(6, 5, 5, 6, crop="none")
    camera = describe(data(x), chain)
    np.testing.assert_array_equal((camera.low, camera.high), ([0] * 3, [255] * 3))
    np.testing.assert_allclose(camera.step(1), 1)
    same = found.corrupt("contrast", found.corrupt("brightness", x.astype(np.float32), 1, 0), 1, 0)
    assert same.shape == x.shape and same.min() >= -2 and same.max() <= 14


def test_windows_are_moved_by_parts_of_each_channels_deviation():
    """Channels keep their own scale and range, and what a corruption makes stays inside it."""
    x = RANDOM.normal(size=(60, 6, 32)) * np.array([1, 2, 3, 4, 5, 6])[:, np.newaxis]
    found = describe(data(x), None)
    assert found.kind == "windows" and found.sensor is not None
    assert found.sensor.triads == ((0, 1, 2), (3, 4, 5)) and "rotation" in found.names
    np.testing.assert_allclose(found.step(1), x.std(axis=(0, 2)), rtol=1e-5)
    for name in found.names:
        made = found.corrupt(name, x.astype(np.float32), 5, 0)
        assert made.shape == x.shape and made.dtype == np.float32
        assert (made.min(axis=(0, 2)) >= found.low).all() and (made.max(axis=(0, 2)) <= found.high).all()
    four = describe(data(x[:, :4]), None)
    assert "rotation" not in four.names


@pytest.mark.parametrize(
    "shape,front,kind,channels",
    [
        ((7,), None, "windows", 7),
        ((2, 4, 4), None, "windows", 2),
        ((3, 1, 16), None, "windows", 3),
        ((1, 10, 4), None, "pictures", 1),
        ((1, 10, 4), FrontEnd(50, 4, 10, 5), "windows", 4),
        ((4, 10), FrontEnd(50, 4, 10, 5), "windows", 4),
    ],
)
def test_every_shape_is_taken_for_one_or_the_other(shape, front, kind, channels):
    """Seen as windows and back, every sample is what it was; time is the last axis."""
    x = RANDOM.normal(size=(8, *shape)).astype(np.float32)
    assert describe(data(x), front).kind == kind
    windows = as_windows(x, front)
    assert windows.shape == (8, channels, int(np.prod(shape)) // channels)
    np.testing.assert_array_equal(from_windows(windows, x.shape, front), x)
    if shape == (1, 10, 4) and front is not None:
        np.testing.assert_array_equal(windows[:, 1], x[:, 0, :, 1])


def test_a_picture_of_one_value_is_left_in_peace():
    """No range, no division by it."""
    flat = describe(data(np.full((4, 1, 4, 4), 3.0)), None)
    made = flat.corrupt("gaussian_noise", np.full((4, 1, 4, 4), 3.0, np.float32), 5, 0)
    np.testing.assert_allclose(made, 3)


def test_samples_are_balanced_and_the_same_each_time():
    """As many of each class as there are, in the set's order; a set that is smaller is taken whole."""
    y = np.array([0] * 70 + [1] * 20 + [2] * 5)
    split = Split(np.arange(95, dtype=np.float32).reshape(-1, 1), y, y)
    found = balanced(split, 45, seed=1)
    assert np.bincount(found.y).tolist() == [20, 20, 5]
    assert (np.diff(found.x[:, 0]) > 0).all()
    np.testing.assert_array_equal(found.x, balanced(split, 45, seed=1).x)
    assert not np.array_equal(found.x, balanced(split, 45, seed=2).x)
    assert balanced(split, 95, 0) is split
    numbers = replace(split, y=RANDOM.normal(size=(95, 1)))
    assert len(balanced(numbers, 10, 0)) == 10
