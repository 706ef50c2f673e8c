"""Keras layers, each as what it adds to a ChannelsLast network; weights by the names that Keras gives them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch.nn.functional as F

from secateur.compiler.frontends.channels_last import Floats, Refused, Value
from secateur.compiler.frontends.keras_tokens import PROJECTIONS, attention, einsum_dense, layer_norm
from secateur.compiler.frontends.keras_use import Use, activated, relu_name


def _rank(kind: str) -> int:
    return 1 if kind.endswith("1D") else 2


def _last(use: Use, v: Value) -> Value:
    """`v` channels last, whatever the layer's data_format."""
    form, rank = use.config.get("data_format") or "channels_last", len(v.shape)
    if form not in ("channels_last", "channels_first"):
        raise Refused(f"data_format {form!r}")
    return v if form == "channels_last" or rank < 2 else v.transposed([*range(1, rank), 0])


def _back(use: Use, v: Value) -> Value:
    rank = len(v.shape)
    if use.config.get("data_format") != "channels_first" or rank < 2:
        return v
    return v.transposed([rank - 1, *range(rank - 1)])


def _window(use: Use) -> tuple[list[int], str, list[int]]:
    """Strides, padding, dilation."""
    rank = _rank(use.kind)
    padding = use.config.get("padding", "valid")
    if not isinstance(padding, str):
        raise Refused(f"padding {padding!r}")
    return use.sizes("strides", rank), padding.lower(), use.sizes("dilation_rate", rank)


def _kernel(use: Use, name: str) -> Floats:
    kernel, rank = use.weight(name), _rank(use.kind)
    size = use.sizes("kernel_size", rank)
    if kernel.ndim != rank + 2 or list(kernel.shape[:rank]) != size:
        raise Refused(f"{name} is {kernel.shape}, kernel_size {size}")
    return kernel


def _convolution(use: Use) -> Value:
    strides, padding, dilation = _window(use)
    groups, bias = use.config.get("groups", 1), _bias(use)
    made = use.net.conv(_last(use, use.x), _kernel(use, "kernel"), bias, strides, padding, dilation, int(groups))
    return _back(use, activated(use, made))


def _bias(use: Use) -> Floats | None:
    return use.weight("bias") if use.config.get("use_bias", True) else None


def _depthwise(use: Use) -> Value:
    strides, padding, dilation = _window(use)
    kernel = _kernel(use, "depthwise_kernel")
    made = use.net.depthwise(_last(use, use.x), kernel, _bias(use), strides, padding, dilation)
    return _back(use, activated(use, made))


def _separable(use: Use) -> Value:
    strides, padding, dilation = _window(use)
    if padding == "causal":
        raise Refused("padding causal")
    kernel = _kernel(use, "depthwise_kernel")
    made = use.net.depthwise(_last(use, use.x), kernel, None, strides, padding, dilation)
    one = [1] * _rank(use.kind)
    made = use.net.conv(made, use.weight("pointwise_kernel"), _bias(use), one, "valid", one)
    return _back(use, activated(use, made))


def _dense(use: Use) -> Value:
    return activated(use, use.net.dense(use.x, use.weight("kernel"), _bias(use)))


def _batch_norm(use: Use) -> Value:
    axis, rank = use.config.get("axis", -1), len(use.x.shape)
    axes = axis if isinstance(axis, (list, tuple)) else [axis]
    if len(axes) != 1 or not isinstance(axes[0], int) or not -rank <= axes[0] <= rank or axes[0] == 0:
        raise Refused(f"axis {axis}")
    at = axes[0] % (rank + 1) - 1
    order = [*(i for i in range(rank) if i != at), at]
    made = use.net.batch_norm(
        use.x.transposed(order),
        use.weight("gamma") if use.config.get("scale", True) else None,
        use.weight("beta") if use.config.get("center", True) else None,
        use.weight("moving_mean"),
        use.weight("moving_variance"),
        use.number("epsilon", 1e-3),
        use.number("momentum", 0.99),
    )
    return made.transposed([int(i) for i in np.argsort(order)])


def _activation(use: Use) -> Value:
    return activated(use, use.x)


def _relu(use: Use) -> Value:
    slope = use.number("negative_slope", 0) if use.config.get("negative_slope") else 0.0
    if slope and use.config.get("max_value") is None and not use.config.get("threshold"):
        return use.net.curve(use.x, lambda t: F.leaky_relu(t, slope))
    return use.net.activation(use.x, relu_name(use.config))


def _leaky_relu(use: Use) -> Value:
    slope = use.number("alpha" if "alpha" in use.config else "negative_slope", 0.3)
    return use.net.curve(use.x, lambda t: F.leaky_relu(t, slope))


def _elu(use: Use) -> Value:
    alpha = use.number("alpha", 1.0)
    return use.net.curve(use.x, lambda t: F.elu(t, alpha))


def _prelu(use: Use) -> Value:
    return use.net.prelu(use.x, use.weight("alpha"))


