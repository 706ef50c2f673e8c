"""What convolutions and linear layers read, row by row, and what the norm behind them makes of their outputs.

`reconstruct.py` fits them to it, `filter_reconstruction.py` scores by what a fit would lose.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np
import torch
from torch import Tensor, fx, nn

from secateur.models.data import Split
from secateur.models.network import Network
from secateur.passes.network.samples import balanced

SAMPLES = 512  # whose values are compared; all samples' would be for nothing
VALUE_BYTES = 1 << 28  # the largest value of all of them together; fewer samples where they are large
ROWS = 4096  # positions of them that one layer is fitted on
RIDGE = 1e-2
"""Of the mean square of the inputs: how much is paid for moving away from the present weights."""
WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Linear)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def fitting_samples(network: Network, data: Split, seed: int) -> Tensor:
    """At most SAMPLES balanced samples of `data`, preprocessed, where the network is."""
    largest = max(prod(shape) for shape in network.shapes().values())
    count = max(1, min(SAMPLES, VALUE_BYTES // (4 * largest)))
    x = data.x[balanced(data.y, count, seed)]
    return torch.from_numpy(network.preprocess(x)).to(next(network.module.parameters()).device)


def _places(shape: tuple[int, ...], seed: int, device: torch.device) -> tuple[Tensor, ...]:
    """Sample and position on each axis of the rows that are read, for values of this shape without channels."""
    rows = np.sort(np.random.default_rng(seed).permutation(prod(shape))[:ROWS])
    return tuple(torch.from_numpy(i).to(device) for i in np.unravel_index(rows, shape))


def rows_of(value: Tensor, seed: int) -> Tensor:
    """(rows, c), float64, of a value (n, c, ..); rows in the order of the samples."""
    flat = value.flatten(2) if value.dim() > 2 else value.unsqueeze(2)
    sample, place = _places((len(flat), flat.shape[2]), seed, value.device)
    return flat[sample, :, place].double()


def patches(module: nn.Module, x: Tensor, seed: int) -> Tensor:
    """(groups, rows, values of one group): what the operation reads for each of the rows of its output, float64."""
    if isinstance(module, nn.Linear):
        return x[_places((len(x),), seed, x.device)].double()[None]
    assert isinstance(module, (nn.Conv1d, nn.Conv2d))
    assert not isinstance(module.padding, str) and module.padding_mode == "zeros", "the graph is not canonical"
    windows = nn.functional.pad(x, [p for amount in reversed(module.padding) for p in (amount, amount)])
    for axis, (kernel, stride, dilation) in enumerate(
        zip(module.kernel_size, module.stride, module.dilation, strict=True), 2
    ):
        windows = windows.unfold(axis, dilation * (kernel - 1) + 1, stride)[..., ::dilation]
    rank = len(module.kernel_size)
    places = _places((len(x), *windows.shape[2 : 2 + rank]), seed, x.device)
    read = windows.movedim(1, 1 + rank)[places].double()  # (rows, c, kernel ..)
    return read.reshape(len(read), module.groups, -1).transpose(0, 1)


def norm_behind(node: fx.Node, called: Mapping[str, nn.Module]) -> fx.Node | None:
    """The batch norm that alone reads what `node` gives. `called`: modules by the names of the nodes that call them."""
    alone = [isinstance(called.get(user.name), NORMS) for user in node.users] == [True]
    return next(iter(node.users)) if alone else None


def bias_of(module: nn.Module) -> Tensor:
    """(outputs,), float64; zeros where there is none."""
    assert isinstance(module, WEIGHTED)
    if module.bias is None:
        return torch.zeros(len(module.weight), dtype=torch.float64, device=module.weight.device)
    return module.bias.detach().double()


def folded(module: nn.Module, norm: nn.Module | None) -> tuple[Tensor, Tensor]:
    """Scale and shift, (outputs,), float64, of what the operation gives without its bias, with the norm behind it."""
    bias = bias_of(module)
    if norm is None:
        return torch.ones_like(bias), bias
    assert isinstance(norm, NORMS) and norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight.detach().double() / torch.sqrt(norm.running_var.double() + norm.eps)
    return scale, norm.bias.detach().double() + scale * (bias - norm.running_mean.double())
