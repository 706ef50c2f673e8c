"""Damaged files for the readers, each in a child process with a limit of memory and time: what becomes of them."""

from __future__ import annotations

import os
import resource
import signal
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import numpy as np
from c_host import generated
from exported import sample
from onnx_mutants import mutate_graph
from quantized_onnx import quantized_network
from random_graphs import random_graph

from secateur.compiler.bench.float_files import ALL_CASES
from secateur.compiler.bench.operator_files import Case
from secateur.compiler.export.onnx import export_onnx
from secateur.compiler.export.tflite import tflite_bytes
from secateur.compiler.frontends.onnx_file import load_onnx
from secateur.compiler.frontends.tflite_file import parse_tflite
from secateur.errors import MismatchError, UserError
from secateur.models.program import Program, random_inputs
from secateur.models.reference import run_reference
from secateur.models.zoo.small import small_network
from secateur.passes.program.cost import plan
from secateur.runtime_bench.float_golden import computes_floats
from secateur.runtime_bench.golden import compare, golden_outputs, tflm_lacks
from secateur.targets.target import find

SECONDS = 10  # no file may take longer
BYTES = 1 << 30  # nor more memory than this beyond what the process has
PLANNED = 1_000_000  # elements of a network that is planned too
COMPARED = 100_000  # and of one that is compared with TensorFlow Lite Micro
INTERESTING = (0, 1, 2, 4, 127, 128, 254, 255)
ONNX = ("mlp", "concat", "residual-1d", "depthwise")
QDQ = ("mlp", "concat", "residual-1d")
GOOD = ("refused", "taken", "equal", "no judge", "judge stops")
"""Good ends: refused in one line, read (ONNX, or large), equal to TFLM, or nobody to compare with."""


def originals(folder: Path, kinds: tuple[str, ...] = (".tflite", ".onnx")) -> dict[str, bytes]:
    """Files to start from: the zoo's, single operators, random graphs, and MLPerf's where they are."""
    found: dict[str, bytes] = {}
    if ".tflite" in kinds:
        found |= {f"{name}.tflite": sample(name).content for name in ("concat", "har", "residual-1d", "depthwise")}
        found |= {f"{kind}.tflite": make(Case(0)) for kind, make in ALL_CASES.items()}
        found |= {f"graph{seed}.tflite": random_graph(seed) for seed in range(24)}
        shared = Path(__file__).parents[2] / "shared" / "data" / "mlperf_tiny"
        for path in sorted(shared.glob("*/*.tflite")):
            if path.stat().st_size < 400_000:
                found[path.name] = path.read_bytes()
    if ".onnx" in kinds:
        for name in ONNX:
            path = folder / f"{name}.onnx"
            export_onnx(small_network(name), path)
            found[path.name] = path.read_bytes()
        for name in QDQ:
            path = quantized_network(small_network(name), folder)
            found[f"{name}-int8.onnx"] = path.read_bytes()
            path = quantized_network(small_network(name), folder, folded=True, operators=True)
            found[f"{name}-qlinear.onnx"] = path.read_bytes()
    return found


@dataclass(frozen=True)
class Mutant:
    """Number `seed`: the same for the same originals."""

    seed: int
    name: str
    content: bytes


def mutant(files: dict[str, bytes], seed: int) -> Mutant:
    random = np.random.default_rng(seed)
    names = sorted(files)
    name = names[int(random.integers(len(names)))]
    if name.endswith(".onnx") and random.random() < 0.7:  # of bytes alone, protobuf refuses most
        try:
            return Mutant(seed, name, mutate_graph(files[name], random))
        except ValueError:  # not even the file format can say this
            pass
    return Mutant(seed, name, mutate(files[name], random))


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


def outcome(one: Mutant, folder: Path) -> str:
    """One of GOOD, or "differs"; what is neither read nor refused in one line raises."""
    try:
        if not one.name.endswith(".tflite"):
            path = folder / "mutant.onnx"
            path.write_bytes(one.content)
            read = load_onnx(path)
            if not isinstance(read, Program):
                return "taken"
            one = replace(one, content=tflite_bytes(read))
        program = parse_tflite(one.content, "net", one.name)
        elements = sum(t.elements for t in program.tensors)
        if elements >= PLANNED:
            return "taken"
        made = plan(program, find("host"), 4)
        if elements >= COMPARED:
            return "taken"
        generated(made)
    except UserError as error:
        if "\n" in str(error).strip():
            raise AssertionError(f"more than one line: {error}") from error
        return "refused"
    return _judged(one.content, program, one.seed)


def _judged(content: bytes, program: Program, seed: int) -> str:
    """Reference interpreter against TensorFlow Lite Micro, which may end a process that gives it a damaged file.

    Of floats, what TFLM's may be away is the golden runtime's rule.
    """
    samples = random_inputs(program, 3, seed)
    found = run_reference(program, samples)
    if tflm_lacks(content) is not None:
        return "no judge"
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SECONDS // 2)
        try:
            golden = golden_outputs(content, program, samples)
            compare(golden, found, "here")
            stands_in = golden.runtime.startswith("secateur") and not computes_floats(program)
            os._exit(3 if stands_in else 0)
        except MismatchError:
            os._exit(1)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    return {0: "equal", 1: "differs", 3: "no judge"}.get(os.waitstatus_to_exitcode(status), "judge stops")


def run(files: dict[str, bytes], seeds: range) -> Iterator[tuple[Mutant, str]]:
    """(mutant, what became of it). Whatever is not in GOOD is a bug: a traceback, "hang", "signal N", "differs"."""
    first = seeds.start
    while first < seeds.stop:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            _child(files, range(first, seeds.stop), writer)
        os.close(writer)
        with os.fdopen(reader) as lines:
            for line in lines:
                yield mutant(files, first), line.rstrip("\n")
                first += 1
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code != 0:
            yield mutant(files, first), "hang" if code == -signal.SIGALRM else f"signal {-code}"
            first += 1


def _child(files: dict[str, bytes], seeds: range, writer: int) -> NoReturn:
    """Mutants until one of them ends the process."""
    code = 70
    try:
        limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + BYTES
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)  # TensorFlow Lite Micro tells what it thinks of every file
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        warnings.simplefilter("ignore")
        with tempfile.TemporaryDirectory() as folder, os.fdopen(writer, "w") as results:
            for seed in seeds:
                one = mutant(files, seed)
                signal.alarm(SECONDS)
                try:
                    found = outcome(one, Path(folder))
                except Exception as error:  # noqa: BLE001 - any of them is what is looked for
                    found = f"{_place(error)}: {error!r}".replace("\n", " ")
                signal.alarm(0)
                results.write(found[:300] + "\n")
                results.flush()
        code = 0
    finally:
        os._exit(code)


def _place(error: Exception) -> str:
    """File and line where it was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "?" if trace is None else f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
