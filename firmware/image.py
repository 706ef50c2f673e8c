"""Build an environment of a project with PlatformIO, offline, and say what the result holds."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from secateur.errors import ToolError, UserError
from secateur.firmware.board import EXAMPLE, Board, load_board
from secateur.firmware.elf import Elf, read_elf
from secateur.firmware.esp import make_flash_files

log = logging.getLogger(__name__)

OVERFLOW = re.compile(r"region [`'](\w+)' overflowed by (\d+) bytes?")
FAILURE = re.compile(r"error|undefined reference|No module", re.I)
BUILD_TIMEOUT_S = 600.0


class DoesNotFitLink(ToolError):
    """The linker ran out of a region. `overflow_bytes`: region (FLASH, RAM, ...) -> bytes over."""

    def __init__(self, environment: str, overflow_bytes: dict[str, int]) -> None:
        over = ", ".join(f"{region} by {size} bytes" for region, size in sorted(overflow_bytes.items()))
        super().__init__(
            f"{environment}: the firmware does not fit, it exceeds {over}. "
            "Prune further, or build with limits 'none' to measure it all the same"
        )
        self.environment = environment
        self.overflow_bytes = dict(overflow_bytes)


class UncountedSections(AssertionError):
    """The linker script left sections out of every size: our bug, unless the code is not ours."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(f"linker script leaves sections uncounted: {names}")
        self.names = names


@dataclass(frozen=True)
class Image:
    """A built environment, harness excluded from every size; sizes in bytes.

    `binaries`: (flash offset, file) to write on a board, empty for emulators and the host.
    `application`: of those builds, the file that `esptool image-info` reads.
    `code_bytes`: instructions, start-up and small constants; `weights_bytes`: the model's tables.
    `flash_bytes`: code + weights + initial values of `data_bytes`.
    `bss_bytes`: the caller's state struct is in it (not on the host), the arena and the stack are not.
    `slow_arena_bytes`: in slow memory, no RAM. `stack_reserved_bytes`: what the linker set aside.
    """

    environment: str
    elf: Path
    binaries: tuple[tuple[int, Path], ...]
    code_bytes: int
    weights_bytes: int
    flash_bytes: int
    data_bytes: int
    bss_bytes: int
    arena_bytes: int
    stack_reserved_bytes: int
    application: Path | None = None
    slow_arena_bytes: int = 0


def build(project: Path, environment: str, workspace: Path | None = None) -> Image:
    """Build with `platformio run` and read the sizes.

    `workspace`: where objects, results and PlatformIO's own state go; `project/.pio` by default.
    Raises DoesNotFitLink when a memory region overflows, ToolError when a compiler is missing or fails.
    """
    board = load_board(environment)
    if shutil.which(board.compiler) is None:
        raise ToolError(f"{environment}: {board.compiler} is not installed; sudo apt-get install {board.package}")
    if not (project / "platformio.ini").is_file():
        raise ToolError(f"{project} holds no platformio.ini; run `secateur compile` first")
    if environment.endswith(EXAMPLE) and not (project / "examples" / "plain").is_dir():
        raise UserError(f"{project} holds no examples/plain; run `secateur compile` again, it is of an older version")
    workspace = (workspace or project / ".pio").resolve()
    elf = workspace / "build" / environment / "firmware.elf"
    elf.unlink(missing_ok=True)
    _run_platformio(project, environment, workspace)
    return _read_image(board, elf)


