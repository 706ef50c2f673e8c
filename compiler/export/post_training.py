"""The ways to an int8 Program from a float one and samples, by the names of `--calibration`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from secateur.compiler.export.calibrate import Range, calibrate
from secateur.compiler.export.quantize import quantize
from secateur.compiler.export.ranges import least_harm
from secateur.compiler.export.rounding import round_weights
from secateur.models.program import Program
from secateur.models.torch_threads import torch_threads

CALIBRATIONS = ("minmax", "output")
"""`minmax`: ranges that clip nothing, weights to the nearest; `output`: both for the least error of outputs."""


def find_ranges(program: Program, samples: npt.NDArray[np.float32], calibration: str) -> dict[int, Range]:
    """The range of every activation, from preprocessed samples in the layout of the float Program."""
    if calibration == "minmax":
        return calibrate(program, samples)
    with torch_threads(1):
        return least_harm(program, samples)


def to_int8(program: Program, samples: npt.NDArray[np.float32], calibration: str) -> Program:
    """The int8 Program, from preprocessed samples in the layout of the float one."""
    quantized = quantize(program, find_ranges(program, samples, calibration))
    if calibration == "minmax":
        return quantized
    with torch_threads(1):
        return round_weights(program, quantized, samples)
