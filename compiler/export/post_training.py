"""The ways to an int8 Program from a float one and samples, by the names of `--calibration`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from secateur.compiler.export.calibrate import Range, calibrate
from secateur.compiler.export.equalize import equalized
from secateur.compiler.export.quantize import quantize
from secateur.compiler.export.ranges import least_harm
from secateur.compiler.export.rounding import round_weights
from secateur.models.program import Program
from secateur.models.torch_threads import torch_threads

CALIBRATIONS = ("minmax", "output")
"""`minmax`: ranges that clip nothing, weights to the nearest; `output`: both for the least error of outputs, after the
channels of each value are brought nearer to one range."""


def find_ranges(program: Program, samples: npt.NDArray[np.float32], calibration: str) -> dict[int, Range]:
    """The range of every activation, from preprocessed samples in the layout of the float Program."""
    if calibration == "minmax":
        return calibrate(program, samples)
    with torch_threads(1):
        return least_harm(program, samples)


def to_int8(program: Program, samples: npt.NDArray[np.float32], calibration: str) -> tuple[Program, Program]:
    """The float Program that is rounded, which computes what `program` does, and the int8 one that it becomes.

    `samples`: preprocessed, in the layout of `program`.
    """
    if calibration == "minmax":
        return program, quantize(program, find_ranges(program, samples, calibration))
    with torch_threads(1):
        even = equalized(program, samples)
        quantized = quantize(even, find_ranges(even, samples, calibration))
        return even, round_weights(even, quantized, samples)
