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
    `input_bytes` or `output_bytes`. `stateful`: a call depends on those before it.
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
