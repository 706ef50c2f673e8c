"""Which filters matter: partial least squares (PLS) and variable importance in projection (VIP).

One forward of the samples and one small decomposition score every filter of a network at once.
Source: Jordao et al., "Deep Network Compression Based on Partial Least Squares", Neurocomputing 2020 (arXiv
1810.07610). Features are the convolutions' outputs before norm and activation, as in the authors' code, each
channel's maximum over all positions. Beyond the source: linear layers' outputs are features too, so that
perceptrons can be pruned; the last weighted layer is left out, for it is the classes themselves; channels that
go together share the mean of their scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx, nn

from secateur.errors import UserError
from secateur.models.data import Split
from secateur.models.network import Network
from secateur.models.task import CLASSIFICATION, Classification, Task, strata
from secateur.passes.network.channels import Channels, trace_channels
from secateur.passes.network.prefix_walk import evaluating
from secateur.passes.network.samples import balanced, enough
from secateur.passes.network.scores import FilterScores
from secateur.passes.network.work import counted

F64 = npt.NDArray[np.float64]
_WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Linear)


@dataclass(frozen=True)
class FilterVip:
    """VIP of every filter group's classes on `data` (the recovery set), with what `task` makes of its labels.

    `samples`: at most so many, class-balanced and seeded; all by default. VIP is >= 0, its squares' mean over
    all filters is 1, lower goes first. `blocks`: parts of the jackknife behind the margins, each with moments of its
    own; 0: no margins.
    """

    data: Split
    samples: int | None = None
    components: int = 2
    seed: int = 0
    chunk: int = 256
    task: Task = CLASSIFICATION
    blocks: int = 0

    def __call__(self, network: Network) -> FilterScores:
        """Scores of every removable group. Raises UserError if the labels hold fewer than two classes."""
        two_classes(network, self.data, self.task)
        channels = trace_channels(network)
        nodes = scored_nodes(network)
        ids = np.concatenate([channels.values[n.name] for n in nodes])
        order = balanced(self.data.y, self.samples or len(self.data), self.seed)
        if self.blocks:
            enough(network, len(order), 2 * self.blocks)
        moments, parts = PlsMoments(), [PlsMoments() for _ in range(self.blocks)]
        seen = 0
        for rows in counted(np.array_split(order, -(-len(order) // self.chunk))):
            x = torch.from_numpy(network.preprocess(self.data.x[rows]))
            response = self.task.response(x.numpy(), self.data.y[rows], self.data.y)
            features = filter_features(network, nodes, x)
            moments.update(features, response)
            for block, part in enumerate(parts):
                mine = slice((block - seen) % self.blocks, None, self.blocks)
                part.add(features[mine], response[mine], moments.shift)
            seen += len(rows)
        vip = moments.vip(self.components)
        values = by_group(channels, ids, vip)
        if not self.blocks:
            return FilterScores(network.hash(), len(order), values)
        left_out = [by_group(channels, ids, moments.without(part).vip(self.components)) for part in parts]
        return FilterScores.measured(network, len(order), values, stacked(left_out))


def two_classes(network: Network, data: Split, task: Task) -> None:
    """Raise UserError if the labels hold fewer."""
    labels = np.unique(strata(data.y))
    if isinstance(task, Classification) and len(labels) < 2:
        raise UserError(
            f"{network.name}: the recovery set holds one class only ({int(labels[0])}); scoring filters "
            "takes two at least"
        )


def by_group(channels: Channels, ids: npt.NDArray[np.int64], scores: F64) -> dict[str, F64]:
    """Mean score of each class of the removable groups, from one of every feature; `ids`: the features' classes."""
    mean = np.bincount(ids, scores) / np.maximum(np.bincount(ids), 1)
    return {g.name: mean[list(channels.members[g.name])] for g in channels.groups if g.removable}


def stacked(parts: list[dict[str, F64]]) -> dict[str, F64]:
    """(parts, classes) of each group."""
    return {name: np.stack([part[name] for part in parts]) for name in parts[0]}


def scored_nodes(network: Network) -> list[fx.Node]:
    """The convolutions and linear layers whose outputs are features, in graph order."""
    return [
        n
        for n in network.graph.nodes
        if n.op == "call_module" and isinstance(network.module.get_submodule(str(n.target)), _WEIGHTED)
    ][:-1]


