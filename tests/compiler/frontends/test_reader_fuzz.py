"""Mutations of real files: a reader takes one, or refuses it in one line; it never crashes, hangs or fills memory.
What it takes of a `.tflite` is planned, and computes what TensorFlow Lite Micro computes.

python tests/compiler/frontends/test_reader_fuzz.py 100000 [FIRST] [.tflite|.onnx]     # by hand; prints totals
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from mutants import GOOD, Mutant, originals, run


@pytest.mark.slow
@pytest.mark.parametrize("kind,count,expected", [
    (".tflite", 1500, {"refused", "equal", "taken", "no judge"}), (".onnx", 200, {"refused", "taken", "equal"}),
])  # fmt: skip
def test_mutants_are_taken_or_refused_in_one_line(kind: str, count: int, expected: set[str], tmp_path: Path) -> None:
    """Hundreds of damaged files, seeded; both outcomes are met, and what is taken is right."""
    outcomes: Counter[str] = Counter()
    for one, found in run(originals(tmp_path, (kind,)), range(count)):
        assert found in GOOD, f"mutant {one.seed} of {one.name}: {found}"
        outcomes[found] += 1
    assert outcomes.total() == count and expected <= set(outcomes)


def main() -> None:
    """Print what became of mutants FIRST to FIRST + COUNT, so that runs of several ranges add up; keep the bad ones."""
    count, first = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    kinds = tuple(sys.argv[3:]) or (".tflite", ".onnx")
    folder = Path(tempfile.mkdtemp(prefix="mutants-"))
    totals: Counter[str] = Counter()
    start, bad = time.time(), 0
    files = originals(folder, kinds)
    sys.stdout.write(
        f"{len(files)} files, {sum(map(len, files.values()))} bytes: the same mutants for the same files\n"
    )
    for i, (one, found) in enumerate(run(files, range(first, first + count)), 1):
        good = found in GOOD
        totals[f"{Path(one.name).suffix} {found if good else 'BAD'}"] += 1
        if not good:
            bad += 1
            _keep(one, found, folder)
        if i % 2000 == 0 or i == count:
            rate = i / (time.time() - start)
            sys.stdout.write(f"from {first}: {i} mutants, {rate:.0f} a second: {dict(sorted(totals.items()))}\n")
            sys.stdout.flush()
    sys.exit(bad > 0)


def _keep(one: Mutant, found: str, folder: Path) -> None:
    path = folder / f"{one.seed}-{one.name}".replace(" ", "_")
    path.write_bytes(one.content)
    sys.stdout.write(f"mutant {one.seed} of {one.name}, kept as {path}: {found}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
