"""What stands between an ONNX file's input and the network proper: layout, type and scaling, taken out of the graph."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from secateur.errors import UserError
from secateur.models.preprocess import Preprocess

Floats = npt.NDArray[np.float64]

INTEGERS: tuple[type[np.integer], ...] = (
    np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.uint64, np.int64,
)  # fmt: skip
LAYOUTS = ("nchw", "nhwc")
_ARITHMETIC = ("Sub", "Add", "Mul", "Div")
_FORWARD = ("Identity", "Dropout", "Cast", "QuantizeLinear", "DequantizeLinear", *_ARITHMETIC)


@dataclass(frozen=True)
class Head:
    """`channels_last`: the file's input is. What reaches the network is scale * input + shift, a value a channel."""

    channels_last: bool = False
    integers: tuple[int, int] | None = None  # least and largest, where the file's input is no float
    scale: Floats | None = None
    shift: Floats | None = None

    def preprocess(self, given: Preprocess | None) -> Preprocess:
        """`given` first, then what the file itself does with its input."""
        first = given or Preprocess()
        if self.scale is None or self.shift is None:
            return first
        mean, std = -self.shift / self.scale, 1.0 / self.scale
        if first.mean:
            before, spread = np.asarray(first.mean), np.asarray(first.std)
            mean, std = before + spread * mean, spread * std
        return replace(first, mean=tuple(float(v) + 0.0 for v in mean), std=tuple(map(float, std)))

    def raw(self, count: int, shape: tuple[int, ...], seed: int) -> npt.NDArray[np.float32]:
        """Random samples of the file's input, channels first."""
        random = np.random.default_rng(seed)
        if self.integers is not None:
            low, high = self.integers
            return random.integers(low, high, (count, *shape), endpoint=True).astype(np.float32)
        x = random.standard_normal((count, *shape))
        if self.scale is not None and self.shift is not None:
            along = (1, -1) + (1,) * (len(shape) - 1)
            x = (x - self.shift.reshape(along)) / self.scale.reshape(along)
        return x.astype(np.float32)

    def fed(self, samples: npt.NDArray[np.float32], kind: str) -> npt.NDArray[Any]:
        """Channels-first samples as the file takes them; `kind` is ONNX Runtime's name of the type."""
        moved = np.moveaxis(samples, 1, -1) if self.channels_last else samples
        return np.ascontiguousarray(moved, input_type(kind))


def input_type(kind: str) -> type[np.generic]:
    """The numpy type of ONNX Runtime's `tensor(...)`; float32 where it is none of a number's."""
    name = kind.removeprefix("tensor(").removesuffix(")")
    known: dict[str, type[np.generic]] = {"double": np.float64, "float16": np.float16, "bool": np.bool_}
    known |= {i.__name__: i for i in INTEGERS}
    return known.get(name, np.float32)


def take_head(model: onnx.ModelProto, output: str, layout: str | None, path: Path) -> Head:
    """Take casts, constant factors and summands and the Transpose to channels first off the front of `model`.

    Afterwards the graph's input is channels first and what the network proper reads. `layout` nhwc says that the
    file's is channels last; None: it is where a Transpose to channels first follows, as in files of tf2onnx.

    Raises UserError: a `layout` that the input cannot have.
    """
    graph = model.graph
    constants = _constants(graph)
    info = next(i for i in graph.input if i.name not in {c.name for c in graph.initializer})
    rank = len(info.type.tensor_type.shape.dim)
    last = layout == "nhwc" or (layout is None and _transposed(graph, info.name, rank))
    if layout not in (None, *LAYOUTS):
        raise UserError(f"{path}: layout {layout}: unknown; one of {', '.join(LAYOUTS)}")
    if last and rank not in (3, 4):
        raise UserError(f"{path}: --layout {layout}: input {info.name} has {rank} dimensions; leave the option out.")
    kind, now, name = info.type.tensor_type.elem_type, last, info.name
    floats = kind == onnx.TensorProto.FLOAT
    scale, shift, moved = np.ones(1), np.zeros(1), False
    taken = []
    while name != output:
        users = [n for n in graph.node if name in n.input]
        if len(users) != 1 or users[0].domain not in ("", "ai.onnx"):
            break
        node = users[0]
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Cast" and attributes["to"] == onnx.TensorProto.FLOAT:
            floats = True
        elif node.op_type in _ARITHMETIC and floats:
            found = _scaled(node, name, constants, rank, rank - 1 if now else 1, scale, shift)
            if found is None:
                break
            scale, shift, moved = *found, True
        elif node.op_type == "Transpose" and now and list(attributes.get("perm", ())) == _to_first(rank):
            now = False
        elif node.op_type != "Identity":
            break
        taken.append(node)
        name = node.output[0]
    if not floats:  # integers are read by a DequantizeLinear, or refused later
        taken, name, now = [], info.name, last
    for node in taken:
        graph.node.remove(node)
    if taken or last:
        _enter(graph, info, name, floats, last, now)
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind))
    limits = np.iinfo(dtype) if dtype.type in INTEGERS else None
    ends = None if limits is None else (max(int(limits.min), -255), min(int(limits.max), 255))
    ends = (0, 1) if dtype.type is np.bool_ else ends
    return Head(last, ends, scale if moved else None, shift if moved else None)


