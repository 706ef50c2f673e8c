"""From an ELF to what an ESP chip's flash holds: files and offsets, with their SHA-256 kept beside them."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from secateur.errors import ToolError
from secateur.firmware.board import EXAMPLE
from secateur.firmware.elf import read_elf

log = logging.getLogger(__name__)

BOOT_OFFSET = 0x1000  # where the ESP32's ROM looks for a second-stage boot loader: our image stands there
MANIFEST = "flash.json"
TIMEOUT_S = 300.0


@dataclass(frozen=True)
class FlashFiles:
    """`parts`: (flash offset, file), ascending. `application`: the file that `esptool image-info` accepts."""

    parts: tuple[tuple[int, Path], ...]
    application: Path


def make_flash_files(environment: str, elf: Path, objcopy: str) -> FlashFiles:
    """Write the binaries of an esp32 or esp32c3 build beside its ELF, and their checksums in flash.json.

    ESP32: code as an image that the ROM loads into IRAM, constants as a second file at a 64 KiB page, read in
    place. ESP32-C3: one direct-boot file at 0, and the same bytes as an application image for tools that
    want that format.
    """
    folder = elf.parent
    if environment == "esp32":
        code, boot, constants = folder / "code.elf", folder / "boot.bin", folder / "constants.bin"
        _run([objcopy, *_only(".start", ".text", ".harness.text"), str(elf), str(code)], environment)
        _elf2image("esp32", code, boot, "40m")
        sections = _only(".weights", ".rodata", ".data", ".harness.rodata")
        _run([objcopy, "-O", "binary", *sections, str(elf), str(constants)], environment)
        offset = read_elf(elf).symbols["sec_blob_page"] << 16
        if BOOT_OFFSET + boot.stat().st_size > offset:
            raise AssertionError(f"boot image of {boot.stat().st_size} bytes reaches into the constants at {offset:#x}")
        files = FlashFiles(((BOOT_OFFSET, boot), (offset, constants)), boot)
    elif environment == "esp32c3":
        direct, wrapped, application = (
            folder / "direct.bin",
            folder / "direct.elf",
            folder / "application.bin",
        )
        _run([objcopy, "-O", "binary", str(elf), str(direct)], environment)
        # Wrapped again as one section: what the boot loader maps then equals the direct-boot file.
        into = ["-I", "binary", "-O", "elf32-littleriscv", "-B", "riscv:rv32", "--set-start", "0x42000008"]
        into += ["--rename-section", ".data=.flash,code,alloc,load,readonly"]
        into += ["--change-section-address", ".data=0x42000000"]
        _run([objcopy, *into, str(direct), str(wrapped)], environment)
        _elf2image("esp32c3", wrapped, application, "80m")
        files = FlashFiles(((0, direct),), application)
    else:
        raise AssertionError(f"{environment} is no ESP chip")
    manifest = [{"offset": at, "file": path.name, "sha256": _digest(path)} for at, path in files.parts]
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    return files


def merge_flash(parts: Sequence[tuple[int, Path]], to: Path, size_bytes: int = 4 << 20) -> Path:
    """The whole flash chip as one file, erased (0xFF) between the parts; for emulators."""
    flash = bytearray(b"\xff" * size_bytes)
    for offset, path in parts:
        data = path.read_bytes()
        flash[offset : offset + len(data)] = data
    to.write_bytes(flash)
    return to


def flash_board(project: Path, environment: str, port: str, workspace: Path | None = None) -> None:
    """Write a built environment to the chip at `port` (serial device or socket:// URL), verify, read back.

    Raises ToolError when nothing was built, a file is not the one that was built, or the chip disagrees.
    """
    folder = (workspace or project / ".pio") / "build" / environment
    parts = _checked_parts(folder, environment)
    chip = ["--chip", environment.removesuffix(EXAMPLE), "--port", port]
    addresses = [text for offset, path in parts for text in (hex(offset), str(path))]
    _esptool([*chip, "write-flash", *addresses], environment)
    for offset, path in parts:
        _esptool([*chip, "verify-flash", hex(offset), str(path)], environment)
    # A program behind a socket cannot run esptool's flash stub; a chip can, and reads far faster with it.
    reader = [*chip, "--no-stub"] if port.startswith("socket://") else chip
    for offset, path in parts:
        back = folder / "read-back.bin"
        size = str(path.stat().st_size)
        _esptool([*reader, "read-flash", hex(offset), size, str(back)], environment)
        same = back.read_bytes() == path.read_bytes()
        back.unlink()
        if not same:
            raise ToolError(f"{environment}: flash at {offset:#x} reads back other bytes than {path.name}; flash again")
    log.info("flashed %s at %s: %d files, verified and read back", environment, port, len(parts))


def _checked_parts(folder: Path, environment: str) -> list[tuple[int, Path]]:
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise ToolError(f"{environment}: nothing to flash in {folder}; run `secateur build` first")
    parts = []
    for entry in json.loads(manifest.read_text()):
        path = folder / entry["file"]
        if not path.is_file():
            raise ToolError(f"{environment}: {path.name} is missing; run `secateur build` again")
        found = _digest(path)
        if found != entry["sha256"]:
            raise ToolError(
                f"{environment}: {path.name} is not the file that was built (SHA-256 {found[:12]}..., "
                f"built {entry['sha256'][:12]}...), refused; run `secateur build` again"
            )
        parts.append((int(entry["offset"]), path))
    return parts


def _elf2image(chip: str, elf: Path, to: Path, frequency: str) -> None:
    options = [
        "--flash-mode",
        "dio",
        "--flash-freq",
        frequency,
        "--flash-size",
        "4MB",
        "-o",
        str(to),
        str(elf),
    ]
    _esptool(["--chip", chip, "elf2image", *options], chip)


def _esptool(arguments: list[str], environment: str) -> None:
    action = next(a for a in arguments if a in ("elf2image", "write-flash", "verify-flash", "read-flash"))
    _run([sys.executable, "-m", "esptool", *arguments], environment, f"esptool {action}")


def _only(*sections: str) -> list[str]:
    return [text for section in sections for text in ("-j", section)]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _run(command: list[str], environment: str, name: str = "") -> None:
    name = name or command[0]
    if shutil.which(command[0]) is None:
        raise ToolError(f"{environment}: {name} is not installed; `secateur doctor` names the package")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{environment}: {name} took longer than {TIMEOUT_S:.0f} s") from error
    log.debug("%s\n%s%s", " ".join(command), done.stdout, done.stderr)
    if done.returncode != 0:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        errors = [line for line in said if "error" in line.lower() or "fail" in line.lower()]
        last = (errors or said or ["no output"])[-1].strip()
        raise ToolError(f"{environment}: {name} failed: {last}")
