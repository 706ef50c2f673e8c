"""The proof from a camera's frames to decisions: frames for the harness, and what each must lead to."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from secateur.compiler.stream_proof import decisions_of
from secateur.errors import UserError
from secateur.firmware.front_end.image import pixel_quantizer
from secateur.firmware.generated import HEADER_BYTES, NO_DECISION
from secateur.models.front_end.image import ImageChain, Pixels
from secateur.models.program import Program
from secateur.runtime_bench.golden import Golden, golden_outputs

RANDOM_FRAMES = 2
LARGEST_BYTES = 2 << 20
"""Of one frame: it lies in the flash of the machine that proves."""


def frames_of(chain: ImageChain, frames: Pixels | None, seed: int = 0) -> npt.NDArray[np.int8]:
    """The frames of a proof as the harness takes them, (n, bytes): validation pictures, or seeded ones where none are.

    Raises UserError where a single one is too large.
    """
    if chain.frame_bytes > LARGEST_BYTES:
        raise UserError(
            f"a frame of {chain.size} {chain.order} has {chain.frame_bytes:,} bytes, too many to be in an image that "
            f"proves ({LARGEST_BYTES:,}); let the camera send smaller ones"
        )
    if frames is None:
        frames = _made_up(chain, seed)
    return np.ascontiguousarray(frames).reshape(len(frames), -1).view(np.int8)


def _made_up(chain: ImageChain, seed: int) -> Pixels:
    """Blobs of colour under noise."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: chain.height, : chain.width]
    channels = 1 if chain.order == "grey" else 3
    pictures = []
    for _ in range(RANDOM_FRAMES):
        waves = random.uniform(1, 9, (2, channels)) * 2 * np.pi / max(chain.height, chain.width)
        picture = 128 + 100 * np.sin(y[..., np.newaxis] * waves[0]) * np.cos(x[..., np.newaxis] * waves[1])
        picture += random.normal(0, 20, picture.shape)
        pictures.append(chain.frame(np.clip(picture, 0, 255).astype(np.uint8)))
    return np.stack(pictures)


def picture_inputs(program: Program, frames: Pixels) -> npt.NDArray[np.int8]:
    """The network's input of each frame, (n, bytes)."""
    chain = program.preprocess.front_end
    assert isinstance(chain, ImageChain)
    pixels = chain(frames)
    return pixel_quantizer(program)(pixels.astype(np.int16)).view(np.int8).reshape(len(pixels), -1)


def picture_golden(content: bytes, program: Program, given: npt.NDArray[np.int8]) -> Golden:
    """What the harness must report of each of `frames_of`: decision, confidence, the network's outputs."""
    chain = program.preprocess.front_end
    assert isinstance(chain, ImageChain)
    frames = given.view(np.uint8).reshape(len(given), chain.height, chain.width, chain.pixel_bytes)
    inputs = picture_inputs(program, frames)
    golden = golden_outputs(content, program, inputs)
    found = np.zeros((len(given), HEADER_BYTES + golden.outputs.shape[1]), np.int8)
    labels = np.full(len(given), NO_DECISION, "<i4")
    confidences = np.zeros(len(given), "<f4")
    for i, decision in enumerate(decisions_of(program, inputs, golden.outputs)):
        if decision is not None:
            labels[i], confidences[i] = decision.label, decision.confidence
    found[:, :4] = labels.view(np.int8).reshape(-1, 4)
    found[:, 4:HEADER_BYTES] = confidences.view(np.int8).reshape(-1, 4)
    found[:, HEADER_BYTES:] = golden.outputs
    return Golden(f"{golden.runtime} behind our front end's reference", found, 2 + golden.outputs.shape[1])
