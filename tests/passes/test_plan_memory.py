"""The arena plan against an independent checker, an independent lower bound and brute force."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from c_host import planned
from exported import sample

from secateur.models.program import Op, Options, Program, Quantization, Tensor, verify_program
from secateur.models.zoo.small import SMALL
from secateur.passes.program.choose_kernels import choose_kernels
from secateur.passes.program.cost import Planned
from secateur.passes.program.plan_memory import plan_memory

SCALE = Quantization((0.1,), (0,))
RENAMING = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
Interval = tuple[int, int]


def placed(program: Program) -> Planned:
    """`program` as it is: simplified, most of these would be no test any more."""
    selection = choose_kernels(program, ())
    return Planned(program, selection, plan_memory(program, selection))


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


Share = dict[tuple[frozenset[int], frozenset[int]], int]


def may_share(made: Planned) -> Share:
    """(holder of the output, holder of an input that dies there) -> bytes of the output's end that may lie over it."""
    program, lives = made.program, lifetimes(made.program)
    found: Share = {}
    for step, (op, kernel) in enumerate(zip(program.ops, made.selection, strict=True)):
        if op.kind in RENAMING:
            continue
        (out,) = (holder for holder in lives if op.outputs[0] in holder)
        for holder, (_, end) in lives.items():
            positions = [k for k, i in enumerate(op.inputs) if i in holder]
            if end == step and positions and len({op.inputs[k] for k in positions}) == len(positions):
                found[out, holder] = min(kernel.overlap_bytes(program, op, k) for k in positions)
    return found


def allowed(
    share: Share, size: dict[frozenset[int], int], a: frozenset[int], b: frozenset[int], at_a: int, at_b: int
) -> bool:
    """Whether two pieces of memory that live at once may lie at these addresses."""
    if at_a + size[a] <= at_b or at_b + size[b] <= at_a:
        return True
    over_b = (a, b) in share and at_a <= at_b and at_a + size[a] - at_b <= share[a, b]
    over_a = (b, a) in share and at_b <= at_a and at_b + size[b] - at_a <= share[b, a]
    return over_a or over_b


def sizes_of(program: Program, lives: dict[frozenset[int], Interval]) -> dict[frozenset[int], int]:
    return {holder: program.tensors[min(holder)].elements for holder in lives}


def check(made: Planned) -> None:
    """No two pieces that live at once overlap beyond what is allowed, and all lie within the arena."""
    at, lives, share = made.memory.tensor_offsets, lifetimes(made.program), may_share(made)
    size = sizes_of(made.program, lives)
    assert {t for holder in lives for t in holder} == set(at)
    for holder in lives:
        assert len({at[t] for t in holder}) == 1, "a renamed tensor moved"
        assert 0 <= at[min(holder)] <= made.memory.arena_bytes - size[holder]
    for (a, (a0, a1)), (b, (b0, b1)) in combinations(lives.items(), 2):
        if a0 <= b1 and b0 <= a1:
            places = (at[min(a)], at[min(b)])
            assert allowed(share, size, a, b, *places), f"{set(a)} and {set(b)} collide at {places}"


def bound(made: Planned) -> int:
    """The highest sum over the operators of what lives then, less what may be shared."""
    lives, share = lifetimes(made.program), may_share(made)
    size, highest = sizes_of(made.program, lives), 0
    for step, op in enumerate(made.program.ops):
        total = sum(size[h] for h, (begin, end) in lives.items() if begin <= step <= end)
        (out,) = (h for h in lives if op.outputs[0] in h)
        saved = sum(min(s, size[b]) for (a, b), s in share.items() if a == out and lives[b][1] == step)
        highest = max(highest, total - min(saved, size[out]))
    return highest


# An output may lie only below the input that it writes over, so a chain slides down the arena and its operators cannot
# all be at their own bound: the arenas found for these three, to be noticed should they grow.
ABOVE_BOUND = {"dilated": 454, "ds-cnn": 9776, "har": 2400}


@pytest.mark.parametrize("name", list(SMALL))
def test_plan_of_small_networks_is_safe_and_least(name: str) -> None:
    """Nothing collides, the bound is the one computed here, and the arena reaches it where it can be reached."""
    made = planned(sample(name).program)
    check(made)
    assert made.memory.lower_bound_bytes == bound(made)
    assert made.memory.arena_bytes == ABOVE_BOUND.get(name, bound(made))


