"""Compile one stage of the front end for this computer and run it over blocks of samples."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from c_host import SANITIZERS, WARNINGS

import secateur.firmware.front_end as front_end
from secateur.firmware.front_end.stage import StageCode
from secateur.firmware.front_end.write import stage_tables

FOLDER = Path(front_end.__path__[0]).resolve()
KERNELS = FOLDER.parent / "kernels"
Kind = Literal["features", "resampler", "detrend"]
Values = npt.NDArray[np.int16]
SANITIZED = ("gcc", *SANITIZERS, "-O1")
STRICT = (*WARNINGS, "-Wstack-usage=512")
"""GCC's; without the sanitizers, whose own variables are on the stack too."""

_STEP = {
    "features": "    {n}_frame(&params, state, scratch, in, out);\n    return {outputs};\n",
    "resampler": "    (void)scratch;\n    return {channels} * {n}_push(&params, state, in, out);\n",
    "detrend": "    (void)state;\n    for (int i = 0; i < {outputs}; ++i) out[i] = in[i];\n"
    "    {n}_window(&params, scratch, out);\n    return {outputs};\n",
}  # fmt: skip


def stage_source(code: StageCode, kind: Kind, outputs: int, channels: int = 1) -> str:
    """`stage_reset(state)`, and `stage_step(state, scratch, in, out)`, which returns how many outputs it made.

    `outputs`: values that a frame or a window gives; a resampler says how many samples of its `channels`.
    """
    tables, initialiser = stage_tables("stage", code)
    reset = "    (void)state;\n" if kind == "detrend" else f"    {code.name}_reset(&params, state);\n"
    return (
        f'#include <stdint.h>\n#include "{code.header}"\n{tables}'
        f"static const {code.name}_params params = {initialiser};\n"
        "void stage_reset(void *state);\nint stage_step(void *state, void *scratch, const int16_t *in, int16_t *out);\n"
        f"void stage_reset(void *state) {{\n{reset}}}\n"
        "int stage_step(void *state, void *scratch, const int16_t *in, int16_t *out) {\n"
        f"{_STEP[kind].format(n=code.name, outputs=outputs, channels=channels)}}}\n"
    )


def run_stage(
    code: StageCode,
    kind: Kind,
    blocks: Values,
    outputs: int,
    folder: Path,
    compiler: Sequence[str] = SANITIZED,
    resets: Collection[int] = (),
) -> Values:
    """All outputs, flat, of `blocks` (n, values): frames, windows, or samples of all channels.

    `outputs`: the most values that a block gives. A reset comes before the first block and before those in `resets`.
    A program of its own, whose state and scratch are filled with rubbish and exactly as large as stated.
    """
    n, size = blocks.shape
    flags = np.array([i == 0 or i in resets for i in range(n)], np.int16)
    (folder / "blocks.bin").write_bytes(np.column_stack([flags, blocks]).astype(np.int16).tobytes())
    (folder / "main.c").write_text(
        f"#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n{stage_source(code, kind, outputs, size)}"
        "int main(int argc, char **argv) {\n"
        f"    const size_t state_bytes = {code.state_bytes}, scratch_bytes = {code.scratch_bytes};\n"
        '    FILE *f = argc > 1 ? fopen(argv[1], "rb") : 0;\n    int16_t reset;\n'
        f"    void *state = malloc(state_bytes), *scratch = malloc(scratch_bytes);\n"
        f"    int16_t *in = malloc({size} * sizeof *in), *out = malloc({outputs} * sizeof *out);\n"
        "    if (!f) return 9;\n    memset(state, 0x5a, state_bytes);\n"
        f"    while (fread(&reset, 2, 1, f) == 1 && fread(in, 2, {size}, f) == {size}) {{\n"
        "        memset(scratch, 0xa5, scratch_bytes);\n"
        "        if (reset) stage_reset(state);\n"
        "        fwrite(out, 2, (size_t)stage_step(state, scratch, in, out), stdout);\n"
        "    }\n    free(state); free(scratch); free(in); free(out); fclose(f);\n    return 0;\n}\n"
    )
    program = folder / "stage"
    includes = (f"-I{FOLDER}", f"-I{KERNELS}")
    command = [*compiler, *WARNINGS, *includes, "-o", str(program), str(folder / "main.c")]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    done = subprocess.run([str(program), str(folder / "blocks.bin")], capture_output=True)
    assert done.returncode == 0, f"status {done.returncode}: {done.stderr.decode()[-2000:]}"
    return np.frombuffer(done.stdout, np.int16)


class Stage:
    """The same as a shared library in this process, called block by block; GCC checks its stack."""

    def __init__(self, code: StageCode, kind: Kind, outputs: int, folder: Path, channels: int = 1) -> None:
        source, library = folder / "stage.c", folder / "stage.so"
        source.write_text(stage_source(code, kind, outputs, channels))
        includes = (f"-I{FOLDER}", f"-I{KERNELS}")
        command = ["gcc", *STRICT, *includes, "-O2", "-shared", "-fPIC", "-o", str(library), str(source)]
        built = subprocess.run(command, capture_output=True, text=True)
        assert built.returncode == 0, built.stderr
        self._library = ctypes.CDLL(str(library))
        self._state = np.full(code.state_bytes // 8 + 1, -1, np.int64)
        self._scratch = np.full(code.scratch_bytes // 8 + 1, -1, np.int64)
        self._out = np.zeros(outputs, np.int16)
        self.reset()

    def reset(self) -> None:
        self._library.stage_reset(ctypes.c_void_p(self._state.ctypes.data))

    def step(self, block: Values) -> Values:
        """The outputs of one frame, one window, or one sample of all channels."""
        given = np.ascontiguousarray(block, np.int16)
        arrays = (self._state, self._scratch, given, self._out)
        made = self._library.stage_step(*(ctypes.c_void_p(a.ctypes.data) for a in arrays))
        return self._out[:made].copy()
