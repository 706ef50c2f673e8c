"""`--preprocess FILE`: what lies between sensor and network, and between network and decision, as TOML.

The same tables may stand in `secateur.toml`, beside options. `compile` writes them to OUT as `preprocess.toml`,
complete.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

from secateur.compiler.settings_file import SETTINGS, TABLES, read_toml
from secateur.errors import UserError
from secateur.models.front_end.chain import FrontEnd
from secateur.models.front_end.decide import Decisions
from secateur.models.front_end.image import PIXEL_BYTES, ImageChain
from secateur.models.front_end.log_mel import LogMel
from secateur.models.front_end.mfcc import Mfcc
from secateur.models.front_end.micro import Micro
from secateur.models.front_end.reconstruct import MOST_THRESHOLD
from secateur.models.front_end.resample import Resample, resample_between
from secateur.models.front_end.stage import Features
from secateur.models.preprocess import AnyFrontEnd, Preprocess

NAME = "preprocess.toml"
STREAM_TABLES = ("source", "resample", "features", "window")
FEATURES: dict[str, type[Features]] = {"log-mel": LogMel, "mfcc": Mfcc, "micro": Micro}
KEEP_PERCENT = 99.0
COLOURS = ("rgb", "bgr", "grey")


@dataclass(frozen=True)
class _Reader:
    """One table of the file; an error names file, table and key."""

    where: str
    table: Mapping[str, Any]

    def known(self, *names: str) -> None:
        strange = sorted(set(self.table) - set(names))
        if strange:
            raise UserError(f"{self.where}: unknown {', '.join(strange)}; known: {', '.join(names)}")

    def hint(self, name: str) -> str:
        return " (without a network, whose input tells it)" if name in ("out-width", "out-height") else ""

    def take(self, name: str, kinds: tuple[type, ...], default: Any = None) -> Any:
        if name not in self.table:
            if default is None:
                raise UserError(f"{self.where}: {name} is missing{self.hint(name)}")
            return default
        value = self.table[name]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            wanted = " or ".join(
                {str: "text", int: "a whole number", float: "a number"}.get(k, k.__name__) for k in kinds
            )
            raise UserError(f"{self.where}: {name} is {value!r}; {wanted} is expected")
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{self.where}: {name} is {value!r}; a finite number is expected")
        return value

    def choose(self, name: str, known: tuple[str, ...], default: str | None = None) -> Any:
        value = self.take(name, (str,), default)
        if value not in known:
            raise UserError(f"{self.where}: {name} {value!r}; one of {', '.join(known)}")
        return value

    def numbers(self, name: str, default: tuple[float, ...]) -> tuple[float, ...]:
        value = self.table.get(name, list(default))
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) for v in values):
            raise UserError(f"{self.where}: {name} is {value!r}; a number, or a list with one a channel, is expected")
        return tuple(float(v) for v in values)


def read_preprocess(path: Path, input_shape: tuple[int, ...] = ()) -> Preprocess:
    """The preprocessing that a TOML file describes, for a network of `input_shape` (channels first) if that is known.

    Raises UserError, one line, for whatever is wrong in it.
    """
    return preprocess_of(_tables(path), str(path), input_shape)


def read_scaling(path: Path) -> Preprocess | None:
    """Mean and std alone, which a model is loaded with; None where the file has none."""
    document = _tables(path)
    return preprocess_of({"normalize": document["normalize"]}, str(path)) if "normalize" in document else None


def _tables(path: Path) -> dict[str, Any]:
    document = read_toml(path, "--preprocess takes a TOML file")
    if path.name == SETTINGS:
        document = {name: table for name, table in document.items() if name in TABLES}
    strange = sorted(set(document) - set(TABLES))
    if strange:
        raise UserError(f"{path}: unknown {', '.join(strange)}; tables are {', '.join(TABLES)}")
    return document


def preprocess_of(document: Mapping[str, Any], where: str, input_shape: tuple[int, ...] = ()) -> Preprocess:
    """The preprocessing of TOML's tables; those that are absent mean nothing is done there."""

    def table(name: str) -> _Reader:
        found = document.get(name, {})
        if not isinstance(found, dict):
            raise UserError(f"{where}: {name} is no table; write [{name}]")
        return _Reader(f"{where}: [{name}]", found)

    empty = [name for name in ("resample", "features") if document.get(name) == {}]
    if empty:
        raise UserError(f"{where}: [{empty[0]}] is empty; give its keys, or leave it out")
    normalize = table("normalize")
    normalize.known("mean", "std")
    mean, std = normalize.numbers("mean", ()), normalize.numbers("std", ())
    if bool(mean) != bool(std) or len(mean) != len(std):
        raise UserError(f"{where}: [normalize] needs mean and std, as many of each")
    if any(s <= 0 for s in std):
        raise UserError(f"{where}: [normalize]: every std must be above 0")
    front: AnyFrontEnd | None = None
    streams = [name for name in STREAM_TABLES if name in document]
    if "image" in document and streams:
        raise UserError(f"{where}: [image] is of pictures, [{streams[0]}] of a stream; keep one")
    if streams:
        front = _front_end(table, where)
    decisions = _decisions(table("decisions")) if "decisions" in document else Decisions()
    if "image" in document:
        front = _image(table("image"), input_shape)
        if decisions.reconstructs:
            raise UserError(f'{where}: [decisions]: kind "reconstruction" is for streams, not for pictures')
    return Preprocess(mean, std, front, decisions)


