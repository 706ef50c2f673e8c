"""The modules of transformers in ONNX: each is a few operators."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper
from torch import nn

from secateur.models.tokens import Attention, Bias, ChannelNorm, Tokens

TOKEN_MODULES = (Tokens, Bias, ChannelNorm, Attention)
Shape = tuple[int, ...]


class _Writer:
    def __init__(self, name: str, target: str) -> None:
        self.name, self.target = name, target
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, npt.NDArray[Any]] = {}

    def add(self, kind: str, inputs: list[str], to: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [to], name=to, **attributes))
        return to

    def between(self, kind: str, inputs: list[str], role: str, **attributes: Any) -> str:
        return self.add(kind, inputs, f"{self.name}_{role}", **attributes)

    def constant(self, role: str, values: npt.ArrayLike, dtype: Any = np.float32) -> str:
        self.constants[f"{self.target}.{role}"] = np.asarray(values, dtype)
        return f"{self.target}.{role}"


def token_nodes(
    name: str, target: str, module: nn.Module, inputs: list[str], output: str, shapes: list[Shape]
) -> tuple[list[onnx.NodeProto], dict[str, npt.NDArray[Any]]]:
    """Operators and constants of one node. `shapes`: of its inputs and its output, without the batch."""
    w = _Writer(name, target)
    if isinstance(module, Tokens):
        w.add("Reshape", [inputs[0], w.constant("shape", (0, *shapes[-1]), np.int64)], output)
    elif isinstance(module, Bias):
        w.add("Add", [inputs[0], w.constant("bias", module.bias.detach().cpu().numpy())], output)
    elif isinstance(module, ChannelNorm):
        values = [w.constant(role, getattr(module, role).detach().cpu().numpy()) for role in ("weight", "bias")]
        rank = len(shapes[0]) + 1
        last = w.between("Transpose", inputs, "last", perm=[0, *range(2, rank), 1])
        norm = w.between("LayerNormalization", [last, *values], "norm", axis=-1, epsilon=module.eps)
        w.add("Transpose", [norm], output, perm=[0, rank - 1, *range(1, rank - 1)])
    else:
        assert isinstance(module, Attention)
        _attention(w, module, inputs, output, shapes)
    return w.nodes, w.constants


def _attention(w: _Writer, module: Attention, inputs: list[str], output: str, shapes: list[Shape]) -> None:
    heads = []
    for role, value, (channels, length) in zip("qkv", inputs, shapes, strict=False):
        split = (0, module.heads, channels // module.heads, length)
        shape = w.constant(f"{role}_shape", split, np.int64)
        heads.append(w.between("Reshape", [value, shape], f"{role}_heads"))
    q, k, v = heads
    turned = w.between("Transpose", [q], "q_turned", perm=[0, 1, 3, 2])
    products = w.between("MatMul", [turned, k], "products")
    scores = w.between("Mul", [products, w.constant("scale", module.scale)], "scores")
    weights = w.between("Softmax", [scores], "weights", axis=-1)
    mixed = w.between("MatMul", [v, w.between("Transpose", [weights], "w_turned", perm=[0, 1, 3, 2])], "mixed")
    w.add("Reshape", [mixed, w.constant("shape", (0, *shapes[-1]), np.int64)], output)
