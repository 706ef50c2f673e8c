"""Commands that change nothing: check, inspect, targets, doctor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from secateur.compiler.budget import Budget, Margins, reached, violated
from secateur.compiler.doctor import Finding
from secateur.compiler.frontends.data_options import quiet
from secateur.compiler.loading import sample_shape
from secateur.compiler.report.words import (
    KIB,
    bytes_text,
    count_text,
    ms_range_text,
    ms_text,
    name_text,
    plural,
    slow_memory_text,
)
from secateur.compiler.session import Request, budget_of, model_of
from secateur.errors import UserError
from secateur.models.network import Network
from secateur.models.program import Program, op_macs
from secateur.passes.network.channels import FilterGroup, find_filters
from secateur.passes.network.layers import LayerUnit, find_layers
from secateur.passes.program.cost import Cost, Planned, cost, plan
from secateur.passes.program.lower import lower
from secateur.targets.target import Target, find, names

Tell = Callable[[str], None]


def table(*columns: str, right: Sequence[str] = ()) -> Table:
    """The plain table that all commands share."""
    made = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in columns:
        justify: JustifyMethod = "right" if name in right else "left"
        # The first column names a thing: it is what the reader copies.
        made.add_column(name, justify=justify, no_wrap=name == columns[0], overflow="fold")
    return made


def program_of(request: Request, tell: Tell) -> tuple[Network | None, Program]:
    """The Program of a MODEL; a float network's is shape-only, costed as the int8 one it becomes."""
    loaded, _ = model_of(request, tell)
    if loaded.preprocess.front_end is not None:
        loaded.preprocess.front_end.check(sample_shape(loaded))
    return (loaded, lower(loaded)) if isinstance(loaded, Network) else (None, loaded)


@dataclass(frozen=True)
class Fit:
    """One device's row of `check`."""

    target: Target
    cost: Cost
    budget: Budget
    fits: bool
    why: str
    patches: str
    slow: str
    front_end: str
    latency_ms: tuple[float | None, float | None]

    def document(self) -> dict[str, Any]:
        c, (low, high) = self.cost, self.latency_ms
        return {
            "target": self.target.name, "fits": self.fits, "why": self.why or None, "kind": "predicted",
            "ram_bytes": c.ram_bytes, "ram_limit_bytes": self.budget.ram_bytes, "arena_bytes": c.arena_bytes,
            "flash_bytes": c.flash_bytes, "flash_limit_bytes": self.budget.flash_bytes, "macs": c.macs,
            "instructions": c.instructions, "latency_ms_low": low, "latency_ms_high": high,
            "latency_limit_ms": self.budget.latency_ms, "patches": self.patches or None,
            "slow_arena_bytes": c.slow_arena_bytes, "slow_memory": self.slow or None,
            "front_end_bytes": c.front_end_bytes, "front_end": self.front_end or None,
        }  # fmt: skip


def check(request: Request, every: bool = False, tell: Tell = quiet) -> list[Fit]:
    """One row for the request's target, or for every device; where no limit is asked for, the device's own holds."""
    if (not request.target) == (not every):
        raise UserError("name one device with --target, or all with --all-targets (secateur targets lists them)")
    if every and request.slow_ram is not None:
        raise UserError("--slow-ram goes with --target: devices differ in how much they have")
    # this computer is no device: with it, something would always fit
    chosen = [find(n) for n in names() if n != "host"] if every else [find(request.target)]
    asked = budget_of(request)
    for t in chosen:
        asked.check(t)
    network, program = program_of(request, tell)
    return [_fit(program, t, asked.on(t), network is not None) for t in chosen]


