"""Kernels of random `.tflite` operators, each output over a dying input by the bytes that the descriptor promises."""

from __future__ import annotations

import ctypes
import subprocess
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_host import WARNINGS

from secateur.compiler.bench.float_files import ALL_CASES
from secateur.compiler.bench.operator_files import Case as Builder
from secateur.compiler.frontends.tflite_file import parse_tflite
from secateur.firmware import cgen
from secateur.firmware.codegen import CTYPES, KERNEL_FOLDER
from secateur.firmware.kernels.catalogue import KERNELS
from secateur.firmware.kernels.descriptor import Call, Constant, Kernel, Ref
from secateur.models.program import DTYPES, Op, Program
from secateur.models.reference_gather import gather_sizes
from secateur.passes.program.choose_kernels import choose_kernels

FILES = 8  # random files an operator
SAMPLES = 40


@dataclass(frozen=True)
class Step:
    """One operator of a random file. `function`: its calls in C, on tensors at t[0], t[1], ..."""

    program: Program
    op: Op
    kernel: Kernel
    function: str


def _emit(step: Step) -> str:
    head, body = [], []

    for n, call in enumerate(step.kernel.calls(step.program, step.op)):
        name = f"{step.function}_{n}"
        head.append(f"static const {call.params_type} {name} = {{{cgen.initialiser(call.params)}}};")
        arguments = [f"&{name}"]
        for k, argument in enumerate(call.arguments):
            if isinstance(argument, Constant):
                head.append(f"static const {argument.ctype} {name}_{k}[] = {{{cgen.table(argument.values)}}};")
                arguments.append(f"{name}_{k}")
            else:
                arguments.append(_typed(step, call, argument, "const "))
        arguments += [_typed(step, call, ref, "") for ref in _written(call)]
        body.append(f"    {call.function}({', '.join(arguments)});")
    return "\n".join([*head, f"void {step.function}(int8_t *const *t);", f"void {step.function}(int8_t *const *t) {{",
                      *body, "}"])  # fmt: skip


def _typed(step: Step, call: Call, ref: Ref, const: str) -> str:
    """8-bit tensors are passed as int8_t, as the code generator does, and so is what is moved only."""
    ctype = CTYPES[step.program.tensors[ref.tensor].dtype].replace("uint8_t", "int8_t")
    ctype = "int8_t" if call.as_bytes else ctype
    return f"({const}{ctype} *)(void *)(t[{ref.tensor}] + {ref.offset})"


def _written(call: Call) -> tuple[Ref, ...]:
    return (*call.further, call.output)


def _steps() -> list[Step]:
    """Every operator of every file."""
    steps: list[Step] = []
    for kind, make in ALL_CASES.items():
        for seed in range(FILES):
            program = parse_tflite(make(Builder(seed)), "net", kind)
            for op, kernel in zip(program.ops, choose_kernels(program, ("float32",)), strict=True):
                steps.append(Step(program, op, kernel, f"step{len(steps)}"))
    return steps


def _library(steps: list[Step], folder: Path) -> ctypes.CDLL:
    source, library = folder / "all.c", folder / "all.so"
    headers = "\n".join(f'#include "{h}"' for h in sorted({s.kernel.header for s in steps}))
    source.write_text("\n".join(["#include <string.h>", headers, *map(_emit, steps)]))
    flags = [*WARNINGS, "-O1", "-ffp-contract=off", "-shared", "-fPIC"]
    command = ["gcc", *flags, f"-I{KERNEL_FOLDER}", "-o", str(library), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:2000]
    return ctypes.CDLL(str(library))


