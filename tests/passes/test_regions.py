"""Activations in two memories: no byte is lost, what is accessed most for its size stays in RAM, limits are held."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from arena import keeps_every_byte, split, tiny
from c_host import SANITIZERS, WARNINGS, generated, planned, run_many_sanitized, run_sanitized, write
from exported import sample
from random_graphs import random_graph
from random_programs import random_chain, random_program

from secateur.compiler.frontends.tflite_file import parse_tflite
from secateur.models.program import Program, random_inputs
from secateur.models.reference import run_reference
from secateur.models.zoo.small import SMALL
from secateur.passes.program.choose_kernels import Selection, choose_kernels
from secateur.passes.program.cost import cost, plan
from secateur.passes.program.lifetimes import Buffer, buffers_of
from secateur.passes.program.plan_memory import MemoryPlan
from secateur.passes.program.regions import Relief, accesses, plan_regions
from secateur.targets.target import find

M4 = find("qemu-cortex-m4")
MUCH = 1 << 20


def known(program: Program) -> tuple[Selection, list[Buffer], list[int]]:
    """Kernels, buffers and the accesses of each."""
    kernels = choose_kernels(program, M4.features)
    buffers, owner = buffers_of(program, kernels)
    return kernels, buffers, accesses(program, kernels, buffers, owner)


def within(memory: MemoryPlan) -> bool:
    """Every buffer inside its arena, which is as large as its bound at least."""
    ends = [[0], [0]]
    for i, (b, offset) in enumerate(zip(memory.buffers, memory.offsets, strict=True)):
        ends[i in memory.slow.buffers].append(offset + b.size)
    bounds = memory.lower_bound_bytes, memory.slow.lower_bound_bytes
    sizes = memory.arena_bytes, memory.slow.arena_bytes
    return [max(e) for e in ends] == list(sizes) and bounds[0] <= sizes[0] and bounds[1] <= sizes[1]


@pytest.mark.slow
@pytest.mark.parametrize("make", [random_program, random_chain])
def test_no_choice_of_buffers_loses_a_byte(make) -> None:
    """Every set of up to three buffers of random graphs, and all of them, in slow memory."""
    tried = shared = 0
    for seed in range(12):
        program = make(seed)
        count = len(known(program)[1])
        chosen = [frozenset(c) for n in range(1, 4) for c in combinations(range(count), n)]
        for slow in [*chosen[:: max(1, len(chosen) // 12)], frozenset(range(count))]:
            made = split(program, slow)
            keeps_every_byte(made)
            assert within(made.memory)
            tried += 1
            shared += made.memory.slow.arena_bytes < sum(made.memory.buffers[i].size for i in slow)
    assert tried > 120 and shared > 20


@pytest.mark.emulator
def test_generated_c_of_random_choices_is_exact(tmp_path: Path) -> None:
    """Inputs, outputs and copies in either memory: exact under the sanitizers, with arenas of exact size."""
    given, expected = [], []
    random = np.random.default_rng(7)
    for seed in range(16):
        read = parse_tflite(random_graph(seed), f"net{seed}", f"graph {seed}")
        program = planned(read).program
        count = len(known(program)[1])
        slow = frozenset(int(i) for i in np.flatnonzero(random.random(count) < 0.5)) or frozenset({0})
        samples = random_inputs(read, 2, seed)
        slow = frozenset(range(count)) if seed == 0 else slow
        given.append((generated(split(program, slow), f"net{seed}"), samples))
        expected.append(run_reference(read, samples))
    for want, got in zip(expected, run_many_sanitized(given, tmp_path), strict=True):
        assert np.array_equal(want, got)


@pytest.mark.emulator
def test_a_copy_to_the_same_offset_of_the_other_memory_is_made(tmp_path: Path) -> None:
    """Both tensors begin at byte 0, of two arenas: that is no copy onto itself."""
    program = tiny([8, 16], [("CONCATENATION", (0, 0), 1)], (1,))
    made = split(program, frozenset({1}))
    assert set(made.memory.tensor_offsets.values()) == {0}
    samples = random_inputs(program, 2, 1)
    found = run_sanitized(generated(made), samples, tmp_path)
    assert np.array_equal(found, np.concatenate([samples, samples], axis=1))


@pytest.mark.emulator
def test_both_arenas_are_checked_when_they_are_given(tmp_path: Path) -> None:
    """init refuses a slow arena that is null or not aligned, and then invoke refuses the state."""
    program = tiny([8, 16], [("CONCATENATION", (0, 0), 1)], (1,))
    sources = write(generated(split(program, frozenset({1}))), tmp_path)
    (tmp_path / "main.c").write_text(
        '#include "net.h"\n'
        "static int8_t a[64] __attribute__((aligned(16))), b[64] __attribute__((aligned(16))), in[8], out[16];\n"
        "int main(void) {\n    net_state s;\n"
        "    if (net_init(&s, a, 0) != NET_E_ARGUMENT || net_init(&s, 0, b) != NET_E_ARGUMENT) return 1;\n"
        "    if (net_init(&s, a, b + 1) != NET_E_ALIGNMENT || net_init(&s, a + 1, b) != NET_E_ALIGNMENT) return 2;\n"
        "    if (net_invoke(&s, in, out) != NET_E_STATE || net_input(&s)) return 3;\n"
        "    return net_init(&s, a, b) || net_invoke(&s, in, out) ? 4 : 0;\n}\n"
    )
    command = ["gcc", *WARNINGS, *SANITIZERS, "-o", str(tmp_path / "test"), str(tmp_path / "main.c")]
    subprocess.run([*command, *map(str, sources)], check=True)
    assert subprocess.run([str(tmp_path / "test")]).returncode == 0


def test_the_check_of_bytes_sees_two_arenas_laid_over_each_other() -> None:
    """A plan that forgets which memory its tensors are in fails it."""
    ops = [("FULLY_CONNECTED", (0,), i) for i in (1, 2, 3)]
    program = tiny([20, 30, 40, 5], ops, (1, 2, 3))
    made = split(program, frozenset({0}))
    keeps_every_byte(made)
    forgotten = replace(made.memory, slow=replace(made.memory.slow, tensors=frozenset()))
    with pytest.raises(AssertionError):
        keeps_every_byte(replace(made, memory=forgotten))


def test_accesses_of_a_chain_by_hand() -> None:
    """Each output element is written once; one read for each four output channels, and each input element at least
    once."""
    program = tiny([20, 30, 2], [("FULLY_CONNECTED", (0,), 1), ("FULLY_CONNECTED", (1,), 2)], (2,))
    assert known(program)[2] == [20 * 30 // 4, 30 + 30, 2]


def test_what_is_accessed_least_for_its_size_goes() -> None:
    """Of two buffers of one size the one that is read once leaves, not the one that is read twice; and nothing else."""
    ops = [("FULLY_CONNECTED", (i,), out) for i, out in ((0, 1), (0, 2), (1, 3), (1, 4), (2, 5))]
    program = tiny([8, 100, 100, 20, 20, 20], ops, (3, 4, 5))
    kernels, _, counts = known(program)
    made = plan_regions(program, kernels, 165, MUCH)
    assert made.slow.tensors == {2} and made.arena_bytes <= 165 < split(program, frozenset()).memory.arena_bytes
    assert made.slow.arena_bytes == made.slow.lower_bound_bytes == 100
    assert (made.slow.accesses, made.slow.all_accesses) == (100 + 100 * 20 // 4, sum(counts))


def test_no_single_buffer_can_come_back() -> None:
    """What went to slow memory is needed there: with any one of it in RAM, the limit's bound is exceeded."""
    checked = 0
    for seed in range(30):
        program = random_program(seed)
        kernels, _, _ = known(program)
        whole = split(program, frozenset()).memory
        limit = int(0.6 * whole.lower_bound_bytes)
        made = plan_regions(program, kernels, limit, MUCH)
        assert made.arena_bytes <= limit  # all of it may leave, so it is always reached
        if made.arena_bytes != made.lower_bound_bytes:
            continue
        for i in made.slow.buffers:
            back = split(program, made.slow.buffers - {i}).memory
            checked += 1
            assert back.lower_bound_bytes > limit or back.slow.lower_bound_bytes > MUCH
    assert checked > 20


