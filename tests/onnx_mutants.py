"""Mutations of an ONNX file that stay protobuf: attributes, shapes, types, names and constants changed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx

Random = np.random.Generator
NUMBERS = (-3, -1, 0, 1, 2, 3, 4, 7, 100, 1 << 31, 1 << 62)
REALS = (0.0, -1.0, 1e-40, 1.0, 6.0, 1e30, float("inf"), float("nan"))
TYPES = (1, 2, 3, 5, 6, 7, 9, 10, 16, 17, 21, 22)


def mutate_graph(content: bytes, random: Random) -> bytes:
    """One to three changes of one kind each."""
    model = onnx.ModelProto()
    model.ParseFromString(content)
    for _ in range(int(random.integers(1, 4))):
        CHANGES[int(random.integers(len(CHANGES)))](model.graph, random)
    return bytes(model.SerializeToString())


def _one(random: Random, of: object) -> int:
    return int(random.integers(len(of)))  # type: ignore[arg-type]


def _node(graph: onnx.GraphProto, random: Random) -> onnx.NodeProto:
    return graph.node[_one(random, graph.node)]


def _attribute(graph: onnx.GraphProto, random: Random) -> None:
    with_some = [n for n in graph.node if n.attribute]
    if not with_some:
        return
    node = with_some[_one(random, with_some)]
    found = node.attribute[_one(random, node.attribute)]
    if found.type == onnx.AttributeProto.INT:
        found.i = int(random.choice(NUMBERS))
    elif found.type == onnx.AttributeProto.FLOAT:
        found.f = float(random.choice(REALS))
    elif found.type == onnx.AttributeProto.INTS and found.ints and random.random() < 0.7:
        found.ints[_one(random, found.ints)] = int(random.choice(NUMBERS))
    elif found.type == onnx.AttributeProto.INTS and random.random() < 0.5:
        found.ints.append(int(random.choice(NUMBERS)))
    else:
        node.attribute.remove(found)


def _input(graph: onnx.GraphProto, random: Random) -> None:
    """Read another value, which may be computed later, or none."""
    names = [o for n in graph.node for o in n.output] + [i.name for i in graph.initializer] + ["", graph.input[0].name]
    node = _node(graph, random)
    if node.input:
        node.input[_one(random, node.input)] = names[_one(random, names)]


def _fewer(graph: onnx.GraphProto, random: Random) -> None:
    node = _node(graph, random)
    if node.input:
        del node.input[_one(random, node.input)]


def _operator(graph: onnx.GraphProto, random: Random) -> None:
    _node(graph, random).op_type = _node(graph, random).op_type


def _gone(graph: onnx.GraphProto, random: Random) -> None:
    if len(graph.node) > 1:
        del graph.node[_one(random, graph.node)]


def _swapped(graph: onnx.GraphProto, random: Random) -> None:
    a, b = graph.initializer[_one(random, graph.initializer)], graph.initializer[_one(random, graph.initializer)]
    a.name, b.name = b.name, a.name


def _constant(graph: onnx.GraphProto, random: Random) -> None:
    """Another type, another shape, or other numbers."""
    found = graph.initializer[_one(random, graph.initializer)]
    what = random.random()
    if what < 0.2:
        found.data_type = int(random.choice(TYPES))
    elif what < 0.5 and found.dims:
        found.dims[_one(random, found.dims)] = int(random.choice(NUMBERS))
    else:
        value = np.array(onnx.numpy_helper.to_array(found))
        if not value.size:
            return
        real = value.dtype.kind == "f"
        with np.errstate(all="ignore"):
            value.ravel()[_one(random, value.ravel())] = (
                random.choice(REALS) if real else np.array(int(random.choice(NUMBERS))).astype(value.dtype)
            )
            if random.random() < 0.3 and not real:
                value = value.astype(random.choice([np.int8, np.uint8, np.int16, np.int32, np.int64]))
        found.CopyFrom(onnx.numpy_helper.from_array(value, found.name))


def _entry(graph: onnx.GraphProto, random: Random) -> None:
    tensor = graph.input[0].type.tensor_type
    if random.random() < 0.3:
        tensor.elem_type = int(random.choice(TYPES))
    elif tensor.shape.dim and random.random() < 0.7:
        tensor.shape.dim[_one(random, tensor.shape.dim)].dim_value = int(random.choice(NUMBERS))
    else:
        tensor.shape.dim.add().dim_value = int(random.choice(NUMBERS))


CHANGES: tuple[Callable[[onnx.GraphProto, Random], None], ...] = (
    _attribute, _attribute, _input, _input, _fewer, _operator, _gone, _swapped, _constant, _constant, _constant, _entry,
)  # fmt: skip
