"""From raw ticks to counts: take off the cost of measuring, undo the counter's wrap, change the unit."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from secateur.runtime_bench.protocol import Log


@dataclass(frozen=True)
class Counts:
    """`total`: the longest inference; `layers`: of one inference with the hook, its cost taken off."""

    total: int
    layers: tuple[int, ...]


def count(log: Log, ticks_per_unit: Fraction = Fraction(1)) -> Counts | None:
    """Instructions or cycles of one inference; None where the machine has no counter.

    `ticks_per_unit`: counter ticks in one instruction (or cycle).

    A total is known modulo 2^bits only. The layers of the hooked run are differences of neighbouring
    readings, each far below 2^bits, so their sum says how often the counter wrapped.
    """
    if log.counter_bits == 0:
        return None
    costs = [log.first_ticks] + [log.hook_ticks] * (log.layers - 1)
    layers = [log.layer_ticks[i] - costs[i] for i in range(log.layers)]
    expected, period = sum(layers), 1 << log.counter_bits
    totals = [ticks - log.empty_ticks for ticks in log.ticks.values()]
    longest = max(t + period * round((expected - t) / period) for t in totals)
    return Counts(_units(longest, ticks_per_unit), tuple(max(0, _units(t, ticks_per_unit)) for t in layers))


def _units(ticks: int, ticks_per_unit: Fraction) -> int:
    return round(Fraction(ticks) / ticks_per_unit)
