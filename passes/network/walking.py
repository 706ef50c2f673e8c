"""A prefix walk over many samples, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from secateur.models.data import Split
from secateur.models.network import Network
from secateur.passes.network.prefix_walk import PrefixWalk
from secateur.passes.network.work import current_work


def walk_over(
    walk: PrefixWalk, network: Network, data: Split, batches: Sequence[npt.NDArray[np.int64]]
) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """What `walk.features` gives of each batch, rows of `data`; `current_work` hears of it."""
    device = next(network.module.parameters()).device
    each, told = len(walk.branches), current_work().told
    for number, rows in enumerate(batches):

        def tell(done: int, before: int = number * each) -> None:
            told("scoring", before + done, len(batches) * each)

        yield walk.features(torch.from_numpy(network.preprocess(data.x[rows])).to(device), tell)
