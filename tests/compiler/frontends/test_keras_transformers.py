"""Transformers from Keras files: what numpy computes is what the Network computes; heads and hidden units can go."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from keras_files import Arrays, entry, functional, layer, numbers, softmax, write_h5, write_keras

from secateur.compiler.frontends.load import load_model
from secateur.errors import UserError
from secateur.models.canonical import to_network
from secateur.models.network import Network
from secateur.models.tokens import Attention, Bias, ChannelNorm
from secateur.passes.network.channels import find_filters
from secateur.passes.network.layers import find_layers
from secateur.passes.network.macs import network_macs

TOKENS, WIDTH, HEADS, DEPTH, HIDDEN = 6, 8, 2, 4, 12


def load(path: Path, **options: Any) -> Network:
    network = load_model(str(path), **options)
    assert isinstance(network, Network)
    return network


def outputs(network: Network, samples: np.ndarray) -> np.ndarray:
    """Of raw samples (n, tokens, channels), as Keras takes them."""
    x = np.ascontiguousarray(np.moveaxis(samples, -1, 1))
    with torch.no_grad():
        return np.asarray(network.module(torch.from_numpy(x)).numpy())


def multi_head(name: str, query: str, named: dict[str, Any] | None = None, **config: Any) -> dict[str, Any]:
    """A call `layer(query, value=query)`, or with the arguments `named`."""
    made = layer("MultiHeadAttention", name, query, **{"num_heads": HEADS, "key_dim": DEPTH, "dropout": 0.1, **config})
    made["inbound_nodes"][0][0][3] = {"value": [query, 0, 0]} if named is None else named
    return made


def weights(
    seed: int, width: int = WIDTH, wide: int = DEPTH, out: int = WIDTH, depth: int = DEPTH, bias: bool = True,
    other: int = 0,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Of a MultiHeadAttention, in Keras's order; `other`: channels of key and value."""
    other = other or width
    made = {}
    for i, (part, shape, inner) in enumerate((
        ("query", (width, HEADS, depth), 1), ("key", (other, HEADS, depth), 1), ("value", (other, HEADS, wide), 1),
        ("attention_output", (HEADS, wide, out), 2),
    )):  # fmt: skip
        made[f"{part}/kernel"] = numbers(seed + 2 * i, *shape)
        if bias:
            made[f"{part}/bias"] = numbers(seed + 2 * i + 1, *shape[inner:])
    return made


def norm_weights(seed: int, width: int = WIDTH) -> dict[str, np.ndarray]:
    return {"gamma": 1 + numbers(seed, width), "beta": numbers(seed + 1, width)}


# -- Keras's documented mathematics, (n, tokens, channels), in double precision


def attended(
    query: np.ndarray, value: np.ndarray, w: dict[str, np.ndarray], key: np.ndarray | None = None
) -> np.ndarray:
    """softmax(q k' / sqrt(key_dim)) v of each head by itself, then the output's kernel, head by head."""
    total: Any = w.get("attention_output/bias", 0.0)
    for h in range(HEADS):
        q, k, v = (
            x.astype(np.float64) @ w[f"{part}/kernel"][:, h] + (w[f"{part}/bias"][h] if f"{part}/bias" in w else 0.0)
            for part, x in (("query", query), ("key", value if key is None else key), ("value", value))
        )
        scores = np.stack([a @ b.T for a, b in zip(q, k, strict=True)]) / math.sqrt(q.shape[-1])
        total = total + softmax(scores) @ v @ w["attention_output/kernel"][h]
    return np.asarray(total)


def normed(x: np.ndarray, w: dict[str, np.ndarray], epsilon: float) -> np.ndarray:
    scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon)
    return np.asarray(scaled * w.get("gamma", 1.0) + w.get("beta", 0.0))


def gelu(x: np.ndarray) -> np.ndarray:
    return np.asarray(x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2))))


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))


# -- whole encoders


