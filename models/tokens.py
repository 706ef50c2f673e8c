"""The modules of transformers in the canonical graph: tokens stand as (n, d, l), channels first as everything else.

A linear layer over the channels of tokens is a Conv1d of kernel 1, a mean over the tokens AdaptiveAvgPool1d(1), one
token a Slice.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Tokens(nn.Module):
    """A picture (n, d, h, w) as tokens (n, d, h * w)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2)


class Bias(nn.Module):
    """Adds a trainable value a channel and token: position embeddings. `shape`: (d, l)."""

    def __init__(self, shape: tuple[int, int]) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias


class ChannelNorm(nn.Module):
    """Layer norm over the channels of every position: (n, d, ...), mean 0 and variance 1 over d, then gain and bias."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        last = x.movedim(1, -1)
        return functional.layer_norm(last, self.weight.shape, self.weight, self.bias, self.eps).movedim(-1, 1)


class Attention(nn.Module):
    """softmax(scale * q'k) over the keys, times v, in each of `heads` groups of channels that lie together.

    q: (n, d, l), k: (n, d, m), v: (n, e, m), the result (n, e, l). It has no weights: convolutions around it have.
    """

    def __init__(self, heads: int, scale: float) -> None:
        super().__init__()
        self.heads = heads
        self.scale = scale

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (x.reshape(len(x), self.heads, -1, x.shape[2]) for x in (q, k, v))
        weights = torch.softmax(q.transpose(-1, -2) @ k * self.scale, -1)
        return (v @ weights.transpose(-1, -2)).flatten(1, 2)
