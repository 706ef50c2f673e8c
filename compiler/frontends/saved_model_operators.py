"""TensorFlow operators, each as what it adds to a ChannelsLast network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from secateur.compiler.frontends.channels_last import ChannelsLast, Floats, Refused, Value
from secateur.compiler.frontends.saved_model_constants import strided_slice
from secateur.compiler.frontends.saved_model_graph import Operator, setting


@dataclass(frozen=True)
class Call:
    """One operator: its inputs are Values of the network or constant arrays."""

    op: Operator
    inputs: list[Any]
    net: ChannelsLast
    alone: bool  # nobody else reads the first input
    batch: int

    @property
    def x(self) -> Value:
        return self.value(0)

    def value(self, i: int) -> Value:
        found = self.inputs[i]
        if not isinstance(found, Value):
            raise Refused(f"input {i} is a constant")
        return found

    def constant(self, i: int) -> Floats:
        found = self.inputs[i]
        if not isinstance(found, np.ndarray):
            raise Refused(f"input {i} is computed, a constant is needed")
        return found

    def integers(self, i: int) -> list[int]:
        return [int(v) for v in np.ravel(self.constant(i))]

    def axis(self, axis: int) -> int:
        """An axis behind the batch, from 0."""
        rank = len(self.x.shape)
        if not -rank <= axis <= rank or axis == 0:
            raise Refused(f"axis {axis}")
        return axis % (rank + 1) - 1

    def window(self, name: str) -> list[int]:
        values = setting(self.op, name) or [1, 1, 1, 1]
        if len(values) != 4 or values[0] != 1 or values[3] != 1:
            raise Refused(f"{name} {values}")
        return list(values[1:3])

    def check_layout(self) -> None:
        if setting(self.op, "data_format") not in (None, "NHWC"):
            raise Refused(f"data_format {setting(self.op, 'data_format')}")


@dataclass(frozen=True)
class Pending:
    """What TensorFlow takes apart into several operators: a dilated convolution, a Dense at each position."""

    x: Value
    block: tuple[int, ...] = ()  # dilation, empty for rows
    pads: tuple[tuple[int, int], ...] = ()
    kernel: Floats | None = None
    depthwise: bool = False


def _space_to_batch(c: Call) -> Any:
    block, pads = tuple(c.integers(1)), tuple((int(a), int(b)) for a, b in c.constant(2).reshape(-1, 2))
    if len(block) != len(pads) or len(block) != len(c.x.shape) - 1:
        raise Refused(f"of blocks {list(block)}")
    return Pending(c.x, block, pads)


def _batch_to_space(c: Call) -> Value:
    """The whole convolution: padded in front, dilated, what was padded too much cut off."""
    made, crops = c.inputs[0], c.constant(2).reshape(-1, 2)
    if not isinstance(made, Pending) or made.kernel is None or c.integers(1) != list(made.block):
        raise Refused("without its SpaceToBatchND and convolution")
    pads = [(a - int(p), b - int(q)) for (a, b), (p, q) in zip(made.pads, crops, strict=True)]
    if min(min(p) for p in pads) < 0:
        raise Refused(f"cuts {crops.tolist()} off pads {list(made.pads)}")
    x, kernel, one = made.x, made.kernel, [1] * len(pads)
    if len(pads) == 1 and kernel.ndim == 4 and kernel.shape[0] == 1:
        kernel = kernel[0]
    if made.depthwise:
        return c.net.depthwise(x, kernel, None, one, pads, made.block)
    return c.net.conv(x, kernel, None, one, pads, made.block, max(1, x.shape[-1] // kernel.shape[-2]))


def _line(v: Value) -> int | None:
    """Which dimension of 1 was put in, for TensorFlow's one-dimensional layers; None where there is none."""
    if len(v.shape) != 3 or len(v.held) != 2:
        return None
    for at in (0, 1):
        if v.shape[at] == 1 and v.shape[1 - at] == v.held[1] and v.shape[2] == v.held[0]:
            return at
    return None


