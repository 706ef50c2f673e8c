"""What a kernel tells the compiler: one truth for selection, planning, costing and code generation.

A kernel is a C header beside this file and a descriptor in one of the modules that `catalogue.py` lists.
Everything but `calls` works on a float (shape-only) Program too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from secateur.models.program import DTYPES, Op, Program, Tensor

Ints = npt.NDArray[np.int64]
NEVER = np.iinfo(np.int64).max  # "reads nothing from here on"


@dataclass(frozen=True)
class Ref:
    """A tensor in the arena, `offset` bytes from its start."""

    tensor: int
    offset: int = 0


@dataclass(frozen=True)
class Constant:
    """A constant table of the generated C. `role` names it ("weights", "bias", ...)."""

    role: str
    ctype: str  # int8_t, int16_t, uint16_t, int32_t, int64_t, float
    values: npt.NDArray[Any] = field(compare=False)

    @property
    def size_bytes(self) -> int:
        sizes = {"int8_t": 1, "int16_t": 2, "uint16_t": 2, "int32_t": 4, "int64_t": 8, "float": 4}
        return int(self.values.size) * sizes[self.ctype]


Arguments = tuple[Ref | Constant, ...]
Params = Mapping[str, int | float | Sequence[int]]
"""Initialisers of a parameter struct, by field name."""


@dataclass(frozen=True)
class Call:
    """One C call: function(&params, arguments..., further..., output). `params` are the initialisers by field name.

    `further`: outputs beside the operator's first. `as_bytes`: the function takes tensors of any type as int8_t.
    `checked`: the function returns 1 where an index among its operands lies outside; inference ends there.
    """

    function: str
    params_type: str
    params: Params
    arguments: Arguments
    output: Ref
    further: tuple[Ref, ...] = ()
    as_bytes: bool = False
    checked: bool = False


class Kernel(ABC):
    """The descriptor of one C kernel, walking its outputs in one direction.

    `both_ways`: the C code also walks from the last output to the first, where its parameters say `step` -1.
    `own_type`: `answers` has looked at the operator's type, so its refusals are the ones to tell.
    """

    name: str
    header: str
    kinds: tuple[str, ...]
    both_ways = False
    descending = False
    free = False  # no code, no call, no time
    own_type = False

    @property
    def step(self) -> int:
        """The parameter of the C kernels that walk both ways."""
        return -1 if self.descending else 1

    @cached_property
    def walks(self) -> tuple[Kernel, ...]:
        """This kernel in every direction that it knows, ascending first. The planner takes one for each operator."""
        if not self.both_ways:
            return (self,)
        up, down = copy(self), copy(self)
        up.descending, down.descending = False, True
        return up, down

    def applies(self, program: Program, op: Op, features: tuple[str, ...]) -> bool:
        """True if this kernel computes `op` exactly on a core with these features."""
        if not self.answers(program, op) or self.refuses(program, op) is not None:
            return False
        return set(self.needs(program, op)) <= set(features)

    def answers(self, program: Program, op: Op) -> bool:
        """True if the kernel is for operators like this one, taken or refused."""
        return op.kind in self.kinds

    def needs(self, program: Program, op: Op) -> tuple[str, ...]:
        """Features of a target (`features` of its TOML) without which the kernel does not build or run."""
        return ()

    def refuses(self, program: Program, op: Op) -> str | None:
        """Why an operator of this kind is not taken, in a few words, or None."""
        return None

    def scratch_bytes(self, program: Program, op: Op) -> int:
        """Working memory in the arena during the call."""
        return 0

    def whole(self, program: Program, tensor: int) -> Ref:
        """A tensor for C code that walks backwards from its last element where `step` is -1; int8 only."""
        return Ref(tensor, program.tensors[tensor].elements - 1 if self.descending else 0)

    @abstractmethod
    def overlap_bytes(self, program: Program, op: Op, position: int) -> int:
        """How many bytes of the output may lie over a dying input: the output's end over the input's start, or,
        descending, the output's start over the input's end.

        0 keeps them apart; the output's size allows both at one address, or both to end at one. From the access
        order of the C kernel: see `overlap` and `block_overlap`.
        """

    def overlap_of(self, program: Program, op: Op, position: int, output: int) -> int:
        """The same of output number `output`; those after the first are kept apart unless a kernel says otherwise."""
        return self.overlap_bytes(program, op, position) if output == 0 else 0

    @abstractmethod
    def constant_bytes(self, program: Program, op: Op) -> int:
        """Flash taken by the constant tables of `calls`, exact also before quantization."""

    @abstractmethod
    def work(self, program: Program, op: Op) -> dict[str, int]:
        """Counts that the instruction model multiplies by measured coefficients (costs.toml)."""

    @abstractmethod
    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        """The C calls of a quantized operator."""


def compute_types(program: Program) -> set[str]:
    """The one type of all activations that int8 kernels take; a Program lowered for its shapes has them in float32."""
    return {"float32"} if program.shape_only else {"int8"}


def element_bytes(program: Program, tensor: int) -> int:
    """Bytes an element of an activation takes on the device."""
    return 1 if program.shape_only else int(np.dtype(DTYPES[program.tensors[tensor].dtype]).itemsize)


def nhwc(tensor: Tensor) -> tuple[int, int, int, int]:
    """The shape as (n, h, w, c), ones in front of what has fewer dimensions."""
    assert len(tensor.shape) <= 4, f"{tensor.name} has {len(tensor.shape)} dimensions"
    n, h, w, c = (1,) * (4 - len(tensor.shape)) + tensor.shape
    return n, h, w, c


def overlap(written: Ints, lowest_read: Ints, output_bytes: int) -> int:
    """Bytes of the output's end that may lie over the input's start.

    At moment i the kernel has written the first `written[i]` bytes of the output and reads the input no lower
    than `lowest_read[i]`; what it reads later counts too. With the output d bytes below the input, every
    moment needs written[i] <= d + min(lowest_read[i:]); the smallest such d leaves output_bytes - d to share.
    """
    still_needed = np.minimum.accumulate(lowest_read[::-1])[::-1]
    reading = still_needed != NEVER
    if not reading.any():
        return output_bytes
    distance = int((written[reading] - still_needed[reading]).max())
    return max(0, min(output_bytes, output_bytes - distance))


def overlap_descending(kept: Ints, highest_read: Ints, output_bytes: int, input_bytes: int) -> int:
    """Bytes of the output's start that may lie over the input's end, for a kernel that walks downwards.

    As `overlap`, seen from the other end: at moment i, in the order of time, all but the first `kept[i]` bytes of
    the output are written, and the input is read below `highest_read[i]` (-1: not at all).
    """
    from_end = np.where(highest_read < 0, NEVER, input_bytes - highest_read)
    return overlap(output_bytes - kept, from_end, output_bytes)


@dataclass(frozen=True)
class Windows:
    """Which input pixels each output pixel reads; (h, w) in pixels."""

    output: tuple[int, int]
    input: tuple[int, int]
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)


class Block(NamedTuple):
    """Bytes of one output pixel that are written together, after some bytes of every pixel of its window are read.

    All from the pixel's first byte; the ends are not included.
    """

    write_first: int
    write_end: int
    read_first: int
    read_end: int


@lru_cache(4096)  # the budget search asks for the same layers again and again
def block_overlap(windows: Windows, blocks: tuple[Block, ...], in_c: int, out_c: int, descending: bool) -> int:
    """`overlap` of a kernel that writes pixels of `out_c` bytes in order, each block by block in order."""
    write_first, write_end, read_first, read_end = np.array(blocks, np.int64).T
    pixels, input_bytes = windows.output[0] * windows.output[1], windows.input[0] * windows.input[1] * in_c
    pixel = np.arange(pixels)[:, None] * out_c
    tap = window_taps(windows, in_c, last=descending)[:, None]
    if descending:
        highest = np.where(tap == NEVER, -1, tap + read_end)
        kept = pixel + write_end
        return overlap_descending(kept.ravel()[::-1], highest.ravel()[::-1], pixels * out_c, input_bytes)
    lowest = np.where(tap == NEVER, NEVER, tap + read_first)
    return overlap((pixel + write_first).ravel(), lowest.ravel(), pixels * out_c)


def window_taps(windows: Windows, in_c: int, last: bool = False) -> Ints:
    """First byte of the first tap inside the input (or of the last), by output pixel in order; NEVER if none is."""

    def taps(axis: int) -> Ints:
        w = windows
        steps = np.arange(w.kernel[axis])[None, :] * w.dilation[axis] - w.pad[axis]
        found = np.arange(w.output[axis])[:, None] * w.stride[axis] + steps
        inside = (found >= 0) & (found < w.input[axis])
        ends: Ints = np.where(inside, found, -1).max(1) if last else np.where(inside, found, w.input[axis]).min(1)
        return np.where(inside.any(1), ends, -1)

    rows, columns = taps(0), taps(1)
    address = (rows[:, None] * windows.input[1] + columns[None, :]) * in_c
    return np.where((rows[:, None] < 0) | (columns[None, :] < 0), NEVER, address).astype(np.int64).ravel()
