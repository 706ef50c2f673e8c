"""Multiply-accumulates that were really run, counted at each convolution and linear product as torch is called."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch.nn import functional
from torch.overrides import TorchFunctionMode

_COUNTED = (functional.conv1d, functional.conv2d, functional.linear)


class MacCounter(TorchFunctionMode):
    """Counts what runs inside `with`, in modules or not; norms, activations, pools and sums count nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: tuple[type, ...],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        if func in _COUNTED:  # the weight is (outputs, inputs of a group, ...) in all three
            self.macs += found.numel() * math.prod(args[1].shape[1:])
        return found
