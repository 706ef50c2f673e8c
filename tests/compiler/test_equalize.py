"""Channels brought nearer to one range: the same function, finer steps for channels that never get far."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from secateur.compiler.export.calibrate import calibrate, float_outputs, run_float
from secateur.compiler.export.equalize import HEADROOM, LARGEST, SPOKEN, _groups, equalized
from secateur.compiler.export.quantize import quantize, quantize_samples
from secateur.models.canonical import to_network
from secateur.models.network import Network
from secateur.models.program import Program
from secateur.models.reference import run_reference
from secateur.passes.program.lower import lower

F32 = npt.NDArray[np.float32]


class Block(nn.Module):
    """Convolutions of every kind around a sum."""

    def __init__(self, act: type[nn.Module]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 8, 3, stride=2, padding=1)
        self.act = act()
        self.wide = nn.Conv2d(8, 16, 1)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.narrow = nn.Conv2d(16, 8, 1)
        self.pool = nn.MaxPool2d(2)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.flat = nn.Flatten()
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        stream = self.act(self.stem(x))
        stream = stream + self.narrow(self.act(self.depthwise(self.act(self.wide(stream)))))
        return self.head(self.flat(self.mean(self.act(self.grouped(self.pool(stream))))))


def uneven(act: type[nn.Module]) -> Network:
    """Seeded; what the depthwise layer and the next read differs from channel to channel by up to 300.

    What writes a channel is divided by a factor and what reads it multiplied, so that the quiet ones count as much.
    """
    torch.manual_seed(0)
    made = Block(act)
    with torch.no_grad():
        for writer, reader in ((made.wide, made.depthwise), (made.depthwise, made.narrow)):
            factors = torch.exp(torch.empty(16).uniform_(0, 5.7))
            writer.weight /= factors.reshape(-1, 1, 1, 1)
            writer.bias /= factors
            reader.weight *= factors.reshape((-1, 1, 1, 1) if reader is made.depthwise else (1, -1, 1, 1))
    return to_network(made.eval(), (2, 16, 16), "uneven")


def pictures(seed: int) -> F32:
    return np.random.default_rng(seed).normal(size=(64, 16, 16, 2)).astype(np.float32)


def read(program: Program, kind: str, x: F32) -> torch.Tensor:
    """The 16 channels that the operator of this kind reads, (values, 16)."""
    inputs = [op.inputs[0] for op in program.ops if op.kind == kind and program.tensors[op.inputs[0]].shape[-1] == 16]
    return run_float(program, x)[inputs[0]].flatten(0, -2)


def ranges(program: Program, kind: str, x: F32) -> F32:
    """The largest magnitude of each of them."""
    found: F32 = read(program, kind, x).abs().amax(0).numpy()
    return found


def spoken(program: Program, kind: str, x: F32) -> F32:
    """How many values of each of them are not 0."""
    found: F32 = read(program, kind, x).count_nonzero(0).numpy()
    return found


def reach_of(largest: F32) -> F32:
    """How often each channel's largest value goes into the tensor's."""
    found: F32 = largest.max() / np.where(largest > 0, largest, largest.max())
    return found


def decibels(exact: F32, program: Program, x: F32) -> float:
    out = program.tensors[program.outputs[0]]
    real = (run_reference(program, quantize_samples(program, x)).astype(np.float64) - out.zero_point) * out.scale
    return float(
        10 * np.log10((exact.astype(np.float64) ** 2).sum() / ((real.reshape(exact.shape) - exact) ** 2).sum())
    )


def test_it_computes_the_same_and_is_rounded_better() -> None:
    """On samples that it has not seen, by over 6 dB."""
    floats, seen, unseen = lower(uneven(nn.ReLU)), pictures(0), pictures(1)
    even = equalized(floats, seen)
    exact = float_outputs(floats, unseen)
    assert np.abs(float_outputs(even, unseen) - exact).max() < 1e-5 * np.abs(exact).max()
    before, after = (decibels(exact, quantize(p, calibrate(p, seen)), unseen) for p in (floats, even))
    assert after > before + 6


def test_depthwise_layers_read_channels_of_one_range_and_others_of_nearer_ones() -> None:
    """The furthest channel stays, whose range is the tensor's; a depthwise layer's spread goes, others' by its root.

    Channels of which the samples show too little stay too.
    """
    floats, x = lower(uneven(nn.ReLU)), pictures(0)
    even = equalized(floats, x)
    for kind in ("DEPTHWISE_CONV_2D", "CONV_2D"):
        old, new = ranges(floats, kind, x), ranges(even, kind, x)
        assert new.max() == pytest.approx(old.max(), rel=1e-5)
        assert reach_of(old).max() > 100
        wanted = reach_of(old) if kind == "DEPTHWISE_CONV_2D" else np.sqrt(reach_of(old))
        wanted = np.minimum(np.minimum(wanted, LARGEST), np.maximum(reach_of(old) / HEADROOM, 1))
        speaks = (spoken(floats, kind, x) >= SPOKEN) & (old > 0)
        assert 8 < speaks.sum() < 16
        assert np.allclose(new[speaks] / old[speaks], wanted[speaks], rtol=1e-4)
        assert np.allclose(new[~speaks], old[~speaks], rtol=1e-4)


class Sum(nn.Module):
    """A residual stream: its factor is one for all that write it and all that read it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.wide, self.narrow = nn.Conv2d(2, 8, 3, 2), nn.Conv2d(8, 12, 3, padding=1), nn.Conv2d(12, 8, 1)
        self.last, self.act, self.tail = nn.Conv2d(8, 6, 3), nn.ReLU(), tail(6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        stream = self.stem(x)
        stream = self.act(stream + self.narrow(self.act(self.wide(stream))))
        return self.tail(self.act(self.last(stream)))


class Gated(nn.Module):
    """Squeeze-and-excite, whose hidden units alone may change, and a concatenation behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.act, self.mean = nn.Conv2d(2, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
        self.gate = nn.Sequential(nn.Conv2d(8, 4, 1), nn.ReLU(), nn.Conv2d(4, 8, 1), nn.Sigmoid())
        self.more, self.tail = nn.Conv2d(8, 4, 1), tail(12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.stem(x))
        x = x * self.gate(self.mean(x))
        return self.tail(torch.cat([x, self.more(x)], 1))


class Product(nn.Module):
    """Of two layers: a factor on both would be its square."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other, self.tail = nn.Conv2d(2, 8, 3), nn.Conv2d(2, 8, 3), tail(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.tail(self.one(x) * self.other(x))


class SumLast(nn.Module):
    """The network's output is the sum of what two layers write."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.act, self.tail, self.more = nn.Conv2d(2, 8, 3), nn.ReLU(), tail(8), nn.Linear(5, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.tail(self.act(self.stem(x)))
        return x + self.more(self.act(x))


def tail(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 5))


def pools() -> nn.Sequential:
    """A factor goes through the pools and the padding in front of a strided layer, not through the flattening of 9."""
    layers = [nn.Conv2d(2, 8, 3), nn.ReLU(), nn.AvgPool2d(2), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, stride=2, padding=1)]
    return nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(8, 4, 1), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4, 5))


CASES = {
    "sum": (Sum, 3),
    "gated": (Gated, 1),
    "sum-last": (SumLast, 1),
    "pools": (pools, 3),
    "relu6": (lambda: nn.Sequential(nn.Conv2d(2, 8, 3), nn.ReLU6(), nn.Conv2d(8, 6, 1), nn.ReLU6(), tail(6)), 0),
    "product": (Product, 0),
    "sigmoid": (lambda: nn.Sequential(nn.Conv2d(2, 8, 3), nn.Sigmoid(), nn.Conv2d(8, 6, 1), tail(6)), 1),
    "silu": (lambda: nn.Sequential(nn.Conv2d(2, 8, 3), nn.SiLU(), nn.Conv2d(8, 6, 1), tail(6)), 1),
    "grouped": (lambda: nn.Sequential(nn.Conv2d(2, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 1, groups=2), tail(6)), 1),
    "many": (lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 8, 3, groups=4), tail(8)), 1),
    "flattened": (lambda: nn.Sequential(nn.Conv2d(2, 4, 5, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 5)), 0),
}


@pytest.mark.parametrize("name", CASES)
def test_whatever_lies_between_it_computes_the_same(name: str) -> None:
    """On samples that it has not seen; as many groups of values have factors as may."""
    torch.manual_seed(0)
    make, free = CASES[name]
    made = make()
    with torch.no_grad():
        for layer in made.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                layer.weight *= torch.exp(torch.empty(len(layer.weight)).uniform_(-3, 1)).reshape(
                    -1, *[1] * (layer.weight.ndim - 1)
                )
                layer.bias += 0.1
    floats, seen, unseen = lower(to_network(made.eval(), (2, 16, 16), "net")), pictures(0), pictures(1)
    even, exact = equalized(floats, seen), float_outputs(floats, unseen)
    assert np.abs(float_outputs(even, unseen) - exact).max() < 1e-5 * np.abs(exact).max()
    assert sum(not g.fixed and bool(g.writers) and bool(g.readers) for g in _groups(floats)) == free
    changed = [
        t.name for t, u in zip(floats.tensors, even.tensors, strict=True)
        if t.data is not None and not np.array_equal(t.data, u.data)
    ]  # fmt: skip
    assert bool(changed) == bool(free) or name in ("gated", "sum-last")  # too few values of one position to go by


def test_weights_that_two_layers_share_stay() -> None:
    """A factor for one of them would be one for the other."""
    torch.manual_seed(0)
    layers = [nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2)]
    floats = lower(to_network(nn.Sequential(*layers).eval(), (6,), "net"))
    first, second, last = floats.ops
    shared = replace(floats, ops=(first, replace(second, inputs=(second.inputs[0], *first.inputs[1:])), last))
    x = np.random.default_rng(0).normal(size=(4096, 6)).astype(np.float32)
    assert not np.array_equal(equalized(floats, x).tensors[first.inputs[1]].data, floats.tensors[first.inputs[1]].data)
    assert np.array_equal(float_outputs(equalized(shared, x), x), float_outputs(shared, x))