def _softmax(use: Use) -> Value:
    axis, rank = use.config.get("axis", -1), len(use.x.shape)
    if axis not in (-1, rank):
        raise Refused(f"axis {axis}; only the last")
    return use.net.softmax(use.x)


def _pool(use: Use) -> Value:
    rank, padding = _rank(use.kind), use.config.get("padding", "valid")
    window = use.sizes("pool_size", rank, 2)
    strides = window if use.config.get("strides") is None else use.sizes("strides", rank)
    made = use.net.pool(_last(use, use.x), use.kind.startswith("Max"), window, strides, str(padding).lower())
    return _back(use, made)


def _global_pool(use: Use) -> Value:
    v, keep = _last(use, use.x), bool(use.config.get("keepdims", False))
    made = use.net.reduce(v, range(len(v.shape) - 1), "Max" in use.kind, keep)
    return _back(use, made) if keep else made


def _pairs(use: Use, name: str) -> list[tuple[int, int]]:
    """Padding or cropping: one number, one a dimension, or two a dimension."""
    value, rank = use.config.get(name, 1), _rank(use.kind)
    values = [value] * rank if isinstance(value, int) else value
    if rank == 1 and isinstance(value, (list, tuple)) and all(isinstance(v, int) for v in value):
        values = [value] if len(value) == 2 else value
    pairs = [(v, v) if isinstance(v, int) else tuple(v) for v in values]
    if len(pairs) != rank or any(len(p) != 2 or not all(type(n) is int and n >= 0 for n in p) for p in pairs):
        raise Refused(f"{name} {value!r}")
    return [(a, b) for a, b in pairs]


def _zero_padding(use: Use) -> Value:
    return _back(use, use.net.pad(_last(use, use.x), [*_pairs(use, "padding"), (0, 0)]))


def _cropping(use: Use) -> Value:
    v = _last(use, use.x)
    pairs = [*_pairs(use, "cropping"), (0, 0)]
    return _back(use, use.net.slice(v, [(a, n - b, 1) for n, (a, b) in zip(v.shape, pairs, strict=True)]))


