"""Descriptors of what moves elements by index: TRANSPOSE, BROADCAST_TO and TAKE."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from secateur.firmware.kernels.descriptor import Call, Constant, Ints, Kernel, Params, Ref, nhwc, overlap
from secateur.models.program import DTYPES, Op, Program

AXES = 6


class Indexed(Kernel, ABC):
    """Every output element is one input element; `source` says which."""

    header = "sec_move_s8.h"

    def refuses(self, program: Program, op: Op) -> str | None:
        x, out = program.tensors[op.inputs[0]], program.tensors[op.outputs[0]]
        if x.dtype != out.dtype:
            return f"types {x.dtype}, {out.dtype}"
        if x.quantization != out.quantization:
            return "input and output scales differ"
        return None

    @abstractmethod
    def source(self, program: Program, op: Op) -> Ints:
        """The input element that each output element is, in order."""

    def overlap_bytes(self, program: Program, op: Op, position: int) -> int:
        size = _size(program, op)
        read = self.source(program, op).ravel()
        return overlap(np.arange(len(read)) * size, read * size, len(read) * size)

    def constant_bytes(self, program: Program, op: Op) -> int:
        return 0

    def work(self, program: Program, op: Op) -> dict[str, int]:
        return {"output": program.tensors[op.outputs[0]].elements}


class Permute(Indexed):
    name, kinds = "permute_s8", ("TRANSPOSE", "BROADCAST_TO")

    def refuses(self, program: Program, op: Op) -> str | None:
        if len(program.tensors[op.outputs[0]].shape) > AXES:
            return f"more than {AXES} dimensions"
        return super().refuses(program, op)

    def source(self, program: Program, op: Op) -> Ints:
        x, out = program.tensors[op.inputs[0]], program.tensors[op.outputs[0]]
        grid = np.arange(x.elements, dtype=np.int64).reshape(x.shape)
        if op.kind == "TRANSPOSE":
            return grid.transpose(op.options.permutation)
        return np.broadcast_to(grid, out.shape)

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        out, size = program.tensors[op.outputs[0]], _size(program, op)
        view = self.source(program, op)  # of the input: its strides are those of the walk
        steps = [s // view.itemsize * size for s in view.strides]
        fill = AXES - len(out.shape)
        params: Params = {
            "out": (1,) * fill + out.shape, "step": (0,) * fill + tuple(steps), "size": size,
        }  # fmt: skip
        return (Call("sec_permute_s8", "sec_permute_s8_params", params, (Ref(op.inputs[0]),), Ref(op.outputs[0])),)


class Take(Indexed):
    """out[i, j, k, l] = x[I[i], J[j], K[k], L[l]]: inputs are x and a table of int16 for each axis, -1 where all
    of an axis is taken in order."""

    name, kinds = "take_s8", ("TAKE",)

    def source(self, program: Program, op: Op) -> Ints:
        x = nhwc(program.tensors[op.inputs[0]])
        grid = np.arange(int(np.prod(x)), dtype=np.int64).reshape(x)
        return grid[np.ix_(*self._indices(program, op))]

    def constant_bytes(self, program: Program, op: Op) -> int:
        return 2 * sum(program.tensors[i].elements for i in op.inputs[1:] if i >= 0)

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        params: Params = {
            "out": nhwc(program.tensors[op.outputs[0]]), "in": nhwc(program.tensors[op.inputs[0]]),
            "size": _size(program, op), "walked": tuple(int(i < 0) for i in op.inputs[1:]),
        }  # fmt: skip
        tables = [t for i, t in zip(op.inputs[1:], self._indices(program, op), strict=True) if i >= 0]
        arguments = (Ref(op.inputs[0]), Constant("index", "int16_t", np.concatenate(tables)))
        return (Call("sec_take_s8", "sec_take_s8_params", params, arguments, Ref(op.outputs[0])),)

    @staticmethod
    def _indices(program: Program, op: Op) -> list[Ints]:
        found = []
        for size, i in zip(nhwc(program.tensors[op.inputs[0]]), op.inputs[1:], strict=True):
            data = program.tensors[i].data if i >= 0 else np.arange(size)
            assert data is not None
            found.append(np.asarray(data, np.int64))
        return found


def _size(program: Program, op: Op) -> int:
    """Bytes an element."""
    if program.shape_only:
        return 1
    return int(np.dtype(DTYPES[program.tensors[op.inputs[0]].dtype]).itemsize)
