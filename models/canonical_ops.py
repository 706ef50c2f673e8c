"""What each PyTorch operator becomes in the canonical vocabulary: a chain of modules, one after another.

Both tables are by type or name; whatever they do not hold is unsupported, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from secateur.models import canonical_activations
from secateur.models.activations import Unsqueeze
from secateur.models.affine import Affine
from secateur.models.network import Pad, Slice
from secateur.models.unsupported import Unsupported as Unsupported

Shape = tuple[int, ...]


def same_size_padding(conv: nn.Conv1d | nn.Conv2d) -> tuple[tuple[int, int], ...]:
    """(before, after) of each spatial dimension of a convolution, `same` and `valid` resolved."""
    if conv.padding == "valid":
        return tuple((0, 0) for _ in conv.kernel_size)
    if conv.padding == "same":
        totals = [d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size, strict=True)]
        return tuple((t // 2, t - t // 2) for t in totals)
    return tuple((int(p), int(p)) for p in conv.padding)


def _conv(conv: Any, shape: Shape) -> list[nn.Module]:
    rank = len(conv.kernel_size) + 1
    if len(shape) != rank:
        raise Unsupported(f"input {shape} has {len(shape)} dimensions without the batch, {rank} expected")
    if conv.padding_mode != "zeros" and any(map(any, same_size_padding(conv))):
        raise Unsupported(f"padding_mode={conv.padding_mode!r}; only zeros")
    padding = same_size_padding(conv)
    conv.padding_mode = "zeros"
    if all(before == after for before, after in padding):
        conv.padding = tuple(before for before, _ in padding)
        conv._reversed_padding_repeated_twice = [p for pair in reversed(padding) for p in pair]
        return [conv]
    conv.padding = tuple(0 for _ in padding)
    conv._reversed_padding_repeated_twice = [0] * 2 * len(padding)
    return [Pad(((0, 0), *padding)), conv]


def _linear(linear: Any, shape: Shape) -> list[nn.Module]:
    if len(shape) != 1:
        raise Unsupported(f"input {shape}; a Linear takes one dimension, flatten first")
    return [linear]


def _batch_norm(norm: Any, shape: Shape) -> list[nn.Module]:
    if norm.running_mean is None:
        raise Unsupported("no running statistics (track_running_stats=False)")
    kind = nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d
    if type(norm) is kind and norm.affine:
        return [norm]
    plain = kind(norm.num_features, eps=norm.eps, momentum=norm.momentum)
    with torch.no_grad():
        for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            value = getattr(norm, name, None)
            if value is not None:
                getattr(plain, name).copy_(value)
    return [plain]


def _hardtanh(module: Any, shape: Shape) -> list[nn.Module]:
    low, high = module.min_val, module.max_val
    if low == 0 and high == 6:
        return [nn.ReLU6()]
    if low == 0 and high >= 1e30:
        return [nn.ReLU()]
    if low == 0 and high == 1:  # Hardsigmoid is clamp(x / 6 + 1 / 2, 0, 1)
        factor, summand = torch.full((shape[0],), 6.0), torch.full((shape[0],), -3.0)
        return [Affine(factor, summand, "clamp"), nn.Hardsigmoid()]
    raise Unsupported(f"clamps to {low}..{high}; only 0..6 (ReLU6), 0..1 and 0..infinity (ReLU)")


def _tuple(value: Any, rank: int) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    return tuple(map(int, values * rank if len(values) == 1 else values))


def _pool(module: Any, shape: Shape) -> list[nn.Module]:
    rank = 2 if isinstance(module, (nn.MaxPool2d, nn.AvgPool2d)) else 1
    if len(shape) != rank + 1:
        raise Unsupported(f"input {shape} has {len(shape)} dimensions without the batch, {rank + 1} expected")
    size = shape[1:]
    kernel = _tuple(module.kernel_size, rank)
    stride = _tuple(module.stride, rank) if module.stride not in (None, [], ()) else kernel
    padding = _tuple(module.padding, rank)
    if any(d != 1 for d in _tuple(getattr(module, "dilation", 1), rank)):
        raise Unsupported(f"dilation {module.dilation}")
    if getattr(module, "return_indices", False):
        raise Unsupported("returns indices")
    if getattr(module, "divisor_override", None) is not None:
        raise Unsupported(f"divisor_override={module.divisor_override}")
    exact = [(n + 2 * p - k) % s == 0 for n, p, k, s in zip(size, padding, kernel, stride, strict=True)]
    partial = bool(module.ceil_mode) and not all(exact)
    average = isinstance(module, (nn.AvgPool1d, nn.AvgPool2d))
    if average and kernel == size and not any(padding):
        return [_global_average(rank)]
    if not average:
        if rank == 2:
            return [nn.MaxPool2d(kernel, stride, padding, ceil_mode=partial)]
        return [nn.MaxPool1d(kernel[0], stride[0], padding[0], ceil_mode=partial)]
    counted = bool(module.count_include_pad) and any(padding)
    if partial and counted:
        raise Unsupported("ceil_mode=True gives a partial last window on this input, and the padding is counted")
    kind: Any = nn.AvgPool2d if rank == 2 else nn.AvgPool1d
    return [kind(kernel, stride, padding, partial, counted if partial else module.count_include_pad)]


def _global_average(rank: int) -> nn.Module:
    return nn.AdaptiveAvgPool2d(1) if rank == 2 else nn.AdaptiveAvgPool1d(1)


def _adaptive(module: Any, shape: Shape) -> list[nn.Module]:
    rank = 2 if isinstance(module, (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)) else 1
    if len(shape) != rank + 1:
        raise Unsupported(f"input {shape} has {len(shape)} dimensions without the batch, {rank + 1} expected")
    average = isinstance(module, (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d))
    given = module.output_size if isinstance(module.output_size, (tuple, list)) else (module.output_size,) * rank
    size = tuple(n if o is None else int(o) for n, o in zip(shape[1:], given, strict=True))
    if size == shape[1:]:
        return []
    if any(n % o for n, o in zip(shape[1:], size, strict=True)):
        raise Unsupported(f"adaptive pooling from {shape[1:]} to {size}, which does not divide it")
    kernel = tuple(n // o for n, o in zip(shape[1:], size, strict=True))
    plain = [nn.AvgPool1d, nn.AvgPool2d] if average else [nn.MaxPool1d, nn.MaxPool2d]
    return _pool(plain[rank - 1](kernel if rank == 2 else kernel[0]), shape)


def _softmax(module: Any, shape: Shape) -> list[nn.Module]:
    dim = module.dim
    if dim is None:  # torch's own rule for a missing dim
        dim = 0 if len(shape) == 2 else 1
    if dim % (len(shape) + 1) != 1:
        raise Unsupported(f"softmax over dimension {dim} of {len(shape) + 1}; only the channels (1)")
    return [nn.Softmax(dim=1)]


def _pad_module(module: Any, shape: Shape) -> list[nn.Module]:
    rank = len(module.padding) // 2
    pairs = [(module.padding[2 * i], module.padding[2 * i + 1]) for i in range(rank)]
    return pad(shape, pairs, float(module.value))


def pad(shape: Shape, last_first: list[tuple[int, int]], value: float) -> list[nn.Module]:
    """A Pad from torch's order, last dimension first; negative amounts crop."""
    pairs = [(int(a), int(b)) for a, b in last_first]
    if len(pairs) > len(shape):
        if any(pairs[len(shape)]):
            raise Unsupported("pads the batch")
        pairs = pairs[: len(shape)]
    pairs += [(0, 0)] * (len(shape) - len(pairs))
    amounts = tuple(reversed(pairs))
    chain: list[nn.Module] = []
    if any(min(pair) < 0 for pair in amounts):
        cut = tuple((max(-a, 0), n - max(-b, 0), 1) for n, (a, b) in zip(shape, amounts, strict=True))
        chain.append(Slice(cut))
        amounts = tuple((max(a, 0), max(b, 0)) for a, b in amounts)
    if any(map(any, amounts)):
        chain.append(Pad(amounts, value))
    return chain


