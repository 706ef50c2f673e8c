"""Small int8 programs behind a front end of pictures, and folders of pictures, for the tests of both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from secateur.models.front_end.decide import Decisions
from secateur.models.front_end.image import ImageChain, Pixels
from secateur.models.preprocess import Preprocess
from secateur.models.program import Op, Program, Quantization, Tensor

CLASSES = 3
LABELS = ("blue", "green", "red")


def small_picture_program(
    chain: ImageChain,
    decisions: Decisions = Decisions(),  # noqa: B008 - frozen
    mean: tuple[float, ...] = (),
    std: tuple[float, ...] = (),
    entry: tuple[float, int] = (1.0, -128),
    dtype: str = "int8",
) -> Program:
    """A fully connected layer over the picture, and a softmax. `entry`: the input's scale and zero point."""
    random = np.random.default_rng(3)
    q, scale = Quantization, Quantization((entry[0],), (entry[1],))
    shape = (1, chain.out_height, chain.out_width, chain.channels)
    inputs = chain.out_height * chain.out_width * chain.channels
    weights = random.integers(-127, 128, (CLASSES, inputs)).astype(np.int8)
    given = (Tensor("input", shape, dtype, scale),)
    ops: tuple[Op, ...] = ()
    if dtype == "uint8":
        given += (Tensor("signed", shape, "int8", q((entry[0],), (entry[1] - 128,))),)
        ops = (Op("QUANTIZE", (0,), (1,), name="signed"),)
    n = len(given)
    signed = given[-1].quantization
    assert signed is not None
    tensors = (
        *given,
        Tensor("weights", weights.shape, "int8", q((0.002,), (0,)), weights),
        Tensor("bias", (CLASSES,), "int32", q((entry[0] * 0.002,), (0,)), np.zeros(CLASSES, np.int32)),
        Tensor("logits", (1, CLASSES), "int8", q((entry[0] * 0.3,), (0,))),
        Tensor("output", (1, CLASSES), "int8", q((1 / 256,), (-128,))),
        Tensor("flat", (1, inputs), "int8", signed),
    )
    ops += (
        Op("RESHAPE", (n - 1,), (n + 4,), name="flatten"),
        Op("FULLY_CONNECTED", (n + 4, n, n + 1), (n + 2,), name="dense"),
        Op("SOFTMAX", (n + 2,), (n + 3,), name="softmax"),
    )
    return Program("net", tensors, ops, (0,), (n + 3,), LABELS, preprocess=Preprocess(mean, std, chain, decisions))


def noise_frames(chain: ImageChain, count: int, seed: int = 0) -> Pixels:
    """Noise of different brightness, then black and white."""
    random = np.random.default_rng(seed)
    shape = (count, chain.height, chain.width, chain.pixel_bytes)
    frames = random.integers(0, 256, shape) * random.integers(1, 256, (count, 1, 1, 1)) // 255
    frames[-2:] = np.array([0, 255])[:, np.newaxis, np.newaxis, np.newaxis]
    return frames.astype(np.uint8)


def write_pictures(folder: Path, size: tuple[int, int], files: int = 6) -> Path:
    """Class folders of PNG files of (width, height), each mostly of its colour."""
    random = np.random.default_rng(0)
    for name, channel in zip(LABELS, (2, 1, 0), strict=True):
        (folder / name).mkdir(parents=True)
        for i in range(files):
            pixels = random.integers(0, 120, (size[1], size[0], 3))
            pixels[..., channel] += 130
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{i}.png")
    return folder
