"""Operators that change nothing go, two that are one become one, and clamps move where they cost nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from random_programs import Maker, kinds, unchanged

from secateur.models.program import Options, Program, Quantization
from secateur.passes.program.remove_identities import RemoveIdentities

Q = Quantization((0.05,), (3,))
AT_LOWEST = Quantization((0.05,), (-128,))


def settled(program: Program) -> Program:
    """RemoveIdentities until it finds nothing."""
    while (after := RemoveIdentities()(program)) != program:
        program = after
    return program


def line(*steps: tuple[str, tuple[int, ...], Quantization, Options], start: Quantization = Q) -> Program:
    """Operators in a row from a (1, 4, 4, 6) input: (kind, output shape, output quantization, options)."""
    m = Maker(8)
    entry = x = m.tensor((1, 4, 4, 6), start)
    for kind, shape, q, options in steps:
        more = [m.constant(np.zeros((4, 2)), "int32")] if kind == "PAD" else []
        more = [m.constant([1, 2], "int32")] if kind == "MEAN" else more
        if kind == "CONV_2D":
            w = m.random.integers(-60, 60, (shape[3], 1, 1, m.shape(x)[3]))
            more = [m.constant(w, "int8", Quantization((1 / 64,), (0,)))]
        x = m.op(kind, [x, *more], m.tensor(shape, q), options)
    return m.program((entry,), (x,))


MAP, PIXEL = (1, 4, 4, 6), (1, 1, 1, 96)
PLAIN = Options()
WHOLE = Options(begin=(0, 0, 0, 0), strides=(1, 1, 1, 1))
END = ("CONV_2D", MAP, Q, PLAIN)
FINE, COARSE = Quantization((0.1,), (0,)), Quantization((0.2,), (0,))
IDENTITIES: dict[str, tuple[Program, list[str]]] = {
    "reshape": (line(END, ("RESHAPE", MAP, Q, PLAIN)), ["CONV_2D"]),
    "reshapes": (
        line(END, ("RESHAPE", (1, 96), Q, PLAIN), ("RESHAPE", PIXEL, Q, PLAIN), ("EXPAND_DIMS", (1, 1, 96), Q, PLAIN)),
        ["CONV_2D", "EXPAND_DIMS"],
    ),
    "there and back": (line(("RESHAPE", PIXEL, Q, PLAIN), ("RESHAPE", MAP, Q, PLAIN), END), ["CONV_2D"]),
    "pad": (line(("PAD", MAP, Q, PLAIN), END), ["CONV_2D"]),
    "slice": (line(("STRIDED_SLICE", MAP, Q, WHOLE), END), ["CONV_2D"]),
    "concatenation": (line(("CONCATENATION", MAP, Q, Options(axis=3)), END), ["CONV_2D"]),
    "pool": (line(("MAX_POOL_2D", MAP, Q, PLAIN), ("AVERAGE_POOL_2D", MAP, Q, PLAIN), END), ["CONV_2D"]),
    "pool that clamps": (line(END, ("MAX_POOL_2D", MAP, Q, Options(activation="RELU"))), ["CONV_2D", "MAX_POOL_2D"]),
    "pool that steps": (line(("MAX_POOL_2D", (1, 2, 2, 6), Q, Options(stride=(2, 2)))), ["MAX_POOL_2D"]),
    "mean": (line(("RESHAPE", PIXEL, Q, PLAIN), ("MEAN", PIXEL, Q, PLAIN)), ["RESHAPE"]),
    "mean that rescales": (line(("RESHAPE", PIXEL, Q, PLAIN), ("MEAN", PIXEL, FINE, PLAIN)), ["RESHAPE", "MEAN"]),
    "quantize": (line(("QUANTIZE", MAP, Q, PLAIN), END), ["CONV_2D"]),
    "quantize elsewhere": (line(("QUANTIZE", MAP, FINE, PLAIN), END), ["QUANTIZE", "CONV_2D"]),
    "quantize to nearly the same and back": (
        line(("QUANTIZE", MAP, Quantization((0.0501,), (3,)), PLAIN), ("QUANTIZE", MAP, Q, PLAIN), END),
        ["CONV_2D"],
    ),
    "quantize twice, rounding twice": (
        line(("QUANTIZE", MAP, FINE, PLAIN), ("QUANTIZE", MAP, COARSE, PLAIN), END),
        ["QUANTIZE", "QUANTIZE", "CONV_2D"],
    ),
    "relu at the lowest": (line(("RELU", MAP, AT_LOWEST, PLAIN), END, start=AT_LOWEST), ["CONV_2D"]),
    "relu behind a convolution": (line(END, ("RELU", MAP, Q, PLAIN)), ["CONV_2D"]),
    "relu6 behind relu": (line(END, ("RELU", MAP, Q, PLAIN), ("RELU6", MAP, Q, PLAIN)), ["CONV_2D"]),
    "relu that rescales": (line(END, ("RELU", MAP, FINE, PLAIN)), ["CONV_2D", "RELU"]),
    "relu of the input": (line(("RELU", MAP, Q, PLAIN), END), ["RELU", "CONV_2D"]),
    "two that are one": (
        line(("RELU", MAP, Q, PLAIN), ("QUANTIZE", MAP, COARSE, PLAIN), END),
        ["RELU", "CONV_2D"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(IDENTITIES))
def test_identities_go_and_others_stay(name: str) -> None:
    """By operator kinds, before and after."""
    program, expected = IDENTITIES[name]
    after = settled(program)
    assert kinds(after) == expected
    assert unchanged(program, after)


def test_an_activation_moves_into_the_convolution() -> None:
    """RELU6 behind NONE or RELU becomes the convolution's own, as RELU6; a clamp of all of int8 becomes none."""
    program = line(("CONV_2D", MAP, Q, Options(activation="RELU")), ("RELU6", MAP, Q, PLAIN))
    assert [op.options.activation for op in settled(program).ops] == ["RELU6"]
    idle = line(("CONV_2D", MAP, AT_LOWEST, Options(activation="RELU")))
    assert [op.options.activation for op in settled(idle).ops] == ["NONE"]


def test_an_activation_of_a_shared_tensor_stays() -> None:
    """Somebody else reads what is not clamped."""
    program = line(END, ("RELU", MAP, Q, PLAIN))
    both = replace(program, outputs=(*program.outputs, program.ops[0].outputs[0]))
    assert kinds(settled(both)) == ["CONV_2D", "RELU"]


def test_the_end_of_a_network_keeps_its_name() -> None:
    """An idle operator in front of the output: its producer writes the output itself. From input to output it stays."""
    program = line(END, ("QUANTIZE", MAP, Q, PLAIN))
    after = settled(program)
    assert after.tensors[after.outputs[0]] == program.tensors[program.outputs[0]]
    assert kinds(settled(line(("QUANTIZE", MAP, Q, PLAIN)))) == ["QUANTIZE"]