def encoder(bias: bool) -> tuple[dict[str, Any], Arrays]:
    """Patches by a Conv1D, learned positions, two blocks (norm first, then norm last), mean over the tokens."""
    a: Arrays = {
        "patches": {"kernel": numbers(1, 3, 4, WIDTH), "bias": numbers(2, WIDTH)},
        "places": {"kernel": numbers(3, WIDTH, WIDTH), "bias": numbers(4, TOKENS, WIDTH)},
        "norm1": norm_weights(5), "mha1": weights(10, bias=bias), "norm2": norm_weights(30),
        "up1": {"kernel": numbers(32, WIDTH, HIDDEN), "bias": numbers(33, HIDDEN)},
        "down1": {"kernel": numbers(34, HIDDEN, WIDTH), "bias": numbers(35, WIDTH)},
        "mha2": weights(40, bias=bias), "norm3": norm_weights(60),
        "up2": {"kernel": numbers(62, WIDTH, HIDDEN), "bias": numbers(63, HIDDEN)},
        "down2": {"kernel": numbers(64, HIDDEN, WIDTH), "bias": numbers(65, WIDTH)},
        "norm4": {"gamma": norm_weights(66)["gamma"]},
        "head": {"kernel": numbers(68, WIDTH, 3), "bias": numbers(69, 3)},
    }  # fmt: skip
    layers = [
        entry(3 * TOKENS, 4),
        layer("Conv1D", "patches", "input", kernel_size=[3], strides=[3]),
        layer("EinsumDense", "places", "patches", equation="abc,cd->abd", output_shape=[TOKENS, WIDTH], bias_axes="bd"),
        layer("LayerNormalization", "norm1", "places", axis=[2], epsilon=1e-6),
        multi_head("mha1", "norm1", use_bias=bias, value_dim=DEPTH, attention_axes=[1], output_shape=None),
        layer("Dropout", "drop", "mha1", rate=0.1),
        layer("Add", "add1", "places", "drop"),
        layer("LayerNormalization", "norm2", "add1", axis=-1),
        layer("Dense", "up1", "norm2", units=HIDDEN, activation="gelu"),
        layer("Dense", "down1", "up1", units=WIDTH),
        layer("Add", "add2", "add1", "down1"),
        multi_head("mha2", "add2", use_bias=bias),
        layer("Add", "add3", "add2", "mha2"),
        layer("LayerNormalization", "norm3", "add3", epsilon=1e-5),
        layer("Dense", "up2", "norm3", units=HIDDEN, activation="relu"),
        layer("Dense", "down2", "up2", units=WIDTH),
        layer("Add", "add4", "norm3", "down2"),
        layer("LayerNormalization", "norm4", "add4", center=False),
        layer("GlobalAveragePooling1D", "pool", "norm4"),
        layer("Dense", "head", "pool", units=3),
    ]
    return functional(layers), a


def expected(x: np.ndarray, a: Arrays) -> np.ndarray:
    t = x.reshape(len(x), TOKENS, -1) @ a["patches"]["kernel"].reshape(-1, WIDTH).astype(np.float64)
    t = (t + a["patches"]["bias"]) @ a["places"]["kernel"] + a["places"]["bias"]
    y = normed(t, a["norm1"], 1e-6)
    t = t + attended(y, y, a["mha1"])
    y = gelu(normed(t, a["norm2"], 1e-3) @ a["up1"]["kernel"] + a["up1"]["bias"])
    t = t + y @ a["down1"]["kernel"] + a["down1"]["bias"]
    t = normed(t + attended(t, t, a["mha2"]), a["norm3"], 1e-5)
    y = np.maximum(t @ a["up2"]["kernel"] + a["up2"]["bias"], 0)
    t = normed(t + y @ a["down2"]["kernel"] + a["down2"]["bias"], a["norm4"], 1e-3)
    return np.asarray(t.mean(1) @ a["head"]["kernel"] + a["head"]["bias"])


def positional(document: Any) -> None:
    """As Keras 3 writes `layer(x, x)`."""
    for one in document["config"]["layers"]:
        if one["class_name"] == "MultiHeadAttention":
            node = one["inbound_nodes"][0]
            node["args"], node["kwargs"] = [node["args"][0], node["kwargs"]["value"]], {"use_causal_mask": False}


def all_named(document: Any) -> None:
    """As Keras 3 writes `layer(query=x, value=x, key=x)`."""
    for one in document["config"]["layers"]:
        if one["class_name"] == "MultiHeadAttention":
            node = one["inbound_nodes"][0]
            x = node["args"][0]
            node["args"], node["kwargs"] = [], {"query": x, "value": x, "key": x, "attention_mask": None}


