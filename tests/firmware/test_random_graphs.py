"""Differential fuzzing: random graphs of many operators, reference interpreter and generated C against TFLM.

python tests/firmware/test_random_graphs.py 10000 20000   # graphs 20000 to 29999, by hand; prints totals
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from ai_edge_litert import schema_py_generated as schema
from c_host import generated, planned, run_many_sanitized
from litert import run_litert
from random_graphs import NOT_DRAWN, judged_by_litert, random_graph

from secateur.compiler.bench.operator_files import CASES, Case
from secateur.compiler.frontends.tflite_file import parse_tflite
from secateur.errors import UserError
from secateur.models.program import Program, random_inputs
from secateur.models.reference import run_reference
from secateur.runtime_bench.golden import run_tflm

SAMPLES = 3
BATCH = 20  # graphs a program: one start of the compiler and of the sanitizers for all


def _case(seed: int) -> tuple[Program, npt.NDArray[np.int8], npt.NDArray[np.int8]]:
    """A graph as read, samples with the two extremes, and what TFLM, or for some LiteRT, makes of them."""
    content = random_graph(seed)
    program = parse_tflite(content, f"net{seed}", f"graph {seed}")
    samples = random_inputs(program, SAMPLES, seed)
    if all(program.tensors[i].dtype != "float32" for i in program.inputs):
        samples[0], samples[1] = 127, -128
    judge = run_litert if judged_by_litert(seed) else run_tflm
    return program, samples, judge(content, program, samples)


def _operators(content: bytes) -> set[str]:
    names = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
    return {names[code.builtinCode] for code in schema.ModelT.InitFromPackedBuf(content).operatorCodes}


@pytest.mark.slow
def test_the_graphs_have_every_operator() -> None:
    """All of operator_files.py but those that are named, in the first five hundred."""
    known = {kind for make in CASES.values() for seed in range(3) for kind in _operators(make(Case(seed)))}
    drawn = {kind for seed in range(500) for kind in _operators(random_graph(seed))}
    assert known - drawn == set(NOT_DRAWN)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 100, 25))
def test_reference_interpreter_equals_tflm(first: int) -> None:
    """A hundred graphs, every output byte."""
    for seed in range(first, first + 25):
        program, samples, expected = _case(seed)
        assert np.array_equal(run_reference(program, samples), expected), f"graph {seed}"


def check(seeds: range, folder: Path) -> Counter[str]:
    """C of all these graphs against TFLM; returns the operators met. Raises AssertionError, naming the graph."""
    cases = [_case(seed) for seed in seeds]
    models = [generated(planned(program), f"net{seed}") for seed, (program, _, _) in zip(seeds, cases, strict=True)]
    given = [(model, samples) for model, (_, samples, _) in zip(models, cases, strict=True)]
    for seed, found, (_, _, expected) in zip(seeds, run_many_sanitized(given, folder), cases, strict=True):
        assert np.array_equal(found, expected), f"graph {seed}"
    return Counter(op.kind for program, _, _ in cases for op in program.ops)


@pytest.mark.emulator
@pytest.mark.slow
@pytest.mark.parametrize("first", range(1000, 1100, BATCH))
def test_generated_c_equals_tflm(first: int, tmp_path: Path) -> None:
    """A hundred graphs under ASan and UBSan, twenty models in one program."""
    check(range(first, first + BATCH), tmp_path)


def main() -> None:
    """Print operators and mismatches of graphs START to START + COUNT, so that runs of several ranges add up."""
    count, start = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    totals: Counter[str] = Counter()
    wrong = 0
    for first in range(start, start + count, BATCH):
        with tempfile.TemporaryDirectory() as folder:
            try:
                totals += check(range(first, min(first + BATCH, start + count)), Path(folder))
            except (AssertionError, UserError, subprocess.CalledProcessError) as error:
                wrong += 1
                sys.stdout.write(f"{first} to {first + BATCH - 1}: {str(error)[:500]}\n")
        if (first - start) % 500 == 0 or first + BATCH >= start + count:
            done = min(first + BATCH - start, count)
            sys.stdout.write(f"from {start}: {done} graphs, {totals.total()} operators, {wrong} batches wrong\n")
            sys.stdout.flush()
    sys.stdout.write(", ".join(f"{kind} {n}" for kind, n in totals.most_common()) + "\n")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
