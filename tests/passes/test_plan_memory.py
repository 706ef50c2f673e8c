"""The arena plan against an independent checker, an independent lower bound and brute force."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from arena import SCALE, Share, allowed, bound, check, lifetimes, may_share, placed, sizes_of, tiny
from c_host import planned
from exported import sample

from secateur.compiler.frontends.tflite_file import load_tflite
from secateur.compiler.limits import QUICK_PLAN
from secateur.models.program import Op, Options, Padding, Program, State, Tensor, verify_program
from secateur.models.zoo.small import SMALL
from secateur.passes.program.cost import Planned, plan
from secateur.passes.program.lifetimes import Buffer, Piece
from secateur.targets.target import find


def every_walk(made: Planned) -> list[Share]:
    """What may be shared, for every combination of the kernels' directions."""
    return [may_share(made.program, kernels) for kernels in product(*(k.walks for k in made.selection))]


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SMALL))
def test_plan_of_small_networks_is_safe_and_least(name: str) -> None:
    """Nothing collides, the bound is the one computed here, and the arena reaches it, also in the budget search."""
    program = sample(name).program
    made = planned(program)
    check(made)
    assert made.memory.arena_bytes == made.memory.lower_bound_bytes == bound(made.program, made.selection)
    assert plan(program, find("host"), QUICK_PLAN).memory.arena_bytes == made.memory.arena_bytes


@pytest.mark.parametrize("seed", range(20))
def test_bytes_of_pieces_are_counted_once(seed: int) -> None:
    """What a buffer of overlapping pieces holds at each operator is the number of its bytes that any of them wants."""
    random = np.random.default_rng(seed)
    pieces = []
    for _ in range(int(random.integers(1, 8))):
        begin, first = (int(n) for n in random.integers(-1, 9, size=2))
        begin, lasts = max(begin, 0), int(random.integers(0, 5))
        pieces.append(Piece(begin, begin + int(random.integers(1, 6)), first, first + lasts))
    first, last = min(p.first for p in pieces) - int(random.integers(0, 2)), max(p.last for p in pieces) + 1
    buffer = Buffer("b", 16, first, last, (), pieces=tuple(pieces))
    for step in range(first - 2, last + 3):
        alive = [p for p in pieces if p.first <= step <= p.last]
        assert buffer.wanted(step) == sum(any(p.begin <= byte < p.end for p in alive) for byte in range(16))
    whole = Buffer("b", 16, first, last, ())
    assert [whole.wanted(s) for s in (first - 1, first, last, last + 1)] == [0, 16, 16, 0]


MLPERF_ARENAS = {
    "image_classification/pretrainedResnet_quant": 33308,
    "visual_wake_words/vww_96_int8": 36868,
    "keyword_spotting/kws_ref_model": 8384,
    "anomaly_detection/ad01_int8": 764,
    "streaming_wakeword/str_ww_ref_model": 3620,
}  # fmt: skip


@pytest.mark.parametrize("name", list(MLPERF_ARENAS))
def test_plan_of_mlperf_networks_is_safe_and_least(shared_data: Path, name: str) -> None:
    """The arenas of the MLPerf Tiny files are at their bounds."""
    made = planned(load_tflite(shared_data / "mlperf_tiny" / f"{name}.tflite"))
    check(made)
    assert (
        made.memory.arena_bytes
        == made.memory.lower_bound_bytes
        == bound(made.program, made.selection)
        == MLPERF_ARENAS[name]
    )


