"""`secateur bench calibrate`: measure the instruction and code-size model of each instruction set.

Built-in networks with seeded random weights are compiled and run in the emulators; the layers' instruction
counts are fitted by non-negative least squares on the kernels' own work counts. Writes costs.toml.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from scipy.optimize import nnls

from secateur.compiler.bench.float_files import ALL_CASES
from secateur.compiler.bench.operator_files import Case
from secateur.compiler.export.calibrate import calibrate as ranges
from secateur.compiler.export.quantize import quantize, quantize_samples
from secateur.compiler.frontends.tflite_file import parse_tflite
from secateur.errors import UserError
from secateur.firmware.codegen import KERNEL_FOLDER, generate
from secateur.firmware.image import build
from secateur.firmware.project import write_project
from secateur.models.program import Op, Program, State, Tensor, random_inputs
from secateur.models.zoo.catalogue import load
from secateur.models.zoo.small import SMALL, small_network
from secateur.passes.program.choose_kernels import choose_kernels
from secateur.passes.program.cost import Planned, code_features, label_bytes, plan, predict_instructions
from secateur.passes.program.lower import lower, to_channels_last
from secateur.passes.program.plan_memory import plan_memory
from secateur.runtime_bench.runner import runner_for
from secateur.targets.target import find

log = logging.getLogger(__name__)

ENVIRONMENTS = {"rv32imc": "qemu-riscv32", "armv7em": "qemu-cortex-m4", "xtensa-lx106": "qemu-xtensa"}
SAME_CODE = {"xtensa-lx6": "xtensa-lx106"}
"""The ESP32 image is LX106 code: Debian has no compiler for the LX6's further instructions."""

CALIBRATED = (*SMALL, "watch-resnet")
OPERATOR_FILES, LARGEST = 2, 12
TOGETHER = 20
"""Programs in one image: all their inputs and outputs live at once, and placing those takes more than in proportion."""
INVOKE = 60
"""Instructions of the invoke function around its layers: checks and the two copies of small networks."""

HEAD = """\
# Instruction and code-size model, by instruction set. Written by `secateur bench calibrate`; do not edit.
#
# instructions of an operator = call + sum(coefficient * work count), the counts being Kernel.work's;
# code bytes = (1 + code_margin) * sum(bytes * feature) + labels, features by cost.code_features;
# stack_bytes: the highest stack seen. `error`: largest relative error of a network's total, on the fitted set.
# All from QEMU (emulated instruction counts, not cycles of a board).
"""


@dataclass
class Observations:
    """What the emulators said of one instruction set."""

    layers: dict[str, list[tuple[dict[str, int], int]]] = field(default_factory=dict)
    code: list[tuple[dict[str, int], int]] = field(default_factory=list)
    stack_bytes: int = 0
    totals: list[tuple[Planned, int]] = field(default_factory=list)
    operators: set[str] = field(default_factory=set)  # kernels seen in operator files only


def calibrate(to: Path = KERNEL_FOLDER / "costs.toml", isas: Iterable[str] = tuple(ENVIRONMENTS)) -> str:
    """Measure all instruction sets and write the model to `to`; the text is returned too."""
    parts = [HEAD]
    for isa in isas:
        observed = observe(ENVIRONMENTS[isa])
        parts.append(fit(isa, observed))
        log.info("%s: %d kernels fitted on %d networks", isa, len(observed.layers), len(observed.totals))
    parts += [f'["{alias}"]\nas = "{isa}"\n' for alias, isa in SAME_CODE.items()]
    text = "\n".join(parts)
    to.write_text(text)
    return text


def observe(environment: str) -> Observations:
    """Build and run every small network in one environment."""
    found = Observations()
    target = find(environment)
    for name in CALIBRATED:
        network = load("watch-resnet") if name == "watch-resnet" else small_network(name)
        samples = np.random.default_rng(0).normal(size=(8, *network.input_shape)).astype(np.float32)
        program = lower(network)
        x = to_channels_last(samples)
        quantized = quantize(program, ranges(program, x))
        planned = plan(quantized, target)
        p, memory = planned.program, planned.memory
        model = generate(p, planned.selection, memory.tensor_offsets, memory.arena_bytes, name)
        inputs = quantize_samples(p, x).reshape(len(x), -1)
        with TemporaryDirectory() as folder:
            write_project(Path(folder), model, target, inputs[:1], limits="none")
            image = build(Path(folder), environment)
            run = runner_for(environment).run(image, timeout_s=300)
        assert run.layer_instructions is not None and run.instructions is not None and run.stack_bytes is not None
        for kernel, op, count in zip(planned.selection, p.ops, run.layer_instructions, strict=True):
            found.layers.setdefault(kernel.name, []).append((kernel.work(p, op), count))
        found.code.append((code_features(planned), image.code_bytes - label_bytes(p)))
        found.stack_bytes = max(found.stack_bytes, run.stack_bytes)
        found.totals.append((planned, run.instructions))
    for seed in range(OPERATOR_FILES):
        observe_operators(environment, seed, found)
    return found


