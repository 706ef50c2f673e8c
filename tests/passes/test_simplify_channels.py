"""Constant and unread channels go wherever that is exact; what must stay is counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from random_programs import Maker, inputs_of, kinds, random_chain, random_program, unchanged, widths

from secateur.models.program import Op, Options, Padding, Program, Quantization
from secateur.models.reference import run_values
from secateur.passes.program import live_channels, remove_constant_channels
from secateur.passes.program import value_ranges as value_ranges_module
from secateur.passes.program.remove_constant_channels import RemoveConstantChannels
from secateur.passes.program.value_ranges import Mask, value_ranges

Q = Quantization((0.05,), (3,))
AT_LOWEST = Quantization((0.05,), (-128,))
SAME = Padding(1, 1, 1, 1)


@pytest.mark.slow
def test_ranges_hold_every_value_seen() -> None:
    """No activation of any random Program leaves its channel's interval; constant channels hold their value."""
    tight = 0
    for seed in range(40):
        program = random_program(seed)
        ranges = value_ranges(program)
        for x in inputs_of(program, 3):
            for i, values in run_values(program, x).items():
                rows, r = values.reshape(-1, values.shape[-1]), ranges[i]
                assert (rows >= r.low).all() and (rows <= r.high).all(), (seed, program.tensors[i].name)
                tight += int(((rows == r.low) | (rows == r.high)).sum())
    assert tight > 1000  # intervals of all of int8 would be sound too


def chain(second: str, value: int, zero_point: int, padding: Padding = SAME, kernel: int = 3) -> Program:
    """(1, 5, 5, 2) -> CONV_2D 1x1 to 4 channels, channel 1 always `value` -> `second` to channels that all vary."""
    m = Maker(5)
    entry = m.tensor((1, 5, 5, 2), Q)
    w = m.random.integers(20, 90, (4, 1, 1, 2))
    w[1] = 0
    bias = np.array([10, (value - zero_point) * 16, -30, 40])
    middle = m.tensor((1, 5, 5, 4), Quantization((0.05,), (zero_point,)))
    weights_q = Quantization((1 / 16,), (0,))
    m.op("CONV_2D", [entry, m.constant(w, "int8", weights_q), m.constant(bias, "int32")], middle)
    depthwise = second == "DEPTHWISE_CONV_2D"
    shape = (1, kernel, kernel, 4) if depthwise else (3, kernel, kernel, 4)
    size = 5 + 2 * padding.top - kernel + 1
    out = m.tensor((1, size, size, 4 if depthwise else 3), Quantization((1.0,), (-3,)))
    more = [m.constant(m.random.integers(20, 90, shape), "int8", weights_q)]
    m.op(second, [middle, *more], out, Options(padding=padding))
    if depthwise:
        last = m.tensor((1, size, size, 2), Quantization((4.0,), (0,)))
        m.op("CONV_2D", [out, m.constant(m.random.integers(20, 90, (2, 1, 1, 4)), "int8", weights_q)], last)
        out = last
    return m.program((entry,), (out,))


CHAINS: dict[str, tuple[Program, list[int]]] = {
    "1x1": (chain("CONV_2D", 60, 3, Padding(), 1), [3, 3]),
    "valid": (chain("CONV_2D", 60, 3, Padding()), [3, 3]),
    "padded, at the zero point": (chain("CONV_2D", 3, 3), [3, 3]),
    "padded, elsewhere": (chain("CONV_2D", 60, 3), [4, 3]),
    "depthwise valid": (chain("DEPTHWISE_CONV_2D", 60, 3, Padding()), [3, 3, 2]),
    "depthwise padded, at the zero point": (chain("DEPTHWISE_CONV_2D", 3, 3), [3, 3, 2]),
    "depthwise padded, elsewhere": (chain("DEPTHWISE_CONV_2D", 60, 3), [4, 4, 2]),
}


@pytest.mark.parametrize("name", list(CHAINS))
def test_a_constant_channel_goes_where_no_border_tells(name: str) -> None:
    """Folded into the bias of a convolution, through a depthwise one too; kept where padding differs from it."""
    program, expected = CHAINS[name]
    after = RemoveConstantChannels()(program)
    assert widths(after) == expected
    assert unchanged(program, after)


@pytest.mark.slow
def test_random_chains_keep_their_outputs() -> None:
    """Borders, strides and constants in every combination; nearly all chains lose channels."""
    cut = 0
    for seed in range(40):
        program = random_chain(seed)
        after = RemoveConstantChannels()(program)
        cut += after.macs < program.macs
        assert unchanged(program, after), seed
    assert cut >= 30


