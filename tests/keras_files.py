"""Keras files written by hand, and what their layers compute in numpy, channels last: no TensorFlow needed."""

from __future__ import annotations

import io
import itertools
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Arrays = dict[str, dict[str, np.ndarray]]
BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")


def layer(kind: str, name: str, *sources: str, **config: Any) -> dict[str, Any]:
    """A layer of Keras 2 that reads `sources`."""
    nodes = [[[s, 0, 0, {}] for s in sources]] if sources else []
    return {"class_name": kind, "config": {"name": name, **config}, "name": name, "inbound_nodes": nodes}


def entry(*shape: int | None) -> dict[str, Any]:
    return layer("InputLayer", "input", batch_input_shape=[None, *shape])


def functional(layers: list[dict[str, Any]], output: str = "") -> dict[str, Any]:
    last = output or layers[-1]["name"]
    ends = {"input_layers": [[layers[0]["name"], 0, 0]], "output_layers": [[last, 0, 0]]}
    return {"class_name": "Functional", "config": {"name": "net", "layers": layers, **ends}}


def chain(*layers: dict[str, Any]) -> dict[str, Any]:
    """A functional model in which each layer reads the one before."""
    for before, one in itertools.pairwise(layers):
        one["inbound_nodes"] = [[[before["name"], 0, 0, {}]]]
    return functional(list(layers))


def modern(document: dict[str, Any]) -> dict[str, Any]:
    """The same model as Keras 3 writes it."""
    text = json.dumps(document).replace("batch_input_shape", "batch_shape")
    made: dict[str, Any] = json.loads(text)
    for one in made["config"]["layers"]:
        one["module"] = "keras.layers"
        refs = [ref for node in one["inbound_nodes"] for ref in node]
        tensors = [_tensor(ref) for ref in refs]
        kwargs = {k: _tensor(v) if _is_ref(v) else v for k, v in (refs[0][3] if refs else {}).items()}
        one["inbound_nodes"] = (
            [{"args": [tensors if len(tensors) > 1 else tensors[0]], "kwargs": kwargs}] if tensors else []
        )
    made["config"]["output_layers"] = made["config"]["output_layers"][0]
    return made


def _is_ref(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and isinstance(value[0], str)


def _tensor(ref: list[Any]) -> dict[str, Any]:
    return {"class_name": "__keras_tensor__", "config": {"shape": [], "keras_history": ref[:3]}}


def legacy_weights(group: Any, document: dict[str, Any], arrays: Arrays) -> None:
    names = [one["name"] for one in document["config"]["layers"]]
    group.attrs["layer_names"] = [n.encode() for n in names]
    for name in names:
        own = group.create_group(name)
        own.attrs["weight_names"] = [f"{name}/{w}:0".encode() for w in arrays.get(name, {})]
        for weight, value in arrays.get(name, {}).items():
            own[f"{name}/{weight}:0"] = value


def write_h5(path: Path, document: dict[str, Any], arrays: Arrays) -> Path:
    """A whole model of Keras 2."""
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(document)
        legacy_weights(file.create_group("model_weights"), document, arrays)
    return path


def write_keras(
    path: Path,
    document: dict[str, Any],
    arrays: Arrays,
    change: Callable[[Any], None] = lambda d: None,
    inside: str = "",
) -> Path:
    """The zip of Keras 3; groups by class and number.

    Args:
        change: what is done to the configuration before it is written.
        inside: in front of the names of layers inside layers; before Keras 3 it is an underscore.
    """
    content, used = io.BytesIO(), dict[str, int]()
    with h5py.File(content, "w") as file:
        file.create_group("layers")
        for one in document["config"]["layers"]:
            stem = re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", one["class_name"])).lower()
            used[stem] = used.get(stem, -1) + 1
            group = file.create_group(f"layers/{stem}_{used[stem]}" if used[stem] else f"layers/{stem}")
            group.create_group("vars")
            for name, value in arrays.get(one["name"], {}).items():
                part = name.rpartition("/")[0].replace("attention_output", "output")
                held = group.require_group(f"{inside}{part}_dense/vars" if part else "vars")
                held[str(len(held))] = value
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        settings = modern(document)
        change(settings)
        archive.writestr("config.json", json.dumps(settings))
        archive.writestr("model.weights.h5", content.getvalue())
    return path


def numbers(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.5, shape).astype(np.float32)


def norm_arrays(seed: int, channels: int) -> dict[str, np.ndarray]:
    mean = {n: numbers(seed + i, channels) for i, n in enumerate(BATCH_NORM[:3])}
    return {**mean, "moving_variance": np.abs(numbers(seed + 3, channels)) + 0.5}


# -- the same in numpy, (n, h, w, c)


def padded(
    x: np.ndarray, window: tuple[int, int], stride: int, same: bool, fill: float, dilation: int = 1
) -> np.ndarray:
    pairs = []
    for n, k in zip(x.shape[1:3], window, strict=True):
        total = max((-(-n // stride) - 1) * stride + (k - 1) * dilation + 1 - n, 0) if same else 0
        pairs.append((total // 2, total - total // 2))
    return np.pad(x, ((0, 0), *pairs, (0, 0)), constant_values=fill)


def windows(x: np.ndarray, window: tuple[int, int], stride: int, dilation: int = 1) -> np.ndarray:
    """(n, h, w, window h, window w, c)"""
    reach = [(k - 1) * dilation + 1 for k in window]
    found = np.lib.stride_tricks.sliding_window_view(x, reach, (1, 2))[:, ::stride, ::stride, :, ::dilation, ::dilation]
    return np.moveaxis(found, 3, -1)


def conv(x: np.ndarray, kernel: np.ndarray, stride: int = 1, same: bool = False, dilation: int = 1) -> np.ndarray:
    window = kernel.shape[:2]
    return np.einsum(
        "nhwabc,abco->nhwo", windows(padded(x, window, stride, same, 0, dilation), window, stride, dilation), kernel
    )


def depthwise(x: np.ndarray, kernel: np.ndarray, stride: int = 1, same: bool = False) -> np.ndarray:
    window = kernel.shape[:2]
    made = np.einsum("nhwabc,abcm->nhwcm", windows(padded(x, window, stride, same, 0), window, stride), kernel)
    return made.reshape(*made.shape[:3], -1)


def norm(x: np.ndarray, w: dict[str, np.ndarray], epsilon: float = 1e-3) -> np.ndarray:
    scaled = (x - w["moving_mean"]) / np.sqrt(w["moving_variance"] + epsilon)
    return np.asarray(scaled * w.get("gamma", 1.0) + w.get("beta", 0.0))


def pool(x: np.ndarray, window: tuple[int, int], stride: int, same: bool, maximum: bool) -> np.ndarray:
    found = windows(padded(x, window, stride, same, np.nan), window, stride)
    return np.asarray((np.nanmax if maximum else np.nanmean)(found, axis=(3, 4)))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))
