"""An ONNX file to a trainable Network: parsed, constants folded, run through torch and made canonical.

A quantized one becomes an int8 Program (`onnx_qdq`).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import onnx.inliner
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from secateur.compiler.frontends.onnx_head import take_head
from secateur.compiler.frontends.onnx_judge import compare, objection
from secateur.compiler.frontends.onnx_module import ImportedModule, outer_values, where
from secateur.compiler.frontends.onnx_qdq import is_quantized, load_qdq, quantized_name, refuse_dynamic
from secateur.compiler.frontends.qlinear import as_qdq
from secateur.errors import UserError
from secateur.models.canonical import check_scaling, to_network
from secateur.models.network import Network
from secateur.models.preprocess import Preprocess
from secateur.models.program import Program

OPSETS = range(11, 24)
MALFORMED = (ValueError, IndexError, KeyError, TypeError, RuntimeError, OverflowError, MemoryError)
PROPERTIES = ("secateur.input", "secateur.mean", "secateur.std", "secateur.labels")


def load_onnx(
    path: Path,
    name: str = "",
    input_shape: tuple[int, ...] | None = None,
    labels: tuple[str, ...] = (),
    cut_at: str | None = None,
    preprocess: Preprocess | None = None,
    layout: str | None = None,
) -> Network | Program:
    """Import `path`. Labels, mean and std come from the file where secateur wrote them and none are given.

    Casts, factors, summands and the Transpose to channels first at its input are taken over as preprocessing.

    Args:
        input_shape: one sample without the batch, in the file's order; needed where it leaves a dimension open.
        cut_at: node or value whose output becomes the network's.
        layout: of the file's input, nchw or nhwc; None: nhwc where a Transpose to channels first follows it.

    Returns: a Network, or the int8 Program of a quantized file.

    Raises:
        UserError: the file is not readable, opset 11 to 23, of one input and one output, or holds
            unsupported operators (all are listed).
    """
    path = Path(path)
    model = _read(path)
    graph = model.graph
    refuse_dynamic(graph, path)
    entry = _one_input(graph, path)
    _fix_shape(entry, path, input_shape)
    shape = tuple(int(d.dim_value) for d in entry.type.tensor_type.shape.dim[1:])
    try:
        return _imported(model, entry, name or path.stem, path, labels, cut_at, preprocess, layout)
    except MALFORMED as error:
        reason = objection(path, shape)
        if reason is None:  # then it is our fault
            raise
        raise UserError(
            f"{path}: no valid network ({_first_line(error)}); ONNX Runtime does not run it either ({reason}). "
            "Export it again."
        ) from error


def _imported(
    model: onnx.ModelProto, entry: onnx.ValueInfoProto, name: str, path: Path, labels: tuple[str, ...],
    cut_at: str | None, preprocess: Preprocess | None, layout: str | None,
) -> Network | Program:  # fmt: skip
    graph = model.graph
    as_qdq(graph, path)
    output = _output(graph, path, cut_at)
    head = take_head(model, output, layout, path)
    quantized = is_quantized(graph)
    _check_type(entry, path, quantized)
    first, *rest = (d.dim_value for d in entry.type.tensor_type.shape.dim)
    batch, shape = first or None, tuple(rest)
    properties = {p.key: p.value for p in model.metadata_props}
    if not labels and cut_at is None:  # behind a cut the outputs are other ones
        labels = tuple(map(str, _property(properties, "labels", path)))
    if preprocess is None:
        mean, std = (tuple(map(float, _property(properties, k, path))) for k in ("mean", "std"))
        preprocess = Preprocess(mean, std)
    preprocess = head.preprocess(preprocess)
    if quantized:
        check_scaling(name, preprocess, shape[0])
        output = quantized_name(graph, output)
        program = load_qdq(model, _needed(graph, output), entry.name, shape, output, name, path)
        if labels and len(labels) != program.tensors[program.outputs[0]].elements:
            outputs = program.tensors[program.outputs[0]].elements
            raise UserError(f"{name}: {len(labels)} labels for {outputs} outputs; give one label per output.")
        return replace(program, labels=labels, preprocess=preprocess)
    nodes = _needed(graph, output)
    batch, module = _built(model, nodes, output, batch, shape, path)
    if model.producer_name == "secateur" and not set(PROPERTIES) <= set(properties):  # they are last in the file
        raise UserError(f"{path}: cut off behind the network ({path.stat().st_size} bytes). Export it again.")
    network = to_network(module, shape, name, labels, preprocess, batch=batch, own=True)
    if cut_at is None:
        compare(network, head, path, batch)
    return network


def _built(
    model: onnx.ModelProto, nodes: list[onnx.NodeProto], output: str, batch: int | None, shape: tuple[int, ...],
    path: Path,
) -> tuple[int, ImportedModule]:  # fmt: skip
    """The network at its batch; where that is open at 3, or at 1 if a Reshape inside is for one sample."""
    try:
        return batch or 3, ImportedModule(model, nodes, output, (batch or 3, *shape), path)
    except UserError:
        if batch is not None or not any(n.op_type == "Reshape" for n in nodes):
            raise
        with contextlib.suppress(UserError):
            return 1, ImportedModule(model, nodes, output, (1, *shape), path)
        raise


def _read(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise UserError(f"{path}: no such file. Give the path of an .onnx file.")
    size = path.stat().st_size
    try:
        model = onnx.load(str(path))
        _check_text(model.graph)
        if not model.graph.node:
            raise UserError(f"{path}: no ONNX network in it ({size} bytes). Is the file complete? Export it again.")
        ends = (*model.graph.input, *model.graph.output)
        plain = [o for o in ends if o.type.WhichOneof("value") in ("tensor_type", None)]
        bare = [o for o in plain if not o.type.tensor_type.HasField("shape")]
        for end in bare:  # the checker wants a shape, runtimes and some exporters do not
            end.type.tensor_type.shape.SetInParent()
        onnx.checker.check_model(model)
        for end in bare:
            end.type.tensor_type.ClearField("shape")
        model = onnx.inliner.inline_local_functions(model)
    except (DecodeError, onnx.checker.ValidationError, OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise UserError(
            f"{path}: not a valid ONNX file ({size} bytes): {reason[:200]}. Is the file complete? Export it again."
        ) from error
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if opset not in OPSETS:
        raise UserError(
            f"{path}: opset {opset}, supported are {OPSETS.start} to {OPSETS.stop - 1}. "
            "Export again with opset_version=18, or use onnx.version_converter."
        )
    return model


def _property(properties: dict[str, str], key: str, path: Path) -> list[Any]:
    """A list that secateur wrote into the file; empty where it did not. Raises UserError for what is none."""
    text = properties.get(f"secateur.{key}", "[]")
    try:
        found = json.loads(text)
        if isinstance(found, list) and (key == "labels" or all(isinstance(v, (int, float)) for v in found)):
            return found
    except ValueError:
        pass
    raise UserError(f"{path}: property secateur.{key} is {str(text)[:40]!r}, no list. Export it again.")


def _check_text(graph: onnx.GraphProto) -> None:
    """Protobuf hands bytes out where a text is no UTF-8. Raises ValueError."""
    texts = [t for n in graph.node for t in (n.name, n.op_type, n.domain, *n.input, *n.output)]
    texts += [a.name for n in graph.node for a in n.attribute]
    texts += [v.name for values in (graph.input, graph.output, graph.initializer, graph.value_info) for v in values]
    if any(isinstance(t, bytes) for t in texts):
        raise ValueError("a name that is no text")


def _one_input(graph: onnx.GraphProto, path: Path) -> onnx.ValueInfoProto:
    constants = {i.name for i in graph.initializer}
    inputs = [i for i in graph.input if i.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(i.name for i in inputs)
        raise UserError(f"{path}: {len(inputs)} inputs ({names}), one expected. Export the network with one input.")
    entry: onnx.ValueInfoProto = inputs[0]
    return entry


def _fix_shape(entry: onnx.ValueInfoProto, path: Path, given: tuple[int, ...] | None) -> None:
    """Every dimension of a sample is a number from here on, in the file's order; an open batch is 0."""
    tensor = entry.type.tensor_type
    dims = [d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in tensor.shape.dim]
    if not tensor.HasField("shape") and given is not None:
        dims = [None] * (len(given) + 1)
    if len(dims) < 2:
        raise UserError(f"{path}: input {entry.name} has {len(dims)} dimensions, batch and sample expected.")
    declared = dims[1:]
    if given is None:
        if None in declared:
            raise UserError(f"{path}: input {entry.name} is {_shown(declared)} per sample. Fix it with --input-shape.")
    elif len(given) != len(declared) or any(d not in (None, g) for d, g in zip(declared, given, strict=True)):
        raise UserError(f"{path}: --input-shape {_shown(given)} contradicts the file's {_shown(declared)}.")
    del tensor.shape.dim[:]
    for size in (dims[0], *(given or declared)):
        tensor.shape.dim.add().dim_value = size or 0


