"""Lowering: the float Program is the Network, predicted sizes are the generated ones, refusals name the node."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from c_host import generated, planned, run_library
from exported import sample
from torch import nn

from secateur.compiler.export.calibrate import calibrate, float_outputs
from secateur.compiler.export.quantize import quantize, quantize_samples
from secateur.compiler.export.tflite import tflite_bytes
from secateur.compiler.frontends.tflite_file import parse_tflite
from secateur.errors import UserError
from secateur.firmware.kernels.descriptor import Constant
from secateur.models.canonical import to_network
from secateur.models.network import Network
from secateur.models.reference import run_reference
from secateur.models.zoo.small import SMALL
from secateur.passes.program.cost import constant_bytes, plan
from secateur.passes.program.fuse_padding import FusePadding
from secateur.passes.program.lower import lower, to_channels_last
from secateur.runtime_bench.golden import run_tflm
from secateur.targets.target import find

# (PAD operators that TFLite's padding needs, left after fusing): a stride of 2 on an even size is not
# SAME; option A's shortcuts pad channels, which no convolution can take over.
PADS = {"residual-1d": (1, 0), "residual-2d": (2, 0), "option-a": (4, 2), "ds-cnn": (1, 0)}
# Constants of a channel that seeded random weights leave dead: one of 15, and its part of the head's weights.
DEAD_BYTES = {"depthwise": 22, "ds-cnn": 2289}
# Counted by hand from the layers' sizes.
MACS = {
    "residual-2d": 12_501_632,
    "mlp": 20 * 33 + 33 * 17 + 17 * 3,
    "one-pixel": 5 * 13 + 9 * 13 * 13 + 13 * 2,
    "dilated": 37 * 11 * 5 * 4 + 19 * 11 * 3 * 11 + 19 * 11 * 11 + 11 * 3,
    "concat": 13 * 11 * (10 * 27 + 6 * 75) + 6 * 5 * 16 * 9 + 9 * 5,
}


@pytest.mark.parametrize("name", list(SMALL))
def test_float_program_equals_the_network(name: str) -> None:
    """Every output within 1e-5 of the module's, relative to the largest."""
    s = sample(name)
    expected = s.expected().reshape(len(s.real), -1)
    got = float_outputs(s.floats, to_channels_last(s.real)).reshape(len(s.real), -1)
    assert np.abs(got - expected).max() <= 1e-5 * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize("name", list(SMALL))
def test_fused_padding_changes_no_output(name: str) -> None:
    """PAD in front of a convolution or max pool goes, every int8 output stays; the counts are exact."""
    s = sample(name)
    fused = FusePadding()(s.program)
    counts = tuple(sum(op.kind in ("PAD", "PADV2") for op in p.ops) for p in (s.program, fused))
    assert counts == PADS.get(name, (0, 0))
    assert np.array_equal(run_reference(fused, s.inputs[:3]), s.golden[:3])


@pytest.mark.parametrize("name", list(SMALL))
def test_predicted_constants_are_the_generated_ones(name: str) -> None:
    """The bytes told from shapes alone are those of the tables that C gets, and the arena is the same.

    Where values prove channels dead, shapes alone give an upper bound.
    """
    s = sample(name)
    made, shapes_only = planned(s.program), plan(s.floats, find("host"))
    tables = [
        argument.size_bytes
        for op, kernel in zip(made.program.ops, made.selection, strict=True)
        for call in kernel.calls(made.program, op)
        for argument in call.arguments
        if isinstance(argument, Constant)
    ]
    assert constant_bytes(made) == sum(tables)
    assert constant_bytes(shapes_only) - constant_bytes(made) == DEAD_BYTES.get(name, 0)
    assert made.memory.arena_bytes == generated(made).arena_bytes
    assert (shapes_only.memory.arena_bytes == made.memory.arena_bytes) or name in DEAD_BYTES
    assert shapes_only.memory.arena_bytes >= made.memory.arena_bytes


@pytest.mark.parametrize("name", list(MACS))
def test_macs_are_those_counted_by_hand(name: str) -> None:
    """ResNet-8 is MLPerf Tiny's 12,501,632; the others follow from their layers."""
    assert sample(name).floats.macs == MACS[name]


