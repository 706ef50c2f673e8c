"""Compile generated C for this computer and call it: shared by the kernel and code generator tests."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from secateur.firmware.codegen import generate
from secateur.firmware.generated import GeneratedModel
from secateur.firmware.project import model_header
from secateur.models.program import Program
from secateur.passes.program.cost import Planned, plan
from secateur.targets.target import find

WARNINGS = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wsign-conversion", "-Werror")
SANITIZERS = ("-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all", "-g")
TRAPS = ("-fsanitize=undefined,float-cast-overflow,implicit-conversion,local-bounds", "-fsanitize-trap=all", "-g")
"""What only Clang's sanitizers see too: an implicit conversion that changes a value. They stop by a signal, as their
runtime is a package of its own."""


def planned(program: Program) -> Planned:
    return plan(program, find("host"))


def generated(made: Planned, name: str = "net") -> GeneratedModel:
    memory, slow = made.memory, made.memory.slow
    return generate(
        made.program, made.selection, memory.tensor_offsets, memory.arena_bytes, name, slow.tensors, slow.arena_bytes
    )  # fmt: skip


def write(model: GeneratedModel, folder: Path) -> list[Path]:
    """The model's files below `folder`; returns the C sources."""
    for path, text in {**model.files, "sec_model.h": model_header(model, 0)}.items():
        to = folder / path
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_text(text)
    return [folder / f"{model.name}.c", folder / f"{model.name}_weights.c"]


def run_library(
    model: GeneratedModel, samples: npt.NDArray[np.int8], folder: Path, flags: Sequence[str] = ("-O2",)
) -> npt.NDArray[np.int8]:
    """Outputs (n, output bytes) by a shared library in this process."""
    sources = write(model, folder)
    n = model.name
    glue = folder / "glue.c"
    glue.write_text(
        f'#include "sec_model.h"\n'
        f"static int32_t arena[({n.upper()}_ARENA_BYTES + 3) / 4 + 8];\n"
        "int run(const int8_t *input, int8_t *output);\n"
        "int run(const int8_t *input, int8_t *output) {\n"
        f"    {n}_state s;\n"
        f"    char *a = (char *)arena + (16 - (uintptr_t)arena % 16) % 16;\n"
        f"    return {n}_init(&s, a) ? 100 : SEC_INVOKE(&s, input, output);\n"
        "}\n"
    )
    library = folder / "model.so"
    command = ["gcc", *WARNINGS, *flags, "-shared", "-fPIC", "-o", str(library), str(glue), *map(str, sources)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    function = ctypes.CDLL(str(library)).run
    outputs = np.zeros((len(samples), model.output_bytes), np.int8)
    for sample, output in zip(np.ascontiguousarray(samples), outputs, strict=True):
        code = function(sample.ctypes.data_as(ctypes.c_void_p), output.ctypes.data_as(ctypes.c_void_p))
        assert code == 0, f"invoke returned {code}"
    return outputs


def run_sanitized(model: GeneratedModel, samples: npt.NDArray[np.int8], folder: Path) -> npt.NDArray[np.int8]:
    """The same under AddressSanitizer and UBSan, as a program of its own, the arena exactly as large as stated."""
    return run_many_sanitized([(model, samples)], folder)[0]


def run_many_sanitized(
    given: Sequence[tuple[GeneratedModel, npt.NDArray[np.int8]]],
    folder: Path,
    compiler: Sequence[str] = ("gcc", *SANITIZERS),
) -> list[npt.NDArray[np.int8]]:
    """Several models in one program under the sanitizers, each with an arena of exactly the size that it states.

    Their names must differ: they are two models in one image as well. Each is one translation unit, weights first,
    since a compiler's start takes longer than a file; `run_library` compiles the two apart.
    """
    sources: list[Path] = []
    lines = ["#include <stdio.h>", "#include <stdlib.h>", "#include <stdint.h>"]
    for model, samples in given:
        included = [f'#include "{source.name}"' for source in reversed(write(model, folder / model.name))]
        (folder / model.name / "input.bin").write_bytes(np.ascontiguousarray(samples).tobytes())
        text = (folder / model.name / "sec_model.h").read_text()
        n = model.name.upper()
        slow = f"{n}_SLOW_ARENA_BYTES" if model.slow_arena_bytes else "0"
        (folder / model.name / "run.c").write_text(
            "\n".join(included) + f"\n#include <stdio.h>\n#include <stdlib.h>\n{text}\nint run_{model.name}(FILE *f);\n"
            f"int run_{model.name}(FILE *f) {{\n"
            f"    int8_t *in = malloc({n}_INPUT_BYTES), *out = calloc(1, {n}_OUTPUT_BYTES);\n"
            f"    void *arena = malloc({n}_ARENA_BYTES), *slow = malloc({slow});\n    sec_state s;\n"
            f"    if (!f || SEC_INIT(&s, arena{', slow' if model.slow_arena_bytes else ''})) return 9;\n"
            f"    while (fread(in, 1, {n}_INPUT_BYTES, f) == {n}_INPUT_BYTES) {{\n"
            "        if (SEC_INVOKE(&s, in, out)) return 8;\n"
            f"        fwrite(out, 1, {n}_OUTPUT_BYTES, stdout);\n    }}\n"
            "    free(in); free(out); free(arena); free(slow); fclose(f);\n    return 0;\n}\n"
        )
        sources.append(folder / model.name / "run.c")
        lines.append(f"int run_{model.name}(FILE *f);")
    calls = [f'    if (run_{m.name}(fopen("{folder}/{m.name}/input.bin", "rb"))) return {i + 1};'
             for i, (m, _) in enumerate(given)]  # fmt: skip
    (folder / "main.c").write_text("\n".join([*lines, "int main(void) {", *calls, "    return 0;", "}", ""]))
    includes = [f"-I{folder / model.name}" for model, _ in given]
    program = folder / "sanitized"
    command = [*compiler, *WARNINGS, "-O0", *includes, "-o", str(program), str(folder / "main.c")]
    compiled = subprocess.run([*command, *map(str, sources)], capture_output=True, text=True)
    assert compiled.returncode == 0, compiled.stderr[:2000]
    done = subprocess.run([str(program)], capture_output=True)
    assert done.returncode == 0, f"status {done.returncode}: {done.stderr.decode()[-2000:]}"
    found, at = [], 0
    for model, samples in given:
        size = len(samples) * model.output_bytes
        found.append(np.frombuffer(done.stdout[at : at + size], np.int8).reshape(len(samples), -1))
        at += size
    return found
