"""Raw recordings, before anything is cut into windows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Recording:
    """What one file, or one stretch of it without gaps, holds.

    `samples`: (length, channels) float32, in the file's units. `rate_hz`: 0 where the file does not tell. `label`:
    class index. `group`: what must not stand on two sides of a split (a person, a file), a number or a name.
    `source`: where it came from, for messages.
    """

    samples: npt.NDArray[np.float32]
    rate_hz: float
    label: int
    group: int | str
    source: str
