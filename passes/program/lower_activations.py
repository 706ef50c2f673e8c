"""Activations as int8 TFLite operators.

SiLU is x * LOGISTIC(x). An ELU with alpha other than 1 is a LEAKY_RELU of slope alpha behind TFLite's ELU, which is
exact: ELU keeps the sign. Hardsigmoid is relu6(x + 3) * (1/6): the 3 goes into the bias of the layer in front where
there is one that nobody else reads. Measured with an ADD, or a depthwise convolution, in its place: within 0.1 dB of
47.5 dB, with an operator more (the network of `tests/compiler/test_export_activations.py`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import fx, nn

from secateur.models.program import Options

if TYPE_CHECKING:
    from secateur.passes.program.lower import _Lowering

_ONE_OPERATOR: dict[type[nn.Module], str] = {
    nn.Sigmoid: "LOGISTIC", nn.Tanh: "TANH", nn.Hardswish: "HARD_SWISH", nn.ELU: "ELU",
}  # fmt: skip
_BIASED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


def lower_activation(build: _Lowering, node: fx.Node, module: nn.Module) -> int:
    """The tensor of what one of `models/activations.py` gives for the node's argument."""
    source = build.source(node)
    out = _made(build, node, module, source)
    if source in build.unflattened:
        build.unflattened[out] = build.unflattened[source]
    return out


def _made(build: _Lowering, node: fx.Node, module: Any, source: int) -> int:
    shape, name = build.tensors[source].shape, node.name
    if isinstance(module, nn.SiLU):
        gate = build.emit("LOGISTIC", [source], shape, f"{name}_gate", Options())
        return build.emit("MUL", [source, gate], shape, name, Options())
    if isinstance(module, nn.Hardsigmoid):
        return _hardsigmoid(build, node, source)
    if isinstance(module, nn.LeakyReLU):
        return build.emit("LEAKY_RELU", [source], shape, name, Options(alpha=float(np.float32(module.negative_slope))))
    if isinstance(module, nn.ELU) and module.alpha != 1:
        inner = build.emit("ELU", [source], shape, f"{name}_inner", Options())
        return build.emit("LEAKY_RELU", [inner], shape, name, Options(alpha=float(np.float32(module.alpha))))
    if isinstance(module, nn.GELU):
        return build.emit("GELU", [source], shape, name, Options(approximate=module.approximate == "tanh"))
    if isinstance(module, nn.PReLU):
        return _prelu(build, node, module.weight, source)
    return build.emit(_ONE_OPERATOR[type(module)], [source], shape, name, Options())


def _hardsigmoid(build: _Lowering, node: fx.Node, source: int) -> int:
    shape, name, made = build.tensors[source].shape, f"{node.name}_times_6", build.only_use(node)
    if made is not None and made.kind in _BIASED and made.options.activation == "NONE":
        bias = build.tensors[made.inputs[2]].data
        assert bias is not None
        moved = build.constant(f"{name}_bias", (bias + np.float32(3)).astype(np.float32))
        options = replace(made.options, activation="RELU6")
        build.replace_op(made, replace(made, inputs=(*made.inputs[:2], moved), options=options), name)
        six = source
    else:
        three = build.constant(f"{name}_shift", np.array([3.0], np.float32))
        six = build.emit("ADD", [source, three], shape, name, Options(activation="RELU6"))
    sixth = build.constant(f"{node.name}_sixth", np.array([1 / 6], np.float32))
    return build.emit("MUL", [six, sixth], shape, node.name, Options())


def _prelu(build: _Lowering, node: fx.Node, weight: torch.Tensor, source: int) -> int:
    shape, slopes = build.tensors[source].shape, weight.detach().cpu().numpy().astype(np.float32)
    if len(slopes) > 1:
        build.refuse_unflattened(node, [source])
    alpha = build.constant(f"{node.name}_alpha", slopes.reshape(*[1] * (len(shape) - 2), -1))
    return build.emit("PRELU", [source, alpha], shape, node.name, Options())
