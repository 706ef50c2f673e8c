"""Channels brought nearer to one range: the same function, finer steps for channels that never get far."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from secateur.compiler.export.calibrate import calibrate, float_outputs, run_float
from secateur.compiler.export.equalize import HEADROOM, LARGEST, equalized
from secateur.compiler.export.quantize import quantize, quantize_samples
from secateur.models.canonical import to_network
from secateur.models.network import Network
from secateur.models.program import Program
from secateur.models.reference import run_reference
from secateur.passes.program.lower import lower

F32 = npt.NDArray[np.float32]


class Residual(nn.Module):
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


def uneven(act: type[nn.Module], loud: float = 1.0) -> Network:
    """Seeded; what the depthwise layer and the next read differs from channel to channel by up to 300.

    What writes a channel is divided by a factor and what reads it multiplied, so that the quiet ones count as much.
    """
    torch.manual_seed(0)
    made = Residual(act)
    with torch.no_grad():
        for writer, reader in ((made.wide, made.depthwise), (made.depthwise, made.narrow)):
            factors = torch.exp(torch.empty(16).uniform_(0, 5.7))
            writer.weight /= factors.reshape(-1, 1, 1, 1)
            writer.bias /= factors
            writer.weight *= loud
            reader.weight *= factors.reshape((-1, 1, 1, 1) if reader is made.depthwise else (1, -1, 1, 1))
    return to_network(made.eval(), (2, 16, 16), "uneven")


def pictures(seed: int) -> F32:
    return np.random.default_rng(seed).normal(size=(32, 16, 16, 2)).astype(np.float32)


def ranges(program: Program, kind: str, x: F32) -> npt.NDArray[np.float32]:
    """The largest magnitude of each of the 16 channels that the operator of this kind reads."""
    read = [op.inputs[0] for op in program.ops if op.kind == kind and program.tensors[op.inputs[0]].shape[-1] == 16]
    found: npt.NDArray[np.float32] = run_float(program, x)[read[0]].abs().flatten(0, -2).amax(0).numpy()
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
    """The furthest channel stays, whose range is the tensor's; a depthwise layer's spread goes, others' by its root."""
    floats, x = lower(uneven(nn.ReLU)), pictures(0)
    even = equalized(floats, x)
    for kind in ("DEPTHWISE_CONV_2D", "CONV_2D"):
        old, new = ranges(floats, kind, x), ranges(even, kind, x)
        assert new.max() == pytest.approx(old.max(), rel=1e-5)
        reach = old.max() / old[old > 0]
        wanted = reach if kind == "DEPTHWISE_CONV_2D" else np.sqrt(reach)
        assert reach.max() > 100
        assert np.allclose(new[old > 0] / old[old > 0], np.minimum(wanted, LARGEST), rtol=1e-4)


def test_what_no_factor_passes_stays() -> None:
    """The input, the output, a grouped convolution's input and what a sigmoid reads keep their channels."""
    floats, x = lower(uneven(nn.ReLU)), pictures(0)
    even = equalized(floats, x)
    old, new = run_float(floats, x), run_float(even, x)
    grouped = next(op for op in floats.ops if op.kind == "CONV_2D" and floats.tensors[op.inputs[1]].shape[-1] == 4)
    for i in (*floats.inputs, *floats.outputs, grouped.inputs[0]):
        assert torch.allclose(old[i], new[i], rtol=1e-4, atol=1e-4 * float(old[i].abs().max()))
    gated = lower(uneven(nn.SiLU))
    changed = {
        t.name for t, u in zip(gated.tensors, equalized(gated, x).tensors, strict=True)
        if t.data is not None and not np.array_equal(t.data, u.data)
    }  # fmt: skip
    assert not changed


def test_a_relu6_leaves_room_above_what_was_seen() -> None:
    """The same on the samples; no channel is lifted so far that 6 cuts it below 1.5 times its largest value."""
    floats, x = lower(uneven(nn.ReLU6, loud=20.0)), pictures(0)
    even = equalized(floats, x)
    exact = float_outputs(floats, x)
    assert np.abs(float_outputs(even, x) - exact).max() < 1e-5 * np.abs(exact).max()
    old, new = ranges(floats, "DEPTHWISE_CONV_2D", x), ranges(even, "DEPTHWISE_CONV_2D", x)
    lifted = new > 1.01 * old
    assert lifted.any() and new[lifted].max() == pytest.approx(6 / HEADROOM, rel=1e-4)
    assert (old > 6 / HEADROOM).any() and np.allclose(new[old > 6 / HEADROOM], old[old > 6 / HEADROOM])


def test_weights_that_two_layers_share_stay() -> None:
    """A factor for one of them would be one for the other."""
    torch.manual_seed(0)
    layers = [nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2)]
    floats = lower(to_network(nn.Sequential(*layers).eval(), (6,), "net"))
    first, second, last = floats.ops
    shared = replace(floats, ops=(first, replace(second, inputs=(second.inputs[0], *first.inputs[1:])), last))
    x = np.random.default_rng(0).normal(size=(16, 6)).astype(np.float32)
    assert not np.array_equal(equalized(floats, x).tensors[first.inputs[1]].data, floats.tensors[first.inputs[1]].data)
    assert np.array_equal(float_outputs(equalized(shared, x), x), float_outputs(shared, x))
