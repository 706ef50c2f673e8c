"""Fit what a cut leaves to the values that the network had before it: least squares, layer by layer, no gradient.

Source: He, Zhang, Sun, "Channel Pruning for Accelerating Very Deep Neural Networks", ICCV 2017: one layer after the
other, each with the inputs that the fitted ones before it give it and with the whole network's values as its goal, the
last convolution of a residual branch with the whole sum less the shortcut. Differences: a ridge pulls towards the
present weights; channels are chosen by others (the paper's first half is not here); layers behind a removed layer are
fitted too, and so is the classifier; a norm's statistics follow, so that training begins where the fit ended.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx, nn

from secateur.models.data import Split
from secateur.models.network import Network
from secateur.passes.contract import Pass, same_interface
from secateur.passes.network.channels import trace_channels
from secateur.passes.network.layer_reads import (
    NORMS,
    RIDGE,
    WEIGHTED,
    bias_of,
    fitting_samples,
    folded,
    norm_behind,
    patches,
    rows_of,
)
from secateur.passes.network.prefix_walk import evaluating
from secateur.passes.network.recover import same_structure
from secateur.passes.network.removal import Removal, apply_all

_LEAST_SCALE = 1e-3  # of the largest; a norm that scales a channel by less says nothing about its weights
Index = npt.NDArray[np.int64]


def kept_channels(whole: Network, removals: Sequence[Removal], floor: int = 2) -> dict[str, Index]:
    """Which channels of each value of `whole` are left when the removals are made."""
    kept = {name: np.arange(shape[0]) for name, shape in whole.shapes().items()}
    network = whole
    # As `apply_all` does it: a cut can swap the names of groups, so filters alone go by the names before any of them.
    together = all(r.kind == "filters" for r in removals)
    for step in [removals] if together else [[r] for r in removals]:
        channels = trace_channels(network)
        gone = [channels.members[r.unit][i] for r in step if r.kind == "filters" for i in r.classes]
        for name, classes in channels.values.items():
            kept[name] = kept[name][~np.isin(classes, gone)]
        network = apply_all(network, step, floor)
    return {name: kept[name] for name in network.shapes()}


class Reconstruct(Pass[Network]):
    """Fit the network that `removals` made of `whole`, on at most SAMPLES balanced samples of `data`.

    Everything behind the first change is fitted once, in graph order; what lies before it stays, bit for bit.
    """

    ensures = (same_interface, same_structure)

    def __init__(self, whole: Network, removals: Sequence[Removal], data: Split, floor: int = 2, seed: int = 0) -> None:
        self.whole, self.data, self.seed = whole, data, seed
        self.kept = kept_channels(whole, removals, floor)

    @property
    def name(self) -> str:
        return "reconstruct"

    def run(self, model: Network) -> Network:
        fitted = model.clone()
        ends = _ends(fitted, _changed(self.whole, model, self.kept))
        samples = fitting_samples(self.whole, self.data, self.seed)
        goals = _Goals(self.whole.module, {e.goal for e in ends.values()}, self.kept, self.seed)
        with torch.no_grad(), evaluating(self.whole.module), evaluating(fitted.module):
            goals.run(samples)
            _Fit(fitted.module, ends, goals.found, self.seed).run(samples)
        return fitted


@dataclass(frozen=True)
class _End:
    """Where a weighted operation's outcome is compared with the whole network's, and its norm, if any.

    `goal`: the value that is wanted; less `other` it is this operation's share.
    """

    goal: str
    norm: str | None = None
    other: fx.Node | None = None


def _changed(whole: Network, cut: Network, kept: Mapping[str, Index]) -> set[str]:
    """Values whose remaining channels may differ from the whole network's."""
    operands = {n.name: [a.name for a in n.all_input_nodes] for n in whole.graph.nodes}
    widths = whole.shapes()
    changed: set[str] = set()
    for node in cut.graph.nodes:
        names = [a.name for a in node.all_input_nodes]
        fewer = any(len(kept[a]) < widths[a][0] for a in names)
        if fewer or names != operands[node.name] or not changed.isdisjoint(names):
            changed.add(node.name)
    return changed


def _ends(network: Network, changed: set[str]) -> dict[str, _End]:
    """By name of the weighted operation, for those that are fitted."""
    modules = dict(network.module.named_modules())
    called = {n.name: modules[str(n.target)] for n in network.graph.nodes if n.op == "call_module"}
    order = {n.name: i for i, n in enumerate(network.graph.nodes)}
    shapes = network.shapes()
    found = {}
    for node in network.graph.nodes:
        if node.name not in changed or not isinstance(called.get(node.name), WEIGHTED):
            continue
        behind = norm_behind(node, called)
        last, norm = (node, None) if behind is None else (behind, str(behind.target))
        found[node.name] = _End(last.name, norm)
        for user in last.users if len(last.users) == 1 else ():
            other = [a for a in user.all_input_nodes if a is not last]
            known = user.target is operator.add and len(other) == 1 and order[other[0].name] < order[node.name]
            if known and shapes[other[0].name] == shapes[last.name]:
                found[node.name] = _End(user.name, norm, other[0])
    return found


