"""Log-mel energies: what the code generator needs to know."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from secateur.firmware.front_end.stage import StageCode
from secateur.firmware.kernels.descriptor import Constant
from secateur.models.front_end.fft import twiddles
from secateur.models.front_end.log_mel import LogMel, MelFrames


def log_mel_code(mel: LogMel) -> StageCode:
    """The C stage of log-mel energies."""
    return StageCode("sec_log_mel", "sec_log_mel.h", log_mel_params(mel), scratch_bytes=mel_scratch_bytes(mel))


def mel_scratch_bytes(mel: MelFrames) -> int:
    """The FFT works in place."""
    return 4 * mel.fft_length


def log_mel_params(mel: MelFrames) -> dict[str, int | Sequence[int] | Constant]:
    """Initialisers of `sec_log_mel_params`."""
    spans = [(first, len(weights)) for first, weights in mel.filters]
    return {
        "frame_length": mel.frame_length,
        "fft_length": mel.fft_length,
        "bins": mel.bins,
        "emphasis": mel.emphasis_q15,
        "power": int(mel.spectrum == "power"),
        "first": min(first for first, _ in spans),
        "last": max(first + length - 1 for first, length in spans),
        "log_scale": mel.log_scale,
        "log_doubling": mel.log_doubling,
        "floor": mel.floor_count,
        "window": Constant("window", "int16_t", mel.window_q15),
        "cosine": Constant("cosine", "int32_t", twiddles(mel.fft_length)),
        "filters": Constant("filters", "uint16_t", np.array(spans)),
        "weights": Constant("weights", "uint16_t", np.concatenate([weights for _, weights in mel.filters])),
        "offsets": Constant("offsets", "int32_t", mel.log_offsets),
    }
