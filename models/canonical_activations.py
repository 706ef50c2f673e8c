"""What becomes of activations in the canonical vocabulary, by type and by function's name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from secateur.models.unsupported import Unsupported

Shape = tuple[int, ...]
Make = Callable[[Any, Shape], list[nn.Module]]


class Erf(nn.Module):
    """The error function: exists only while a graph is made canonical, as a part of GELU."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.erf(x)


def _plain(kind: type[nn.Module]) -> Make:
    """A new one without settings: `inplace` has no place in a graph."""
    return lambda module, shape: [kind()]


def _gelu(module: Any, shape: Shape) -> list[nn.Module]:
    if module.approximate not in ("none", "tanh"):
        raise Unsupported(f"approximate={module.approximate!r}; only none and tanh")
    return [nn.GELU(module.approximate)]


def _elu(module: Any, shape: Shape) -> list[nn.Module]:
    if not module.alpha > 0:
        raise Unsupported(f"alpha {module.alpha}; it must be positive")
    return [nn.ELU(float(module.alpha))]


def _leaky_relu(module: Any, shape: Shape) -> list[nn.Module]:
    if not module.negative_slope >= 0:
        raise Unsupported(f"negative_slope {module.negative_slope}; it may not be negative")
    return [nn.LeakyReLU(float(module.negative_slope)) if module.negative_slope else nn.ReLU()]


def _prelu(module: Any, shape: Shape) -> list[nn.Module]:
    if module.num_parameters not in (1, shape[0]):
        raise Unsupported(f"{module.num_parameters} slopes for {shape[0]} channels")
    return [module]


def _mish(module: Any, shape: Shape) -> list[nn.Module]:
    raise Unsupported("int8 TFLite has no softplus; train with SiLU or Hardswish")


def _prelu_function(weight: Tensor) -> nn.Module:
    module = nn.PReLU(weight.numel())
    with torch.no_grad():
        module.weight.copy_(weight.reshape(-1))
    return module


BY_TYPE: tuple[tuple[tuple[type[nn.Module], ...], Make], ...] = (
    ((nn.Sigmoid,), _plain(nn.Sigmoid)),
    ((nn.Hardsigmoid,), _plain(nn.Hardsigmoid)),
    ((nn.Tanh,), _plain(nn.Tanh)),
    ((nn.SiLU,), _plain(nn.SiLU)),
    ((nn.Hardswish,), _plain(nn.Hardswish)),
    ((nn.GELU,), _gelu),
    ((nn.ELU,), _elu),
    ((nn.LeakyReLU,), _leaky_relu),
    ((nn.PReLU,), _prelu),
    ((nn.Mish,), _mish),
    ((Erf,), _plain(Erf)),
)

BY_NAME: dict[str, Callable[..., nn.Module]] = {
    **dict.fromkeys(("sigmoid", "sigmoid_", "special_expit"), nn.Sigmoid),
    **dict.fromkeys(("tanh", "tanh_"), nn.Tanh),
    **dict.fromkeys(("hardsigmoid", "hardsigmoid_"), lambda inplace=False: nn.Hardsigmoid()),
    **dict.fromkeys(("hardswish", "hardswish_"), lambda inplace=False: nn.Hardswish()),
    **dict.fromkeys(("silu", "silu_"), lambda inplace=False: nn.SiLU()),
    **dict.fromkeys(("mish", "mish_"), lambda inplace=False: nn.Mish()),
    **dict.fromkeys(("elu", "elu_"), lambda alpha=1.0, inplace=False: nn.ELU(alpha)),
    **dict.fromkeys(
        ("leaky_relu", "leaky_relu_"), lambda negative_slope=0.01, inplace=False: nn.LeakyReLU(negative_slope)
    ),
    "gelu": lambda approximate="none": nn.GELU(approximate),
    "prelu": _prelu_function,
    **dict.fromkeys(("erf", "special_erf"), Erf),
}
