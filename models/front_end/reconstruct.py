"""How far a network's output is from its input: the score of anomaly detection by reconstruction, in integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from secateur.models.front_end.decide import Decision, Decisions
from secateur.models.program import Program, Tensor

BITS = 12
"""Of the multipliers that bring input and output to one scale: a difference has 21 bits, its square 42."""
MOST_VALUES = 1 << 16
"""Of a window."""
MOST_SUMMED = 1 << 21
"""Values of all windows that are averaged: their sum of squares is at most 2^63."""
MOST_THRESHOLD = (1 << 63) - 1
LABELS = ("normal", "anomaly")


@dataclass(frozen=True)
class Reconstruction:
    """error = (input - zero_in) * scale_in - (output - zero_out) * scale_out, in `unit` of the real values."""

    scale_in: int
    scale_out: int
    zero_in: int
    zero_out: int
    unit: float

    def sums(self, inputs: npt.NDArray[np.integer], outputs: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """Sums of squared errors, (n,), of int8 or uint8 inputs and outputs (n, values)."""
        errors = (inputs.astype(np.int64) - self.zero_in) * self.scale_in
        errors -= (outputs.astype(np.int64) - self.zero_out) * self.scale_out
        return np.asarray(np.square(errors).sum(axis=1))


def reconstruction_of(program: Program) -> Reconstruction:
    """The comparison of a Program's output with its input."""
    entry, out = program.tensors[program.inputs[0]], program.tensors[program.outputs[0]]
    largest = max(entry.scale, out.scale)
    one = 1 << BITS
    a, b = round(entry.scale / largest * one), round(out.scale / largest * one)
    return Reconstruction(a, b, entry.zero_point, out.zero_point, largest / one)


def score_factor(program: Program, how: Decisions) -> np.float32:
    """The real mean squared error of a sum of 1 over the windows that are averaged."""
    values = program.tensors[program.inputs[0]].elements
    return np.float32(reconstruction_of(program).unit ** 2 / (values * how.smooth))


def typed(tensor: Tensor, pieces: npt.NDArray[np.int8]) -> npt.NDArray[np.integer]:
    """Bytes as the integers of a tensor's type, int8 or uint8."""
    return pieces.view(np.uint8) if tensor.dtype == "uint8" else pieces


def decide_errors(sums: npt.NDArray[np.int64], factor: np.float32, how: Decisions) -> list[Decision | None]:
    """As `decide`: label 1 (anomaly) from `threshold` on, `confidence` the real mean squared error."""
    quiet, found = 0, list[Decision | None]()
    for at in range(len(sums)):
        if at + 1 < how.smooth:
            found.append(None)
            continue
        total = int(sums[at + 1 - how.smooth : at + 1].sum())
        if quiet:
            quiet -= 1
            found.append(None)
            continue
        label = int(total >= how.threshold)
        if label:
            quiet = how.refractory
        found.append(Decision(label, np.float32(total) * factor))
    return found


def fit_error_threshold(sums: npt.NDArray[np.int64], truth: npt.NDArray[np.integer], keep_percent: float) -> int:
    """The least sum of one window that `keep_percent` of the normal windows stay below."""
    normal = np.sort(sums[truth == 0])
    if not len(normal):
        return 0
    place = min(len(normal), int(np.ceil(keep_percent / 100 * len(normal))))
    return int(normal[place - 1]) + 1
