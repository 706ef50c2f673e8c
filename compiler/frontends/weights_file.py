"""Weights into a module: safetensors, or a PyTorch checkpoint read without running its pickled code."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from secateur.errors import UserError

_INSIDE = ("state_dict", "model_state_dict", "model", "net", "weights")
_PREFIXES = ("module.", "_orig_mod.", "model.")  # DataParallel, torch.compile, Lightning


def load_weights(module: nn.Module, path: Path) -> None:
    """Fill every parameter and buffer of `module` from `path`.

    Raises:
        UserError: the file is missing, unreadable, needs pickled code, holds NaN, or its names and shapes differ.
    """
    given, own = _without_prefix(_read(path), module), module.state_dict()
    missing = [k for k in own if k not in given and not k.endswith("num_batches_tracked")]  # not in old files
    unexpected = [k for k in given if k not in own]
    sizes = [
        f"{k} {tuple(given[k].shape)} for {tuple(own[k].shape)}"
        for k in own
        if k in given and given[k].shape != own[k].shape
    ]
    wrong = [
        f"{len(names)} {what} ({_few(names)})"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another size", sizes))
        if names
    ]
    if wrong:
        raise UserError(f"{path}: does not fit the network: {', '.join(wrong)}. Is it the factory that was trained?")
    bad = [k for k, v in given.items() if v.is_floating_point() and not bool(torch.isfinite(v).all())]
    if bad:
        raise UserError(f"{path}: NaN or infinity in {len(bad)} tensors ({_few(bad)}). Take an earlier checkpoint.")
    module.load_state_dict(given, strict=False)


def _few(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:3]) + (", ..." if len(listed) > 3 else "")


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(f"{path}: no such file. Give --weights a .safetensors or .pt file.")
    size = path.stat().st_size
    try:
        if path.suffix == ".safetensors":
            return load_file(str(path))
        with path.open("rb") as file:
            magic = file.read(2)
        if magic not in (b"PK", b"\x80\x02"):  # a zip archive, or a pickle of protocol 2, as torch.save writes
            raise ValueError("neither a zip archive nor a pickle")
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path}: holds pickled Python objects, which would run code when read. "
            "Save weights only: torch.save(model.state_dict(), 'weights.pt')."
        ) from error
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(f"{path}: unreadable ({size} bytes): {reason}. Is the file complete?") from error
    return _state(content, path)


def _state(content: Any, path: Path) -> dict[str, Tensor]:
    for key in _INSIDE:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds a {type(content).__name__}, a state_dict is expected.")
    state = {str(k): v for k, v in content.items() if isinstance(v, Tensor)}
    if not state:
        raise UserError(f"{path}: no tensors among its keys ({_few(map(str, content))}); a state_dict is expected.")
    return state


def _without_prefix(state: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    own = module.state_dict()
    for prefix in _PREFIXES * 2:  # one may stand before the other, in either order
        if all(k.startswith(prefix) for k in state) and not any(k.startswith(prefix) for k in own):
            state = {k.removeprefix(prefix): v for k, v in state.items()}
    return state
