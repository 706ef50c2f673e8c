"""Image files as a network takes them: upright, grey or RGB, cropped and resized to its shape."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from secateur.compiler.frontends.recordings import Unreadable
from secateur.models.front_end.image import ImageChain

Pixels = npt.NDArray[np.uint8]


def read_image(path: Path, input_shape: tuple[int, ...]) -> tuple[npt.NDArray[np.float32], tuple[int, int]]:
    """The image as (c, h, w) in 0 to 255 (`input_shape`, c 1 or 3), and the width and height of the file's.

    Raises Unreadable.
    """
    channels, height, width = input_shape
    pixels = read_pixels(path, channels)
    found = fit(pixels, height, width)
    return np.ascontiguousarray(np.moveaxis(found, -1, 0), dtype=np.float32), (pixels.shape[1], pixels.shape[0])


def read_frame(path: Path, chain: ImageChain) -> tuple[Pixels, tuple[int, int]]:
    """The image as the camera of `chain` would send it, (height, width, bytes a pixel); the file's width and height.

    Raises Unreadable.
    """
    pixels = read_pixels(path, 1 if chain.order == "grey" else 3)
    return chain.frame(fit(pixels, chain.height, chain.width)), (pixels.shape[1], pixels.shape[0])


def read_pixels(path: Path, channels: int) -> Pixels:
    """The image in its own size, (h, w, channels), upright; of an animation the first frame; transparent is white.

    Raises Unreadable.
    """
    size = path.stat().st_size
    if size == 0:
        raise Unreadable("empty file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                image.load()
                upright = ImageOps.exif_transpose(image)
                return to_pixels(upright, channels)
    except UnidentifiedImageError:
        raise Unreadable("no image that we know") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Unreadable(f"more than {Image.MAX_IMAGE_PIXELS} pixels; make it smaller") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        what = " ".join(str(error).split())
        cut = any(word in what.lower() for word in ("truncated", "eof", "unexpected end", "broken data stream"))
        raise Unreadable(f"cut after {size} bytes" if cut else what) from None


def to_pixels(image: Image.Image, channels: int) -> Pixels:
    """(h, w, channels), 8 bits: palettes looked up, alpha laid on white, 16 bits rounded to 8, grey or RGB."""
    mode = "L" if channels == 1 else "RGB"
    if image.mode.startswith("I") or image.mode == "F":  # Pillow would clip 16 bits, not scale them
        deep = np.asarray(image, np.float64)
        top = 65535.0 if image.mode != "F" else 1.0
        image = Image.fromarray(np.rint(np.clip(deep / top, 0, 1) * 255).astype(np.uint8))
    if image.mode in ("LA", "La", "PA", "RGBa", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    pixels = np.asarray(image.convert("RGB").convert(mode) if image.mode == "RGBA" else image.convert(mode), np.uint8)
    return pixels[:, :, np.newaxis] if pixels.ndim == 2 else pixels


def fit(pixels: Pixels, height: int, width: int) -> Pixels:
    """(h, w, c) to (height, width, c): the largest centred part of that aspect ratio, then bilinear."""
    h, w, channels = pixels.shape
    if (h, w) == (height, width):
        return pixels
    if w * height > h * width:  # too wide
        part_h, part_w = h, max(1, (2 * h * width + height) // (2 * height))
    else:
        part_h, part_w = max(1, (2 * w * height + width) // (2 * width)), w
    top, left = (h - part_h) // 2, (w - part_w) // 2
    part = np.ascontiguousarray(pixels[top : top + part_h, left : left + part_w])
    image = Image.fromarray(part[:, :, 0] if channels == 1 else part)
    found = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR), np.uint8)
    return found.reshape(height, width, channels)
