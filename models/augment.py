"""Augmentation: random changes of raw samples that keep their class. Every draw comes from one generator.

Time series are (n, c, length), images (n, c, h, w), both raw. `geometry` runs before preprocessing (a
rotation mixes channels in their physical units), `noise` after it (in units of each channel's deviation).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Augmentation:
    """What may change, and by how much; the default changes nothing."""

    warp: float = 0.0
    """Time series: speed drawn from [1 - warp, 1 + warp]."""
    shift: int = 0
    """Time series: start moved by up to so many samples, either way."""
    rates: tuple[int, ...] = ()
    """Time series: channels that grow with the speed of `warp`, e.g. angular rates."""
    mirror: tuple[int, ...] = ()
    """Channels that change sign, with probability one half, e.g. a sensor worn on the other arm."""
    rotation_degrees: float = 0.0
    """Time series: one rotation for all `triads` of a sample (how the sensor sits), about a random axis."""
    triads: tuple[tuple[int, int, int], ...] = ()
    """Channels that form a vector in space, e.g. acceleration (0, 1, 2) and angular rate (3, 4, 5)."""
    scale: float = 0.0
    """Factor per sample and channel, normal around 1 with this deviation."""
    jitter: float = 0.0
    """White noise, deviation in units of the preprocessed sample."""
    crop: int = 0
    """Images: so many zero pixels around, then a random crop of the old size."""
    flip: bool = False
    """Images: left and right exchanged with probability one half."""

    def geometry(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Raw (n, c, ...) to raw of the same shape."""
        if self.rotation_degrees and self.triads:
            x = _rotate(x, self.rotation_degrees, self.triads, generator)
        if (self.warp or self.shift) and x.ndim == 3:
            x = _resample(x, self.warp, self.shift, self.rates, generator)
        if self.mirror:
            sign = torch.ones(x.shape[1])
            sign[list(self.mirror)] = -1
            mirrored = torch.rand(len(x), generator=generator) < 0.5
            x = torch.where(mirrored.view(-1, *[1] * (x.ndim - 1)), x * sign.view(-1, *[1] * (x.ndim - 2)), x)
        if self.crop and x.ndim == 4:
            x = _crop(x, self.crop, generator)
        if self.flip and x.ndim == 4:
            mirrored = torch.rand(len(x), generator=generator) < 0.5
            x = torch.where(mirrored.view(-1, 1, 1, 1), x.flip(-1), x)
        return x

    def noise(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Preprocessed (n, c, ...) to the same."""
        if self.scale:
            factor = 1 + self.scale * torch.randn(x.shape[:2], generator=generator)
            x = x * factor.view(*factor.shape, *([1] * (x.ndim - 2)))
        if self.jitter:
            x = x + self.jitter * torch.randn(x.shape, generator=generator)
        return x


NONE = Augmentation()


def _rotate(x: Tensor, degrees: float, triads: tuple[tuple[int, int, int], ...], generator: torch.Generator) -> Tensor:
    """Rodrigues' formula: angle uniform in +-degrees, axis uniform on the sphere, one of each a sample."""
    axis = nn.functional.normalize(torch.randn(len(x), 3, generator=generator), dim=1)
    angle = (2 * torch.rand(len(x), generator=generator) - 1) * math.radians(degrees)
    zero = torch.zeros(len(x))
    a, b, c = axis.unbind(1)
    cross = torch.stack([zero, -c, b, c, zero, -a, -b, a, zero], dim=1).view(-1, 3, 3)
    s, v = torch.sin(angle).view(-1, 1, 1), 1 - torch.cos(angle).view(-1, 1, 1)
    matrix = torch.eye(3) + s * cross + v * (cross @ cross)
    out = x.clone()
    for triad in triads:
        out[:, list(triad)] = matrix @ x[:, list(triad)]
    return out


def _resample(x: Tensor, warp: float, shift: int, rates: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Linear interpolation at middle + start + speed * t, moved as little as needed to stay in the window.

    A window is never reflected at its ends: time reversed, one exercise can be another (internal and external
    rotation). So a speed above 1 repeats the nearest value, and a speed below 1 leaves room for the shift.
    """
    n, c, length = x.shape
    speed = 1 + warp * (2 * torch.rand(n, 1, generator=generator) - 1)
    start = shift * (2 * torch.rand(n, 1, generator=generator) - 1)
    middle = (length - 1) / 2
    room = (middle * (1 - speed)).clamp_min(0)
    at = middle + torch.maximum(torch.minimum(start, room), -room) + speed * (torch.arange(length) - middle)
    at = at.clamp(0, length - 1)
    low = at.floor().clamp(max=length - 2).long()
    part = (at - low).unsqueeze(1)
    low = low.unsqueeze(1).expand(n, c, length)
    out = x.gather(2, low) * (1 - part) + x.gather(2, low + 1) * part
    if rates:
        out[:, list(rates)] *= speed.unsqueeze(1)
    return out


def _crop(x: Tensor, margin: int, generator: torch.Generator) -> Tensor:
    n, c, h, w = x.shape
    padded = nn.functional.pad(x, (margin,) * 4)
    top = torch.randint(0, 2 * margin + 1, (n, 1), generator=generator) + torch.arange(h)
    left = torch.randint(0, 2 * margin + 1, (n, 1), generator=generator) + torch.arange(w)
    rows = padded.gather(2, top.view(n, 1, h, 1).expand(n, c, h, padded.shape[3]))
    return rows.gather(3, left.view(n, 1, 1, w).expand(n, c, h, w))
