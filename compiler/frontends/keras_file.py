"""A Keras file to a trainable Network: .keras, whole .h5, or an architecture .json with its weights. No TensorFlow."""

from __future__ import annotations

import io
import json
import logging
import zipfile
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from secateur.compiler.frontends.channels_last import ChannelsLast
from secateur.compiler.frontends.h5_weights import read_weights
from secateur.compiler.frontends.keras_config import parse_config
from secateur.compiler.frontends.keras_module import KerasBuilder, sample_shape, settle_hard_sigmoid, unsupported
from secateur.errors import UserError
from secateur.models.canonical import to_network
from secateur.models.network import Network
from secateur.models.preprocess import Preprocess

log = logging.getLogger(__name__)

H5 = (".h5", ".hdf5")
MAX_BYTES = 1 << 30


def load_keras(
    path: Path,
    weights: Path | None = None,
    input_shape: tuple[int, ...] | None = None,
    labels: tuple[str, ...] = (),
    cut_at: str | None = None,
    preprocess: Preprocess | None = None,
) -> Network:
    """Import `path`; nothing of the file is run.

    Rescaling and Normalization in front become the network's preprocessing, behind the given one.

    Args:
        weights: the .h5 of an architecture .json, looked for beside it where it is not given.
        input_shape: one sample, channels first, without the batch; needed where the file leaves a dimension open.
        cut_at: layer whose output becomes the network's.

    Raises:
        UserError: no Keras file, no weights or no architecture, or layers that are not supported (all are listed).
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file. Give a .keras, an .h5, or the .json of an architecture.")
    document: Any
    source: Path | io.BytesIO
    if path.suffix.lower() == ".keras":
        document, source, version = _archive(path)
    elif path.suffix.lower() == ".json":
        document, source = _json(path.read_bytes(), str(path)), _beside(path, weights)
        version = _version(document)
    else:
        document, source, version = _whole(path)
    graph = parse_config(document, str(path))
    settle_hard_sigmoid(graph, version, str(path))
    problems = unsupported(graph)
    if problems and cut_at is None:
        raise UserError(
            f"{path}: {len(problems)} unsupported layer(s): {'; '.join(problems)}. "
            "Replace them, or end the network before them with --cut-at NAME."
        )
    shape = sample_shape(graph, str(path), input_shape)
    name = source if isinstance(source, Path) else path
    with _h5(source, str(name)) as root:
        found = read_weights(root, graph, str(name))
    made = KerasBuilder(graph, found, shape, str(path), cut_at)
    return as_network(made, made.input_shape, shape, path.stem, labels, preprocess)


def as_network(
    made: ChannelsLast,
    held: tuple[int, ...],
    shape: tuple[int, ...],
    name: str,
    labels: tuple[str, ...],
    given: Preprocess | None,
) -> Network:
    """The Network of a module that was built channels last, its input scale taken over as preprocessing."""
    if len(held) > 1 and held != shape and len(set(held)) == 1:
        log.warning(
            "%s: input %s: give samples channels first, the shape does not tell", name, "x".join(map(str, held))
        )
    return to_network(made.module, held, name, labels, _preprocess(made, given), own=True)


def _preprocess(made: ChannelsLast, given: Preprocess | None) -> Preprocess:
    """`given` first, then what the model itself does with its input."""
    first = given or Preprocess()
    if made.scale is None or made.shift is None:
        return first
    mean, std = -made.shift / made.scale, 1.0 / made.scale
    if first.mean:
        before, spread = np.asarray(first.mean), np.asarray(first.std)
        mean, std = before + spread * mean, spread * std
    if len(set(mean.tolist())) == len(set(std.tolist())) == 1:
        mean, std = mean[:1], std[:1]
    return Preprocess(tuple(float(v) + 0.0 for v in mean), tuple(map(float, std)))


def _json(content: bytes | str, where: str) -> Any:
    try:
        document = json.loads(content)
        return json.loads(document) if isinstance(document, str) else document  # to_json() saved with json.dump
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not valid JSON: {' '.join(str(error).split())[:80]}. Save it again.") from error


def _beside(path: Path, weights: Path | None) -> Path:
    """The weights of an architecture."""
    if weights is not None:
        if Path(weights).suffix.lower() not in H5:
            raise UserError(f"{weights}: the weights of a .json are an .h5 file. Give --weights w.h5.")
        return Path(weights)
    for suffix in (".h5", ".weights.h5", ".hdf5"):
        if path.with_suffix(suffix).is_file():
            return path.with_suffix(suffix)
    raise UserError(f"{path}: the architecture alone. Give its weights: --weights w.h5.")


def _version(record: Any) -> str:
    """Of Keras, or nothing."""
    return str(record.get("keras_version", "")) if isinstance(record, dict) else ""


def _archive(path: Path) -> tuple[Any, io.BytesIO, str]:
    """Configuration and weights of a .keras file, and Keras's version."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if any(archive.getinfo(n).file_size > MAX_BYTES for n in ("config.json", "model.weights.h5") if n in names):
                raise UserError(f"{path}: more than {MAX_BYTES >> 20} MiB of weights.")
            if "config.json" not in names or "model.weights.h5" not in names:
                missing = "config.json" if "config.json" not in names else "model.weights.h5"
                raise UserError(f"{path}: no {missing} in it; it is no model.save('net.keras'), or a sharded one.")
            document = _json(archive.read("config.json"), str(path))
            told = _json(archive.read("metadata.json"), str(path)) if "metadata.json" in names else None
            return document, io.BytesIO(archive.read("model.weights.h5")), _version(told)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error) as error:
        raise _unreadable(path, error) from error
    except (OSError, EOFError, RuntimeError, ValueError, KeyError) as error:  # what zipfile lets through of its files
        raise _unreadable(path, error) from error


def _whole(path: Path) -> tuple[Any, Path, str]:
    """Configuration of an .h5 file, its own or that of the .json beside it, and Keras's version."""
    try:
        with _h5(path, str(path)) as root:
            text, version = root.attrs.get("model_config"), root.attrs.get("keras_version", "")
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise _unreadable(path, error) from error
    if text is not None:
        document = _json(text if isinstance(text, (bytes, str)) else str(text), str(path))
        return document, path, version.decode() if isinstance(version, bytes) else str(version)
    for beside in (path.with_suffix(".json"), Path(str(path).removesuffix(".weights.h5") + ".json")):
        if beside.is_file():
            document = _json(beside.read_bytes(), str(beside))
            return document, path, _version(document)
    raise UserError(
        f"{path}: weights alone. Save the whole model (model.save('net.keras')), or its architecture beside it: "
        f"{path.with_suffix('.json').name} with model.to_json()."
    )


def _h5(source: Path | io.BytesIO, where: str) -> h5py.File:
    if isinstance(source, Path) and not source.is_file():
        raise UserError(f"{source}: no such file. Give the weights as .h5.")
    try:
        return h5py.File(source, "r")
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise _unreadable(Path(where), error) from error


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:120] or type(error).__name__
    return UserError(
        f"{path}: not a Keras file ({path.stat().st_size} bytes): {reason}. Is it complete? Save it again."
    )
