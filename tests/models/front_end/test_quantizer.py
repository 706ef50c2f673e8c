"""The map from a front end's counts to a network's integers."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.models.front_end.quantizer import make_quantizer


@pytest.mark.parametrize("error", [0.0, 1e-10, -1e-10, 1e-9, 3e-10])
def test_a_slope_beside_a_power_of_two_has_a_multiplier_of_31_bits(error: float) -> None:
    """It must not round up to 2^31, which no int32 holds; and every count still maps as in real numbers."""
    found = make_quantizer((1 / 3,), (0.0,), ((1 + error) / 3,), 1 / 64, 3, "int8")
    assert max(found.multiplier) < 1 << 31
    counts = np.arange(-32768, 32768, dtype=np.int16)[:, np.newaxis]
    real = counts[:, 0] / (1 + error) * 64 + 3
    told = found(counts)[:, 0].astype(np.float64)
    assert np.abs(told - np.clip(real, -128, 127)).max() <= 0.5 + 1e-4
