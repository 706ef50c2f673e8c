"""Descriptor of GATHER by indices that are computed or fed; by constant ones it is TAKE, in indexing.py."""

from __future__ import annotations

import numpy as np

from secateur.firmware.kernels.descriptor import Call, Constant, Kernel, Params, Ref, element_bytes, overlap
from secateur.models.program import Op, Program
from secateur.models.reference_gather import gather_sizes

CTYPES = {"int8": "int8_t", "int16": "int16_t", "int32": "int32_t", "int64": "int64_t", "float32": "float"}
"""Of tables in flash: an embedding's rows, or indices."""


class Gather(Kernel):
    """Row after row of the output, each after its index is read. Either operand may be a constant."""

    name, header, kinds = "gather", "sec_gather.h", ("GATHER",)

    def refuses(self, program: Program, op: Op) -> str | None:
        x, index, out = (program.tensors[i] for i in (*op.inputs, op.outputs[0]))
        if x.dtype != out.dtype or index.dtype not in ("int32", "int64"):
            return f"types {x.dtype}, {index.dtype}, {out.dtype}"
        if x.data is not None and x.dtype not in CTYPES:
            return f"a constant input of {x.dtype}"
        return "input and output scales differ" if x.quantization != out.quantization else None

    def overlap_bytes(self, program: Program, op: Op, position: int) -> int:
        """Any row of one batch and outer element may be the next that is read; the indices are read in order."""
        s, each = gather_sizes(program, op), element_bytes(program, op.inputs[0])
        step = np.arange(s.batch * s.outer * s.count)
        block, at = step // s.count, step % s.count
        if position == 0:
            lowest = block * s.size * s.inner * each
        else:
            lowest = (block // s.outer * s.count + at) * element_bytes(program, op.inputs[1])
        return overlap(step * s.inner * each, lowest, len(step) * s.inner * each)

    def constant_bytes(self, program: Program, op: Op) -> int:
        return sum(t.size_bytes for i in op.inputs if (t := program.tensors[i]).data is not None)

    def work(self, program: Program, op: Op) -> dict[str, int]:
        s = gather_sizes(program, op)
        rows = s.batch * s.outer * s.count
        return {"row": rows, "byte": rows * s.inner * element_bytes(program, op.inputs[0])}

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        s = gather_sizes(program, op)
        params: Params = {
            "batch": s.batch, "outer": s.outer, "size": s.size, "count": s.count,
            "bytes": s.inner * element_bytes(program, op.inputs[0]),
            "wide": int(program.tensors[op.inputs[1]].dtype == "int64"),
        }  # fmt: skip
        arguments = (self._operand(program, op.inputs[0], "rows"), self._operand(program, op.inputs[1], "index"))
        return (
            Call("sec_gather", "sec_gather_params", params, arguments, Ref(op.outputs[0]), as_bytes=True, checked=True),
        )

    @staticmethod
    def _operand(program: Program, tensor: int, role: str) -> Ref | Constant:
        found = program.tensors[tensor]
        return Ref(tensor) if found.data is None else Constant(role, CTYPES[found.dtype], found.data)
