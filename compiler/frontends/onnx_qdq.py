"""Quantized ONNX (QuantizeLinear and DequantizeLinear around float operators) to an int8 Program.

Scales and zero points are the file's. uint8 becomes int8 by a shift of 128, which changes no value. Where TFLite
wants one scale on both sides of an operator and the file has two, a QUANTIZE stands between them.
"""

from __future__ import annotations

import re
from pathlib import Path

import onnx

from secateur.compiler.export.tflite import tflite_bytes
from secateur.compiler.frontends.onnx_module import where
from secateur.compiler.frontends.qdq_elementwise import ELEMENTWISE
from secateur.compiler.frontends.qdq_reader import Operator, Reader
from secateur.compiler.frontends.qdq_shapes import SHAPES
from secateur.compiler.frontends.qdq_windows import WINDOWS
from secateur.compiler.frontends.tflite_file import parse_tflite
from secateur.errors import UserError
from secateur.models.program import Program, verify_program

_DYNAMIC = re.compile(r"^DynamicQuantize|^(Conv|MatMul)Integer|^QAttention$")
OPERATORS: dict[str, Operator] = {**ELEMENTWISE, **WINDOWS, **SHAPES}


def is_quantized(graph: onnx.GraphProto) -> bool:
    """Quantized ONNX of the form that is read here."""
    return any(n.op_type in ("QuantizeLinear", "DequantizeLinear") for n in graph.node)


def refuse_dynamic(graph: onnx.GraphProto, path: Path) -> None:
    """Raise UserError for ONNX that is quantized while it runs."""
    found = [n for n in graph.node if _DYNAMIC.match(n.op_type)]
    if found:
        raise UserError(
            f"{path}: dynamically quantized ONNX ({len(found)} operators, first {where(found[0])}, "
            f"{found[0].op_type}): its scales are computed while it runs. Give the float network (it is quantized "
            "here), or quantize it with onnxruntime.quantization.quantize_static."
        )


def quantized_name(graph: onnx.GraphProto, output: str) -> str:
    """The integers that a QuantizeLinear makes of `output`, or `output` itself."""
    return next((n.output[0] for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] == output), output)


def load_qdq(
    model: onnx.ModelProto,
    nodes: list[onnx.NodeProto],
    entry: str,
    shape: tuple[int, ...],
    output: str,
    name: str,
    path: Path,
) -> Program:
    """The exact Program of `nodes`.

    Args:
        entry: the network's input, float or already integers.
        shape: of one sample, channels first, without the batch.
        output: the value that the Program gives.

    Raises UserError: operators that the int8 Program does not have, or that are not quantized; all are listed.
    """
    reader = Reader(OPERATORS, model, entry, shape, path)
    program = reader.program(nodes, output, name)
    verify_program(program)
    return parse_tflite(tflite_bytes(program), name, str(path))  # checked as any other int8 file
