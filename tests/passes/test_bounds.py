"""Bounds of values hold for any input, and are tight where removals need them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import fx, nn

from secateur.models.network import Pad
from secateur.passes.network.bounds import clamps, value_bounds


class Recorder(fx.Interpreter):
    def run_node(self, n):
        value = super().run_node(n)
        self.seen[n.name] = (float(value.min()), float(value.max()))
        return value


def test_values_stay_within_their_bounds(network):
    """Every node of every network, on large inputs of both signs."""
    recorder = Recorder(network.module)
    recorder.seen = {}
    with torch.no_grad():
        recorder.run(torch.randn(16, *network.input_shape, generator=torch.Generator().manual_seed(0)) * 10)
    for name, (low, high) in value_bounds(network).items():
        assert low <= recorder.seen[name][0] and recorder.seen[name][1] <= high, name


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([nn.ReLU()], (0, math.inf)),
        ([nn.ReLU6()], (0, 6)),
        ([nn.ReLU(), nn.ReLU6(), nn.MaxPool1d(2)], (0, 6)),
        ([nn.ReLU(), Pad(((0, 1), (0, 0)), -2.0)], (-2, math.inf)),
        ([nn.ReLU6(), Pad(((0, 1), (0, 0)), 7.0), nn.ReLU()], (0, 7)),
        ([Pad(((0, 0), (0, 3)), 5.0), nn.ReLU6(), nn.AvgPool1d(3, padding=1)], (0, 6)),
        ([nn.ReLU(), nn.Conv1d(3, 3, 1)], (-math.inf, math.inf)),
        ([nn.ReLU(), nn.BatchNorm1d(3)], (-math.inf, math.inf)),
        ([nn.Softmax(1)], (0, 1)),
    ],
)
def test_bounds_of_operations(network_of, parts, expected):
    """What each kind of operation makes of the bounds before it."""
    network = network_of(nn.Sequential(*parts), (3, 12))
    assert list(value_bounds(network).values())[-1] == expected


class Sums(nn.Module):
    def __init__(self):
        super().__init__()
        self.relu, self.relu6, self.conv = nn.ReLU(), nn.ReLU6(), nn.Conv1d(3, 3, 1)

    def forward(self, x):
        a, b, c = self.relu(x), self.relu6(x), self.conv(x)
        return torch.cat([a + b, b + b, a * b, b + c, b * c], 1)


def test_bounds_of_sums_and_products(network_of):
    """Sums add their bounds; products of what is not negative are not; anything may come of the rest."""
    found = value_bounds(network_of(Sums(), (3, 4)))
    any_value = (-math.inf, math.inf)
    assert [found[n] for n in ("add", "add_1", "mul", "add_2", "mul_1", "cat")] == [
        (0, math.inf),
        (0, 12),
        (0, math.inf),
        any_value,
        any_value,
        any_value,
    ]


def test_an_activation_clamps_unless_its_input_lies_within(network_of):
    """ReLU from 0, ReLU6 from 0 to 6; a pool is no activation."""
    network = network_of(nn.Sequential(nn.ReLU(), nn.ReLU6(), nn.MaxPool1d(2)), (3, 4))
    relu, relu6, pool = [n for n in network.graph.nodes if n.op == "call_module"]
    assert [clamps(network, relu, b) for b in ((0, 9), (-1e-9, 9))] == [False, True]
    assert [clamps(network, relu6, b) for b in ((0, 6), (0, 7), (-1, 6))] == [False, True, True]
    assert clamps(network, pool, (-1, 1)) is None
