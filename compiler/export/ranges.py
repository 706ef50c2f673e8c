"""Ranges of activations that disturb the network's output least: a value may be clipped where finer steps gain more.

The output's error from rounding one tensor x is, to first order, J (q(x) - x), J the Jacobian of the output by x: the
Taylor expansion of LeCun et al. 1990, "Optimal Brain Damage", equation 1, on what rounding changes. For signs r at
random, E |r J d|^2 = |J d|^2 (Hutchinson 1990), so that a few backward passes give it for all tensors at once; summed
over a sample's elements before it is squared, since clipping shifts many of them the same way where rounding shifts
each its own way. The mean squared error of x itself, which is usual, takes both for equally bad.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt
import torch

from secateur.compiler.export.calibrate import Range, Value, calibrate, run_graph
from secateur.compiler.export.quantize import activation_quantization, shared_scales
from secateur.models.program import Program

SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
"""Of the largest and of the lowest value."""
ERRORS = 1.0
"""Standard errors of a range's mean harm that are added to it: few samples show what clipping does, others reach
further."""
SAMPLES = 128
BATCH = 16
SIGNS = 4
BYTES = 1 << 30
"""Of values and slopes at a time: fewer samples than `BATCH` where a network is large."""
UNBOUNDED = -1e30
"""Below it is padding in front of a max pool."""


def least_harm(program: Program, samples: npt.NDArray[np.float32]) -> dict[int, Range]:
    """(lowest, highest) of every activation, for `quantize`, from preprocessed samples in the Program's layout."""
    widest = calibrate(program, samples)
    groups: dict[int, list[int]] = {}
    for tensor, group in shared_scales(program).items():
        if tensor in widest and widest[tensor][0] > UNBOUNDED:
            groups.setdefault(group, []).append(tensor)
    ends = {g: (min(widest[i][0] for i in t), max(widest[i][1] for i in t)) for g, t in groups.items()}
    candidates = {g: _candidates(*ends[g]) for g in groups}
    few = samples[np.linspace(0, len(samples) - 1, min(SAMPLES, len(samples))).astype(int)]
    harm = {g: np.zeros((len(few), len(c))) for g, c in candidates.items()}
    made = _made(program)
    generator = torch.Generator().manual_seed(0)
    size = sum(program.tensors[i].elements for i in widest)
    batch = max(1, min(BATCH, BYTES // (4 * size * (2 + 2 * SIGNS))))  # slopes are held twice while they are stacked
    for start in range(0, len(few), batch):
        values, slopes = _slopes(program, few[start : start + batch], generator)
        for group, tensors in groups.items():
            for i in (t for t in tensors if t in made):
                for k, candidate in enumerate(candidates[group]):
                    harm[group][start : start + batch, k] += _harm(values[i], slopes[i], candidate)
    found = dict(widest)
    for group, tensors in groups.items():
        found.update(dict.fromkeys(tensors, _best(candidates[group], harm[group])))
    return found


def _candidates(low: float, high: float) -> list[Range]:
    """The widest first."""
    low, high = min(low, 0.0), max(high, 0.0)
    return [(low * a, high * b) for a, b in product(SHARES if low < 0 else (1.0,), SHARES if high > 0 else (1.0,))]


def _best(candidates: list[Range], harm: npt.NDArray[np.float64]) -> Range:
    """The least harmful; `harm`: (samples, candidates)."""
    likely = harm.mean(0) + ERRORS * harm.std(0) / np.sqrt(len(harm))
    return candidates[int(np.argmin(likely))]


def _made(program: Program) -> set[int]:
    """Tensors whose values are rounded: of those that share a scale, those that no other one is moved to."""
    groups = shared_scales(program)
    moved = {
        op.outputs[0] for op in program.ops
        if op.inputs[0] in groups and groups[op.inputs[0]] == groups[op.outputs[0]]
    }  # fmt: skip
    return set(groups) - moved


def _slopes(
    program: Program, samples: npt.NDArray[np.float32], generator: torch.Generator
) -> tuple[dict[int, Value], dict[int, Value]]:
    """Every activation, and its (SIGNS, n, ...) derivatives of signed sums of the outputs.

    Of what a softmax at the end reads, for its own output is flat where it is sure.
    """
    with torch.enable_grad():
        values = run_graph(program, samples)
        last = program.outputs[0]
        for op in reversed(program.ops):
            if op.outputs[0] == last and op.kind in ("SOFTMAX", "LOGISTIC", "RESHAPE"):
                last = op.inputs[0]
        out = values[last]
        order = list(values)
        drawn: dict[int, list[Value]] = {i: [] for i in order}
        for _ in range(SIGNS):
            signs = torch.randint(0, 2, out.shape, generator=generator) * 2.0 - 1
            found = torch.autograd.grad(out, [values[i] for i in order], signs, retain_graph=True, allow_unused=True)
            for i, slope in zip(order, found, strict=True):
                drawn[i].append(torch.zeros_like(values[i]) if slope is None else slope)
    return {i: v.detach() for i, v in values.items()}, {i: torch.stack(s) for i, s in drawn.items()}


def _harm(value: Value, slopes: Value, candidate: Range) -> npt.NDArray[np.float64]:
    """Of each sample, the output's squared error to first order when `value` is rounded on this range."""
    grid = activation_quantization(*candidate)
    scale, zero_point = grid.scale[0], grid.zero_point[0]
    error = (torch.round(value / scale + zero_point).clamp(-128, 127) - zero_point) * scale - value
    made: npt.NDArray[np.float64] = (slopes * error).flatten(2).sum(2).double().pow(2).mean(0).numpy()
    return made
