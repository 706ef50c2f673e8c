"""A small transformer for motion sensors: patches of a window are its tokens."""

from __future__ import annotations

from torch import Tensor, nn

from secateur.models.tokens import Attention, Bias, ChannelNorm
from secateur.models.zoo import watch


class EncoderBlock(nn.Module):
    """x + attention(norm(x)), then x + down(relu(up(norm(x)))), of tokens (n, width, l)."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(width)
        self.q, self.k, self.v = (nn.Conv1d(width, width, 1) for _ in range(3))
        self.attention = Attention(heads, (width // heads) ** -0.5)
        self.out = nn.Conv1d(width, width, 1)
        self.norm2 = ChannelNorm(width)
        self.up = nn.Conv1d(width, hidden, 1)
        self.relu = nn.ReLU()
        self.down = nn.Conv1d(hidden, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        x = x + self.out(self.attention(self.q(y), self.k(y), self.v(y)))
        return x + self.down(self.relu(self.up(self.norm2(x))))  # type: ignore[no-any-return]


class Transformer1d(nn.Module):
    """Patches with learned positions, `blocks` encoder blocks, norm, mean over the tokens, linear."""

    def __init__(
        self, shape: tuple[int, int], classes: int, patch: int, width: int, heads: int, hidden: int, blocks: int
    ) -> None:
        super().__init__()
        self.patches = nn.Conv1d(shape[0], width, patch, patch)
        self.positions = Bias((width, shape[1] // patch))
        self.blocks = nn.Sequential(*(EncoderBlock(width, heads, hidden) for _ in range(blocks)))
        self.norm = ChannelNorm(width)
        self.pool = nn.AdaptiveAvgPool1d(1)
        self.flatten = nn.Flatten(1)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.blocks(self.positions(self.patches(x))))
        return self.head(self.flatten(self.pool(x)))  # type: ignore[no-any-return]


def watch_transformer() -> nn.Module:
    """16 patches of 8 samples, 32 channels, 4 heads, 64 hidden units, 3 blocks."""
    return Transformer1d(watch.INPUT_SHAPE, len(watch.LABELS), patch=8, width=32, heads=4, hidden=64, blocks=3)
