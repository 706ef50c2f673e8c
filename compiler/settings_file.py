"""`secateur.toml` beside the model: options of the command line, and the tables of `--preprocess`.

    target = "esp32"
    data = "recordings"
    max-ram = "64K"
    [source]
    rate = 50

The command line wins. Paths are from the file's folder.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from secateur.errors import UserError

SETTINGS = "secateur.toml"
TABLES = ("source", "resample", "features", "window", "image", "normalize", "decisions")
"""Of `--preprocess`: read where their values are understood (frontends/preprocess_file.py)."""

Kind = Literal["text", "number", "whole number", "yes or no", "path"]
KINDS: tuple[tuple[type, Kind], ...] = (
    (str, "text"), (Path, "path"), (bool, "yes or no"), (int, "whole number"), (float, "number"),
)  # fmt: skip
TAKEN: dict[Kind, tuple[str, tuple[type, ...]]] = {
    "text": ("text, a number or a list of numbers", (str, int, float, list)),
    "path": ("a path", (str,)),
    "number": ("a number", (int, float)),
    "whole number": ("a whole number", (int,)),
    "yes or no": ("true or false", (bool,)),
}
DATA, PREPROCESS = "data", "preprocess"


def settings_path(model: str) -> Path | None:
    """The settings beside MODEL where there are some; of `file.py:factory`, beside the file."""
    whole = Path(model)
    file = whole if whole.exists() else Path(model.rpartition(":")[0])
    path = file.parent / SETTINGS
    return path if file.name and file.exists() and path.is_file() else None


def read_settings(path: Path, known: Mapping[str, Kind]) -> dict[str, Any]:
    """What the file says, by option without its dashes; values as the command line's parser takes them.

    `known`: every option's kind. Raises UserError, one line, for whatever is wrong in it.
    """
    document = read_toml(path, "options of the command line as TOML are expected")
    tables = {name: value for name, value in document.items() if name in TABLES}
    strange = sorted(set(document) - set(tables) - set(known))
    if strange:
        raise UserError(
            f"{path}: unknown {', '.join(strange)}; options are {', '.join(sorted(known))}, tables {', '.join(TABLES)}"
        )
    values = {name: _value(path, name, value, known[name]) for name, value in document.items() if name not in tables}
    if tables:
        if PREPROCESS in values:
            raise UserError(f"{path}: names a file with {PREPROCESS}, and has [{next(iter(tables))}] itself; keep one")
        values[PREPROCESS] = str(path)
    return values


def read_toml(path: Path, wanted: str) -> dict[str, Any]:
    """What is in a TOML file. Raises UserError, one line, where there is none; it says what is `wanted`."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; {wanted}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        hint = '; texts stand in quotes, as in target = "esp32"' if "Invalid value" in str(error) else ""
        raise UserError(f"{path}: not TOML: {error}{hint}") from None


def _value(path: Path, name: str, value: Any, kind: Kind) -> Any:
    said, types = TAKEN[kind]
    wrong = not isinstance(value, types) or (isinstance(value, bool) and bool not in types)
    if isinstance(value, list):
        wrong = wrong or not value or not all(type(v) in (int, float) for v in value)
    if wrong:
        raise UserError(f"{path}: {name} is {value!r}; {said} is expected")
    if kind == "path" or (name == DATA and (path.parent / str(value).partition(":")[0]).exists()):
        return str(path.parent / value)
    if kind == "text":
        return ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return value