def _pads(c: Call) -> Any:
    padding = str(setting(c.op, "padding")).lower()
    if padding == "explicit":
        flat = setting(c.op, "explicit_paddings") or []
        if len(flat) != 8 or any(flat[i] for i in (0, 1, 6, 7)):
            raise Refused(f"explicit_paddings {flat}")
        return [(flat[2], flat[3]), (flat[4], flat[5])]
    return padding


def _convolve(c: Call, kernel: Floats, depthwise: bool) -> Any:
    c.check_layout()
    if isinstance(c.inputs[0], Pending):
        if c.window("strides") != [1, 1] or _pads(c) != "valid" or not c.inputs[0].block:
            raise Refused("in blocks, with strides or padding")
        return replace(c.inputs[0], kernel=kernel, depthwise=depthwise)
    x, stride, dilation, pads = c.x, c.window("strides"), c.window("dilations"), _pads(c)
    at = _line(x)
    if at is not None and kernel.ndim == 4 and kernel.shape[at] == 1 and isinstance(pads, str):
        rest = 1 - at
        x = x.reshaped((x.shape[rest], x.shape[2]))
        kernel = kernel.reshape(kernel.shape[rest], *kernel.shape[2:])
        stride, dilation = [stride[rest]], [dilation[rest]]
    if depthwise:
        made = c.net.depthwise(x, kernel, None, stride, pads, dilation)
    else:
        groups = x.shape[-1] // kernel.shape[-2] if kernel.shape[-2] else 1
        made = c.net.conv(x, kernel, None, stride, pads, dilation, groups)
    return made if at is None or len(made.shape) != 2 else _lined(made, at)


def _lined(v: Value, at: int) -> Value:
    return v.reshaped((1, *v.shape) if at == 0 else (v.shape[0], 1, v.shape[1]))


def _matmul(c: Call) -> Any:
    rows = c.inputs[0]
    if isinstance(rows, Pending):
        if rows.block or rows.kernel is not None or setting(c.op, "transpose_b") or setting(c.op, "transpose_a"):
            raise Refused("of rows that are not one position each")
        return replace(rows, kernel=c.constant(1))
    if setting(c.op, "transpose_a") or setting(c.op, "adj_x"):
        raise Refused("of a transposed input")
    kernel = c.constant(1)
    return c.net.dense(c.x, kernel.T if setting(c.op, "transpose_b") or setting(c.op, "adj_y") else kernel, None)


def _bias(c: Call) -> Value:
    c.check_layout()
    return c.net.affine(c.x, np.array(1.0), c.constant(1), c.alone)


def _batch_norm(c: Call) -> Value:
    c.check_layout()
    if setting(c.op, "is_training"):
        raise Refused("in training mode; save the network for inference")
    gamma, beta, mean, variance = (c.constant(i) for i in (1, 2, 3, 4))
    epsilon = setting(c.op, "epsilon")
    x, at = c.x, _line(c.x)
    if at is not None:
        x = x.reshaped((x.shape[1 - at], x.shape[2]))
    made = c.net.batch_norm(x, gamma, beta, mean, variance, 1e-4 if epsilon is None else float(epsilon), 0.99)
    return made if at is None else _lined(made, at)


def _pool(c: Call) -> Value:
    c.check_layout()
    x, window, stride = c.x, c.window("ksize"), c.window("strides")
    padding, at = str(setting(c.op, "padding")).lower(), _line(c.x)
    maximum = c.op.kind == "MaxPool"
    if at is not None and window[at] == 1:
        x = x.reshaped((x.shape[1 - at], x.shape[2]))
        return _lined(c.net.pool(x, maximum, [window[1 - at]], [stride[1 - at]], padding), at)
    return c.net.pool(x, maximum, window, stride, padding)


def _reduce(c: Call) -> Value:
    axes, keep = [c.axis(a) for a in c.integers(1)], bool(setting(c.op, "keep_dims"))
    x, at = c.x, _line(c.x)
    if at is not None and sorted(axes) == [0, 1] and not keep:
        x, axes = x.reshaped((x.shape[1 - at], x.shape[2])), [0]
    return c.net.reduce(x, axes, c.op.kind == "Max", keep)


