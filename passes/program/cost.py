"""What a Program will cost on a device, before it is built: exact arena and constants, modelled code and time.

Instructions are work counts of the kernels times coefficients that `secateur bench calibrate` measured in the
emulators (firmware/kernels/costs.toml). The ELF and the run decide in the end; this steers the search.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from typing import Any

from secateur.errors import UserError
from secateur.firmware.codegen import KERNEL_FOLDER
from secateur.firmware.front_end import image, stream
from secateur.models.program import Program, op_macs
from secateur.passes.program.choose_kernels import Selection, choose_kernels
from secateur.passes.program.fit_patches import fit_in_patches
from secateur.passes.program.order import OrderOperators
from secateur.passes.program.patches import Patched
from secateur.passes.program.plan_memory import MemoryPlan, plan_memory
from secateur.passes.program.regions import PATCHES, Relief, plan_regions
from secateur.passes.program.simplify import simplify
from secateur.passes.program.value_ranges import exact
from secateur.targets.target import Target

STATE_BYTES = 12
"""Three pointers: the arena, the hook and its context."""
SLOW_STATE_BYTES = 4
"""One more where there is a slow arena."""


@dataclass(frozen=True)
class Cost:
    """Bytes and instructions of one Program on one target.

    `constant_bytes`: weights, biases and multipliers, exact. `stack_bytes`, `code_bytes`, `instructions`:
    modelled, None where no model of the instruction set (the host) or of a kernel exists. `live_bytes`: by
    operator, what the arena must hold then. `slow_arena_bytes` is no RAM, and what its accesses take is in no number.
    `front_end_bytes`: of RAM, beside the arena. The front end's tables are in `constant_bytes`; its code and its time
    are in no number before an image has been built and run.
    """

    macs: int
    parameters: int
    arena_bytes: int
    arena_lower_bound_bytes: int
    stack_bytes: int | None
    constant_bytes: int
    code_bytes: int | None
    instructions: int | None
    layer_instructions: tuple[int, ...] | None
    live_bytes: tuple[int, ...]
    weights_in_ram: bool
    slow_arena_bytes: int = 0
    front_end_bytes: int = 0

    @property
    def ram_bytes(self) -> int:
        """Arena, state, stack (where it is known) and, where the device needs it, weights."""
        weights = self.constant_bytes if self.weights_in_ram else 0
        state = STATE_BYTES + (SLOW_STATE_BYTES if self.slow_arena_bytes else 0)
        return self.arena_bytes + state + self.front_end_bytes + (self.stack_bytes or 0) + weights

    @property
    def flash_bytes(self) -> int:
        """Constants and code (where it is known)."""
        return self.constant_bytes + (self.code_bytes or 0)


@dataclass(frozen=True)
class Planned:
    """A Program ready for code generation: simplified, with a kernel an operator and a place a tensor.

    `patches`: the stages that run band by band, because a memory limit demands it.
    """

    program: Program
    selection: Selection
    memory: MemoryPlan
    patches: tuple[Patched, ...] = ()


def plan(
    program: Program, target: Target, tries: int = 400, ram_bytes: int | None = None, relief: Relief = PATCHES
) -> Planned:  # fmt: skip
    """Simplify, order, choose kernels and plan the arena. Raises UserError for operators without a kernel.

    `ram_bytes`: what RAM may come to. Above it, as far as `relief` allows: wide stages run in patches, at the cost of
    operations done twice; where those do not reach it, whole layers have some activations in slow memory.
    """
    made = _plan_whole(program, target, tries)
    if ram_bytes is None:
        return made
    found = cost(made, target)
    if found.ram_bytes <= ram_bytes:
        return made
    room = ram_bytes - (found.ram_bytes - found.arena_bytes)
    made_so = [made]
    if relief.patches:
        patched, patches, memory = fit_in_patches(made.program, target.features, room, tries)
        if patches:
            made_so.append(Planned(patched, memory.selection, memory, patches))
    if relief.slow_ram_bytes and made_so[-1].memory.arena_bytes > room:
        kernels = choose_kernels(made.program, target.features)
        memory = plan_regions(made.program, kernels, room - SLOW_STATE_BYTES, relief.slow_ram_bytes, tries)
        made_so.append(Planned(made.program, memory.selection, memory))
    return min(made_so, key=lambda p: p.memory.arena_bytes)


def _plan_whole(program: Program, target: Target, tries: int) -> Planned:
    """The least arena with every operator in one piece.

    Channels that values prove constant are cut unless the arena grows: a narrower input may leave its output less to
    run over. So the arena that a float Program's shapes tell stays an upper bound.
    """
    simple = simplify(program)
    made = _place(simple, target, tries)
    if not exact(program):
        return made
    uncut = simplify(program, cut_channels=False)
    if uncut.macs == simple.macs:
        return made
    try:
        whole = _place(uncut, target, tries)
    except UserError:  # only the cut has taken out what no kernel computes
        return made
    return made if made.memory.arena_bytes <= whole.memory.arena_bytes else whole


def _place(program: Program, target: Target, tries: int) -> Planned:
    """In the order that needs the least, unless the given one comes out smaller all the same."""
    ordered = OrderOperators(target.features, tries)(program)
    made = _place_as_ordered(ordered, target, tries)
    if ordered is not program and made.memory.arena_bytes > made.memory.lower_bound_bytes:
        return min(_place_as_ordered(program, target, tries), made, key=lambda p: p.memory.arena_bytes)
    return made


def _place_as_ordered(program: Program, target: Target, tries: int) -> Planned:
    memory = plan_memory(program, choose_kernels(program, target.features), tries)
    return Planned(program, memory.selection, memory)


def cost(planned: Planned, target: Target) -> Cost:
    """Cost of a planned Program, float (shape-only) or int8."""
    program, selection, memory = planned.program, planned.selection, planned.memory
    model = instruction_model().get(target.isa)
    layers = None
    code = stack = None
    if model is not None:
        known = model["kernels"]
        if all(k.free or k.name in known for k in selection):
            pairs = zip(selection, program.ops, strict=True)
            layers = tuple(0 if k.free else predict_instructions(known[k.name], k.work(program, op)) for k, op in pairs)
        code = predict_code_bytes(model, planned)
        stack = int(model["stack_bytes"])
    front = stream.parts(program)
    arena, tables = memory.arena_bytes, constant_bytes(planned)
    if front is not None:
        place = 0 if program.inputs[0] in memory.slow.tensors else memory.tensor_offsets[program.inputs[0]]
        arena = stream.memory(front, program, place, arena).arena_bytes
        tables += front.constant_bytes
    seen = image.parts(program)
    if seen is not None:
        tables += seen.constant_bytes
    raw = front or seen
    return Cost(
        macs=sum(op_macs(program, op) for op in program.ops),
        parameters=program.parameters,
        arena_bytes=arena,
        arena_lower_bound_bytes=memory.lower_bound_bytes,
        stack_bytes=stack,
        constant_bytes=tables,
        code_bytes=code,
        instructions=None if layers is None else sum(layers) + int(model["invoke"]),  # type: ignore[index]
        layer_instructions=layers,
        live_bytes=memory.live_bytes,
        weights_in_ram=target.weights_in_ram,
        slow_arena_bytes=memory.slow.arena_bytes,
        front_end_bytes=0 if raw is None else raw.state_bytes,
    )


def constant_bytes(planned: Planned) -> int:
    """Flash of all constant tables, exact. The bands of one operator read the same ones."""
    program = planned.program
    tables: dict[tuple[object, ...], int] = {}
    for step, (kernel, op) in enumerate(zip(planned.selection, program.ops, strict=True)):
        constants = tuple(i for i in op.inputs if i >= 0 and program.tensors[i].data is not None)
        same = (op.name, op.kind, constants) if planned.patches and op.name else (step,)
        tables[same] = kernel.constant_bytes(program, op)
    return sum(tables.values())


def latency_ms(instructions: float, target: Target, clock_hz: int | None = None) -> tuple[float, float]:
    """(low, high) milliseconds: instructions times the target's cycles per instruction, over its clock."""
    low, high = target.cycles_per_instruction
    scale = 1000 / (clock_hz or target.clock_hz)
    return instructions * low * scale, instructions * high * scale


