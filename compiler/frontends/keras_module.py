"""A Keras model's configuration and weights as a torch module: layer by layer, with all that is unsupported listed."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np

from secateur.compiler.frontends import keras_operations
from secateur.compiler.frontends.channels_last import (
    ACTIVATIONS,
    MAX_ELEMENTS,
    ChannelsLast,
    Places,
    Refused,
    Value,
    channels_first,
)
from secateur.compiler.frontends.h5_weights import Weights
from secateur.compiler.frontends.keras_config import Graph, Layer, Ref
from secateur.compiler.frontends.keras_layers import IDLE, LAYERS, TRAINED
from secateur.compiler.frontends.keras_tokens import OTHER_MATHS
from secateur.compiler.frontends.keras_use import Use, activation_name
from secateur.errors import UserError

_NO_TENSOR = ("mask", "training")  # arguments that do not matter where nothing trains


def settle_hard_sigmoid(graph: Graph, version: str, where: str) -> None:
    """Say which of the two functions of this name a layer means: of Keras 2, or relu6(x + 3) / 6 of Keras 3."""
    for layer in graph.everything():
        if layer.config.get("activation") != "hard_sigmoid":
            continue
        if version[:2] not in ("2.", "3."):
            raise UserError(
                f"{where}: {layer.path}: hard_sigmoid is another function in Keras 2 than in Keras 3, and the file "
                "does not say which wrote it. Save it as a .keras or .h5 file."
            )
        if version.startswith("2."):
            layer.config["activation"] = "hard_sigmoid_2"


def unsupported(graph: Graph) -> list[str]:
    """What no file may hold, whatever its weights: unknown layers and activations, and layers that are shared."""
    problems = []
    for layer in graph.everything():
        reason = _reason(layer)
        if reason is not None:
            problems.append(f"{layer.path} ({layer.kind}{': ' + reason if reason else ''})")
    return problems


def _reason(layer: Layer) -> str | None:
    acts = layer.inner is not None or layer.kind == "BatchNormalization" or layer.kind in _AT_RANDOM
    if (acts or layer.config.get("dropout")) and any(kwargs.get("training") is True for _, kwargs in layer.calls):
        return "called with training=True, so it trains where it runs too; call it without"
    if layer.inner is not None:
        return "called twice, with shared weights" if len(layer.calls) > 1 else None
    if layer.kind == "Lambda":
        return "its Python code is never run"
    if layer.is_operation or layer.kind == "TFOpLambda":
        name = keras_operations.operation_name(layer.kind, layer.config)
        return None if name in keras_operations.KNOWN else f"function {name}"
    if layer.kind not in LAYERS:
        return ""
    if layer.config.get("quantization_config") or _policy(layer) in ("int8", "int4", "float8"):
        return "quantized; give the float model"
    if len(layer.calls) > 1 and layer.kind in _WITH_WEIGHTS:
        return "called twice, with shared weights"
    setting = next((name for name in OTHER_MATHS if layer.config.get(name)), None)
    if setting is not None:
        return f"{setting}={layer.config[setting]}; {OTHER_MATHS[setting]}"
    try:
        chosen = activation_name(layer.config.get("activation"))
    except Refused as reason:
        return str(reason)
    known = chosen in (*ACTIVATIONS, "hard_sigmoid_2")
    return None if known else f"activation {chosen}"


_AT_RANDOM = tuple(kind for kind in IDLE if kind not in ("ActivityRegularization", "InputLayer", "Identity"))
_WITH_WEIGHTS = (*TRAINED, "Normalization")


def _policy(layer: Layer) -> str:
    policy = layer.config.get("dtype")
    name = policy.get("config", {}).get("name", "") if isinstance(policy, dict) else policy
    return str(name or "").split("_")[0]


def sample_shape(graph: Graph, where: str, given: tuple[int, ...] | None) -> tuple[int, ...]:
    """The input as Keras sees it, without the batch. `given`: --input-shape, channels first, for open dimensions."""
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise UserError(
            f"{where}: {len(graph.inputs)} inputs and {len(graph.outputs)} outputs, one of each expected. "
            "Save a model of the part that you deploy: keras.Model(input, output)."
        )
    layer = next((one for one in graph.layers if one.name == graph.inputs[0].name), None)
    shape = None if layer is None else layer.config.get("batch_shape") or layer.config.get("batch_input_shape")
    if shape is None and given is None:
        raise UserError(f"{where}: the input's shape is unknown. Give --input-shape, channels first, with the batch.")
    sizes: list[Any] = list(shape[1:]) if isinstance(shape, (list, tuple)) else [None] * len(given or ())
    if given is not None:
        asked = [*given[1:], given[0]]
        if len(asked) != len(sizes) or any(n not in (None, m) for n, m in zip(sizes, asked, strict=True)):
            raise UserError(
                f"{where}: --input-shape {_text(given)} contradicts the file's {_text(sizes)} (channels last)."
            )
        sizes = asked
    if not 1 <= len(sizes) <= 4 or not all(type(n) is int and n > 0 for n in sizes):
        raise UserError(f"{where}: an input of {_text(sizes)} per sample. Fix it with --input-shape, channels first.")
    if math.prod(sizes) > MAX_ELEMENTS:
        raise UserError(f"{where}: an input of {_text(sizes)} is too large.")
    return tuple(sizes)


def _text(sizes: Any) -> str:
    return ",".join("?" if n is None else str(n) for n in sizes)


def held_input(graph: Graph, shape: tuple[int, ...]) -> tuple[tuple[int, ...], Places]:
    """How the network takes its sample: its shape, channels first, and where Keras's elements stand in it.

    Where the model begins with Reshape, Permute or Flatten, the network begins behind them.
    """
    plain = np.arange(math.prod(shape)).reshape(shape)
    if any(one.config.get("data_format") == "channels_first" for one in graph.everything()):
        return shape, plain
    seen = Value(0, (plain.size,), plain)
    readers = _readers(graph)
    at = graph.inputs[0]
    while len(readers.get(at, [])) == 1:
        layer = readers[at][0]
        try:
            if layer.kind in ("Reshape", "Permute", "Flatten"):
                net = ChannelsLast()
                seen = LAYERS[layer.kind](Use(layer.kind, layer.config, {}, [seen], net, True))
            elif layer.kind not in ("Rescaling", "InputLayer") and not layer.kind.startswith(("Dropout", "Random")):
                break
        except Refused:
            break
        at = Ref(layer.name)
    if len(seen.shape) == 1 and len(shape) == 2:
        return (1, *shape), plain  # no dimension of such a sample holds channels
    target, places = (shape, plain) if len(seen.shape) == 1 else (seen.shape, seen.places)
    held = (target[-1], *target[:-1])
    inverse = np.empty(plain.size, np.int64)
    inverse[places.ravel()] = channels_first(held).ravel()
    return held, inverse.reshape(shape)


def _readers(graph: Graph) -> dict[Ref, list[Layer]]:
    found: dict[Ref, list[Layer]] = {}
    for layer in graph.layers:
        for args, kwargs in layer.calls:
            for ref in _refs_in([args, kwargs]):
                found.setdefault(ref, []).append(layer)
    for ref in graph.outputs:
        found.setdefault(ref, []).append(Layer("output", "output", {}, "output"))
    return found


def _refs_in(value: Any) -> list[Ref]:
    if isinstance(value, Ref):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [ref for item in items for ref in _refs_in(item)]


class KerasBuilder(ChannelsLast):
    """The network of `graph`. Raises UserError with all layers that are not supported."""

    def __init__(self, graph: Graph, weights: Weights, shape: tuple[int, ...], where: str, cut_at: str | None) -> None:
        super().__init__()
        self.problems: list[str] = []
        self.weights = weights
        self.cut_at, self.cut = cut_at, None if cut_at is None else [Value(-1, (), np.zeros(0, np.int64))]
        held, places = held_input(graph, shape)
        self.input_shape = held
        last = self._graph(graph, [self.input(held, places)])[0]
        if self.cut is not None:
            if len(self.cut) < 2:
                names = ", ".join(one.path for one in graph.everything()[-6:])
                raise UserError(f"{where}: --cut-at {cut_at}: no such layer, or it cannot be read; the last: {names}.")
            last, self.problems = self.cut[-1], []
        if last is not None and not self.problems:
            self.where = "output"
            try:
                self.finish(last)
            except Refused as reason:
                self.problems.append(f"the output ({reason}; end the network in a Dense or a global pooling)")
        if self.problems or last is None:
            raise UserError(
                f"{where}: {len(self.problems)} unsupported layer(s): {'; '.join(self.problems)}. "
                "Replace them, or end the network before them with --cut-at NAME."
            )
        del self.weights, self.cut

    def _graph(self, graph: Graph, inputs: list[Value | None]) -> list[Value | None]:
        """The outputs of one model, its inputs known; None stands behind what is not supported."""
        values: dict[Ref, Value | None] = dict(zip(graph.inputs, inputs, strict=True))
        count = Counter({ref: len(layers) for ref, layers in _readers(graph).items()})
        waiting = [(layer, i) for layer in graph.layers for i in range(len(layer.calls))]
        while waiting:
            left = []
            for layer, i in waiting:
                refs = _refs_in([layer.calls[i][0], _moving(layer.calls[i][1])])
                if all(ref in values for ref in refs):
                    alone = all(count[ref] == 1 for ref in refs)
                    values[Ref(layer.name, i)] = self._called(layer, i, values, refs, alone)
                else:
                    left.append((layer, i))
            if len(left) == len(waiting):
                layer = left[0][0]
                self.problems.append(f"{layer.path} ({layer.kind}: its input is given by nothing)")
                break
            waiting = left
        missing = [ref for ref in graph.outputs if ref not in values]
        if missing and not self.problems:
            self.problems.append(f"{missing[0].name} (an output that nothing gives)")
        return [values.get(ref) for ref in graph.outputs]

    def _called(
        self, layer: Layer, i: int, values: dict[Ref, Value | None], refs: list[Ref], alone: bool
    ) -> Value | None:
        known = [values[ref] for ref in refs]
        result: Value | None = None
        self.where = layer.path.replace("/", ".")
        if layer.inner is not None:
            if len(known) != len(layer.inner.inputs) or len(layer.inner.outputs) != 1:
                self.problems.append(f"{layer.path} ({layer.kind}: several outputs, or inputs that do not fit)")
                return None
            result = self._graph(layer.inner, known)[0]
        elif all(v is not None for v in known):
            args, kwargs = layer.calls[i]
            try:
                result = self._made(layer, _filled(args, values), _filled(_moving(kwargs), values), known, alone)
            except Refused as reason:
                self.problems.append(f"{layer.path} ({layer.kind}: {reason})")
        if self.cut is not None and self.cut_at in (layer.name, layer.path) and result is not None:
            self.cut.append(result)
        return result

    def _made(self, layer: Layer, args: Any, kwargs: Any, known: Any, alone: bool) -> Value:
        if layer.is_operation or layer.kind == "TFOpLambda":
            name = keras_operations.operation_name(layer.kind, layer.config)
            return keras_operations.apply(self, name, layer.config, args, kwargs, alone)
        if layer.kind not in LAYERS:
            raise Refused("unknown")
        use = Use(layer.kind, layer.config, self.weights.get(layer.path, {}), known, self, alone, args, kwargs)
        try:
            return LAYERS[layer.kind](use)
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError, IndexError) as error:
            raise Refused(f"its settings are not understood: {' '.join(str(error).split())[:80]}") from error


def _moving(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in kwargs.items() if k not in _NO_TENSOR}


def _filled(value: Any, values: dict[Ref, Value | None]) -> Any:
    if isinstance(value, Ref):
        return values[value]
    if isinstance(value, dict):
        return {k: _filled(v, values) for k, v in value.items()}
    return [_filled(v, values) for v in value] if isinstance(value, list) else value
