"""The proof from raw samples to decisions: pieces of a stream for the harness, and what each must lead to."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from secateur.errors import UserError
from secateur.firmware.front_end.stream import parts, program_quantizer, shape
from secateur.firmware.generated import HEADER_BYTES, NO_DECISION
from secateur.models.front_end.chain import FrontEnd
from secateur.models.front_end.decide import Decision, Decisions, decide, fit_threshold, least_steps
from secateur.models.front_end.reconstruct import (
    MOST_THRESHOLD,
    decide_errors,
    fit_error_threshold,
    reconstruction_of,
    score_factor,
    typed,
)
from secateur.models.front_end.stage import Counts
from secateur.models.program import Program, slots
from secateur.models.recordings import Recording
from secateur.runtime_bench.golden import Golden, golden_outputs

log = logging.getLogger(__name__)

DECISIONS = 24
"""Windows that a proof goes through, at least, where the recordings are long enough."""
LARGEST_BYTES = 1 << 20  # of raw samples in an image


def stream_of(front: FrontEnd, recordings: tuple[Recording, ...], seed: int = 0) -> Counts:
    """Raw counts (n, channels) for a proof: the recordings one after the other, or seeded noise where none are."""
    ratio = front.resampler.down / front.resampler.up if front.resampler is not None else 1.0
    length = int((front.window_samples + DECISIONS * front.hop_samples) * ratio) + 1
    length = min(length, LARGEST_BYTES // (2 * front.channels))
    if not recordings:
        random = np.random.default_rng(seed)
        steps = random.normal(0, 1000, (length, front.channels)).cumsum(axis=0)
        loud = np.sin(steps / 5000) * random.uniform(500, 20000, (1, front.channels))
        return np.clip(loud + random.normal(0, 200, loud.shape), -32768, 32767).astype(np.int16)
    share = max(1, length // len(recordings))
    found = np.concatenate([front.counts(r.samples[:share]) for r in recordings])
    return found if len(found) <= length else found[:length]


def pieces(program: Program, stream: Counts) -> npt.NDArray[np.int8]:
    """The stream as the harness takes it, (pieces, bytes); a rest shorter than a piece is left out."""
    made = parts(program)
    assert made is not None
    chunk = shape(made, slots(program, program.outputs)[-1]).chunk
    count = len(stream) // chunk
    if not count:
        raise UserError(f"{program.name}: a stream of {len(stream)} samples is shorter than a hop of {chunk}")
    return np.ascontiguousarray(stream[: count * chunk], "<i2").reshape(count, -1).view(np.int8)


def samples_of(program: Program, given: npt.NDArray[np.int8]) -> Counts:
    """`pieces` undone: raw counts (n, channels)."""
    front = program.preprocess.front_end
    assert isinstance(front, FrontEnd)
    return np.ascontiguousarray(given).view("<i2").reshape(-1, front.channels).astype(np.int16)


def window_inputs(program: Program, stream: Counts) -> npt.NDArray[np.int8]:
    """The network's input at each window of a stream, (windows, bytes)."""
    front = program.preprocess.front_end
    assert isinstance(front, FrontEnd)
    windows = front.windows(stream)
    return program_quantizer(program)(windows).view(np.int8).reshape(len(windows), -1)


def decisions_of(
    program: Program, inputs: npt.NDArray[np.int8], outputs: npt.NDArray[np.int8]
) -> list[Decision | None]:
    """Decisions from the network's inputs and outputs, window by window, (windows, bytes) each."""
    how, out = program.preprocess.decisions, program.tensors[program.outputs[0]]
    if how.reconstructs:
        return decide_errors(_errors(program, inputs, outputs), score_factor(program, how), how)
    return decide(typed(out, outputs), out.scale, out.zero_point, program.labels, how)


def _errors(program: Program, inputs: npt.NDArray[np.int8], outputs: npt.NDArray[np.int8]) -> npt.NDArray[np.int64]:
    entry, out = program.tensors[program.inputs[0]], program.tensors[program.outputs[0]]
    return reconstruction_of(program).sums(typed(entry, inputs), typed(out, outputs))


