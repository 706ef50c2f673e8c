"""Reference arithmetic of GATHER by indices that are computed or fed: rows of any type, taken along one axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from secateur.errors import UserError
from secateur.models.program import Op, Program


@dataclass(frozen=True)
class GatherSizes:
    """Input (batch, outer, size, inner), indices (batch, count), output (batch, outer, count, inner)."""

    batch: int
    outer: int
    size: int
    inner: int
    count: int


def gather_sizes(program: Program, op: Op) -> GatherSizes:
    shape, index = (program.tensors[i].shape for i in op.inputs)
    axis, batch = op.options.axis, op.options.batch_dims

    def product(sizes: tuple[int, ...]) -> int:
        return int(np.prod(sizes, dtype=np.int64))

    return GatherSizes(
        product(shape[:batch]), product(shape[batch:axis]), shape[axis], product(shape[axis + 1 :]),
        product(index[batch:]),
    )  # fmt: skip


def gather(program: Program, op: Op, x: list[Any]) -> npt.NDArray[Any]:
    """Raises UserError where an index lies outside: TensorFlow Lite Micro stops there, and so does the C code."""
    s = gather_sizes(program, op)
    rows, index = x[0].reshape(s.batch, s.outer, s.size, s.inner), x[1].reshape(s.batch, s.count).astype(np.int64)
    outside = index[(index < 0) | (index >= s.size)]
    if outside.size:
        raise UserError(
            f"{program.name}: GATHER {op.name}: index {outside[0]} of an axis of {s.size}, where the C code returns "
            "E_INDEX. Give samples whose indices lie inside (--data)"
        )
    return np.asarray(np.take_along_axis(rows, index[:, None, :, None], axis=2))
