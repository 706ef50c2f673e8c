"""The mean or the line taken from a window: what the code generator needs to know."""

from __future__ import annotations

from typing import Literal

from secateur.firmware.front_end.stage import StageCode
from secateur.models.front_end.detrend import check_rows


def detrend_code(kind: Literal["mean", "linear"], rows: int, width: int) -> StageCode:
    """The C stage of `models/front_end/detrend.py` for windows of `rows` rows of `width` channels."""
    check_rows(kind, rows)
    params = {"rows": rows, "width": width, "linear": int(kind == "linear")}
    return StageCode("sec_detrend", "sec_detrend.h", params)
