"""From a network's outputs to decisions: smoothed over windows, "unknown" below a threshold, quiet after an event."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

UNKNOWN = -1


@dataclass(frozen=True)
class Decisions:
    """`smooth`: windows that are averaged. `threshold`: the least score of a class that is told, in quantized steps of
    the output above its lowest value, summed over those windows (0 to 255 each); below it the decision is "unknown".
    `refractory`: windows after an event in which nothing is told. `background`: classes that are no event (silence,
    other words). `least` and `keep_percent`: how `threshold` is found once the network is quantized, from a real output
    or from the share of right validation windows that it must not silence; both None where it is known.
    `reconstructs`: the output should equal the input, and is judged by its error (`reconstruct.py`).
    """

    smooth: int = 1
    threshold: int = 0
    refractory: int = 0
    background: tuple[str, ...] = ()
    least: float | None = None
    keep_percent: float | None = None
    reconstructs: bool = False


@dataclass(frozen=True)
class Decision:
    """`label`: class index, or -1 for unknown. `confidence`: float32, the mean real output of the best class."""

    label: int
    confidence: np.float32


def decide(
    outputs: npt.NDArray[np.integer], scale: float, zero_point: int, labels: tuple[str, ...], how: Decisions
) -> list[Decision | None]:
    """One entry for each window of outputs (n, classes), int8 or uint8: None where nothing is told.

    Nothing is told before `smooth` windows are there, and after an event for `refractory` windows. The first of equal
    classes wins. The same integers as the generated C.
    """
    lowest = -128 if outputs.dtype == np.int8 else 0
    steps = outputs.astype(np.int64) - lowest
    factor = confidence_factor(scale, how)
    quiet, found = 0, list[Decision | None]()
    for at in range(len(steps)):
        if at + 1 < how.smooth:
            found.append(None)
            continue
        sums = steps[at + 1 - how.smooth : at + 1].sum(axis=0)
        best = int(sums.argmax())
        if quiet:
            quiet -= 1
            found.append(None)
            continue
        told = sums[best] >= how.threshold
        if told and not (best < len(labels) and labels[best] in how.background):
            quiet = how.refractory
        value = np.float32(int(sums[best]) - how.smooth * (zero_point - lowest)) * factor
        found.append(Decision(best if told else UNKNOWN, value))
    return found


def confidence_factor(scale: float, how: Decisions) -> np.float32:
    """The real value of one step of the sum over `smooth` windows."""
    return np.float32(scale / how.smooth)


def least_steps(real: float, scale: float, zero_point: int, dtype: str, smooth: int) -> int:
    """The least sum of steps over `smooth` windows whose mean real output is at least `real`; at most one too many."""
    lowest = -128 if dtype == "int8" else 0
    return int(np.clip(np.ceil((real / scale + zero_point - lowest) * smooth - 1e-6), 0, 255 * smooth + 1))


def fit_threshold(
    outputs: npt.NDArray[np.integer], truth: npt.NDArray[np.integer], keep_percent: float
) -> tuple[int, float, float]:
    """The highest threshold that still tells `keep_percent` of the windows whose best class is right.

    Returns (threshold, percent of right windows told, percent of wrong windows told).
    """
    steps = outputs.astype(np.int64) + (128 if outputs.dtype == np.int8 else 0)
    best, right = steps.max(axis=1), steps.argmax(axis=1) == truth
    if not right.any():
        return 0, 0.0, 100.0
    ordered = np.sort(best[right])
    threshold = int(ordered[min(len(ordered) - 1, int((1 - keep_percent / 100) * len(ordered)))])
    told = best >= threshold
    wrong = 100.0 * float(told[~right].mean()) if (~right).any() else 0.0
    return threshold, 100.0 * float(told[right].mean()), wrong
