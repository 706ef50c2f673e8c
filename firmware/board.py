"""The boards that our PlatformIO platform builds for: JSON files, which the platform's builder reads too."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from secateur.errors import UserError

FOLDER = Path(__file__).parent / "platformio" / "boards"
EXAMPLE = "-example"
"""Behind an environment's name: the plain example is built for it instead of the test harness."""


@dataclass(frozen=True)
class Board:
    """`ram_bytes`, `flash_bytes`: the memory that is really there (0: no limit, the host).

    `compiler`, `archiver`: program names; `machine`: the flags that choose the processor; `package`: the Debian package
    that brings both.
    `chip`: esptool's name of a chip that can be flashed, None for emulators and the host.
    """

    environment: str
    compiler: str
    archiver: str
    machine: tuple[str, ...]
    package: str
    ports: tuple[str, ...]
    ram_bytes: int
    flash_bytes: int
    chip: str | None

    @property
    def bare(self) -> bool:
        return self.flash_bytes > 0

    @property
    def objcopy(self) -> str:
        return self.compiler.removesuffix("gcc") + "objcopy"


def environments() -> tuple[str, ...]:
    """Every environment that builds without downloads, sorted, the host first."""
    return tuple(sorted((p.stem for p in FOLDER.glob("*.json")), key=lambda name: (name != "host", name)))


def load_board(environment: str) -> Board:
    """The board of an environment, or of its example. Raises UserError for an unknown environment."""
    environment = environment.removesuffix(EXAMPLE)
    if environment not in environments():
        raise UserError(f"unknown environment '{environment}'. Known: {', '.join(environments())}")
    table = json.loads((FOLDER / f"{environment}.json").read_text())
    build, memory = table["build"], table["upload"]
    return Board(
        environment=environment,
        compiler=build["cc"],
        archiver=build["ar"],
        machine=tuple(build["machine"]),
        package=build["package"],
        ports=tuple(build["ports"]),
        ram_bytes=memory["maximum_ram_size"],
        flash_bytes=memory["maximum_size"],
        chip=build["chip"] or None,
    )
