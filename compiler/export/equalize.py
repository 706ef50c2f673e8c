"""Channels of a value brought nearer to one range: what writes a channel is multiplied, what reads it divided.

An int8 tensor has one scale for all of its channels, so a channel that never gets far is rounded as coarsely as the
one that gets furthest. A factor moves from one layer's weights to another's for nothing where all that lies between
is positively homogeneous: Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction",
section 4.1, for the ranges of activations in place of weights', which have a scale a channel here. What reads with a
scale for each input channel too (depthwise) takes the whole factor; others get weights that are harder to round, so
they take its root: Xiao et al. 2023, "SmoothQuant", equation 4 with alpha 0.5, without its share of the weights, which
gained nothing here. Deviations from both: room for values that the samples do not show, and channels that show too few
stay.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from secateur.compiler.export.calibrate import run_float
from secateur.compiler.export.quantize import WEIGHT_AXIS
from secateur.models.program import Op, Program

CARRIES = ("PAD", "MAX_POOL_2D", "AVERAGE_POOL_2D", "RELU")
"""A factor of a channel passes through them, as through sums, means over positions and the flattening of one."""
HOMOGENEOUS = ("NONE", "RELU")
"""Of fused activations; a RELU6 would cut elsewhere."""
LARGEST = 16.0
"""Factor."""
HEADROOM = 1.5
"""How far the range of the tensor reaches above the largest value of a channel that was lifted."""
SPOKEN = 1000
"""Values other than 0 that a channel must have for its largest to be believed."""
BATCH = 64

Factors = npt.NDArray[np.float64]


@dataclass
class _Group:
    """Values whose channels have one factor, the operators that write and read them with weights."""

    tensors: set[int] = field(default_factory=set)
    writers: list[Op] = field(default_factory=list)
    readers: list[Op] = field(default_factory=list)
    fixed: bool = False


def equalized(program: Program, samples: npt.NDArray[np.float32]) -> Program:
    """The float Program that computes the same, from preprocessed samples in its layout."""
    groups = [g for g in _groups(program) if not g.fixed and g.writers and g.readers]
    seen = _seen(program, samples, [g.tensors for g in groups])
    tensors = list(program.tensors)
    for group, (largest, spoken) in zip(groups, seen, strict=True):
        depthwise = all(op.kind == "DEPTHWISE_CONV_2D" for op in group.readers)
        factors = _factors(largest, spoken, depthwise)
        for op in group.writers:
            axis = WEIGHT_AXIS[op.kind]
            weights, bias = (tensors[i] for i in op.inputs[1:3])
            assert weights.data is not None and bias.data is not None
            shape = [1] * weights.data.ndim
            shape[axis] = -1
            scaled = (weights.data * factors.reshape(shape)).astype(np.float32)
            tensors[op.inputs[1]] = replace(weights, data=scaled)
            tensors[op.inputs[2]] = replace(bias, data=(bias.data * factors).astype(np.float32))
        for op in group.readers:
            weights = tensors[op.inputs[1]]
            assert weights.data is not None
            tensors[op.inputs[1]] = replace(weights, data=(weights.data / factors).astype(np.float32))
    return replace(program, tensors=tuple(tensors))


def _groups(program: Program) -> list[_Group]:
    """Every activation is in one of them."""
    root = {i: i for i, t in enumerate(program.tensors) if t.data is None}

    def find(i: int) -> int:
        while root[i] != i:
            i = root[i]
        return i

    carries = {id(op) for op in program.ops if _carries(program, op)}
    for op in program.ops:
        if id(op) in carries:
            for i in program.activations(op):
                root[find(op.outputs[0])] = find(i)
    groups: dict[int, _Group] = {}
    for i in root:
        groups.setdefault(find(i), _Group()).tensors.add(i)
    of = {i: groups[find(i)] for i in root}
    for i in (*program.inputs, *program.outputs):
        of[i].fixed = True
    readers = Counter(i for op in program.ops for i in op.inputs if i >= 0)
    for op in program.ops:
        out = of[op.outputs[0]]
        out.fixed |= op.options.activation not in HOMOGENEOUS
        if op.kind in WEIGHT_AXIS and all(readers[i] == 1 for i in op.inputs[1:]):
            x = of[op.inputs[0]]
            out.writers.append(op)
            x.readers.append(op)
            # groups, or more outputs than inputs of a depthwise layer: other channels than those that are read
            x.fixed |= program.tensors[op.inputs[1]].shape[-1] != program.tensors[op.inputs[0]].shape[-1]
        elif id(op) not in carries:
            for i in (*program.activations(op), *op.outputs):
                of[i].fixed = True
    return list(groups.values())


def _carries(program: Program, op: Op) -> bool:
    """Whether a factor on each channel, the last axis, of what it reads is one on the same channel of its output."""
    before, after = [program.tensors[i].shape for i in program.activations(op)], program.tensors[op.outputs[0]].shape
    if op.options.activation not in HOMOGENEOUS or any(shape[-1] != after[-1] for shape in before):
        return False
    if op.kind == "ADD":
        return len(before) == 2
    if op.kind == "MEAN":
        axes = program.tensors[op.inputs[1]].data
        return axes is not None and not {-1, len(before[0]) - 1}.intersection(axes.ravel().tolist())
    if op.kind == "RESHAPE":
        return program.tensors[op.inputs[0]].elements == after[-1]
    return op.kind in CARRIES


def _seen(program: Program, samples: npt.NDArray[np.float32], groups: list[set[int]]) -> list[tuple[Factors, Factors]]:
    """Of each group of values, of each channel: the largest magnitude, and how many values other than 0 it has."""
    found = [(np.zeros(program.tensors[min(g)].shape[-1]),) * 2 for g in groups]
    for start in range(0, len(samples), BATCH):
        values = run_float(program, samples[start : start + BATCH])
        for k, tensors in enumerate(groups):
            largest, spoken = found[k]
            for i in tensors:
                channels = values[i].reshape(-1, values[i].shape[-1])
                largest = np.maximum(largest, channels.abs().amax(0).double().numpy())
                spoken = spoken + channels.count_nonzero(0).double().numpy()
            found[k] = largest, spoken
    return found


def _factors(largest: Factors, spoken: Factors, depthwise: bool) -> Factors:
    """Of each channel, 1 for the one that gets furthest and for those that say too little. `depthwise`: all readers."""
    known = (spoken >= SPOKEN) & (largest > 0)
    reach = np.where(known, largest.max() / np.where(known, largest, 1.0), 1.0)
    factors: Factors = np.minimum(reach if depthwise else np.sqrt(reach), LARGEST)
    return np.minimum(factors, np.maximum(reach / HEADROOM, 1.0))