class _Goals(fx.Interpreter):
    """Runs the whole network and keeps rows of the values that are goals, of the channels that are left."""

    def __init__(self, module: fx.GraphModule, wanted: set[str], kept: Mapping[str, Index], seed: int) -> None:
        super().__init__(module)
        self.wanted, self.kept, self.seed = wanted, kept, seed
        self.found: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> object:
        value = super().run_node(n)
        if n.name in self.wanted and isinstance(value, Tensor):
            self.found[n.name] = rows_of(value, self.seed)[:, torch.from_numpy(self.kept[n.name]).to(value.device)]
        return value


class _Fit(fx.Interpreter):
    """Runs the cut network and fits every weighted operation before it is run."""

    def __init__(self, module: fx.GraphModule, ends: dict[str, _End], goals: dict[str, Tensor], seed: int) -> None:
        super().__init__(module)
        self.ends, self.goals, self.seed = ends, goals, seed

    def run_node(self, n: fx.Node) -> object:
        end = self.ends.get(n.name)
        if end is not None:
            goal = self.goals[end.goal]
            if end.other is not None:
                goal = goal - rows_of(self.env[end.other], self.seed)
            module = self.module.get_submodule(str(n.target))
            norm = None if end.norm is None else self.module.get_submodule(end.norm)
            _fit(module, norm, patches(module, self.env[n.all_input_nodes[0]], self.seed), goal)
        return super().run_node(n)


def _fit(module: nn.Module, norm: nn.Module | None, read: Tensor, goal: Tensor) -> None:
    """Move weights and bias, or the norm's, so that scale * (weights @ read) + shift comes near the goal.

    The norm's statistics become those of the fitted operation, and what it computes in evaluation stays.
    """
    assert isinstance(module, WEIGHTED)
    groups, outputs = len(read), len(module.weight)
    weight = module.weight.detach().double().reshape(groups, outputs // groups, -1)
    bias = bias_of(module)
    scale, shift = folded(module, norm)

    def of_groups(values: Tensor) -> Tensor:  # (rows, outputs) to (groups, rows, outputs of one)
        return values.reshape(len(values), groups, -1).transpose(0, 1)

    missing = of_groups(goal - shift) - read @ (weight * of_groups(scale[None]).mT).mT
    movable = norm is not None or module.bias is not None  # whether the mean can be met by a shift
    mean_read, mean = read.mean(1, keepdim=True) * movable, missing.mean(1, keepdim=True) * movable
    centred = read - mean_read
    moved = _ridge(centred, missing - mean).mT  # (groups, outputs of one, values)
    moved = moved * (scale.abs() > _LEAST_SCALE * scale.abs().max()).reshape(groups, -1, 1)
    shift = shift + (mean - mean_read @ moved.mT).reshape(-1)
    weight = weight + moved / torch.where(scale == 0, 1.0, scale).reshape(groups, -1, 1)
    module.weight.copy_(weight.reshape(module.weight.shape))
    if norm is None:
        if module.bias is not None:
            module.bias.copy_(shift)
        return
    given = (read @ weight.mT).transpose(0, 1).reshape(-1, outputs) + bias
    _put(norm, scale, shift - scale * bias, given)


def _ridge(x: Tensor, y: Tensor) -> Tensor:
    """(groups, values, outputs) b that makes |x b - y|^2 + ridge |b|^2 least, in the form that has fewer unknowns."""
    wide = x.shape[2] > x.shape[1]
    gram = x @ x.mT if wide else x.mT @ x
    ridge = RIDGE * x.square().sum((1, 2)).clamp(min=1e-12) / x.shape[2]
    gram = gram + ridge[:, None, None] * torch.eye(gram.shape[1]).to(gram)
    solved: Tensor = torch.linalg.solve(gram, y if wide else x.mT @ y)
    return x.mT @ solved if wide else solved


def _put(norm: nn.Module, scale: Tensor, shift: Tensor, given: Tensor) -> None:
    """Make the norm compute scale * given + shift in evaluation, with the statistics of `given`, (rows, channels)."""
    assert isinstance(norm, NORMS) and norm.running_mean is not None and norm.running_var is not None
    mean, variance = given.mean(0), given.var(0, unbiased=False)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.weight.copy_(scale * torch.sqrt(variance + norm.eps))
    norm.bias.copy_(shift + scale * mean)
