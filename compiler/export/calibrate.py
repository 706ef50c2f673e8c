"""The float Program run on samples, and the range that each tensor takes: what quantization is based on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from secateur.models.program import Op, Options, Program

Range = tuple[float, float]
Value = torch.Tensor


def run_float(program: Program, samples: npt.NDArray[np.float32]) -> dict[int, Value]:
    """Every activation, by tensor index, for preprocessed samples in the Program's layout (n, ...).

    Computed channels last, batch n in place of the Program's 1.
    """
    with torch.no_grad():
        return run_graph(program, samples)


def run_graph(program: Program, samples: npt.NDArray[np.float32]) -> dict[int, Value]:
    """`run_float` whose values can be differentiated, by each other too."""
    entry = torch.from_numpy(np.ascontiguousarray(samples)).requires_grad_(torch.is_grad_enabled())
    values: dict[int, Value] = {program.inputs[0]: entry}
    for op in program.ops:
        values[op.outputs[0]] = run_op(program, op, values)
    return values


def run_op(program: Program, op: Op, values: dict[int, Value]) -> Value:
    """The output of one operator."""
    return _activate(_compute(program, op, values), op.options.activation)


def calibrate(program: Program, samples: npt.NDArray[np.float32], batch: int = 64) -> dict[int, Range]:
    """(lowest, highest) of every activation over all samples: min/max, which clips nothing."""
    ranges: dict[int, Range] = {}
    for start in range(0, len(samples), batch):
        for index, value in run_float(program, samples[start : start + batch]).items():
            low, high = float(value.min()), float(value.max())
            old = ranges.get(index, (low, high))
            ranges[index] = (min(low, old[0]), max(high, old[1]))
    return ranges


def float_outputs(program: Program, samples: npt.NDArray[np.float32], batch: int = 64) -> npt.NDArray[np.float32]:
    """The output of the float Program, (n, ...)."""
    parts = [
        run_float(program, samples[i : i + batch])[program.outputs[0]].numpy() for i in range(0, len(samples), batch)
    ]
    return np.concatenate(parts)


@dataclass(frozen=True)
class LayerError:
    """How much int8 disturbs one layer: signal to quantization noise, in dB (lower is worse)."""

    name: str
    kind: str
    sqnr_db: float


def rank_errors(program: Program, quantized: Program, samples: npt.NDArray[np.float32]) -> tuple[LayerError, ...]:
    """Layers by their own quantization error, worst first.

    Each layer runs in float on exact inputs, once with its own weights and once with the weights, bias and output
    that int8 leaves it: the error that this layer adds, not what it inherits.
    """
    values = run_float(program, samples)
    by_name = {t.name: t for t in quantized.tensors}
    found = []
    for op in program.ops:
        out = program.tensors[op.outputs[0]]
        twin = by_name.get(out.name)
        if op.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "MUL", "MEAN") or twin is None:
            continue
        exact = values[op.outputs[0]]
        rough = _activate(_compute(program, op, values, by_name), op.options.activation)
        q = torch.round(rough / twin.scale + twin.zero_point).clamp(-128, 127)
        noise = float(((q - twin.zero_point) * twin.scale - exact).double().pow(2).mean())
        signal = float(exact.double().pow(2).mean())
        ratio = 10 * np.log10(signal / noise) if noise > 0 and signal > 0 else float("inf")
        found.append(LayerError(out.name, op.kind, float(ratio)))
    return tuple(sorted(found, key=lambda e: (e.sqnr_db, e.name)))


def _activate(x: Value, activation: str) -> Value:
    return {"NONE": x, "RELU": x.clamp(min=0), "RELU6": x.clamp(0, 6)}[activation]


def _constant(program: Program, index: int, quantized: dict[str, Any] | None) -> Value:
    tensor = program.tensors[index]
    assert tensor.data is not None
    data = tensor.data
    twin = quantized.get(tensor.name) if quantized else None
    if twin is not None and twin.quantization is not None and twin.dtype in ("int8", "int32"):
        scale = np.asarray(twin.quantization.scale, np.float32)
        shape = [1] * data.ndim
        shape[twin.quantization.axis] = len(scale)
        zero_point = np.asarray(twin.quantization.zero_point, np.float32).reshape(shape)
        data = ((twin.data.astype(np.float32) - zero_point) * scale.reshape(shape)).astype(np.float32)
    return torch.from_numpy(np.ascontiguousarray(data))


def _compute(program: Program, op: Op, values: dict[int, Value], quantized: dict[str, Any] | None = None) -> Value:
    def read(position: int) -> Value:
        index = op.inputs[position]
        return values[index] if index in values else _constant(program, index, quantized)

    o, x = op.options, read(0)
    if op.kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        return _convolve(op, x, read(1), read(2))
    if op.kind == "FULLY_CONNECTED":
        return functional.linear(x.reshape(len(x), -1), read(1), read(2))
    if op.kind == "ADD":
        return x + read(1)
    if op.kind == "MUL":
        return x * read(1)
    if op.kind in ("RELU", "RELU6"):
        return _activate(x, op.kind)
    if op.kind == "MAX_POOL_2D":
        padded = functional.pad(first(x), sides(op), value=float(np.finfo(np.float32).min))
        return _last(functional.max_pool2d(padded, o.kernel, o.stride))
    if op.kind == "AVERAGE_POOL_2D":
        ones = functional.pad(torch.ones_like(first(x)), sides(op))
        padded = functional.pad(first(x), sides(op))
        counted = functional.avg_pool2d(ones, o.kernel, o.stride)
        return _last(functional.avg_pool2d(padded, o.kernel, o.stride) / counted)
    if op.kind == "MEAN":
        axes = program.tensors[op.inputs[1]].data
        assert axes is not None
        return x.mean(dim=tuple(axes.tolist()), keepdim=o.keep_dims)
    if op.kind == "RESHAPE":
        return x.reshape(len(x), *program.tensors[op.outputs[0]].shape[1:])
    if op.kind == "CONCATENATION":
        return torch.cat([values[i] for i in op.inputs], dim=o.axis)
    if op.kind in ("PAD", "PADV2"):
        value = float(read(2)) if op.kind == "PADV2" else 0.0
        amounts = program.tensors[op.inputs[1]].data
        assert amounts is not None
        return functional.pad(x, [int(n) for pair in amounts[::-1] for n in pair], value=value)
    if op.kind == "STRIDED_SLICE":
        shape = program.tensors[op.outputs[0]].shape
        ranges = zip(o.begin[1:], shape[1:], o.strides[1:], strict=True)
        return x[(slice(None), *(slice(b, b + (n - 1) * s + 1, s) for b, n, s in ranges))]
    if op.kind == "SOFTMAX":
        return torch.softmax(x * o.beta, dim=-1)
    if op.kind in _CURVES:
        return _CURVES[op.kind](x, o)
    if op.kind == "PRELU":
        return torch.where(x < 0, x * read(1), x)
    if op.kind in ("SUB", "BATCH_MATMUL"):
        a, b = (v.transpose(-1, -2) if turned else v for v, turned in zip((x, read(1)), o.adjoint, strict=True))
        return a - b if op.kind == "SUB" else a @ b
    if op.kind == "TRANSPOSE":
        return x.permute(o.permutation)
    if op.kind == "L2_NORMALIZATION":
        return functional.normalize(x, dim=-1)
    raise AssertionError(f"no float arithmetic for {op.kind}")


_CURVES: dict[str, Callable[[Value, Options], Value]] = {
    "LOGISTIC": lambda x, o: torch.sigmoid(x),
    "TANH": lambda x, o: torch.tanh(x),
    "ELU": lambda x, o: functional.elu(x),
    "HARD_SWISH": lambda x, o: functional.hardswish(x),
    "LEAKY_RELU": lambda x, o: functional.leaky_relu(x, o.alpha),
    "GELU": lambda x, o: functional.gelu(x, approximate="tanh" if o.approximate else "none"),
}


def _convolve(op: Op, x: Value, weights: Value, bias: Value) -> Value:
    o = op.options
    if op.kind == "DEPTHWISE_CONV_2D":
        oihw, groups = weights.permute(3, 0, 1, 2), x.shape[3]
    else:
        oihw, groups = weights.permute(0, 3, 1, 2), x.shape[3] // weights.shape[3]
    padded = functional.pad(first(x), sides(op))
    return _last(functional.conv2d(padded, oihw, bias, o.stride, 0, o.dilation, groups))


def sides(op: Op) -> list[int]:
    p = op.options.padding
    return [p.left, p.right, p.top, p.bottom]


def first(x: Value) -> Value:
    return x.permute(0, 3, 1, 2)


def _last(x: Value) -> Value:
    return x.permute(0, 2, 3, 1)