@pytest.mark.parametrize("form", ["h5", "named", "positional", "all named", "private"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_an_encoder_is_what_numpy_computes(tmp_path: Path, form: str, bias: bool) -> None:
    """Keras 2 and 3, however the attention is called and wherever its weights lie."""
    document, a = encoder(bias)
    if form == "h5":
        network = load(write_h5(tmp_path / "net.h5", document, a))
    else:
        change = {"positional": positional, "all named": all_named}.get(form, lambda d: None)
        path = write_keras(tmp_path / "net.keras", document, a, change, "_" if form == "private" else "")
        network = load(path)
    x = numbers(99, 3, 3 * TOKENS, 4)
    wanted = expected(x, a)
    assert np.abs(outputs(network, x) - wanted).max() <= 2e-6 * np.abs(wanted).max()
    kinds = [type(m) for m in network.module.modules()]
    assert (kinds.count(Attention), kinds.count(ChannelNorm), kinds.count(Bias)) == (2, 4, 1)


class Here(torch.nn.Module):
    """The same encoder by torch's own modules."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.places = torch.nn.Conv1d(4, WIDTH, 3, 3), torch.nn.Linear(WIDTH, WIDTH)
        self.bias = torch.nn.Parameter(torch.randn(TOKENS, WIDTH))
        self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(WIDTH) for _ in range(4))
        self.mha = torch.nn.ModuleList(torch.nn.MultiheadAttention(WIDTH, HEADS, batch_first=True) for _ in range(2))
        self.up = torch.nn.ModuleList(torch.nn.Linear(WIDTH, HIDDEN) for _ in range(2))
        self.down = torch.nn.ModuleList(torch.nn.Linear(HIDDEN, WIDTH) for _ in range(2))
        self.head = torch.nn.Linear(WIDTH, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        t = self.places(self.patches(x).transpose(1, 2)) + self.bias
        y = self.norms[0](t)
        t = t + self.mha[0](y, y, y)[0]
        t = t + self.down[0](torch.nn.functional.gelu(self.up[0](self.norms[1](t))))
        t = self.norms[2](t + self.mha[1](t, t, t)[0])
        t = self.norms[3](t + self.down[1](torch.relu(self.up[1](t))))
        out: torch.Tensor = self.head(t.mean(1))
        return out


def test_heads_hidden_units_and_blocks_can_go_as_from_pytorch(tmp_path: Path) -> None:
    """The same groups, blocks and multiplications as of torch's modules; names are the file's."""
    document, a = encoder(True)
    network = load(write_keras(tmp_path / "net.keras", document, a))
    here = to_network(Here(), (4, 3 * TOKENS), "here")

    def sizes(of: Network) -> list[tuple[str, int, int]]:
        return sorted((g.kind, g.size, g.channels_per_class) for g in find_filters(of) if g.removable)

    assert sizes(network) == sizes(here)
    assert [kind for kind, *_ in sizes(network)].count("heads") == 2
    assert ("hidden", HIDDEN, 1) in sizes(network)
    assert [u.removable for u in find_layers(network, 1)] == [u.removable for u in find_layers(here, 1)]
    assert sum(u.removable for u in find_layers(network, 1)) > 0
    assert network_macs(network) == network_macs(here)
    assert {"mha1_query.weight", "mha1_output.bias", "norm1.weight"} <= set(network.module.state_dict())


# -- one layer at a time


def alone(middle: list[dict[str, Any]], channels: int = WIDTH) -> dict[str, Any]:
    """Tokens as they come, `middle`, mean over the tokens."""
    return functional([entry(TOKENS, channels), *middle, layer("GlobalAveragePooling1D", "g", middle[-1]["name"])])


@pytest.mark.parametrize(
    "wide, out, depth, channels, settings",
    [
        (3, 8, 4, 8, {"value_dim": 3}),
        (4, 5, 4, 8, {"output_shape": 5}),
        (4, 5, 4, 8, {"output_shape": [5]}),
        (5, 7, 5, 7, {"key_dim": 5}),
        (2, 6, 3, 6, {"key_dim": 3, "value_dim": 2, "attention_axes": [-2], "flash_attention": True}),
    ],
    ids=["values of 3", "5 out", "5 out, listed", "heads of 5 for 7 channels", "all different"],
)
@pytest.mark.parametrize("form", ["h5", "keras"])
def test_depths_may_differ(
    tmp_path: Path, form: str, wide: int, out: int, depth: int, channels: int, settings: Any
) -> None:
    """Depths of keys and values that are no part of the width, another width behind; the scale is of key_dim."""
    a = {"mha": weights(1, channels, wide, out, depth)}
    document = alone([multi_head("mha", "input", **settings)], channels)
    path = tmp_path / ("net.h5" if form == "h5" else "net.keras")
    network = load((write_h5 if form == "h5" else write_keras)(path, document, a))
    x = numbers(20, 3, TOKENS, channels) * 3
    wanted = attended(x, x, a["mha"]).mean(1)
    assert network.classes == out
    assert np.abs(outputs(network, x) - wanted).max() <= 2e-6 * np.abs(wanted).max()


def test_tokens_may_attend_to_others(tmp_path: Path) -> None:
    """Keys and values from half as many tokens, of other channels, and not the same."""
    a: Arrays = {
        "v": {"kernel": numbers(1, 2, WIDTH, 5), "bias": numbers(2, 5)},
        "k": {"kernel": numbers(3, 2, WIDTH, 5), "bias": numbers(4, 5)},
        "mha": weights(5, other=5),
    }
    middle = [
        layer("Conv1D", "v", "input", kernel_size=[2], strides=[2]),
        layer("Conv1D", "k", "input", kernel_size=[2], strides=[2]),
        multi_head("mha", "input", {"value": ["v", 0, 0], "key": ["k", 0, 0], "training": False}),
    ]
    x = numbers(20, 3, TOKENS, WIDTH)
    v, k = (x.reshape(3, TOKENS // 2, -1) @ a[n]["kernel"].reshape(-1, 5) + a[n]["bias"] for n in ("v", "k"))
    wanted = attended(x, v, a["mha"], k).mean(1)
    for path in (
        write_h5(tmp_path / "net.h5", alone(middle), a),
        write_keras(tmp_path / "net.keras", alone(middle), a),
    ):
        assert np.abs(outputs(load(path), x) - wanted).max() <= 2e-6


def test_a_picture_attends_over_its_pixels(tmp_path: Path) -> None:
    """Attention over two dimensions is over all pixels; so it is where a Reshape makes them tokens before."""
    a = {"mha": weights(1)}
    x = numbers(20, 2, 3, 4, WIDTH)
    tokens = x.reshape(2, 12, WIDTH)
    wanted = attended(tokens, tokens, a["mha"]).mean(1)
    whole = functional([
        entry(3, 4, WIDTH), multi_head("mha", "input", attention_axes=[1, 2]),
        layer("GlobalAveragePooling2D", "g", "mha"),
    ])  # fmt: skip
    first = {"kernel": np.eye(WIDTH, dtype=np.float32)[None, None], "bias": np.zeros(WIDTH, np.float32)}
    flat = functional([
        entry(3, 4, WIDTH), layer("Conv2D", "c", "input", kernel_size=[1, 1]),
        layer("Reshape", "r", "c", target_shape=[-1, WIDTH]), multi_head("mha", "r"),
        layer("GlobalAveragePooling1D", "g", "mha"),
    ])  # fmt: skip
    for document in (whole, flat):
        network = load(write_keras(tmp_path / "net.keras", document, {"c": first, **a}))
        assert np.abs(outputs(network, x) - wanted).max() <= 2e-6


@pytest.mark.parametrize("kind", ["__numpy__", "__tensor__"])
def test_constant_positions_are_added(tmp_path: Path, kind: str) -> None:
    """`x + positions`, as Keras 2 and Keras 3 write an operator with an array, with and without the batch."""
    table, head = numbers(1, TOKENS, WIDTH), numbers(2, WIDTH, 3)
    old = layer("TFOpLambda", "plus", "input", function="__operators__.add")
    old["inbound_nodes"] = [["input", 0, 0, {"y": table.tolist(), "name": None}]]
    middle = [old, layer("Dense", "d", "plus", use_bias=False, activation="relu")]
    x = numbers(20, 3, TOKENS, WIDTH)
    wanted = np.maximum((x + table) @ head, 0).mean(1)

    def modern(document: Any) -> None:
        """Keras 3's own class for it, and its constant with a batch of one."""
        one = next(one for one in document["config"]["layers"] if one["name"] == "plus")
        one |= {"class_name": "Add", "module": "keras.src.ops.numpy", "config": {"name": "plus"}}
        array = {"class_name": kind, "config": {"value": table[None].tolist(), "dtype": "float32"}}
        one["inbound_nodes"] = [{"args": [_input(), array], "kwargs": {}}]

    def _input() -> Any:
        return {"class_name": "__keras_tensor__", "config": {"keras_history": ["input", 0, 0]}}

    a = {"d": {"kernel": head}}
    plain = alone([layer("Activation", "plus", "input", activation="linear"), middle[1]])
    for path in (
        write_h5(tmp_path / "net.h5", alone(middle), a),
        write_keras(tmp_path / "net.keras", plain, a, modern),
    ):
        network = load(path)
        assert np.abs(outputs(network, x) - wanted).max() <= 2e-6
        assert any(isinstance(m, Bias) for m in network.module.modules())


@pytest.mark.parametrize(
    "approximate, function", [(None, gelu), (False, gelu), (True, gelu_tanh)], ids=["default", "exact", "tanh"]
)
def test_gelu_is_keras(tmp_path: Path, approximate: bool | None, function: Any) -> None:
    """The exact one by name and by default in Keras 2; the approximation where it is asked for."""
    named = {} if approximate is None else {"approximate": approximate}
    act = layer("TFOpLambda", "act", "input", function="nn.gelu")
    act["inbound_nodes"] = [["input", 0, 0, named]]
    x = numbers(20, 3, TOKENS, WIDTH) * 4
    wanted = function(x).mean(1)
    assert np.abs(gelu(x).mean(1) - gelu_tanh(x).mean(1)).max() > 1e-5  # else the test tells nothing
    assert np.abs(outputs(load(write_h5(tmp_path / "net.h5", alone([act]), {})), x) - wanted).max() <= 1e-6
    if approximate is None:
        by_name = alone([layer("Activation", "act", "input", activation="gelu")])
        assert np.abs(outputs(load(write_keras(tmp_path / "net.keras", by_name, {})), x) - wanted).max() <= 1e-6


def test_a_norm_behind_the_pooling_and_a_linear_layer_by_einsum(tmp_path: Path) -> None:
    """(n, channels) is normalized too; `...x,xy->...y` is a Dense."""
    a: Arrays = {"n": norm_weights(1), "e": {"kernel": numbers(3, WIDTH, 4), "bias": numbers(4, 4)}}
    document = functional([
        entry(TOKENS, WIDTH), layer("GlobalAveragePooling1D", "g", "input"),
        layer("LayerNormalization", "n", "g", axis=[1], epsilon=0.01),
        layer("EinsumDense", "e", "n", equation="...x,xy->...y", output_shape=4, bias_axes="y", activation="relu"),
    ])  # fmt: skip
    x = numbers(20, 3, TOKENS, WIDTH)
    wanted = np.maximum(normed(x.mean(1), a["n"], 0.01) @ a["e"]["kernel"] + a["e"]["bias"], 0)
    for path in (write_h5(tmp_path / "net.h5", document, a), write_keras(tmp_path / "net.keras", document, a)):
        assert np.abs(outputs(load(path), x) - wanted).max() <= 2e-6


def test_attention_in_a_model_in_a_model_finds_its_weights(tmp_path: Path) -> None:
    """Keras 2 keeps all of the inner model's weights in one list, by their paths."""
    inner = functional([
        entry(TOKENS, WIDTH), multi_head("mha", "input"), layer("LayerNormalization", "n", "mha"),
    ])  # fmt: skip
    nested = {**inner, "name": "inner", "inbound_nodes": [[["input", 0, 0, {}]]]}
    document = alone([nested])
    a: Arrays = {"mha": weights(1), "n": norm_weights(20)}
    flat = {f"{name}/{k}": v for name, held in a.items() for k, v in held.items()}
    x = numbers(30, 3, TOKENS, WIDTH)
    wanted = normed(attended(x, x, a["mha"]), a["n"], 1e-3).mean(1)
    network = load(write_h5(tmp_path / "net.h5", document, {"inner": flat}))
    assert np.abs(outputs(network, x) - wanted).max() <= 2e-6


def test_what_is_behind_an_attention_may_be_cut_off(tmp_path: Path) -> None:
    """What cannot be read behind --cut-at does not matter."""
    document = functional([
        entry(1, WIDTH), multi_head("mha", "input"), layer("Flatten", "f", "mha"), layer("LSTM", "m", "f"),
    ])  # fmt: skip
    path = write_h5(tmp_path / "net.h5", document, {"mha": weights(1)})
    with pytest.raises(UserError, match=r"m \(LSTM\)"):
        load(path)
    x = numbers(30, 3, 1, WIDTH)
    assert np.abs(outputs(load(path, cut_at="f"), x) - attended(x, x, weights(1))[:, 0]).max() <= 2e-6


# -- what is refused


@pytest.mark.parametrize(
    "named, settings, message",
    [
        ({"use_causal_mask": True}, {}, "called with use_causal_mask; only attention of all tokens to all"),
        ({"attention_mask": [[True] * TOKENS] * TOKENS}, {}, "called with attention_mask; only"),
        ({"return_attention_scores": True}, {}, "called with return_attention_scores=True; call it without"),
        ({"training": True}, {}, "called with training=True"),
        ({}, {"output_shape": [2, 4]}, r"output_shape \[2, 4\]; only one number"),
        ({}, {"attention_axes": [2]}, r"attention_axes \[2\]; only all tokens"),
        ({}, {"num_heads": 0}, "num_heads 0"),
        ({}, {"key_dim": 3}, "query/kernel is 8x2x4, not 8x2x3"),
        ({}, {"value_dim": 5}, "value/kernel is 8x2x4, not 8x2x5"),
        ({}, {"output_shape": 5}, "attention_output/kernel is 2x4x8, not 2x4x5"),
        ({}, {"use_gate": True}, "use_gate=True; only attention without a gate"),
        ({"value": 3}, {}, "its query, value and key are not all tensors of the network"),
    ],
)
def test_other_attention_is_refused(tmp_path: Path, named: Any, settings: Any, message: str) -> None:
    """In one line with the layer's name, what it is and what to do."""
    document = alone([multi_head("mha", "input", {"value": ["input", 0, 0], **named}, **settings)])
    for path in (
        write_h5(tmp_path / "net.h5", document, {"mha": weights(1)}),
        write_keras(tmp_path / "net.keras", document, {"mha": weights(1)}),
    ):
        with pytest.raises(
            UserError, match=r"1 unsupported layer\(s\): mha \(MultiHeadAttention: " + message
        ) as caught:
            load(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "one, message",
    [
        (layer("LayerNormalization", "n", axis=[1, 2]), r"n \(LayerNormalization: axis \[1, 2\]; only the last"),
        (layer("LayerNormalization", "n", axis=1), r"n \(LayerNormalization: axis 1; only the last"),
        (
            layer("LayerNormalization", "n", rms_scaling=True),
            r"n \(LayerNormalization: rms_scaling=True; only the norm",
        ),
        (layer("EinsumDense", "n", equation="abc,bd->adc"), r"n \(EinsumDense: equation abc,bd->adc; only a linear"),
        (layer("EinsumDense", "n", equation="abc,cde->abde"), r"n \(EinsumDense: equation abc,cde->abde; only"),
    ],
)
def test_other_layers_of_transformers_are_refused(tmp_path: Path, one: Any, message: str) -> None:
    """Norms over other axes, other norms and other products, in one line each."""
    one = {**one, "inbound_nodes": [[["input", 0, 0, {}]]]}
    held = norm_weights(1) if one["class_name"] == "LayerNormalization" else {"kernel": numbers(1, WIDTH, WIDTH)}
    with pytest.raises(UserError, match=message) as caught:
        load(write_h5(tmp_path / "net.h5", alone([one]), {"n": held}))
    assert "\n" not in str(caught.value)


def test_lost_weights_are_named(tmp_path: Path) -> None:
    """A bias that the configuration asks for and the file lacks."""
    held = {k: v for k, v in weights(1).items() if k != "key/bias"}
    document = alone([multi_head("mha", "input")])
    with pytest.raises(UserError, match="layer mha has 1 of key, 2 expected"):
        load(write_keras(tmp_path / "net.keras", document, {"mha": held}))
    with pytest.raises(UserError, match="layer mha has 7, 8 expected"):
        load(write_h5(tmp_path / "net.h5", document, {"mha": held}))