def index(shape: Shape, key: Any) -> list[nn.Module]:
    """A Slice from x[key]: slices and an ellipsis, the whole batch."""
    keys = list(key) if isinstance(key, tuple) else [key]
    if any(not (isinstance(k, slice) or k is Ellipsis) for k in keys):
        raise Unsupported("indexing with something else than slices")
    if Ellipsis in keys:
        at = keys.index(Ellipsis)
        keys[at : at + 1] = [slice(None)] * (len(shape) + 1 - (len(keys) - 1))
    keys += [slice(None)] * (len(shape) + 1 - len(keys))
    if keys[0] not in (slice(None), slice(0, None), slice(None, None, 1)):
        raise Unsupported("slices the batch")
    ranges = []
    for n, k in zip(shape, keys[1:], strict=True):
        begin, end, step = k.indices(n)
        ranges.append((begin, max(begin, end), step))
    if all(r == (0, n, 1) for r, n in zip(ranges, shape, strict=True)):
        return []
    return [Slice(tuple(ranges))]


def reduce(shape: Shape, dims: Any, maximum: bool) -> list[nn.Module]:
    """The pooling that stands for a mean or maximum over all spatial dimensions, dimensions kept."""
    rank = len(shape)
    over = sorted(d % (rank + 1) for d in (dims if isinstance(dims, (tuple, list)) else [dims]))
    if rank == 1 or over != list(range(2, rank + 1)):
        raise Unsupported(f"reduces dimensions {over} of {rank + 1}; only all behind the channels together")
    if not maximum:
        return [_global_average(rank - 1)]
    return [nn.MaxPool2d(shape[1:])] if rank == 3 else [nn.MaxPool1d(shape[1])]


