"""Compilers for another stack's sources: ours of the back end, its processor and optimisation, and Debian's libraries.

Our own code needs no C library; an interpreter in C++ does.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from secateur.errors import ToolError
from secateur.firmware.board import Board, load_board

# As in platformio/builder/main.py; then no tables of exceptions, which nothing here throws.
FLAGS = ("-O2", "-ffp-contract=off", "-ffunction-sections", "-fdata-sections", "-fno-common")
NO_TABLES = ("-fno-exceptions", "-fno-unwind-tables", "-fno-asynchronous-unwind-tables")
CXX_FLAGS = ("-std=c++17", "-fno-rtti", "-fno-threadsafe-statics")

FLOATS = "double f(double a, double b) { return a * b + (double)(int)a; }\n"
HEADERS = "#include <cmath>\n#include <cstdint>\n#include <cstring>\n#include <limits>\n#include <new>\n"


@dataclass(frozen=True)
class CLibrary:
    """`folder`: holds include/ and lib/MULTILIB/, None where the compiler itself knows its library and C++ headers."""

    package: str
    size: str
    folder: Path | None
    archives: tuple[str, ...]


C_LIBRARIES = {
    "arm-none-eabi-gcc": CLibrary("libnewlib-arm-none-eabi", "390 MB", None, ("libm.a", "libc_nano.a")),
    "riscv64-unknown-elf-gcc": CLibrary(
        "picolibc-riscv64-unknown-elf", "1.0 GB", Path("/usr/lib/picolibc/riscv64-unknown-elf"), ("libm.a", "libc.a")
    ),
}
CXX_PACKAGE = "libstdc++-arm-none-eabi-dev"
CXX_HEADERS = Path("/usr/include/newlib/c++")
"""Debian has such headers for Arm only; what an interpreter includes of them is not Arm's own."""


class NoFloats(ToolError):
    """The compiler cannot compute with floating-point numbers, which an interpreter does when it starts."""


@dataclass(frozen=True)
class Toolchain:
    """`cxx_flags` stand before `flags`, which C has too; `archives`: the C library's, in linking order."""

    cc: str
    cxx: str
    archiver: str
    flags: tuple[str, ...]
    cxx_flags: tuple[str, ...]
    archives: tuple[Path, ...]

    def command(self, source: Path, *more: str) -> tuple[str, ...]:
        """How `source` is compiled, but for its name and the object's."""
        if source.suffix == ".c":
            return (self.cc, "-std=c17", *self.flags, *more)
        return (self.cxx, *self.cxx_flags, *self.flags, *more)


@cache
def find_toolchain(environment: str) -> Toolchain:
    """Raises ToolError when a compiler or library is not installed, NoFloats when the compiler is of no use."""
    board = load_board(environment)
    cc, cxx = board.compiler, board.compiler.removesuffix("gcc") + "g++"
    for program, package in ((cc, board.package), (cxx, board.package if board.bare else "g++")):
        if shutil.which(program) is None:
            raise ToolError(f"{environment}: {program} is not installed; sudo apt-get install {package}")
    flags = (*board.machine, *FLAGS, *NO_TABLES)
    if not board.bare:
        return Toolchain(cc, cxx, board.archiver, flags, CXX_FLAGS, ())
    if not _works((cc, *board.machine, "-nostdlib", "-Wl,-e,f"), FLOATS, "f.c", "-lgcc"):
        raise NoFloats(f"{cc} has no floating-point routines, which an interpreter needs")
    if cc not in C_LIBRARIES:
        raise ToolError(f"{environment}: no C library is known for {cc}; leave this target out")
    library = C_LIBRARIES[cc]
    found = _with_library(board, cxx, flags, library)
    probe = found.command(Path("f.cc"), "-c")
    if not _works(probe, HEADERS, "f.cc") or not all(path.is_file() for path in found.archives):
        raise ToolError(
            f"{environment}: another stack's sources need a C and C++ library for {cc.removesuffix('-gcc')}; "
            f"sudo apt-get install --no-install-recommends {library.package} {CXX_PACKAGE} ({library.size})"
        )
    return found


def _with_library(board: Board, cxx: str, flags: tuple[str, ...], library: CLibrary) -> Toolchain:
    def asked(question: str) -> str:
        command = [board.compiler, *board.machine, question]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    if library.folder is None:
        archives = tuple(Path(asked(f"-print-file-name={name}")) for name in library.archives)
        return Toolchain(board.compiler, cxx, board.archiver, flags, CXX_FLAGS, archives)
    at = library.folder / "lib" / asked("-print-multi-directory")
    archives = tuple(at / name for name in library.archives)
    cxx_flags = [*CXX_FLAGS]
    for version in sorted(CXX_HEADERS.glob("*"))[-1:]:
        for folder in (version, version / "arm-none-eabi", version / "backward"):
            cxx_flags += ["-isystem", str(folder)]
    flags = (*flags, "-isystem", str(library.folder / "include"))
    return Toolchain(board.compiler, cxx, board.archiver, flags, tuple(cxx_flags), archives)


def _works(command: tuple[str, ...], text: str, name: str, *last: str) -> bool:
    with TemporaryDirectory() as folder:
        source = Path(folder) / name
        source.write_text(text)
        done = subprocess.run([*command, str(source), *last, "-o", f"{folder}/out"], capture_output=True)
    return done.returncode == 0
