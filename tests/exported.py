"""Small networks taken through export, shared by tests."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import torch

from secateur.compiler.export.calibrate import calibrate
from secateur.compiler.export.quantize import quantize, quantize_samples
from secateur.compiler.export.tflite import tflite_bytes
from secateur.compiler.frontends.tflite_file import parse_tflite
from secateur.models.network import Network
from secateur.models.program import Program
from secateur.models.zoo.small import small_network
from secateur.passes.program.lower import lower, to_channels_last
from secateur.runtime_bench.golden import run_tflm


@dataclass(frozen=True)
class Sample:
    network: Network
    floats: Program
    program: Program  # as read back from the file
    content: bytes
    real: npt.NDArray[np.float32]  # samples, channels first
    inputs: npt.NDArray[np.int8]  # (n, ...) channels last
    golden: npt.NDArray[np.int8]

    def expected(self) -> npt.NDArray[np.float32]:
        """The float network's outputs."""
        with torch.no_grad():
            return self.network.module.eval()(torch.from_numpy(self.real)).numpy()

    def sqnr_db(self) -> float:
        out = self.program.tensors[self.program.outputs[0]]
        exact = self.expected().reshape(len(self.real), -1)
        got = (self.golden.astype(np.float64) - out.zero_point) * out.scale
        return float(10 * np.log10((exact**2).sum() / ((got - exact) ** 2).sum()))


@cache
def sample(name: str, seed: int = 0, count: int = 32) -> Sample:
    """A network of models/zoo/small.py with seeded weights and samples."""
    network = small_network(name, seed)
    real = np.random.default_rng(seed + 1).normal(size=(count, *network.input_shape)).astype(np.float32)
    floats = lower(network)
    x = to_channels_last(real)
    program = quantize(floats, calibrate(floats, x))
    content = tflite_bytes(program)
    read = parse_tflite(content, name, name)
    inputs = quantize_samples(program, x)
    return Sample(network, floats, read, content, real, inputs, run_tflm(content, read, inputs))
