"""Activations as ONNX nodes: one where opset 18 has the operator, else what PyTorch's exporter composes it of."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper
from torch import nn

Arrays = dict[str, npt.NDArray[Any]]
_PLAIN: dict[type[nn.Module], str] = {
    nn.Sigmoid: "Sigmoid", nn.Tanh: "Tanh", nn.Hardswish: "HardSwish",
}  # fmt: skip


def activation_nodes(
    module: Any, target: str, rank: int, source: str, output: str, name: str
) -> tuple[list[onnx.NodeProto], Arrays]:
    """The nodes that make value `output` of value `source`, and their constants. `rank`: dimensions with the batch."""
    if isinstance(module, nn.SiLU):
        steps: list[tuple[str, Any]] = [("Sigmoid", "x"), ("Mul", ("x", "y"))]
        return _composed(steps, target, source, output, name)
    if isinstance(module, nn.GELU):
        return _composed(_GELU[module.approximate], target, source, output, name)
    if isinstance(module, nn.PReLU):
        slope = module.weight.detach().cpu().numpy().astype(np.float32).reshape(-1, *[1] * (rank - 2))
        node = helper.make_node("PRelu", [source, f"{target}.weight"], [output], name=name)
        return [node], {f"{target}.weight": slope}
    attributes: dict[str, Any] = {}
    if isinstance(module, nn.Hardsigmoid):
        kind, attributes = "HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}
    elif isinstance(module, nn.ELU):
        kind, attributes = "Elu", {"alpha": module.alpha}
    elif isinstance(module, nn.LeakyReLU):
        kind, attributes = "LeakyRelu", {"alpha": module.negative_slope}
    else:
        kind = _PLAIN[type(module)]
    return [helper.make_node(kind, [source], [output], name=name, **attributes)], {}


# Each step reads y, what the one before it gave; x is the activation's own input, a number is a constant.
_HALF: list[tuple[str, Any]] = [("Add", ("y", 1.0)), ("Mul", ("x", "y")), ("Mul", ("y", 0.5))]
_GELU: dict[str, list[tuple[str, Any]]] = {
    "none": [("Mul", ("x", math.sqrt(0.5))), ("Erf", "y"), *_HALF],
    "tanh": [
        ("Mul", ("x", "x")), ("Mul", ("y", "x")), ("Mul", ("y", 0.044715)), ("Add", ("x", "y")),
        ("Mul", ("y", math.sqrt(2 / math.pi))), ("Tanh", "y"), *_HALF,
    ],
}  # fmt: skip


def _composed(
    steps: list[tuple[str, Any]], target: str, source: str, output: str, name: str
) -> tuple[list[onnx.NodeProto], Arrays]:
    nodes, constants, before = [], Arrays(), source
    for i, (kind, operands) in enumerate(steps):
        last = i == len(steps) - 1
        inputs = []
        for operand in operands:
            if isinstance(operand, float):
                inputs.append(f"{target}.constant_{i}")
                constants[inputs[-1]] = np.array(operand, np.float32)
            else:
                inputs.append(source if operand == "x" else before)
        made = output if last else f"{name}/{i}"  # no node of the network is called so
        nodes.append(helper.make_node(kind, inputs, [made], name=name if last else made))
        before = made
    return nodes, constants
