"""Pictures cropped, resized and recoloured in integers."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from secateur.errors import UserError
from secateur.models.front_end.image import Colours, ImageChain, Order, Pixels, Resize


def _pictures(chain: ImageChain, n: int = 2) -> Pixels:
    rng = np.random.default_rng(chain.height)
    return rng.integers(0, 256, (n, chain.height, chain.width, chain.pixel_bytes), np.uint8)


@pytest.mark.parametrize("resize", ["nearest", "bilinear", "area"])
@pytest.mark.parametrize("order", ["rgb", "bgr", "grey"])
def test_the_same_size_and_colours_are_a_copy(order: Colours, resize: Resize) -> None:
    """Whatever the resizing."""
    chain = ImageChain(9, 14, 9, 14, order, order, resize=resize)
    x = _pictures(chain)
    np.testing.assert_array_equal(chain(x), x)


@pytest.mark.parametrize("sizes", [(24, 32, 11, 13), (7, 5, 20, 31), (48, 48, 24, 24), (1, 1, 3, 3), (60, 80, 59, 96)])
def test_bilinear_is_torch_rounded(sizes: tuple[int, int, int, int]) -> None:
    """Within the 1/256 pixel of a position, and half a level."""
    chain = ImageChain(*sizes, crop="none")
    x = _pictures(chain)
    real = torch.from_numpy(x).permute(0, 3, 1, 2).float()
    expected = torch.nn.functional.interpolate(real, sizes[2:], mode="bilinear").permute(0, 2, 3, 1).numpy()
    assert np.abs(chain(x) - expected).max() <= 0.5 + 2 * 255 / 512


def test_bilinear_is_exact_at_whole_positions() -> None:
    """Half the size is the mean of four pixels, rounded half up."""
    chain = ImageChain(8, 6, 4, 3)
    x = _pictures(chain)
    four = x.reshape(2, 4, 2, 3, 2, 3).astype(int).sum((2, 4))
    np.testing.assert_array_equal(chain(x), (four + 2) // 4)


@pytest.mark.parametrize("sizes", [(24, 32, 11, 13), (7, 5, 2, 5), (60, 80, 1, 1)])
def test_nearest_is_torch(sizes: tuple[int, int, int, int]) -> None:
    """By the pixels' centres."""
    chain = ImageChain(*sizes, crop="none", resize="nearest")
    x = _pictures(chain)
    real = torch.from_numpy(x).permute(0, 3, 1, 2).float()
    expected = torch.nn.functional.interpolate(real, sizes[2:], mode="nearest-exact").permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(chain(x), expected)


@pytest.mark.parametrize("sizes", [(12, 10, 5, 3), (7, 5, 7, 2), (9, 9, 1, 1)])
def test_area_is_the_mean_in_fractions(sizes: tuple[int, int, int, int]) -> None:
    """Rounded half up."""
    chain = ImageChain(*sizes, "grey", "grey", "none", "area")
    x = _pictures(chain, 1)
    h, w, oh, ow = sizes

    def part(k: int, i: int, size: int, out: int) -> Fraction:
        return max(Fraction(0), min(Fraction((i + 1) * size, out), Fraction(k + 1)) - max(Fraction(i * size, out), k))

    for i in range(oh):
        for j in range(ow):
            total = sum(
                (part(y, i, h, oh) * part(z, j, w, ow) * int(x[0, y, z, 0]) for y in range(h) for z in range(w)),
                Fraction(0),
            )
            assert chain(x)[0, i, j, 0] == (total * Fraction(oh * ow, h * w) + Fraction(1, 2)) // 1


@pytest.mark.parametrize("resize", ["nearest", "bilinear", "area"])
def test_one_colour_stays(resize: Resize) -> None:
    """Black and white too: no rounding accumulates."""
    for value in (0, 1, 128, 254, 255):
        chain = ImageChain(97, 131, 41, 17, resize=resize)
        assert (chain(np.full((1, 97, 131, 3), value, np.uint8)) == value).all()


def test_crop() -> None:
    """The largest part of the output's shape, from the middle."""
    wide, tall = ImageChain(240, 320, 96, 96), ImageChain(320, 240, 96, 48)
    assert (wide.crop_height, wide.crop_width, wide.top, wide.left) == (240, 240, 0, 40)
    assert (tall.crop_height, tall.crop_width, tall.top, tall.left) == (320, 160, 0, 40)
    flat = ImageChain(240, 320, 48, 96)
    assert (flat.crop_height, flat.crop_width, flat.top, flat.left) == (160, 320, 40, 0)
    copy = ImageChain(4, 8, 4, 4)
    x = _pictures(copy)
    np.testing.assert_array_equal(copy(x), x[:, :, 2:6])
    assert ImageChain(240, 320, 96, 96, crop="none").crop_width == 320


@pytest.mark.parametrize(
    "order, out_order, given, expected",
    [
        ("rgb", "bgr", [1, 2, 3], [3, 2, 1]),
        ("bgr", "rgb", [1, 2, 3], [3, 2, 1]),
        ("grey", "rgb", [7], [7, 7, 7]),
        ("rgb", "grey", [255, 0, 0], [77]),
        ("bgr", "grey", [255, 0, 0], [29]),
        ("rgb", "grey", [255, 255, 255], [255]),
        ("rgb565", "rgb", [0xF8, 0x00], [255, 0, 0]),
        ("rgb565", "rgb", [0x07, 0xE0], [0, 255, 0]),
        ("rgb565", "rgb", [0x00, 0x1F], [0, 0, 255]),
        ("rgb565", "bgr", [0x84, 0x10], [132, 130, 132]),
        ("rgb565", "grey", [0xFF, 0xFF], [255]),
    ],
)
def test_colours(order: Order, out_order: Colours, given: list[int], expected: list[int]) -> None:
    """A pixel of each kind."""
    found = ImageChain(1, 1, 1, 1, order, out_order)(np.array([[[given]]], np.uint8))
    assert found.ravel().tolist() == expected


@pytest.mark.parametrize(
    "change, message",
    [
        ({"order": "yuv"}, "image: order 'yuv' is unknown; choose rgb, bgr, grey or rgb565"),
        ({"height": 5000}, "image: 5000x320 to 96x96; rows and columns are 1 to 4096"),
        ({"resize": "area", "out_height": 300}, "image: area scales down, not 240x77 to 300x96"),
    ],
)
def test_what_cannot_be_is_said(change: dict[str, Any], message: str) -> None:
    """One line with the numbers."""
    with pytest.raises(UserError, match=message):
        ImageChain(**{"height": 240, "width": 320, "out_height": 96, "out_width": 96, **change})
    with pytest.raises(UserError, match="pictures are uint8 4x4x1, the front end takes uint8 4x4x3"):
        ImageChain(4, 4, 2, 2)(np.zeros((1, 4, 4, 1), np.uint8))
