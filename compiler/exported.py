"""A Network as files: ONNX and int8 TFLite, each checked, and samples as the int8 Program takes them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from secateur.compiler.export.onnx import check_onnx, export_onnx
from secateur.compiler.export.post_training import to_int8
from secateur.compiler.export.quantize import quantize_samples
from secateur.compiler.export.tflite import tflite_bytes
from secateur.compiler.frontends.preprocess_file import NAME as PREPROCESS
from secateur.compiler.frontends.preprocess_file import preprocess_text
from secateur.compiler.frontends.tflite_file import parse_tflite
from secateur.compiler.picture_proof import frames_of
from secateur.compiler.quantization_aware import calibration_samples
from secateur.compiler.robustness import Subject
from secateur.compiler.stream_proof import decisions_for, pieces, stream_of
from secateur.firmware.front_end.image import pixel_quantizer
from secateur.firmware.front_end.stream import program_quantizer
from secateur.models.data import Data, Split, chunks
from secateur.models.front_end.image import ImageChain
from secateur.models.network import Network
from secateur.models.preprocess import IDENTITY
from secateur.models.program import Program
from secateur.passes.program.lower import lower, to_channels_last


@dataclass(frozen=True)
class Exported:
    """A Network as files: its float and int8 Programs and the `.tflite` bytes."""

    network: Network
    floats: Program
    program: Program
    content: bytes

    def inputs(self, split: Split) -> npt.NDArray[np.int8]:
        """The samples of a split as the int8 Program takes them, (n, input bytes)."""
        return program_inputs(self.program, split)

    def subject(self) -> Subject:
        return Subject(self.network, self.program, self.content, self.inputs)


def program_inputs(program: Program, split: Split) -> npt.NDArray[np.int8]:
    """The samples of a split as a Program takes them, (n, input bytes): as its front end would quantize them."""
    parts = [_program_inputs(program, split.x[part]) for part in chunks(split.x)]
    return np.concatenate(parts)


def _program_inputs(program: Program, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.int8]:
    front = program.preprocess.front_end
    x = to_channels_last(samples if front is not None else program.preprocess(samples))
    if front is None:
        return quantize_samples(program, x).reshape(len(x), -1)
    if isinstance(front, ImageChain):
        pixels = front.back(x).astype(np.int16)
        return pixel_quantizer(program)(pixels).view(np.int8).reshape(len(x), -1)
    counts = front.back(x.reshape(len(x), front.window, front.width))
    return program_quantizer(program)(counts).view(np.int8).reshape(len(x), -1)


def raw_inputs(program: Program, data: Data | None, seed: int = 0) -> npt.NDArray[np.int8]:
    """What a proof feeds the front end of a Program: pieces of validation recordings, or validation pictures."""
    front = program.preprocess.front_end
    assert front is not None
    if isinstance(front, ImageChain):
        return frames_of(front, None if data is None else data.frames, seed)
    return pieces(program, stream_of(front, () if data is None else data.streams, seed))


def export(network: Network, data: Data, folder: Path | None = None, calibration: str = "minmax") -> Exported:
    """ONNX (checked with onnxruntime) and int8 TFLite (read back) of a network.

    With `folder`, `model.onnx` and `model.tflite` are written there. `calibration`: one of `CALIBRATIONS`.
    """
    floats, quantized = to_int8(lower(network), calibration_samples(network, data), calibration)
    content = tflite_bytes(quantized)
    program = parse_tflite(content, network.name, "model.tflite")  # what the file cannot hold comes from the network
    program = replace(program, labels=network.labels, preprocess=network.preprocess)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        export_onnx(network, folder / "model.onnx")
        check_onnx(network, folder / "model.onnx", network.preprocess(data.recovery.x[:16]))
        part = folder / "model.tflite.part"
        part.write_bytes(content)
        part.replace(folder / "model.tflite")
    exported = Exported(network, floats, program, content)
    found = decisions_for(program, content, lambda: exported.inputs(data.validation), data.validation.y)
    pre = replace(network.preprocess, decisions=found)
    if folder is not None and pre != IDENTITY:
        (folder / PREPROCESS).write_text(preprocess_text(pre), encoding="utf-8")
    return replace(exported, network=replace(network, preprocess=pre), program=replace(program, preprocess=pre))
