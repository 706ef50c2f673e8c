"""A float network that computes as its int8 Program will, and can be trained so: quantization-aware training.

Source: Jacob et al. 2018, section 3: weights are rounded to their int8 grid, a scale an output channel, values to
theirs, and gradients pass the rounding as if it were not there, inside a grid's range (straight-through estimator).
Batch norms are folded into the weights in front of them as `lower` folds them, with statistics that stay; their gain
and shift are trained. Grids of values are given (by calibration), those of weights follow the weights.
Deviations from the Program: the output of a softmax or of a logistic function is not rounded (its logarithm is
trained); inside attention, layer norms and gates nothing is; where no average pool rounds, a value half way between two
steps may go to the other one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

Grid = tuple[float, int]
"""Scale and zero point of a value in -128 .. 127."""

LARGEST_BIAS = 1 << 29


class FakeQuantized(nn.Module):
    """`network`, which stays the owner of the parameters, on `grids`: node name -> grid of its value.

    A node that is not named keeps its float value: it is part of the operation of a later node, or the softmax.
    """

    def __init__(self, network: fx.GraphModule, grids: Mapping[str, Grid]) -> None:
        super().__init__()
        self.network = network
        self.grids = dict(grids)
        self.folded = _folds(network)

    def train(self, mode: bool = True) -> FakeQuantized:
        """Batch norms never learn statistics here."""
        super().train(mode)
        self.network.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        out = _Walk(self).run(x)
        assert isinstance(out, Tensor)
        return out


class _Walk(fx.Interpreter):
    def __init__(self, owner: FakeQuantized) -> None:
        super().__init__(owner.network)
        self.owner = owner
        self.scales: dict[fx.Node, float | None] = {}

    def run_node(self, n: fx.Node) -> Any:
        owner = self.owner
        module = owner.network.get_submodule(str(n.target)) if n.op == "call_module" else None
        if n.op == "output":
            return super().run_node(n)
        if n in owner.folded.values():
            value = self.env[n.args[0]]  # type: ignore[index]
        elif isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
            norm = owner.folded.get(n)
            folded = None if norm is None else owner.network.get_submodule(str(norm.target))
            source = n.args[0]
            assert isinstance(source, fx.Node)
            value = _weighted(module, folded, self.env[source], self.scales[source])
        else:
            value = super().run_node(n)
        grid = owner.grids.get(n.name)
        if grid is None or isinstance(module, nn.Softmax | nn.Sigmoid):
            self.scales[n] = self.scales[n.all_input_nodes[0]] if isinstance(module, nn.Flatten) else None
            return value
        self.scales[n] = grid[0]
        if isinstance(module, nn.AvgPool1d | nn.AvgPool2d):
            return _half_away(value, grid)
        return torch.fake_quantize_per_tensor_affine(value, grid[0], grid[1], -128, 127)


def _half_away(value: Tensor, grid: Grid) -> Tensor:
    """Rounded with ties away from 0, as TFLite's average pool does: of four values' mean every fourth is a tie."""
    with torch.no_grad():
        q = value / grid[0] + grid[1]
        rounded = (torch.trunc(q + torch.copysign(torch.full_like(q, 0.5), q)) - grid[1]) * grid[0]
    return value + (rounded - value).detach()


def _folds(network: fx.GraphModule) -> dict[fx.Node, fx.Node]:
    """Weighted operations with the batch norm that follows them alone."""
    found = {}
    for node in network.graph.nodes:
        if node.op != "call_module" or len(node.users) != 1:
            continue
        after = next(iter(node.users))
        if not isinstance(network.get_submodule(str(node.target)), nn.Conv1d | nn.Conv2d | nn.Linear):
            continue
        if after.op == "call_module" and isinstance(
            network.get_submodule(str(after.target)), nn.BatchNorm1d | nn.BatchNorm2d
        ):
            found[node] = after
    return found


def _weighted(
    module: nn.Conv1d | nn.Conv2d | nn.Linear, norm: nn.Module | None, x: Tensor, scale: float | None
) -> Tensor:
    """The operation on rounded weights and biases; `scale`: of its input's grid, None: it has none of its own."""
    weight = module.weight
    bias = torch.zeros(len(weight)) if module.bias is None else module.bias
    if norm is not None:
        assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
        assert norm.running_mean is not None and norm.running_var is not None
        gain = (norm.running_var + norm.eps).rsqrt()
        gain = gain if norm.weight is None else gain * norm.weight
        shift = torch.zeros_like(gain) if norm.bias is None else norm.bias
        bias = (bias - norm.running_mean) * gain + shift
        weight = weight * gain.view(-1, *[1] * (weight.ndim - 1))
    with torch.no_grad():  # as `quantize` has them
        scales = weight.abs().flatten(1).amax(1) / 127
        if scale is not None:
            scales = torch.maximum(scales, bias.abs() / (scale * LARGEST_BIAS))
        scales = torch.where(scales > 0, scales, torch.ones_like(scales))
        rounded = bias if scale is None else torch.round(bias / (scales * scale)) * (scales * scale)
    bias = bias + (rounded - bias).detach()
    weight = torch.fake_quantize_per_channel_affine(
        weight, scales, torch.zeros(len(weight), dtype=torch.int32), 0, -127, 127
    )
    if isinstance(module, nn.Linear):
        return nn.functional.linear(x, weight, bias)
    out = module._conv_forward(x, weight, bias)
    assert isinstance(out, Tensor)
    return out
