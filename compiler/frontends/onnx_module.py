"""ONNX nodes as a torch module: constants folded, unsupported operators collected, weights as parameters."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx.reference import ReferenceEvaluator
from torch import nn

from secateur.compiler.frontends.onnx_cuts import advice, proposed
from secateur.compiler.frontends.onnx_operators import OPERATORS, Call, Refused, Step
from secateur.errors import UserError
from secateur.models.trace import named


def outer_values(node: onnx.NodeProto) -> set[str]:
    """What the subgraphs of If and Loop read from outside."""
    graphs = [a.g for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
    return {name for g in graphs for inner in g.node for name in inner.input}


def where(node: onnx.NodeProto) -> str:
    """The node's name for the user."""
    return node.name or (node.output[0] if node.output else node.op_type)


@dataclass(frozen=True)
class _Step:
    run: Step
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    where: str


class ImportedModule(nn.Module):
    """The network as torch code. Built by running it once, so every shape and constant is known."""

    def __init__(
        self,
        model: onnx.ModelProto,
        nodes: list[onnx.NodeProto],
        output: str,
        shape: tuple[int, ...],
        path: Path,
    ) -> None:
        super().__init__()
        graph = model.graph
        self.output = output
        self.steps: list[_Step] = []
        self.constants: dict[str, npt.NDArray[Any]] = {i.name: array_of(i, path) for i in graph.initializer}
        self.input = next(i.name for i in graph.input if i.name not in self.constants)
        self._opset = list(model.opset_import)
        self._inferred = _inferred_shapes(model, self.input, shape)
        self._values: dict[str, torch.Tensor | None] = {self.input: torch.zeros(shape)}  # None: unknown
        self._producers: dict[str, str] = {}
        problems, refused = [], []
        for node in nodes:
            try:
                self._add(node)
            except Refused as reason:
                domain = f"{node.domain}." if node.domain else ""
                what = f"{domain}{node.op_type}" + (f": {reason}" if str(reason) else "")
                problems.append(f"{where(node)} ({what})")
                refused.append(node)
                for name in node.output:
                    known = self._inferred.get(name)
                    self._values[name] = None if known is None else torch.zeros(known)
        if problems:
            raise UserError(
                f"{path}: {len(problems)} unsupported operator(s): {'; '.join(problems)}. "
                f"{advice(nodes, refused, self.input, self._may_end)} Supported are {', '.join(OPERATORS)}."
            )
        if output not in self._values:
            raise UserError(f"{path}: output {output} does not depend on the input.")
        if not self._may_end(output):
            others = proposed(nodes, [], self._may_end)
            raise UserError(
                f"{path}: output {output} has shape {self._shape(output)[1:]} per sample, one dimension (classes) "
                f"expected. Add a Flatten, or end it earlier with --cut-at {others[-1] if others else 'NAME'}."
            )
        del self._values, self._inferred

    def forward(self, x: Any) -> Any:
        values = {self.input: x}
        for step in self.steps:
            with named(step.where):
                result = step.run(*(values[i] for i in step.inputs))
            results = result if isinstance(result, (tuple, list)) else (result,)
            values.update(zip(step.outputs, results, strict=False))
        return values[self.output]

    def _add(self, node: onnx.NodeProto) -> None:
        """Fold `node` into the constants, or make it a step."""
        names = [str(i) for i in node.input]
        present = [i for i in names if i]
        if node.op_type in ("Shape", "Size") and names[0] in self._values:
            self._measure(node, names[0])
            return
        if all(i in self.constants for i in present) and not outer_values(node):
            self.constants.update(fold_node(node, self.constants, self._opset))
            return
        if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
            raise Refused
        if any(self._values.get(i, self) is None for i in present):
            self._values.update(dict.fromkeys(node.output))  # behind an operator that is already listed
            return
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        inputs = tuple(None if not i else self.constants[i] if i in self.constants else self._shape(i) for i in names)
        call = Call(
            node.op_type,
            attributes,
            inputs,
            len(node.output),
            self._producers.get(names[0], ""),
            lambda module: self._own(module, node),
            next((o.version for o in self._opset if o.domain in ("", "ai.onnx")), 0),
        )
        run = OPERATORS[node.op_type](call)
        moving = tuple(i for i in names if i in self._values)
        try:
            with torch.no_grad():
                result = run(*(self._known(i) for i in moving))
        except RuntimeError as error:
            raise Refused(str(error).split("\n")[0]) from error
        results = result if isinstance(result, (tuple, list)) else (result,)
        outputs = tuple(str(o) for o in node.output)
        self._values.update(zip(outputs, results, strict=False))
        self._producers.update(dict.fromkeys(outputs, node.op_type))
        self.steps.append(_Step(run, moving, outputs, where(node)))

    def _shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._known(name).shape)

    def _may_end(self, name: str) -> bool:
        """Is the value one row a sample, in the file's order?"""
        value = self._values.get(name)
        return name != self.input and value is not None and value.ndim == 2

    def _known(self, name: str) -> torch.Tensor:
        value = self._values.get(name)
        if value is None:
            raise Refused(f"its input {name} is given by nothing")
        return value

    def _measure(self, node: onnx.NodeProto, name: str) -> None:
        value = self._values[name]
        if value is None:
            self._values.update(dict.fromkeys(node.output))
            return
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        dims = list(self._shape(name))[attributes.get("start", 0) : attributes.get("end")]
        given = np.array(dims if node.op_type == "Shape" else math.prod(value.shape), dtype=np.int64)
        self.constants[node.output[0]] = given

    def _own(self, module: nn.Module, node: onnx.NodeProto) -> nn.Module:
        """Register `module` under its weight's name where that is a path, else under the node's."""
        taken = {path for path, _ in self.named_modules()}
        stem = str(node.input[1]).removesuffix(".weight")
        for path in (stem, re.sub(r"\W+", "_", node.name).strip("_"), f"{node.op_type}_{len(self.steps)}"):
            free = re.fullmatch(r"\w+(\.\w+)*", path) and path not in taken and not hasattr(self, path)
            if free and not any(self._holds(path.rsplit(".", i)[0]) for i in range(1, path.count(".") + 1)):
                break
        parent: nn.Module = self
        *above, last = path.split(".")
        for part in above:
            if not hasattr(parent, part):
                parent.add_module(part, nn.Module())
            parent = parent.get_submodule(part)
        parent.add_module(last, module.eval())  # in training mode the first run would move statistics
        return module

    def _holds(self, path: str) -> bool:
        """A module with weights, or another attribute, is already there."""
        found: Any = self
        for part in path.split("."):
            found = getattr(found, part, None)
            if found is None:
                return False
        return type(found) is not nn.Module


