"""`--energy`: what search and recovery took on this machine, and what an inference takes on the device, estimated.

The first is measured or estimated by CodeCarbon, differs from run to run, and so is told in run.json alone. The second
is arithmetic: supply voltage x current from the data sheet x predicted time.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import time
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

from secateur.compiler.report.record import ClockEnergy, Energy, Interval, Measured
from secateur.compiler.report.words import clock_text
from secateur.errors import UserError
from secateur.passes.program.cost import latency_ms
from secateur.targets.target import Target

if TYPE_CHECKING:
    from secateur.compiler.deploy import Deployed

CARBON_INTENSITY = 0.432
"""kg of CO2 equivalent per kWh, where --carbon-intensity says no other."""
INSTALL = "pip install 'secateur[energy]'"
MJ_PER_KWH = 3.6e9
WAYS = {
    "intel_rapl": "measured by the processor's energy counters (RAPL)",
    "intel_power_gadget": "measured by Intel Power Gadget",
    "windows_emi": "measured by Windows' energy meter interface",
    "cpu_load": "estimated from the processor's load and its nominal power: no energy counter can be read here",
    "constant": "estimated as a constant share of the processor's nominal power: no energy counter can be read here",
}
"""CodeCarbon's names of how it got a processor's power."""


@dataclass(frozen=True)
class Extras:
    """What else a compile measures when asked; nothing of it chooses anything.

    `robustness`: how many test samples are attacked and corrupted, 0: none.
    """

    robustness: int = 0
    energy: bool = False
    carbon_intensity: float = CARBON_INTENSITY

    def __post_init__(self) -> None:
        if not 0 <= self.carbon_intensity < 100:
            raise UserError(f"--carbon-intensity {self.carbon_intensity:g}: kg of CO2 per kWh, usually 0 to 1")
        if self.robustness < 0:
            raise UserError(f"--robustness-samples {self.robustness}: at least 1")


@dataclass(frozen=True)
class Spent:
    """Energy and time of the parts of a run that a Meter was entered for. `processor_seconds`: children included."""

    seconds: float = 0.0
    processor_seconds: float = 0.0
    processor_kwh: float = 0.0
    memory_kwh: float = 0.0
    gpu_kwh: float = 0.0
    how: str = "nothing was measured"

    @property
    def kwh(self) -> float:
        return self.processor_kwh + self.memory_kwh + self.gpu_kwh


class Meter:
    """Measures what runs while it is entered, which may be several times; `spent` is their sum.

    Raises UserError where CodeCarbon is not installed. It writes no file, opens no connection, and nobody's
    configuration of CodeCarbon changes that.
    """

    def __init__(self) -> None:
        if importlib.util.find_spec("codecarbon") is None:
            raise UserError(f"--energy: CodeCarbon is not installed, which measures it: {INSTALL}")
        self.spent = Spent()
        self._tracker: Any = None
        self._started = (0.0, 0.0)

    def __enter__(self) -> Meter:
        self._tracker = _tracker()
        self._started = time.perf_counter(), _processor_seconds()
        self._tracker.start_task("compile")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        found, was = self._tracker.stop_task("compile"), self.spent
        seconds, processor = time.perf_counter() - self._started[0], _processor_seconds() - self._started[1]
        self.spent = Spent(
            was.seconds + seconds, was.processor_seconds + processor, was.processor_kwh + found.cpu_energy,
            was.memory_kwh + found.ram_energy, was.gpu_kwh + found.gpu_energy, _how(self._tracker),
        )  # fmt: skip
        self._tracker.stop()


def _tracker() -> Any:
    """Offline, silent, for this process; every setting that could send or write something is given."""
    from codecarbon import OfflineEmissionsTracker

    logging.getLogger("codecarbon").setLevel(logging.CRITICAL)  # after its import, which sets it too
    return OfflineEmissionsTracker(
        tracking_mode="process", log_level="critical", output_methods=[], output_handlers=[], emissions_endpoint=None,
        electricitymaps_api_token=None, cloud_provider=None, cloud_region=None, country_iso_code="USA", region=None,
        force_carbon_intensity_g_co2e_kwh=0, allow_multiple_runs=True, pue=1.0,
    )  # fmt: skip


def _how(tracker: Any) -> str:
    """How the processor's energy was got. CodeCarbon keeps that to itself, so its parts are looked at."""
    modes = [getattr(part, "_mode", None) for part in getattr(tracker, "_hardware", ())]
    known = [mode for mode in modes if mode is not None]
    return WAYS.get(known[0], f"by CodeCarbon's {known[0]}") if known else "by CodeCarbon, which does not say how"