def _run_platformio(project: Path, environment: str, workspace: Path) -> None:
    core = workspace / "core"
    prepare_core(core)
    variables = {
        **os.environ,
        "PLATFORMIO_CORE_DIR": str(core),
        "PLATFORMIO_WORKSPACE_DIR": str(workspace),
        "PLATFORMIO_SETTING_ENABLE_TELEMETRY": "no",
        "PLATFORMIO_DISABLE_UPGRADE_CHECK": "true",
        "PLATFORMIO_NO_ANSI": "true",
        "LC_ALL": "C",  # linker messages are parsed
    }
    command = [sys.executable, "-m", "platformio", "run", "-d", str(project), "-e", environment]
    try:
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{environment}: the build took longer than {BUILD_TIMEOUT_S:.0f} s") from error
    log.debug("%s\n%s%s", " ".join(command), done.stdout, done.stderr)
    if done.returncode == 0:
        return
    output = done.stdout + done.stderr
    overflow = {region: int(size) for region, size in OVERFLOW.findall(output)}
    if overflow:
        raise DoesNotFitLink(environment, overflow)
    lines = [line for line in output.splitlines() if FAILURE.search(line) and "collect2" not in line]
    what = (lines or output.strip().splitlines() or ["no output"])[0].strip()
    raise ToolError(f"{environment}: the build failed: {what} (cd {project} && pio run -e {environment})")


def prepare_core(core: Path) -> None:
    """A PlatformIO core folder that needs no download: its build tool is this Python environment's SCons.

    PlatformIO wants a package tool-scons whose version encodes SCons's; the version it asks for is read from
    PlatformIO itself. The links to platforms are dropped, so that a project that was moved is found again.
    """
    from platformio.dependencies import get_core_dependencies

    wanted = str(get_core_dependencies()["tool-scons"])
    version = wanted.lstrip("~^=<> ")
    package = core / "packages" / "tool-scons"
    package.mkdir(parents=True, exist_ok=True)
    manifest = {
        "name": "tool-scons",
        "version": version,
        "description": "the SCons of this Python environment",
    }
    (package / "package.json").write_text(json.dumps(manifest))
    spec = {"owner": "platformio", "id": None, "name": "tool-scons", "requirements": None, "uri": None}
    (package / ".piopm").write_text(
        json.dumps({"type": "tool", "name": "tool-scons", "version": version, "spec": spec})
    )
    (package / "scons.py").write_text("from SCons.Script import main\n\nmain()\n")
    shutil.rmtree(core / "platforms", ignore_errors=True)


def _read_image(board: Board, path: Path) -> Image:
    elf = read_elf(path)
    sizes = _bare_sizes(elf) if board.bare else _host_sizes(path.parent / "model")
    files = make_flash_files(board.chip, path, board.objcopy) if board.chip else None
    return Image(
        environment=board.environment,
        elf=path,
        binaries=files.parts if files else (),
        application=files.application if files else None,
        code_bytes=sizes["code_bytes"],
        weights_bytes=sizes["weights_bytes"],
        flash_bytes=sizes["code_bytes"] + sizes["weights_bytes"] + sizes["data_bytes"],
        data_bytes=sizes["data_bytes"],
        bss_bytes=sizes["bss_bytes"],
        arena_bytes=elf.size(".sec_arena"),
        stack_reserved_bytes=elf.size(".stack"),
        slow_arena_bytes=elf.size(".sec_slow_arena"),
    )


def _bare_sizes(elf: Elf) -> dict[str, int]:
    known = {".start", ".text", ".rodata", ".weights", ".data"}
    strays = [s.name for s in elf.sections if s.loaded and s.size_bytes and s.name not in known]
    strays = [name for name in strays if not name.startswith(".harness.")]
    if strays:
        raise UncountedSections(strays)
    return {
        "code_bytes": elf.size(".start", ".text", ".rodata"),
        "weights_bytes": elf.size(".weights"),
        "data_bytes": elf.size(".data"),
        "bss_bytes": elf.size(".bss"),
    }


def _host_sizes(objects: Path) -> dict[str, int]:
    """The model's own object files: the host's start-up code and C library say nothing about a device."""
    sizes = dict.fromkeys(("code_bytes", "weights_bytes", "data_bytes", "bss_bytes"), 0)
    for path in sorted(objects.glob("*.o")):
        for section in read_elf(path).sections:
            if not section.allocated or section.name.startswith((".eh_frame", ".note")):
                continue
            if section.name.startswith((".data", ".bss")) and not section.name.startswith(".data.rel.ro"):
                key = "data_bytes" if section.loaded else "bss_bytes"
            else:
                key = "weights_bytes" if path.stem.endswith("_weights") else "code_bytes"
            sizes[key] += section.size_bytes
    return sizes