def _run(step: Step, library: ctypes.CDLL, inputs: dict[int, Any], over: int = -1, share: int = 0) -> bytes:
    """The first output's bytes, its last `share` over the start of input `over`; everything else apart."""
    tensors, out = step.program.tensors, step.op.outputs[0]
    places, end = {out: 64}, 64 + tensors[out].size_bytes
    if over >= 0:
        places[over] = end - share
        end = max(end, places[over] + tensors[over].size_bytes)
    for i in (*inputs, *step.op.outputs):
        if i not in places:
            end = -(-end // 16) * 16
            places[i] = end
            end += tensors[i].size_bytes
    arena = np.full(end + 64, 99, np.int8)
    for i, value in inputs.items():
        content = np.ascontiguousarray(value).reshape(-1).view(np.int8)
        arena[places[i] : places[i] + content.size] = content
    addresses = (ctypes.c_void_p * len(tensors))(*(arena.ctypes.data + places.get(i, 0) for i in range(len(tensors))))
    getattr(library, step.function)(addresses)
    return arena[64 : 64 + tensors[out].size_bytes].tobytes()


def _samples(step: Step) -> list[dict[int, Any]]:
    random = np.random.default_rng(7)
    found = []
    for _ in range(SAMPLES):
        values = {}
        for i in step.program.activations(step.op):
            tensor = step.program.tensors[i]
            if step.op.kind == "GATHER" and i == step.op.inputs[1]:
                values[i] = random.integers(0, gather_sizes(step.program, step.op).size, tensor.shape)
                values[i] = values[i].astype(DTYPES[tensor.dtype])
            elif tensor.dtype == "bool":
                values[i] = random.integers(0, 2, tensor.shape).astype(np.bool_)
            elif tensor.dtype == "float32":
                values[i] = random.uniform(-9, 9, tensor.shape).astype(np.float32)
            else:
                raw = random.integers(0, 256, tensor.size_bytes).astype(np.uint8)
                values[i] = raw.view(DTYPES[tensor.dtype]).reshape(tensor.shape)
        found.append(values)
    return found


def _kind(program: Program, op: Op) -> str:
    return f"{op.kind} float32" if program.tensors[op.inputs[0]].dtype == "float32" else op.kind


DO_NOT_SHOW = ("BROADCAST_TO", "TAKE", "RESIZE_BILINEAR")
"""Kinds that repeat values, or read some that they give no weight: one byte too many need not show."""


@pytest.mark.emulator
def test_every_operator_is_exact_at_its_overlap_and_no_further(tmp_path: Path) -> None:
    """Every kernel has an operator in the files; at the promised overlap no byte changes, an element more changes one.

    One test, since making the files and compiling their calls is most of the work; it ends with all that is wrong.
    """
    steps = _steps()
    wrong = [
        f"{name}: no operator" for name in {k.name for k in KERNELS if not k.free} - {s.kernel.name for s in steps}
    ]
    library = _library(steps, tmp_path)
    of_kind = defaultdict(list)
    for step in steps:
        of_kind[_kind(step.program, step.op)].append(step)
    for kind in sorted(of_kind):
        tried, shown = 0, 0
        for step in of_kind[kind]:
            ways, changed, harmed = _overlapped(step, library)
            tried, shown = tried + ways, shown + changed
            wrong += [f"{kind}: input {tensor} over {share} bytes in {step.op}" for tensor, share in harmed]
        # a byte whose weight happens to be 0 does not show
        if kind.split()[0] not in DO_NOT_SHOW and shown < 0.8 * tried:
            wrong.append(f"{kind}: one element more is seen at {shown} of {tried} inputs")
    assert wrong == []


def _overlapped(step: Step, library: ctypes.CDLL) -> tuple[int, int, list[tuple[int, int]]]:
    """Of how many inputs more could overlap than is promised, and at how many of them an element more is seen.

    Then the inputs at which the promise does not hold, with the bytes that are promised.
    """
    op, tensors = step.op, step.program.tensors
    out, samples = tensors[op.outputs[0]], _samples(step)
    tried, shown, harmed = 0, 0, []
    apart = [_run(step, library, inputs) for inputs in samples]

    def over(tensor: int, share: int) -> list[bytes]:
        return [_run(step, library, inputs, tensor, share) for inputs in samples]

    for tensor in dict.fromkeys(step.program.activations(op)):
        if op.inputs.count(tensor) > 1 or any(s.before == tensor for s in step.program.states):
            continue  # the planner never shares these: states do not die
        share = step.kernel.overlap_bytes(step.program, op, op.inputs.index(tensor))
        if not 0 <= share <= out.size_bytes or over(tensor, share) != apart:
            harmed.append((tensor, share))
        elif share < out.size_bytes:
            tried += 1
            shown += over(tensor, share + out.size_bytes // out.elements) != apart
    return tried, shown, harmed