def _processor_seconds() -> float:
    t = os.times()
    return t.user + t.system + t.children_user + t.children_system


def device_energy(target: Target, before: Deployed, after: Deployed, carbon_intensity: float) -> Energy:
    """One inference before and after, at every clock of the target whose current is known."""
    found = Energy(target.supply_volts or None, target.current_source, carbon_intensity)
    was, now = before.instructions, after.instructions
    if was is None or now is None:
        return replace(found, why=f"{target.name} has no instruction model and no run counted any, so no time is known")
    if not target.active_currents_ma:
        return replace(found, why=f"no current is known of {target.name}: {target.current_source}")
    clocks = []
    for hz in (target.clock_hz, *target.other_clocks_hz):
        current = target.current_ma(hz)
        if current is None:
            continue
        source = (
            f"{target.supply_volts:g} V x {current[0]:g} to {current[1]:g} mA ({target.current_source}) x predicted "
            f"time at {clock_text(hz)}"
        )
        first, second = latency_ms(was, target, hz), latency_ms(now, target, hz)
        spent = [tuple(target.supply_volts * ma * ms / 1000 for ma, ms in zip(current, side, strict=True))
                 for side in (first, second)]  # fmt: skip
        saved = tuple(a - b for a, b in zip(*spent, strict=True))
        even = None if min(saved) <= 0 else (MJ_PER_KWH / saved[1], MJ_PER_KWH / saved[0])
        clocks.append(ClockEnergy(
            hz, current, _span(spent[0], source), _span(spent[1], source),
            _span(tuple(max(0.0, s) for s in saved), f"baseline less result: {source}"),
            _span(even, f"3.6e9 mJ in a kWh, by what an inference saves: {source}"),
        ))  # fmt: skip
    why = None
    if target.current_ma(target.clock_hz) is None:
        why = f"the image sets {clock_text(target.clock_hz)}, of which the source gives no current"
    return replace(found, clocks=tuple(clocks), why=why)


def _span(ends: tuple[float, ...] | None, source: str) -> Interval:
    return None if ends is None else Measured((ends[0], ends[1]), "predicted", source)


def run_document(spent: Spent, energy: Energy, resumed: bool) -> dict[str, Any]:
    """What run.json says under `energy`.

    `resumed`: `spent` is not all, so when the device has saved it again is not known.
    """
    even: dict[str, list[int] | None] = {}
    for clock in energy.clocks:
        ends = None if resumed else clock.inferences_per_kwh
        even[str(clock.clock_hz)] = None if ends is None else [round(spent.kwh * n) for n in ends.value]
    how = f"processor: {spent.how}; memory: estimated from its size; GPU: measured where there is one"
    return {
        "of": "search and recovery" + (" since it was resumed; what ran before is not counted" if resumed else ""),
        "how": how if spent.seconds else "nothing was searched or trained",
        "seconds": round(spent.seconds, 3), "processor_seconds": round(spent.processor_seconds, 3),
        "kwh": spent.kwh, "processor_kwh": spent.processor_kwh, "memory_kwh": spent.memory_kwh,
        "gpu_kwh": spent.gpu_kwh, "co2eq_kg": spent.kwh * energy.carbon_intensity,
        "carbon_intensity_kg_per_kwh": energy.carbon_intensity, "break_even_inferences": even,
    }  # fmt: skip