def _fit(program: Program, target: Target, budget: Budget, removable: bool) -> Fit:
    planned = plan(program, target, ram_bytes=budget.room(Margins()), relief=budget.relief)
    found = cost(planned, target)
    r = reached(found, target, Margins())
    over = violated(r, budget)
    parts = []
    if "ram_bytes" in over:
        peak = max(range(len(found.live_bytes)), key=found.live_bytes.__getitem__)
        op = planned.program.ops[peak]
        where = f"{op.kind.lower()} {name_text(planned.program.tensors[op.outputs[0]].name)}"
        parts.append(
            f"needs {bytes_text(r.ram_bytes)} RAM, {bytes_text(budget.ram_bytes or 0)} allowed; "
            f"most at {where}: {bytes_text(found.live_bytes[peak])}"
        )
    if "flash_bytes" in over:
        parts.append(f"needs {bytes_text(r.flash_bytes)} flash, {bytes_text(budget.flash_bytes or 0)} allowed")
    if "latency_ms" in over:
        parts.append(f"takes up to {ms_text(r.latency_ms or 0)}, {budget.latency_ms:g} ms allowed")
    slow = slow_memory_text(planned.memory)
    if slow and budget.latency_ms is not None:
        parts.append("the latency is not known: the time of slow memory is not modelled")
    way_out = (
        f"secateur compile --target {target.name} removes until it fits, or says how near it comes"
        if removable
        else "From a .tflite nothing is removed: give the float network that it was made from"
    )
    why = f"{target.name}: {'; '.join(parts)}. {way_out}" if parts else ""
    bands = [
        f"{plural(p.layers, 'layer')} from {name_text(p.first)} in {p.bands} bands, "
        f"{p.extra_macs:,} MACs computed again"
        for p in planned.patches
    ]
    told = f"{target.name}: in patches for the RAM limit: {'; '.join(bands)}" if bands else ""
    beside = f"{target.name}: for the RAM limit, {slow}" if slow else ""
    front = ""
    if program.preprocess.front_end is not None:
        front = (
            f"{target.name}: the front end's {bytes_text(found.front_end_bytes)} of RAM and its tables are counted; "
            "its code and time are known once compile has built and run it"
        )
    return Fit(target, found, budget, not parts, why, told, beside, front, (r.latency_low_ms, r.latency_ms))


def check_table(rows: list[Fit]) -> Table:
    """Predicted cost beside each device's limits; sizes in KiB."""
    numbers = ("RAM KiB", "of", "flash KiB", "of", "ms")
    made = table("target", "fits", *numbers, right=numbers)
    for row in rows:
        low, high = row.latency_ms
        ram, flash = (f"{n / KIB:,.1f}" for n in (row.cost.ram_bytes, row.cost.flash_bytes))
        limits = ((row.budget.ram_bytes or 0) / KIB, (row.budget.flash_bytes or 0) / KIB)
        of_ram, of_flash = (f"{n:,.1f}".removesuffix(".0") for n in limits)
        made.add_row(
            row.target.name, Text("yes" if row.fits else "no", style="bold green" if row.fits else "bold red"),
            ram, of_ram, flash, of_flash,
            "unknown" if low is None or high is None else ms_range_text(low, high).removesuffix(" ms"),
        )  # fmt: skip
    return made


