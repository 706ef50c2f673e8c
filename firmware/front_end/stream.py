"""The generated front end of a compiled model: `NAME_push` takes raw samples, `NAME_poll` tells decisions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from secateur.errors import UserError
from secateur.firmware import cgen
from secateur.firmware.front_end.catalogue import features_code
from secateur.firmware.front_end.detrend import detrend_code
from secateur.firmware.front_end.resample import resample_code
from secateur.firmware.front_end.stage import StageCode
from secateur.firmware.front_end.write import stage_tables
from secateur.firmware.generated import HEADER_BYTES, StreamShape
from secateur.firmware.kernels.descriptor import Constant
from secateur.models.front_end.chain import FrontEnd
from secateur.models.front_end.decide import confidence_factor
from secateur.models.front_end.quantizer import Quantizer, make_quantizer
from secateur.models.front_end.reconstruct import MOST_SUMMED, MOST_VALUES, reconstruction_of, score_factor
from secateur.models.program import Program

HERE = Path(__file__).parent
ALIGNMENT = 8


@dataclass(frozen=True)
class Parts:
    """The stages of a front end in C, and where they work."""

    front: FrontEnd
    quantizer: Quantizer
    resampler: StageCode | None
    features: StageCode | None
    detrend: StageCode | None
    outputs: int
    smooth: int
    reconstructs: bool = False

    @property
    def wide_ring(self) -> bool:
        """Rows are kept as counts where the whole window is needed before they can be quantized."""
        return self.detrend is not None

    @property
    def pending_rows(self) -> int:
        """The most rows that one raw sample gives."""
        r = self.front.resampler
        return 0 if r is None else -(-r.up // r.down)

    @property
    def constant_bytes(self) -> int:
        """Flash of the stages' tables and of the quantizer's."""
        codes = [c for c in (self.resampler, self.features, self.detrend) if c is not None]
        tables = [v for c in codes for v in c.params.values() if isinstance(v, Constant)]
        return sum(t.size_bytes for t in tables) + 12 * len(self.quantizer.multiplier)

    @property
    def state_bytes(self) -> int:
        """What `NAME_state` holds beyond the pointers, as a 32-bit compiler lays it out."""
        f, total = self.front, 0
        for code in (self.resampler, self.features):
            if code is not None:
                total = _up(total, ALIGNMENT) + _up(code.state_bytes, ALIGNMENT)
        if self.features is not None:
            assert f.features is not None
            total += 2 * f.features.frame_length
        if self.resampler is not None:
            total += 2 * self.pending_rows * f.channels + 8
        total += f.window * f.width * (2 if self.wide_ring else 1)
        total += self.outputs + self.smooth * (8 if self.reconstructs else self.outputs)
        return _up(total, 4) + 4 * len(COUNTERS)


COUNTERS = ("frame", "row", "need", "vote", "voted", "quiet", "due")


def parts(program: Program) -> Parts | None:
    """The C stages of a Program's front end; None where it has none.

    Raises UserError where its input or output is of a type that no front end serves.
    """
    pre = program.preprocess
    front = pre.front_end
    if not isinstance(front, FrontEnd):
        return None
    quantizer = quantizer_between(program, program_quantizer)
    if pre.decisions.reconstructs and not program.shape_only:
        _check_reconstruction(program, front)
    return Parts(
        front, quantizer,
        None if front.resampler is None else resample_code(front.resampler, front.channels),
        None if front.features is None else features_code(front.features),
        None if front.detrend == "none" else detrend_code(front.detrend, front.window, front.width),
        program.tensors[program.outputs[0]].elements, pre.decisions.smooth, pre.decisions.reconstructs,
    )  # fmt: skip


def quantizer_between(program: Program, quantizer_of: Callable[[Program], Quantizer]) -> Quantizer:
    """What brings a front end's values to the only input. Raises UserError where the ends are not for decisions."""
    if len(program.inputs) != 1 or len(program.outputs) != 1:
        raise UserError(f"{program.name}: a front end serves networks of one input and one output")
    if program.shape_only:
        return make_quantizer((1.0,), (0.0,), (1.0,), 1.0, 0, "int8")  # its numbers are known once quantized
    dtype = program.tensors[program.outputs[0]].dtype
    if dtype not in ("int8", "uint8"):
        raise UserError(f"{program.name}: its output is {dtype}; decisions are made of int8 or uint8 outputs")
    return quantizer_of(program)


def _check_reconstruction(program: Program, front: FrontEnd) -> None:
    values, outputs = (program.tensors[i].elements for i in (program.inputs[0], program.outputs[0]))
    if values != outputs:
        raise UserError(f"{program.name}: {outputs} outputs for {values} inputs; reconstruction gives as many")
    if values > MOST_VALUES or front.detrend != "none":
        raise UserError(
            f"{program.name}: reconstruction is judged on windows of up to {MOST_VALUES} values that are not detrended"
        )
    smooth = program.preprocess.decisions.smooth
    if values * smooth > MOST_SUMMED:
        raise UserError(
            f"{program.name}: {smooth} windows of {values} values are smoothed, {MOST_SUMMED:,} values at most may be "
            "summed; lower smooth in [decisions]"
        )