def _program(sizes: list[int], ops: list[tuple[str, tuple[int, ...], int]], outputs: tuple[int, ...]) -> Program:
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


def least_by_brute_force(made: Planned) -> int:
    """The smallest arena over all placements at all, by trying every address of every piece."""
    lives, share = lifetimes(made.program), may_share(made)
    size, order = sizes_of(made.program, lives), list(lives)
    at_once = {
        holder: [i for i, other in enumerate(order) if lives[holder][0] <= lives[other][1] and
                 lives[other][0] <= lives[holder][1]] for holder in order
    }  # fmt: skip

    def fits(height: int, placed: list[int]) -> bool:
        if len(placed) == len(order):
            return True
        holder = order[len(placed)]
        rivals = [i for i in at_once[holder] if i < len(placed)]
        return any(
            all(allowed(share, size, holder, order[i], address, placed[i]) for i in rivals)
            and fits(height, [*placed, address])
            for address in range(height - size[holder] + 1)
        )

    return next(height for height in range(max(size.values()), sum(size.values()) + 1) if fits(height, []))


def _random(seed: int) -> Program:
    """A random graph of up to four operators over tensors of up to five bytes, concatenations more."""
    random = np.random.default_rng(seed)
    sizes, ops, used = [int(random.integers(1, 6))], [], set()
    for _ in range(int(random.integers(2, 5))):
        kind = str(random.choice(["FULLY_CONNECTED", "RELU", "ADD", "CONCATENATION", "RESHAPE"]))
        a = int(random.integers(len(sizes)))
        equal = [i for i, n in enumerate(sizes) if n == sizes[a]]
        b = int(random.choice(equal if kind == "ADD" else list(range(len(sizes)))))
        inputs = (a, b) if kind in ("ADD", "CONCATENATION") else (a,)
        size = {"FULLY_CONNECTED": int(random.integers(1, 6)), "CONCATENATION": sizes[a] + sizes[b]}.get(kind, sizes[a])
        ops.append((kind, inputs, len(sizes)))
        sizes.append(size)
        used.update(inputs)
    loose = tuple(i for i in range(1, len(sizes)) if i not in used)
    return _program(sizes, ops, loose)


@pytest.mark.parametrize("seed", range(40))
def test_plan_of_random_graphs_is_safe_and_least(seed: int) -> None:
    """No placement at all, of every one tried, is smaller."""
    made = placed(_random(seed))
    check(made)
    assert made.memory.lower_bound_bytes == bound(made) <= made.memory.arena_bytes
    assert made.memory.arena_bytes == least_by_brute_force(made)


def test_a_reshape_costs_nothing() -> None:
    """Input and output of a reshape are one buffer, also when the input is read again later."""
    made = placed(_program([6, 6, 6, 6], [("RESHAPE", (0,), 1), ("RELU", (1,), 2), ("ADD", (0, 2), 3)], (3,)))
    check(made)
    assert len(made.memory.buffers) == 3
    assert made.memory.tensor_offsets[0] == made.memory.tensor_offsets[1]
    assert made.memory.arena_bytes == 12


def test_elementwise_chain_stays_in_place() -> None:
    """A chain of element-by-element operators needs one buffer's bytes."""
    made = placed(_program([6, 6, 6, 6], [("RELU", (0,), 1), ("RELU", (1,), 2), ("RELU", (2,), 3)], (3,)))
    assert made.memory.arena_bytes == 6


def test_an_input_read_again_later_is_kept() -> None:
    """An operand that is needed later is not written over."""
    made = placed(_program([6, 6, 6], [("RELU", (0,), 1), ("ADD", (0, 1), 2)], (2,)))
    check(made)
    assert made.memory.arena_bytes == 12


def test_the_checker_sees_a_collision() -> None:
    """The check of these tests fails where two tensors that live at once are put on one address."""
    made = placed(_program([6, 6, 6], [("RELU", (0,), 1), ("ADD", (0, 1), 2)], (2,)))
    made.memory.tensor_offsets.update({0: 0, 1: 0})
    with pytest.raises(AssertionError, match="collide"):
        check(made)
