"""Stages in bands of rows: no output bit changes, no byte is lost in the arena, and a RAM limit is held by them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from arena import keeps_every_byte
from c_host import generated, run_sanitized
from exported import sample
from random_programs import Maker, random_chain, random_program, unchanged

from secateur.compiler.frontends.tflite_file import load_tflite
from secateur.models.program import Options, Padding, Program, Quantization, State, random_inputs, verify_program
from secateur.models.reference import run_reference
from secateur.passes.program.choose_kernels import choose_kernels
from secateur.passes.program.cost import Planned, constant_bytes, cost, plan
from secateur.passes.program.fit_patches import fit_in_patches
from secateur.passes.program.patches import Stage, bands, in_bands, rows_needed, stages
from secateur.passes.program.plan_memory import plan_memory
from secateur.targets.target import find

M4 = find("qemu-cortex-m4")


def cuts(program: Program) -> list[tuple[Stage, int]]:
    """Every stage in every number of bands that it can be cut into."""
    found = dict.fromkeys(s for around in range(len(program.ops)) for s in stages(program, around))
    return [(s, n) for s in found for n in range(2, program.tensors[s.output].shape[s.axis] + 1)
            if rows_needed(program, s, n)]  # fmt: skip


def placed(program: Program) -> Planned:
    memory = plan_memory(program, choose_kernels(program, M4.features), tries=40)
    return Planned(program, memory.selection, memory)


@pytest.mark.slow
@pytest.mark.parametrize("make", [random_program, random_chain])
def test_bands_change_no_output_bit(make) -> None:
    """Stages of random networks, strides, paddings and branches included, in every number of bands."""
    tried = joined = 0
    for seed in range(40):
        program = make(seed)
        found = cuts(program)
        for stage, count in found[:: max(1, len(found) // 3)]:
            banded = in_bands(program, stage, count)
            verify_program(banded)
            assert unchanged(program, banded, 1), (seed, stage, count)
            keeps_every_byte(placed(banded))
            tried += 1
            joined += stage.last > stage.first
    assert tried > 60 and joined > 10


def one_dimensional() -> Program:
    """Two convolutions and a pool over 24 steps of one row."""
    m = Maker(3)
    x = m.tensor((1, 1, 24, 3))
    for out_c in (8, 8):
        size = m.shape(x)[2] - 2
        weights = m.weights((out_c, 1, 3, m.shape(x)[3]), 0, 3)
        x = m.op("CONV_2D", [x, *weights], m.tensor((1, 1, size, out_c)))
    pooled = m.tensor((1, 1, 10, 8), m.tensors[x].quantization)
    return m.program((0,), (m.op("MAX_POOL_2D", [x], pooled, Options(stride=(1, 2), kernel=(1, 2))),))


@pytest.mark.slow
def test_a_network_of_one_row_runs_in_bands_of_columns() -> None:
    """A 1-D network is cut along its only long axis, and needs less memory so."""
    program = one_dimensional()
    found = cuts(program)
    assert {s.axis for s, _ in found} == {2}
    for stage, count in found[::5]:
        banded = in_bands(program, stage, count)
        assert unchanged(program, banded, 1)
        keeps_every_byte(placed(banded))
    whole, least = (
        placed(program),
        min((placed(in_bands(program, *c)) for c in found[::3]), key=lambda p: p.memory.arena_bytes),
    )
    assert least.memory.arena_bytes < 0.75 * whole.memory.arena_bytes


def remembering(read_in_bands: bool) -> Program:
    """A state whose new value is the output of two convolutions, or what they read; then two wide layers."""
    m = Maker(2)
    random, q = m.random, m.palette[1]

    def layer(kind: str, x: int, shape: tuple[int, ...], out: tuple[int, ...]) -> int:
        weights = m.constant(random.integers(-127, 128, shape), "int8", Quantization((0.005,), (0,)))
        bias = m.constant(random.integers(-3000, 3000, shape[0]), "int32")
        around = Padding(1, 1, 1, 1) if len(out) == 4 else Padding()
        return m.op(kind, [x, weights, bias], m.tensor(out, q), Options(padding=around))

    frame, before = m.tensor((1, 8, 4, 4), q), m.tensor((1, 8, 4, 4), q)
    mixed = m.op("ADD", [frame, before], m.tensor((1, 8, 4, 4), q))
    wide = layer("CONV_2D", mixed, (16, 3, 3, 4), (1, 8, 4, 16))
    narrow = layer("CONV_2D", wide, (4, 3, 3, 16), (1, 8, 4, 4))
    means = m.op("MEAN", [narrow, m.constant([1, 2], "int32")], m.tensor((1, 4)))
    last = layer("FULLY_CONNECTED", layer("FULLY_CONNECTED", means, (400, 4), (1, 400)), (3, 400), (1, 3))
    state = State(before, mixed if read_in_bands else narrow, np.zeros((1, 8, 4, 4), np.int8))
    made = Program("remembering", tuple(m.tensors), tuple(m.ops), (frame,), (last,), states=(state,))
    verify_program(made)
    return made


@pytest.mark.slow
@pytest.mark.parametrize("read_in_bands", [False, True])
def test_a_state_beside_bands_is_kept_to_the_next_call(read_in_bands: bool, tmp_path: Path) -> None:
    """What a stage writes or reads is the network's memory: wide layers after its last reader do not run over it."""
    program = remembering(read_in_bands)
    samples = random_inputs(program, 4, 5)
    golden = run_reference(program, samples)
    found = [(s, n) for s, n in cuts(program) if n in (2, 4) and s.last > s.first]
    assert found
    for number, (stage, count) in enumerate(found):
        made = placed(in_bands(program, stage, count))
        keeps_every_byte(made)
        assert np.array_equal(run_sanitized(generated(made), samples, tmp_path / str(number)), golden)