def _center_crop(use: Use) -> Value:
    v = _last(use, use.x)
    size = [use.config.get("height"), use.config.get("width")]
    if len(v.shape) != 3 or any(not isinstance(s, int) or s > n for s, n in zip(size, v.shape, strict=False)):
        raise Refused(f"to {size[0]}x{size[1]}, which is larger than its input")
    starts = [(n - int(s or 0)) // 2 for n, s in zip(v.shape, size, strict=False)]
    ranges = [(a, a + int(s or 0), 1) for a, s in zip(starts, size, strict=True)]
    return _back(use, use.net.slice(v, [*ranges, (0, v.shape[-1], 1)]))


def _flatten(use: Use) -> Value:
    return _last(use, use.x).reshaped((-1,))


def _reshape(use: Use) -> Value:
    target = use.config.get("target_shape")
    if not isinstance(target, (list, tuple)) or not all(type(n) is int for n in target):
        raise Refused(f"target_shape {target!r}")
    return use.x.reshaped(target)


def _permute(use: Use) -> Value:
    dims = use.config.get("dims")
    if not isinstance(dims, (list, tuple)) or not all(type(n) is int for n in dims):
        raise Refused(f"dims {dims!r}")
    return use.x.transposed([d - 1 for d in dims])


def _merge(use: Use) -> Value:
    if len(use.inputs) < 2:
        raise Refused(f"reads {len(use.inputs)} tensor(s)")
    return use.net.merge(use.inputs, use.kind == "Multiply")


def _average(use: Use) -> Value:
    half = np.array(1.0 / len(use.inputs))
    return use.net.affine(_merge(use), half, np.array(0.0))


def _concatenate(use: Use) -> Value:
    axis, rank = use.config.get("axis", -1), len(use.inputs[0].shape)
    if not isinstance(axis, int) or not -rank <= axis <= rank or axis == 0:
        raise Refused(f"axis {axis}")
    return use.net.concatenate(use.inputs, axis % (rank + 1) - 1)


def _constant(value: Any, what: str) -> Floats:
    try:
        found = np.asarray(value.get("config", value)["value"] if isinstance(value, dict) else value, np.float64)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise Refused(f"{what} {value!r}") from error
    if not np.isfinite(found).all():
        raise Refused(f"{what} is not finite")
    return found


def _rescaling(use: Use) -> Value:
    scale, offset = (_constant(use.config.get(k, d), k) for k, d in (("scale", 1.0), ("offset", 0.0)))
    return use.net.affine(use.x, scale, offset, use.alone)


def _normalization(use: Use) -> Value:
    """(x - mean) / max(sqrt(variance), 1e-7), or the inverse of it."""
    axis, rank = use.config.get("axis", -1), len(use.x.shape)
    axes = [] if axis is None else list(axis) if isinstance(axis, (list, tuple)) else [axis]
    if any(not isinstance(a, int) for a in axes) or any(a % (rank + 1) != rank for a in axes):
        raise Refused(f"axis {axis}; only the last, or none")
    given = use.config.get("mean") is not None and use.config.get("variance") is not None
    mean, variance = (
        _constant(use.config[k], k) if given else use.weight(k).astype(np.float64) for k in ("mean", "variance")
    )
    std = np.maximum(np.sqrt(variance), 1e-7)
    if use.config.get("invert", False):
        return use.net.affine(use.x, std, mean, use.alone)
    return use.net.affine(use.x, 1.0 / std, -mean / std, use.alone)


def _nothing(use: Use) -> Value:
    return use.x


def _same_size(use: Use) -> Value:
    """A layer that cuts or resizes, where it changes nothing."""
    v = _last(use, use.x)
    if list(v.shape[:2]) != [use.config.get("height"), use.config.get("width")]:
        raise Refused("changes the size of the image; do that before the network")
    return use.x


Make = Callable[[Use], Value]
LAYERS: dict[str, Make] = {
    "Conv1D": _convolution,
    "Conv2D": _convolution,
    "DepthwiseConv1D": _depthwise,
    "DepthwiseConv2D": _depthwise,
    "SeparableConv1D": _separable,
    "SeparableConv2D": _separable,
    "Dense": _dense,
    "EinsumDense": einsum_dense,
    "MultiHeadAttention": attention,
    "BatchNormalization": _batch_norm,
    "LayerNormalization": layer_norm,
    "Activation": _activation,
    "ReLU": _relu,
    "LeakyReLU": _leaky_relu,
    "ELU": _elu,
    "PReLU": _prelu,
    "Softmax": _softmax,
    "MaxPooling1D": _pool,
    "MaxPooling2D": _pool,
    "AveragePooling1D": _pool,
    "AveragePooling2D": _pool,
    "GlobalAveragePooling1D": _global_pool,
    "GlobalAveragePooling2D": _global_pool,
    "GlobalMaxPooling1D": _global_pool,
    "GlobalMaxPooling2D": _global_pool,
    "ZeroPadding1D": _zero_padding,
    "ZeroPadding2D": _zero_padding,
    "Cropping1D": _cropping,
    "Cropping2D": _cropping,
    "CenterCrop": _center_crop,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Permute": _permute,
    "Add": _merge,
    "Multiply": _merge,
    "Average": _average,
    "Concatenate": _concatenate,
    "Rescaling": _rescaling,
    "Normalization": _normalization,
    "RandomCrop": _same_size,
    "Resizing": _same_size,
}
IDLE = (
    *("Dropout", "SpatialDropout1D", "SpatialDropout2D", "AlphaDropout", "GaussianDropout", "GaussianNoise"),
    *("ActivityRegularization", "InputLayer", "Identity", "RandomFlip", "RandomRotation", "RandomTranslation"),
    *("RandomZoom", "RandomContrast", "RandomBrightness", "RandomErasing", "RandomHue", "RandomSaturation"),
    *("RandomSharpness", "RandomShear", "RandomPerspective", "RandomColorJitter", "RandomGrayscale"),
    *("RandomGaussianBlur", "RandomColorDegeneration", "RandomInvert", "RandomPosterization", "RandomHeight"),
    *("RandomWidth",),
)
"""Layers that hand their input on outside of training."""
LAYERS |= dict.fromkeys(IDLE, _nothing)

TRAINED: dict[str, Sequence[str]] = {
    "Conv1D": ("kernel", "bias"),
    "Conv2D": ("kernel", "bias"),
    "Dense": ("kernel", "bias"),
    "DepthwiseConv1D": ("depthwise_kernel", "bias"),
    "DepthwiseConv2D": ("depthwise_kernel", "bias"),
    "SeparableConv1D": ("depthwise_kernel", "pointwise_kernel", "bias"),
    "SeparableConv2D": ("depthwise_kernel", "pointwise_kernel", "bias"),
    "BatchNormalization": ("gamma", "beta"),
    "LayerNormalization": ("gamma", "beta"),
    "PReLU": ("alpha",),
    "EinsumDense": ("kernel", "bias"),
    "MultiHeadAttention": tuple(f"{part}/{name}" for part in PROJECTIONS for name in ("kernel", "bias")),
}
"""Names of the weights that training moves, in Keras's order; in front of a slash the layer inside that holds it."""


def weight_names(kind: str, config: dict[str, Any]) -> tuple[list[str], list[str]]:
    """What a layer holds: (trained, not trained), each in the order in which Keras saves them."""
    absent = {
        name
        for name, setting in (("bias", "use_bias"), ("gamma", "scale"), ("beta", "center"))
        if not config.get(setting, True)
    }
    if kind == "EinsumDense" and not config.get("bias_axes"):
        absent.add("bias")
    trained = [name for name in TRAINED.get(kind, ()) if name.rpartition("/")[2] not in absent]
    if kind == "BatchNormalization":
        return trained, ["moving_mean", "moving_variance"]
    if kind == "Normalization" and (config.get("mean") is None or config.get("variance") is None):
        return trained, ["mean", "variance", "count"]
    return trained, []