@pytest.mark.slow
def test_slow_memory_is_never_overdrawn() -> None:
    """Where it is too small, the smallest arena in RAM that it allows."""
    helped = 0
    for seed in range(30):
        program = random_program(seed)
        kernels, buffers, _ = known(program)
        whole = split(program, frozenset()).memory
        for room in (0, 8, max(b.size for b in buffers)):
            made = plan_regions(program, kernels, 0, room, tries=20)
            assert made.slow.arena_bytes <= room and made.arena_bytes <= whole.arena_bytes
            helped += made.arena_bytes < whole.arena_bytes
    assert helped > 10


@pytest.mark.emulator
@pytest.mark.parametrize("name", list(SMALL))
def test_every_small_network_in_three_fifths_of_its_arena(name: str, tmp_path: Path) -> None:
    """Exact under the sanitizers; the fast arena holds the limit and what is accessed most for its size."""
    s = sample(name)
    whole = plan(s.program, M4)
    limit = cost(whole, M4).ram_bytes - whole.memory.arena_bytes + int(0.6 * whole.memory.arena_bytes)
    made = plan(s.program, M4, ram_bytes=limit, relief=Relief(patches=False, slow_ram_bytes=MUCH))
    assert cost(made, M4).ram_bytes <= limit and made.memory.slow.buffers and not made.patches
    assert cost(made, M4).ram_bytes == (
        cost(whole, M4).ram_bytes - whole.memory.arena_bytes + made.memory.arena_bytes + 4
    )
    keeps_every_byte(made)
    assert within(made.memory)
    _, buffers, counts = known(made.program)
    best = max(range(len(buffers)), key=lambda i: counts[i] / buffers[i].size)
    fast = [i for i in range(len(buffers)) if i not in made.memory.slow.buffers]
    alone = buffers[best].size > made.memory.arena_bytes
    assert best in fast or alone
    flat = s.inputs.reshape(len(s.inputs), -1)[:8]
    assert np.array_equal(run_sanitized(generated(made), flat, tmp_path), s.golden[:8])


