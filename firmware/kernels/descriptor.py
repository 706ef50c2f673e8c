"""What a kernel tells the compiler: one truth for selection, planning, costing and code generation.

A kernel is a C header beside this file and a descriptor in one of the modules that `catalogue.py` lists.
Everything but `calls` works on a float (shape-only) Program too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from secateur.models.program import Op, Program, Tensor

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
    ctype: str  # int8_t, int32_t
    values: npt.NDArray[np.integer] = field(compare=False)

    @property
    def size_bytes(self) -> int:
        return int(self.values.size) * {"int8_t": 1, "int16_t": 2, "int32_t": 4}[self.ctype]


Arguments = tuple[Ref | Constant, ...]
Params = Mapping[str, int | Sequence[int]]
"""Initialisers of a parameter struct, by field name."""


@dataclass(frozen=True)
class Call:
    """One C call: function(&params, arguments..., output). `params` are the initialisers by field name."""

    function: str
    params_type: str
    params: Params
    arguments: Arguments
    output: Ref


class Kernel(ABC):
    """The descriptor of one C kernel."""

    name: str
    header: str
    kinds: tuple[str, ...]

    def applies(self, program: Program, op: Op, features: tuple[str, ...]) -> bool:
        """True if this kernel computes `op` exactly on a core with these features."""
        return op.kind in self.kinds and self.refuses(program, op) is None

    def refuses(self, program: Program, op: Op) -> str | None:
        """Why an operator of this kind is not taken, in a few words, or None."""
        return None

    def scratch_bytes(self, program: Program, op: Op) -> int:
        """Working memory in the arena during the call."""
        return 0

    @abstractmethod
    def overlap_bytes(self, program: Program, op: Op, position: int) -> int:
        """How many bytes at the output's end may lie over the start of a dying input.

        0 keeps them apart; the output's size allows both at one address. From the access order of the C
        kernel: see `overlap`.
        """

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


def window_starts(
    out_h: int, out_w: int, in_h: int, in_w: int, channels: int,
    kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int], pad: tuple[int, int],
) -> Ints:  # fmt: skip
    """Byte address of the first tap inside the input, for every output pixel in order; NEVER if none is."""

    def first(out: int, size: int, k: int, s: int, d: int, p: int) -> Ints:
        taps = np.arange(out)[:, None] * s - p + np.arange(k)[None, :] * d
        inside = (taps >= 0) & (taps < size)
        return np.where(inside.any(1), np.where(inside, taps, size).min(1), -1)

    rows = first(out_h, in_h, kernel[0], stride[0], dilation[0], pad[0])
    columns = first(out_w, in_w, kernel[1], stride[1], dilation[1], pad[1])
    address = (rows[:, None] * in_w + columns[None, :]) * channels
    return np.where((rows[:, None] < 0) | (columns[None, :] < 0), NEVER, address).astype(np.int64).ravel()
