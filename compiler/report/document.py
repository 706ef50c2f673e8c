"""Report to `report.json` and back: one text for one report, checked against the JSON Schema both ways."""

from __future__ import annotations

import functools
import json
import math
import types
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import jsonschema  # type: ignore[import-untyped]

from secateur.compiler.report.record import Measured, Report
from secateur.errors import UserError

SCHEMA = Path(__file__).with_name("report.schema.json")
TRACED = ("baseline", "result", "steps")  # every number in these must say where it is from
DIGITS = 6


class ReportError(AssertionError):
    """The report contradicts its schema: our bug. Names the JSON pointer."""


def to_document(report: Report) -> dict[str, Any]:
    """The JSON document, in the schema's order. Floats are rounded to six significant digits."""
    provenance: dict[str, dict[str, str]] = {}
    document = _write(report, "", provenance)
    assert isinstance(document, dict)
    return {"schema": document.pop("schema"), **document, "provenance": provenance}


def to_json(report: Report) -> str:
    """The text of `report.json`: the same report gives the same bytes. Raises ReportError."""
    document = to_document(report)
    validate(document)
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def from_json(text: str) -> Report:
    """The report in `text`. Raises UserError where it is not a report of schema 1."""
    try:
        document = json.loads(text)
        validate(document)
    except (ValueError, ReportError) as error:
        raise UserError(f"report.json is not a report of schema 1: {error}. Run secateur compile again") from error
    report = _read(Report, document, "", document["provenance"])
    assert isinstance(report, Report)
    return report


def validate(document: Any) -> None:
    """Raise ReportError unless the schema holds and provenance names every number of TRACED."""
    error = jsonschema.exceptions.best_match(_validator().iter_errors(document))
    if error is not None:
        raise ReportError(f"/{'/'.join(map(str, error.absolute_path))}: {error.message}")
    numbers = dict(_numbers(document, ""))
    needed = {p for p in numbers if p.split("/")[1] in TRACED}
    named = set(document["provenance"])
    if needed - named:
        raise ReportError(f"{min(needed - named)}: a number without provenance")
    if named - numbers.keys():
        raise ReportError(f"{min(named - numbers.keys())}: provenance of what is no number")


@functools.cache
def _validator() -> Any:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def _numbers(value: Any, pointer: str) -> Iterator[tuple[str, float]]:
    """(JSON pointer, value) of every number."""
    if isinstance(value, dict):
        for key, item in value.items():
            if pointer or key != "provenance":
                yield from _numbers(item, f"{pointer}/{key}")
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _numbers(item, f"{pointer}/{i}")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield pointer, value


def _key(f: Field[Any]) -> str:
    return str(f.metadata.get("key", f.name))


def _write(value: Any, pointer: str, provenance: dict[str, dict[str, str]]) -> Any:
    """JSON value of a record; kind and source of every Measured go to `provenance`."""
    if isinstance(value, Measured):
        plain = _write(value.value, pointer, provenance)
        for leaf, _ in _numbers(plain, pointer):
            provenance[leaf] = {"kind": value.kind, "source": value.source}
        return plain
    if is_dataclass(value):
        return {_key(f): _write(getattr(value, f.name), f"{pointer}/{_key(f)}", provenance) for f in fields(value)}
    if isinstance(value, tuple):
        return [_write(item, f"{pointer}/{i}", provenance) for i, item in enumerate(value)]
    if value is None or isinstance(value, (str, bool)):
        return value
    # numpy's scalars are registered as Integral and Real, and json knows neither
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        if not math.isfinite(value):
            raise ReportError(f"{pointer}: {value} is no number; an unknown is None")
        return float(f"{float(value):.{DIGITS}g}")
    raise ReportError(f"{pointer}: a {type(value).__name__} has no place in a report")


def _read(kind: Any, value: Any, pointer: str, provenance: dict[str, dict[str, str]]) -> Any:
    """The record of type `kind` that `value` spells; the inverse of `_write`."""
    if value is None:
        return None
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (types.UnionType, Union):
        return _read(next(a for a in arguments if a is not type(None)), value, pointer, provenance)
    if origin is Measured:
        leaf = provenance[min(p for p, _ in _numbers(value, pointer))]
        return Measured(_read(arguments[0], value, pointer, provenance), leaf["kind"], leaf["source"])  # type: ignore[arg-type]
    if origin is tuple:
        return tuple(_read(arguments[0], item, f"{pointer}/{i}", provenance) for i, item in enumerate(value))
    if origin is Literal:
        return value
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        found = {
            f.name: _read(hints[f.name], value[_key(f)], f"{pointer}/{_key(f)}", provenance)
            for f in fields(kind)
            if _key(f) in value or f.default is MISSING
        }
        return kind(**found)  # type: ignore[operator]
    return value if kind is float else kind(value)  # JSON's 12 stays 12, so that text to text is the identity
