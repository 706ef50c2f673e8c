"""Files that contradict themselves and were read all the same, found by mutations: now refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from secateur.compiler.bench.operator_files import CASES, Case
from secateur.compiler.bench.tflite_builder import TfliteBuilder
from secateur.compiler.frontends.tflite_file import parse_tflite
from secateur.errors import UserError

Change = Callable[[Any], None]


def _no_zero_point(model: Any) -> None:
    model.subgraphs[0].tensors[0].quantization.zeroPoint = np.zeros(0, np.int64)


def _no_outputs(model: Any) -> None:
    model.subgraphs[0].outputs = np.zeros(0, np.int32)


def _option(name: str, value: Any) -> Change:
    return lambda model: setattr(model.subgraphs[0].operators[0].builtinOptions, name, value)


def _bias_of_floats(model: Any) -> None:
    tensors = model.subgraphs[0].tensors
    next(t for t in tensors if t.type == schema.TensorType.INT32).type = schema.TensorType.FLOAT32


def _tiny_output(model: Any) -> None:
    graph = model.subgraphs[0]
    graph.tensors[graph.outputs[0]].quantization.scale = np.array([1e-9], np.float32)


def _other_size(model: Any) -> None:
    model.buffers[1].data = np.frombuffer(np.array([516, 4], np.int32).tobytes(), np.uint8)


CHANGES: list[tuple[str, Change, str]] = [
    ("ELU", _no_zero_point, "do not match its zero points"),
    ("ELU", _no_outputs, "1 inputs and 0 outputs"),
    ("LEAKY_RELU", _option("alpha", float("nan")), "no number"),
    ("LEAKY_RELU", _option("alpha", 3e30), "out of range"),
    ("ADD", _tiny_output, "out of range"),  # TensorFlow Lite Micro aborts, and the process with it
    ("CONV_2D", _bias_of_floats, "biases of float32"),
    ("TRANSPOSE_CONV", _option("strideH", 8323073), "does not follow"),
    ("RESIZE_NEAREST_NEIGHBOR", _other_size, "does not follow"),
    ("SPLIT", _option("numSplits", 7), "options say 7"),
    ("UNPACK", _option("num", 7), "options say 7"),
    ("PACK", _option("valuesCount", 7), "options say 7"),
]


@pytest.mark.parametrize("kind,change,message", CHANGES, ids=[f"{kind} {message}" for kind, _, message in CHANGES])
def test_contradictions_are_refused(kind: str, change: Change, message: str) -> None:
    """TensorFlow Lite Micro computes something else of it, or nothing; the untouched file is read."""
    content = CASES[kind](Case(0))
    parse_tflite(content, "net", kind)
    model = schema.ModelT.InitFromPackedBuf(content)
    change(model)
    with pytest.raises(UserError, match=message):
        parse_tflite(_packed(model), "net", kind)


def test_a_gather_along_another_axis_is_refused() -> None:
    """As many elements as the declared output has, but other ones."""
    for axis, good in ((3, True), (0, False)):
        b = TfliteBuilder()
        x = b.tensor((1, 3, 3, 1), "int8", 0.1, 0)
        out = b.tensor((1, 3, 3, 2), "int8", 0.1, 0)
        b.op("GATHER", [x, b.tensor((2,), "int32", data=[0, 0])], [out], axis=axis)
        if good:
            parse_tflite(b.finish([x], [out]), "net", "gather")
            continue
        with pytest.raises(UserError, match=r"GATHER.*gives \(2, 3, 3, 1\)"):
            parse_tflite(b.finish([x], [out]), "net", "gather")


@pytest.mark.parametrize("kind,shape,wanted,swapped", [
    ("BATCH_TO_SPACE_ND", (6, 1, 1, 1), (1, 2, 3, 1), (1, 3, 2, 1)),
    ("SPACE_TO_BATCH_ND", (1, 4, 3, 1), (6, 2, 1, 1), (6, 1, 2, 1)),
])  # fmt: skip
def test_blocks_of_another_shape_are_refused(
    kind: str, shape: tuple[int, ...], wanted: tuple[int, ...], swapped: tuple[int, ...]
) -> None:
    """Height and width of the output swapped: as many elements, in another order."""

    def read(declared: tuple[int, ...]) -> None:
        b = TfliteBuilder()
        x, out = b.tensor(shape, "int8", 0.1, 0), b.tensor(declared, "int8", 0.1, 0)
        none = b.tensor((2, 2), "int32", data=np.zeros((2, 2)))
        b.op(kind, [x, b.tensor((2,), "int32", data=[2, 3]), none], [out])
        parse_tflite(b.finish([x], [out]), "net", kind)

    read(wanted)
    with pytest.raises(UserError, match=f"gives .{', '.join(map(str, wanted))}"):
        read(swapped)


def test_a_pack_of_other_parts_is_refused() -> None:
    """Of one part too, which is a reshape."""
    b = TfliteBuilder()
    x, out = b.tensor((3, 2), "int8", 0.1, 0), b.tensor((2, 3, 1), "int8", 0.1, 0)
    b.op("PACK", [x], [out], valuesCount=1, axis=2)
    with pytest.raises(UserError, match="parts"):
        parse_tflite(b.finish([x], [out]), "net", "pack")


def _packed(model: Any) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
