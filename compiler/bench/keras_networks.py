"""Networks as Keras 2 writes them, without Keras: a functional model's configuration and its weights in one .h5."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

VERSION = "2.15.0"


class KerasModel:
    """Layers one by one; each method returns the new layer's name. Weights are seeded, He-normal."""

    def __init__(self, shape: tuple[int, ...], seed: int) -> None:
        self.layers: list[dict[str, Any]] = []
        self.weights: dict[str, dict[str, npt.NDArray[np.float32]]] = {}
        self.widths: dict[str, int] = {}
        self.random = np.random.default_rng(seed)
        self.last = self._add("InputLayer", (), shape[-1], batch_input_shape=[None, *shape])

    def _add(self, kind: str, sources: tuple[str, ...], width: int, **config: Any) -> str:
        name = f"{kind.lower()}_{len(self.layers)}"
        nodes = [[[s, 0, 0, {}] for s in sources]] if sources else []
        self.layers.append(
            {"class_name": kind, "config": {"name": name, **config}, "name": name, "inbound_nodes": nodes}
        )
        self.widths[name], self.last = width, name
        return name

    def conv(self, source: str, filters: int, kernel: int, stride: int = 1) -> str:
        """Convolution without bias, SAME, and a norm."""
        inputs = self.widths[source]
        config = {"kernel_size": [kernel] * 2, "strides": [stride] * 2, "padding": "same", "use_bias": False}
        made = self._add("Conv2D", (source,), filters, filters=filters, **config)
        values = self.random.normal(size=(kernel, kernel, inputs, filters)) * (2 / (kernel**2 * inputs)) ** 0.5
        self.weights[made] = {"kernel": values.astype(np.float32)}
        return self.norm(made)

    def norm(self, source: str) -> str:
        width = self.widths[source]
        made = self._add("BatchNormalization", (source,), width, axis=[3], epsilon=1e-3, momentum=0.99)
        ones, zeros = np.ones(width, np.float32), np.zeros(width, np.float32)
        self.weights[made] = {"gamma": ones, "beta": zeros, "moving_mean": zeros, "moving_variance": ones}
        return made

    def dense(self, source: str, units: int, activation: str = "linear") -> str:
        inputs = self.widths[source]
        made = self._add("Dense", (source,), units, units=units, activation=activation)
        values = self.random.normal(size=(inputs, units)) * (2 / inputs) ** 0.5
        self.weights[made] = {"kernel": values.astype(np.float32), "bias": np.zeros(units, np.float32)}
        return made

    def activation(self, source: str, name: str = "relu") -> str:
        return self._add("Activation", (source,), self.widths[source], activation=name)

    def patches(self, source: str, filters: int, size: int) -> str:
        """Tokens of `size` samples each, by a Conv1D."""
        inputs = self.widths[source]
        made = self._add(
            "Conv1D", (source,), filters, filters=filters, kernel_size=[size], strides=[size], padding="valid"
        )
        self.weights[made] = {
            "kernel": self._normal(1 / (size * inputs), size, inputs, filters),
            "bias": np.zeros(filters, np.float32),
        }
        return made

    def positions(self, source: str, tokens: int) -> str:
        """`source` + sines of the positions, a constant in the file."""
        width = self.widths[source]
        angles = np.arange(tokens)[:, None] / 10000 ** (np.arange(width) // 2 * 2 / width)
        table = np.where(np.arange(width) % 2, np.cos(angles), np.sin(angles)).round(4).tolist()
        made = self._add("TFOpLambda", (source,), width, function="__operators__.add")
        self.layers[-1]["inbound_nodes"] = [[source, 0, 0, {"y": table, "name": None}]]
        return made

    def layer_norm(self, source: str) -> str:
        width = self.widths[source]
        made = self._add("LayerNormalization", (source,), width, axis=[2], epsilon=1e-3)
        gain = self.random.uniform(0.5, 1.5, width).astype(np.float32)
        self.weights[made] = {"gamma": gain, "beta": self.random.uniform(-0.3, 0.3, width).astype(np.float32)}
        return made

    def attention(self, source: str, heads: int) -> str:
        """Self-attention of `heads` heads that together are as wide as their input."""
        width = self.widths[source]
        depth = width // heads
        made = self._add("MultiHeadAttention", (source,), width, num_heads=heads, key_dim=depth, dropout=0.1)
        self.layers[-1]["inbound_nodes"][0][0][3] = {"value": [source, 0, 0]}
        held = self.weights[made] = {}
        for part in ("query", "key", "value"):
            held[f"{part}/kernel"] = self._normal(1 / width, width, heads, depth)
            held[f"{part}/bias"] = np.zeros((heads, depth), np.float32)
        held["attention_output/kernel"] = self._normal(1 / width, heads, depth, width)
        held["attention_output/bias"] = np.zeros(width, np.float32)
        return made

    def _normal(self, variance: float, *shape: int) -> npt.NDArray[np.float32]:
        return np.asarray(self.random.normal(size=shape) * variance**0.5, np.float32)

    def join(self, kind: str, a: str, b: str) -> str:
        return self._add(kind, (a, b), self.widths[a])

    def mean(self, source: str, rank: int = 2) -> str:
        return self._add(f"GlobalAveragePooling{rank}D", (source,), self.widths[source])

    def excite(self, source: str, inner: int) -> str:
        """Squeeze-and-excite as Keras's applications write it: mean, Reshape, two Dense layers, Multiply."""
        width = self.widths[source]
        squeezed = self._add("Reshape", (self.mean(source),), width, target_shape=[1, 1, width])
        return self.join("Multiply", source, self.dense(self.dense(squeezed, inner, "relu"), width, "sigmoid"))

    def save(self, path: Path) -> Path:
        ends = {"input_layers": [[self.layers[0]["name"], 0, 0]], "output_layers": [[self.last, 0, 0]]}
        document = {"class_name": "Functional", "config": {"name": path.stem, "layers": self.layers, **ends}}
        with h5py.File(path, "w") as file:
            file.attrs["model_config"], file.attrs["keras_version"] = json.dumps(document), VERSION
            root = file.create_group("model_weights")
            root.attrs["layer_names"] = [one["name"].encode() for one in self.layers]
            for one in self.layers:
                group, held = root.create_group(one["name"]), self.weights.get(one["name"], {})
                group.attrs["weight_names"] = [f"{one['name']}/{weight}:0".encode() for weight in held]
                for weight, value in held.items():
                    group[f"{one['name']}/{weight}:0"] = value
        return path


def keras_resnet(path: Path, blocks: int, excite: bool, size: int = 32, classes: int = 10, seed: int = 0) -> Path:
    """ResNet-(6 blocks + 2) of option B for `size` x `size` images, perhaps with squeeze-and-excite, as an .h5."""
    net = KerasModel((size, size, 3), seed)
    x = net.activation(net.conv(net.last, 16, 3))
    for stage, width in enumerate((16, 32, 64)):
        for i in range(blocks):
            stride = 2 if stage and not i else 1
            y = net.conv(net.activation(net.conv(x, width, 3, stride)), width, 3)
            y = net.excite(y, width // 4) if excite else y
            shortcut = net.conv(x, width, 1, stride) if stride > 1 else x
            x = net.activation(net.join("Add", y, shortcut))
    net.dense(net.mean(x), classes)
    return net.save(path)


def keras_transformer(
    path: Path, shape: tuple[int, int], patch: int, width: int, heads: int, hidden: int, blocks: int, classes: int,
    seed: int = 0,
) -> Path:  # fmt: skip
    """Encoder blocks, norm first, on patches of a series of `shape` (steps, channels), as an .h5."""
    net = KerasModel(shape, seed)
    x = net.positions(net.patches(net.last, width, patch), shape[0] // patch)
    for _ in range(blocks):
        x = net.join("Add", x, net.attention(net.layer_norm(x), heads))
        x = net.join("Add", x, net.dense(net.dense(net.layer_norm(x), hidden, "relu"), width))
    net.dense(net.mean(net.layer_norm(x), 1), classes)
    return net.save(path)
