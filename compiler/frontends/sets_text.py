"""What is told of the three sets: groups, samples, and how many of each class."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from secateur.compiler.frontends import windows_cache as cache
from secateur.models.data import Data

SHOWN = 12
"""Classes that a line counts before it says `and n more`."""


def sets_text(data: Data, what: str) -> tuple[str, ...]:
    """One line a set: its groups, its samples, and how many of each class."""
    lines = []
    for side in cache.SIDES:
        split = getattr(data, side)
        groups = len(np.unique(split.groups))
        inside = ", ".join(_inside(split.y, data.labels))
        lines.append(f"{side + ':':11} {groups} group{'s' * (groups != 1)}, {len(split)} {what}: {inside}")
    return tuple(lines)


def _inside(y: npt.NDArray[Any], labels: tuple[str, ...]) -> list[str]:
    """How many of each class or label there are, or between which values numbers lie, as the task's `y` has it."""
    if y.dtype.kind == "f":
        found = [f"{label} {low:g} to {high:g}" for label, low, high in zip(labels, y.min(0), y.max(0), strict=True)]
    elif y.ndim == 1 and (y < 0).all():
        return ["no labels"]
    else:
        counts = y.sum(axis=0) if y.ndim == 2 else np.bincount(y, minlength=len(labels))
        found = [f"{label} {count}" for label, count in zip(labels, counts, strict=True)]
    return found if len(found) <= SHOWN else [*found[:SHOWN], f"and {len(found) - SHOWN} more"]
