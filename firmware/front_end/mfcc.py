"""Mel-frequency cepstral coefficients: what the code generator needs to know."""

from __future__ import annotations

from secateur.firmware.front_end.log_mel import log_mel_params, mel_scratch_bytes
from secateur.firmware.front_end.stage import StageCode
from secateur.firmware.kernels.descriptor import Constant
from secateur.models.front_end.mfcc import Mfcc


def mfcc_code(mfcc: Mfcc) -> StageCode:
    """The C stage of MFCCs, whose parameters begin with those of log-mel."""
    params = {f"mel.{name}": value for name, value in log_mel_params(mfcc).items()}
    params |= {
        "coefficients": mfcc.coefficients,
        "shift": mfcc.shift,
        "cosines": Constant("cosines", "int16_t", mfcc.cosines),
    }
    scratch = mel_scratch_bytes(mfcc) + 2 * mfcc.bins
    return StageCode("sec_mfcc", "sec_mfcc.h", params, scratch_bytes=scratch)