def fold_node(
    node: onnx.NodeProto, constants: dict[str, npt.NDArray[Any]], opset: list[onnx.OperatorSetIdProto]
) -> dict[str, npt.NDArray[Any]]:
    """The outputs of a node that reads `constants` alone. Raises Refused."""
    inputs = [i for i in node.input if i]
    graph = onnx.helper.make_graph(
        [node],
        "one",
        [onnx.helper.make_value_info(i, _type_of(constants[i])) for i in dict.fromkeys(inputs)],
        [onnx.helper.make_value_info(o, onnx.TypeProto()) for o in node.output if o],
    )
    model = onnx.helper.make_model(graph, opset_imports=opset)
    try:
        results = ReferenceEvaluator(model).run(None, {i: constants[i] for i in inputs})
    except Exception as error:  # the reference evaluator raises many kinds, all about this node
        raise Refused(f"of constants: {str(error).strip().split(chr(10))[0]}") from error
    return dict(zip([o for o in node.output if o], map(np.asarray, results), strict=True))


def _type_of(value: npt.NDArray[Any]) -> onnx.TypeProto:
    return onnx.helper.make_tensor_type_proto(onnx.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)


def array_of(initializer: onnx.TensorProto, path: Path) -> npt.NDArray[Any]:
    """Its values. Raises UserError where there are more or fewer than its shape says."""
    try:
        return onnx.numpy_helper.to_array(initializer)
    except (ValueError, TypeError, KeyError) as error:
        reason = f"data type {error} is unknown" if isinstance(error, KeyError) else error
        raise UserError(f"{path}: initializer {initializer.name}: {reason}. Is the file complete?") from error


def _inferred_shapes(model: onnx.ModelProto, name: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Shapes that ONNX itself can tell; used to go on behind an unsupported operator, to find the others."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for value in copy.graph.input:
        if value.name == name:
            value.type.CopyFrom(onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, shape))
    del copy.graph.value_info[:]
    try:
        copy = onnx.shape_inference.infer_shapes(copy, data_prop=True)
    except onnx.shape_inference.InferenceError:
        return {}
    found = {}
    for value in copy.graph.value_info:
        dims = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(d.HasField("dim_value") and d.dim_value >= 0 for d in dims):
            found[value.name] = tuple(d.dim_value for d in dims)
    return found
