"""MFCCs in integers against float64."""

from __future__ import annotations

import numpy as np
import pytest
from mel_float import ANOMALY, KWS, dct_float, log_mel_float, ratio_db, sounds

from secateur.errors import UserError
from secateur.models.front_end.mfcc import Mfcc

LEAST_DB = {
    "kws": {"noise": 72, "quiet noise": 77, "quiet sine": 79, "vowel": 65, "quiet vowel": 76},
    "anomaly": {"noise": 60, "quiet noise": 77, "quiet sine": 78, "vowel": 71, "quiet vowel": 77},
}
MFCCS = {"kws": Mfcc(**KWS), "anomaly": Mfcc(**ANOMALY, coefficients=20)}


@pytest.mark.parametrize("name", MFCCS)
def test_the_error_is_small_for_loud_and_quiet_sounds(name: str) -> None:
    """As dB below the variation of the coefficients themselves."""
    mfcc, found = MFCCS[name], {}
    for sound, x in sounds().items():
        rows = mfcc.rows(x)
        assert rows.shape[1] == mfcc.count
        found[sound] = ratio_db(dct_float(log_mel_float(mfcc, x), mfcc.count), rows * mfcc.unit)
    assert all(found[sound] > least for sound, least in LEAST_DB[name].items()), found


def test_the_unit_is_fine_and_nothing_saturates() -> None:
    """Keyword spotting's coefficients in 1/256, silence and full scale within int16."""
    mfcc = MFCCS["kws"]
    assert mfcc.unit == 1 / 256
    square = np.where(np.arange(16000) // 20 % 2, 32767, -32768).astype(np.int16)
    for x in (np.zeros(16000, np.int16), square, sounds()["noise"]):
        rows = mfcc.rows(x)
        assert rows.min() > -32768 and rows.max() < 32767
    silence = mfcc.rows(np.zeros(480, np.int16))[0] * mfcc.unit
    np.testing.assert_allclose(silence, [np.log(1e-6) * np.sqrt(40), *[0] * 9], atol=0.01)


def test_too_many_coefficients() -> None:
    """No more than mel filters."""
    with pytest.raises(UserError, match="MFCC: 41 coefficients of 40 mel filters; choose 1 to 40"):
        Mfcc(**KWS, coefficients=41)
