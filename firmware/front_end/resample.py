"""The resampler: what the code generator needs to know."""

from __future__ import annotations

from secateur.firmware.front_end.stage import StageCode
from secateur.firmware.kernels.descriptor import Constant
from secateur.models.front_end.resample import Resample


def resample_code(resample: Resample, channels: int) -> StageCode:
    """The C stage of `resample` for samples of `channels` channels; it gives at most `resample.most` samples a call."""
    taps = resample.taps
    params = {
        "channels": channels,
        "up": resample.up,
        "down": resample.down,
        "taps_per_phase": taps.shape[1],
        "taps": Constant("taps", "int16_t", taps),
    }
    state_bytes = 8 + 2 * channels * taps.shape[1]
    return StageCode("sec_resample", "sec_resample.h", params, -(-state_bytes // 8) * 8)
