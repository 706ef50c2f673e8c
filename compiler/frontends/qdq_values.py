"""Integers of a quantized ONNX file as a Program grows: channels last, with the file's scales and zero points.

ONNX's order of elements is kept beside each value (`places`), so Reshape, Flatten and Transpose cost nothing and a
fully connected layer behind them has its weights' columns moved instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from secateur.compiler.export.fixed_outputs import FIXED as FIXED_OUTPUTS
from secateur.compiler.frontends.onnx_operators import Refused
from secateur.models.program import Op, Options, Padding, Quantization, Tensor
from secateur.passes.program.lower import same_padding

Places = npt.NDArray[np.int64]

FUSABLE = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "SUB", "MUL")
FIXED = FIXED_OUTPUTS
CLIPS = {"NONE": (-math.inf, math.inf), "RELU": (0.0, math.inf), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}


@dataclass(frozen=True)
class Constant:
    """Integers of the file with what they stand for; `scale` and `zero_point` along `axis` where there are several."""

    q: npt.NDArray[Any]
    scale: npt.NDArray[np.float64]
    zero_point: npt.NDArray[np.int64]
    axis: int

    def real(self) -> npt.NDArray[np.float64]:
        along = [1] * self.q.ndim
        if self.scale.size > 1:
            along[self.axis] = -1
        return (self.q.astype(np.int64) - self.zero_point.reshape(along)) * self.scale.reshape(along)

    def moved(self, order: list[int]) -> Constant:
        return replace(self, q=self.q.transpose(order), axis=order.index(self.axis) if self.scale.size > 1 else 0)


@dataclass(frozen=True)
class Value:
    """A tensor of the Program, and where in it each element of ONNX's value (without the batch) lies."""

    tensor: int
    places: Places


@dataclass(frozen=True, eq=False)
class Pending:
    """An operator whose output quantization is not known before its QuantizeLinear; `low`, `high`: clips behind it."""

    kind: str
    inputs: tuple[int, ...]
    options: Options
    shape: tuple[int, ...]
    places: Places
    low: float = -math.inf
    high: float = math.inf
    averaged: bool = field(default=False)  # an average that may also be a sum with weights


def channels_first(shape: tuple[int, ...], rank: int) -> Places:
    """Places of ONNX's (c, h, w), (c, l) or (features,) in a channels-last tensor of `shape`, batch included.

    >>> channels_first((1, 1, 3, 2), 2).tolist()
    [[0, 2, 4], [1, 3, 5]]
    """
    count = math.prod(shape[1:])
    if rank == 1:
        return np.arange(count)
    if rank == 2:
        return np.arange(count).reshape(-1, shape[-1]).T
    return np.moveaxis(np.arange(count).reshape(shape[1:]), -1, 0)


def same(a: Quantization, b: Quantization) -> bool:
    """The same numbers, up to what writing a float32 loses."""
    return a.zero_point == b.zero_point and math.isclose(a.scale[0], b.scale[0], rel_tol=1e-6)


def clip_of(low: float, high: float, quantization: Quantization) -> str:
    """The fused activation that clips to `low`..`high` where the range of int8 does not do it. Raises Refused."""

    def ends(least: float, most: float) -> tuple[int, int]:
        scale, zero = quantization.scale[0], quantization.zero_point[0]
        first = -128 if least == -math.inf else max(-128, math.floor(least / scale + 0.5) + zero)
        last = 127 if most == math.inf else min(127, math.floor(most / scale + 0.5) + zero)
        return first, last

    for name, known in CLIPS.items():
        if ends(low, high) == ends(*known):
            return name
    raise Refused(f"clips to {low:g}..{high:g}; only 0..infinity, 0..6, -1..1 and what the output's range does")


