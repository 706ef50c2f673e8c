"""TFLite Micro's audio front end: its tables, and what the code generator needs to know."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from secateur.firmware.front_end.stage import StageCode
from secateur.firmware.kernels.descriptor import Constant
from secateur.models.front_end.micro import LOG_TABLE, SNR_BITS, Micro
from secateur.models.front_end.micro_fft import split_twiddles, twiddles


def micro_code(micro: Micro) -> StageCode:
    """The C stage of `micro`."""
    half = micro.fft_length // 2
    band, weights = micro.bands
    widths = np.bincount(band, minlength=micro.channels + 1)
    params: dict[str, int | Sequence[int] | Constant] = {
        "frame_length": micro.frame_length,
        "fft_length": micro.fft_length,
        "channels": micro.channels,
        "first_bin": micro.first_bin,
        "smoothing_bits": micro.smoothing_bits,
        "smoothing": micro.smoothing,
        "remaining": micro.remaining,
        "ratio_shift": micro.gain_bits - micro.correction_bits - SNR_BITS,
        "correction_bits": micro.correction_bits,
        "log_shift": micro.log_shift,
        "window": Constant("window", "int16_t", micro.window),
        "twiddles": Constant("twiddles", "int16_t", twiddles(half)[: 3 * half // 4]),
        "split": Constant("split", "int16_t", split_twiddles(half)),
        "widths": Constant("widths", "int16_t", widths),
        "weights": Constant("weights", "uint16_t", weights),
        "gains": Constant("gains", "int16_t", micro.gains),
        "logs": Constant("logs", "int16_t", LOG_TABLE),
    }
    state_bytes = -(-4 * micro.channels // 8) * 8
    return StageCode("sec_micro", "sec_micro.h", params, state_bytes, 2 * micro.fft_length)