def _image(table: _Reader, input_shape: tuple[int, ...]) -> ImageChain:
    """What the file leaves out of the network's picture is the network's."""
    table.known("width", "height", "format", "crop", "resize", "order", "out-width", "out-height")
    known = len(input_shape) == 3 and input_shape[0] in (1, 3)
    if input_shape and not known:
        raise UserError(
            f"{table.where}: the network takes {'x'.join(map(str, input_shape))}, no picture of 1 or 3 channels; "
            "leave the table out"
        )
    channels, out_height, out_width = input_shape if known else (3, None, None)
    sizes = [table.take(name, (int,)) for name in ("height", "width")]
    sizes += [table.take(f"out-{name}", (int,), size) for name, size in (("height", out_height), ("width", out_width))]
    own = "grey" if channels == 1 else "rgb"
    order, out_order = table.choose("format", tuple(PIXEL_BYTES), "rgb"), table.choose("order", COLOURS, own)
    crop = table.choose("crop", ("centre", "none"), "centre")
    resize = table.choose("resize", ("nearest", "bilinear", "area"), "bilinear")
    try:
        chain = ImageChain(sizes[0], sizes[1], sizes[2], sizes[3], order, out_order, crop, resize)
        if known:
            chain.check(input_shape)
    except UserError as error:
        raise UserError(f"{table.where}: {str(error).removeprefix('image: ')}") from None
    return chain


