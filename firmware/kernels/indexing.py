"""Descriptors of what moves elements of any size by index: TRANSPOSE, BROADCAST_TO, TAKE; STRIDED_SLICE and PAD too."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from secateur.firmware.kernels.descriptor import (
    NEVER,
    Arguments,
    Call,
    Constant,
    Ints,
    Kernel,
    Params,
    Ref,
    element_bytes,
    nhwc,
    overlap,
)
from secateur.firmware.kernels.movement import pad_value, paddings, refuse_paddings, slice_walk
from secateur.models.program import DTYPES, Op, Program

AXES = 6


class Indexed(Kernel, ABC):
    """Every output element is one input element, or none (NEVER); `source` says which."""

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
        size = element_bytes(program, op.inputs[0])
        read = self.source(program, op).ravel()
        return overlap(np.arange(len(read)) * size, np.where(read == NEVER, NEVER, read * size), len(read) * size)

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
        out, size = program.tensors[op.outputs[0]], element_bytes(program, op.inputs[0])
        view = self.source(program, op)  # of the input: its strides are those of the walk
        steps = [s // view.itemsize * size for s in view.strides]
        fill = AXES - len(out.shape)
        params: Params = {
            "out": (1,) * fill + out.shape, "step": (0,) * fill + tuple(steps), "size": size,
        }  # fmt: skip
        return (_call("sec_permute_s8", params, (Ref(op.inputs[0]),), op),)


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
            "size": element_bytes(program, op.inputs[0]), "walked": tuple(int(i < 0) for i in op.inputs[1:]),
        }  # fmt: skip
        tables = [t for i, t in zip(op.inputs[1:], self._indices(program, op), strict=True) if i >= 0]
        arguments: Arguments = (Ref(op.inputs[0]), Constant("index", "int16_t", np.concatenate(tables)))
        return (_call("sec_take_s8", params, arguments, op),)

    @staticmethod
    def _indices(program: Program, op: Op) -> list[Ints]:
        found = []
        for size, i in zip(nhwc(program.tensors[op.inputs[0]]), op.inputs[1:], strict=True):
            data = program.tensors[i].data if i >= 0 else np.arange(size)
            assert data is not None
            found.append(np.asarray(data, np.int64))
        return found


class SliceElements(Indexed):
    """STRIDED_SLICE of elements wider than a byte."""

    name, kinds = "slice_elements", ("STRIDED_SLICE",)

    def source(self, program: Program, op: Op) -> Ints:
        start, steps = slice_walk(program, op)
        grid: Ints = np.full(nhwc(program.tensors[op.outputs[0]]), start, np.int64)
        for axis, (size, step) in enumerate(zip(grid.shape, steps, strict=True)):
            grid += (np.arange(size) * step).reshape([-1 if i == axis else 1 for i in range(4)])
        return grid

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        size = element_bytes(program, op.inputs[0])
        start, steps = slice_walk(program, op)
        params: Params = {
            "out": (1, 1, *nhwc(program.tensors[op.outputs[0]])), "step": (0, 0, *(s * size for s in steps)),
            "size": size,
        }  # fmt: skip
        source = Ref(op.inputs[0], start * size)
        return (_call("sec_permute_s8", params, (source,), op),)


class PadElements(Indexed):
    """PAD and PADV2 of elements wider than a byte."""

    name, kinds = "pad_elements", ("PAD", "PADV2")

    def refuses(self, program: Program, op: Op) -> str | None:
        return refuse_paddings(program, op) or super().refuses(program, op)

    def source(self, program: Program, op: Op) -> Ints:
        shape = nhwc(program.tensors[op.inputs[0]])
        grid: Ints = np.full(nhwc(program.tensors[op.outputs[0]]), NEVER, np.int64)
        inside = tuple(slice(b, b + n) for b, n in zip(paddings(program, op), shape, strict=True))
        grid[inside] = np.arange(int(np.prod(shape))).reshape(shape)
        return grid

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        out = program.tensors[op.outputs[0]]
        value = np.array(pad_value(program, op), DTYPES[out.dtype]).reshape(1).view(np.int8)
        params: Params = {
            "out": nhwc(out), "in": nhwc(program.tensors[op.inputs[0]]), "before": paddings(program, op),
            "size": len(value), "value": tuple(int(v) for v in value) + (0,) * (8 - len(value)),
        }  # fmt: skip
        return (_call("sec_pad_elements", params, (Ref(op.inputs[0]),), op),)


def _call(function: str, params: Params, arguments: Arguments, op: Op) -> Call:
    return Call(function, f"{function}_params", params, arguments, Ref(op.outputs[0]), as_bytes=True)
