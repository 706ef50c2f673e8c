"""How much a layer changes what goes through it: 1 - CKA of its input with its output. One forward for all layers.

Source: the "intra" variant in the released code of Pons et al., ICPR 2024. Cheaper than the loss of similarity at the
classifier, and it does not measure the effect there. What is compared is what a removal exchanges: the value that
stands in for the layer, and the one it stands for (the source compares sums before their activation on both sides).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx

from secateur.errors import UserError
from secateur.models.data import Split
from secateur.models.network import Network
from secateur.passes.network.cka import StoredCKA
from secateur.passes.network.layers import LayerUnit, removable_layers
from secateur.passes.network.prefix_walk import evaluating
from secateur.passes.network.samples import balanced, enough
from secateur.passes.network.scores import F64, Replicates, Scores
from secateur.passes.network.work import current_work

_SAMPLES = 1000
_VALUE_BYTES = 1 << 28


@dataclass(frozen=True)
class LayerFlow:
    """1 - CKA of every removable layer's input with its output.

    All samples go through the graph side by side and a layer is compared as soon as it is passed, so that only live
    values are kept. `samples`: at most so many, 1000 by default; so few that the largest value of all of them takes
    256 MiB.
    """

    data: Split
    samples: int | None = None
    debiased: bool = True
    floor: int = 2
    seed: int = 0
    blocks: int = 20

    def __call__(self, network: Network, units: Collection[str] | None = None) -> Scores:
        """Raises UserError if there are too few samples, or if a layer's input is the same for all of them."""
        able = removable_layers(network, self.floor, units)
        walk, samples = _walk(network, able, self)
        values = {u.name: walk.losses[u.name] for u in able}
        return Scores.measured(network, samples, values, Replicates.jackknife(walk.left_out))


def flows(network: Network, units: Sequence[LayerUnit], data: Split, samples: int, seed: int) -> dict[str, float]:
    """1 - CKA, debiased, of the input of these layers, removable or not, with their output; see `LayerFlow`."""
    return _walk(network, units, LayerFlow(data, samples, seed=seed))[0].losses


def _walk(network: Network, units: Sequence[LayerUnit], how: LayerFlow) -> tuple[_Passing, int]:
    """One forward that compares these layers, and the number of samples it took."""
    largest = max(int(np.prod(shape)) for shape in network.shapes().values())
    rows = balanced(how.data.y, min(how.samples or _SAMPLES, _VALUE_BYTES // (4 * largest)), how.seed)
    enough(network, len(rows), 2 * how.blocks)
    walk = _Passing(network.module, {u.exit: u for u in units}, how.debiased, how.blocks)
    device = next(network.module.parameters()).device
    with torch.no_grad(), evaluating(network.module):
        walk.run(torch.from_numpy(network.preprocess(how.data.x[rows])).to(device))
    if walk.constant:
        raise UserError(
            f"{network.name}: the input of {walk.constant[0]} is the same for all {len(rows)} samples, so nothing "
            "can be compared; check the weights and the preprocessing"
        )
    return walk, len(rows)


@dataclass
class _Compared:
    value: Tensor
    waiting: int  # layers that are still to be compared with it


class _Passing(fx.Interpreter):
    def __init__(self, module: fx.GraphModule, units: dict[str, LayerUnit], debiased: bool, blocks: int) -> None:
        super().__init__(module)
        self.units, self.debiased, self.blocks = units, debiased, blocks
        self.entries: dict[str, _Compared] = {}
        self.waiting: dict[str, int] = {}
        for unit in units.values():
            self.waiting[unit.entry] = self.waiting.get(unit.entry, 0) + 1
        self.losses: dict[str, float] = {}
        self.left_out: dict[str, F64] = {}
        self.constant: list[str] = []

    def run_node(self, n: fx.Node) -> object:
        value = super().run_node(n)
        if n.name in self.units and isinstance(value, Tensor):
            self._compare(self.units[n.name], value)
        if n.name in self.waiting and isinstance(value, Tensor):
            self.entries[n.name] = _Compared(value, self.waiting[n.name])
        return value

    def _compare(self, unit: LayerUnit, value: Tensor) -> None:
        before = self.entries[unit.entry]
        x, y = (v.flatten(1).cpu().numpy() for v in (before.value, value))
        if (x == x[0]).all():
            self.constant.append(unit.name)
        cka = StoredCKA(1, self.debiased, self.blocks)
        cka.update(x, [y])
        self.losses[unit.name] = 1 - float(cka.values()[0])
        self.left_out[unit.name] = 1 - cka.leave_out(0)
        current_work().told("scoring", len(self.losses), len(self.units))
        before.waiting -= 1
        if not before.waiting:
            del self.entries[unit.entry]
