"""How alike whole networks are to another: CKA of what their classifiers are given, debiased.

For cuts of any kind, several groups at once too; the removals of one unit are cheaper by `CutSimilarity`'s walk.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, fx

from secateur.models.data import Split
from secateur.models.network import Network
from secateur.passes.network.cka import StoredCKA
from secateur.passes.network.cut_similarity import chunk
from secateur.passes.network.layers import feature_node
from secateur.passes.network.prefix_walk import evaluating


def network_similarity(network: Network, others: Sequence[Network], data: Split) -> list[float]:
    """CKA of each of `others` with `network` on all samples of `data`, at most 1."""
    cka = StoredCKA(len(others))
    for rows in np.array_split(np.arange(len(data)), -(-len(data) // chunk(network))):
        x = torch.from_numpy(network.preprocess(data.x[rows]))
        reference, *found = [_features(n, x) for n in (network, *others)]
        cka.update(reference, found)
    return [float(v) for v in cka.values()]


def _features(network: Network, x: Tensor) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """(n, p): the value that the last weighted operation reads."""
    recorder = _Recorder(network.module, feature_node(network))
    device = next(network.module.parameters()).device
    with torch.no_grad(), evaluating(network.module):
        recorder.run(x.to(device))
    return recorder.kept.flatten(1).cpu().numpy()


class _Recorder(fx.Interpreter):
    def __init__(self, module: fx.GraphModule, name: str) -> None:
        super().__init__(module)
        self.name = name
        self.kept: Tensor

    def run_node(self, n: fx.Node) -> object:
        value = super().run_node(n)
        if n.name == self.name:
            assert isinstance(value, Tensor)
            self.kept = value
        return value
