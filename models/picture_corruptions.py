"""Common corruptions of pictures: eight of the fifteen of CIFAR-10-C, by its definitions and at its five severities.

Source: Hendrycks, Dietterich, "Benchmarking neural network robustness to common corruptions and perturbations", 2019,
and the values of its CIFAR-10-C. Names are CIFAR-10-C's, because the definitions are; blurs by motion, glass and zoom,
snow, frost, fog and elastic changes are not here. Deviations: a grey picture has one channel, of which brightness is
the value itself, and sizes other than 32x32 are pixelated by the same shares.

Pictures are (n, c, h, w) with one or three channels, 0 to 1. As there, what comes out is cut to whole 1/255.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import correlate

Pictures = npt.NDArray[np.float64]
Corruption = Callable[[Pictures, int, np.random.Generator], Pictures]
SEVERITIES = (1, 2, 3, 4, 5)


def gaussian_noise(x: Pictures, severity: int, random: np.random.Generator) -> Pictures:
    return x + random.normal(0, (0.04, 0.06, 0.08, 0.09, 0.10)[severity - 1], x.shape)


def shot_noise(x: Pictures, severity: int, random: np.random.Generator) -> Pictures:
    """Poisson, of so many photons at full scale."""
    photons = (500, 250, 100, 75, 50)[severity - 1]
    return np.asarray(random.poisson(x * photons) / photons, np.float64)


def impulse_noise(x: Pictures, severity: int, random: np.random.Generator) -> Pictures:
    """A share of all values is 0 or 1."""
    hit = random.random(x.shape) <= (0.01, 0.02, 0.03, 0.05, 0.07)[severity - 1]
    return np.where(hit, random.random(x.shape) <= 0.5, x)


def defocus_blur(x: Pictures, severity: int, random: np.random.Generator) -> Pictures:
    """Correlation with a disk, its edge softened by a Gaussian of three taps."""
    radius, edge = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))[severity - 1]
    at = np.arange(-3, 4)
    disk = (at[:, np.newaxis] ** 2 + at**2 <= radius**2).astype(np.float64)
    taps = np.exp(-0.5 * (np.arange(-1, 2) / edge) ** 2)
    soft = correlate(disk / disk.sum(), np.outer(taps, taps) / taps.sum() ** 2, mode="mirror")
    return np.asarray(correlate(x, soft[np.newaxis, np.newaxis], mode="mirror"), np.float64)


def brightness(x: Pictures, severity: int, random: np.random.Generator) -> Pictures:
    """The value of HSV, the largest of the channels, is raised; hue and saturation stay."""
    value = x.max(axis=1, keepdims=True)
    raised = np.minimum(value + (0.05, 0.1, 0.15, 0.2, 0.3)[severity - 1], 1)
    return np.asarray(np.where(value > 0, x * raised / np.where(value > 0, value, 1), raised), np.float64)


def contrast(x: Pictures, severity: int, random: np.random.Generator) -> Pictures:
    """Towards the picture's mean, channel by channel."""
    mean = x.mean(axis=(2, 3), keepdims=True)
    return np.asarray((x - mean) * (0.75, 0.5, 0.4, 0.3, 0.15)[severity - 1] + mean, np.float64)


def pixelate(x: Pictures, severity: int, random: np.random.Generator) -> Pictures:
    """Scaled down and up again, both by boxes."""
    share = (0.95, 0.9, 0.85, 0.75, 0.65)[severity - 1]

    def one(image: Image.Image) -> Image.Image:
        small = (max(1, int(image.width * share)), max(1, int(image.height * share)))
        return image.resize(small, Image.Resampling.BOX).resize(image.size, Image.Resampling.BOX)

    return _as_images(x, one)


def jpeg_compression(x: Pictures, severity: int, random: np.random.Generator) -> Pictures:
    quality = (80, 65, 58, 50, 40)[severity - 1]

    def one(image: Image.Image) -> Image.Image:
        held = io.BytesIO()
        image.save(held, "JPEG", quality=quality)
        return Image.open(held)

    return _as_images(x, one)


CORRUPTIONS: dict[str, Corruption] = {
    f.__name__: f
    for f in (gaussian_noise, shot_noise, impulse_noise, defocus_blur, brightness, contrast, pixelate, jpeg_compression)
}


def corrupt(name: str, x: npt.NDArray[np.floating], severity: int, seed: int) -> npt.NDArray[np.float32]:
    """Pictures (n, c, h, w), 0 to 1, of one corruption; the same seed gives the same bytes."""
    random = np.random.default_rng([seed, list(CORRUPTIONS).index(name), severity])
    found = CORRUPTIONS[name](np.clip(np.asarray(x, np.float64), 0, 1), severity, random)
    return (np.floor(np.clip(found, 0, 1) * 255 + 1e-6) / 255).astype(np.float32)


def _as_images(x: Pictures, change: Callable[[Image.Image], Image.Image]) -> Pictures:
    """Through Pillow, in 8 bits."""
    last = np.moveaxis(np.rint(x * 255).astype(np.uint8), 1, -1)
    images = (Image.fromarray(p[..., 0] if p.shape[-1] == 1 else p) for p in last)
    found = np.stack([np.asarray(change(image), np.float64).reshape(last.shape[1:]) for image in images])
    return np.moveaxis(found, -1, 1) / 255
