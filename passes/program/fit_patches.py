"""Which stages run in patches, and in how many bands, so that an arena limit holds at the fewest extra operations."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from secateur.models.program import Program, op_macs
from secateur.passes.program.choose_kernels import choose_kernels
from secateur.passes.program.patches import Patched, Stage, in_bands, rows_needed, stages
from secateur.passes.program.plan_memory import MemoryPlan, demand_of, placed, plan_memory

log = logging.getLogger(__name__)

COUNTS = (2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32)
ROUNDS = 4  # stages that may be cut, one after the other
AIMS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7)  # of the limit: bands may need less than can be placed
LOOKED_AT = 40  # cuts planned in earnest for each round


Fitted = tuple[Program, tuple[Patched, ...], MemoryPlan]
"""The stages that were cut, and the plan with them."""


@dataclass(frozen=True)
class Cut:
    """`outside`: operators above the limit that the stage leaves so. `floor`: bytes that the cut needs at least."""

    outside: int
    extra_macs: int
    floor: int
    stage: Stage
    bands: int


def fit_in_patches(program: Program, features: tuple[str, ...], arena_bytes: int, tries: int) -> Fitted:
    """The program with as many stages in bands as `arena_bytes` demands, and its plan.

    Where no cut found reaches the limit, the smallest arena found. The program comes in order, and keeps it.
    """
    best: Fitted = program, (), plan_memory(program, choose_kernels(program, features), tries)
    whole = best
    for aim in AIMS:
        if best[2].arena_bytes <= arena_bytes:
            break
        if best[1] and best[2].lower_bound_bytes > arena_bytes:  # not placement: no bands need so little
            break
        found = _fit(whole, features, int(aim * arena_bytes), tries)
        if found[2].arena_bytes < best[2].arena_bytes:
            best = found
    for p in best[1]:
        log.info("%s to %s in %d bands, %d MACs more", p.first, p.last, p.bands, p.extra_macs)
    return best


def _fit(best: Fitted, features: tuple[str, ...], arena_bytes: int, tries: int) -> Fitted:
    """Cut stage by stage, the one that needs the most first, until no operator needs more."""
    for _ in range(ROUNDS):
        if best[2].arena_bytes <= arena_bytes:
            break
        found = _next(best[0], best[2], features, arena_bytes, tries)
        if found is None:
            break
        cut, plan, patched = found
        s = cut.stage
        ops = best[0].ops
        names = [best[0].tensors[ops[k].outputs[0]].name for k in (s.first, s.last)]
        told = Patched(names[0], names[1], s.last - s.first + 1, cut.bands, patched.macs - best[0].macs)
        best = patched, (*best[1], told), plan
        if not cut.outside:
            break
    return best


def _next(
    program: Program, plan: MemoryPlan, features: tuple[str, ...], limit: int, tries: int
) -> tuple[Cut, MemoryPlan, Program] | None:
    """The cut that leaves the fewest operators above the limit, then that computes least again; else the lowest."""
    live = plan.live_bytes
    cuts = sorted(_cuts(program, live, limit), key=lambda c: (c.outside, c.extra_macs, c.stage.first, c.stage.last))
    fits = [c for c in cuts if c.floor <= limit]
    lowest = sorted(cuts, key=lambda c: (max(c.floor, limit), c.outside, c.extra_macs, c.stage.first, c.stage.last))
    best: tuple[Cut, MemoryPlan, Program] | None = None
    for cut in [*fits[:LOOKED_AT], *(c for c in lowest[: LOOKED_AT // 4] if c not in fits)]:
        made = in_bands(program, cut.stage, cut.bands)
        inside = range(cut.stage.first, len(made.ops) - (len(program.ops) - cut.stage.last - 1))
        demand = demand_of(made, choose_kernels(made, features))
        peak = max(demand.live[k] for k in inside)
        if best is not None and peak > max(limit, best[1].arena_bytes):
            continue
        planned = placed(demand, tries)
        if best is None or planned.arena_bytes < best[1].arena_bytes:
            best = cut, planned, made
        if planned.arena_bytes <= limit or (cut.outside and peak <= limit):
            return cut, planned, made
    return best if best is not None and best[1].arena_bytes < plan.arena_bytes else None


def _cuts(program: Program, live: tuple[int, ...], limit: int) -> Iterator[Cut]:
    """Every stage around the operator that needs the most, in every number of bands."""
    over = [step for step, needed in enumerate(live) if needed > limit]
    peak = live.index(max(live))
    once = Counter(op.name for op in program.ops)
    if once[program.ops[peak].name] > 1:  # in bands already
        return
    for stage in stages(program, peak):
        outside = sum(not stage.first <= step <= stage.last for step in over)
        for count in (n for n in COUNTS if n <= program.tensors[stage.output].shape[stage.axis]):
            need = rows_needed(program, stage, count)
            if need is not None:
                yield Cut(outside, _extra_macs(program, stage, need), _floor(program, stage, need), stage, count)


Need = dict[int, tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]


def _extra_macs(program: Program, stage: Stage, need: Need) -> int:
    extra = 0
    for op in program.ops[stage.first : stage.last + 1]:
        begins, ends = need[op.outputs[0]]
        rows = program.tensors[op.outputs[0]].shape[stage.axis]
        extra += op_macs(program, op) // rows * int((ends - begins).sum() - rows)
    return extra


def _floor(program: Program, stage: Stage, need: Need) -> int:
    """Bytes that cannot be avoided: the rows of the source still to be read, those of the output that are written, and
    an operator's own rows, the smaller of input and output taken to lie wholly over the larger."""
    source, output = stage.source, stage.output
    row = {i: program.bytes_of(i) // program.tensors[i].shape[stage.axis] for i in need}
    later = any(source in op.inputs for op in program.ops[stage.last + 1 :]) or source in program.outputs
    height = program.tensors[source].shape[stage.axis]
    held = row[source] * (height - need[source][0] * (not later)) + row[output] * need[output][0]
    inner = [row[i] * (ends - begins) for i, (begins, ends) in need.items() if i not in (source, output)]
    return int((held + np.max(inner, axis=0, initial=0)).max())