def program_quantizer(program: Program) -> Quantizer:
    """Counts of the front end to the input's integers. Raises UserError where they do not go together."""
    pre, entry = program.preprocess, program.tensors[program.inputs[0]]
    front = pre.front_end
    assert isinstance(front, FrontEnd)
    if entry.dtype not in ("int8", "uint8"):
        raise UserError(f"{program.name}: its input is {entry.dtype}; a front end feeds int8 or uint8 inputs")
    if entry.elements != front.window * front.width:
        raise UserError(
            f"{program.name}: the front end gives {front.window} rows of {front.width} values, the network takes "
            f"{'x'.join(map(str, entry.shape))}; change window or features"
        )
    unit = (front.features.unit,) if front.features is not None else tuple(1 / c for c in front.counts_per_unit)
    mean, std = pre.mean or (0.0,), pre.std or (1.0,)
    for what, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, front.width) or (len(values) > 1 and entry.shape[-1] != front.width):
            raise UserError(
                f"{program.name}: {len(values)} values of {what} for rows of {front.width}; give one, or one a column"
            )
    return make_quantizer(unit, mean, std, entry.scale, entry.zero_point, entry.dtype)


@dataclass(frozen=True)
class Memory:
    """`scratch`: arena byte where stages work between inferences. `arena_bytes`: with it."""

    scratch: int
    arena_bytes: int


def memory(made: Parts, program: Program, input_offset: int, arena_bytes: int) -> Memory:
    """Stages work where the network does, which is idle then; behind it where it keeps states from call to call.

    A detrended window is quantized into the input in ascending order, so it may lie over it from its start on.
    """
    base = _up(arena_bytes, ALIGNMENT) if program.states else 0
    need = 0
    if made.features is not None:
        need = _up(made.features.scratch_bytes, 2) + 2 * made.front.width
    start = base
    if made.detrend is not None:
        start = max(base, _up(input_offset, ALIGNMENT))
        need = max(need, 2 * made.front.window * made.front.width + _up(made.detrend.scratch_bytes, ALIGNMENT))
    return Memory(start, max(arena_bytes, start + need))


def shape(made: Parts, output_bytes: int) -> StreamShape:
    """The harness's pieces: no longer than a hop, so that one holds at most one decision."""
    f = made.front
    raw = f.hop_samples
    if f.resampler is not None:
        raw = max(1, math.floor(f.hop_samples * f.resampler.down / f.resampler.up))
    ratio = 1.0 if f.resampler is None else f.resampler.down / f.resampler.up
    few = math.ceil(ratio * (f.window_samples + (made.smooth + 3) * f.hop_samples))
    return StreamShape(f.channels, raw, HEADER_BYTES + output_bytes, f.rate_hz, f.counts_per_unit, few)


def context(made: Parts, program: Program, place: Memory, prefix: str) -> dict[str, Any]:
    """What `stream.c.j2` and the header's stream part need."""
    f = made.front
    tables: list[str] = []
    stages: dict[str, dict[str, Any]] = {}
    for role, code in (("resampler", made.resampler), ("features", made.features), ("detrend", made.detrend)):
        if code is not None:
            declared, initialiser = stage_tables(f"{prefix}_{role}", code)
            tables += [declared] if declared else []
            stages[role] = {"name": code.name, "header": code.header, "initialiser": initialiser,
                            "state_words": -(-code.state_bytes // 8), "scratch": code.scratch_bytes}  # fmt: skip
    q = made.quantizer
    ratio = f.resampler.down / f.resampler.up if f.resampler is not None else 1
    return {
        "raw_window": math.ceil(f.window_samples * ratio), "raw_hop": math.ceil(f.hop_samples * ratio),
        "front": f, "stages": stages, "stage_tables": tables, "classes": made.outputs,
        "headers": sorted({s["header"] for s in stages.values()}),
        "pending_rows": made.pending_rows, "wide_ring": made.wide_ring, "scratch": place.scratch,
        "features_scratch": _up(made.features.scratch_bytes, 2) if made.features else 0,
        "window_scratch": _up(2 * f.window * f.width, ALIGNMENT),
        "frame_length": f.features.frame_length if f.features else 0,
        "frame_step": f.features.frame_step if f.features else 0,
        "multiplier": ", ".join(cgen.number(m) for m in q.multiplier),
        "bias": ", ".join(int64(b) for b in q.bias), "columns": len(q.multiplier), "quantizer": q,
    } | decision_context(program)  # fmt: skip


def decision_context(program: Program) -> dict[str, Any]:
    """What `decide.c.j2` needs."""
    how, out = program.preprocess.decisions, program.tensors[program.outputs[0]]
    lowest = -128 if out.dtype == "int8" else 0
    factor = score_factor(program, how) if how.reconstructs else confidence_factor(out.scale, how)
    mantissa, exponent = _parts_of(float(factor))
    return {
        "how": how, "reconstruction": reconstruction_of(program) if how.reconstructs else None,
        "lowest": lowest, "zero_steps": how.smooth * (out.zero_point - lowest), "mantissa": mantissa,
        "exponent": exponent, "threshold": how.threshold,
        "background": [i for i, label in enumerate(program.labels) if label in how.background],
    }  # fmt: skip


def int64(value: int) -> str:
    """An int64 constant that C99 and C++98 read alike."""
    return f"INT64_C({value})" if value != -(1 << 63) else "(-INT64_C(9223372036854775807) - 1)"


def _parts_of(value: float) -> tuple[int, int]:
    """A positive float32 as mantissa * 2^exponent, the mantissa of 24 bits."""
    fraction, exponent = math.frexp(float(np.float32(value)))
    return int(fraction * (1 << 24)), exponent - 24


def _up(value: int, to: int) -> int:
    return -(-value // to) * to
