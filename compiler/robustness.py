"""`--robustness`: what attacks and corruptions leave of the accuracy, before and after, float and int8.

It chooses nothing: it looks at some of the test samples, after every choice is made. int8 has no gradient, so it is
attacked with what was crafted on its float twin, the network that it was quantized from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from secateur.compiler.judge import evaluate
from secateur.compiler.report.record import Measured, Real, Robustness, Stress
from secateur.errors import UserError
from secateur.models.attacks import fgsm, pgd
from secateur.models.data import Data, Split
from secateur.models.disturbances import Inputs, balanced, describe
from secateur.models.network import Network
from secateur.models.program import Program
from secateur.models.reference_float import arithmetic

SAMPLES = 256
"""Test samples that are looked at by default: every row is two inferences of each by the golden runtime."""
PGD_STEPS = 10
SEVERITIES = (1, 2, 3, 4, 5)
NO_GRADIENT = (
    "attacks take gradients, which a .tflite or quantized file does not give, so corruptions alone are measured: "
    "compile the float network that it was made from for FGSM and PGD"
)
TWIN = "int8 is attacked with examples crafted on its float twin: it has no gradient of its own."

Percents = tuple[float | None, float | None]
"""Of the float network and of the int8 program."""
NOTHING: Percents = (None, None)


@dataclass(frozen=True)
class Subject:
    """A float network (None: there is none) and the program made from it.

    `inputs`: the samples of a split as the program takes them.
    """

    network: Network | None
    program: Program
    content: bytes
    inputs: Callable[[Split], npt.NDArray[np.int8]]

    def percents(self, split: Split, data: Data) -> Percents:
        scores = evaluate(self.network, self.program, self.content, split, self.inputs(split), data.task)
        return None if self.network is None else scores.float_percent, scores.int8_percent


def check(name: str, data: Data | None) -> None:
    """Raise UserError where robustness cannot be measured."""
    if data is None:
        raise UserError("--robustness: it is measured on test samples; give --data")
    if data.task.reconstructs:
        raise UserError(
            f"--robustness: {name} finds anomalies, and what is far from normal is what it is to find; leave it out"
        )


def measure(
    before: Subject, after: Subject | None, data: Data, samples: int, seed: int, tell: Callable[[str], None]
) -> Robustness:
    """The rows of the report's section. `after`: None where it is the same file as `before`."""
    split = balanced(data.test, samples, seed)
    inputs = describe(data, before.program.preprocess.front_end)
    tell(f"robustness: {len(split)} test samples, {inputs.kind}")
    rows = [_Row("clean", "no change", None, before.percents(split, data), NOTHING)]
    rows[0] = replace(rows[0], after=rows[0].before if after is None else after.percents(split, data))
    notes = []
    if before.network is None:
        tell(f"robustness: {NO_GRADIENT}")
        notes.append(f"{NO_GRADIENT[0].upper()}{NO_GRADIENT[1:]}.")
    else:
        rows += _attacked(before, after, before.network, split, data, inputs, seed)
        notes.append(TWIN)
    for name in inputs.names:
        tell(f"robustness: {name}")
        rows += _corrupted(name, before, after, split, data, inputs, seed)
    rows.append(_mean("all corruptions", [row for row in rows if row.kind == "corruption"]))
    computes = arithmetic(before.program), arithmetic((after or before).program)
    told = tuple(_told(row, len(split), computes) for row in rows)
    return Robustness(inputs.kind, len(split), len(data.test), inputs.unit, told, tuple(notes))


@dataclass(frozen=True)
class _Row:
    kind: Literal["clean", "attack", "transfer", "corruption", "mean"]
    name: str
    strength: float | None
    before: Percents
    after: Percents


def _attacked(
    before: Subject, after: Subject | None, own: Network, split: Split, data: Data, inputs: Inputs, seed: int
) -> Iterator[_Row]:
    """White box on each network itself, then what was crafted on the input network on the result."""
    transferred = []
    for name, strength in (*(("FGSM", s) for s in inputs.strengths), (f"PGD-{PGD_STEPS}", inputs.strengths[-1])):

        def crafted(network: Network, name: str = name, strength: float = strength) -> Split:
            ball = inputs.ball(strength)
            if name == "FGSM":
                return replace(split, x=fgsm(network, split, data.task, ball))
            step = inputs.step(strength / 4)
            return replace(split, x=pgd(network, split, data.task, ball, step, PGD_STEPS, seed))

        first = crafted(own)
        known = before.percents(first, data)
        white = moved = known
        if after is not None:
            assert after.network is not None
            white, moved = after.percents(crafted(after.network), data), after.percents(first, data)
        yield _Row("attack", name, strength, known, white)
        transferred.append(_Row("transfer", name, strength, known, moved))
    yield from transferred


def _corrupted(
    name: str, before: Subject, after: Subject | None, split: Split, data: Data, inputs: Inputs, seed: int
) -> list[_Row]:
    """Five severities, then their mean; both networks see the same samples."""
    rows = []
    for severity in SEVERITIES:
        changed = replace(split, x=inputs.corrupt(name, np.asarray(split.x, np.float32), severity, seed))
        known = before.percents(changed, data)
        rows.append(_Row("corruption", name, severity, known, after.percents(changed, data) if after else known))
    return [*rows, _mean(name, rows)]


def _mean(name: str, rows: list[_Row]) -> _Row:
    def of(values: list[float | None]) -> float | None:
        known = [v for v in values if v is not None]
        return float(np.mean(known)) if known else None

    before, after = ((of([p[0] for p in side]), of([p[1] for p in side]))
                     for side in ([r.before for r in rows], [r.after for r in rows]))  # fmt: skip
    return _Row("mean", name, None, before, after)


def _told(row: _Row, samples: int, computes: tuple[str, str]) -> Stress:
    def real(percent: float | None, who: str) -> Real:
        return None if percent is None else Measured(percent, "measured", f"{who}, {samples} test samples")

    def change(was: float | None, now: float | None) -> Real:
        return (
            None if was is None or now is None else Measured(now - was, "measured", f"the same {samples} test samples")
        )

    was, now = row.before, row.after
    return Stress(
        row.kind, row.name, row.strength,
        real(was[0], "float network"), real(was[1], computes[0]), real(now[0], "float network"),
        real(now[1], computes[1]), change(was[0], now[0]), change(was[1], now[1]),
    )  # fmt: skip
