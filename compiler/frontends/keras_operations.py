"""Functions between Keras layers, such as `x / 255 - 1` or `a + b`: keras.ops of Keras 3, TFOpLambda of Keras 2."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch.nn.functional as F

from secateur.compiler.frontends.channels_last import ChannelsLast, Floats, Refused, Value, number

_NAMES = {
    "__operators__.add": "add", "math.add": "add", "math.subtract": "subtract", "math.multiply": "multiply",
    "math.truediv": "divide", "math.divide": "divide", "truedivide": "divide", "true_divide": "divide",
    "__operators__.sub": "subtract", "__operators__.mul": "multiply", "__operators__.truediv": "divide",
    "nn.relu": "relu", "nn.relu6": "relu6", "nn.softmax": "softmax", "compat.v1.nn.relu6": "relu6",
    "math.sigmoid": "sigmoid", "nn.sigmoid": "sigmoid", "math.tanh": "tanh", "nn.tanh": "tanh", "nn.elu": "elu",
    "nn.silu": "silu", "nn.swish": "silu", "swish": "silu", "hardsigmoid": "hard_sigmoid", "hardsilu": "hard_silu",
    "nn.leaky_relu": "leaky_relu", "leakyrelu": "leaky_relu", "nn.gelu": "tf_gelu",
    "math.reduce_mean": "mean", "reduce_mean": "mean", "concat": "concatenate", "math.negative": "negative",
}  # fmt: skip
_FIRST = ("x1", "x", "a", "tensor", "tensors", "values", "xs", "input_tensor", "features", "logits")
_SECOND = ("x2", "y", "b")


def operation_name(kind: str, config: dict[str, Any]) -> str:
    """What the function is called here."""
    name = str(config.get("function", "")) if kind == "TFOpLambda" else kind.lower()
    return _NAMES.get(name, name)


KNOWN = (
    *("add", "subtract", "multiply", "divide", "negative", "relu", "relu6", "softmax", "mean", "max", "amax"),
    *("reshape", "transpose", "concatenate", "sigmoid", "tanh", "silu", "hard_sigmoid", "hard_silu", "elu"),
    *("leaky_relu", "gelu", "tf_gelu"),
)


def apply(
    net: ChannelsLast, name: str, config: dict[str, Any], args: list[Any], kwargs: dict[str, Any], alone: bool
) -> Value:
    """The result of function `name`; among the arguments are Values and plain numbers."""
    given = {**config, **kwargs}
    operands = list(args)
    for names in (_FIRST, _SECOND):
        operands += [given[n] for n in names if n in given and given[n] is not None][:1]
    if not operands:
        raise Refused("reads nothing")
    if name in ("add", "subtract", "multiply", "divide"):
        if len(operands) != 2:
            raise Refused(f"{len(operands)} operands")
        return _arithmetic(net, name, operands[0], operands[1], alone)
    if name == "concatenate":
        items = operands[0]
        if not isinstance(items, list) or not all(isinstance(v, Value) for v in items):
            raise Refused("of a constant")
        return net.concatenate(items, _axis(given.get("axis", operands[1:2] or -1), len(items[0].shape)))
    x = operands[0]
    if not isinstance(x, Value):
        raise Refused("of a constant")
    if name in ("relu", "relu6", "sigmoid", "tanh", "silu", "hard_sigmoid", "hard_silu"):
        return net.activation(x, name)
    if name == "elu":
        alpha = number(given.get("alpha", (operands[1:] or [1.0])[0]), "alpha")
        return net.curve(x, lambda t: F.elu(t, alpha))
    if name == "leaky_relu":
        slope = number(given.get("negative_slope", given.get("alpha", (operands[1:] or [0.2])[0])), "negative_slope")
        return net.curve(x, lambda t: F.leaky_relu(t, slope))
    if name in ("gelu", "tf_gelu"):  # Keras approximates unless told otherwise, TensorFlow does not
        approximate = given.get("approximate", (operands[1:] or [name == "gelu"])[0])
        return net.activation(x, "gelu_tanh" if approximate else "gelu")
    if name == "negative":
        return net.affine(x, np.array(-1.0), np.array(0.0))
    if name == "softmax":
        if given.get("axis", -1) not in (-1, len(x.shape)):
            raise Refused(f"axis {given['axis']}")
        return net.softmax(x)
    if name in ("mean", "max", "amax"):
        axes = given.get("axis", operands[1] if len(operands) > 1 else None)
        listed = axes if isinstance(axes, list) else [axes]
        at = [_axis(a, len(x.shape)) for a in listed]
        return net.reduce(x, at, name != "mean", bool(given.get("keepdims", False)))
    shape = given.get("newshape", given.get("shape", given.get("axes", operands[1] if len(operands) > 1 else None)))
    if not isinstance(shape, list) or not shape or not all(v is None or type(v) is int for v in shape):
        raise Refused(f"by {shape!r}")
    if name == "reshape":
        return x.reshaped([-1 if v is None else v for v in shape[1:]])
    if shape[0] != 0:
        raise Refused(f"moves the batch: {shape}")
    return x.transposed([v - 1 for v in shape[1:]])


def _axis(axis: Any, rank: int) -> int:
    """An axis without the batch, from 0."""
    value = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
    if type(value) is not int or not -rank <= value <= rank or value == 0:
        raise Refused(f"axis {axis}")
    return value % (rank + 1) - 1


def _arithmetic(net: ChannelsLast, name: str, a: Any, b: Any, alone: bool) -> Value:
    if isinstance(a, Value) and isinstance(b, Value):
        if name not in ("add", "multiply"):
            raise Refused(f"{name} of two tensors; only their sum and product")
        return net.merge([a, b], name == "multiply")
    x, c, swapped = (a, _numbers(b), False) if isinstance(a, Value) else (b, _numbers(a), True)
    if not isinstance(x, Value):
        raise Refused("of constants")
    none, one = np.array(0.0), np.array(1.0)
    if name == "add":
        return net.affine(x, one, c, alone)
    if name == "subtract":
        return net.affine(x, -one, c, alone) if swapped else net.affine(x, one, -c, alone)
    if name == "multiply":
        return net.affine(x, c, none, alone)
    if swapped or not c.all():
        raise Refused("divides by a tensor, or by 0")
    return net.affine(x, 1.0 / c, none, alone)


def _numbers(value: Any) -> Floats:
    try:
        found = np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise Refused(f"a constant {value!r}") from error
    if found.size == 0 or not np.isfinite(found).all():
        raise Refused(f"a constant {value!r}")
    return found
