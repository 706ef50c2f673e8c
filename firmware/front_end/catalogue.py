"""Which C serves which features. New ones are a record, a header, a description and one line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from secateur.firmware.front_end.log_mel import log_mel_code
from secateur.firmware.front_end.mfcc import mfcc_code
from secateur.firmware.front_end.micro import micro_code
from secateur.firmware.front_end.stage import StageCode
from secateur.models.front_end.log_mel import LogMel
from secateur.models.front_end.mfcc import Mfcc
from secateur.models.front_end.micro import Micro
from secateur.models.front_end.stage import Features

CODES: dict[type[Features], Callable[[Any], StageCode]] = {
    LogMel: log_mel_code,
    Mfcc: mfcc_code,
    Micro: micro_code,
}


def features_code(features: Features) -> StageCode:
    """The C of features."""
    return CODES[type(features)](features)