def _arithmetic(c: Call) -> Value:
    a, b = c.inputs[:2]
    kind = {"AddV2": "Add", "BiasAdd": "Add", "RealDiv": "Div"}.get(c.op.kind, c.op.kind)
    if isinstance(a, Value) and isinstance(b, Value):
        if kind not in ("Add", "Mul"):
            raise Refused("of two tensors; only their sum and product")
        return c.net.merge([a, b], kind == "Mul")
    x, swapped = (a, False) if isinstance(a, Value) else (b, True)
    constant = np.asarray(b if not swapped else a, np.float64)
    if constant.ndim == len(x.shape) + 1 and constant.shape[0] == 1:
        constant = constant[0]
    if constant.ndim > len(x.shape):
        raise Refused(f"with a constant of shape {constant.shape}")
    none, one, alone = np.array(0.0), np.array(1.0), c.alone and not swapped
    if kind == "Add":
        return c.net.affine(x, one, constant, alone)
    if kind == "Sub":
        return c.net.affine(x, -one, constant) if swapped else c.net.affine(x, one, -constant, alone)
    if kind == "Mul":
        return c.net.affine(x, constant, none, alone)
    if swapped or not constant.all():
        raise Refused("divides by a tensor, or by 0")
    return c.net.affine(x, 1.0 / constant, none, alone)


def _clip(c: Call) -> Value:
    least, most = float(np.ravel(c.constant(1))[0]), float(np.ravel(c.constant(2))[0])
    if least != 0 or (most != 6 and most < 1e30):
        raise Refused(f"to {least:g}..{most:g}; only 0..6 and 0..infinity")
    return c.net.activation(c.x, "relu6" if most == 6 else "relu")


def _minimum(c: Call) -> Value:
    """relu(x) followed by minimum(., 6) is relu6; maximum(x, 0) is relu."""
    x, bound = (c.inputs[0], c.inputs[1]) if isinstance(c.inputs[0], Value) else (c.inputs[1], c.inputs[0])
    if not isinstance(bound, np.ndarray) or bound.size != 1:
        raise Refused("of two tensors")
    value = float(np.ravel(bound)[0])
    if c.op.kind == "Maximum" and value == 0:
        return c.net.activation(x, "relu")
    raise Refused(f"with {value:g}")


def _shape(c: Call, sizes: list[int]) -> list[int]:
    if not sizes or sizes[0] not in (-1, c.batch):
        raise Refused(f"to {sizes}, which moves the batch")
    return sizes[1:]


def _reshape(c: Call) -> Any:
    sizes, rows = c.integers(1), c.inputs[0]
    if isinstance(rows, Pending):
        shape = [*rows.x.shape[:-1], 0 if rows.kernel is None else rows.kernel.shape[-1]]
        if rows.block or rows.kernel is None or sizes not in ([c.batch, *shape], [-1, *shape]):
            raise Refused(f"of rows to {sizes}")
        return c.net.dense(rows.x, rows.kernel, None)
    inner = c.x.shape
    positions = int(np.prod(inner[:-1]))
    if positions > 1 and sizes in ([c.batch * positions, inner[-1]], [-1, inner[-1]]):
        return Pending(c.x)
    rest = _shape(c, sizes)
    if sizes[0] == -1 and -1 in rest:
        raise Refused(f"to {sizes}")
    return c.x.reshaped(rest)


def _expand(c: Call) -> Value:
    axis, rank = c.integers(1)[0], len(c.x.shape) + 2
    if not -rank < axis < rank or axis % rank == 0:
        raise Refused(f"axis {axis}")
    shape = list(c.x.shape)
    shape.insert(axis % rank - 1, 1)
    return c.x.reshaped(shape)


