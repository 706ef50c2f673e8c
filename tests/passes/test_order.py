"""The order of the operators: against every order there is, against the planner, and output for output."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
import pytest
from arena import bound, check, placed, tiny

from secateur.models.program import Program, State, verify_program
from secateur.models.reference import run_reference
from secateur.models.zoo.small import SMALL, small_network
from secateur.passes.program.choose_kernels import choose_kernels
from secateur.passes.program.fuse_padding import FusePadding
from secateur.passes.program.lower import lower
from secateur.passes.program.order import OrderOperators, Steps

Wiring = tuple[str, tuple[int, ...], int]


def _random(seed: int) -> Program:
    """A random graph of 5 to 8 operators, most of them wide, so that many orders are possible."""
    random = np.random.default_rng(seed)
    sizes, made, used = [int(random.integers(1, 20))], list[Wiring](), set[int]()
    for _ in range(int(random.integers(5, 9))):
        kind = str(random.choice(["FULLY_CONNECTED", "FULLY_CONNECTED", "RELU", "ADD", "CONCATENATION", "RESHAPE"]))
        a = int(random.integers(max(0, len(sizes) - 4), len(sizes)))
        equal = [i for i, n in enumerate(sizes) if n == sizes[a]]
        b = int(random.choice(equal if kind == "ADD" else list(range(len(sizes)))))
        inputs = (a, b) if kind in ("ADD", "CONCATENATION") else (a,)
        size = {"FULLY_CONNECTED": int(random.integers(1, 20)), "CONCATENATION": sizes[a] + sizes[b]}
        made.append((kind, inputs, len(sizes)))
        sizes.append(size.get(kind, sizes[a]))
        used.update(inputs)
    return tiny(sizes, made, tuple(i for i in range(1, len(sizes)) if i not in used))


def every_order(program: Program) -> Iterator[list[int]]:
    """All topological orders, by the tensors that each operator needs."""

    def extend(order: list[int], known: set[int]) -> Iterator[list[int]]:
        if len(order) == len(program.ops):
            yield order
        for i, op in enumerate(program.ops):
            if i not in order and set(program.activations(op)) <= known:
                yield from extend([*order, i], known | set(op.outputs))

    return extend([], set(program.inputs))


def _with_order(program: Program, order: list[int]) -> Program:
    found = Program(
        program.name, program.tensors, tuple(program.ops[i] for i in order), program.inputs, program.outputs
    )
    verify_program(found)
    return found


@pytest.mark.parametrize("seed", range(40))
def test_order_is_least_of_all(seed: int) -> None:
    """No order of a random graph needs less; what the pass thinks an order needs is what the planner's bound says."""
    program = _random(seed)
    steps = Steps(program, choose_kernels(program, ()))
    orders = list(every_order(program))
    peaks = [steps.highest(order) for order in orders]
    for i in np.random.default_rng(seed).integers(0, len(orders), 3):
        permuted = _with_order(program, orders[i])
        assert bound(permuted, choose_kernels(permuted, ())) == peaks[i] >= steps.unavoidable
    ordered = OrderOperators(())(program)
    assert bound(ordered, choose_kernels(ordered, ())) == min(peaks)
    if min(peaks) == steps.highest(range(len(program.ops))):
        assert ordered is program


def _branches(count: int) -> Program:
    """`count` branches that widen 4 bytes to 40 and narrow them to 4, all widened first; then joined."""
    wide, narrow = range(1, count + 1), range(count + 1, 2 * count + 1)
    made: list[Wiring] = [("FULLY_CONNECTED", (0,), w) for w in wide]
    made += [("FULLY_CONNECTED", (w,), n) for w, n in zip(wide, narrow, strict=True)]
    made.append(("CONCATENATION", tuple(narrow), 2 * count + 1))
    return tiny([4] + [40] * count + [4] * count + [4 * count], made, (2 * count + 1,))


def test_a_branch_is_finished_before_the_next_begins() -> None:
    """Three branches that are all widened first need 120 bytes; one after the other 48; outputs are the same."""
    program = _branches(3)
    steps = Steps(program, choose_kernels(program, ()))
    assert steps.highest(range(7)) == 120
    ordered = OrderOperators(())(program)
    assert [program.ops.index(op) for op in ordered.ops] == [0, 3, 1, 4, 2, 5, 6]
    made = placed(ordered)
    check(made)
    assert made.memory.arena_bytes == made.memory.lower_bound_bytes == 48
    x = np.random.default_rng(0).integers(-128, 128, (8, 4)).astype(np.int8)
    assert np.array_equal(run_reference(ordered, x), run_reference(program, x))


@pytest.mark.parametrize("name", list(SMALL))
def test_order_is_kept_where_none_is_better(name: str) -> None:
    """The small networks come in an order that cannot be improved."""
    program = FusePadding()(lower(small_network(name)))
    assert OrderOperators(())(program) is program


def test_order_is_kept_where_the_search_is_cut_short(caplog: pytest.LogCaptureFixture) -> None:
    """Twelve branches have more than half a million sets of operators; the order is kept, and a line says so."""
    program = _branches(12)
    with caplog.at_level(logging.INFO):
        assert OrderOperators((), tries=1)(program) is program
    assert "more than 25 sets" in caplog.text


def test_a_program_with_states_keeps_its_order() -> None:
    """Whether a state can be written in place depends on the order itself."""
    given = _branches(3)
    program = Program(
        given.name, given.tensors, given.ops, (), given.outputs, states=(State(0, 4, np.zeros((1, 4), np.int8)),)
    )
    verify_program(program)
    assert OrderOperators(())(program) is program
