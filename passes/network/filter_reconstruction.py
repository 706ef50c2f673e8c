"""What every filter knows that the others do not: what least squares over the others cannot give back.

Of each convolution or linear layer that reads a filter: the least objective of the fit of `reconstruct.py` when the
filter goes and the weights of all others move, errors and ridge, divided by the variance of the layer's outputs; summed
over the layers that read it. It is the saliency of Optimal Brain Surgeon (Hassibi and Stork, NIPS 1992) of all weights
that read a filter at once, for one layer's outputs: W B^-1 W' of their weights W and their block B of (X'X)^-1. Without
the ridge it would be 1 - R^2 of the linear regression that Kornblith et al. (ICML 2019, section 4) list among
the similarities of representations. Of the weights that go the ridge takes nothing: a filter that is always 0 is free.

Each filter is scored alone, as in the other scores: where two say the same, each is cheap while the other stays, and a
step that takes several can take both. Taking one after the other, the inverse brought up to date in between, as Optimal
Brain Surgeon does, chose no better (docs/scores.md).

One pass over the samples. At most ROWS of a layer's inputs are kept, of as many layers at a time as there are jobs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx

from secateur.models.data import Split
from secateur.models.network import Network
from secateur.passes.network.channels import Channels, trace_channels
from secateur.passes.network.layer_reads import RIDGE, WEIGHTED, fitting_samples, folded, norm_behind, patches
from secateur.passes.network.prefix_walk import evaluating
from secateur.passes.network.samples import enough
from secateur.passes.network.scores import FilterScores
from secateur.passes.network.work import Beside, current_work

Amounts = dict[int, npt.NDArray[np.float64]]


@dataclass(frozen=True)
class FilterReconstruction:
    """Of every removable group. `data`: the recovery set, of which at most SAMPLES are read, class-balanced.

    `blocks`: parts of the jackknife behind the margins, none by default; each takes as long as the whole. Where values
    are so large that fewer samples are read, they are fewer too.
    """

    data: Split
    seed: int = 0
    blocks: int = 0

    def __call__(self, network: Network) -> FilterScores:
        """Raises UserError for fewer than two samples, or fewer than two a block."""
        enough(network, len(self.data), 2 * max(1, self.blocks))
        x = fitting_samples(network, self.data, self.seed)
        blocks = min(self.blocks, len(x) // 2)
        reads = _Reads(network, trace_channels(network), self.seed, 0 if blocks < 2 else blocks)
        with torch.no_grad(), evaluating(network.module):
            reads.whole(x)
        whole = {name: lost[0] for name, lost in reads.lost.items()}
        left_out = {name: lost[1:] for name, lost in reads.lost.items()} if reads.blocks else None
        return FilterScores.measured(network, len(x), whole, left_out)


class _Reads(fx.Interpreter):
    """Runs the network and sums what each layer would lose; `lost`: (1 + blocks, classes) of each group."""

    def __init__(self, network: Network, channels: Channels, seed: int, blocks: int) -> None:
        super().__init__(network.module)
        self.channels, self.seed, self.blocks = channels, seed, blocks
        modules = dict(network.module.named_modules())
        self.called = {n.name: modules[str(n.target)] for n in network.graph.nodes if n.op == "call_module"}
        removable = [g for g in channels.groups if g.removable]
        self.lost = {g.name: np.zeros((1 + blocks, g.size)) for g in removable}
        self.places = {c: (g.name, i) for g in removable for i, c in enumerate(channels.members[g.name])}
        # a grouped convolution's outputs go with its inputs: those miss them that read the outputs
        self.reading = [
            name for name, m in self.called.items() if isinstance(m, WEIGHTED) and getattr(m, "groups", 1) == 1
        ]
        self.done = 0

    def whole(self, x: Tensor) -> None:
        """Run it. Layers are fitted beside the run where `current_work` says so, and summed in their order."""
        with Beside[fx.Node, Amounts](current_work().jobs) as self.beside:
            self.run(x)
            self._add(self.beside.finish())

    def run_node(self, n: fx.Node) -> object:
        if n.name in self.reading:
            values = {"read": self.env[n.all_input_nodes[0]]}
            self._add(self.beside.start(self._lost_at, n, values))
        return super().run_node(n)

    def _lost_at(self, n: fx.Node, values: Mapping[str, Tensor]) -> Amounts:
        """What the layer would lose with each class that it reads: (1 + blocks,) of each."""
        module, behind = self.called[n.name], norm_behind(n, self.called)
        norm = None if behind is None else self.called[behind.name]
        assert isinstance(module, WEIGHTED)
        weight = folded(module, norm)[0][:, None] * module.weight.detach().double().flatten(1)
        read = patches(module, values["read"], self.seed)[0]
        movable = norm is not None or module.bias is not None
        found: Amounts = {}
        for classes, inputs in _inputs(
            self.channels.values[n.all_input_nodes[0].name], read.shape[1], set(self.places)
        ):
            at = torch.from_numpy(inputs).to(read.device)
            lost = np.stack([_lost(read[rows], weight, at, movable) for rows in _rows(len(read), self.blocks)])
            found.update(zip(classes, lost.T, strict=True))
        return found

    def _add(self, layers: list[tuple[fx.Node, Amounts]]) -> None:
        for _, amounts in layers:
            for c, lost in amounts.items():
                group, i = self.places[c]
                self.lost[group][:, i] += lost
            self.done += 1
            current_work().told("scoring", self.done, len(self.reading))


def _inputs(
    classes: npt.NDArray[np.int64], inputs: int, wanted: set[int]
) -> Iterator[tuple[list[int], npt.NDArray[np.int64]]]:
    """Those `wanted` classes that are as many of a layer's inputs, with (classes, inputs of one) where these stand.

    `classes`: of every channel that the layer reads.
    """
    columns = np.arange(inputs).reshape(len(classes), -1)
    at = {int(c): columns[classes == c].ravel() for c in np.unique(classes) if int(c) in wanted}
    for count in sorted({len(places) for places in at.values()}):
        alike = [c for c, places in at.items() if len(places) == count]
        yield alike, np.stack([at[c] for c in alike])


def _rows(rows: int, blocks: int) -> Iterator[slice | npt.NDArray[np.int64]]:
    """All rows, then those without each of the blocks; neighbours are of the same samples."""
    yield slice(None)
    for part in np.array_split(np.arange(rows), blocks) if blocks else ():
        yield np.delete(np.arange(rows), part)


def _lost(read: Tensor, weight: Tensor, at: Tensor, movable: bool) -> npt.NDArray[np.float64]:
    """(classes,): the least that a fit of the other inputs leaves, with its ridge, over the outputs' variance.

    `read`: (rows, inputs); `weight`: (outputs, inputs); `at`: (classes, inputs of one). `movable`: the mean can be met
    by a shift, so only what varies is lost.
    """
    if movable:
        read = read - read.mean(0)
    total = (read @ weight.mT).square().sum()
    ridge = RIDGE * read.square().sum().clamp(min=1e-12) / read.shape[1]
    if read.shape[1] <= len(read):
        inverse = torch.linalg.inv(read.mT @ read + ridge * torch.eye(read.shape[1]).to(read))
        blocks = inverse[at[:, :, None], at[:, None, :]]
    else:  # the same by fewer unknowns
        solved = torch.linalg.solve(read @ read.mT + ridge * torch.eye(len(read)).to(read), read)
        mine, theirs = read[:, at].transpose(0, 1), solved[:, at].transpose(0, 1)  # (classes, rows, inputs of one)
        blocks = (torch.eye(at.shape[1]).to(read) - mine.mT @ theirs) / ridge
    # trace(W B^-1 W' - ridge W W') needs the weights' own moments only, as many as a class has inputs
    own = torch.stack([weight[:, inputs].mT @ weight[:, inputs] for inputs in at])  # (classes, inputs of one, same)
    lost = torch.linalg.solve(blocks, own).diagonal(dim1=1, dim2=2).sum(1) - ridge * own.diagonal(dim1=1, dim2=2).sum(1)
    found: npt.NDArray[np.float64] = (lost.clamp(min=0) / total.clamp(min=1e-300)).cpu().numpy()
    return found
