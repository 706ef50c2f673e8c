"""Descriptors of the kernels whose weights are int4 in the file: two a byte in flash, unpacked in the inner loop.

A byte holds the weights of two neighbouring output channels at one place, the first channel's in its low bits. Packed
along a row, as files have it, a row of an odd length would begin within a byte; and four channels are computed together
anyway. An odd last row is packed by itself.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

import numpy as np

from secateur.firmware.kernels.convolution import BLOCK, Conv2d, DepthwiseConv2d, FullyConnected, geometry
from secateur.firmware.kernels.descriptor import Call, Constant, Ints, Kernel
from secateur.models.program import Op, Program


class Nibbles(Kernel):
    """As `like`, which takes the same weights a byte each."""

    like: Kernel
    both_ways = True

    def refuses(self, program: Program, op: Op) -> str | None:
        if not program.tensors[op.inputs[1]].nibbles:
            return ""  # weights of a byte each have kernels of their own
        return self.like.refuses(program, op)

    def overlap_bytes(self, program: Program, op: Op, position: int) -> int:
        return self._walking().overlap_bytes(program, op, position)

    def constant_bytes(self, program: Program, op: Op) -> int:
        weights = program.tensors[op.inputs[1]].elements
        return self.like.constant_bytes(program, op) - weights + len(self._packed(program, op))

    def work(self, program: Program, op: Op) -> dict[str, int]:
        return self.like.work(program, op)

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        (call,) = self._walking().calls(program, op)
        x, _, *others = call.arguments
        packed = Constant("weights", "int8_t", self._packed(program, op))
        function = f"sec_{self.name}"
        return (replace(call, function=function, params_type=f"{function}_params", arguments=(x, packed, *others)),)

    def _walking(self) -> Kernel:
        return self.like.walks[1] if self.descending else self.like

    @abstractmethod
    def _packed(self, program: Program, op: Op) -> Ints:
        """The bytes of the weights, int8."""


def pack_pairs(low: Ints, high: Ints) -> Ints:
    """Bytes, as int8, of two int4 each."""
    return ((low & 15) | (high & 15) << 4).astype(np.uint8).view(np.int8).astype(np.int64)


def pack_rows(rows: Ints) -> Ints:
    """(count, filter) weights as sec_dot_s4.h reads them: blocks of four rows, then what is left of them."""
    parts = []
    for first in range(0, len(rows), BLOCK):
        block = rows[first : first + BLOCK]
        pairs = len(block) // 2
        if pairs:
            parts.append(pack_pairs(block[: 2 * pairs : 2].T, block[1 : 2 * pairs : 2].T).ravel())
        if len(block) % 2:
            places = np.pad(block[-1], (0, block.shape[1] % 2))
            parts.append(pack_pairs(places[::2], places[1::2]))
    return np.concatenate(parts)


def _weights(program: Program, op: Op) -> Ints:
    data = program.tensors[op.inputs[1]].data
    assert data is not None
    return data.astype(np.int64)


class Conv2dS4(Nibbles):
    name, header, kinds, like = "conv2d_s4", "sec_conv2d_s4.h", Conv2d.kinds, Conv2d()

    def _packed(self, program: Program, op: Op) -> Ints:
        weights = _weights(program, op)
        groups = program.tensors[op.inputs[0]].shape[-1] // weights.shape[-1]
        return np.concatenate([pack_rows(g) for g in np.split(weights.reshape(len(weights), -1), groups)])


class FullyConnectedS4(Nibbles):
    name, header, kinds = "fully_connected_s4", "sec_fully_connected_s4.h", FullyConnected.kinds
    like = FullyConnected()

    def _packed(self, program: Program, op: Op) -> Ints:
        return pack_rows(_weights(program, op))


class DepthwiseConv2dS4(Nibbles):
    """A tap begins a byte."""

    name, header, kinds = "depthwise_conv2d_s4", "sec_depthwise_conv2d_s4.h", DepthwiseConv2d.kinds
    like = DepthwiseConv2d()

    def _packed(self, program: Program, op: Op) -> Ints:
        taps = _weights(program, op).reshape(-1, geometry(program, op)["out_c"])
        taps = np.pad(taps, ((0, 0), (0, taps.shape[1] % 2)))
        return pack_pairs(taps[:, ::2], taps[:, 1::2]).ravel()


NIBBLES: tuple[Kernel, ...] = (Conv2dS4(), DepthwiseConv2dS4(), FullyConnectedS4())