def _constants(graph: onnx.GraphProto) -> dict[str, npt.NDArray[Any]]:
    found = {i.name: onnx.numpy_helper.to_array(i) for i in graph.initializer if i.data_type == onnx.TensorProto.FLOAT}
    for node in graph.node:
        for a in node.attribute:
            if node.op_type == "Constant" and a.name == "value" and a.t.data_type == onnx.TensorProto.FLOAT:
                found[node.output[0]] = onnx.numpy_helper.to_array(a.t)
    return found


def _to_first(rank: int) -> list[int]:
    return [0, rank - 1, *range(1, rank - 1)]


def _transposed(graph: onnx.GraphProto, name: str, rank: int) -> bool:
    """A Transpose to channels first is the first that does more than scale, cast or quantize."""
    if rank not in (3, 4):
        return False
    for _ in range(len(graph.node)):
        users = [n for n in graph.node if name in n.input]
        if len(users) != 1:
            return False
        node = users[0]
        if node.op_type == "Transpose":
            perm = next((list(a.ints) for a in node.attribute if a.name == "perm"), [])
            return perm == _to_first(rank)
        if node.op_type not in _FORWARD:
            return False
        name = node.output[0]
    return False


def _scaled(
    node: onnx.NodeProto, name: str, constants: dict[str, npt.NDArray[Any]], rank: int, axis: int,
    scale: Floats, shift: Floats,
) -> tuple[Floats, Floats] | None:  # fmt: skip
    """Scale and shift behind `node`, None where it is no positive factor or summand of each channel."""
    first, second = node.input
    other = second if first == name else first
    if other not in constants or (node.op_type in ("Sub", "Div") and second == name):
        return None
    value = constants[other].astype(np.float64)
    if value.ndim > rank or not np.isfinite(value).all():
        return None
    whole = value.reshape((1,) * (rank - value.ndim) + value.shape)
    if whole.size != whole.shape[axis]:
        return None
    v = whole.ravel()
    if node.op_type in ("Mul", "Div") and not (v > 0).all():
        return None
    if node.op_type == "Mul":
        return scale * v, shift * v
    if node.op_type == "Div":
        return scale / v, shift / v
    return scale * np.ones_like(v), shift + (v if node.op_type == "Add" else -v)


def _enter(graph: onnx.GraphProto, info: Any, name: str, floats: bool, last: bool, now: bool) -> None:
    """The graph's input is `name` from here on, channels first; a Transpose back where it is read channels last."""
    tensor = info.type.tensor_type
    if floats:
        tensor.elem_type = onnx.TensorProto.FLOAT
    dims = list(tensor.shape.dim)
    if last:
        order = [dims[i] for i in _to_first(len(dims))]
        del tensor.shape.dim[:]
        tensor.shape.dim.extend(order)
    info.name = name
    if now:
        info.name = f"{name}_channels_first"
        perm = [0, *range(2, len(dims)), 1]
        graph.node.insert(0, onnx.helper.make_node("Transpose", [info.name], [name], f"{name}_as_nhwc", perm=perm))