def _same(module: Any, shape: Shape) -> list[nn.Module]:
    return [module]


def _new_relu(module: Any, shape: Shape) -> list[nn.Module]:
    return [nn.ReLU6() if isinstance(module, nn.ReLU6) else nn.ReLU()]


def _nothing(module: Any, shape: Shape) -> list[nn.Module]:
    return []


_BY_TYPE: tuple[tuple[tuple[type[nn.Module], ...], Callable[[Any, Shape], list[nn.Module]]], ...] = (
    ((nn.Conv1d, nn.Conv2d), _conv),
    ((nn.Linear,), _linear),
    ((nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm), _batch_norm),
    ((nn.ReLU6, nn.ReLU), _new_relu),
    ((nn.Hardtanh,), _hardtanh),
    ((nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d), _pool),
    ((nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d), _adaptive),
    ((nn.Softmax, nn.Softmax2d), _softmax),
    ((nn.ConstantPad1d, nn.ConstantPad2d, nn.ZeroPad1d, nn.ZeroPad2d), _pad_module),
    ((nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout), _nothing),
    ((Pad, Slice, Unsqueeze), _same),
    *canonical_activations.BY_TYPE,
)


def module_chain(module: nn.Module, shape: Shape) -> list[nn.Module]:
    """Canonical modules that together do what `module` does in eval mode on an input of `shape` (no batch).

    A weighted module that stays is the same object, changed where that is without effect.
    """
    for types, make in _BY_TYPE:
        if isinstance(module, types) and type(module).forward in [t.forward for t in types]:
            if isinstance(module, nn.Softmax2d):
                module = nn.Softmax(dim=1)
            return make(module, shape)
    raise Unsupported("")