def _check_type(entry: onnx.ValueInfoProto, path: Path, quantized: bool) -> None:
    """Float where the network proper begins, or the integers of a quantized one. Raises UserError."""
    kind = entry.type.tensor_type.elem_type
    integers = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
    if kind != onnx.TensorProto.FLOAT and not (quantized and kind in integers):
        name = onnx.TensorProto.DataType.Name(kind)
        raise UserError(f"{path}: input {entry.name} is {name}, FLOAT expected. Export it in float32.")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0][:200]


def _shown(dims: Sequence[int | None]) -> str:
    return ",".join("?" if d is None else str(d) for d in dims)


def _output(graph: onnx.GraphProto, path: Path, cut_at: str | None) -> str:
    if cut_at is not None:
        for node in graph.node:
            if cut_at in node.output:
                return cut_at
            if cut_at == node.name:
                return str(node.output[0])
        last = ", ".join(where(n) for n in graph.node[-6:])
        raise UserError(f"{path}: --cut-at {cut_at}: no such node or value; the last ones are {last}.")
    if len(graph.output) != 1:
        names = ", ".join(o.name for o in graph.output)
        raise UserError(f"{path}: {len(graph.output)} outputs ({names}), one expected. Choose with --cut-at NAME.")
    return str(graph.output[0].name)


def _needed(graph: onnx.GraphProto, output: str) -> list[onnx.NodeProto]:
    """The nodes that `output` depends on, in the file's (topological) order."""
    wanted, kept = {output}, []
    for node in reversed(graph.node):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= set(node.input) | outer_values(node)
    return kept[::-1]
