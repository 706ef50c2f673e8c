"""Float Program to int8: per-channel symmetric weights, asymmetric activations, int32 biases.

The scheme is TensorFlow Lite's (Jacob et al. 2018, and its int8 specification): weights in [-127, 127] with a
scale an output channel, activations in [-128, 127] with zero representable, bias scale = input * weight scale.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from secateur.compiler.export.calibrate import Range
from secateur.compiler.export.fixed_outputs import FIXED, separate_fixed
from secateur.models.program import DTYPES, Op, Program, Quantization, Tensor, verify_program

# Operators whose output carries the input's scale: TFLite's kernels move or compare bytes, they do not rescale.
SAME_SCALE = ("MAX_POOL_2D", "AVERAGE_POOL_2D", "RESHAPE", "PAD", "PADV2", "STRIDED_SLICE", "CONCATENATION",
              "TRANSPOSE")  # fmt: skip
LARGEST_BIAS = 1 << 29
WEIGHT_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}


def quantize(program: Program, ranges: dict[int, Range]) -> Program:
    """The int8 Program: same operators, same tensors, exact from here on.

    `ranges`: (lowest, highest) of every activation (`calibrate`).
    """
    program, ranges = separate_fixed(program, ranges, (*SAME_SCALE, "RELU6"))
    tensors = list(program.tensors)
    for index, quantization in _activations(program, ranges).items():
        tensors[index] = replace(tensors[index], dtype="int8", quantization=quantization)
    for op in program.ops:
        if op.kind in WEIGHT_AXIS:
            _weights(tensors, op)
        elif op.kind == "PADV2":
            out, real = tensors[op.outputs[0]], tensors[op.inputs[2]]
            assert real.data is not None
            q = -128.0 if _pads_lowest(real) else float(real.data.ravel()[0]) / out.scale + out.zero_point
            value = np.array([np.clip(np.rint(q), -128, 127)], np.int8)
            tensors[op.inputs[2]] = replace(
                tensors[op.inputs[2]], dtype="int8", data=value, quantization=out.quantization
            )
        elif op.kind in ("ADD", "MUL", "PRELU"):
            for i in op.inputs:
                if tensors[i].data is not None and tensors[i].dtype == "float32":
                    tensors[i] = _constant(tensors[i])
    quantized = replace(program, tensors=tuple(tensors), shape_only=False)
    verify_program(quantized)
    return quantized


def quantize_samples(program: Program, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.int8]:
    """Preprocessed samples in the Program's layout, as the bytes of its input, of whatever type.

    The last dimension is longer where a value takes several bytes. Ties away from zero, saturating.
    """
    entry = program.tensors[program.inputs[0]]
    if entry.dtype == "float32":
        return np.ascontiguousarray(samples, np.float32).view(np.int8)
    limits = np.iinfo(DTYPES[entry.dtype])
    scaled = samples.astype(np.float32) / np.float32(entry.scale)
    whole = np.trunc(scaled)
    rest = scaled - whole  # exact; a half added to `scaled` would round once more
    rounded = whole + (rest >= 0.5) - (rest <= -0.5)
    values = np.clip(rounded + entry.zero_point, limits.min, limits.max).astype(DTYPES[entry.dtype])
    return np.ascontiguousarray(values).view(np.int8)


def activation_quantization(low: float, high: float) -> Quantization:
    """Scale and zero point for [low, high] widened to hold 0, so that zero padding is exact.

    >>> activation_quantization(0.0, 2.55)
    Quantization(scale=(0.009999999776482582,), zero_point=(-128,), axis=0)
    """
    low, high = min(low, 0.0), max(high, 0.0)
    if high == low:
        return Quantization((1.0,), (0,))
    scale = (high - low) / 255
    from_low, from_high = -128 - low / scale, 127 - high / scale
    # the end whose rounding error is smaller decides, then the zero point is made an integer
    error_low, error_high = 128 + abs(low / scale), 127 + abs(high / scale)
    zero_point = from_low if error_low < error_high else from_high
    nudged = min(127, max(-128, int(np.floor(zero_point + 0.5))))
    return Quantization((float(np.float32(scale)),), (nudged,))


def shared_scales(program: Program) -> dict[int, int]:
    """For every activation the tensor that stands for all that must have its scale."""
    root = {i: i for i, t in enumerate(program.tensors) if t.data is None}

    def find(i: int) -> int:
        while root[i] != i:
            i = root[i]
        return i

    for op in program.ops:
        if op.kind in SAME_SCALE or (op.kind == "RELU6"):
            for i in program.activations(op):
                root[find(op.outputs[0])] = find(i)
    return {i: find(i) for i in root}


def _activations(program: Program, ranges: dict[int, Range]) -> dict[int, Quantization]:
    """Quantization of every activation; tensors that must share a scale share the union of their ranges."""
    root = shared_scales(program)
    fixed: dict[int, Quantization] = {}  # by root
    lowest: set[int] = set()  # outputs that hold padding with the lowest value: no evidence of a range
    for op in program.ops:
        if op.kind == "PADV2" and _pads_lowest(program.tensors[op.inputs[2]]):
            lowest.add(op.outputs[0])
        if op.kind in FIXED:
            fixed[root[op.outputs[0]]] = FIXED[op.kind]
    united: dict[int, Range] = {}
    for i, (low, high) in ranges.items():
        if i in lowest:
            continue
        r = root[i]
        old = united.get(r, (low, high))
        united[r] = (min(low, old[0]), max(high, old[1]))
    return {
        i: fixed.get(root[i]) or activation_quantization(*united[root[i]])
        for i in ranges
        if root[i] in united or root[i] in fixed
    }


def _pads_lowest(value: Tensor) -> bool:
    """Padding in front of a max pool: a value that never wins."""
    return value.data is not None and float(value.data.ravel()[0]) == float(np.finfo(np.float32).min)


def _weights(tensors: list[Tensor], op: Op) -> None:
    """Replace the weights and the bias of one operator by integers."""
    x, weights, bias = (tensors[i] for i in op.inputs)
    assert weights.data is not None and bias.data is not None
    axis = WEIGHT_AXIS[op.kind]
    others = tuple(i for i in range(weights.data.ndim) if i != axis)
    largest = np.abs(weights.data).max(axis=others)
    # A channel of tiny or zero weights takes its scale from the bias, which must fit int32 with room to add to.
    heaviest = np.abs(bias.data) if len(largest) > 1 else np.array([np.abs(bias.data).max()])
    least = heaviest.astype(np.float64) / (x.scale * LARGEST_BIAS)
    scale = np.maximum(largest / 127, least)
    scale = np.where(scale > 0, scale, 1.0).astype(np.float32)
    shape = [1] * weights.data.ndim
    shape[axis] = len(scale)
    q = np.clip(np.rint(weights.data / scale.reshape(shape)), -127, 127).astype(np.int8)
    quantization = Quantization(tuple(scale.tolist()), (0,) * len(scale), axis if len(scale) > 1 else 0)
    tensors[op.inputs[1]] = replace(weights, dtype="int8", data=q, quantization=quantization)
    bias_scale = (np.float64(x.scale) * scale.astype(np.float64)).astype(np.float32)
    limit = (1 << 31) - 1
    integers = np.clip(np.rint(bias.data.astype(np.float64) / bias_scale.astype(np.float64)), -limit, limit)
    tensors[op.inputs[2]] = replace(
        bias, dtype="int32", data=integers.astype(np.int32),
        quantization=Quantization(tuple(bias_scale.tolist()), (0,) * len(bias_scale), 0),
    )  # fmt: skip


def _constant(tensor: Tensor) -> Tensor:
    """A constant operand of ADD, MUL or PRELU, quantized by its own range."""
    assert tensor.data is not None
    quantization = activation_quantization(float(tensor.data.min()), float(tensor.data.max()))
    q = np.clip(np.rint(tensor.data / quantization.scale[0]) + quantization.zero_point[0], -128, 127)
    return replace(tensor, dtype="int8", data=q.astype(np.int8), quantization=quantization)