def decisions_without_data(program: Program) -> Decisions:
    """The Program's decisions with their threshold in steps. Raises UserError where only data could tell it."""
    how = program.preprocess.decisions
    if how.least is not None:
        return replace(how, threshold=_steps(program, how.least), least=None)
    if how.keep_percent is not None:
        raise UserError(
            f"{program.name}: [decisions] has no threshold, and without --data none can be fitted. Give threshold or "
            "steps there (steps = 0 tells every class), or data"
        )
    return how


def _steps(program: Program, least: float) -> int:
    """A threshold in real values as the sum of steps over the windows that are averaged."""
    how, out = program.preprocess.decisions, program.tensors[program.outputs[0]]
    if how.reconstructs:
        return min(max(round(least / float(score_factor(program, how))), 0), MOST_THRESHOLD)
    steps = least_steps(least, out.scale, out.zero_point, out.dtype, how.smooth)
    if steps > 255 * how.smooth:
        highest = (255 + (-128 if out.dtype == "int8" else 0) - out.zero_point) * out.scale
        raise UserError(
            f"{program.name}: [decisions] threshold {least:g} tells nothing: its outputs reach {highest:g} at most"
        )
    return steps


def decisions_for(
    program: Program, content: bytes, inputs: Callable[[], npt.NDArray[np.int8]], truth: npt.NDArray[np.integer]
) -> Decisions:
    """The Program's decisions with their threshold in steps, fitted on validation windows where that is asked for."""
    how = program.preprocess.decisions
    out = program.tensors[program.outputs[0]]
    if how.least is not None or how.keep_percent is None:
        return decisions_without_data(program)
    if how.reconstructs:
        return _error_decisions(program, content, how.keep_percent, inputs(), truth)
    outputs = golden_outputs(content, program, inputs()).outputs
    steps, right, wrong = fit_threshold(typed(out, outputs), truth, how.keep_percent)
    log.info("threshold %d of 255 steps: %.1f %% of right windows are told, %.1f %% of wrong ones", steps, right, wrong)
    return replace(how, threshold=steps * how.smooth, keep_percent=None)


def _error_decisions(
    program: Program,
    content: bytes,
    keep_percent: float,
    inputs: npt.NDArray[np.int8],
    truth: npt.NDArray[np.integer],
) -> Decisions:
    how = program.preprocess.decisions
    sums = _errors(program, inputs, golden_outputs(content, program, inputs).outputs)
    return replace(how, threshold=fit_error_threshold(sums, truth, keep_percent) * how.smooth, keep_percent=None)


def completed_at(front: FrontEnd, windows: int) -> npt.NDArray[np.int64]:
    """Index of the raw sample that completes each window, (windows,)."""
    rows = front.window - 1 + front.hop * np.arange(windows, dtype=np.int64)
    f = front.features
    last = rows if f is None else rows * f.frame_step + f.frame_length - 1
    return last if front.resampler is None else last * front.resampler.down // front.resampler.up


def stream_golden(content: bytes, program: Program, given: npt.NDArray[np.int8]) -> Golden:
    """What the harness must report of each piece: decision, confidence, the network's outputs."""
    front = program.preprocess.front_end
    made = parts(program)
    assert isinstance(front, FrontEnd) and made is not None
    size = slots(program, program.outputs)[-1]
    chunk = shape(made, size).chunk
    inputs = window_inputs(program, samples_of(program, given))
    if not len(inputs):
        raise UserError(f"{program.name}: the stream is shorter than one window of {front.window_samples} samples")
    golden = golden_outputs(content, program, inputs)
    found = np.zeros((len(given), HEADER_BYTES + size), np.int8)
    labels = np.full(len(given), NO_DECISION, "<i4")
    confidences = np.zeros(len(given), "<f4")
    ends = completed_at(front, len(inputs)) // chunk
    for window, (piece, decision) in enumerate(zip(ends, decisions_of(program, inputs, golden.outputs), strict=True)):
        if piece >= len(given):
            continue
        found[piece:, HEADER_BYTES:] = golden.outputs[window]
        if decision is not None:
            labels[piece], confidences[piece] = decision.label, decision.confidence
    found[:, :4] = labels.view(np.int8).reshape(-1, 4)
    found[:, 4:HEADER_BYTES] = confidences.view(np.int8).reshape(-1, 4)
    return Golden(f"{golden.runtime} behind our front end's reference", found, 2 + golden.outputs.shape[1])
