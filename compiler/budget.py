"""The limits, how far a network is from them, and what a removal saves of the ones still violated."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from secateur.errors import UserError
from secateur.passes.program.cost import Cost, latency_ms
from secateur.passes.program.regions import Relief
from secateur.targets.target import Target

Require = Literal["predicted", "emulated", "measured"]
LIMITS = ("ram_bytes", "flash_bytes", "latency_ms")


@dataclass(frozen=True)
class Budget:
    """Limits of the device's use. None for RAM and flash means the device's own; for latency, no limit.

    `max_drop`: points of the task's metric (`models/task.py`) that the int8 Program may lose against the float input
    network on the validation set; `min_accuracy` (percent of it) replaces it where given. `patches`: wide stages may
    run band of rows by band of rows to hold `ram_bytes`, which computes some rows twice. `slow_ram_bytes`: where that
    is not enough, activations may take so much of the device's slower memory, at a cost in time that nothing here
    predicts.
    """

    ram_bytes: int | None = None
    flash_bytes: int | None = None
    latency_ms: float | None = None
    max_drop: float = 1.0
    min_accuracy: float | None = None
    require: Require = "predicted"
    patches: bool = True
    slow_ram_bytes: int = 0

    def on(self, target: Target) -> Budget:
        """The budget with the device's own limits where none is asked for, and never above them."""
        ram = min(self.ram_bytes or target.ram_bytes, target.ram_bytes)
        flash = min(self.flash_bytes or target.flash_bytes, target.flash_bytes)
        return replace(self, ram_bytes=ram, flash_bytes=flash)

    def floor(self, baseline_percent: float) -> float:
        """The least of the metric on validation, in percent, for a float input network of `baseline_percent`."""
        return self.min_accuracy if self.min_accuracy is not None else baseline_percent - self.max_drop

    def room(self, margins: Margins) -> int | None:
        """Bytes of RAM that a plan may come to before it has to use `relief`; None where there is none."""
        helpless = self.ram_bytes is None or not (self.patches or self.slow_ram_bytes)
        return None if helpless else (self.ram_bytes or 0) - margins.ram_bytes

    @property
    def relief(self) -> Relief:
        """What a plan above its room may do."""
        return Relief(self.patches, self.slow_ram_bytes)

    def check(self, target: Target) -> None:
        """Raise UserError where more slow memory is granted than the device has."""
        if self.slow_ram_bytes > target.slow_ram_bytes:
            has = f"{target.slow_ram_bytes:,} bytes" if target.slow_ram_bytes else "none that its bare image can use"
            raise UserError(
                f"--slow-ram: {self.slow_ram_bytes:,} bytes are more slow memory than {target.name} has: {has}. "
                f"{'Ask for less' if target.slow_ram_bytes else 'Leave it out'}"
            )


@dataclass(frozen=True)
class Margins:
    """What an image measured above its prediction, added to the predictions that follow."""

    ram_bytes: int = 0
    flash_bytes: int = 0
    instructions: float = 1.0  # a factor
    front_end_instructions: int = 0  # of one decision, beside the network's


@dataclass(frozen=True)
class Reached:
    """A network's values of the three limits; latency is the upper end of its range, None where unknown."""

    ram_bytes: int
    flash_bytes: int
    latency_ms: float | None
    latency_low_ms: float | None = None


def reached(cost: Cost, target: Target, margins: Margins) -> Reached:
    """Predicted values, with what earlier images taught."""
    low = high = None
    if cost.instructions is not None:
        total = cost.instructions * margins.instructions + margins.front_end_instructions
        low, high = latency_ms(total, target)
    return Reached(cost.ram_bytes + margins.ram_bytes, cost.flash_bytes + margins.flash_bytes, high, low)


def violated(found: Reached, budget: Budget) -> dict[str, tuple[float, float]]:
    """(reached, allowed) of every limit that does not hold, by its name."""
    broken = {}
    for name in LIMITS:
        value, limit = getattr(found, name), getattr(budget, name)
        if value is not None and limit is not None and value > limit:
            broken[name] = (float(value), float(limit))
    return broken


def excess(cost: Cost, target: Target, budget: Budget, margins: Margins) -> dict[str, float]:
    """How far each violated limit is from holding: what a removal has to lower to be worth anything.

    Flash and latency: the amount above the limit. RAM: the amount summed over all operators whose live bytes
    are above it, and the arena's own. A peak is often shared by several operators; lowering one of them is
    progress, though the maximum does not move yet.
    """
    found, broken = reached(cost, target, margins), {}
    over = violated(found, budget)
    for name, (value, limit) in over.items():
        broken[name] = value - limit
    if "ram_bytes" in over and budget.ram_bytes is not None:
        fixed = found.ram_bytes - cost.arena_bytes
        room = budget.ram_bytes - fixed
        broken["ram_bytes"] += sum(max(0, live - room) for live in cost.live_bytes)
    return broken


def saving(before: dict[str, float], after: dict[str, float]) -> float:
    """Share of the remaining excess that goes, summed over the limits still violated; 0 or less: no use."""
    return sum((amount - after.get(name, 0.0)) / amount for name, amount in before.items())


def parse_bytes(text: str) -> int:
    """A size in bytes; K and M are 1024 and 1024 squared.

    >>> parse_bytes("64K"), parse_bytes("1.5M"), parse_bytes("9216")
    (65536, 1572864, 9216)
    """
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kKmM]?)(?:i?[bB])?\s*", text)
    if not found:
        raise UserError(f"'{text}' is not a size; write 64K, 1M or a number of bytes")
    value = float(found[1]) * {"": 1, "k": 1 << 10, "m": 1 << 20}[found[2].lower()]
    if not 1 <= value <= 1 << 40:
        raise UserError(f"a size of '{text}' makes no device; write 64K, 1M or a number of bytes")
    return int(value)


def parse_ms(text: str) -> float:
    """A time in milliseconds.

    >>> parse_ms("20ms"), parse_ms("0.5s"), parse_ms("900us"), parse_ms("20")
    (20.0, 500.0, 0.9, 20.0)
    """
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(us|ms|s)?\s*", text)
    if not found or float(found[1]) <= 0:
        raise UserError(f"'{text}' is not a time; write 20ms, 0.5s or a number of milliseconds")
    return float(found[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3, None: 1.0}[found[2]]
