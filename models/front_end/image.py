"""Camera pictures to a network's size and colours, in integers: crop, resize, channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from secateur.errors import UserError

Pixels = npt.NDArray[np.uint8]
Order = Literal["rgb", "bgr", "grey", "rgb565"]
Colours = Literal["rgb", "bgr", "grey"]
Crop = Literal["centre", "none"]
Resize = Literal["nearest", "bilinear", "area"]

LARGEST = 4096  # rows or columns: the sum over a whole picture of 8 bits stays below 2^32
PIXEL_BYTES = {"rgb": 3, "bgr": 3, "grey": 1, "rgb565": 2}
GREY = (77, 150, 29)
"""Of red, green and blue, in 1/256: ITU-R BT.601."""


@dataclass(frozen=True)
class ImageChain:
    """Pictures (n, height, width, bytes a pixel) to (n, out_height, out_width, channels), both uint8.

    `order`: what the source's bytes are; "rgb565" has two a pixel, the one with red first, as camera modules send it.
    `crop`: "centre" takes the largest part of the output's shape from the middle, "none" all, squeezed where need be.
    `resize`, by the pixels' centres, not their corners:

        nearest    the source pixel in which the centre lies
        bilinear   four pixels, positions in 1/256 of a pixel; it skips pixels where it scales down by more than 2
        area       the mean of all that the output pixel covers, parts of pixels included; for scaling down

    Grey is made of the resized red, green and blue; a grey source gives three equal channels.
    """

    height: int
    width: int
    out_height: int
    out_width: int
    order: Order = "rgb"
    out_order: Colours = "rgb"
    crop: Crop = "centre"
    resize: Resize = "bilinear"

    def __post_init__(self) -> None:
        for field, value, known in (
            ("order", self.order, tuple(PIXEL_BYTES)),
            ("out_order", self.out_order, ("rgb", "bgr", "grey")),
            ("crop", self.crop, ("centre", "none")),
            ("resize", self.resize, ("nearest", "bilinear", "area")),
        ):
            if value not in known:
                raise UserError(f"image: {field} {value!r} is unknown; choose {', '.join(known[:-1])} or {known[-1]}")
        sides = (self.height, self.width, self.out_height, self.out_width)
        if not all(1 <= side <= LARGEST for side in sides):
            raise UserError(
                f"image: {self.height}x{self.width} to {self.out_height}x{self.out_width}; "
                f"rows and columns are 1 to {LARGEST}"
            )
        if self.resize == "area" and (self.crop_height < self.out_height or self.crop_width < self.out_width):
            raise UserError(
                f"image: area scales down, not {self.crop_height}x{self.crop_width} to "
                f"{self.out_height}x{self.out_width}; choose bilinear or nearest"
            )

    @property
    def pixel_bytes(self) -> int:
        return PIXEL_BYTES[self.order]

    @property
    def frame_bytes(self) -> int:
        """Of one picture from the camera."""
        return self.height * self.width * self.pixel_bytes

    @property
    def size(self) -> str:
        """Of the camera's picture, for messages."""
        return f"{self.width}x{self.height}"

    def check(self, input_shape: Sequence[int]) -> None:
        """Raise UserError where a network of `input_shape` (channels first) takes something else."""
        given = (self.channels, self.out_height, self.out_width)
        if tuple(input_shape) != given:
            raise UserError(
                f"image: the front end gives {'x'.join(map(str, given))}, the network takes "
                f"{'x'.join(map(str, input_shape))} (channels first); change out-width, out-height or order"
            )

    @property
    def channels(self) -> int:
        """Of the output."""
        return 1 if self.out_order == "grey" else 3

    @property
    def crop_height(self) -> int:
        if self.crop == "none" or self.width * self.out_height >= self.height * self.out_width:
            return self.height
        return max(1, (2 * self.width * self.out_height + self.out_width) // (2 * self.out_width))

    @property
    def crop_width(self) -> int:
        if self.crop == "none" or self.width * self.out_height <= self.height * self.out_width:
            return self.width
        return max(1, (2 * self.height * self.out_width + self.out_height) // (2 * self.out_height))

    @property
    def top(self) -> int:
        return (self.height - self.crop_height) // 2

    @property
    def left(self) -> int:
        return (self.width - self.crop_width) // 2

    @cached_property
    def rows(self) -> npt.NDArray[np.int64]:
        """(out_height,): where each output row comes from; see `_places`."""
        return _places(self.crop_height, self.out_height, self.resize)

    @cached_property
    def columns(self) -> npt.NDArray[np.int64]:
        """(out_width,)"""
        return _places(self.crop_width, self.out_width, self.resize)

    @cached_property
    def _covered(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        return _overlaps(self.crop_height, self.out_height), _overlaps(self.crop_width, self.out_width)

    def __call__(self, images: Pixels) -> Pixels:
        expected = (self.height, self.width, self.pixel_bytes)
        if images.dtype != np.uint8 or images.shape[1:] != expected:
            raise UserError(
                f"image: pictures are {images.dtype} {'x'.join(map(str, images.shape[1:]))}, "
                f"the front end takes uint8 {'x'.join(map(str, expected))}"
            )
        found = np.empty((len(images), self.out_height, self.out_width, self.channels), np.uint8)
        for image, out in zip(images, found, strict=True):
            part = image[self.top : self.top + self.crop_height, self.left : self.left + self.crop_width]
            out[:] = self._coloured(self._resized(_decoded(part, self.order)))
        return found

    def frame(self, pixels: Pixels) -> Pixels:
        """What the camera would send of (height, width, 3), red first, or of grey (height, width, 1)."""
        if self.order == "bgr":
            return pixels[..., ::-1]
        if self.order != "rgb565":
            return pixels
        red, green, blue = (pixels[..., i].astype(np.int64) >> cut for i, cut in enumerate((3, 2, 3)))
        word = (red << 11) | (green << 5) | blue
        return np.stack([word >> 8, word & 255], -1).astype(np.uint8)

    def samples(self, frames: Pixels) -> npt.NDArray[np.float32]:
        """Pictures as a network is trained on them: (n, channels, out_height, out_width), 0 to 255."""
        return np.ascontiguousarray(np.moveaxis(self(frames), -1, 1), np.float32)

    def back(self, samples: npt.NDArray[np.float32]) -> Pixels:
        """`samples` with its channels last, of whole numbers, as pixels."""
        return np.clip(np.rint(samples), 0, 255).astype(np.uint8)

    def _resized(self, image: Pixels) -> Pixels:
        if self.resize == "nearest":
            return image[self.rows[:, None], self.columns]
        if self.resize == "area":
            # Sums of integers below 2^53: exact in float64, in any order.
            down, across = self._covered
            lines = (down @ image.reshape(self.crop_height, -1)).reshape(self.out_height, self.crop_width, -1)
            sums = np.einsum("xw,ywc->yxc", across, lines, optimize=True)
            total = self.crop_height * self.crop_width
            return np.asarray((sums.astype(np.int64) + total // 2) // total, np.uint8)
        y, x = self.rows, self.columns
        below, right = np.minimum((y >> 8) + 1, self.crop_height - 1), np.minimum((x >> 8) + 1, self.crop_width - 1)
        fy, fx = (y & 255)[:, None, None], (x & 255)[:, None]
        upper, lower = image[y >> 8].astype(np.int64), image[below].astype(np.int64)
        above = upper[:, x >> 8] * (256 - fx) + upper[:, right] * fx
        under = lower[:, x >> 8] * (256 - fx) + lower[:, right] * fx
        return np.asarray((above * (256 - fy) + under * fy + (1 << 15)) >> 16, np.uint8)

    def _coloured(self, image: Pixels) -> Pixels:
        if self.out_order == "grey":
            if image.shape[-1] == 1:
                return image
            return np.asarray((image.astype(np.int64) @ np.array(GREY) + 128) >> 8, np.uint8)[..., None]
        if image.shape[-1] == 1:
            return np.repeat(image, 3, -1)
        return image if self.out_order == "rgb" else image[..., ::-1]


def _decoded(image: Pixels, order: Order) -> Pixels:
    """Red, green and blue, or grey. The low bits of rgb565 repeat the high ones, so that white is 255."""
    if order == "bgr":
        return image[..., ::-1]
    if order != "rgb565":
        return image
    word = (image[..., 0].astype(np.int64) << 8) | image[..., 1]
    red, green, blue = word >> 11, (word >> 5) & 63, word & 31
    eight = (red << 3) | (red >> 2), (green << 2) | (green >> 4), (blue << 3) | (blue >> 2)
    return np.stack(eight, -1).astype(np.uint8)


def _places(size: int, out: int, resize: Resize) -> npt.NDArray[np.int64]:
    """nearest: source indices. bilinear: positions in 1/256. area: the first source index of each output."""
    i = np.arange(out, dtype=np.int64)
    if resize == "nearest":
        return (2 * i + 1) * size // (2 * out)
    if resize == "area":
        return i * size // out
    return np.clip((((2 * i + 1) * size - out) * 256 + out) // (2 * out), 0, (size - 1) * 256)


def _overlaps(size: int, out: int) -> npt.NDArray[np.float64]:
    """(out, size): how much of each source pixel an output covers, in 1/out of a pixel; rows sum to size."""
    begin, edge = np.arange(out)[:, None] * size, np.arange(size) * out
    return np.asarray(np.maximum(np.minimum(begin + size, edge + out) - np.maximum(begin, edge), 0), np.float64)
