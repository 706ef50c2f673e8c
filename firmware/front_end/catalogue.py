"""Which C serves which stage. A new stage is its record, its header, its description and one line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from secateur.firmware.front_end.stage import StageCode

CODES: dict[type, Callable[[Any], StageCode]] = {}


def stage_code(stage: object) -> StageCode:
    """The C of a resampler or of features."""
    return CODES[type(stage)](stage)