class Builder:
    """Tensors and operators so far."""

    def __init__(self) -> None:
        self.tensors: list[Tensor] = []
        self.ops: list[Op] = []
        self._settled: dict[tuple[int, Quantization], int] = {}
        self._kept: list[Pending] = []  # keeps the ids above alive

    def tensor(
        self, name: str, shape: tuple[int, ...], quantization: Quantization | None,
        data: npt.NDArray[Any] | None = None, dtype: str = "int8",
    ) -> int:  # fmt: skip
        self.tensors.append(Tensor(name, shape, dtype, quantization, data))
        return len(self.tensors) - 1

    def constant(self, name: str, data: npt.NDArray[Any], quantization: Quantization | None = None) -> int:
        data = np.ascontiguousarray(data)
        return self.tensor(name, data.shape, quantization, data, str(data.dtype))

    def quantization(self, tensor: int) -> Quantization:
        found = self.tensors[tensor].quantization
        assert found is not None, f"{self.tensors[tensor].name} has no scale"
        return found

    def emit(
        self, kind: str, inputs: tuple[int, ...], shape: tuple[int, ...], quantization: Quantization, name: str,
        options: Options = Options(),  # noqa: B008 - frozen
    ) -> int:  # fmt: skip
        out = self.tensor(name, shape, quantization)
        self.ops.append(Op(kind, inputs, (out,), options, name))
        return out

    def requantized(self, tensor: int, wanted: Quantization, name: str) -> int:
        """`tensor`, or a QUANTIZE behind it where its scale or zero point is another."""
        if same(self.quantization(tensor), wanted):
            return tensor
        return self.emit("QUANTIZE", (tensor,), self.tensors[tensor].shape, wanted, name)

    def arranged(self, value: Value, name: str) -> int:
        """The value's tensor, channels last: (1, h, w, c), (1, 1, l, c) or (1, features). Raises Refused."""
        rank = value.places.ndim
        if rank not in (1, 2, 3):
            raise Refused(f"on a value of {rank + 1} dimensions")
        moved = np.moveaxis(value.places, 0, -1)
        shape = (1, *((1,) if rank == 2 else ()), *moved.shape)
        if not np.array_equal(moved.ravel(), np.arange(moved.size)):
            raise Refused("needs its input's elements in another order than they are computed in")
        return self.shaped(value.tensor, shape, f"{name}_in")

    def shaped(self, tensor: int, shape: tuple[int, ...], name: str) -> int:
        """`tensor` seen with another shape."""
        if self.tensors[tensor].shape == shape:
            return tensor
        return self.emit("RESHAPE", (tensor,), shape, self.quantization(tensor), name)

    def padded(
        self, tensor: int, kernel: tuple[int, int], options: Options, pads: Padding, lowest: bool, name: str
    ) -> tuple[int, Options]:
        """TFLite pads by SAME or not at all; anything else is a PAD in front, `lowest` of what never wins."""
        _, h, w, c = self.tensors[tensor].shape
        usual = Padding(
            *same_padding(h, kernel[0], options.stride[0], options.dilation[0]),
            *same_padding(w, kernel[1], options.stride[1], options.dilation[1]),
        )
        if not pads or pads == usual:
            return tensor, replace(options, padding=pads)
        amounts = np.array([[0, 0], [pads.top, pads.bottom], [pads.left, pads.right], [0, 0]], np.int32)
        inputs = [tensor, self.constant(f"{name}_amounts", amounts)]
        quantization = self.quantization(tensor)
        if lowest:
            inputs.append(self.constant(f"{name}_lowest", np.array([-128], np.int8), quantization))
        shape = (1, h + pads.top + pads.bottom, w + pads.left + pads.right, c)
        out = self.emit("PADV2" if lowest else "PAD", tuple(inputs), shape, quantization, f"{name}_pad")
        return out, options

    def settle(self, p: Pending, wanted: Quantization, name: str) -> Value:
        """Write the operator down, now that its output's quantization is known. Raises Refused."""
        key = id(p), wanted
        if key not in self._settled:
            self._settled[key] = self._settle(p, wanted, name)
            self._kept.append(p)
        return Value(self._settled[key], p.places)

    def _settle(self, p: Pending, wanted: Quantization, name: str) -> int:
        clip = clip_of(p.low, p.high, wanted)
        if p.kind in FUSABLE:
            return self.emit(p.kind, p.inputs, p.shape, wanted, name, replace(p.options, activation=clip))
        inputs, kind, options = p.inputs, p.kind, p.options
        reached = wanted
        if kind == "QUANTIZE":
            out = self.requantized(inputs[0], wanted, name)
            return out if clip == "NONE" else self.emit(clip, (out,), p.shape, wanted, f"{name}_{clip.lower()}")
        if kind == "CONCATENATION":
            inputs = tuple(self.requantized(i, wanted, f"{name}_in{k}") for k, i in enumerate(inputs))
        elif kind in FIXED:
            reached = FIXED[kind]
        elif kind == "AVERAGE_POOL_2D" and not same(self.quantization(inputs[0]), wanted):
            if p.averaged:  # one rounding, where a pool and a QUANTIZE behind it would round twice
                return self._average(p, wanted, name, clip)
            reached = self.quantization(inputs[0])
        out = self.emit(kind, inputs, p.shape, reached, name if same(reached, wanted) else f"{name}_raw", options)
        out = self.requantized(out, wanted, name)
        return out if clip == "NONE" else self.emit(clip, (out,), p.shape, wanted, f"{name}_{clip.lower()}")

    def _average(self, p: Pending, wanted: Quantization, name: str, clip: str) -> int:
        """An average pool as a depthwise convolution by 1 at the scale 1 / window."""
        h, w = p.options.kernel
        channels = p.shape[3]
        share = float(np.float32(1 / (h * w)))
        weights = np.ones((1, h, w, channels), np.int8)
        bias_scale = float(np.float32(self.quantization(p.inputs[0]).scale[0] * share))
        inputs = (
            p.inputs[0],
            self.constant(f"{name}_ones", weights, Quantization((share,) * channels, (0,) * channels, 3)),
            self.constant(
                f"{name}_zeros", np.zeros(channels, np.int32), Quantization((bias_scale,) * channels, (0,) * channels)
            ),
        )
        options = replace(p.options, kernel=(1, 1), activation=clip)
        return self.emit("DEPTHWISE_CONV_2D", inputs, p.shape, wanted, name, options)
