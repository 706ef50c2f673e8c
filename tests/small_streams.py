"""Small int8 programs behind front ends of every kind, for the tests of the generated stream code."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from secateur.models.front_end.chain import FrontEnd
from secateur.models.front_end.decide import Decisions
from secateur.models.front_end.log_mel import LogMel
from secateur.models.front_end.mfcc import Mfcc
from secateur.models.front_end.micro import Micro
from secateur.models.front_end.resample import Resample
from secateur.models.preprocess import Preprocess
from secateur.models.program import Op, Program, Quantization, Tensor

CLASSES = 4


@dataclass(frozen=True)
class Small:
    front: FrontEnd
    decisions: Decisions = Decisions()  # noqa: RUF009 - frozen
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


def small_stream_program(small: Small) -> Program:
    """A fully connected layer over the window, and a softmax."""
    f = small.front
    random = np.random.default_rng(3)
    inputs = f.window * f.width
    pre = Preprocess(small.mean, small.std, f, small.decisions)
    if small.decisions.reconstructs:
        return _autoencoder(f, pre)
    weights = random.integers(-127, 128, (CLASSES, inputs)).astype(np.int8)
    q = Quantization
    tensors = (
        Tensor("input", (1, 1, f.window, f.width), "int8", q((0.05,), (3,))),
        Tensor("weights", weights.shape, "int8", q((0.002,), (0,)), weights),
        Tensor("bias", (CLASSES,), "int32", q((0.0001,), (0,)), np.zeros(CLASSES, np.int32)),
        Tensor("logits", (1, CLASSES), "int8", q((0.03,), (0,))),
        Tensor("output", (1, CLASSES), "int8", q((1 / 256,), (-128,))),
        Tensor("flat", (1, inputs), "int8", q((0.05,), (3,))),
    )
    ops = (
        Op("RESHAPE", (0,), (5,), name="flatten"),
        Op("FULLY_CONNECTED", (5, 1, 2), (3,), name="dense"),
        Op("SOFTMAX", (3,), (4,), name="softmax"),
    )
    return Program("net", tensors, ops, (0,), (4,), ("a", "b", "c", "d"), preprocess=pre)


def _autoencoder(f: FrontEnd, pre: Preprocess) -> Program:
    """Half of every value, and a little of the others."""
    size = f.window * f.width
    random = np.random.default_rng(4)
    weights = (random.integers(-5, 6, (size, size)) + 60 * np.eye(size)).astype(np.int8)
    q = Quantization
    tensors = (
        Tensor("input", (1, size), "int8", q((0.05,), (3,))),
        Tensor("weights", weights.shape, "int8", q((0.01,), (0,)), weights),
        Tensor("bias", (size,), "int32", q((0.0005,), (0,)), np.zeros(size, np.int32)),
        Tensor("output", (1, size), "int8", q((0.04,), (-7,))),
    )
    op = Op("FULLY_CONNECTED", (0, 1, 2), (3,), name="dense")
    return Program("net", tensors, (op,), (0,), (3,), ("normal", "anomaly"), preprocess=pre)


THOUSANDS = (1000.0,)
SMALL: dict[str, Small] = {
    "one channel": Small(FrontEnd(50, 1, 16, 4, THOUSANDS)),
    "six channels, smoothed": Small(
        FrontEnd(50, 6, 20, 7, (1000.0, 900.0, 800.0, 700.0, 600.0, 500.0)), Decisions(3, 211, 2, ("b",)),
        (0.1,) * 6, (1.5, 1.4, 1.3, 1.2, 1.1, 1.0),
    ),
    "hop beyond the window": Small(FrontEnd(50, 2, 8, 13, THOUSANDS)),
    "three for two": Small(FrontEnd(40, 2, 24, 5, THOUSANDS, Resample(3, 2, 4)), Decisions(2, 121)),
    "seven for one": Small(FrontEnd(40, 1, 10, 3, THOUSANDS, Resample(7, 1, 3))),
    "two for five, without its mean": Small(FrontEnd(40, 2, 12, 12, THOUSANDS, Resample(2, 5, 4), detrend="mean")),
    "log-mel, smoothed": Small(
        FrontEnd(4000, 1, 6, 2, (1.0,), None, LogMel(4000, 100, 40, 128, 8, 100, 1900)), Decisions(2, 141, 1),
        (0.0,), (3.0,),
    ),
    "MFCC": Small(FrontEnd(8000, 1, 5, 5, (1.0,), None, Mfcc(8000, 240, 80, 256, 20, 20, 3900, coefficients=6))),
    "micro, resampled": Small(FrontEnd(8000, 1, 3, 1, (1.0,), Resample(2, 1), Micro(channels=10)), Decisions(3)),
    "without its mean": Small(FrontEnd(50, 3, 16, 8, THOUSANDS, detrend="mean")),
    "features with a memory": Small(
        FrontEnd(16000, 1, 6, 4, features=Micro(window_ms=4, step_ms=2, channels=6, upper_hz=6000.0)),
        Decisions(2), (12.0,), (5.0,),
    ),
    "reconstruction": Small(
        FrontEnd(50, 2, 16, 6, THOUSANDS), Decisions(2, 2_000_000_000, 1, reconstructs=True)
    ),
    "reconstruction, resampled": Small(
        FrontEnd(50, 1, 12, 1, THOUSANDS, Resample(5, 1, 3)), Decisions(1, 400_000_000, reconstructs=True)
    ),
    "without its line": Small(FrontEnd(50, 3, 32, 32, THOUSANDS, detrend="linear"), Decisions(1, 120)),
}  # fmt: skip