def _front_end(table: Callable[[str], _Reader], where: str) -> FrontEnd:
    source, window, resample = table("source"), table("window"), table("resample")
    source.known("rate", "channels", "counts-per-unit")
    window.known("length", "hop", "detrend")
    rate = float(source.take("rate", (int, float)))
    if rate <= 0:
        raise UserError(f"{where}: [source]: rate {rate:g} Hz; it must be above 0")
    channels = source.take("channels", (int,), 1)
    if channels < 1:
        raise UserError(f"{where}: [source]: {channels} channels; one at least")
    resampler, inner = None, rate
    if resample.table:
        try:
            resampler = _resampler(resample, rate)
        except UserError as error:
            raise UserError(_located(str(error), where)) from None
        inner = rate if resampler is None else rate * resampler.up / resampler.down
    features = _features(table("features"), inner) if table("features").table else None
    length = window.take("length", (int,))
    detrend = window.take("detrend", (str,), "none")
    if detrend not in ("none", "mean", "linear"):
        raise UserError(f"{where}: [window]: detrend {detrend!r}; one of none, mean, linear")
    counts = source.numbers("counts-per-unit", (1.0,))
    hop = window.take("hop", (int,), max(1, length // 2))
    try:
        return FrontEnd(rate, channels, length, hop, counts, resampler, features, detrend)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _located(message: str, where: str) -> str:
    return message if message.startswith(where) else f"{where}: {message}"


def _resampler(table: _Reader, rate: float) -> Resample | None:
    known = ("rate", *(f.name.replace("_", "-") for f in fields(Resample)))
    table.known(*known)
    if "rate" in table.table:
        table.known("rate")
        return resample_between(rate, float(table.take("rate", (int, float))))
    up, down = table.take("up", (int,)), table.take("down", (int,))
    return Resample(
        up, down, table.take("zero-crossings", (int,), 12), float(table.take("attenuation-db", (int, float), 60.0))
    )


def _features(table: _Reader, rate: float) -> Features:
    kind = table.take("kind", (str,))
    if kind not in FEATURES:
        raise UserError(f"{table.where}: kind {kind!r}; one of {', '.join(FEATURES)}")
    record = FEATURES[kind]
    hints = get_type_hints(record)
    settings = {f.name.replace("_", "-"): f.name for f in fields(record) if f.init}  # type: ignore[arg-type]
    table.known("kind", *settings)
    given: dict[str, Any] = {"rate_hz": int(rate) if hints["rate_hz"] is int else rate} if "rate-hz" in settings else {}
    for name, value in table.table.items():
        if name != "kind":
            kinds = {int: (int,), float: (int, float), bool: (bool,)}.get(hints[settings[name]], (str,))
            value = table.take(name, kinds)
            given[settings[name]] = float(value) if float in kinds else value
    if "rate-hz" in table.table and not math.isclose(given["rate_hz"], rate, rel_tol=1e-4):
        raise UserError(f"{table.where}: rate-hz {given['rate_hz']:g}, but samples come at {rate:g} Hz; leave it out")
    missing = [n for n, f in settings.items() if f not in given and _required(record, f)]
    if missing:
        raise UserError(f"{table.where}: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing")
    try:
        return record(**given)
    except UserError as error:
        raise UserError(f"{table.where}: {error}") from None


def _required(record: type, name: str) -> bool:
    return next(f for f in fields(record) if f.name == name).default is MISSING


def _decisions(table: _Reader) -> Decisions:
    table.known("smooth", "threshold", "steps", "keep", "refractory", "background", "kind")
    smooth, refractory = table.take("smooth", (int,), 1), table.take("refractory", (int,), 0)
    if not 1 <= smooth <= 1000 or not 0 <= refractory <= 30000:
        raise UserError(f"{table.where}: smooth is 1 to 1000 windows, refractory 0 to 30000")
    background = table.take("background", (list,), [])
    if not all(isinstance(label, str) for label in background):
        raise UserError(f"{table.where}: background is {background!r}; a list of class names is expected")
    given = [name for name in ("threshold", "steps", "keep") if name in table.table]
    if len(given) > 1:
        raise UserError(f"{table.where}: {' and '.join(given)} do not go together; keep one")
    steps, real, keep = 0, None, None
    if "steps" in table.table:
        steps = table.take("steps", (int,))
        if steps < 0:
            raise UserError(f"{table.where}: steps {steps}; 0 at least, which tells every class")
    elif "threshold" in table.table:
        real = float(table.take("threshold", (int, float)))
    else:
        keep = float(table.take("keep", (int, float), KEEP_PERCENT))
        if not 0 < keep <= 100:
            raise UserError(f"{table.where}: keep {keep:g}; a percentage above 0, at most 100")
    kind = table.take("kind", (str,), "classes")
    if kind not in ("classes", "reconstruction"):
        raise UserError(f"{table.where}: kind {kind!r}; classes or reconstruction")
    most = MOST_THRESHOLD if kind == "reconstruction" else 255 * smooth + 1
    if steps > most:
        raise UserError(f"{table.where}: steps {steps}; {most} at most, which tells nothing")
    return Decisions(smooth, steps, refractory, tuple(background), real, keep, kind == "reconstruction")


def preprocess_text(pre: Preprocess) -> str:
    """`preprocess.toml`, from which `read_preprocess` makes an equal record."""
    lines = ["# What lies between sensor, network and decision; `--preprocess` takes it. Written by secateur."]
    front, how = pre.front_end, pre.decisions
    if isinstance(front, ImageChain):
        lines += _table("image", {
            "width": front.width, "height": front.height, "format": front.order, "crop": front.crop,
            "resize": front.resize, "order": front.out_order, "out-width": front.out_width,
            "out-height": front.out_height,
        })  # fmt: skip
    elif front is not None:
        lines += _table("source", {"rate": front.rate_hz, "channels": front.channels,
                                   "counts-per-unit": list(front.counts_per_unit)})  # fmt: skip
        if front.resampler is not None:
            lines += _table("resample", _settings(front.resampler))
        if front.features is not None:
            kind = next(name for name, record in FEATURES.items() if type(front.features) is record)
            lines += _table("features", {"kind": kind} | _settings(front.features))
        lines += _table("window", {"length": front.window, "hop": front.hop, "detrend": front.detrend})
    if pre.mean:
        lines += _table("normalize", {"mean": list(pre.mean), "std": list(pre.std)})
    if how != Decisions():
        first = {"kind": "reconstruction"} if how.reconstructs else {}
        rest = {"refractory": how.refractory, "background": list(how.background)}
        lines += _table("decisions", first | {"smooth": how.smooth, "steps": how.threshold} | rest)
    return "\n".join(lines) + "\n"


def _settings(record: Any) -> dict[str, Any]:
    return {f.name.replace("_", "-"): getattr(record, f.name) for f in fields(record) if f.init}


def _table(name: str, values: Mapping[str, Any]) -> list[str]:
    return ["", f"[{name}]", *(f"{key} = {_value(value)}" for key, value in values.items())]


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped) + '"'
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    return repr(value)
