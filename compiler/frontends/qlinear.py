"""Integer operators of quantized ONNX (QLinearConv and its like) written as their floats between quantizations.

Source: the ONNX operators QLinearConv and QLinearMatMul, and ONNX Runtime's contrib operators of com.microsoft.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from secateur.compiler.frontends.onnx_module import array_of
from secateur.errors import UserError

SAME = {
    "QLinearGlobalAveragePool": "GlobalAveragePool", "QLinearAveragePool": "AveragePool", "QLinearSigmoid": "Sigmoid",
    "QLinearLeakyRelu": "LeakyRelu", "QLinearSoftmax": "Softmax",
}  # fmt: skip
"""One input, one output, and the attributes of the float operator."""
TWO = {"QLinearAdd": "Add", "QLinearMul": "Mul"}
WEIGHTED = {"QLinearConv": "Conv", "QLinearMatMul": "MatMul", "QGemm": "Gemm"}
KNOWN = (*SAME, *TWO, *WEIGHTED, "QLinearConcat")
_OURS = ("channels_last",)  # an attribute that only the integer forms have


def as_qdq(graph: onnx.GraphProto, path: Path) -> None:
    """Replace the integer operators of `graph`. Raises UserError for the form channels_last."""
    if not any(n.op_type in KNOWN for n in graph.node):
        return
    constants = {i.name: i for i in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        nodes += _Expanded(node, constants, graph, path).nodes if node.op_type in KNOWN else [node]
    del graph.node[:]
    graph.node.extend(nodes)


def _threes(names: list[str]) -> list[tuple[str, str, str]]:
    """Value, scale and zero point."""
    return list(zip(names[::3], names[1::3], names[2::3], strict=True))


class _Expanded:
    """The nodes that stand for one."""

    def __init__(
        self, node: onnx.NodeProto, constants: dict[str, onnx.TensorProto], graph: onnx.GraphProto, path: Path
    ) -> None:
        self.node, self.constants, self.graph, self.path = node, constants, graph, path
        self.nodes: list[onnx.NodeProto] = []
        if any(a.name == "channels_last" and a.i for a in node.attribute):
            raise UserError(
                f"{path}: {node.name or node.output[0]} ({node.op_type}) is channels last. Export it as QDQ."
            )
        names, kind = list(node.input), node.op_type
        if kind == "QLinearConcat":
            self.result("Concat", [self.real(*one) for one in _threes(names[2:])], names[:2])
        elif kind in SAME:
            self.result(SAME[kind], [self.real(names[0], names[1], names[2])], names[3:5])
        elif kind in TWO:
            self.result(TWO[kind], [self.real(*one) for one in _threes(names[:6])], names[6:8])
        else:
            self.weighted(names)

    def weighted(self, names: list[str]) -> None:
        kind = self.node.op_type
        attributes = {a.name: a.i for a in self.node.attribute if a.type == onnx.AttributeProto.INT}
        axis = 0 if kind == "QLinearConv" or attributes.get("transB", 0) else 1
        first, second = _threes(names[:6])
        inputs = [self.real(*first), self.real(*second, axis)]
        bias, ends = (names[8:9], names[6:8]) if kind != "QGemm" else (names[6:7], names[7:9])
        if bias and bias[0]:
            inputs.append(self.bias(bias[0], names[1], names[4]))
        self.result(WEIGHTED[kind], inputs, ends)

    def real(self, value: str, scale: str, zero: str, axis: int = 1) -> str:
        out = f"{self.node.output[0]}_real{len(self.nodes)}"
        made = onnx.helper.make_node("DequantizeLinear", [value, scale, *([zero] if zero else [])], [out], axis=axis)
        self.nodes.append(made)
        return out

    def bias(self, value: str, first: str, second: str) -> str:
        """int32 at the scale of the sums."""
        scales = np.atleast_1d(self.value(first) * self.value(second)).astype(np.float32)
        name = f"{self.node.output[0]}_bias_scale"
        self.graph.initializer.append(onnx.numpy_helper.from_array(scales[0] if scales.size == 1 else scales, name))
        return self.real(value, name, "", 0)

    def value(self, name: str) -> npt.NDArray[Any]:
        if name not in self.constants:
            raise UserError(f"{self.path}: {self.node.name or self.node.output[0]}: its scale {name} is computed.")
        return array_of(self.constants[name], self.path)

    def result(self, kind: str, inputs: list[str], ends: list[str]) -> None:
        out = self.node.output[0]
        made = onnx.helper.make_node(kind, inputs, [f"{out}_float"], self.node.name)
        made.attribute.extend(a for a in self.node.attribute if a.name not in _OURS)
        self.nodes += [made, onnx.helper.make_node("QuantizeLinear", [f"{out}_float", *ends], [out])]
