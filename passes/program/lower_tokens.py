"""What the modules of transformers become in int8 TFLite.

Layer norm is MEAN, SUB, L2_NORMALIZATION: x less its mean, divided by its length, is the norm divided by the root of
the number of channels. That root, the gain and the bias go into the convolutions of kernel 1 that read it, or are a
depthwise convolution of kernel 1. docs/transformers.md has the other ways and their accuracies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import fx, nn

from secateur.models.canonical_ops import same_size_padding
from secateur.models.program import Options
from secateur.models.tokens import Attention, Bias, ChannelNorm, Tokens

if TYPE_CHECKING:
    from secateur.passes.program.lower import _Lowering


def lower(to: _Lowering, node: fx.Node, module: nn.Module) -> int:
    """The tensor of `node`."""
    if isinstance(module, Attention):
        return _attention(to, node, module)
    source, shape = to.source(node), to.out_shape(node)
    if isinstance(module, Tokens):
        return to.emit("RESHAPE", [source], shape, node.name, Options())
    values = module.bias.detach().cpu().numpy()  # type: ignore[operator]
    if isinstance(module, Bias):
        values = values - values.mean(0) if node in to.centred else values
        constant = to.constant(f"{node.name}_values", values.T.reshape(shape))
        return to.emit("ADD", [source, constant], shape, node.name, Options())
    assert isinstance(module, ChannelNorm)
    return _channel_norm(to, node, module)


def _channel_norm(to: _Lowering, node: fx.Node, module: ChannelNorm) -> int:
    source, shape = to.source(node), to.out_shape(node)
    if len(shape) == 2:
        source = to.emit("RESHAPE", [source], (1, 1, 1, shape[1]), f"{node.name}_in", Options())
        out = _norm_of(to, node, module, source, f"{node.name}_out")
        return to.emit("RESHAPE", [out], shape, node.name, Options())
    return _norm_of(to, node, module, source, node.name)


def _norm_of(to: _Lowering, node: fx.Node, module: ChannelNorm, source: int, name: str) -> int:
    shape = to.tensors[source].shape
    channels = shape[-1]
    centred = source
    if node.args[0] not in to.centred:
        axes = to.constant(f"{name}_axes", np.array([len(shape) - 1], np.int32), "int32")
        mean = to.emit("MEAN", [source, axes], (*shape[:-1], 1), f"{name}_mean", Options(keep_dims=True))
        centred = to.emit("SUB", [source, mean], shape, f"{name}_centred", Options())
    unit = to.emit("L2_NORMALIZATION", [centred], shape, f"{name}_unit", Options())
    gain = module.weight.detach().cpu().numpy() * np.float32(np.sqrt(channels))
    shift = module.bias.detach().cpu().numpy()
    if all(_takes_gain(to, user) for user in node.users):
        to.gains[unit] = (gain.astype(np.float32), shift)
        return unit
    weights = to.constant(f"{name}_weights", gain.astype(np.float32).reshape(1, 1, 1, -1))
    bias = to.constant(f"{name}_bias", shift)
    return to.emit("DEPTHWISE_CONV_2D", [unit, weights, bias], shape, name, Options())


def _takes_gain(to: _Lowering, user: fx.Node) -> bool:
    """Gain and bias are exact in front of a convolution of kernel 1 without padding."""
    module = to.network.module.get_submodule(str(user.target)) if user.op == "call_module" else None
    return (
        isinstance(module, (nn.Conv1d, nn.Conv2d))
        and module.groups == 1
        and all(k == 1 for k in module.kernel_size)
        and not any(map(any, same_size_padding(module)))
    )


def _attention(to: _Lowering, node: fx.Node, module: Attention) -> int:
    name, heads = node.name, module.heads
    q, k, v = (_by_head(to, to.source(node, i), heads, f"{name}_{role}") for i, role in enumerate("qkv"))
    queries, keys, depth = to.tensors[q].shape[2], to.tensors[k].shape[2], to.tensors[v].shape[3]
    square = (1, heads, queries, keys)
    scores = to.emit("BATCH_MATMUL", [q, k], square, f"{name}_scores", Options(adjoint=(False, True)))
    weights = to.emit("SOFTMAX", [scores], square, f"{name}_weights", Options(beta=module.scale))
    mixed = to.emit("BATCH_MATMUL", [weights, v], (1, heads, queries, depth), f"{name}_mixed", Options())
    shape = to.out_shape(node)
    if heads > 1:
        turned = (1, queries, heads, depth)
        mixed = to.emit("TRANSPOSE", [mixed], turned, f"{name}_turned", Options(permutation=(0, 2, 1, 3)))
    return to.emit("RESHAPE", [mixed], shape, name, Options()) if to.tensors[mixed].shape != shape else mixed


def _by_head(to: _Lowering, source: int, heads: int, name: str) -> int:
    """(1, 1, l, heads * d) as (1, heads, l, d)."""
    _, _, length, channels = to.tensors[source].shape
    if heads == 1:
        return source
    split = (1, length, heads, channels // heads)
    parts = to.emit("RESHAPE", [source], split, f"{name}_heads", Options())
    shape = (1, heads, length, channels // heads)
    return to.emit("TRANSPOSE", [parts], shape, name, Options(permutation=(0, 2, 1, 3)))
