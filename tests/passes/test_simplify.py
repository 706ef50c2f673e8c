"""All simplifications together: no output bit changes, on any network; the person detector loses half of itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from c_host import generated, planned, run_sanitized
from exported import sample
from random_programs import Maker, equal, inputs_of, kinds, outputs_of, random_program, unchanged, widths

from secateur.compiler.bench.operator_files import CASES, Case
from secateur.compiler.frontends.tflite_file import load_tflite, parse_tflite
from secateur.models.program import Program, Quantization, State, random_inputs
from secateur.models.reference import run_reference
from secateur.models.zoo.small import SMALL
from secateur.passes.contract import PassError
from secateur.passes.program.choose_kernels import choose_kernels
from secateur.passes.program.plan_memory import plan_memory
from secateur.passes.program.simplify import STRUCTURE, VALUES, simplify
from secateur.runtime_bench.golden import run_tflm

Q = Quantization((0.05,), (3,))
SEEDS = range(48)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SMALL))
def test_small_networks_keep_their_outputs(name: str) -> None:
    """Simplified, each equals TFLM on its samples and itself on extremes; simplifying again finds nothing."""
    s = sample(name)
    simple = simplify(s.program)
    assert np.array_equal(run_reference(simple, s.inputs[:2]), s.golden[:2])
    assert unchanged(s.program, simple, 0)
    assert simplify(simple) == simple


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SMALL))
def test_each_pass_alone_keeps_a_small_network(name: str) -> None:
    """A pass that changes a network, alone, changes none of its outputs."""
    s = sample(name)
    for each in (*STRUCTURE, *VALUES):
        after = each(s.program)
        assert after == s.program or np.array_equal(run_reference(after, s.inputs[:1]), s.golden[:1]), each.name


@pytest.mark.slow
def test_random_programs_keep_their_outputs() -> None:
    """All passes together and each alone, on graphs that use every operator; all passes find work there."""
    changed = dict.fromkeys(("simplify", *(p.name for p in (*STRUCTURE, *VALUES))), 0)
    for seed in SEEDS:
        program = random_program(seed)
        x = inputs_of(program, 2)
        expected = outputs_of(program, x)
        steps: list[tuple[str, Callable[[Program], Program]]] = [(p.name, p) for p in (*STRUCTURE, *VALUES)]
        for name, step in [("simplify", simplify), *steps]:
            after = step(program)
            if after != program:
                changed[name] += 1
                assert equal(outputs_of(after, x), expected), (seed, name)
    assert min(changed.values()) > 0, changed


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(CASES))
def test_every_operator_keeps_its_outputs(kind: str) -> None:
    """Files of one operator each, several inputs and other types among them: as before, whatever is known of it."""
    for seed in range(3):
        program = parse_tflite(CASES[kind](Case(seed)), kind.lower(), kind)
        samples = random_inputs(program, 3, seed)
        if all(program.tensors[i].dtype == "int8" for i in program.inputs):  # else bytes may be indices
            samples[1:] = np.array([[-128], [127]])
        assert np.array_equal(run_reference(simplify(program), samples), run_reference(program, samples)), seed


def test_states_are_ends() -> None:
    """What the next call reads is computed, all channels of it, though no output of this call depends on it."""
    m = Maker(12)
    entry, before, after = (m.tensor((1, 2, 2, 3), Q) for _ in range(3))
    weights = m.random.integers(1, 90, (3, 1, 1, 3))
    weights[1] = 0  # constant, and still state
    x = m.op("CONV_2D", [entry, m.constant(weights, "int8", Quantization((1 / 64,), (0,)))], m.tensor((1, 2, 2, 3), Q))
    m.op("RESHAPE", [x], after)
    out = m.op("ADD", [entry, before], m.tensor((1, 2, 2, 3), Q))
    state = State(before, after, np.zeros((1, 2, 2, 3), np.int8))
    program = replace(m.program((entry, before), (out,)), inputs=(entry,), states=(state,))
    simple = simplify(program)
    assert kinds(simple) == ["CONV_2D", "ADD"] and widths(simple) == [3, 3]
    samples = inputs_of(program)
    assert np.array_equal(run_reference(simple, samples), run_reference(program, samples))


def test_float_programs_get_structure_only() -> None:
    """Without integers no channel is constant; reshapes go all the same. Passes over integers refuse."""
    m = Maker(8)
    entry = m.tensor((1, 2, 2, 3), Q)
    x = m.op("CONV_2D", [entry, m.constant(np.zeros((5, 1, 1, 3)), "int8", Q)], m.tensor((1, 2, 2, 5), Q))
    x = m.op("RESHAPE", [x], m.tensor((1, 2, 2, 5), Q))
    program = m.program((entry,), (m.op("RELU", [x], m.tensor((1, 2, 2, 5), Q)),))
    tensors = [
        replace(t, dtype="float32", quantization=None, data=None if t.data is None else t.data.astype(np.float32))
        for t in program.tensors
    ]
    floats = replace(program, tensors=tuple(tensors))
    assert kinds(simplify(floats)) == ["CONV_2D", "RELU"] and widths(simplify(floats)) == [5, 5]
    for each in VALUES:
        with pytest.raises(PassError, match=f"{each.name}: requires: .*int8"):
            each(floats)


@pytest.mark.parametrize("name", ["ds-cnn", "depthwise"])
def test_channels_are_cut_and_the_arena_does_not_grow(name: str) -> None:
    """What shapes alone predict of RAM stays an upper bound: a cut that would need more is not made."""
    program = sample(name).program
    whole = plan_memory(program, choose_kernels(program, ()))
    made = planned(program)
    assert made.program.macs < program.macs
    assert made.memory.arena_bytes <= whole.arena_bytes


# -- MLPerf Tiny


def constants(program: Program) -> int:
    """Bytes of weights and biases."""
    return sum(t.size_bytes for t in program.tensors if t.data is not None and t.dtype in ("int8", "int32"))


@pytest.fixture(scope="module")
def person(shared_data: Path) -> Path:
    path = shared_data / "mlperf_tiny" / "visual_wake_words" / "vww_96_int8.tflite"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    return path


def test_half_of_the_person_detector_goes(person: Path) -> None:
    """VWW: exact counts, in well under a second, and equal outputs."""
    program = load_tflite(person)
    start = time.process_time()
    simple = simplify(program)
    assert time.process_time() - start < 1.0
    assert (program.macs, simple.macs) == (7_489_664, 3_727_313)
    assert (constants(program), constants(simple)) == (219_064, 33_122)
    assert unchanged(program, simple, 0)


@pytest.mark.parametrize(
    "name",
    ["image_classification/pretrainedResnet_quant", "keyword_spotting/kws_ref_model", "anomaly_detection/ad01_int8"],
)
def test_the_others_have_no_dead_channels(name: str, shared_data: Path) -> None:
    """Nothing is taken for constant that is not."""
    path = shared_data / "mlperf_tiny" / f"{name}.tflite"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    program = load_tflite(path)
    assert simplify(program).macs == program.macs


@pytest.mark.emulator
def test_c_of_the_simplified_person_detector_equals_tflm(person: Path, tmp_path: Path) -> None:
    """From the simplified Program, under sanitizers, against TFLM on the file as it is."""
    program = load_tflite(person)
    x = inputs_of(program, 4)
    made = planned(program)
    assert made.program.macs == 3_727_313
    golden = run_tflm(person.read_bytes(), program, x)
    assert np.array_equal(run_sanitized(generated(made), x.reshape(len(x), -1), tmp_path), golden)
