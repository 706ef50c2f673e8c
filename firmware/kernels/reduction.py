"""Descriptors of what reduces axes: SUM, MEAN, REDUCE_MAX, REDUCE_MIN, ARG_MAX, ARG_MIN and L2_NORMALIZATION."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from secateur.firmware.kernels.descriptor import Call, Ints, Kernel, Params, Ref, compute_types, overlap
from secateur.firmware.kernels.elementwise import RowByRow, refuse_types
from secateur.models.fixed_point import quantize_multiplier
from secateur.models.program import Op, Program
from secateur.models.reference_reduction import mean_multiplier

AXES = 3  # kept, and reduced: sec_reduce_s8_params


@dataclass(frozen=True)
class Walk:
    """Axes as (size, elements from one position to the next), neighbours of one kind joined, ones left out."""

    kept: tuple[tuple[int, int], ...]
    reduced: tuple[tuple[int, int], ...]

    @property
    def count(self) -> int:
        """Elements that one output is made of."""
        return int(np.prod([n for n, _ in self.reduced], dtype=np.int64))

    def starts(self) -> Ints:
        """Element of the input at which each output element begins."""
        found: Ints = np.zeros(1, np.int64)
        for size, step in self.kept:
            found = (found[:, None] + np.arange(size) * step).ravel()
        return found


def walk(shape: tuple[int, ...], axes: set[int]) -> Walk:
    """The loops that reduce `axes` of `shape`."""
    runs: list[tuple[bool, int, int]] = []
    step = 1
    for axis in reversed(range(len(shape))):
        size, over = shape[axis], axis in axes
        if size > 1 and runs and runs[-1][0] == over:
            _, inner, inner_step = runs[-1]
            runs[-1] = (over, inner * size, inner_step)
        elif size > 1:
            runs.append((over, size, step))
        step *= size
    pairs = [[(n, s) for over, n, s in reversed(runs) if over == kind] for kind in (False, True)]
    return Walk(tuple(pairs[0]), tuple(pairs[1]))


def walk_of(program: Program, op: Op) -> Walk:
    """The loops of a reduction."""
    x, axes = program.tensors[op.inputs[0]], program.tensors[op.inputs[1]].data
    assert axes is not None
    return walk(x.shape, {int(a) % len(x.shape) for a in axes.ravel()})


def refuse_axes(program: Program, op: Op) -> str | None:
    if program.tensors[op.inputs[1]].data is None:
        return "axes are computed, not constant"
    found = walk_of(program, op)
    if max(len(found.kept), len(found.reduced)) > AXES:
        return f"axes of {program.tensors[op.inputs[0]].shape} that do not join to {AXES}"
    return None


def loops(found: Walk) -> Params:
    """The fields of a parameter struct: sizes and steps of the axes kept and of those reduced."""
    fields: dict[str, tuple[int, ...]] = {}
    for role, axes in (("out", found.kept), ("in", found.reduced)):
        filled = ((1, 0),) * (AXES - len(axes)) + axes
        fields |= {role: tuple(n for n, _ in filled), f"{role}_step": tuple(s for _, s in filled)}
    return fields


class Reduce(Kernel):
    """One output element after the other, each over all that it is made of."""

    header = "sec_reduce_s8.h"

    def refuses(self, program: Program, op: Op) -> str | None:
        refused = refuse_axes(program, op)
        if refused is not None:
            return refused
        types = {program.tensors[i].dtype for i in (op.inputs[0], op.outputs[0])}
        return None if types == compute_types(program) else "types " + ", ".join(sorted(types))

    def overlap_bytes(self, program: Program, op: Op, position: int) -> int:
        starts = walk_of(program, op).starts()
        return overlap(np.arange(len(starts)), starts, len(starts))

    def constant_bytes(self, program: Program, op: Op) -> int:
        return 0

    def work(self, program: Program, op: Op) -> dict[str, int]:
        x, out = program.tensors[op.inputs[0]], program.tensors[op.outputs[0]]
        return {"tap": x.elements, "output": out.elements}

    def _call(self, program: Program, op: Op, params: Params) -> tuple[Call, ...]:
        fields: Params = {**loops(walk_of(program, op)), **params}
        call = Call(f"sec_{self.name}", "sec_reduce_s8_params", fields, (Ref(op.inputs[0]),), Ref(op.outputs[0]))
        return (call,)


class ReduceSum(Reduce):
    """MEAN over height and width alone has its own kernel, which stands before this one."""

    name, kinds = "reduce_sum_s8", ("SUM", "MEAN")

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        x, out = program.tensors[op.inputs[0]], program.tensors[op.outputs[0]]
        count = walk_of(program, op).count
        multiplier, shift = quantize_multiplier(x.scale / out.scale)
        if op.kind == "MEAN":
            multiplier, shift = mean_multiplier(multiplier, shift, count)
        params: Params = {
            "first": -x.zero_point * count, "multiplier": multiplier, "shift": shift, "output_offset": out.zero_point,
        }  # fmt: skip
        return self._call(program, op, params)


class ReduceExtreme(Reduce):
    """Compares quantized values: input and output have one scale."""

    first: int

    def refuses(self, program: Program, op: Op) -> str | None:
        if program.tensors[op.inputs[0]].quantization != program.tensors[op.outputs[0]].quantization:
            return "input and output scales differ"
        return super().refuses(program, op)

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        params: Params = {"first": self.first, "multiplier": 0, "shift": 0, "output_offset": 0}
        return self._call(program, op, params)


class ReduceMax(ReduceExtreme):
    name, kinds, first = "reduce_max_s8", ("REDUCE_MAX",), -128


class ReduceMin(ReduceExtreme):
    name, kinds, first = "reduce_min_s8", ("REDUCE_MIN",), 127


def arg_element(program: Program, op: Op) -> int:
    """Bytes of an index."""
    return 8 if program.tensors[op.outputs[0]].dtype == "int64" else 4


def arg_sizes(program: Program, op: Op) -> tuple[int, int, int]:
    """Positions before the axis, along it and behind it."""
    shape, axis = program.tensors[op.inputs[0]].shape, op.options.axis
    return int(np.prod(shape[:axis])), shape[axis], int(np.prod(shape[axis + 1 :]))


class Arg(Kernel):
    name, header, kinds = "arg_s8", "sec_arg_s8.h", ("ARG_MAX", "ARG_MIN")

    def refuses(self, program: Program, op: Op) -> str | None:
        x, out = program.tensors[op.inputs[0]], program.tensors[op.outputs[0]]
        return None if x.dtype == "int8" and out.dtype in ("int32", "int64") else f"types {x.dtype}, {out.dtype}"

    def overlap_bytes(self, program: Program, op: Op, position: int) -> int:
        outer, size, inner = arg_sizes(program, op)
        starts = (np.arange(outer)[:, None] * size * inner + np.arange(inner)).ravel()
        each = arg_element(program, op)
        return overlap(np.arange(len(starts)) * each, starts, len(starts) * each)

    def constant_bytes(self, program: Program, op: Op) -> int:
        return 0

    def work(self, program: Program, op: Op) -> dict[str, int]:
        return {"tap": program.tensors[op.inputs[0]].elements, "output": program.tensors[op.outputs[0]].elements}

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        outer, size, inner = arg_sizes(program, op)
        params = {
            "outer": outer, "size": size, "inner": inner, "wide": int(arg_element(program, op) == 8),
            "largest": int(op.kind == "ARG_MAX"),
        }  # fmt: skip
        return (Call("sec_arg_s8", "sec_arg_s8_params", params, (Ref(op.inputs[0]),), Ref(op.outputs[0])),)


class L2Normalization(RowByRow):
    name, header, kinds = "l2_normalization_s8", "sec_l2_normalization_s8.h", ("L2_NORMALIZATION",)

    def refuses(self, program: Program, op: Op) -> str | None:
        out = program.tensors[op.outputs[0]]
        if op.options.activation != "NONE":
            return f"a fused {op.options.activation}"
        if out.quantization is not None and (out.scale != 1 / 128 or out.zero_point != 0):
            return "an output scale other than 1/128 with zero point 0"
        return refuse_types(program, op)

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        x, out = program.tensors[op.inputs[0]], program.tensors[op.outputs[0]]
        params = {
            "rows": out.elements // out.shape[-1], "depth": out.shape[-1], "input_zero_point": x.zero_point,
        }  # fmt: skip
        function = "sec_l2_normalization_s8"
        return (Call(function, f"{function}_params", params, (Ref(op.inputs[0]),), Ref(op.outputs[0])),)
