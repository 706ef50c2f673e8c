"""A value of the canonical graph as the traced network sees it: reshaped, permuted, a part of it.

What a network does to the order of elements is done to a tensor of their places (`index`), by the same operators; so
transpositions, splits of heads and their reverse need no rules of their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from secateur.models.canonical_ops import Unsupported


class Misplaced(Unsupported):
    """Elements are in an order that this operator cannot take: no wonder behind an operator that is unsupported."""


@dataclass
class Seen:
    """A node of the new graph, seen with `shape`. `index`: each element's place in the node's value, flat; None: all
    of them in order."""

    node: fx.Node
    shape: tuple[int, ...]
    index: Tensor | None = None

    def places(self) -> Tensor:
        """`index`, also where it is in order."""
        return self.index if self.index is not None else places(self.shape)


@dataclass
class Weighing(Seen):
    """Products of `left` and `right` (n, heads * depth, length), or their softmax: what attention makes on its way.

    `index` is into (n, heads, left's length, right's length).
    """

    left: fx.Node | None = None
    right: fx.Node | None = None
    heads: int = 1
    scale: float = 1.0
    normalized: bool = False


@dataclass(frozen=True)
class Arrangement:
    """Which channels and which positions of a node (n, c, positions) a tensor of places (n, c', p') takes."""

    channels: Tensor
    positions: Tensor


def places(shape: tuple[int, ...]) -> Tensor:
    """Every element's own place."""
    return torch.arange(math.prod(shape)).reshape(shape)


def in_order(index: Tensor) -> bool:
    """Whether places are those of a value as it stands."""
    return torch.equal(index.flatten(), torch.arange(index.numel()))


def arrangement(index: Tensor, shape: tuple[int, ...]) -> Arrangement:
    """Of places (n, c', p') in a node of `shape` (n, c, ...). Raises Misplaced where samples, channels and positions
    are mixed."""
    positions = math.prod(shape[2:])
    one = shape[1] * positions
    first = index[0]
    found = Arrangement(first[:, 0] // positions, first[0] % positions)
    wanted = found.channels[:, None] * positions + found.positions
    samples = torch.arange(len(index))[:, None, None] * one
    if len(index) != shape[0] or not torch.equal(index, samples + wanted):
        raise Misplaced("mixes positions with channels; tokens are (n, tokens, channels) or (n, channels, tokens)")
    return found


def batch_axis(index: Tensor, shape: tuple[int, ...]) -> int:
    """The axis of places along which samples lie, in a node of `shape`."""
    samples = index // math.prod(shape[1:])
    for axis, n in enumerate(index.shape):
        if n == shape[0] and torch.equal(samples, _along(torch.arange(n), axis, index.shape)):
            return axis
    raise Misplaced("mixes samples of the batch")


def _along(values: Tensor, axis: int, shape: tuple[int, ...]) -> Tensor:
    return values.reshape([-1 if i == axis else 1 for i in range(len(shape))]).expand(shape)
