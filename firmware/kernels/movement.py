"""Descriptors of the kernels that only move bytes: reshape, concatenation, pad, strided slice."""

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
    compute_types,
    nhwc,
    overlap,
)
from secateur.firmware.kernels.elementwise import refuse_types
from secateur.models.program import Op, Program


class Movement(Kernel):
    header = "sec_copy_s8.h"

    def refuses(self, program: Program, op: Op) -> str | None:
        moved = [op.inputs[0], *op.outputs]
        tensors = [program.tensors[i] for i in moved]
        if {t.dtype for t in tensors} != compute_types(program):
            return "types " + ", ".join(t.dtype for t in tensors)
        if len({t.quantization for t in tensors}) > 1:
            return "input and output scales differ"
        return None

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
        return (Call("sec_copy_s8", "sec_copy_s8_params", params, (Ref(op.inputs[0]),), Ref(op.outputs[0])),)


class Concatenation(Movement):
    """One copy an input: `blocks` runs of its bytes, each to its place in the output's row."""

    name, kinds = "concatenation_s8", ("CONCATENATION",)

    def refuses(self, program: Program, op: Op) -> str | None:
        if len({program.tensors[i].quantization for i in (*op.inputs, *op.outputs)}) > 1:
            return "input and output scales differ"
        if op.options.activation != "NONE":
            return f"a fused {op.options.activation}"
        return refuse_types(program, op)

    def overlap_bytes(self, program: Program, op: Op, position: int) -> int:
        blocks, runs, stride = self._runs(program, op)
        out = program.tensors[op.outputs[0]].elements
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
        return sum(program.tensors[i].elements for i in op.inputs if program.tensors[i].data is not None)

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        blocks, runs, stride = self._runs(program, op)
        calls, offset = [], 0
        for tensor, run in zip(op.inputs, runs, strict=True):
            data = program.tensors[tensor].data
            source = Ref(tensor) if data is None else Constant("part", "int8_t", data)
            params = {"blocks": blocks, "block": run, "output_stride": stride}
            to = Ref(op.outputs[0], offset)
            calls.append(Call("sec_copy_s8", "sec_copy_s8_params", params, (source,), to))
            offset += run
        return tuple(calls)

    @staticmethod
    def _runs(program: Program, op: Op) -> tuple[int, list[int], int]:
        shape = program.tensors[op.outputs[0]].shape
        axis = op.options.axis % len(shape)
        blocks = int(np.prod(shape[:axis], dtype=np.int64))
        runs = [program.tensors[i].elements // blocks for i in op.inputs]
        return blocks, runs, sum(runs)


class Pad(Movement):
    name, kinds = "pad_s8", ("PAD", "PADV2")

    def refuses(self, program: Program, op: Op) -> str | None:
        amounts = program.tensors[op.inputs[1]].data
        if amounts is None or (amounts < 0).any() or len(amounts) > 4:
            return "padding amounts are computed, negative or of more than four dimensions"
        if op.kind == "PADV2" and program.tensors[op.inputs[2]].data is None:
            return "the padding value is computed, not constant"
        return super().refuses(program, op)

    def overlap_bytes(self, program: Program, op: Op, position: int) -> int:
        out = program.tensors[op.outputs[0]].elements
        inside = np.zeros(nhwc(program.tensors[op.outputs[0]]), bool)
        source = nhwc(program.tensors[op.inputs[0]])
        inside[tuple(slice(b, b + s) for b, s in zip(self._before(program, op), source, strict=True))] = True
        consumed = np.cumsum(inside.ravel()) - 1
        return overlap(np.arange(out), np.where(inside.ravel(), consumed, NEVER), out)

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        x, out = program.tensors[op.inputs[0]], program.tensors[op.outputs[0]]
        value = out.zero_point
        if op.kind == "PADV2":
            data = program.tensors[op.inputs[2]].data
            assert data is not None
            value = int(data.ravel()[0])
        params: Params = {"out": nhwc(out), "in": nhwc(x), "before": self._before(program, op), "value": value}
        return (Call("sec_pad_s8", "sec_pad_s8_params", params, (Ref(op.inputs[0]),), Ref(op.outputs[0])),)

    @staticmethod
    def _before(program: Program, op: Op) -> tuple[int, ...]:
        amounts = program.tensors[op.inputs[1]].data
        assert amounts is not None
        return (0,) * (4 - len(amounts)) + tuple(int(a) for a in amounts[:, 0])


class StridedSlice(Movement):
    name, kinds = "strided_slice_s8", ("STRIDED_SLICE",)

    def overlap_bytes(self, program: Program, op: Op, position: int) -> int:
        out = program.tensors[op.outputs[0]].elements
        start, steps = self._walk(program, op)
        grid: Ints = np.full(nhwc(program.tensors[op.outputs[0]]), start, np.int64)
        for axis, (size, step) in enumerate(zip(grid.shape, steps, strict=True)):
            shape = [1] * 4
            shape[axis] = size
            grid += (np.arange(size) * step).reshape(shape)
        return overlap(np.arange(out), grid.ravel(), out)

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        start, steps = self._walk(program, op)
        params: Params = {"out": nhwc(program.tensors[op.outputs[0]]), "start": start, "step": steps}
        call = Call(
            "sec_strided_slice_s8",
            "sec_strided_slice_s8_params",
            params,
            (Ref(op.inputs[0]),),
            Ref(op.outputs[0]),
        )
        return (call,)

    @staticmethod
    def _walk(program: Program, op: Op) -> tuple[int, tuple[int, ...]]:
        """Elements before the first, and from one output position to the next along (n, h, w, c)."""
        shape = nhwc(program.tensors[op.inputs[0]])
        missing = 4 - len(op.options.begin)
        begin = (0,) * missing + op.options.begin
        strides = (1,) * missing + op.options.strides
        size = [int(np.prod(shape[i + 1 :], dtype=np.int64)) for i in range(4)]
        start = sum(b * s for b, s in zip(begin, size, strict=True))
        return start, tuple(s * k for s, k in zip(size, strides, strict=True))
