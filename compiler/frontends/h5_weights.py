"""The weights of a Keras model out of an HDF5 file: of Keras 2 (by layer name) and of Keras 3 (by class and number)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np

from secateur.compiler.frontends.channels_last import MAX_ELEMENTS, Floats
from secateur.compiler.frontends.keras_config import Graph, Layer
from secateur.compiler.frontends.keras_layers import weight_names
from secateur.errors import UserError

Weights = dict[str, dict[str, Floats]]
"""By the layer's path, then by the weight's name."""
ROOTS = ("layers", "_layer_checkpoint_dependencies")  # Keras 3, and the .keras files of Keras 2.12 to 2.15


def read_weights(root: h5py.File, graph: Graph, where: str) -> Weights:
    """The weights of every layer of `graph`.

    Raises:
        UserError: weights are missing, too many, of another shape than the file's own order says, or not numbers.
    """
    try:
        base = root.get("model_weights", root)
        if "layer_names" in base.attrs or "layer_names0" in base.attrs:
            found = _by_layer(base, graph)
        elif any(r in base for r in ROOTS):
            found = dict(_by_class(base, graph))
        else:
            raise UserError(f"{where}: no Keras weights in it; its groups are {_few(base)}.")
    except (KeyError, OSError, RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{where}: its weights do not fit its layers: {reason}. Is the file complete?") from error
    bad = [path for path, values in found.items() for v in values.values() if not np.isfinite(v).all()]
    if bad:
        raise UserError(f"{where}: NaN or infinity in the weights of {_few(bad)}. Take an earlier checkpoint.")
    return found


def attribute(group: Any, name: str) -> list[str]:
    """A list of names; Keras cuts long ones into name0, name1 and so on."""
    parts = [name] if name in group.attrs else []
    while not parts or f"{name}{len(parts)}" in group.attrs:
        if name in group.attrs:
            break
        if f"{name}{len(parts)}" not in group.attrs:
            raise ValueError(f"no {name} in {group.name}")
        parts.append(f"{name}{len(parts)}")
    return [v.decode() if isinstance(v, bytes) else str(v) for part in parts for v in np.ravel(group.attrs[part])]


def _few(names: Any) -> str:
    listed = [str(n) for n in names]
    return (", ".join(listed[:4]) or "none") + (", ..." if len(listed) > 4 else "")


def _array(item: Any, what: str) -> Floats:
    if not isinstance(item, h5py.Dataset):
        raise ValueError(f"{what} is no array")
    if item.size is None or item.size > MAX_ELEMENTS:
        raise ValueError(f"{what} has {item.size} elements")
    if item.external or item.is_virtual:
        raise ValueError(f"{what} stands in another file")
    if item.dtype.kind not in "fiu":
        raise ValueError(f"{what} is of type {item.dtype}")
    if item.dtype.kind != "f" and item.size > 1:
        raise ValueError(f"{what} is of type {item.dtype}, a float network is needed")
    return np.asarray(item[()], np.float32)


def _item(group: Any, path: str) -> Any:
    """group[path] without following a link into another file."""
    for part in path.strip("/").split("/"):
        if isinstance(group, h5py.Dataset) or group.get(part, getlink=True) is None:
            raise ValueError(f"no {path} in it")
        if isinstance(group.get(part, getlink=True), h5py.ExternalLink):
            raise ValueError(f"{path} stands in another file")
        group = group[part]
    return group


def _slots(layer: Layer) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(layer's path, weight) of all that is trained, and of all that is not; a frozen layer trains nothing."""
    trained: list[tuple[str, str]] = []
    fixed: list[tuple[str, str]] = []
    if layer.inner is not None:
        for one in layer.inner.layers:
            a, b = _slots(one)
            trained += a
            fixed += b
    else:
        a_names, b_names = weight_names(layer.kind, layer.config)
        trained, fixed = ([(layer.path, n) for n in names] for names in (a_names, b_names))
    return (trained, fixed) if layer.trainable else ([], trained + fixed)


def _by_layer(base: Any, graph: Graph) -> Weights:
    found: Weights = {}
    names = [n for n in attribute(base, "layer_names") if attribute(_item(base, n), "weight_names")]
    wanted = [layer for layer in graph.layers if not layer.is_operation and any(map(len, _slots(layer)))]
    if not {layer.name for layer in wanted} <= set(names):  # another run's names: Keras goes by the order then
        if len(names) != len(wanted):
            absent = _few([layer.name for layer in wanted if layer.name not in names])
            raise ValueError(f"{len(wanted)} layers need some, {len(names)} have some; without: {absent}")
        stored_as = dict(zip([layer.name for layer in wanted], names, strict=True))
    else:
        stored_as = {n: n for n in names}
    for layer in wanted:
        slots = [slot for part in _slots(layer) for slot in part]
        group = _item(base, stored_as[layer.name])
        given = attribute(group, "weight_names")
        if len(given) != len(slots):
            raise ValueError(f"layer {layer.name} has {len(given)}, {len(slots)} expected")
        last = [_end(stored, slot[1]) for stored, slot in zip(given, slots, strict=True)]
        own = sorted(last) == sorted(slot[1] for slot in slots) and layer.inner is None
        for (path, name), stored, end in zip(slots, given, last, strict=True):
            if own:  # the names say it, whatever the order
                stored = given[last.index(name)]
            elif end != name and layer.inner is not None:
                raise ValueError(f"layer {layer.name} has {stored} where {path}'s {name} is expected")
            found.setdefault(path, {})[name] = _array(_item(group, stored), stored)
    return found


def _by_class(base: Any, graph: Graph) -> Iterator[tuple[str, dict[str, Floats]]]:
    """Groups are named conv2d, conv2d_1, ... in the order of the model's layers."""
    root = next(r for r in ROOTS if r in base)
    used: dict[str, int] = {}
    for layer in graph.layers:
        if layer.is_operation:
            continue
        stem = _snake(layer.kind)
        used[stem] = used.get(stem, -1) + 1
        key = f"{root}/{stem}_{used[stem]}" if used[stem] else f"{root}/{stem}"
        if layer.inner is not None:
            if any(slot for part in _slots(layer) for slot in part):
                yield from _by_class(_item(base, key), layer.inner)
            continue
        trained, fixed = weight_names(layer.kind, layer.config)
        if trained or fixed:
            yield layer.path, _numbered(_item(base, key), layer.name, [*trained, *fixed])


def _numbered(group: Any, layer: str, names: list[str]) -> dict[str, Floats]:
    """Weights of a layer and of the layers in it, which lie in groups of their own, each by its number there."""
    found: dict[str, Floats] = {}
    for part in dict.fromkeys(n.rpartition("/")[0] for n in names):
        own = [n for n in names if n.rpartition("/")[0] == part]
        held = _item(group, f"{_inside(group, part)}/vars")
        if len(held) != len(own):
            raise ValueError(f"layer {layer} has {len(held)}{' of ' + part if part else ''}, {len(own)} expected")
        found |= {n: _array(_item(held, str(i)), n) for i, n in enumerate(own)}
    return found


def _inside(group: Any, part: str) -> str:
    """The group of a layer inside, by the attribute that holds it: before Keras 3 a private one."""
    if not part:
        return ""
    attribute = "output_dense" if part == "attention_output" else f"{part}_dense"
    return attribute if attribute in group else f"_{attribute}"


def _end(stored: str, name: str) -> str:
    """As much of the end of a stored name as `name` is long."""
    return "/".join(re.sub(r":\d+$", "", stored).split("/")[-1 - name.count("/") :])


def _snake(name: str) -> str:
    """Keras's own rule for the names of groups."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