def test_a_border_folded_wrongly_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests are tested: without regard to borders, constants change the outputs of many chains."""
    right = value_ranges_module.taps

    def no_border(p: Program, op: Op) -> tuple[Mask, Mask]:
        always, never = right(p, op)
        return np.ones_like(always), np.zeros_like(never)

    for module in (value_ranges_module, live_channels, remove_constant_channels):
        monkeypatch.setattr(module, "taps", no_border)
    for name in ("padded, elsewhere", "depthwise padded, elsewhere"):
        program, _ = CHAINS[name]
        assert not unchanged(program, RemoveConstantChannels()(program))
    chains = [random_chain(seed) for seed in range(10)]
    assert sum(not unchanged(p, RemoveConstantChannels()(p)) for p in chains) >= 3


def test_taps_that_never_see_the_input_read_nothing() -> None:
    """3x3 with padding on one pixel: eight taps lie outside, so a constant folds and weights there do not read."""
    m = Maker(0)
    entry, middle, out = m.tensor((1, 1, 1, 2), Q), m.tensor((1, 1, 1, 3), Q), m.tensor((1, 1, 1, 2), Q)
    unit = Quantization((1 / 16,), (0,))
    first = m.constant([[[[1, 2]]], [[[0, 0]]], [[[3, 4]]]], "int8", unit)
    m.op("CONV_2D", [entry, first, m.constant([0, 900, 0], "int32")], middle)
    w = m.random.integers(1, 90, (2, 3, 3, 3))
    w[:, 1, 1, 2] = 0
    m.op("CONV_2D", [middle, m.constant(w, "int8", unit)], out, Options(padding=SAME))
    program = m.program((entry,), (out,))
    after = RemoveConstantChannels()(program)
    assert widths(after) == [1, 2]
    assert unchanged(program, after)


def test_wrapping_sums_and_full_biases_are_left_alone() -> None:
    """A sum that may leave int32 is any value, and no constant moves into a bias without room for it."""
    m = Maker(1)
    entry, middle, out = m.tensor((1, 3), Q), m.tensor((1, 3), Q), m.tensor((1, 2), Q)
    unit = Quantization((1 / 16,), (0,))
    most = (1 << 31) - 1
    m.op("FULLY_CONNECTED", [entry, m.constant(np.diag([9, 0, 5]), "int8", unit),
                             m.constant([most, 99, 0], "int32")], middle)  # fmt: skip
    m.op("FULLY_CONNECTED", [middle, m.constant([[1, 2, 3], [4, 5, 6]], "int8", unit),
                             m.constant([most - 300, 0], "int32")], out)  # fmt: skip
    program = m.program((entry,), (out,))
    ranges = value_ranges(program)
    assert ranges[middle].constant.tolist() == [False, True, False]
    assert widths(RemoveConstantChannels()(program)) == [3, 2]


def test_unread_channels_go_back_through_every_tie() -> None:
    """Two of six channels meet zero weights at the end: pool, ADD, PAD, depthwise and both convolutions lose them."""
    m = Maker(2)
    entry = m.tensor((1, 4, 4, 2), AT_LOWEST)
    unit = Quantization((1 / 64,), (0,))

    def conv(x: int, w: Any, kind: str = "CONV_2D") -> int:
        out = m.tensor((*m.shape(x)[:3], np.shape(w)[3] if kind[0] == "D" else len(w)), AT_LOWEST)
        return m.op(kind, [x, m.constant(w, "int8", unit)], out)

    left, right = (conv(entry, m.random.integers(-60, 60, (6, 1, 1, 2))) for _ in range(2))
    x = m.op("ADD", [left, right], m.tensor((1, 4, 4, 6), AT_LOWEST))
    x = conv(x, m.random.integers(20, 60, (1, 1, 1, 6)), "DEPTHWISE_CONV_2D")
    amounts = m.constant([(0, 0), (1, 0), (0, 1), (0, 0)], "int32")
    x = m.op("PAD", [x, amounts], m.tensor((1, 5, 5, 6), AT_LOWEST))
    x = m.op("MAX_POOL_2D", [x], m.tensor((1, 4, 4, 6), AT_LOWEST), Options(kernel=(2, 2)))
    x = m.op("MEAN", [x, m.constant([1, 2], "int32")], m.tensor((1, 6), AT_LOWEST))
    w = m.random.integers(20, 60, (3, 6))
    w[:, [1, 4]] = 0
    x = m.op("FULLY_CONNECTED", [x, m.constant(w, "int8", unit)], m.tensor((1, 3), Q))
    program = m.program((entry,), (x,))
    after = RemoveConstantChannels()(program)
    assert widths(after) == [4, 4, 4, 4, 4, 4, 4, 3]
    assert (program.macs, after.macs) == (16 * 6 * (2 + 2 + 1) + 18, 16 * 4 * (2 + 2 + 1) + 12)
    assert unchanged(program, after)


def test_flattened_and_joined_channels_are_cut_where_they_came_from() -> None:
    """A fully connected layer over a flattened concatenation: a branch that is unread goes with its operators."""
    m = Maker(3)
    entry = m.tensor((1, 2, 2, 2), Q)
    unit = Quantization((1 / 64,), (0,))
    parts = [
        m.op("CONV_2D", [entry, m.constant(m.random.integers(-60, 60, (n, 1, 1, 2)), "int8", unit)],
             m.tensor((1, 2, 2, n), Q)) for n in (2, 3)
    ]  # fmt: skip
    x = m.op("CONCATENATION", parts, m.tensor((1, 2, 2, 5), Q), Options(axis=3))
    x = m.op("RESHAPE", [x], m.tensor((1, 20), Q))
    w = m.random.integers(1, 60, (2, 4, 5))
    w[:, :, [0, 1, 3]] = 0
    x = m.op("FULLY_CONNECTED", [x, m.constant(w.reshape(2, 20), "int8", unit)], m.tensor((1, 2), Q))
    program = m.program((entry,), (x,))
    after = RemoveConstantChannels()(program)
    assert kinds(after) == ["CONV_2D", "CONCATENATION", "RESHAPE", "FULLY_CONNECTED"]
    assert widths(after) == [2, 2, 8, 2]
    assert unchanged(program, after)


def test_padded_channels_that_are_unread_are_not_written() -> None:
    """PAD of channels (a residual block's option A): the amounts shrink to what is read."""
    m = Maker(4)
    entry = m.tensor((1, 2, 2, 2), Q)
    amounts = m.constant([(0, 0), (0, 0), (0, 0), (3, 2)], "int32")
    x = m.op("PAD", [entry, amounts], m.tensor((1, 2, 2, 7), Q))
    weights = m.constant(m.random.integers(1, 60, (3, 1, 1, 7)), "int8", Quantization((1 / 64,), (0,)))
    x = m.op("CONV_2D", [x, weights], m.tensor((1, 2, 2, 3), Q))
    program = m.program((entry,), (x,))
    after = RemoveConstantChannels()(program)
    assert widths(after) == [2, 3] and after.macs == 4 * 3 * 2
    assert unchanged(program, after)


def test_constants_that_must_stay_need_no_input() -> None:
    """A network whose outputs are all constant keeps its operators, one input channel wide."""
    m = Maker(6)
    entry, middle, out = m.tensor((1, 4), Q), m.tensor((1, 5), Q), m.tensor((1, 3), Q)
    unit = Quantization((1 / 64,), (0,))
    m.op("FULLY_CONNECTED", [entry, m.constant(m.random.integers(1, 60, (5, 4)), "int8", unit)], middle)
    m.op("FULLY_CONNECTED", [middle, m.constant(m.random.integers(1, 60, (3, 5)), "int8", unit),
                             m.constant([10**7, -(10**7), 10**7], "int32")], out)  # fmt: skip
    program = m.program((entry,), (out,))
    after = RemoveConstantChannels()(program)
    assert widths(after) == [1, 3]
    assert unchanged(program, after)


def test_a_fully_connected_layer_keeps_two_scales() -> None:
    """One row of several would get TFLite's per-tensor multiplier, computed in another precision."""
    m = Maker(7)
    entry, middle, out = m.tensor((1, 4), Q), m.tensor((1, 5), Q), m.tensor((1, 3), Q)
    rows = Quantization(tuple(np.float32(m.random.uniform(0.01, 0.02, 5)).tolist()), (0,) * 5, 0)
    m.op("FULLY_CONNECTED", [entry, m.constant(m.random.integers(1, 60, (5, 4)), "int8", rows)], middle)
    w = np.zeros((3, 5), np.int64)
    w[:, 2] = 40, 50, 60
    m.op("FULLY_CONNECTED", [middle, m.constant(w, "int8", Quantization((1 / 64,), (0,)))], out)
    program = m.program((entry,), (out,))
    after = RemoveConstantChannels()(program)
    assert widths(after) == [2, 3]
    assert unchanged(program, after)


def test_unknown_operators_keep_all_channels() -> None:
    """What we have no rule for may read anything and write anything."""
    m = Maker(11)
    entry, middle, out = m.tensor((1, 4, 4, 6), Q), m.tensor((1, 4, 4, 6), Q), m.tensor((1, 4, 4, 2), Q)
    unit = Quantization((1 / 64,), (0,))
    m.op("CONV_2D", [entry, m.constant(np.zeros((6, 1, 1, 6)), "int8", unit)], middle)
    x = m.op("CUMSUM", [middle], m.tensor((1, 4, 4, 6), Q))
    m.op("CONV_2D", [x, m.constant(m.random.integers(1, 9, (2, 1, 1, 6)), "int8", unit)], out)
    program = m.program((entry,), (out,))
    assert widths(RemoveConstantChannels()(program)) == [6, 6, 2]
