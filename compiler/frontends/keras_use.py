"""One call of a Keras layer, and what is read of its settings the same way by all layers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from secateur.compiler.frontends.channels_last import ChannelsLast, Floats, Refused, Value, number


@dataclass(frozen=True)
class Use:
    """One call of a layer: its settings and weights, the tensors it reads, and the network it adds to.

    `args`, `named`: the call's arguments as they are given, with Values where tensors stand.
    """

    kind: str
    config: dict[str, Any]
    weights: dict[str, Floats]
    inputs: list[Value]
    net: ChannelsLast
    alone: bool  # nobody else reads the input
    args: list[Any] = field(default_factory=list)
    named: dict[str, Any] = field(default_factory=dict)

    @property
    def x(self) -> Value:
        if len(self.inputs) != 1:
            raise Refused(f"reads {len(self.inputs)} tensors, one expected")
        return self.inputs[0]

    def weight(self, name: str) -> Floats:
        if name not in self.weights:
            raise Refused(f"has no weight {name}")
        return self.weights[name]

    def sizes(self, name: str, rank: int, default: Any = 1) -> list[int]:
        """A setting as one whole number for each spatial dimension."""
        value = self.config.get(name, default)
        values = [value] * rank if isinstance(value, int) else value
        if not isinstance(values, (list, tuple)) or len(values) != rank or not all(type(v) is int for v in values):
            raise Refused(f"{name} {value!r}")
        return list(values)

    def number(self, name: str, default: float) -> float:
        return number(self.config.get(name, default), name)


def activation_name(value: Any) -> str:
    """The name of an activation, which is a text or a serialized function or layer."""
    if value is None:
        return "linear"
    if isinstance(value, dict):
        config = value.get("config")
        if value.get("class_name") == "ReLU" and isinstance(config, dict):
            return relu_name(config)
        value = config if isinstance(config, str) else value.get("class_name")
    if not isinstance(value, str):
        raise Refused(f"activation {value!r}")
    return {"Softmax": "softmax"}.get(value, value)


def relu_name(config: dict[str, Any]) -> str:
    for name in ("negative_slope", "threshold"):
        if number(config.get(name) or 0, name) != 0:
            raise Refused(f"{name} {config[name]}; only 0")
    most = config.get("max_value")
    if most is None:
        return "relu"
    if number(most, "max_value") != 6:
        raise Refused(f"max_value {most}; only 6 and none")
    return "relu6"


def activated(use: Use, v: Value) -> Value:
    return use.net.activation(v, activation_name(use.config.get("activation")))
