"""Devices as data: one TOML file each, loaded into a frozen record. A missing field is an error."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from secateur.errors import UserError

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Target:
    """What the compiler knows of a device. Sizes in bytes, clocks in Hz.

    `slow_ram_bytes`: memory beside RAM that our bare image can write, slower than it (0: none).
    `cycles_per_instruction`: (low, high), with `cycles_source` saying where the range comes from.
    `other_clocks_hz`: clocks the chip can run at but our bare image does not set; shown beside.
    `supply_volts` (0: unknown), `active_currents_ma`: what the chip draws while it computes, radio off, one (clock in
    Hz, low, high) for each clock of which a data sheet says it; empty: unknown, and `current_source` says why.
    `emulator`: environment of the generated project that runs the same instruction set in QEMU.
    `boards`: PlatformIO board ids that mean this target.
    """

    name: str
    description: str
    isa: str  # host, rv32imc, armv7em, xtensa-lx6, xtensa-lx106
    features: tuple[str, ...]
    clock_hz: int
    clock_source: str
    other_clocks_hz: tuple[int, ...]
    ram_bytes: int
    slow_ram_bytes: int
    flash_bytes: int
    weights_in_ram: bool
    cycles_per_instruction: tuple[float, float]
    cycles_source: str
    supply_volts: float
    active_currents_ma: tuple[tuple[float, float, float], ...]
    current_source: str
    emulator: str
    environment: str
    boards: tuple[str, ...]

    def current_ma(self, clock_hz: int) -> tuple[float, float] | None:
        """(low, high) at a clock; None where it is unknown."""
        return next(((low, high) for hz, low, high in self.active_currents_ma if hz == clock_hz), None)


def load(path: Path) -> Target:
    """Read one TOML file. Raises UserError on a missing, unknown or mistyped field."""
    table: dict[str, Any] = tomllib.loads(path.read_text())
    names = {f.name for f in fields(Target)}
    missing, unknown = names - table.keys(), table.keys() - names
    if missing or unknown:
        raise UserError(f"{path.name}: missing fields {sorted(missing)}, unknown fields {sorted(unknown)}")
    return Target(**{name: _frozen(value) for name, value in table.items()})


def _frozen(value: Any) -> Any:
    """Lists, and lists in lists, as tuples."""
    return tuple(_frozen(v) for v in value) if isinstance(value, list) else value


def names() -> list[str]:
    """Every built-in target, sorted."""
    return sorted(load(p).name for p in FOLDER.glob("*.toml"))


def find(name: str) -> Target:
    """The target called `name`: its own name (dashes and case do not matter) or a PlatformIO board id.

    >>> find("ESP32-C3").name
    'esp32c3'
    """
    wanted = name.lower().replace("-", "").replace("_", "")
    for path in sorted(FOLDER.glob("*.toml")):
        target = load(path)
        known = (target.name, *target.boards)
        if wanted in (k.lower().replace("-", "").replace("_", "") for k in known):
            return target
    raise UserError(f"unknown target '{name}'. Known: {', '.join(names())} (secateur targets)")
