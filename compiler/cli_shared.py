"""What the commands share: MODEL with the settings beside it, a choice of words, and printing."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer

from secateur.compiler import options, settings_file
from secateur.errors import UserError

DATA_FILES = (".csv", ".npz", ".py")


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def print_json(document: Any) -> None:
    print(json.dumps(document, indent=2, sort_keys=True, allow_nan=False))


def settings_beside(context: typer.Context, model: str) -> str:
    """Take what `secateur.toml` beside MODEL says as this command's defaults; it may hold any option of `compile`."""
    path = settings_file.settings_path(model)
    if path is not None:
        known = _options_of(context.find_root().command.commands["compile"])  # type: ignore[attr-defined]
        found = settings_file.read_settings(path, {name: kind for name, (_, kind) in known.items()})
        own = {parameter.name for parameter in context.command.params}
        taken = {name: value for name, value in found.items() if known[name][0] in own}
        context.default_map = {known[name][0]: value for name, value in taken.items()}
        if taken:
            tables = taken.get(settings_file.PREPROCESS) == str(path)
            said = ["its tables" if name == settings_file.PREPROCESS and tables else name for name in taken]
            tell(f"taken from {path}: {', '.join(said)}")
    return model


def _options_of(command: Any) -> dict[str, tuple[str, settings_file.Kind]]:
    """A command's options by their long name without dashes: its parameter, and what it takes."""
    found = {}
    for parameter, hint in get_type_hints(inspect.unwrap(command.callback), include_extras=True).items():
        about = getattr(hint, "__metadata__", (None,))[0]
        if isinstance(about, typer.models.OptionInfo):
            given = (about.default, *(about.param_decls or ()))  # typer takes the first one for the default
            names = [n for n in given if isinstance(n, str) and n.startswith("--")]
            name = names[0].removeprefix("--") if names else parameter.replace("_", "-")
            kind = next(k for t, k in settings_file.KINDS if t in (get_args(hint.__origin__) or (hint.__origin__,)))
            found[name] = (parameter, kind)
    return found


ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help=options.MODEL_FORMS, is_eager=True, callback=settings_beside)
]


def choose(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UserError(f"{option} {value}: unknown; one of {', '.join(known)}")


def check_paths(model: str, data: str | None = None) -> None:
    """Raise UserError where a path that is named is not there: at once, for what reads it takes seconds to import."""
    if not _is_there(model):
        raise UserError(f"{_file_of(model)}: no such file. MODEL is {options.MODEL_FORMS.partition('. ')[0]}")
    if data is not None and not _is_there(data):
        if Path(_file_of(data)).suffix.lower() in DATA_FILES:
            raise UserError(f"{_file_of(data)}: no such file")
        raise UserError(f"{data}: no such folder; data is a{options.DATA_FORMS[1:]}")


def _is_there(spec: str) -> bool:
    """Also true of what is no path: zoo:NAME and package.module:factory."""
    file = _file_of(spec)
    return file.startswith("zoo:") or (":" in file and file == spec) or Path(file).exists()


def _file_of(spec: str) -> str:
    """The file of file.py:function, else all of it."""
    file = spec.rpartition(":")[0]
    return file if file.endswith(".py") else spec
