"""Operators whose constant operands are really options: read as such, checked, and dropped from the operands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from secateur.compiler.frontends.tflite_expand import Graph, Shape
from secateur.errors import UserError
from secateur.models.program import Op, Options, Padding, Tensor
from secateur.passes.program.lower import same_padding

LARGEST_STRIDE = 32767  # int16_t in the kernel's parameter struct
ACTIVATIONS = {v: k for k, v in vars(schema.ActivationFunctionType).items() if isinstance(v, int)}


def take_operands(kind: str, options: Any, inputs: Shape, outputs: Shape, tensors: list[Tensor]) -> list[Op] | None:
    """The operators that one record stands for, None where it is read as any other.

    New tensors are added to `tensors`. Raises UserError, without a place, where the record contradicts itself.
    """
    handler = _HANDLERS.get(kind)
    if handler is None or (handler is _pad and len(tensors[inputs[0]].shape) <= 4):
        return None
    graph = Graph(tensors)
    handler(graph, kind, options, inputs, outputs)
    return graph.ops


def _arg(g: Graph, kind: str, o: Any, inputs: Shape, outputs: Shape) -> None:
    shape, axes = g.shape(inputs[0]), g.constant(inputs[1], "axes").ravel()
    if len(axes) != 1 or not -len(shape) <= axes[0] < len(shape):
        raise UserError(f"axes {axes.tolist()} of {len(shape)} dimensions")
    axis = int(axes[0]) % len(shape)
    rest = (*shape[:axis], *shape[axis + 1 :])
    if g.shape(outputs[0]) not in (rest, (*shape[:axis], 1, *shape[axis + 1 :])):
        raise UserError(f"output {g.shape(outputs[0])} does not follow from {shape} and axis {axis}")
    g.emit(kind, inputs[:1], outputs[0], Options(axis=axis))


def _resize_bilinear(g: Graph, kind: str, o: Any, inputs: Shape, outputs: Shape) -> None:
    shape, wanted = g.shape(inputs[0]), g.shape(outputs[0])
    size = g.constant(inputs[1], "sizes").ravel().tolist()
    align, half = bool(o.alignCorners), bool(o.halfPixelCenters)
    if len(shape) != 4 or len(size) != 2 or wanted != (shape[0], *size, shape[3]) or min(wanted) < 1:
        raise UserError(f"output {wanted} does not follow from {shape} and sizes {size}")
    if align and half:
        raise UserError("both aligned corners and half-pixel centers")
    g.emit(kind, inputs[:1], outputs[0], Options(align_corners=align, half_pixel_centers=half))


def _pad(g: Graph, kind: str, o: Any, inputs: Shape, outputs: Shape) -> None:
    """More than four dimensions: an axis without padding is joined to the one before it; where none is left, the last
    axis is padded by itself."""
    amounts, shape = g.constant(inputs[1], "paddings"), g.shape(inputs[0])
    padded = tuple(int(n + a + b) for n, (a, b) in zip(shape, amounts, strict=True))
    if padded != g.shape(outputs[0]) or amounts.min() < 0:
        raise UserError(f"output {g.shape(outputs[0])} does not follow from {shape} and {amounts.tolist()}")
    if amounts[1:].any(axis=1).all():
        first, last = amounts.copy(), np.zeros_like(amounts)
        first[-1], last[-1] = 0, amounts[-1]
        between = g.add(inputs[0], (*padded[:-1], shape[-1]))
        _pad_joined(g, kind, inputs, first, between)
        _pad_joined(g, kind, (between, *inputs[1:]), last, outputs[0])
    else:
        _pad_joined(g, kind, inputs, amounts, outputs[0])


def _pad_joined(g: Graph, kind: str, inputs: Shape, amounts: npt.NDArray[np.int64], output: int) -> None:
    sizes: list[int] = []
    pads: list[list[int]] = []
    for size, (before, after) in zip(g.shape(inputs[0]), amounts.tolist(), strict=True):
        if sizes and not before and not after:
            sizes[-1] *= size
            pads[-1] = [pads[-1][0] * size, pads[-1][1] * size]
        else:
            sizes.append(size)
            pads.append([before, after])
    if len(sizes) > 4:
        raise UserError(f"padding of {len(sizes)} dimensions")
    x = g.reshape(inputs[0], g.add(inputs[0], sizes))
    to = g.add(output, [n + a + b for n, (a, b) in zip(sizes, pads, strict=True)])
    table = Tensor(f"paddings_{len(g.tensors)}", (len(pads), 2), "int32", data=np.array(pads, np.int32))
    g.tensors.append(table)
    g.emit(kind, (x, len(g.tensors) - 1, *inputs[2:]), to)
    g.reshape(to, output)


def _transpose_conv(g: Graph, kind: str, o: Any, inputs: Shape, outputs: Shape) -> None:
    """Operands of the record: output shape, weights, input, bias."""
    given, weights, x = inputs[:3]
    shape, wanted, filters = g.shape(x), g.shape(outputs[0]), g.shape(weights)
    if not len(shape) == len(wanted) == len(filters) == 4 or shape[0] != wanted[0]:
        raise UserError(f"shapes {shape} to {wanted} by weights {filters}")
    declared = g.tensors[given].data if given >= 0 else None
    if declared is not None and tuple(declared.ravel().tolist()) != wanted:
        raise UserError(f"output {wanted}, declared as {declared.ravel().tolist()}")
    stride, same = (int(o.strideH), int(o.strideW)), o.padding == schema.Padding.SAME
    for size, out, k, s in zip(shape[1:3], wanted[1:3], filters[1:3], stride, strict=True):
        if not 1 <= s <= LARGEST_STRIDE or k < 1 or size != -(-(out if same else out - k + 1) // s):
            raise UserError(f"output {wanted} does not follow from {shape} by weights {filters} and stride {stride}")
    sides = [same_padding(n, k, s, 1) for n, k, s in zip(wanted[1:3], filters[1:3], stride, strict=True)]
    number = int(getattr(o, "fusedActivationFunction", 0) or 0)
    options = Options(
        stride=stride, padding=Padding(*sides[0], *sides[1]) if same else Padding(),
        activation=ACTIVATIONS.get(number, f"number {number}"),
    )  # fmt: skip
    g.emit(kind, (x, weights, *inputs[3:4]), outputs[0], options)


def _batch_matmul(g: Graph, kind: str, o: Any, inputs: Shape, outputs: Shape) -> None:
    a, b, wanted = g.shape(inputs[0]), g.shape(inputs[1]), g.shape(outputs[0])
    adjoint = (bool(o.adjX), bool(o.adjY))
    if not 2 <= len(a) <= 5 or not 2 <= len(b) <= 5:
        raise UserError(f"matrices {a} and {b}; two to five dimensions are known")
    left = a[-2:][::-1] if adjoint[0] else a[-2:]
    right = b[-2:][::-1] if adjoint[1] else b[-2:]
    try:
        found = (*np.broadcast_shapes(a[:-2], b[:-2]), left[0], right[1])
    except ValueError:
        found = ()
    if left[1] != right[0] or found != wanted:
        raise UserError(f"output {wanted} does not follow from {a} and {b}")
    g.emit(kind, inputs[:2], outputs[0], Options(adjoint=adjoint))


_HANDLERS: dict[str, Callable[[Graph, str, Any, Shape, Shape], None]] = {
    "ARG_MAX": _arg, "ARG_MIN": _arg, "RESIZE_BILINEAR": _resize_bilinear, "PAD": _pad, "PADV2": _pad,
    "TRANSPOSE_CONV": _transpose_conv, "BATCH_MATMUL": _batch_matmul,
}  # fmt: skip