@dataclass(frozen=True)
class Inspection:
    """What `inspect` shows. `layers` and `filters` are empty for an int8 program: nothing is cut there."""

    target: Target
    planned: Planned
    cost: Cost
    layers: tuple[LayerUnit, ...]
    filters: tuple[FilterGroup, ...]

    def document(self) -> dict[str, Any]:
        program, counts = self.planned.program, self.cost.layer_instructions
        return {
            "name": program.name, "target": self.target.name, "macs": self.cost.macs, "params": self.cost.parameters,
            "arena_bytes": self.cost.arena_bytes, "arena_lower_bound_bytes": self.cost.arena_lower_bound_bytes,
            "operators": [
                {
                    "name": program.tensors[op.outputs[0]].name, "op": op.kind,
                    "shape": list(program.tensors[op.outputs[0]].shape), "macs": op_macs(program, op),
                    "constant_bytes": kernel.constant_bytes(program, op), "kernel": kernel.name,
                    "live_bytes": live, "instructions": None if counts is None else counts[i],
                }
                for i, (op, kernel, live) in enumerate(
                    zip(program.ops, self.planned.selection, self.cost.live_bytes, strict=True)
                )
            ],
            "layers": [
                {"name": u.name, "stage": u.stage, "removable": u.removable, "reason": u.reason or None}
                for u in self.layers
            ],
            "filters": [
                {
                    "name": g.name, "channels": g.size * g.channels_per_class, "residual": g.residual,
                    "removable": g.removable, "reason": g.reason or None,
                }
                for g in self.filters
            ],
        }  # fmt: skip

    def renderable(self) -> RenderableType:
        program, c = self.planned.program, self.cost
        head = (
            f"{program.name}: {count_text(c.macs)} MACs, {count_text(c.parameters)} parameters, arena "
            f"{bytes_text(c.arena_bytes)} (lower bound {bytes_text(c.arena_lower_bound_bytes)}); on {self.target.name}"
        )
        ops = table("#", "operator", "output", "shape", "MACs", "constants", "live",
                    right=("#", "MACs", "constants", "live"))  # fmt: skip
        rows = zip(program.ops, self.planned.selection, c.live_bytes, strict=True)
        for i, (op, kernel, live) in enumerate(rows):
            out = program.tensors[op.outputs[0]]
            shape = "x".join(str(n) for n in out.shape[1:])
            constants = kernel.constant_bytes(program, op)
            ops.add_row(
                str(i),
                op.kind.lower(),
                Text(out.name),
                shape,
                f"{op_macs(program, op):,}",
                f"{constants:,}",
                f"{live:,}",
            )
        parts: list[RenderableType] = [Text(head), Text(), ops]
        if self.layers:
            units = table("layer", "stage", "removable")
            for u in self.layers:
                units.add_row(
                    Text(u.name),
                    str(u.stage) if u.stage >= 0 else "",
                    Text("yes" if u.removable else f"no: {u.reason}"),
                )
            parts += [Text(), units]
        if self.filters:
            groups = table("filter group", "channels", "removable", right=("channels",))
            for g in self.filters:
                kind = "yes, residual stream" if g.residual else "yes"
                groups.add_row(
                    Text(g.name),
                    str(g.size * g.channels_per_class),
                    Text(kind if g.removable else f"no: {g.reason}"),
                )
            parts += [Text(), groups]
        return Group(*parts)


def inspect(request: Request, tell: Tell = quiet) -> Inspection:
    """Operators with their costs, and what can be removed."""
    chosen = find(request.target)
    network, program = program_of(request, tell)
    planned = plan(program, chosen)
    layers = find_layers(network, request.floor) if network is not None else ()
    filters = find_filters(network) if network is not None else ()
    return Inspection(chosen, planned, cost(planned, chosen), tuple(layers), tuple(filters))


def targets_document(name: str | None) -> Any:
    """Records of one device, or of all."""

    def record(t: Target) -> dict[str, Any]:
        return {f.name: getattr(t, f.name) for f in fields(Target)}

    return record(find(name)) if name else [record(find(n)) for n in names()]


def targets_table(name: str | None) -> Table:
    """One device in full, or a line each."""
    if name is None:
        made = table("target", "RAM", "flash", "clock", "device", right=("RAM", "flash", "clock"))
        for t in (find(n) for n in names()):
            made.add_row(t.name, bytes_text(t.ram_bytes), bytes_text(t.flash_bytes), f"{t.clock_hz / 1e6:g} MHz",
                         t.description)  # fmt: skip
        return made
    made = table("field", "value")
    target = find(name)
    for f in fields(Target):
        value = getattr(target, f.name)
        made.add_row(f.name, Text(", ".join(str(v) for v in value) if isinstance(value, tuple) else str(value)))
    return made


def doctor_table(findings: list[Finding]) -> Table:
    """Present and missing, with the command that installs what is missing."""
    made = table("", "what", "version", "needed for / install with")
    for f in findings:
        missing = Text("-", style="dim") if f.optional else Text("--", style="bold red")
        mark = Text("ok", style="green") if f.present else missing
        made.add_row(mark, f.name, f.version or "", Text(f.needed_for if f.present else f"{f.needed_for}: {f.install}"))
    return made
