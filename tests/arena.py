"""What an arena plan must hold, independent of the planner: shared by the tests of planning and of ordering."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from secateur.firmware.kernels.descriptor import Kernel
from secateur.models.program import Op, Options, Program, Quantization, Tensor, verify_program
from secateur.passes.program import regions
from secateur.passes.program.choose_kernels import choose_kernels
from secateur.passes.program.cost import Planned
from secateur.passes.program.lifetimes import buffers_of
from secateur.passes.program.plan_memory import plan_memory, sharing_of
from secateur.targets.target import find

SCALE = Quantization((0.1,), (0,))
RENAMING = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
Interval = tuple[int, int]


def lifetimes(program: Program) -> dict[frozenset[int], Interval]:
    """(step of writing, step of the last reading) of each piece of memory, named by the tensors that it holds."""
    holders: list[set[int]] = [{i} for i in program.inputs]
    for op in program.ops:
        same = next((h for h in holders if op.kind in RENAMING and op.inputs[0] in h), None)
        if same is None:
            holders.append(set(op.outputs))
        else:
            same.update(op.outputs)
    found = {}
    for holder in holders:
        written = [t for t, op in enumerate(program.ops) if holder & set(op.outputs)]
        read = [t for t, op in enumerate(program.ops) if holder & set(op.inputs)]
        begin = -1 if holder & set(program.inputs) else written[0]
        end = len(program.ops) if holder & set(program.outputs) else max(read + written, default=-1)
        found[frozenset(holder)] = (begin, end)
    return found


Share = dict[tuple[frozenset[int], frozenset[int]], tuple[int, bool]]


def may_share(program: Program, kernels: Sequence[Kernel]) -> Share:
    """(holder of the output, holder of an input that dies there) -> shared bytes, and whether the kernel descends.

    Ascending, they are at the output's end and the input's start; descending, at the output's start and input's end.
    """
    lives = lifetimes(program)
    found: Share = {}
    for step, (op, kernel) in enumerate(zip(program.ops, kernels, strict=True)):
        if op.kind in RENAMING:
            continue
        (out,) = (holder for holder in lives if op.outputs[0] in holder)
        for holder, (_, end) in lives.items():
            positions = [k for k, i in enumerate(op.inputs) if i in holder]
            if end == step and positions and len({op.inputs[k] for k in positions}) == len(positions):
                share = min(kernel.overlap_bytes(program, op, k) for k in positions)
                found[out, holder] = (share, kernel.descending)
    return found


def over(out: Interval, dying: Interval, share: tuple[int, bool]) -> bool:
    """Whether an output at bytes `out` may lie over an input at `dying`."""
    if share[1]:
        return out[1] >= dying[1] and dying[1] - out[0] <= share[0]
    return out[0] <= dying[0] and out[1] - dying[0] <= share[0]


def allowed(share: Share, a: frozenset[int], b: frozenset[int], at_a: Interval, at_b: Interval) -> bool:
    """Whether two pieces of memory that live at once may lie at these bytes."""
    if at_a[1] <= at_b[0] or at_b[1] <= at_a[0]:
        return True
    return ((a, b) in share and over(at_a, at_b, share[a, b])) or ((b, a) in share and over(at_b, at_a, share[b, a]))


def sizes_of(program: Program, lives: dict[frozenset[int], Interval]) -> dict[frozenset[int], int]:
    return {holder: program.tensors[min(holder)].elements for holder in lives}


def check(made: Planned) -> None:
    """No two pieces that live at once overlap beyond what is allowed, and all lie within the arena."""
    at, lives, share = made.memory.tensor_offsets, lifetimes(made.program), may_share(made.program, made.selection)
    size = sizes_of(made.program, lives)
    assert {t for holder in lives for t in holder} == set(at)
    for holder in lives:
        assert len({at[t] for t in holder}) == 1, "a renamed tensor moved"
        assert 0 <= at[min(holder)] <= made.memory.arena_bytes - size[holder]
    for (a, (a0, a1)), (b, (b0, b1)) in combinations(lives.items(), 2):
        if a0 <= b1 and b0 <= a1:
            places = [(at[min(h)], at[min(h)] + size[h]) for h in (a, b)]
            assert allowed(share, a, b, *places), f"{set(a)} and {set(b)} collide at {places}"


def bound(program: Program, kernels: Sequence[Kernel]) -> int:
    """The highest sum over the operators of what lives then, less the most that any direction shares."""
    lives, size, highest = lifetimes(program), sizes_of(program, lifetimes(program)), 0
    ways = [may_share(program, [k.walks[way % len(k.walks)] for k in kernels]) for way in range(2)]
    for step, op in enumerate(program.ops):
        total = sum(size[h] for h, (begin, end) in lives.items() if begin <= step <= end)
        (out,) = (h for h in lives if op.outputs[0] in h)
        saved = max(
            sum(min(s, size[b]) for (a, b), (s, _) in share.items() if a == out and lives[b][1] == step)
            for share in ways
        )
        highest = max(highest, total - min(saved, size[out]))
    return highest


def tiny(sizes: list[int], ops: list[tuple[str, tuple[int, ...], int]], outputs: tuple[int, ...]) -> Program:
    """Flat int8 tensors of `sizes`, the first being the input; constants of FULLY_CONNECTED are added."""
    tensors = [Tensor(f"t{i}", (1, n), "int8", SCALE) for i, n in enumerate(sizes)]
    made = []
    for kind, inputs, out in ops:
        if kind == "FULLY_CONNECTED":
            shape = (sizes[out], sizes[inputs[0]])
            tensors.append(Tensor(f"w{len(tensors)}", shape, "int8", SCALE, np.ones(shape, np.int8)))
            inputs = (*inputs, len(tensors) - 1)
        options = Options(axis=1) if kind == "CONCATENATION" else Options()
        made.append(Op(kind, inputs, (out,), options))
    program = Program("tiny", tuple(tensors), tuple(made), (0,), outputs)
    verify_program(program)
    return program


def placed(program: Program) -> Planned:
    """`program` as it is: simplified, most small graphs would be no test any more."""
    memory = plan_memory(program, choose_kernels(program, ()))
    return Planned(program, memory.selection, memory)


def split(program: Program, slow: frozenset[int]) -> Planned:
    """`program` as it is with these buffers in slow memory, whatever that is good for."""
    kernels = choose_kernels(program, find("qemu-cortex-m4").features)
    buffers, owner = buffers_of(program, kernels)
    sharing = sharing_of(program, kernels, buffers, owner)
    counts = regions.accesses(program, kernels, buffers, owner)
    memory = regions._place(buffers, sharing, counts, slow, 20)
    return Planned(program, memory.selection, memory)


def keeps_every_byte(made: Planned) -> None:
    """Each operator finds what was written, wherever that lies; an output may lie over what nobody reads after it."""
    program, at, slow = made.program, made.memory.tensor_offsets, made.memory.slow
    arenas, next_tag = (np.full(made.memory.arena_bytes, -1), np.full(slow.arena_bytes, -1)), 0
    content: dict[int, np.ndarray] = {}

    def write(tensor: int) -> None:
        nonlocal next_tag
        size = program.tensors[tensor].elements
        content[tensor] = np.arange(next_tag, next_tag + size).reshape(program.tensors[tensor].shape)
        next_tag += size
        arenas[tensor in slow.tensors][at[tensor] : at[tensor] + size] = content[tensor].ravel()

    def read(tensor: int) -> None:
        held = arenas[tensor in slow.tensors][at[tensor] : at[tensor] + content[tensor].size]
        assert np.array_equal(held, content[tensor].ravel()), program.tensors[tensor].name

    for i in (*program.inputs, *(state.before for state in program.states)):
        write(i)
    for op in program.ops:
        o, out = op.options, op.outputs[0]
        if o.in_place and op.kind == "STRIDED_SLICE":
            ranges = [slice(b, b + n) for b, n in zip(o.begin, program.tensors[out].shape, strict=True)]
            content[out] = content[op.inputs[0]][tuple(ranges)]
        elif o.in_place:
            content[out] = np.concatenate([content[i] for i in op.inputs], axis=o.axis)
        elif op.kind in ("RESHAPE", "SQUEEZE", "EXPAND_DIMS"):
            content[out] = content[op.inputs[0]].reshape(program.tensors[out].shape)
        else:
            for i in program.activations(op):
                read(i)
            write(out)
            continue
        read(out)
    for i in (*program.outputs, *(state.after for state in program.states)):
        read(i)
