"""Small transformers written in the ways that people write them, shared by tests. Inputs are (6, 24) unless stated."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH, HEADS, TOKENS = 16, 4, 8


class Encoder(nn.Module):
    """Patches by a Conv1d, learned positions, `blocks`, mean over tokens."""

    def __init__(self, *blocks: nn.Module, tokens_first: bool = False) -> None:
        super().__init__()
        self.patches = nn.Conv1d(6, WIDTH, 3, 3)
        self.positions = nn.Parameter(torch.randn(1, TOKENS, WIDTH) * 0.5)
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, 5)
        self.tokens_first = tokens_first

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).transpose(1, 2) + self.positions
        x = x.transpose(0, 1) if self.tokens_first else x
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(0 if self.tokens_first else 1))  # type: ignore[no-any-return]


def torch_layer(norm_first: bool = False, batch_first: bool = True, activation: str = "relu") -> nn.Module:
    return nn.TransformerEncoderLayer(WIDTH, HEADS, 24, 0.1, activation, batch_first=batch_first, norm_first=norm_first)


class Residual(nn.Module):
    """Norm, `attention`, norm, two linear layers."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(WIDTH), attention
        self.norm2, self.up, self.down = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 24), nn.Linear(24, WIDTH)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.attention(self.norm1(x)))
        return x + self.down(functional.relu(self.up(self.norm2(x))))  # type: ignore[no-any-return]


class GeluByHand(nn.Module):
    """What exporters make of GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(WIDTH, 24), nn.Linear(24, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(x)
        return self.down(x * 0.5 * (1.0 + torch.erf(x / 2**0.5)))  # type: ignore[no-any-return]


class Multihead(nn.Module):
    def __init__(self, need_weights: bool = True, **settings: int) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True, **settings)  # type: ignore[arg-type]
        self.need_weights = need_weights

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x, x, x, need_weights=self.need_weights)[0]  # type: ignore[no-any-return]


class ByHand(nn.Module):
    """`mix`: what is done with q, k, v of (n, heads, tokens, depth)."""

    def __init__(self, mix: Callable[[Tensor, Tensor, Tensor], Tensor], depth: int = 4, value_depth: int = 4) -> None:
        super().__init__()
        self.mix, self.heads = mix, HEADS
        self.q, self.k = nn.Linear(WIDTH, depth * HEADS), nn.Linear(WIDTH, depth * HEADS, bias=False)
        self.v, self.out = nn.Linear(WIDTH, value_depth * HEADS), nn.Linear(value_depth * HEADS, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        n, length, _ = x.shape
        q, k, v = (layer(x).view(n, length, self.heads, -1).transpose(1, 2) for layer in (self.q, self.k, self.v))
        return self.out(self.mix(q, k, v).transpose(1, 2).reshape(n, length, -1))  # type: ignore[no-any-return]


class Fused(nn.Module):
    """One layer for queries, keys and values; `split` takes its output apart."""

    def __init__(self, split: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]) -> None:
        super().__init__()
        self.qkv, self.out, self.split = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH), split

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(self.qkv(x))
        mixed = torch.softmax((q @ k.transpose(-2, -1)) * 0.5, dim=-1) @ v
        return self.out(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def _heads(x: Tensor) -> Tensor:
    return x.unflatten(2, (HEADS, -1)).permute(0, 2, 1, 3)


def _chunks(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = x.chunk(3, dim=-1)
    return _heads(q), _heads(k), _heads(v)


def _permuted(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    qkv = x.reshape(len(x), TOKENS, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
    return qkv[0], qkv[1], qkv[2]


def _unbound(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = x.reshape(len(x), TOKENS, 3, HEADS, -1).permute(2, 0, 3, 1, 4).unbind(0)
    return q, k, v


def _interleaved(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of one head lie together."""
    q, k, v = x.reshape(len(x), TOKENS, HEADS, 3, -1).permute(3, 0, 2, 1, 4)
    return q, k, v