def _conv_function(rank: int) -> Callable[..., nn.Module]:
    kind: Any = nn.Conv1d if rank == 1 else nn.Conv2d

    def make(
        weight: Tensor,
        bias: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> nn.Module:
        outputs, inputs, *kernel = weight.shape
        settings = {"padding": padding, "dilation": dilation, "groups": groups, "bias": bias is not None}
        conv: nn.Module = kind(inputs * groups, outputs, tuple(kernel), stride, **settings)
        return _filled(conv, weight=weight, bias=bias)

    return make


def _linear_function(weight: Tensor, bias: Any = None) -> nn.Module:
    return _filled(nn.Linear(weight.shape[1], weight.shape[0], bias is not None), weight=weight, bias=bias)


def _norm_function(
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> nn.Module:
    if running_mean is None or training:
        raise Unsupported("uses the batch's own statistics")
    norm = nn.BatchNorm2d(len(running_mean), eps=eps, momentum=momentum)
    return _filled(norm, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)


def _filled(module: nn.Module, **values: Any) -> nn.Module:
    with torch.no_grad():
        for name, value in values.items():
            if value is not None:
                getattr(module, name).copy_(value)
    return module


def _clamp(min: Any = None, max: Any = None) -> nn.Module:
    return nn.Hardtanh(float("-inf") if min is None else float(min), float("inf") if max is None else float(max))


def _max_pool_function(kind: Any) -> Callable[..., nn.Module]:
    def make(
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> nn.Module:
        pool: nn.Module = kind(kernel_size, stride, padding, dilation, return_indices, ceil_mode)
        return pool

    return make


def _softmax_function(dim: Any = None, _stacklevel: int = 3, dtype: Any = None) -> nn.Module:
    return nn.Softmax(dim)


_BY_NAME: dict[str, Callable[..., nn.Module]] = {
    "relu": lambda inplace=False: nn.ReLU(),
    "relu_": lambda: nn.ReLU(),
    "relu6": lambda inplace=False: nn.ReLU6(),
    "hardtanh": lambda min_val=-1.0, max_val=1.0, inplace=False: nn.Hardtanh(min_val, max_val),
    "clamp": _clamp,
    "clamp_": _clamp,
    "clip": _clamp,
    "clamp_min": _clamp,
    "max_pool1d": _max_pool_function(nn.MaxPool1d),
    "max_pool2d": _max_pool_function(nn.MaxPool2d),
    "avg_pool1d": nn.AvgPool1d,
    "avg_pool2d": nn.AvgPool2d,
    "adaptive_avg_pool1d": nn.AdaptiveAvgPool1d,
    "adaptive_avg_pool2d": nn.AdaptiveAvgPool2d,
    "adaptive_max_pool1d": nn.AdaptiveMaxPool1d,
    "adaptive_max_pool2d": nn.AdaptiveMaxPool2d,
    "softmax": _softmax_function,
    "conv1d": _conv_function(1),
    "conv2d": _conv_function(2),
    "linear": _linear_function,
    "batch_norm": _norm_function,
    **canonical_activations.BY_NAME,
}

PASS_THROUGH = {
    *("dropout", "dropout1d", "dropout2d", "alpha_dropout", "feature_dropout", "dropout_"),
    *("contiguous", "clone", "detach", "float", "to", "type", "type_as", "requires_grad_", "cpu", "identity"),
}


def function_chain(name: str, shape: Shape, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[nn.Module]:
    """The same for a function or method of one tensor: `args` and `kwargs` are what follows the tensor."""
    if name in PASS_THROUGH:
        return []
    if name in ("pad", "constant_pad_nd"):
        return _pad_function(shape, *args, **kwargs)
    if name == "getitem":
        return index(shape, *args)
    if name == "narrow":
        return _narrow(shape, *args, **kwargs)
    if name not in _BY_NAME:
        raise Unsupported("")
    return module_chain(_BY_NAME[name](*args, **kwargs), shape)


def _pad_function(
    shape: Shape, pad_: Any = (), mode: str = "constant", value: Any = 0.0, **more: Any
) -> list[nn.Module]:
    amounts = more.get("pad", pad_)
    if mode != "constant":
        raise Unsupported(f"pads with mode {mode!r}; only constant")
    pairs = [(amounts[i], amounts[i + 1]) for i in range(0, len(amounts), 2)]
    return pad(shape, pairs, float(value or 0.0))


def _narrow(shape: Shape, dim: int, start: int, length: int) -> list[nn.Module]:
    dim = dim % (len(shape) + 1)
    keys = [slice(None)] * (len(shape) + 1)
    keys[dim] = slice(start, start + length)
    return index(shape, tuple(keys))