def _squeeze(c: Call) -> Value:
    axes = setting(c.op, "squeeze_dims") or setting(c.op, "axis")
    gone = {c.axis(a) for a in axes} if axes else {i for i, n in enumerate(c.x.shape) if n == 1}
    return c.x.reshaped([n for i, n in enumerate(c.x.shape) if i not in gone])


def _transpose(c: Call) -> Value:
    order = c.integers(1)
    if not order or order[0] != 0:
        raise Refused(f"by {order}, which moves the batch")
    return c.x.transposed([i - 1 for i in order[1:]])


def _pad(c: Call) -> Value:
    pairs = [(int(a), int(b)) for a, b in c.constant(1).reshape(-1, 2)]
    if any(pairs[0]) or len(pairs) != len(c.x.shape) + 1:
        raise Refused(f"by {pairs}")
    value = float(np.ravel(c.constant(2))[0]) if len(c.inputs) > 2 else 0.0
    return c.net.pad(c.x, pairs[1:], value)


def _concat(c: Call) -> Value:
    axis = c.integers(len(c.inputs) - 1)[0]
    values = [c.value(i) for i in range(len(c.inputs) - 1)]
    return c.net.concatenate(values, c.axis(axis))


def _slice(c: Call) -> Value:
    shape = (c.batch, *c.x.shape)
    key = strided_slice(c.op, shape, c.inputs)
    if any(isinstance(k, int) for k in key):
        raise Refused("takes one position out")
    whole = np.empty(shape, np.bool_)
    parts = list(key)
    if Ellipsis in parts:
        at = parts.index(Ellipsis)
        parts[at : at + 1] = [slice(None)] * (whole.ndim - len(parts) + 1)
    parts += [slice(None)] * (whole.ndim - len(parts))
    ranges = [k.indices(n) for k, n in zip(parts, shape, strict=True)]
    if ranges[0] != (0, c.batch, 1):
        raise Refused("cuts the batch")
    return c.net.slice(c.x, ranges[1:])


def _curve(name: str) -> Callable[[Call], Value]:
    return lambda c: c.net.activation(c.x, name)


def _leaky_relu(c: Call) -> Value:
    slope = setting(c.op, "alpha")
    slope = 0.2 if slope is None else float(slope)
    return c.net.curve(c.x, lambda t: F.leaky_relu(t, slope))


def _softmax(c: Call) -> Value:
    return c.net.softmax(c.x)


IDLE = ("Identity", "StopGradient", "PreventGradient", "Enter", "CheckNumerics", "EnsureShape", "Placeholder")
OPERATORS: dict[str, Callable[[Call], Any]] = {
    "Conv2D": lambda c: _convolve(c, c.constant(1), False),
    "DepthwiseConv2dNative": lambda c: _convolve(c, c.constant(1), True),
    "SpaceToBatchND": _space_to_batch,
    "BatchToSpaceND": _batch_to_space,
    "MatMul": _matmul,
    "BatchMatMulV2": _matmul,
    "BiasAdd": _bias,
    **dict.fromkeys(("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"), _batch_norm),
    "Relu": lambda c: c.net.activation(c.x, "relu"),
    "Relu6": lambda c: c.net.activation(c.x, "relu6"),
    **{kind: _curve(kind.lower()) for kind in ("Sigmoid", "Tanh", "Elu")},
    "LeakyRelu": _leaky_relu,
    "Erf": lambda c: c.net.curve(c.x, torch.erf),
    "ClipByValue": _clip,
    "Maximum": _minimum,
    "Softmax": _softmax,
    "MaxPool": _pool,
    "AvgPool": _pool,
    "Mean": _reduce,
    "Max": _reduce,
    **dict.fromkeys(("Add", "AddV2", "Sub", "Mul", "RealDiv", "Div"), _arithmetic),
    "Neg": lambda c: c.net.affine(c.x, np.array(-1.0), np.array(0.0)),
    "Reshape": _reshape,
    "ExpandDims": _expand,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Pad": _pad,
    "PadV2": _pad,
    "ConcatV2": _concat,
    "StridedSlice": _slice,
}
