"""Weights that torch computes anew at every forward (weight_norm, spectral_norm, pruning masks) as plain parameters."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm, remove_spectral_norm
from torch.nn.utils.weight_norm import WeightNorm, remove_weight_norm

M = TypeVar("M", bound=nn.Module)


def copied(module: M) -> M:
    """A deep copy, of modules too that keep what an earlier forward has computed."""
    kept = [v for m in module.modules() for v in vars(m).values() if isinstance(v, Tensor) and v.grad_fn is not None]
    memo: dict[int, Any] = {id(v): v.detach().clone() for v in kept}
    return copy.deepcopy(module, memo)


def make_plain(module: nn.Module) -> None:
    """Every weight of `module`, in eval mode, becomes the parameter that its forward would use."""
    with torch.no_grad():
        for part in module.modules():
            for hook in list(part._forward_pre_hooks.values()):
                if isinstance(hook, WeightNorm):
                    remove_weight_norm(part, hook.name)
                elif isinstance(hook, SpectralNorm):
                    remove_spectral_norm(part, hook.name)
                elif isinstance(hook, prune.BasePruningMethod):
                    prune.remove(part, hook._tensor_name)  # type: ignore[no-untyped-call]
            if parametrize.is_parametrized(part):
                values = {name: getattr(part, name).clone() for name in part.parametrizations}  # type: ignore[union-attr]
                # torch's remove_parametrizations takes them from a class that the caller's module has too
                part.__class__ = type(part).__bases__[0]
                del part.parametrizations
                for name, value in values.items():
                    part.register_parameter(name, nn.Parameter(value))
