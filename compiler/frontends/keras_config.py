"""The JSON of a Keras model, of Keras 2 or 3, as records: layers in order, who reads whom, nested models inside."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from secateur.errors import UserError

MODELS = ("Sequential", "Functional", "Model")
MAX_DEPTH = 16


@dataclass(frozen=True)
class Ref:
    """What layer `name` gives at its call number `call`."""

    name: str
    call: int = 0


@dataclass
class Layer:
    """One layer. `calls`: positional and named arguments of each call, with Refs where tensors stand."""

    name: str
    kind: str
    config: dict[str, Any]
    path: str  # names of the models it is in, and its own
    module: str = ""
    calls: list[tuple[list[Any], dict[str, Any]]] = field(default_factory=list)
    inner: Graph | None = None
    new_calls: bool = False  # as Keras 3 writes them

    @property
    def is_operation(self) -> bool:
        """A function of keras.ops, which is no layer and has no weights."""
        if self.module or self.kind == "InputLayer":
            return ".ops." in self.module
        return self.new_calls and not {"trainable", "dtype"} & set(self.config)  # an .h5 file leaves the module out

    @property
    def trainable(self) -> bool:
        return bool(self.config.get("trainable", True))


@dataclass
class Graph:
    """A Sequential or Functional model."""

    name: str
    layers: list[Layer]
    inputs: list[Ref]
    outputs: list[Ref]

    def everything(self) -> list[Layer]:
        """All layers, nested ones included."""
        return [one for layer in self.layers for one in (layer, *(layer.inner.everything() if layer.inner else ()))]


class Malformed(Exception):
    """The JSON is not what Keras writes; the text says where."""


def parse_config(document: Any, where: str) -> Graph:
    """The model that `document` describes.

    Raises:
        UserError: it is a subclassed model, or no model of Keras.
    """
    try:
        kind = document["class_name"]
        if kind not in MODELS:
            raise UserError(
                f"{where}: the model is a {kind} of its own code, which the file does not hold; only Sequential "
                "and functional models can be read. Export it as a SavedModel: model.export(FOLDER)."
            )
        return _graph(document, "", 0)
    except (Malformed, KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{where}: no Keras model in its configuration ({type(error).__name__}: {reason}).") from error


def _graph(document: dict[str, Any], path: str, depth: int) -> Graph:
    if depth > MAX_DEPTH:
        raise Malformed("models nested too deep")
    config = document["config"]
    if isinstance(config, list):  # Sequential of Keras 2.0 and 2.1
        config = {"name": "sequential", "layers": config}
    layers = [_layer(record, path, depth) for record in config["layers"]]
    name = _name(config.get("name", "model"))
    if document["class_name"] == "Sequential":
        return _chained(name, layers, config, path)
    for record, layer in zip(config["layers"], layers, strict=True):
        for node in record.get("inbound_nodes", []):
            layer.calls.append(_call(node))
            layer.new_calls = isinstance(node, dict)
    return Graph(name, layers, _refs(config["input_layers"]), _refs(config["output_layers"]))


def _layer(record: dict[str, Any], path: str, depth: int) -> Layer:
    kind, config = record["class_name"], record["config"]
    if not isinstance(kind, str) or not isinstance(config, (dict, list)):
        raise Malformed("a layer without class or configuration")
    settings = config if isinstance(config, dict) else {"name": record.get("name", "sequential")}
    name = _name(record.get("name") or settings.get("name") or kind)
    layer = Layer(name, kind, settings, path + name, str(record.get("module") or ""))
    if kind in MODELS:
        layer.inner = _graph(record, path + name + "/", depth + 1)
    return layer


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise Malformed(f"a name {value!r}")
    return value


def _chained(name: str, layers: list[Layer], config: dict[str, Any], path: str) -> Graph:
    """A Sequential as a graph: each layer reads the one before."""
    if not layers or layers[0].kind != "InputLayer":
        first = layers[0].config if layers else {}
        shape = first.get("batch_input_shape") or first.get("batch_shape") or config.get("build_input_shape")
        if shape is None and layers and layers[0].inner:
            begin = layers[0].inner.layers[0].config
            shape = begin.get("batch_input_shape") or begin.get("batch_shape")
        entry = Layer("input", "InputLayer", {"batch_shape": shape}, path + "input")
        layers = [entry, *layers]
    for before, layer in itertools.pairwise(layers):
        layer.calls.append(([Ref(before.name)], {}))
    return Graph(name, layers, [Ref(layers[0].name)], [Ref(layers[-1].name)])


def _refs(value: Any) -> list[Ref]:
    if isinstance(value, dict):
        value = list(value.values())
    if len(value) == 3 and isinstance(value[0], str) and isinstance(value[1], int):
        value = [value]
    return [Ref(_name(v[0]), int(v[1])) for v in value]


def _call(node: Any) -> tuple[list[Any], dict[str, Any]]:
    """Arguments of one call: Keras 3 has them as args and kwargs, Keras 2 as a list of [name, call, tensor, kwargs]."""
    if isinstance(node, dict):
        args, kwargs = node.get("args", []), node.get("kwargs", {})
        return [_tensors(a) for a in args], {str(k): _tensors(v) for k, v in kwargs.items()}
    if node and isinstance(node[0], str):
        node = [node]
    refs = [Ref(_name(v[0]), int(v[1])) for v in node]
    named = node[0][3] if node and len(node[0]) > 3 and isinstance(node[0][3], dict) else {}
    first: list[Any] = [refs[0] if len(refs) == 1 else refs]
    return first, {str(k): _old_tensors(v) for k, v in named.items()}


def _tensors(value: Any) -> Any:
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        name, call, _ = value["config"]["keras_history"]
        return Ref(_name(name), int(call))
    if isinstance(value, dict) and value.get("class_name") in ("__tuple__", "__numpy__", "__tensor__"):
        return _tensors(value.get("items", value.get("config", {}).get("value")))
    return [_tensors(v) for v in value] if isinstance(value, (list, tuple)) else value


def _old_tensors(value: Any) -> Any:
    if isinstance(value, list) and len(value) >= 3 and isinstance(value[0], str) and isinstance(value[1], int):
        return Ref("", -1) if value[0] == "_CONSTANT_VALUE" else Ref(value[0], value[1])
    return [_old_tensors(v) for v in value] if isinstance(value, list) else value