class _Product(nn.Module):
    """A squeeze-and-excitation gate: (n, c, 1, 1) by (n, c, h, w), and added too."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.gate = nn.Conv2d(6, 6, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(x))
        gate = torch.relu(self.gate(self.pool(x)))
        return (gate * x + gate).mean((2, 3))


def _network(module: nn.Module, shape: tuple[int, ...]) -> Network:
    torch.manual_seed(3)
    for p in module.parameters():
        nn.init.normal_(p, std=0.4)
    return to_network(module.eval(), shape, name="made")


def test_broadcast_add_and_mul_are_exact_through_c(tmp_path: Path) -> None:
    """One value a channel times and plus a map: C, reference and TFLM agree on every byte."""
    floats = lower(_network(_Product(), (3, 7, 5)))
    x = to_channels_last(np.random.default_rng(0).normal(size=(16, 3, 7, 5)).astype(np.float32))
    content = tflite_bytes(quantize(floats, calibrate(floats, x)))
    program = parse_tflite(content, "made", "made")
    assert {"ADD", "MUL"} <= {op.kind for op in program.ops}
    inputs = quantize_samples(program, x)
    golden = run_tflm(content, program, inputs)
    assert np.array_equal(run_library(generated(planned(program)), inputs.reshape(16, -1), tmp_path), golden)
    assert np.array_equal(run_reference(program, inputs), golden)


class _PartialWindows(nn.Module):
    """TensorFlow's SAME pools on sizes whose odd pixel is behind: maximum of negative values, average of the inside."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.maximum = nn.MaxPool2d(3, 2, 0, ceil_mode=True)
        self.average = nn.AvgPool2d((2, 3), 2, (0, 1), ceil_mode=True, count_include_pad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.average(self.maximum(self.first(x))).mean((2, 3))  # type: ignore[no-any-return]


def test_pools_with_partial_windows_are_same_padding_and_exact(tmp_path: Path) -> None:
    """ceil_mode becomes SAME, no PAD is left, the float Program is the Network, C and TFLM agree on every byte."""
    network = _network(_PartialWindows(), (3, 14, 14))
    floats = lower(network)
    pools = [op for op in floats.ops if op.kind.endswith("POOL_2D")]
    assert [(p.options.padding.top, p.options.padding.bottom) for p in pools] == [(0, 1), (0, 1)]
    assert [(p.options.padding.left, p.options.padding.right) for p in pools] == [(0, 1), (1, 1)]
    assert not any(op.kind.startswith("PAD") for op in floats.ops)
    real = np.random.default_rng(0).normal(size=(16, 3, 14, 14)).astype(np.float32)
    x = to_channels_last(real)
    with torch.no_grad():
        expected = network.module(torch.from_numpy(real)).numpy()
    assert np.abs(float_outputs(floats, x).reshape(16, -1) - expected).max() <= 1e-5
    content = tflite_bytes(quantize(floats, calibrate(floats, x)))
    program = parse_tflite(content, "made", "made")
    inputs = quantize_samples(program, x)
    golden = run_tflm(content, program, inputs)
    assert np.array_equal(run_library(generated(planned(program)), inputs.reshape(16, -1), tmp_path), golden)
    assert np.array_equal(run_reference(program, inputs), golden)


class _Of(nn.Module):
    def __init__(self, odd: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.odd = odd

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.odd(self.stem(x))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "odd,message",
    [
        (nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), "odd .*reflect"),
        (nn.MaxPool2d(2, dilation=2), "odd.*dilat"),
        (nn.BatchNorm2d(4, track_running_stats=False), "odd.*statistics"),
        (nn.Flatten(), "made: output: .*flattened feature map"),
    ],
    ids=["reflect", "dilated pool", "no statistics", "flatten at the end"],
)
def test_what_int8_tflite_cannot_say_is_refused(odd: nn.Module, message: str) -> None:
    """One line with the node's name."""
    with pytest.raises(UserError, match=message) as caught:
        lower(_network(_Of(odd), (2, 7, 7)))
    assert "\n" not in str(caught.value)
