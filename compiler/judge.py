"""Does it fit, is it accurate enough, and on what evidence? The verdict and the exit code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from torch import nn

from secateur.compiler.budget import Budget, Reached, violated
from secateur.compiler.deploy import Deployed
from secateur.compiler.report.words import slow_memory_text
from secateur.models.data import Split
from secateur.models.network import Network
from secateur.models.program import Program, unpack
from secateur.models.reference_float import arithmetic
from secateur.models.task import CLASSIFICATION, Task
from secateur.models.training import ends_in, predict, seen
from secateur.passes.program.cost import latency_ms
from secateur.passes.program.lower import to_channels_last
from secateur.runtime_bench.golden import golden_outputs
from secateur.targets.target import Target

STRENGTH = {"predicted": 0, "emulated": 1, "measured": 2}


@dataclass(frozen=True)
class Scores:
    """The task's metric of one network on one set, percent; `float_guess` and `int8_guess` are its answers.

    Answers are what the task reads from the outputs: classes (n,), scores of labels (n, labels), numbers (n, outputs),
    errors of reconstruction (n,).
    """

    split: Split
    int8_percent: float
    int8_guess: npt.NDArray[Any]
    float_percent: float = float("nan")
    float_guess: npt.NDArray[Any] | None = None
    task: Task = CLASSIFICATION


@dataclass(frozen=True)
class Judged:
    """One network on the device, with its accuracies; None where no data was given."""

    deployed: Deployed
    validation: Scores | None
    test: Scores | None
    macs: int
    parameters: int
    errors: tuple[tuple[str, float], ...] = ()  # layers by quantization SQNR in dB, worst first


@dataclass(frozen=True)
class Attempt:
    """A network kept beside the result; `path` is relative to OUT."""

    name: str
    path: str
    judged: Judged


@dataclass(frozen=True)
class Outcome:
    """`met`: how the budget was met, or no. `broken`: limit -> (reached, allowed, why)."""

    met: Literal["measured", "emulated", "predicted", "no"]
    exit_code: int
    broken: tuple[tuple[str, float, float, str], ...] = ()


def evaluate(
    network: Network | None,
    program: Program,
    content: bytes,
    split: Split,
    inputs: npt.NDArray[np.int8],
    task: Task = CLASSIFICATION,
) -> Scores:
    """The metric in int8, by the golden runtime, and in float where there is a float network.

    A reconstruction is compared with what the network was given: channels first of a Network, last of a file.
    """
    pieces = golden_outputs(content, program, inputs).outputs
    outputs = np.stack([real_output(program, piece) for piece in pieces])
    if network is not None:
        x = seen(split, network.preprocess, task)
    elif task.reconstructs:
        x = to_channels_last(program.preprocess(split.x)).reshape(len(split), -1)
    else:
        x = np.empty((len(split), 0), np.float32)
    guess = task.answers(outputs, x, ends_in_logistic(program))
    percent = task.percent(split, guess)
    if network is None:
        return Scores(split, percent, guess, task=task)
    float_guess = task.answers(
        predict(network.module, split.x, network.preprocess), x, ends_in(network.module, nn.Sigmoid)
    )
    return Scores(split, percent, guess, task.percent(split, float_guess), float_guess, task)


def real_output(program: Program, piece: npt.NDArray[np.int8]) -> npt.NDArray[np.float64]:
    """The first output as real numbers, (values,), from the bytes of all outputs."""
    values = unpack(program, program.outputs, piece)[0].ravel()
    tensor = program.tensors[program.outputs[0]]
    if tensor.quantization is None:
        return np.asarray(values, np.float64)
    return (values.astype(np.float64) - tensor.zero_point) * tensor.scale


def ends_in_logistic(program: Program) -> bool:
    """Whether the first output is a logistic function's, perhaps requantized or reshaped after it."""
    made = {op.outputs[0]: op for op in program.ops}
    op = made.get(program.outputs[0])
    while op is not None and op.kind in ("QUANTIZE", "DEQUANTIZE", "RESHAPE"):
        op = made.get(op.inputs[0])
    return op is not None and op.kind == "LOGISTIC"


def reached(deployed: Deployed, target: Target) -> Reached:
    """Values of the limits, from the image and its run where they exist."""
    low = high = None
    if deployed.instructions is not None:
        low, high = latency_ms(deployed.instructions, target)
    if deployed.run is not None and deployed.run.cycles is not None:
        low = high = deployed.run.cycles * 1000 / target.clock_hz
    ram, flash = deployed.ram_bytes, deployed.flash_bytes
    for region, over in deployed.overflow_bytes.items():
        # the linker's word counts: it also sets the stack's whole reserve aside
        if "FLASH" in region.upper() or "ROM" in region.upper():
            flash = max(flash, target.flash_bytes + over)
        else:
            ram = max(ram, target.ram_bytes + over)
    return Reached(ram, flash, high, low)


def _timed(deployed: Deployed) -> bool:
    """Whether a board counted cycles."""
    return deployed.run is not None and deployed.run.cycles is not None


def _weakest(deployed: Deployed, budget: Budget) -> str:
    """The weakest evidence among the limits asked for: an emulator counts instructions, it does not tell time."""
    if budget.latency_ms is not None and not _timed(deployed):
        return "predicted"
    return deployed.kind


def judge(
    before: Judged, after: Judged, budget: Budget, target: Target, floor: float | None, exhausted: str | None
) -> Outcome:
    """Exit code 0 met, 3 does not fit or not enough evidence, 4 accuracy below `floor` (percent)."""
    broken: list[tuple[str, float, float, str]] = []
    for name, (value, limit) in violated(reached(after.deployed, target), budget).items():
        broken.append((name, value, limit, exhausted or "the image is above the limit"))
    kind = _weakest(after.deployed, budget)
    if budget.latency_ms is not None and reached(after.deployed, target).latency_ms is None:
        why = f"latency on {target.name} is unknown: it has no instruction model and no run counted any"
        broken.append(("evidence", 0.0, 1.0, why))
    untimed = slow_memory_text(after.deployed.planned.memory)
    if budget.latency_ms is not None and untimed and not _timed(after.deployed):
        why = f"latency on {target.name} is unknown: {untimed}. Only a board tells, or leave out --slow-ram"
        broken.append(("evidence", 0.0, 1.0, why))
    if STRENGTH[kind] < STRENGTH[budget.require]:
        why = f"the numbers are {kind}, --require {budget.require} asks for more"
        broken.append(("evidence", float(STRENGTH[kind]), float(STRENGTH[budget.require]), why))
    code = 3 if broken else 0
    if after.validation is not None and floor is not None and after.validation.int8_percent < floor - 1e-9:
        computes = arithmetic(after.deployed.planned.program)
        word = after.validation.task.word
        why = f"{computes} {word} on validation is {after.validation.int8_percent:.2f} %, the floor {floor:.2f} %"
        broken.append(("accuracy", after.validation.int8_percent, floor, why))
        code = code or 4
    met: Literal["measured", "emulated", "predicted", "no"] = "no"
    if not broken:
        met = "measured" if kind == "measured" else "emulated" if kind == "emulated" else "predicted"
    return Outcome(met, code, tuple(broken))
