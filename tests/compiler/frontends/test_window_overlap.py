"""Windows of a recording: what two of them share."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.compiler.frontends.recordings import cut
from secateur.models.zoo.watch import windows


@pytest.mark.parametrize("length", [40, 47])
def test_windows_a_hop_of_their_own_length_apart_share_no_sample(length):
    """Full and not overlapping (FNOW): each sample is in one window at most, and only the last ones in none."""
    samples = np.arange(length * 2).reshape(length, 2)
    for made in (np.concatenate(list(cut(samples, 10, 10, (2, 10)))), windows(samples.astype(np.float32), 10, 10)):
        assert made.shape == (4, 2, 10) and len(np.unique(made)) == made.size == 80
        assert set(made.ravel().astype(int)) == set(range(80))
    half = np.concatenate(list(cut(samples, 10, 5, (2, 10))))
    assert len(half) == 7 + (length - 40) // 5 and len(np.unique(half)) < half.size
