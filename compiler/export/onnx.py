"""A Network to an ONNX file, written directly: the canonical vocabulary is small, and the bytes are ours.

PyTorch's exporters were measured first: the TorchScript one is deprecated, the newer one takes 3 to 11 s a
model and prints; both write tool versions and source paths into the file, so that two exports differ.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import fx, nn

from secateur.compiler.export.onnx_activations import activation_nodes
from secateur.compiler.export.onnx_tokens import TOKEN_MODULES, token_nodes
from secateur.errors import MismatchError
from secateur.models.activations import ACTIVATIONS, Unsqueeze
from secateur.models.network import Network, Pad, Slice

OPSET = 18
_IR_VERSION = 8  # the first with opset 18: any onnxruntime since 1.14 reads it
INPUT, OUTPUT = "input", "output"
RELATIVE_LIMIT = 1e-3

Made = tuple[str, dict[str, Any], dict[str, npt.NDArray[Any]]]
"""ONNX operator, its attributes, and its constant inputs in order, by the name of their tensor."""


def export_onnx(network: Network, path: Path) -> None:
    """Write `network` to `path`: opset 18, batch 1, weights inside, the same bytes every time.

    The input is the preprocessed sample; mean, std and labels stand in the file's metadata.
    """
    onnx.save_model(_model(network), str(path))


def check_onnx(network: Network, path: Path, samples: npt.NDArray[np.float32]) -> float:
    """Largest absolute difference of the file under ONNX Runtime and `network` on (n, *input_shape) samples.

    Raises:
        MismatchError: it is more than 1e-3 of the range of the network's outputs, or not a number.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    module = network.clone().module.eval()
    with torch.no_grad():
        ours = module(torch.from_numpy(np.asarray(samples, dtype=np.float32))).numpy()
    theirs = np.concatenate([session.run([OUTPUT], {INPUT: samples[i : i + 1]})[0] for i in range(len(samples))])
    worst = float(np.abs(ours - theirs).max())
    span = max(float(ours.max() - ours.min()), 1e-6)
    if not worst <= RELATIVE_LIMIT * span:
        raise MismatchError(f"{path}: ONNX differs from the network by {worst:.3g}, output range {span:.3g}")
    return worst


