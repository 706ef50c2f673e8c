"""Reference arithmetic of TRANSPOSE_CONV and BATCH_MATMUL, and how matrices are walked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from secateur.models.fixed_point import activation_range, quantize_multiplier, requantize, wrap32
from secateur.models.program import Op, Program

Ints = npt.NDArray[np.int64]
Three = tuple[int, int, int]


@dataclass(frozen=True)
class Matrices:
    """A product of matrices: sizes, and elements from one row, column or position along the depth to the next.

    `a_batch`, `b_batch`: elements from one batch element to the next along each of `batch`; 0 repeats.
    """

    batch: Three
    a_batch: Three
    b_batch: Three
    rows: int
    columns: int
    depth: int
    a_row: int
    a_step: int
    b_column: int
    b_step: int

    def reads(self, position: int) -> Ints:
        """The first element of operand `position` that each output element is made of."""
        found: Ints = np.zeros(1, np.int64)
        a, b = (*self.a_batch, self.a_row, 0), (*self.b_batch, 0, self.b_column)
        for size, step in zip((*self.batch, self.rows, self.columns), b if position else a, strict=True):
            found = (found[:, None] + np.arange(size) * step).ravel()
        return found


def matrices(program: Program, op: Op) -> Matrices:
    """Of BATCH_MATMUL, or of FULLY_CONNECTED as a (rows, depth) by the adjoint of b (columns, depth)."""
    a, b = (program.tensors[i].shape for i in op.inputs[:2])
    adjoint_a, adjoint_b = op.options.adjoint
    if op.kind == "FULLY_CONNECTED":
        a, adjoint_b = (program.tensors[op.inputs[0]].elements // b[-1], b[-1]), True
    batch = np.broadcast_shapes(a[:-2], b[:-2])
    full = (1,) * (3 - len(batch)) + batch
    rows, depth = a[-2:][::-1] if adjoint_a else a[-2:]
    columns = b[-2] if adjoint_b else b[-1]
    return Matrices(
        batch=(full[0], full[1], full[2]), a_batch=_steps(a, full), b_batch=_steps(b, full), rows=rows, columns=columns,
        depth=depth, a_row=1 if adjoint_a else depth, a_step=rows if adjoint_a else 1,
        b_column=depth if adjoint_b else 1, b_step=1 if adjoint_b else columns,
    )  # fmt: skip


def _steps(shape: tuple[int, ...], batch: tuple[int, ...]) -> Three:
    sizes = (1,) * (len(batch) - len(shape[:-2])) + shape[:-2]
    step, found = shape[-1] * shape[-2], []
    for size, wanted in zip(reversed(sizes), reversed(batch), strict=True):
        found.append(step if size == wanted else 0)
        step *= size
    return found[2], found[1], found[0]


def batch_matmul(program: Program, op: Op, x: list[Any]) -> Ints:
    """Matrix products."""
    a, b, out = (program.tensors[i] for i in (*op.inputs, op.outputs[0]))
    left, right = (v.astype(np.int64) - t.zero_point for v, t in zip(x, (a, b), strict=True))
    left, right = (
        np.swapaxes(v, -1, -2) if adjoint else v for v, adjoint in zip((left, right), op.options.adjoint, strict=True)
    )
    real = float(np.float64(a.scale) * np.float64(b.scale) / np.float64(out.scale))
    return np.clip(requantize(wrap32(left @ right), *quantize_multiplier(real)) + out.zero_point, -128, 127)


def transpose_conv(program: Program, op: Op, x: list[Any]) -> Ints:
    """Every input pixel times the weights, added to the output where it falls inside."""
    source, weights, out = (program.tensors[i] for i in (*op.inputs[:2], op.outputs[0]))
    assert weights.quantization is not None
    acc = transpose_conv_sums(program, op, x[0].astype(np.int64) - source.zero_point, x[1].astype(np.int64))
    if len(x) > 2 and x[2] is not None:
        acc += x[2].astype(np.int64)
    real = [float(np.float64(source.scale) * np.float64(s) / np.float64(out.scale)) for s in weights.quantization.scale]
    pairs = np.array([quantize_multiplier(r) for r in real], np.int64)
    low, high = activation_range(op.options.activation, out.scale, out.zero_point)
    return np.clip(requantize(wrap32(acc), pairs[:, 0], pairs[:, 1]) + out.zero_point, low, high)


def transpose_conv_sums(program: Program, op: Op, value: Ints, w: Ints) -> Ints:
    """Sums of products of an input whose zero is 0."""
    o, (n, out_h, out_w, channels) = op.options, program.tensors[op.outputs[0]].shape
    _, k_h, k_w, _ = w.shape
    whole = np.zeros((n, value.shape[1] * o.stride[0] + k_h, value.shape[2] * o.stride[1] + k_w, channels), np.int64)
    for y in range(value.shape[1]):
        for z in range(value.shape[2]):
            at_y, at_z = y * o.stride[0], z * o.stride[1]
            whole[:, at_y : at_y + k_h, at_z : at_z + k_w] += np.einsum("ni,okli->nklo", value[:, y, z], w)
    acc = np.zeros((n, out_h, out_w, channels), np.int64)
    part = whole[:, o.padding.top : o.padding.top + out_h, o.padding.left : o.padding.left + out_w]
    acc[:, : part.shape[1], : part.shape[2]] = part
    return acc
