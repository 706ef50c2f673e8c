"""A PyTorch network from the user's own code: `file.py:factory` or `pkg.mod:factory`, and its weights."""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import torch
from torch import nn

from secateur.compiler.frontends.weights_file import load_weights
from secateur.errors import UserError
from secateur.models.canonical import to_network
from secateur.models.network import Network
from secateur.models.preprocess import Preprocess

log = logging.getLogger(__name__)

T = TypeVar("T")
_EXTRAS = ("input_shape", "labels", "mean", "std")


def load_torch(
    spec: str,
    weights: Path | None = None,
    input_shape: tuple[int, ...] | None = None,
    labels: tuple[str, ...] = (),
    cut_at: str | None = None,
    preprocess: Preprocess | None = None,
) -> Network:
    """Call the factory, load the weights, make the network canonical.

    The factory takes no arguments and returns a module, or a module and a dict of any of `input_shape`, `labels`,
    `mean`, `std`; what the caller gives wins. Without weights the module stays as the factory (under seed 0) made it.

    Raises:
        UserError: code or weights that do not load, no input shape, or see `to_network`.
    """
    source, factory = _parts(spec)
    with _user_code(source):
        made = _made(source, factory, spec)
    module, extras = made if isinstance(made, tuple) and len(made) == 2 else (made, {})
    if not isinstance(module, nn.Module) or not isinstance(extras, dict):
        raise UserError(
            f"{spec}: returns a {type(made).__name__}; a torch.nn.Module, or a module and a dict, is expected."
        )
    unknown = sorted(map(str, set(extras) - set(_EXTRAS)))
    if unknown:
        raise UserError(f"{spec}: its dict holds {', '.join(unknown)}; known are {', '.join(_EXTRAS)}.")
    module = _plain(module)
    if weights is not None:
        load_weights(module, Path(weights))
    else:
        log.warning("%s: no --weights, the network is as its factory makes it", spec)
    shape = input_shape or _numbers(extras, "input_shape", int, spec)
    if not shape:
        raise UserError(
            f"{spec}: the input's shape is unknown. Give --input-shape with the batch of 1 in front, such as 1,3,32,32."
        )
    if preprocess is None:
        preprocess = Preprocess(_numbers(extras, "mean", float, spec), _numbers(extras, "std", float, spec))
    labels = labels or _numbers(extras, "labels", str, spec)
    with _user_code(source):  # its forward runs
        return to_network(module, shape, source_name(spec), labels, preprocess, cut_at=cut_at)


def _plain(module: nn.Module) -> nn.Module:
    """The module that DataParallel or torch.compile wraps."""
    while True:
        parallel = isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel)
        inner = getattr(module, "module" if parallel else "_orig_mod", None)
        if not isinstance(inner, nn.Module):
            return module
        module = inner


def _numbers(extras: dict[str, Any], key: str, kind: Callable[[Any], T], spec: str) -> tuple[T, ...]:
    try:
        return tuple(kind(v) for v in extras.get(key, ()))
    except (TypeError, ValueError) as error:
        raise UserError(f"{spec}: {key} {extras[key]!r} is no sequence of the right type: {error}.") from error


def source_name(spec: str) -> str:
    """What the network is called: the file or module that its factory is in.

    >>> source_name("nets/watch.py:factory"), source_name("my.models:build")
    ('watch', 'models')
    """
    source = spec.rpartition(":")[0]
    return Path(source).stem if source.endswith(".py") else source.rpartition(".")[2]


def _parts(spec: str) -> tuple[Path | str, str]:
    """The file, or the dotted module, and the factory's name."""
    source, colon, factory = spec.rpartition(":")
    if not colon:
        source, factory = spec, ""
    if source.endswith(".py"):
        path = Path(source)
        if not path.is_file():
            raise UserError(f"{path}: no such file. MODEL is file.py:FACTORY, from this folder.")
        if not factory:
            raise UserError(f"{path}: name the function that makes the network: {path}:FACTORY.")
        return path, factory
    if not factory or not source:
        raise UserError(f"{spec}: name the function that makes the network, as in file.py:FACTORY.")
    return source, factory


@contextlib.contextmanager
def _user_code(source: Path | str) -> Iterator[None]:
    """The file's folder is importable, and what the code prints goes to stderr: stdout is for results.

    Modules of that folder are forgotten afterwards, so that another folder's of the same name are not taken for them.
    """
    folder = str(source.resolve().parent) if isinstance(source, Path) else str(Path.cwd())
    before = set(sys.modules)
    sys.path.insert(0, folder)
    try:
        with contextlib.redirect_stdout(sys.stderr), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            yield
    finally:
        sys.path.remove(folder)
        for name in set(sys.modules) - before:
            top = Path(folder) / name.split(".")[0]
            if isinstance(source, Path) and (top.is_dir() or top.with_suffix(".py").is_file()):
                del sys.modules[name]
        importlib.invalidate_caches()


def _made(source: Path | str, factory: str, spec: str) -> Any:
    module = _guarded(spec, "importing it", lambda: _imported(source))
    found = getattr(module, factory, None)
    if found is None:
        names = [n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module.__name__]
        raise UserError(f"{spec}: no {factory} in {source}; it defines {', '.join(names) or 'no function'}.")
    if isinstance(found, nn.Module):
        return found
    if not callable(found):
        raise UserError(f"{spec}: {factory} is a {type(found).__name__}, a function or class is expected.")
    return _guarded(spec, f"{factory}()", found)


def _imported(source: Path | str) -> ModuleType:
    if isinstance(source, str):
        return importlib.import_module(source)
    name = f"secateur_user_{source.stem}"
    module = ModuleType(name)
    module.__file__ = str(source.resolve())
    sys.modules[name] = module  # dataclasses look their module up there
    # Compiled here: Python's cache compares whole seconds, and a file may change twice in one
    exec(compile(source.read_bytes(), module.__file__, "exec"), vars(module))
    return module


def _guarded(spec: str, what: str, call: Callable[[], T]) -> T:
    try:
        return call()
    except (Exception, SystemExit) as error:  # whatever the user's code raises is the user's to mend
        frames = traceback.extract_tb(error.__traceback__)
        at = next((f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames) if f.filename != __file__), "")
        at = at if not at.startswith("<frozen") else ""
        reason = " ".join(str(error).split())[:200]
        place = f" at {at}" if at else ""
        raise UserError(f"{spec}: {what} raised {type(error).__name__}{place}: {reason}.") from error
