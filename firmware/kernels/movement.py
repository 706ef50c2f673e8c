"""Descriptors of the kernels that only move bytes: reshape, concatenation, pad, strided slice.

Pad and slice of wider elements are in `indexing.py`.
"""

from __future__ import annotations

import numpy as np

from secateur.firmware.kernels.descriptor import (
    NEVER,
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
from secateur.models.program import Op, Program


class Movement(Kernel):
    header = "sec_copy_s8.h"

    def refuses(self, program: Program, op: Op) -> str | None:
        if element_bytes(program, op.inputs[0]) > 1:
            return "elements wider than a byte"
        return refuse_mixed(program, (op.inputs[0], *op.outputs))

    def constant_bytes(self, program: Program, op: Op) -> int:
        return 0

    def work(self, program: Program, op: Op) -> dict[str, int]:
        return {"output": program.tensors[op.outputs[0]].elements}


class Reshape(Movement):
    """Free where the planner puts both at one address."""

    name, kinds = "reshape_s8", ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")

    def refuses(self, program: Program, op: Op) -> str | None:
        x, out = program.tensors[op.inputs[0]], program.tensors[op.outputs[0]]
        return None if x.dtype == out.dtype else f"types {x.dtype}, {out.dtype}"

    def overlap_bytes(self, program: Program, op: Op, position: int) -> int:
        return program.bytes_of(op.outputs[0])

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        size = program.bytes_of(op.outputs[0])
        params = {"blocks": 1, "block": size, "output_stride": size}
        return (_copy(params, Ref(op.inputs[0]), Ref(op.outputs[0])),)


class Concatenation(Movement):
    """One copy an input: `blocks` runs of its bytes, each to its place in the output's row."""

    name, kinds = "concatenation_s8", ("CONCATENATION",)

    def refuses(self, program: Program, op: Op) -> str | None:
        if op.options.activation != "NONE":
            return f"a fused {op.options.activation}"
        return refuse_mixed(program, (*op.inputs, *op.outputs))

    def overlap_bytes(self, program: Program, op: Op, position: int) -> int:
        blocks, runs, stride = self._runs(program, op)
        out = program.bytes_of(op.outputs[0])
        if op.inputs.count(op.inputs[position]) > 1:
            return 0
        before = sum(runs[:position])
        if position:  # the earlier inputs' copies have written up to here when this one is first read
            distance = (blocks - 1) * stride + before
        elif runs[0] > 1:  # its own copy gains stride - run on its reads with every block
            distance = (blocks - 1) * (stride - runs[0])
        else:  # one byte a block: the last byte written before a read is a whole stride behind
            distance = max(0, blocks - 2) * (stride - 1)
        return max(0, min(out, out - distance))

    def constant_bytes(self, program: Program, op: Op) -> int:
        return sum(program.bytes_of(i) for i in op.inputs if program.tensors[i].data is not None)

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        blocks, runs, stride = self._runs(program, op)
        calls, offset = [], 0
        for tensor, run in zip(op.inputs, runs, strict=True):
            data = program.tensors[tensor].data
            content = None if data is None else np.ascontiguousarray(data).reshape(-1).view(np.int8)
            source = Ref(tensor) if content is None else Constant("part", "int8_t", content)
            params = {"blocks": blocks, "block": run, "output_stride": stride}
            to = Ref(op.outputs[0], offset)
            calls.append(_copy(params, source, to))
            offset += run
        return tuple(calls)

    @staticmethod
    def _runs(program: Program, op: Op) -> tuple[int, list[int], int]:
        shape = program.tensors[op.outputs[0]].shape
        axis = op.options.axis % len(shape)
        blocks = int(np.prod(shape[:axis], dtype=np.int64))
        runs = [program.bytes_of(i) // blocks for i in op.inputs]
        return blocks, runs, sum(runs)


class InPlace(Kernel):
    """Nothing to do on the device: the planner puts rows where they are wanted (`Options.in_place`)."""

    header = "sec_common.h"
    free = True

    def refuses(self, program: Program, op: Op) -> str | None:
        return None if op.options.in_place else ""

    def overlap_bytes(self, program: Program, op: Op, position: int) -> int:
        return 0

    def constant_bytes(self, program: Program, op: Op) -> int:
        return 0

    def work(self, program: Program, op: Op) -> dict[str, int]:
        return {}

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        return ()


class View(InPlace):
    """Rows of a tensor where they lie: a slice in one piece."""

    name, kinds = "view", ("STRIDED_SLICE",)

    def offset(self, program: Program, op: Op) -> int:
        """Bytes from the beginning of the tensor."""
        start, _ = slice_walk(program, op)
        return start * element_bytes(program, op.inputs[0])


class Join(InPlace):
    """Rows written where the whole tensor is: its parts one after the other."""

    name, kinds = "join", ("CONCATENATION",)

    def offsets(self, program: Program, op: Op) -> list[int]:
        """Bytes from the beginning of the whole, by part."""
        sizes = [program.bytes_of(i) for i in op.inputs]
        return [sum(sizes[:k]) for k in range(len(sizes))]


class Pad(Movement):
    name, kinds = "pad_s8", ("PAD", "PADV2")

    def refuses(self, program: Program, op: Op) -> str | None:
        return refuse_paddings(program, op) or super().refuses(program, op)

    def overlap_bytes(self, program: Program, op: Op, position: int) -> int:
        out = program.tensors[op.outputs[0]].elements
        inside = np.zeros(nhwc(program.tensors[op.outputs[0]]), bool)
        source = nhwc(program.tensors[op.inputs[0]])
        inside[tuple(slice(b, b + s) for b, s in zip(paddings(program, op), source, strict=True))] = True
        consumed = np.cumsum(inside.ravel()) - 1
        return overlap(np.arange(out), np.where(inside.ravel(), consumed, NEVER), out)

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        x, out = program.tensors[op.inputs[0]], program.tensors[op.outputs[0]]
        params: Params = {
            "out": nhwc(out), "in": nhwc(x), "before": paddings(program, op), "value": pad_value(program, op),
        }  # fmt: skip
        return (Call("sec_pad_s8", "sec_pad_s8_params", params, (Ref(op.inputs[0]),), Ref(op.outputs[0])),)


class StridedSlice(Movement):
    name, kinds = "strided_slice_s8", ("STRIDED_SLICE",)

    def overlap_bytes(self, program: Program, op: Op, position: int) -> int:
        out = program.tensors[op.outputs[0]].elements
        start, steps = slice_walk(program, op)
        grid: Ints = np.full(nhwc(program.tensors[op.outputs[0]]), start, np.int64)
        for axis, (size, step) in enumerate(zip(grid.shape, steps, strict=True)):
            shape = [1] * 4
            shape[axis] = size
            grid += (np.arange(size) * step).reshape(shape)
        return overlap(np.arange(out), grid.ravel(), out)

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        start, steps = slice_walk(program, op)
        params: Params = {"out": nhwc(program.tensors[op.outputs[0]]), "start": start, "step": steps}
        call = Call(
            "sec_strided_slice_s8",
            "sec_strided_slice_s8_params",
            params,
            (Ref(op.inputs[0]),),
            Ref(op.outputs[0]),
        )
        return (call,)


def _copy(params: Params, source: Ref | Constant, to: Ref) -> Call:
    return Call("sec_copy_s8", "sec_copy_s8_params", params, (source,), to, as_bytes=True)


def refuse_mixed(program: Program, tensors: tuple[int, ...]) -> str | None:
    """Values are moved as they are: all of one type and scale."""
    moved = [program.tensors[i] for i in tensors]
    if len({t.dtype for t in moved}) > 1:
        return "types " + ", ".join(t.dtype for t in moved)
    return "input and output scales differ" if len({t.quantization for t in moved}) > 1 else None


def refuse_paddings(program: Program, op: Op) -> str | None:
    amounts = program.tensors[op.inputs[1]].data
    if amounts is None or (amounts < 0).any() or len(amounts) > 4:
        return "padding amounts are computed, negative or of more than four dimensions"
    if op.kind == "PADV2" and program.tensors[op.inputs[2]].data is None:
        return "the padding value is computed, not constant"
    return None


def paddings(program: Program, op: Op) -> tuple[int, ...]:
    """Leading padding of (n, h, w, c)."""
    amounts = program.tensors[op.inputs[1]].data
    assert amounts is not None
    return (0,) * (4 - len(amounts)) + tuple(int(a) for a in amounts[:, 0])


def pad_value(program: Program, op: Op) -> int | float:
    """What PAD or PADV2 writes around its input: the zero point, or the constant given."""
    if op.kind == "PADV2":
        data = program.tensors[op.inputs[2]].data
        assert data is not None
        value: int | float = data.ravel()[0].item()
        return value
    quantization = program.tensors[op.outputs[0]].quantization
    return 0 if quantization is None else quantization.zero_point[0]


def slice_walk(program: Program, op: Op) -> tuple[int, tuple[int, ...]]:
    """Elements before the first, and from one output position to the next along (n, h, w, c)."""
    shape = nhwc(program.tensors[op.inputs[0]])
    missing = 4 - len(op.options.begin)
    begin = (0,) * missing + op.options.begin
    strides = (1,) * missing + op.options.strides
    size = [int(np.prod(shape[i + 1 :], dtype=np.int64)) for i in range(4)]
    start = sum(b * s for b, s in zip(begin, size, strict=True))
    return start, tuple(s * k for s, k in zip(size, strides, strict=True))
