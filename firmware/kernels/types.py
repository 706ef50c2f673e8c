"""Descriptors of what changes the type of values: QUANTIZE and DEQUANTIZE at a network's borders, CAST."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from secateur.firmware.kernels.descriptor import Arguments, Call, Constant, Kernel, Params, Ref, overlap
from secateur.models.fixed_point import quantize_multiplier
from secateur.models.program import DTYPES, Op, Program
from secateur.models.reference_types import quantize

SUFFIX = {"int8": "s8", "bool": "s8", "uint8": "u8", "int16": "s16", "int32": "s32", "float32": "f32"}


class Convert(Kernel, ABC):
    """Element by element, from one type to another. `types`: (from, to) that the kernel knows."""

    types: tuple[tuple[str, str], ...]

    def refuses(self, program: Program, op: Op) -> str | None:
        types = self._types(program, op)
        return None if types in self.types and not program.shape_only else f"types {types[0]}, {types[1]}"

    def needs(self, program: Program, op: Op) -> tuple[str, ...]:
        """Debian's compiler for Xtensa has no floating-point routines, in hardware or in software."""
        return ("float32",) if "float32" in self._types(program, op) else ()

    def overlap_bytes(self, program: Program, op: Op, position: int) -> int:
        size_in, size_out = (np.dtype(DTYPES[t]).itemsize for t in self._types(program, op))
        element = np.arange(program.tensors[op.outputs[0]].elements)
        return overlap(element * size_out, element * size_in, len(element) * size_out)

    def constant_bytes(self, program: Program, op: Op) -> int:
        return 0

    def work(self, program: Program, op: Op) -> dict[str, int]:
        return {"output": program.tensors[op.outputs[0]].elements}

    @staticmethod
    def _types(program: Program, op: Op) -> tuple[str, str]:
        return program.tensors[op.inputs[0]].dtype, program.tensors[op.outputs[0]].dtype

    @abstractmethod
    def _function(self, source: str, out: str) -> tuple[str, str]:
        """(C function, its parameters' type) between types of these suffixes."""

    def _params(self, program: Program, op: Op) -> Params:
        """Beside the number of elements."""
        return {}

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        source, out = self._types(program, op)
        function, params_type = self._function(SUFFIX[source], SUFFIX[out])
        params = {"elements": program.tensors[op.outputs[0]].elements, **self._params(program, op)}
        return (Call(function, params_type, params, (Ref(op.inputs[0]),), Ref(op.outputs[0])),)


class QuantizeFloat(Convert):
    name, header, kinds = "quantize_f32", "sec_quantize.h", ("QUANTIZE",)
    types = (("float32", "int8"), ("float32", "int16"))

    def _function(self, source: str, out: str) -> tuple[str, str]:
        return f"sec_quantize_f32_{out}", "sec_quantize_f32_params"

    def _params(self, program: Program, op: Op) -> Params:
        out = program.tensors[op.outputs[0]]
        limits = np.iinfo(DTYPES[out.dtype])
        return {
            "scale": float(np.float32(out.scale)), "zero_point": out.zero_point, "low": int(limits.min),
            "high": int(limits.max),
        }  # fmt: skip


class Dequantize(Convert):
    name, header, kinds = "dequantize", "sec_quantize.h", ("DEQUANTIZE",)
    types = (("int8", "float32"), ("uint8", "float32"), ("int16", "float32"))

    def _function(self, source: str, out: str) -> tuple[str, str]:
        return f"sec_dequantize_{source}_f32", "sec_dequantize_params"

    def _params(self, program: Program, op: Op) -> Params:
        x = program.tensors[op.inputs[0]]
        return {"scale": float(np.float32(x.scale)), "zero_point": x.zero_point}


class Rescale(Convert):
    name, header, kinds = "rescale", "sec_quantize.h", ("QUANTIZE",)
    types = (("int16", "int8"), ("int16", "int16"), ("int8", "int16"))

    def _function(self, source: str, out: str) -> tuple[str, str]:
        return f"sec_rescale_{source}_{out}", "sec_rescale_params"

    def _params(self, program: Program, op: Op) -> Params:
        x, out = program.tensors[op.inputs[0]], program.tensors[op.outputs[0]]
        multiplier, shift = quantize_multiplier(x.scale / out.scale)
        limits = np.iinfo(DTYPES[out.dtype])
        return {
            "input_zero_point": x.zero_point, "output_offset": out.zero_point, "multiplier": multiplier,
            "shift": shift, "low": int(limits.min), "high": int(limits.max),
        }  # fmt: skip


class QuantizeTable(Convert):
    """Between int8 and uint8: a table of the 256 outputs, in the order of the input's byte read as int8."""

    name, header, kinds = "quantize_table", "sec_table_s8.h", ("QUANTIZE",)
    types = (("int8", "uint8"), ("uint8", "int8"))

    def _function(self, source: str, out: str) -> tuple[str, str]:
        return "sec_table_s8", "sec_table_s8_params"

    def constant_bytes(self, program: Program, op: Op) -> int:
        return 256

    def calls(self, program: Program, op: Op) -> tuple[Call, ...]:
        (call,) = super().calls(program, op)
        given = np.arange(-128, 128, dtype=np.int8).view(DTYPES[self._types(program, op)[0]])
        values = quantize(program, op, [given]).astype(np.uint8).view(np.int8)
        arguments: Arguments = (*call.arguments, Constant("table", "int8_t", values.astype(np.int64)))
        return (Call(call.function, call.params_type, call.params, arguments, call.output),)


class Cast(Convert):
    name, header, kinds = "cast", "sec_cast.h", ("CAST",)
    types = tuple((a, b) for a in ("int8", "int16", "int32", "float32", "bool") for b in
                  ("int8", "int16", "int32", "float32") if a != b)  # fmt: skip

    def _function(self, source: str, out: str) -> tuple[str, str]:
        # a bool is a byte: to int8 it is copied
        return ("sec_cast_s8_s8" if source == out else f"sec_cast_{source}_{out}"), "sec_cast_params"