def test_the_check_of_bytes_sees_a_band_one_byte_off() -> None:
    """An arena in which one tensor lies a byte too low, or the whole one byte elsewhere than its parts, fails it."""
    program = one_dimensional()
    stage, count = cuts(program)[-1]
    made = placed(in_bands(program, stage, count))
    keeps_every_byte(made)
    inner = [op.outputs[0] for op in made.program.ops if not op.options.in_place]
    seen = 0
    for tensor in inner:
        moved = {**made.memory.tensor_offsets, tensor: made.memory.tensor_offsets[tensor] + 1}
        try:
            keeps_every_byte(replace(made, memory=replace(made.memory, tensor_offsets=moved)))
        except (AssertionError, ValueError):
            seen += 1
    assert seen >= len(inner) // 2


def test_what_a_stage_may_hold() -> None:
    """A tensor that leaves the stage in its middle, a reduction over rows or rows joined end it."""
    m = Maker(0)
    x = m.tensor((1, 8, 8, 4))
    a = m.op("RELU", [x], m.tensor((1, 8, 8, 4)))
    b = m.op("RELU", [a], m.tensor((1, 8, 8, 4)))
    both = m.op("CONCATENATION", [a, b], m.tensor((1, 8, 8, 8), m.tensors[a].quantization), Options(axis=3))
    m.op("MEAN", [both, m.constant([1, 2], "int32")], m.tensor((1, 8)))
    program = m.program((x,), (len(m.tensors) - 1, b))
    spans = sorted({(s.first, s.last) for around in range(4) for s in stages(program, around)})
    assert spans == [(0, 0), (1, 1)]  # `b` is an output of the network: nothing around it is one stage
    only = m.program((x,), (len(m.tensors) - 1,))
    assert sorted({(s.first, s.last) for around in range(4) for s in stages(only, around)}) == [
        (0, 0), (0, 2), (1, 1), (1, 2)]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name,share", [("residual-2d", 0.7), ("residual-1d", 0.9)])
def test_a_limit_below_the_whole_arena_is_held(name: str, share: float, tmp_path: Path) -> None:
    """In bands, with constants that stay one table; the generated C equals TFLM under the sanitizers."""
    s = sample(name)
    whole = plan(s.program, M4)
    spare = cost(whole, M4).ram_bytes - whole.memory.arena_bytes
    limit = int(share * whole.memory.arena_bytes) + spare
    made = plan(s.program, M4, ram_bytes=limit)
    found = cost(made, M4)
    assert found.ram_bytes <= limit < cost(whole, M4).ram_bytes
    assert made.patches and found.macs == cost(whole, M4).macs + sum(p.extra_macs for p in made.patches)
    assert constant_bytes(made) == constant_bytes(whole)
    keeps_every_byte(made)
    assert np.array_equal(run_sanitized(generated(made), s.inputs[:4], tmp_path), s.golden[:4])
    assert plan(s.program, M4, ram_bytes=cost(whole, M4).ram_bytes).patches == ()


def test_a_float_network_is_planned_in_the_same_bands() -> None:
    """What the search predicts from shapes is what the quantized network gets."""
    s = sample("residual-2d")
    limit = int(0.8 * cost(plan(s.program, M4), M4).ram_bytes)
    exact, shapes = plan(s.program, M4, ram_bytes=limit), plan(s.floats, M4, ram_bytes=limit)
    assert exact.patches and [p.bands for p in exact.patches] == [p.bands for p in shapes.patches]
    assert cost(exact, M4).ram_bytes == cost(shapes, M4).ram_bytes


TARGETS = {
    "image_classification/pretrainedResnet_quant.tflite": (19_000, 0.7),
    "visual_wake_words/vww_96_int8.tflite": (27_800, 0.01),
}
"""Arena bytes, and the share of operations that may come twice."""


@pytest.mark.slow
@pytest.mark.parametrize("path", list(TARGETS))
def test_reference_networks_fit_far_smaller_arenas(shared_data: Path, path: str) -> None:
    """MLPerf Tiny's image networks: 33,308 and 36,868 bytes in one piece."""
    program = plan(load_tflite(shared_data / "mlperf_tiny" / path), M4).program
    limit, share = TARGETS[path]
    banded, told, memory = fit_in_patches(program, M4.features, limit, 400)
    assert memory.arena_bytes <= limit
    assert banded.macs <= (1 + share) * program.macs and len(told) == 1
    samples = random_inputs(program, 2, 5)
    assert np.array_equal(run_reference(program, samples), run_reference(banded, samples))
    keeps_every_byte(Planned(banded, memory.selection, memory))


def test_bands_are_as_equal_as_can_be() -> None:
    """No band has two rows more than another, and together they are all rows."""
    for rows in range(2, 40):
        for count in range(2, rows + 1):
            begins, ends = bands(rows, count)
            sizes = (ends - begins).tolist()
            assert begins[0] == 0 and ends[-1] == rows and (begins[1:] == ends[:-1]).all()
            assert max(sizes) - min(sizes) <= 1
