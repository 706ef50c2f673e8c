"""Reference arithmetic of float32: IEEE single operations in the order of TensorFlow Lite's reference kernels.

Nothing is fused, nothing is summed in another order, and no C library is asked, so the C kernels compute the same bits
on every processor. TensorFlow Lite Micro computes the same bits too, but for the kinds of `ULPS`, where it asks its C
library.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from secateur.models.program import Op, Options, Program
from secateur.models.reference_float_functions import (
    LARGEST,
    Floats,
    clamp,
    exp,
    exp_less_one,
    gelu,
    gelu_tanh,
    log,
    logistic,
    sqrt,
    tanh,
)
from secateur.models.reference_float_recurrent import FLOAT_RECURRENT

ULPS = {
    "LOGISTIC": 4, "TANH": 5, "SOFTMAX": 5, "EXP": 2, "LOG": 2, "ELU": 3, "GELU": 3, "UNIDIRECTIONAL_SEQUENCE_LSTM": 2,
}  # fmt: skip
"""Units in the last place that an output may be from TensorFlow Lite Micro's for equal inputs; other kinds: none.

GELU, which it lacks: from LiteRT's, in units of the input's last place. UNIDIRECTIONAL_SEQUENCE_LSTM, whose errors come
back with its state: in units of the last place of 1, which no output exceeds.
"""

ZERO = np.float32(0)


def is_float(program: Program, op: Op) -> bool:
    """`op` computes with float32: it neither only moves values nor changes their type."""
    known = op.kind in FLOAT or op.kind in FLOAT_RECURRENT
    return not program.shape_only and known and program.tensors[op.inputs[0]].dtype == "float32"


def arithmetic(program: Program) -> str:
    """What `program` computes with, in words; a conversion at its ends is no arithmetic."""
    made = {program.tensors[i].dtype for op in program.ops for i in op.outputs}
    found: list[str] = [] if program.shape_only else [dtype for dtype in ("int8", "int16") if dtype in made]
    if any(is_float(program, op) for op in program.ops):
        found.append("float32")
    return " and ".join(found) or "int8"


def activation_range_f32(activation: str) -> tuple[float, float]:
    """(low, high) of a fused activation; without one, what is beyond the largest float becomes that."""
    largest = float(LARGEST)
    return {"RELU": (0.0, largest), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}.get(
        activation, (-largest, largest)
    )


def compute_float(program: Program, op: Op, x: list[Any]) -> npt.NDArray[Any]:
    with np.errstate(all="ignore"):
        return FLOAT[op.kind](program, op, x)


def recurrent_float(program: Program, op: Op, x: list[Any]) -> tuple[npt.NDArray[Any], ...]:
    """(output, states after)."""
    with np.errstate(all="ignore"):
        return FLOAT_RECURRENT[op.kind](program, op, x)


def bilinear_positions(size: int, wanted: int, options: Options) -> tuple[np.float32, np.float32]:
    """(scale, shift) of RESIZE_BILINEAR along an axis: output i lies at (i + shift) * scale - shift of the input."""
    aligned = options.align_corners and wanted > 1
    scale = np.float32(size - 1) / np.float32(wanted - 1) if aligned else np.float32(size) / np.float32(wanted)
    return scale, np.float32(0.5 if options.half_pixel_centers else 0)


def bilinear_between(
    size: int, wanted: int, options: Options
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats]:
    """(lower position, upper position, how far from the lower) of every output along an axis."""
    scale, shift = bilinear_positions(size, wanted, options)
    position = (np.arange(wanted).astype(np.float32) + shift) * scale - shift
    low = position.astype(np.int64)
    high = np.minimum(np.where(position > low.astype(np.float32), low + 1, low), size - 1)
    return low, high, position - low.astype(np.float32)


def _finish(sums: Floats, x: list[Any], op: Op) -> Floats:
    if len(x) > 2 and x[2] is not None:
        sums = sums + x[2].ravel()
    return clamp(sums, *activation_range_f32(op.options.activation))


def _taps(op: Op, x: Floats, shape: tuple[int, ...], kernel: tuple[int, ...], fill: np.float32) -> Any:
    """(ky, kx, what the output pixels of `shape` read there), with `fill` outside the input."""
    o, p = op.options, op.options.padding
    x = np.pad(x, ((0, 0), (p.top, p.bottom), (p.left, p.right), (0, 0)), constant_values=fill)
    reach_y, reach_x = (shape[1] - 1) * o.stride[0] + 1, (shape[2] - 1) * o.stride[1] + 1
    for ky in range(kernel[0]):
        for kx in range(kernel[1]):
            y, z = ky * o.dilation[0], kx * o.dilation[1]
            yield ky, kx, x[:, y : y + reach_y : o.stride[0], z : z + reach_x : o.stride[1]]


def _conv(program: Program, op: Op, x: list[Any]) -> Floats:
    """Zeros outside the input change no sum: weights are finite."""
    shape, weights = program.tensors[op.outputs[0]].shape, x[1]
    sums = np.zeros(shape, np.float32)
    groups = x[0].shape[3] // weights.shape[3]
    depth, size = weights.shape[3], shape[3] // groups
    for ky, kx, tap in _taps(op, x[0], shape, weights.shape[1:3], ZERO):
        for c in range(depth):
            for g in range(groups):
                own = slice(g * size, (g + 1) * size)
                sums[..., own] += tap[..., g * depth + c, None] * weights[own, ky, kx, c]
    return _finish(sums, x, op)


def _depthwise(program: Program, op: Op, x: list[Any]) -> Floats:
    shape, weights = program.tensors[op.outputs[0]].shape, x[1]
    sums = np.zeros(shape, np.float32)
    for ky, kx, tap in _taps(op, x[0], shape, weights.shape[1:3], ZERO):
        sums += np.repeat(tap, shape[3] // tap.shape[3], axis=3) * weights[0, ky, kx]
    return _finish(sums, x, op)


def _transpose_conv(program: Program, op: Op, x: list[Any]) -> Floats:
    shape, (value, weights), o = program.tensors[op.outputs[0]].shape, x[:2], op.options
    _, k_h, k_w, depth = weights.shape
    n, in_h, in_w, _ = value.shape
    p = o.padding
    # as large as the furthest tap and the furthest output reach
    sizes = (
        max((in_h - 1) * o.stride[0] + k_h, p.top + shape[1]),
        max((in_w - 1) * o.stride[1] + k_w, p.left + shape[2]),
    )
    whole = np.zeros((n, *sizes, shape[3]), np.float32)
    for y in range(in_h):
        for z in range(in_w):
            at_y, at_z = y * o.stride[0], z * o.stride[1]
            for c in range(depth):
                products = value[:, y, z, c][:, None, None, None] * np.moveaxis(weights[..., c], 0, 2)
                whole[:, at_y : at_y + k_h, at_z : at_z + k_w] += products
    return _finish(whole[:, p.top : p.top + shape[1], p.left : p.left + shape[2]], x, op)


def _products(a: Floats, b: Floats) -> Floats:
    """a @ b, each sum along the depth in order."""
    shape = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])
    sums = np.zeros(shape, np.float32)
    for k in range(a.shape[-1]):
        sums += a[..., :, k, None] * b[..., None, k, :]
    return sums


def _fully_connected(program: Program, op: Op, x: list[Any]) -> Floats:
    return _finish(_products(x[0].reshape(-1, x[1].shape[1]), x[1].T), x, op)


def _batch_matmul(program: Program, op: Op, x: list[Any]) -> Floats:
    return _products(
        *(np.swapaxes(v, -1, -2) if adjoint else v for v, adjoint in zip(x, op.options.adjoint, strict=True))
    )


def _binary(function: Callable[[Floats, Floats], Floats]) -> Callable[..., Floats]:
    def compute(program: Program, op: Op, x: list[Any]) -> Floats:
        return clamp(function(x[0], x[1]), *activation_range_f32(op.options.activation))

    return compute


def _plain(function: Callable[..., Floats]) -> Callable[..., Floats]:
    """Of the operands alone, without a fused activation."""
    return lambda program, op, x: function(*x)


def _squared_difference(a: Floats, b: Floats) -> Floats:
    difference = a - b
    return difference * difference


def _maximum(a: Floats, b: Floats) -> Floats:
    return np.where(a > b, a, b)


def _minimum(a: Floats, b: Floats) -> Floats:
    return np.where(a < b, a, b)


def _hard_swish(x: Floats) -> Floats:
    above = x + np.float32(3)
    gate = np.where(above > 0, above, ZERO)
    gate = np.where(gate < 6, gate, np.float32(6))
    return x * gate / np.float32(6)


def _leaky_relu(program: Program, op: Op, x: list[Any]) -> Floats:
    return np.asarray(np.where(x[0] > 0, x[0], x[0] * np.float32(op.options.alpha)), np.float32)


def _gelu(program: Program, op: Op, x: list[Any]) -> Floats:
    return gelu_tanh(x[0]) if op.options.approximate else gelu(x[0])


def _max_pool(program: Program, op: Op, x: list[Any]) -> Floats:
    shape = program.tensors[op.outputs[0]].shape
    found = np.full(shape, -LARGEST, np.float32)
    for _, _, tap in _taps(op, x[0], shape, op.options.kernel, -LARGEST):
        found = np.where(found < tap, tap, found)
    return clamp(found, *activation_range_f32(op.options.activation))


def _average_pool(program: Program, op: Op, x: list[Any]) -> Floats:
    shape = program.tensors[op.outputs[0]].shape
    sums, counts = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for _, _, tap in _taps(op, x[0], shape, op.options.kernel, ZERO):
        sums += tap
    for _, _, tap in _taps(op, np.ones_like(x[0]), shape, op.options.kernel, ZERO):
        counts += tap
    return clamp(sums / counts, *activation_range_f32(op.options.activation))


def _reduced(x: list[Any]) -> Floats:
    """(elements reduced, in order; the rest)."""
    axes = sorted({int(a) % x[0].ndim for a in np.ravel(x[1])})
    kept = [a for a in range(x[0].ndim) if a not in axes]
    count = int(np.prod([x[0].shape[a] for a in axes], dtype=np.int64))
    return np.asarray(x[0].transpose([*axes, *kept]).reshape(count, -1), np.float32)


def _sum(program: Program, op: Op, x: list[Any]) -> Floats:
    rows = _reduced(x)
    total = np.zeros(rows.shape[1], np.float32)
    for row in rows:
        total += row
    return total / np.float32(len(rows) if op.kind == "MEAN" else 1)


def _extreme(program: Program, op: Op, x: list[Any]) -> Floats:
    rows = _reduced(x)
    found = np.full(rows.shape[1], -LARGEST if op.kind == "REDUCE_MAX" else LARGEST, np.float32)
    for row in rows:
        found = np.where(row > found if op.kind == "REDUCE_MAX" else row < found, row, found)
    return found


def _arg(program: Program, op: Op, x: list[Any]) -> npt.NDArray[np.int64]:
    """The first of equal values; what is no number stays where it comes first, and is passed over elsewhere."""
    rows = np.moveaxis(x[0], op.options.axis, 0)
    best, index = rows[0], np.zeros(rows.shape[1:], np.int64)
    for i, row in enumerate(rows):
        better = row > best if op.kind == "ARG_MAX" else row < best
        best, index = np.where(better, row, best), np.where(better, i, index)
    return index


def _softmax(program: Program, op: Op, x: list[Any]) -> Floats:
    columns: Floats = np.moveaxis(x[0], -1, 0)
    largest: Floats = np.full(columns.shape[1:], -LARGEST, np.float32)
    total: Floats = np.zeros(columns.shape[1:], np.float32)
    for column in columns:
        largest = np.where(column > largest, column, largest)
    powers = exp((x[0] - largest[..., None]) * np.float32(op.options.beta))
    for column in np.moveaxis(powers, -1, 0):
        total = total + column
    return powers / total[..., None]


def _l2_normalization(program: Program, op: Op, x: list[Any]) -> Floats:
    total = np.zeros(x[0].shape[:-1], np.float32)
    for column in np.moveaxis(x[0], -1, 0):
        total = total + column * column
    root = sqrt(total)
    return np.asarray(x[0] / np.where(root < np.float32(1e-6), np.float32(1e-6), root)[..., None], np.float32)


def _resize_bilinear(program: Program, op: Op, x: list[Any]) -> Floats:
    _, height, width, _ = program.tensors[op.outputs[0]].shape
    y0, y1, dy = bilinear_between(x[0].shape[1], height, op.options)
    x0, x1, dx = bilinear_between(x[0].shape[2], width, op.options)
    down, right, one = dy[:, None, None], dx[:, None], np.float32(1)
    upper, lower = x[0][:, y0], x[0][:, y1]
    found = upper[:, :, x0] * (one - down) * (one - right)
    found = found + lower[:, :, x0] * down * (one - right)
    found = found + upper[:, :, x1] * (one - down) * right
    found = found + lower[:, :, x1] * down * right
    return np.asarray(found + ZERO, np.float32)


FLOAT: dict[str, Callable[[Program, Op, list[Any]], npt.NDArray[Any]]] = {
    "CONV_2D": _conv, "DEPTHWISE_CONV_2D": _depthwise, "TRANSPOSE_CONV": _transpose_conv,
    "FULLY_CONNECTED": _fully_connected, "BATCH_MATMUL": _batch_matmul,
    "ADD": _binary(np.add), "SUB": _binary(np.subtract), "MUL": _binary(np.multiply), "DIV": _binary(np.divide),
    "SQUARED_DIFFERENCE": _plain(_squared_difference),
    "MAXIMUM": _plain(_maximum), "MINIMUM": _plain(_minimum),
    "PRELU": _plain(lambda x, slope: np.where(x >= 0, x, x * slope)),
    "RELU": _plain(lambda x: np.where(x < 0, ZERO, x)), "RELU6": _plain(lambda x: clamp(x, 0, 6)),
    "RELU_N1_TO_1": _plain(lambda x: clamp(x, -1, 1)), "LEAKY_RELU": _leaky_relu, "HARD_SWISH": _plain(_hard_swish),
    "ABS": _plain(np.abs), "NEG": _plain(np.negative), "SQUARE": _plain(np.square), "EXP": _plain(exp),
    "LOG": _plain(log), "SQRT": _plain(sqrt), "RSQRT": _plain(lambda x: np.float32(1) / sqrt(x)),
    "LOGISTIC": _plain(logistic), "TANH": _plain(tanh), "GELU": _gelu,
    "ELU": _plain(lambda x: np.where(x < 0, exp_less_one(np.minimum(x, 0)), x)),
    "MAX_POOL_2D": _max_pool, "AVERAGE_POOL_2D": _average_pool, "MEAN": _sum, "SUM": _sum, "REDUCE_MAX": _extreme,
    "REDUCE_MIN": _extreme, "ARG_MAX": _arg, "ARG_MIN": _arg, "SOFTMAX": _softmax,
    "L2_NORMALIZATION": _l2_normalization, "RESIZE_BILINEAR": _resize_bilinear,
}  # fmt: skip
