"""Keras layers of transformers: attention, a norm over the channels, linear layers with a bias for every token."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from secateur.compiler.frontends.channels_last import Floats, Refused, Value
from secateur.compiler.frontends.keras_use import Use, activated

PROJECTIONS = ("query", "key", "value", "attention_output")
"""The layers inside a MultiHeadAttention, in Keras's order."""
OTHER_MATHS = {
    "rms_scaling": "only the norm by mean and variance",
    "use_gate": "only attention without a gate",
}
"""Settings that make another layer of one, and what is read instead."""
_OPERANDS = ("query", "value", "key")
_MASKS = ("attention_mask", "query_mask", "value_mask", "key_mask", "use_causal_mask")


def layer_norm(use: Use) -> Value:
    axis, rank = use.config.get("axis", -1), len(use.x.shape)
    axes = list(axis) if isinstance(axis, (list, tuple)) else [axis]
    if axes not in ([-1], [rank]):
        raise Refused(f"axis {axis}; only the last, the channels of each token")
    gain, bias = (
        use.weight(name) if use.config.get(setting, True) else None
        for name, setting in (("gamma", "scale"), ("beta", "center"))
    )
    return use.net.layer_norm(use.x, gain, bias, use.number("epsilon", 1e-3))


def attention(use: Use) -> Value:
    """Self or cross attention; its projections become linear layers of all heads together."""
    query, value, key = _operands(use)
    heads, depth = (_count(use, name) for name in ("num_heads", "key_dim"))
    wide = _count(use, "value_dim") if use.config.get("value_dim") else depth
    _check_axes(use, query, value)
    if key.shape[:-1] != value.shape[:-1]:
        raise Refused(f"{math.prod(key.shape[:-1])} keys and {math.prod(value.shape[:-1])} values; one of each a token")
    ends = []
    for role, x, size in (("query", query, depth), ("key", key, depth), ("value", value, wide)):
        kernel, bias = _projection(use, role, (x.shape[-1], heads, size), 1)
        with use.net.part(role):
            ends.append(use.net.dense(x.reshaped((-1, x.shape[-1])), kernel, bias))
    with use.net.part("attention"):
        mixed = use.net.attention(ends, heads, depth**-0.5)
    width = _width(use, query.shape[-1])
    kernel, bias = _projection(use, "attention_output", (heads, wide, width), 2)
    with use.net.part("output"):
        return use.net.dense(mixed, kernel, bias).reshaped((*query.shape[:-1], width))


def _operands(use: Use) -> tuple[Value, Value, Value]:
    """Query, value and key of the call; the value is the key too where none is given."""
    given = dict(zip(_OPERANDS, use.args, strict=False)) | use.named
    if any(a is not None and a is not False for a in use.args[len(_OPERANDS) :]):
        raise Refused("called with more than query, value and key; only attention of all tokens to all")
    for name, argument in given.items():
        if name in _OPERANDS or argument is None or argument is False:
            continue
        if name in _MASKS:
            raise Refused(f"called with {name}; only attention of all tokens to all, call it without")
        raise Refused(f"called with {name}={argument!r:.20}; call it without")
    query, value = given.get("query"), given.get("value")
    key = value if given.get("key") is None else given["key"]
    if not isinstance(query, Value) or not isinstance(value, Value) or not isinstance(key, Value):
        raise Refused("its query, value and key are not all tensors of the network")
    if any(len(v.shape) < 2 for v in (query, value, key)):
        raise Refused("its query, value and key are not all (tokens, channels)")
    return query, value, key


def _count(use: Use, name: str) -> int:
    found = use.config.get(name)
    if type(found) is not int or found < 1:
        raise Refused(f"{name} {found!r}")
    return found


def _check_axes(use: Use, query: Value, value: Value) -> None:
    """Raise Refused where tokens attend to some of the tokens only: without `attention_axes` it is to all."""
    axes = use.config.get("attention_axes")
    if axes is None:
        return
    listed = list(axes) if isinstance(axes, (list, tuple)) else [axes]
    rank = len(value.shape)
    over = sorted(a if a >= 0 else rank + 1 + a for a in listed)
    if over != list(range(1, rank)) or len(query.shape) != rank:
        raise Refused(f"attention_axes {listed}; only all tokens, leave attention_axes out")


def _width(use: Use, default: int) -> int:
    """Channels of the output, by default those of the query."""
    given = use.config.get("output_shape")
    listed: list[Any] = list(given) if isinstance(given, (list, tuple)) else [given or default]
    if len(listed) != 1 or type(listed[0]) is not int:
        raise Refused(f"output_shape {given}; only one number, the channels of a token")
    return int(listed[0])


def _projection(use: Use, part: str, shape: tuple[int, int, int], inner: int) -> tuple[Floats, Floats | None]:
    """The kernel of `shape` as rows and columns, `inner` of its dimensions being rows, and its bias."""
    kernel = use.weight(f"{part}/kernel")
    if kernel.shape != shape:
        raise Refused(f"{part}/kernel is {_text(kernel.shape)}, not {_text(shape)}")
    bias = use.weight(f"{part}/bias") if use.config.get("use_bias", True) else None
    if bias is not None and bias.shape != shape[inner:]:
        raise Refused(f"{part}/bias is {_text(bias.shape)}, not {_text(shape[inner:])}")
    rows = math.prod(shape[:inner])
    return kernel.reshape(rows, -1), None if bias is None else bias.ravel()


def einsum_dense(use: Use) -> Value:
    """A linear layer over the last dimension; its bias may differ from token to token, as learned positions do."""
    equation = str(use.config.get("equation")).replace(" ", "")
    inputs, _, rest = equation.partition(",")
    kernel, _, outputs = rest.partition("->")
    whole, letters = "..." if "..." in inputs else "", inputs.replace("...", "")
    lead = letters[:-1]
    plain = len(kernel) == 2 and letters[-1:] == kernel[0] and len({*letters, *kernel}) == len(letters) + 1
    if (
        not plain
        or inputs != whole + letters
        or outputs != whole + lead + kernel[1]
        or (not whole and len(letters) != len(use.x.shape) + 1)
    ):
        raise Refused(f"equation {equation}; only a linear layer over the channels, such as abc,cd->abd")
    bias = use.weight("bias") if use.config.get("bias_axes") else None
    if bias is None or bias.ndim == 1:
        made = use.net.dense(use.x, use.weight("kernel"), bias)
    else:
        made = use.net.dense(use.x, use.weight("kernel"), None)
        with use.net.part("positions"):
            made = use.net.affine(made, np.array(1.0), bias)
    return activated(use, made)


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
