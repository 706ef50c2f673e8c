"""Kernels, generated C and harness without a warning of GCC or Clang, implicit conversions included."""

from __future__ import annotations

import json
import re
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from c_host import TRAPS, WARNINGS, generated, planned, run_many_sanitized, write
from exported import sample

from secateur.compiler.bench.float_files import ALL_CASES
from secateur.compiler.bench.operator_files import Case
from secateur.compiler.frontends.tflite_file import parse_tflite
from secateur.firmware.board import FOLDER, environments, load_board
from secateur.firmware.codegen import KERNEL_FOLDER
from secateur.firmware.generated import GeneratedModel
from secateur.firmware.project import write_project
from secateur.models.program import Program, random_inputs
from secateur.models.reference import run_reference
from secateur.models.zoo.small import SMALL
from secateur.targets.target import find

pytestmark = pytest.mark.emulator

FREESTANDING = ("-ffreestanding", "-isystem", str(KERNEL_FOLDER.parent / "ports" / "common" / "include"))


def _board(environment: str) -> list[str]:
    """The compiler of a board, and its flags."""
    found = json.loads((FOLDER / f"{environment}.json").read_text())["build"]
    return [found["cc"], *found["machine"], *(() if environment == "host" else FREESTANDING)]


COMPILERS = {"clang": ["clang"]} | {name: _board(name) for name in ("host", "qemu-cortex-m4", "esp32c3", "esp32")}
FILES = 2  # random files an operator
MODELS = 40  # in one program


def _complaints(compiler: list[str], sources: list[Path], *flags: str) -> str:
    command = [*compiler, *WARNINGS, "-fsyntax-only", *flags, *map(str, sources)]
    return subprocess.run(command, capture_output=True, text=True).stderr


@cache
def _programs() -> list[Program]:
    """Of every operator, and the small networks."""
    files = [parse_tflite(ALL_CASES[kind](Case(seed)), "net", kind) for kind in ALL_CASES for seed in range(FILES)]
    return [*files, *(sample(name).program for name in SMALL)]


@cache
def _models() -> list[GeneratedModel]:
    return [generated(planned(program), f"net{i}") for i, program in enumerate(_programs())]


def _together(folder: Path) -> Path:
    """One source of all the models: a compiler's start takes longer than a model. Static names get the model's."""
    lines = []
    for model in _models():
        sources = write(model, folder / model.name)
        static = sorted(set(re.findall(r"^static .*?(\w+)(?: = \{|\()", sources[0].read_text(), re.MULTILINE)))
        lines += [f"#define {name} {model.name}_{name}" for name in static]
        lines += [f'#include "{source.relative_to(folder)}"' for source in sources]
        lines += [f"#undef {name}" for name in static]
    whole = folder / "all.c"
    whole.write_text("\n".join([*lines, ""]))
    return whole


@pytest.mark.parametrize("compiler", COMPILERS)
def test_generated_code_has_no_warning(compiler: str, tmp_path: Path) -> None:
    """Of every operator in random files, and of the small networks; a seeded narrowing is seen."""
    whole = _together(tmp_path)
    assert _complaints(COMPILERS[compiler], [whole]) == ""
    kernel = tmp_path / "net0" / "kernels" / "sec_common.h"
    kernel.write_text(kernel.read_text().replace("(int32_t)((product", "((product"))
    assert "conversion" in _complaints(COMPILERS[compiler], [whole])


@pytest.mark.parametrize("compiler", COMPILERS)
def test_every_kernel_compiles_alone(compiler: str, tmp_path: Path) -> None:
    """Each header includes what it uses, and is clean by itself."""
    sources = []
    for header in sorted(KERNEL_FOLDER.glob("*.h")):
        sources.append(tmp_path / f"{header.stem}.c")
        sources[-1].write_text(f'#include "{header}"\n')
    assert sources
    # functions that the kernels which include a header share are nobody's when it stands alone
    assert _complaints(COMPILERS[compiler], sources, "-Wno-unused-function") == ""


@pytest.mark.parametrize("environment", sorted(environments()))
def test_harness_and_port_have_no_warning(environment: str, tmp_path: Path) -> None:
    """Of every board, with the board's compiler and flags."""
    s = sample("mlp")
    write_project(tmp_path, generated(planned(s.program)), find("host"), s.inputs[:1].reshape(1, -1))
    folders = [tmp_path / "harness", *(tmp_path / "ports" / port for port in load_board(environment).ports)]
    sources = [path for folder in folders for path in sorted(folder.glob("*.c"))]
    assert len(sources) > 2
    quoted = [flag for name in ("model", "harness") for flag in ("-iquote", str(tmp_path / name))]
    standard = "-std=gnu99" if environment == "host" else "-std=c99"
    assert _complaints(_board(environment), sources, *quoted, f"-I{tmp_path}/ports/common", standard) == ""


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, len(ALL_CASES) * FILES, MODELS))
def test_clangs_sanitizers_find_nothing(first: int, tmp_path: Path) -> None:
    """Every operator under Clang: the reference interpreter's outputs, and no conversion that changes a value."""
    chosen = range(first, min(first + MODELS, len(ALL_CASES) * FILES))
    given = [(_models()[i], random_inputs(_programs()[i], 4, i)) for i in chosen]
    for i, (_, samples), found in zip(
        chosen, given, run_many_sanitized(given, tmp_path, ("clang", *TRAPS)), strict=True
    ):
        assert np.array_equal(found, run_reference(_programs()[i], samples)), _programs()[i].name
