"""Operators whose constant operands are really options: read as such, checked, and dropped from the operands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from secateur.compiler.frontends.tflite_expand import Graph, Shape
from secateur.errors import UserError
from secateur.models.program import Op, Options, Tensor


def take_operands(kind: str, options: Any, inputs: Shape, outputs: Shape, tensors: list[Tensor]) -> list[Op] | None:
    """The operators that one record stands for, None where it is read as any other.

    New tensors are added to `tensors`. Raises UserError, without a place, where the record contradicts itself.
    """
    handler = _HANDLERS.get(kind)
    if handler is None:
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


_HANDLERS: dict[str, Callable[[Graph, str, Any, Shape, Shape], None]] = {
    "ARG_MAX": _arg, "ARG_MIN": _arg,
}  # fmt: skip
