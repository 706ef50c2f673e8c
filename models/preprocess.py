"""What happens between raw samples and the network, and between its outputs and decisions; saved with the model.

The generated C does the same: with a front end in integers (`NAME_push` or `NAME_picture`, and `NAME_poll`), without
one as `NAME_quantize_raw`, the same arithmetic in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from secateur.models.front_end.chain import FrontEnd
from secateur.models.front_end.decide import Decisions
from secateur.models.front_end.image import ImageChain

AnyFrontEnd = FrontEnd | ImageChain
"""Of a stream of samples, or of a camera's pictures."""


@dataclass(frozen=True)
class Preprocess:
    """y = (x - mean) / std, per channel of a channels-first sample. Empty tuples mean the identity.

    `front_end`: what makes x from raw samples. `decisions`: what is made of the outputs, window by window.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    front_end: AnyFrontEnd | None = None
    decisions: Decisions = Decisions()  # noqa: RUF009 - frozen

    def __call__(self, samples: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
        """(n, c, ...) samples, as the front end gives them, to float32 of the same shape."""
        x = np.asarray(samples, dtype=np.float32)
        if not self.mean:
            return x
        shape = (1, -1) + (1,) * (x.ndim - 2)
        mean = np.asarray(self.mean, dtype=np.float32).reshape(shape)
        std = np.asarray(self.std, dtype=np.float32).reshape(shape)
        return np.asarray((x - mean) / std, dtype=np.float32)


IDENTITY = Preprocess()