def observe_operators(environment: str, seed: int, found: Observations) -> None:
    """All operators of TFLite that no network of the zoo has, for the layers' counts alone."""
    target = find(environment)
    known = set(found.layers) - found.operators
    parts = []
    for kind, make in ALL_CASES.items():
        try:
            planned = plan(parse_tflite(make(Case(seed, LARGEST)), kind, kind), target)
        except UserError:  # floats on a core that has none
            continue
        if any(kernel.name not in known for kernel in planned.selection):
            parts.append(planned.program)
    for first in range(0, len(parts), TOGETHER):
        observe_together(environment, join(parts[first : first + TOGETHER]), seed, known, found)


def observe_together(environment: str, p: Program, seed: int, known: set[str], found: Observations) -> None:
    """One image of `p`, for the counts of its layers whose kernels are not `known`."""
    target = find(environment)
    memory = plan_memory(p, choose_kernels(p, target.features), tries=1)  # a small arena is not the matter here
    model = generate(p, memory.selection, memory.tensor_offsets, memory.arena_bytes, "operators")
    with TemporaryDirectory() as folder:
        write_project(Path(folder), model, target, random_inputs(p, 1, seed), limits="none")
        run = runner_for(environment).run(build(Path(folder), environment), timeout_s=300)
    assert run.layer_instructions is not None
    for kernel, op, count in zip(memory.selection, p.ops, run.layer_instructions, strict=True):
        if kernel.name not in known:
            found.operators.add(kernel.name)
            found.layers.setdefault(kernel.name, []).append((kernel.work(p, op), count))


def join(programs: list[Program]) -> Program:
    """All of them as one Program, side by side: their inputs and outputs in a row."""
    tensors: list[Tensor] = []
    ops: list[Op] = []
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    states: list[State] = []
    for number, p in enumerate(programs):
        at = len(tensors)
        tensors += [replace(t, name=f"n{number}_{t.name}") for t in p.tensors]
        ops += [replace(op, inputs=_moved(op.inputs, at), outputs=_moved(op.outputs, at)) for op in p.ops]
        inputs, outputs = inputs + _moved(p.inputs, at), outputs + _moved(p.outputs, at)
        states += [replace(s, before=s.before + at, after=s.after + at) for s in p.states]
    return Program("operators", tuple(tensors), tuple(ops), inputs, outputs, states=tuple(states))


def _moved(tensors: tuple[int, ...], by: int) -> tuple[int, ...]:
    """Tensor indices in a longer table; an absent operand stays absent."""
    return tuple(i + by if i >= 0 else i for i in tensors)


def fit(isa: str, observed: Observations) -> str:
    """The TOML text of one instruction set."""
    kernels = {name: _kernel(rows) for name, rows in sorted(observed.layers.items())}
    errors = []
    for planned, total in observed.totals:
        work = [
            (kernels[k.name], k.work(planned.program, op))
            for k, op in zip(planned.selection, planned.program.ops, strict=True)
        ]
        errors.append(abs(sum(predict_instructions(c, w) for c, w in work) + INVOKE - total) / total)
    names = sorted({name for features, _ in observed.code for name in features})
    matrix = np.array([[features.get(n, 0) for n in names] for features, _ in observed.code], float)
    sizes, _ = nnls(matrix, np.array([size for _, size in observed.code], float))
    margin = max(max(0.0, size / float(row @ sizes) - 1) for row, (_, size) in zip(matrix, observed.code, strict=True))
    lines = [
        f"[{isa}]", f"invoke = {INVOKE}", f"stack_bytes = {observed.stack_bytes}",
        f"code_margin = {margin:.3f}", f"error = {max(errors):.3f}", "",
        f"[{isa}.code]", *(f'"{n}" = {v:.1f}' for n, v in zip(names, sizes, strict=True)), "",
    ]  # fmt: skip
    for name, coefficients in kernels.items():
        lines += [f"[{isa}.kernels.{name}]", *(f"{k} = {v:.4f}" for k, v in coefficients.items()), ""]
    return "\n".join(lines)


def _kernel(rows: list[tuple[dict[str, int], int]]) -> dict[str, float]:
    """Coefficients by non-negative least squares on relative errors."""
    names = ["call", *sorted({name for work, _ in rows for name in work})]
    counts = np.array([max(count, 1) for _, count in rows], float)
    matrix = np.array([[1, *(work.get(n, 0) for n in names[1:])] for work, _ in rows], float)
    found, _ = nnls(matrix / counts[:, None], np.ones(len(rows)))
    return dict(zip(names, found.tolist(), strict=True))