def after(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return ((q @ k.transpose(-2, -1)) / q.shape[-1] ** 0.5).softmax(dim=-1) @ v


def before(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return functional.softmax(torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(2, 3)), dim=-1).matmul(v)


def builtin(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return functional.scaled_dot_product_attention(q, k, v)


def einsum(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = torch.softmax(torch.einsum("bhid,bhjd->bhij", q, k) * 0.5, -1)
    return torch.einsum("bhij,bhjd->bhid", weights, v)


def einsum_keys_first(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = torch.einsum("bhjd,bhid->bhji", k, q).mul(0.5).softmax(dim=2)
    return torch.einsum("bhjd,bhji->bhid", v, weights)


def batched(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    flat = [t.reshape(-1, TOKENS, t.shape[-1]) for t in (q, k, v)]
    weights = torch.bmm(flat[0], flat[1].transpose(1, 2)).mul(0.5).softmax(-1)
    return torch.bmm(functional.dropout(weights, 0.1, False), flat[2]).view(*q.shape[:3], -1)


def values_first(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = (0.5 * (q @ k.mT)).softmax(-1)
    return (v.transpose(2, 3) @ weights.transpose(2, 3)).transpose(2, 3)


class OneHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.softmax(self.q(x) @ self.k(x).transpose(1, 2) / 4, -1)
        return weights @ self.v(x)  # type: ignore[no-any-return]


class Picture(nn.Module):
    """Patches of a (3, 12, 12) picture, a class token, positions, torch's own layer; the class token decides."""

    def __init__(self, mean: bool = False) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.positions = nn.Parameter(torch.randn(1, 9 + (not mean), WIDTH) * 0.5)
        self.encoder = nn.TransformerEncoder(torch_layer(True), 2, enable_nested_tensor=False)
        self.norm, self.head, self.mean = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 5), mean

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        if not self.mean:
            x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1)
        x = self.encoder(x + self.positions)
        return self.head(self.norm(x.mean(1) if self.mean else x[:, 0]))  # type: ignore[no-any-return]


class Cross(nn.Module):
    """Keys and values from half as many tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.cross = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.fewer = nn.Conv1d(WIDTH, WIDTH, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        memory = self.fewer(x.transpose(1, 2)).transpose(1, 2)
        return self.cross(x, memory, memory)[0]  # type: ignore[no-any-return]


class ChannelsLast(nn.Module):
    """A picture's layer norm and linear layers over channels that lie last, as in ConvNeXt."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.depthwise = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.norm, self.up, self.down = nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(16, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.down(torch.relu(self.up(self.norm(self.depthwise(x).permute(0, 2, 3, 1)))))
        return self.head((x + y.permute(0, 3, 1, 2)).mean((2, 3)))  # type: ignore[no-any-return]


SHAPE, PICTURE = (6, 3 * TOKENS), (3, 12, 12)

WRITTEN: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "encoder layer, norm last": (lambda: Encoder(torch_layer(), torch_layer()), SHAPE, 2),
    "encoder layer, norm first": (lambda: Encoder(torch_layer(True), torch_layer(True)), SHAPE, 2),
    "encoder layer, gelu": (lambda: Encoder(torch_layer(True, activation="gelu")), SHAPE, 1),
    "gelu by hand": (lambda: Encoder(Residual(GeluByHand())), SHAPE, 0),
    "encoder layer, tokens first": (lambda: Encoder(torch_layer(batch_first=False), tokens_first=True), SHAPE, 1),
    "multi-head": (lambda: Encoder(Residual(Multihead())), SHAPE, 1),
    "multi-head, no weights": (lambda: Encoder(Residual(Multihead(need_weights=False))), SHAPE, 1),
    "cross attention": (lambda: Encoder(Residual(Cross())), SHAPE, 1),
    "by hand, scale after": (lambda: Encoder(Residual(ByHand(after))), SHAPE, 1),
    "by hand, scale before": (lambda: Encoder(Residual(ByHand(before))), SHAPE, 1),
    "by hand, wide values": (lambda: Encoder(Residual(ByHand(after, 2, 6))), SHAPE, 1),
    "scaled_dot_product_attention": (lambda: Encoder(Residual(ByHand(builtin))), SHAPE, 1),
    "einsum": (lambda: Encoder(Residual(ByHand(einsum))), SHAPE, 1),
    "einsum, keys first": (lambda: Encoder(Residual(ByHand(einsum_keys_first))), SHAPE, 1),
    "bmm": (lambda: Encoder(Residual(ByHand(batched))), SHAPE, 1),
    "values first": (lambda: Encoder(Residual(ByHand(values_first))), SHAPE, 1),
    "fused, chunk": (lambda: Encoder(Residual(Fused(_chunks))), SHAPE, 1),
    "fused, permute": (lambda: Encoder(Residual(Fused(_permuted))), SHAPE, 1),
    "fused, unbind": (lambda: Encoder(Residual(Fused(_unbound))), SHAPE, 1),
    "fused, interleaved": (lambda: Encoder(Residual(Fused(_interleaved))), SHAPE, 1),
    "one head": (lambda: Encoder(Residual(OneHead())), SHAPE, 1),
    "picture, class token": (Picture, PICTURE, 2),
    "picture, mean": (lambda: Picture(mean=True), PICTURE, 2),
    "picture, channels last": (ChannelsLast, PICTURE, 0),
}
"""Name: (builder, input shape, attentions in it)."""
