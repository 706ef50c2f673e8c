"""What the code generator hands to the project writer: one model's C files and the sizes they declare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Port:
    """One input or output: its C name and type, and where it begins in the piece that the harness passes, bytes."""

    name: str
    ctype: str
    offset: int


HEADER_BYTES = 8
"""Of a harness output: the label, int32, and the confidence's bits; the network's outputs follow."""
NO_DECISION = -(1 << 31)
"""The label of a piece of a stream that led to none."""


@dataclass(frozen=True)
class StreamShape:
    """How the test harness feeds a front end: pieces of `chunk` samples of `channels` int16 values, each piece giving
    at most one decision, as `HEADER_BYTES` and the network's output bytes.

    For the examples: `rate_hz`, `counts_per_unit` of the sensor; `some_decisions`: raw samples that lead to a few.
    """

    channels: int
    chunk: int
    output_bytes: int
    rate_hz: float
    counts_per_unit: tuple[float, ...]
    some_decisions: int

    @property
    def input_bytes(self) -> int:
        return 2 * self.channels * self.chunk


@dataclass(frozen=True)
class PictureShape:
    """How the test harness feeds a front end of pictures: a camera's frame at a time, each with its decision, as
    `HEADER_BYTES` and the network's output bytes."""

    input_bytes: int
    output_bytes: int


@dataclass(frozen=True)
class GeneratedModel:
    """One compiled model as C99 text.

    `name`: C prefix, lower case ("watch"); macros use it in upper case.
    `files`: path below the project's `model/` folder -> text. All weights and large constant tables are in
    `<name>_weights.c`, so that linker scripts can place them by object file.
    `arena_bytes`, `input_bytes`, `output_bytes`: of one inference; `arena_alignment` in bytes.
    `layers`: one entry per operator call, in the order in which the after-layer hook reports them.
    `slow_arena_bytes`: of the arena in slower memory, 0 where there is none.
    `inputs`, `outputs`: where there are several, or one of another type than int8; each is then a piece of
    `input_bytes` or `output_bytes`. `stateful`: a call depends on those before it. `stream`: of a model with a front
    end, which is fed raw samples. `picture`: of one with a front end of pictures, which is fed frames.
    """

    name: str
    files: Mapping[str, str]
    arena_bytes: int
    arena_alignment: int
    input_bytes: int
    output_bytes: int
    layers: tuple[str, ...]
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()
    stateful: bool = False
    slow_arena_bytes: int = 0
    stream: StreamShape | None = None
    picture: PictureShape | None = None

    @property
    def piece_bytes(self) -> tuple[int, int]:
        """Bytes in and out of one call of the test harness: an inference, a frame or a piece of a stream."""
        raw = self.stream or self.picture
        if raw is not None:
            return raw.input_bytes, raw.output_bytes
        return self.input_bytes, self.output_bytes
