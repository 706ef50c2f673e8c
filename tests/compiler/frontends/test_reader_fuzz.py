"""Mutations of real files: a reader takes one, or refuses it in one line; it never crashes, hangs or fills memory.

python tests/compiler/frontends/test_reader_fuzz.py 100000 [SEED]     # a long run, by hand; prints totals
"""

from __future__ import annotations

import resource
import signal
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import numpy as np
import pytest

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from exported import sample
from random_graphs import random_graph

from secateur.compiler.bench.operator_files import CASES, Case
from secateur.compiler.export.onnx import export_onnx
from secateur.compiler.frontends.onnx_file import load_onnx
from secateur.compiler.frontends.tflite_file import parse_tflite
from secateur.errors import UserError
from secateur.models.zoo.small import small_network
from secateur.passes.program.cost import plan
from secateur.targets.target import find

SECONDS = 10  # no file may take longer
BYTES = 1 << 30  # nor more memory than this beyond what the program has
INTERESTING = (0, 1, 2, 4, 127, 128, 254, 255)
ONNX = ("mlp", "concat", "residual-1d", "depthwise")


def originals(folder: Path) -> dict[str, bytes]:
    """Files to start from: the zoo's, single operators, random graphs, and MLPerf's where they are."""
    found = {f"{name}.tflite": sample(name).content for name in ("concat", "har", "residual-1d", "depthwise")}
    found |= {f"{kind}.tflite": make(Case(0)) for kind, make in CASES.items()}
    found |= {f"graph{seed}.tflite": random_graph(seed) for seed in range(8)}
    for name in ONNX:
        path = folder / f"{name}.onnx"
        export_onnx(small_network(name), path)
        found[path.name] = path.read_bytes()
    shared = Path(__file__).parents[4] / "shared" / "data" / "mlperf_tiny"
    for path in sorted(shared.glob("*/*.tflite")):
        if path.stat().st_size < 400_000:
            found[path.name] = path.read_bytes()
    return found


def mutate(content: bytes, random: np.random.Generator) -> bytes:
    """Bytes changed, a piece cut out, repeated or moved, or the end missing; mostly where the structure is."""
    data = bytearray(content)
    for _ in range(int(random.integers(1, 5))):
        at = int(random.integers(0, len(data)))
        what = random.random()
        if what < 0.7:
            data[at] = int(random.choice([*INTERESTING, data[at] ^ 1 << int(random.integers(8))]))
        elif what < 0.8:
            data[at : at + 4] = int(random.integers(0, 1 << 32)).to_bytes(4, "little")
        elif what < 0.88:
            del data[at : at + int(random.integers(1, 64))]
        elif what < 0.96:
            piece = data[at : at + int(random.integers(1, 64))]
            data[at:at] = piece
        else:
            del data[at:]
        if not data:
            return b""
    return bytes(data)


def outcome(name: str, content: bytes, folder: Path) -> str:
    """ "taken" or "refused"; anything else raises."""
    try:
        if name.endswith(".tflite"):
            program = parse_tflite(content, "net", name)
            if sum(t.elements for t in program.tensors) < 1_000_000:
                plan(program, find("host"), 4)
        else:
            path = folder / "mutant.onnx"
            path.write_bytes(content)
            load_onnx(path)
    except UserError as error:
        if "\n" in str(error).strip():
            raise AssertionError(f"more than one line: {error}") from error
        return "refused"
    return "taken"


def run(files: dict[str, bytes], count: int, seed: int, folder: Path) -> Iterator[tuple[str, str]]:
    """(file, outcome) of `count` mutants. A crash, a hang or too much memory raises, naming the mutant."""
    random = np.random.default_rng(seed)
    names = list(files)

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"longer than {SECONDS} s")

    old = signal.signal(signal.SIGALRM, stop)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    try:
        for i in range(count):
            name = names[int(random.integers(len(names)))]
            content = mutate(files[name], random)
            signal.alarm(SECONDS)
            try:
                found = outcome(name, content, folder)
            except Exception as error:
                kept = folder / f"crash-{seed}-{i}-{name}"
                kept.write_bytes(content)
                raise AssertionError(f"mutant {i} of {name} (seed {seed}), kept as {kept}: {error!r}") from error
            finally:
                signal.alarm(0)
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
            assert grown < BYTES, f"mutant {i} of {name} (seed {seed}): {grown >> 20} MiB more memory"
            yield name, found
    finally:
        signal.signal(signal.SIGALRM, old)


@pytest.mark.slow
@pytest.mark.parametrize("kind,count", [(".tflite", 600), (".onnx", 120)])
def test_mutants_are_taken_or_refused_in_one_line(kind: str, count: int, tmp_path: Path) -> None:
    """Hundreds of damaged files, seeded; both outcomes are met."""
    files = {name: content for name, content in originals(tmp_path).items() if name.endswith(kind)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcomes = Counter(found for _, found in run(files, count, 1, tmp_path))
    assert set(outcomes) == {"taken", "refused"} and outcomes.total() == count


def main() -> None:
    """Print totals by kind of file; stops at the first crash."""
    warnings.simplefilter("ignore")
    count, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    totals: Counter[str] = Counter()
    for i, (name, found) in enumerate(run(originals(folder), count, seed, folder), 1):
        totals[f"{Path(name).suffix} {found}"] += 1
        if i % 500 == 0 or i == count:
            sys.stdout.write(f"\r{i} mutants: {dict(sorted(totals.items()))}")
            sys.stdout.flush()
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