def predict_instructions(coefficients: dict[str, float], work: dict[str, int]) -> int:
    """One operator: a constant for the call plus coefficient times count for each kind of work."""
    return round(coefficients["call"] + sum(coefficients[name] * count for name, count in work.items()))


def code_features(planned: Planned) -> dict[str, int]:
    """What code size follows from: which kernels are in the image, how many calls and operators there are."""
    features = {"base": 1, "operator": sum(not k.free for k in planned.selection)}
    for kernel in {k.header for k in planned.selection if not k.free}:
        features[kernel] = 1
    return features


def label_bytes(program: Program) -> int:
    """The table of class names: a pointer and a string each."""
    return sum(4 + len(label.encode()) + 1 for label in program.labels)


def predict_code_bytes(model: dict[str, Any], planned: Planned) -> int:
    """Instructions, parameter structs and start-up code, in bytes, with the measured margin; and labels."""
    sizes = model["code"]
    total: float = sum(sizes.get(name, 0.0) * count for name, count in code_features(planned).items())
    return round(total * (1 + float(model["code_margin"]))) + label_bytes(planned.program)


@cache
def instruction_model() -> dict[str, dict[str, Any]]:
    """The coefficients by instruction set; see the head of costs.toml."""
    tables: dict[str, dict[str, Any]] = tomllib.loads((KERNEL_FOLDER / "costs.toml").read_text())
    return {isa: tables[str(t["as"])] if "as" in t else t for isa, t in tables.items()}
