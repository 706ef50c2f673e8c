"""A project that links our harness with another stack's network, so that both are measured by the same means.

Nothing here knows which stack it is: the network comes as a static library that offers the functions of
`templates/other_stack/sec_other.h`.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from secateur.errors import ToolError
from secateur.firmware.board import load_board
from secateur.firmware.generated import GeneratedModel
from secateur.firmware.image import Image, UncountedSections, build
from secateur.firmware.project import write_project
from secateur.models.program import Program, slots
from secateur.targets.target import Target

TEMPLATES = Path(__file__).parent / "templates" / "other_stack"
INTERFACE = TEMPLATES / "sec_other.h"
HOST_ARENA_BYTES = 4 << 20


def build_other_stack(
    project: Path,
    library: Path,
    program: Program,
    target: Target,
    samples: npt.NDArray[np.int8],
    more: Sequence[Path] = (),
    named: str = "",
) -> Image:
    """Write the project and build it.

    `program`: of the file as it is, for the sizes of inputs and outputs. `samples`: (n, input bytes) int8.
    `more`: archives that the library calls, in linking order; `named`: what an error calls the library.
    Raises ToolError when the library cannot be linked.
    """
    named = named or str(library)
    board = load_board(target.environment)
    arena_bytes = board.ram_bytes // 2 if board.bare else HOST_ARENA_BYTES
    names = ["other", *(f"more{i}" for i in range(len(more))), "gcc" if board.bare else "m"]
    flags = " ".join(["-Lother", *(f"-l{name}" for name in names)])
    write_project(project, _model(program, arena_bytes), target, samples, limits="none", build_flags=flags)
    shutil.copyfile(TEMPLATES / "other.c", project / "harness" / "other.c")
    (project / "other").mkdir(exist_ok=True)
    for path, name in zip((library, *more), names, strict=False):
        shutil.copyfile(path, project / "other" / f"lib{name}.a")
    try:
        return build(project, target.environment)
    except UncountedSections as error:
        raise ToolError(
            f"{named}: sections {', '.join(error.names)} are neither code, constants nor data; build it without "
            "exceptions, unwind tables, thread-local data and sections of its own"
        ) from error
    except ToolError as error:
        raise ToolError(f"{named}: {error}") from error


def _model(program: Program, arena_bytes: int) -> GeneratedModel:
    """The names that the harness calls. The code behind them is the harness's, so only headers are the model's."""
    input_bytes, output_bytes = slots(program, program.inputs)[-1], slots(program, program.outputs)[-1]
    layers = tuple(op.kind for op in program.ops)
    lines = [
        "/* Generated: the sizes of another stack's network. */",
        "#ifndef OTHER_H",
        "#define OTHER_H",
        '#include "sec_other.h"',
        f"#define OTHER_ARENA_BYTES {arena_bytes}",
        "#define OTHER_ARENA_ALIGNMENT 16",
        f"#define OTHER_INPUT_BYTES {input_bytes}",
        f"#define OTHER_OUTPUT_BYTES {output_bytes}",
        f"#define OTHER_LAYERS {len(layers)}",
        "#define SEC_ARENA_USED other_arena_used",
        "extern size_t other_arena_used;",
        "typedef struct other_state {",
        "    void (*after_layer)(void *context, int layer);",
        "    void *context;",
        "} other_state;",
        "int other_init(other_state *s, void *arena);",
        "int other_invoke(other_state *s, const int8_t *input, int8_t *output);",
        "#endif",
    ]
    files = {"other.h": "\n".join([*lines, ""]), "sec_other.h": INTERFACE.read_text(encoding="utf-8")}
    return GeneratedModel(
        "other", files, arena_bytes, 16, input_bytes, output_bytes, layers, stateful=bool(program.states)
    )