def filter_features(network: Network, nodes: list[fx.Node], x: Tensor) -> F64:
    """(n, m): the maximum over positions of every channel of `nodes`."""
    recorder = _Maxima(network.module, {n.name for n in nodes})
    device = next(network.module.parameters()).device
    with torch.no_grad(), evaluating(network.module):
        recorder.run(x.to(device))
    return np.concatenate([recorder.found[n.name] for n in nodes], axis=1)


class _Maxima(fx.Interpreter):
    def __init__(self, module: fx.GraphModule, names: set[str]) -> None:
        super().__init__(module)
        self.names = names
        self.found: dict[str, F64] = {}

    def run_node(self, n: fx.Node) -> object:
        value = super().run_node(n)
        if n.name in self.names and isinstance(value, Tensor):
            top = value.flatten(2).amax(2) if value.dim() > 2 else value
            self.found[n.name] = top.cpu().numpy().astype(np.float64)
        return value


class PlsMoments:
    """Two-block PLS of Y (n, k) on X (n, m) from sums over batches; memory O(m^2), whatever n is.

    Equal to NIPALS on all samples with X and Y standardised (ddof = 1): a component's weights are the leading
    left singular vector of X'Y, which is then deflated; a column that never changes weighs nothing.
    """

    def __init__(self) -> None:
        self.n = 0

    def update(self, x: npt.NDArray[np.generic], y: npt.NDArray[np.generic]) -> None:
        """Add a batch of X (b, m) and Y (b, k)."""
        self.add(x, y, None)

    def add(self, x: npt.NDArray[np.generic], y: npt.NDArray[np.generic], shift: F64 | None) -> None:
        """The same; sums are those of rows less `shift`, the first batch's mean where it is None."""
        both = np.concatenate([x.astype(np.float64), y.astype(np.float64)], axis=1)
        if not self.n:
            self.m = x.shape[1]
            self.shift = both.mean(0) if shift is None else shift
            self.sums = np.zeros_like(self.shift)
            self.products = np.zeros((len(self.shift), len(self.shift)))
        both -= self.shift
        self.n += len(both)
        self.sums += both.sum(0)
        self.products += both.T @ both

    def without(self, part: PlsMoments) -> PlsMoments:
        """Of all samples but those of `part`, whose shift is the same."""
        rest = PlsMoments()
        rest.n, rest.m, rest.shift = self.n - part.n, self.m, self.shift
        rest.sums, rest.products = self.sums - part.sums, self.products - part.products
        return rest

    def vip(self, components: int = 2) -> F64:
        """VIP_j = sqrt(m sum_a s_a w_ja^2 / sum_a s_a), s_a = (t_a't_a)(q_a'q_a), |w_a| = 1; (m,).

        Raises ValueError for fewer than two samples.
        """
        if self.n < 2:
            raise ValueError(f"PLS of {self.n} samples; 2 at least are needed")
        centred = self.products - np.outer(self.sums, self.sums) / self.n
        variance = np.diag(centred) / (self.n - 1)
        size = np.square(self.shift) + np.diag(self.products) / self.n
        changes = variance > 1e-24 * size  # else the rounding of a constant
        scale = np.where(changes, 1 / np.sqrt(np.where(changes, variance, 1)), 0)
        centred *= np.outer(scale, scale)
        s, z = centred[: self.m, : self.m], centred[: self.m, self.m :].copy()
        total, weighted = 0.0, np.zeros(self.m)
        rotations: list[F64] = []
        loadings: list[F64] = []
        first = float(np.linalg.norm(z))
        for _ in range(components):
            if float(np.linalg.norm(z)) <= 1e-10 * first:
                break  # nothing of Y is left to explain
            w = np.linalg.svd(z, full_matrices=False)[0][:, 0]
            r = w.copy()
            for p, earlier in zip(loadings, rotations, strict=True):
                r -= (p @ w) * earlier
            tt = float(r @ s @ r)
            p, q = s @ r / tt, z.T @ r / tt
            z -= tt * np.outer(p, q)
            rotations.append(r)
            loadings.append(p)
            explained = tt * float(q @ q)
            total += explained
            weighted += explained * np.square(w)
        if total == 0:
            return np.zeros(self.m)
        return np.asarray(np.sqrt(self.m * weighted / total), dtype=np.float64)
