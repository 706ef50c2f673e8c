"""What the stages of a front end promise. Each is a frozen record, exact in integers: C computes the same values.

The definition of a stage is its integer arithmetic, not a float formula that C approximates: a network is trained on
what the device will feed it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int16]
"""Raw samples as the sensor gives them, or features in fixed point."""


class Features(ABC):
    """Frames of one channel to feature vectors: log-mel, MFCC, TFLM's micro front end.

    `frame_length`, `frame_step`: samples.
    """

    frame_length: int
    frame_step: int

    @property
    @abstractmethod
    def count(self) -> int:
        """Features a frame."""

    @property
    @abstractmethod
    def unit(self) -> float:
        """The real value of one count."""

    @abstractmethod
    def rows(self, samples: Counts) -> Counts:
        """(frames, count) of (n,) samples, from the state after a reset: frame i begins at sample i * frame_step, and
        only whole frames are computed. What a frame leaves behind for the next (noise estimates) is carried along."""