@pytest.mark.slow
def test_patches_come_before_slow_memory() -> None:
    """Where bands of rows hold the limit, nothing leaves RAM; below what they reach, whole layers and slow memory."""
    s = sample("residual-2d")
    whole = plan(s.program, M4)
    fixed = cost(whole, M4).ram_bytes - whole.memory.arena_bytes
    both = Relief(slow_ram_bytes=MUCH)
    mild = plan(s.program, M4, ram_bytes=fixed + int(0.7 * whole.memory.arena_bytes), relief=both)
    assert mild.patches and not mild.memory.slow.buffers
    hard = plan(s.program, M4, ram_bytes=fixed + int(0.1 * whole.memory.arena_bytes), relief=both)
    assert not hard.patches and hard.memory.slow.buffers
    assert cost(hard, M4).ram_bytes <= fixed + int(0.1 * whole.memory.arena_bytes)


def test_the_float_network_is_planned_alike() -> None:
    """What the search predicts from shapes is what the quantized network gets."""
    s = sample("residual-2d")
    limit = int(0.5 * cost(plan(s.program, M4), M4).ram_bytes)
    relief = Relief(False, MUCH)
    exact, shapes = (plan(p, M4, ram_bytes=limit, relief=relief) for p in (s.program, s.floats))
    assert exact.memory.slow.buffers
    assert cost(exact, M4).ram_bytes == cost(shapes, M4).ram_bytes
    assert cost(exact, M4).slow_arena_bytes == cost(shapes, M4).slow_arena_bytes