def least_by_brute_force(made: Planned) -> int:
    """The smallest arena over all placements at all, by trying every address of every piece."""
    lives, ways = lifetimes(made.program), every_walk(made)
    size, order = sizes_of(made.program, lives), list(lives)
    at_once = {
        holder: [i for i, other in enumerate(order) if lives[holder][0] <= lives[other][1] and
                 lives[other][0] <= lives[holder][1]] for holder in order
    }  # fmt: skip

    def fits(share: Share, height: int, placed: list[int]) -> bool:
        if len(placed) == len(order):
            return True
        holder = order[len(placed)]
        rivals = [i for i in at_once[holder] if i < len(placed)]
        return any(
            all(allowed(share, holder, order[i], (at, at + size[holder]), (placed[i], placed[i] + size[order[i]]))
                for i in rivals)
            and fits(share, height, [*placed, at])
            for at in range(height - size[holder] + 1)
        )  # fmt: skip

    heights = range(max(size.values()), sum(size.values()) + 1)
    return next(height for height in heights if any(fits(share, height, []) for share in ways))


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
    return tiny(sizes, ops, loose)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_plan_of_random_graphs_is_safe_and_least(seed: int) -> None:
    """No placement at all, of every one tried, is smaller."""
    made = placed(_random(seed))
    check(made)
    assert made.memory.lower_bound_bytes == bound(made.program, made.selection) <= made.memory.arena_bytes
    assert made.memory.arena_bytes == least_by_brute_force(made)


def test_a_reshape_costs_nothing() -> None:
    """Input and output of a reshape are one buffer, also when the input is read again later."""
    made = placed(tiny([6, 6, 6, 6], [("RESHAPE", (0,), 1), ("RELU", (1,), 2), ("ADD", (0, 2), 3)], (3,)))
    check(made)
    assert len(made.memory.buffers) == 3
    assert made.memory.tensor_offsets[0] == made.memory.tensor_offsets[1]
    assert made.memory.arena_bytes == 12


def test_elementwise_chain_stays_in_place() -> None:
    """A chain of element-by-element operators needs one buffer's bytes."""
    made = placed(tiny([6, 6, 6, 6], [("RELU", (0,), 1), ("RELU", (1,), 2), ("RELU", (2,), 3)], (3,)))
    assert made.memory.arena_bytes == 6


def test_an_input_read_again_later_is_kept() -> None:
    """An operand that is needed later is not written over."""
    made = placed(tiny([6, 6, 6], [("RELU", (0,), 1), ("ADD", (0, 1), 2)], (2,)))
    check(made)
    assert made.memory.arena_bytes == 12


def test_the_checker_sees_a_collision() -> None:
    """The check of these tests fails where two tensors that live at once are put on one address."""
    made = placed(tiny([6, 6, 6], [("RELU", (0,), 1), ("ADD", (0, 1), 2)], (2,)))
    made.memory.tensor_offsets.update({0: 0, 1: 0})
    with pytest.raises(AssertionError, match="collide"):
        check(made)


def test_nothing_lies_over_a_state() -> None:
    """An input that dies where a state gets its new value, in the place of the old one, lived beside the old one."""
    tensors = tuple(Tensor(name, (1, 6), "int8", SCALE) for name in ("x", "before", "out", "after"))
    ops = (Op("RELU", (1,), (2,)), Op("RELU", (0,), (3,)))
    program = Program("tiny", tensors, ops, (0,), (2,), states=(State(1, 3, np.zeros((1, 6), np.int8)),))
    verify_program(program)
    made = placed(program)
    at = made.memory.tensor_offsets
    assert at[1] == at[3]
    assert abs(at[0] - at[1]) >= 6
    assert made.memory.arena_bytes == made.memory.lower_bound_bytes == 18


@pytest.mark.parametrize(("padding", "descending"), [(Padding(bottom=1), False), (Padding(top=1), True)])
def test_a_state_written_in_place_walks_as_that_allows(padding: Padding, descending: bool) -> None:
    """Each output row reads its own row and a neighbour, which must not be written yet: one direction is left."""
    state, weights = np.zeros((1, 5, 1, 4), np.int8), np.ones((1, 2, 1, 4), np.int8)
    tensors = (
        *(Tensor(name, state.shape, "int8", SCALE) for name in ("x", "out", "before", "after")),
        Tensor("w", weights.shape, "int8", SCALE, weights),
    )
    ops = (Op("RELU", (0,), (1,)), Op("DEPTHWISE_CONV_2D", (2, 4, -1), (3,), Options(padding=padding)))
    program = Program("tiny", tensors, ops, (0,), (1,), states=(State(2, 3, state),))
    verify_program(program)
    made = placed(program)
    assert made.memory.tensor_offsets[2] == made.memory.tensor_offsets[3]
    assert made.selection[1].descending == descending
    assert made.memory.arena_bytes == 40
