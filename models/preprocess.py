"""What happens to a raw sample before the network: per-channel scale, saved with the model.

The generated C carries it as `NAME_quantize_raw`, the same arithmetic in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Preprocess:
    """y = (x - mean) / std, per channel of a channels-first sample. Empty tuples mean the identity."""

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __call__(self, samples: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
        """(n, c, ...) raw samples to float32 of the same shape."""
        x = np.asarray(samples, dtype=np.float32)
        if not self.mean:
            return x
        shape = (1, -1) + (1,) * (x.ndim - 2)
        mean = np.asarray(self.mean, dtype=np.float32).reshape(shape)
        std = np.asarray(self.std, dtype=np.float32).reshape(shape)
        return np.asarray((x - mean) / std, dtype=np.float32)


IDENTITY = Preprocess()