def _model(network: Network) -> onnx.ModelProto:
    shapes = network.shapes()
    names: dict[fx.Node, str] = {}
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, npt.NDArray[Any]] = {}
    result = next(n for n in network.graph.nodes if n.op == "output").args[0]
    for node in network.graph.nodes:
        if node.op == "placeholder":
            names[node] = INPUT
            continue
        if node.op == "output":
            continue
        # a module may be called as the graph's ends are; no node has a slash in its name
        names[node] = OUTPUT if node is result else f"{node.name}/value" if node.name in (INPUT, OUTPUT) else node.name
        module = network.module.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, ACTIVATIONS):
            source, rank = names[node.all_input_nodes[0]], len(shapes[node.name]) + 1
            several, extra = activation_nodes(module, str(node.target), rank, source, names[node], node.name)
            nodes += several
            constants |= extra
            continue
        if isinstance(module, TOKEN_MODULES):
            known = [shapes[n.name] for n in (*node.args, node)]
            operands = [names[n] for n in node.args]
            several, extra = token_nodes(node.name, str(node.target), module, operands, names[node], known)
            nodes += several
            constants |= extra
            continue
        kind, attributes, extra = _made(network, node, shapes)
        constants |= extra
        inputs = [names[n] for n in node.all_input_nodes] if node.op == "call_module" else _operands(node, names)
        nodes.append(helper.make_node(kind, [*inputs, *extra], [names[node]], name=node.name, **attributes))
    if names[result] != OUTPUT:  # the input is the output
        nodes.append(helper.make_node("Identity", [names[result]], [OUTPUT], name=OUTPUT))
    graph = helper.make_graph(
        nodes,
        network.name,
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [1, *network.input_shape])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [1, *shapes[result.name]])],
        [numpy_helper.from_array(np.ascontiguousarray(v), name) for name, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR_VERSION)
    model.producer_name = "secateur"
    helper.set_model_props(
        model,
        {
            "secateur.input": "preprocessed sample: (raw - mean) / std in each channel",
            "secateur.mean": json.dumps(list(network.preprocess.mean)),
            "secateur.std": json.dumps(list(network.preprocess.std)),
            "secateur.labels": json.dumps(list(network.labels)),
        },
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _operands(node: fx.Node, names: dict[fx.Node, str]) -> list[str]:
    """In order and with repetitions: x + x has one input node and two operands."""
    first = node.args[0]
    operands: Any = first if isinstance(first, (tuple, list)) else node.args[:2]
    return [names[o] for o in operands]


def _made(network: Network, node: fx.Node, shapes: dict[str, tuple[int, ...]]) -> Made:
    if node.op == "call_function":
        if node.target is torch.cat:
            return "Concat", {"axis": 1}, {}
        return {operator.add: "Add", operator.mul: "Mul"}[node.target], {}, {}  # type: ignore[index]
    target = str(node.target)
    module = network.module.get_submodule(target)
    kind, attributes, constants = _WRITERS[type(module)](module)
    if getattr(module, "ceil_mode", False):
        before, after = (shapes[n.name][1:] for n in (node.all_input_nodes[0], node))
        attributes["pads"] = _whole_windows(attributes, before, after)
    return kind, attributes, {f"{target}.{name}": value for name, value in constants.items()}


def _array(tensor: torch.Tensor) -> npt.NDArray[np.float32]:
    return np.asarray(tensor.detach().cpu().numpy(), dtype=np.float32)


def _weights(module: Any) -> dict[str, npt.NDArray[Any]]:
    found = {"weight": _array(module.weight)}
    return found if module.bias is None else found | {"bias": _array(module.bias)}


def _conv(m: Any) -> Made:
    attributes = {
        "kernel_shape": list(m.kernel_size),
        "strides": list(m.stride),
        "pads": list(m.padding) * 2,
        "dilations": list(m.dilation),
        "group": m.groups,
    }
    return "Conv", attributes, _weights(m)


def _batch_norm(m: Any) -> Made:
    statistics = {"running_mean": _array(m.running_mean), "running_var": _array(m.running_var)}
    return "BatchNormalization", {"epsilon": m.eps}, _weights(m) | statistics


def _list(value: Any, rank: int) -> list[int]:
    return [int(v) for v in value] if isinstance(value, (tuple, list)) else [int(value)] * rank


def _pool(kind: str, rank: int) -> Callable[[Any], Made]:
    def write(m: Any) -> Made:
        attributes = {
            "kernel_shape": _list(m.kernel_size, rank),
            "strides": _list(m.stride, rank),
            "pads": _list(m.padding, rank) * 2,
        }
        if kind == "AveragePool":
            attributes["count_include_pad"] = int(m.count_include_pad)  # type: ignore[assignment]
        return kind, attributes, {}

    return write


def _whole_windows(attributes: dict[str, Any], before: tuple[int, ...], after: tuple[int, ...]) -> list[int]:
    """Pads under which a pool with ceil_mode needs none: runtimes disagree on what a partial window is."""
    first = attributes["pads"][: len(before)]
    windows = zip(before, after, first, attributes["kernel_shape"], attributes["strides"], strict=True)
    return [*first, *(max(p, (m - 1) * s + k - n - p) for n, m, p, k, s in windows)]


def _pad(m: Pad) -> Made:
    pads = [0, *(a for a, _ in m.amounts), 0, *(b for _, b in m.amounts)]
    return "Pad", {}, {"pads": np.array(pads, np.int64), "value": np.array(m.value, np.float32)}


def _slice(m: Slice) -> Made:
    begins, ends, steps = (np.array(v, np.int64) for v in zip(*m.ranges, strict=True))
    axes = np.arange(1, len(m.ranges) + 1, dtype=np.int64)
    return "Slice", {}, {"starts": begins, "ends": ends, "axes": axes, "steps": steps}


def _relu6(m: nn.ReLU6) -> Made:
    return "Clip", {}, {"min": np.array(0, np.float32), "max": np.array(6, np.float32)}


_WRITERS: dict[type[nn.Module], Callable[[Any], Made]] = {
    nn.Conv1d: _conv,
    nn.Conv2d: _conv,
    nn.Linear: lambda m: ("Gemm", {"transB": 1}, _weights(m)),
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.ReLU: lambda m: ("Relu", {}, {}),
    nn.ReLU6: _relu6,
    nn.MaxPool1d: _pool("MaxPool", 1),
    nn.MaxPool2d: _pool("MaxPool", 2),
    nn.AvgPool1d: _pool("AveragePool", 1),
    nn.AvgPool2d: _pool("AveragePool", 2),
    nn.AdaptiveAvgPool1d: lambda m: ("GlobalAveragePool", {}, {}),
    nn.AdaptiveAvgPool2d: lambda m: ("GlobalAveragePool", {}, {}),
    nn.Flatten: lambda m: ("Flatten", {"axis": 1}, {}),
    nn.Softmax: lambda m: ("Softmax", {"axis": 1}, {}),
    Pad: _pad,
    Slice: _slice,
    Unsqueeze: lambda m: ("Unsqueeze", {}, {"axes": np.arange(2, 2 + m.count, dtype=np.int64)}),
}
