"""Keras files: what numpy computes, channels last, is what the Network computes; what is not supported is told."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from keras_files import (
    Arrays,
    chain,
    conv,
    depthwise,
    entry,
    functional,
    layer,
    legacy_weights,
    modern,
    norm,
    norm_arrays,
    numbers,
    pool,
    softmax,
    write_h5,
    write_keras,
)

from secateur.compiler.frontends.load import load_model
from secateur.errors import UserError
from secateur.models.network import Network
from secateur.models.preprocess import Preprocess


def load(path: Path, **options: Any) -> Network:
    network = load_model(str(path), **options)
    assert isinstance(network, Network)
    return network


def outputs(network: Network, samples: np.ndarray) -> np.ndarray:
    """Of raw samples, channels last as Keras takes them."""
    x = samples if samples.ndim == 2 else np.moveaxis(samples, -1, 1)
    with torch.no_grad():
        result: np.ndarray = network.module(
            torch.from_numpy(network.preprocess(x.reshape(-1, *network.input_shape)))
        ).numpy()
    return result


def image_case() -> tuple[dict[str, Any], Arrays, np.ndarray, np.ndarray]:
    """SAME on odd and even sizes, fused activations, norms without scale or centre, a Flatten that is permuted."""
    a: Arrays = {
        "first": {"kernel": numbers(1, 3, 3, 3, 6), "bias": numbers(2, 6)},
        "norm1": {k: v for k, v in norm_arrays(3, 6).items() if k != "gamma"},
        "depth": {"depthwise_kernel": numbers(7, 3, 3, 6, 2)},
        "norm2": {k: v for k, v in norm_arrays(8, 12).items() if k != "beta"},
        "apart": {
            "depthwise_kernel": numbers(12, 3, 3, 12, 1), "pointwise_kernel": numbers(13, 1, 1, 12, 5),
            "bias": numbers(14, 5),
        },
        "wide": {"kernel": numbers(15, 3, 3, 5, 5), "bias": numbers(16, 5)},
        "dense": {"kernel": numbers(17, 3 * 2 * 5, 4), "bias": numbers(18, 4)},
    }  # fmt: skip
    same = {"strides": [2, 2], "padding": "same", "kernel_size": [3, 3]}
    document = chain(
        entry(17, 14, 3),
        layer("Rescaling", "scale", scale=0.5, offset=-1.0),
        layer("RandomFlip", "flip"),
        layer("Conv2D", "first", **same, activation="relu"),
        layer("BatchNormalization", "norm1", axis=[3], scale=False, epsilon=0.01, momentum=0.9),
        layer("ReLU", "six", max_value=6.0),
        layer("DepthwiseConv2D", "depth", **same, use_bias=False),
        layer("BatchNormalization", "norm2", axis=-1, center=False),
        layer("Activation", "act", activation="relu6"),
        layer("SeparableConv2D", "apart", kernel_size=[3, 3], padding="same", activation="linear"),
        layer("Conv2D", "wide", kernel_size=[3, 3], padding="same", dilation_rate=[2, 2]),
        layer("MaxPooling2D", "most", pool_size=[2, 2], padding="same"),
        layer("AveragePooling2D", "mean", pool_size=[3, 3], strides=[1, 1], padding="same"),
        layer("Cropping2D", "crop", cropping=[[1, 0], [0, 0]]),
        layer("ZeroPadding2D", "pad", padding=[[0, 1], [0, 0]]),
        layer("Dropout", "drop", rate=0.5),
        layer("Flatten", "flat"),
        layer("Dense", "dense", units=4, activation="softmax"),
    )
    x = numbers(20, 3, 17, 14, 3) * 4
    t = np.maximum(conv(x * 0.5 - 1, a["first"]["kernel"], 2, True) + a["first"]["bias"], 0)
    t = np.clip(norm(t, a["norm1"], 0.01), 0, 6)
    t = np.clip(norm(depthwise(t, a["depth"]["depthwise_kernel"], 2, True), a["norm2"]), 0, 6)
    t = depthwise(t, a["apart"]["depthwise_kernel"], 1, True)
    t = conv(t, a["apart"]["pointwise_kernel"]) + a["apart"]["bias"]
    t = conv(t, a["wide"]["kernel"], 1, True, 2) + a["wide"]["bias"]
    t = pool(pool(t, (2, 2), 2, True, True), (3, 3), 1, True, False)
    assert t.shape == (3, 3, 2, 5)
    return document, a, x, t


def image_expected(t: np.ndarray, a: Arrays) -> np.ndarray:
    t = np.pad(t[:, 1:], ((0, 0), (0, 1), (0, 0), (0, 0)))
    return softmax(t.reshape(len(t), -1) @ a["dense"]["kernel"] + a["dense"]["bias"])


@pytest.mark.parametrize("form", ["keras", "h5", "json"])
def test_an_image_network_is_what_numpy_computes(tmp_path: Path, form: str) -> None:
    """The three kinds of file, Keras 2 and 3: equal outputs, Rescaling is the preprocessing, weights are trainable."""
    document, arrays, x, t = image_case()
    if form == "keras":
        path = write_keras(tmp_path / "net.keras", document, arrays)
    elif form == "h5":
        path = write_h5(tmp_path / "net.h5", document, arrays)
    else:
        path = tmp_path / "net.json"
        path.write_text(json.dumps(document))
        with h5py.File(tmp_path / "net.h5", "w") as file:
            legacy_weights(file, document, arrays)
    network = load(path)
    assert np.abs(outputs(network, x) - image_expected(t, arrays)).max() <= 1e-6
    assert (network.input_shape, network.preprocess) == ((3, 17, 14), Preprocess((2.0,), (2.0,)))
    assert {"first.weight", "norm1.running_var", "depth.weight", "dense.bias"} <= set(network.module.state_dict())
    assert network.module.get_submodule("norm1").momentum == pytest.approx(0.1)
    if form == "json":
        assert load(tmp_path / "net.h5").hash() == network.hash()  # from the other side
        assert load(path, weights=tmp_path / "net.h5").hash() == network.hash()


def test_branches_are_what_numpy_computes(tmp_path: Path) -> None:
    """Add, Multiply by one value a channel, Concatenate, groups, global pooling with and without its dimensions."""
    a: Arrays = {
        "a": {"kernel": numbers(1, 1, 1, 4, 6), "bias": numbers(2, 6)},
        "b": {"kernel": numbers(3, 3, 3, 2, 6), "bias": numbers(4, 6)},
        "gate": {"kernel": numbers(5, 1, 1, 6, 6), "bias": numbers(6, 6)},
        "head": {"kernel": numbers(7, 1, 1, 12, 3), "bias": numbers(8, 3)},
    }
    layers = [
        entry(8, 6, 4),
        layer("Conv2D", "a", "input", kernel_size=[1, 1]),
        layer("Conv2D", "b", "input", kernel_size=[3, 3], padding="same", groups=2),
        layer("Add", "sum", "a", "b"),
        layer("GlobalAveragePooling2D", "squeeze", "sum", keepdims=True),
        layer("Conv2D", "gate", "squeeze", kernel_size=[1, 1], activation="relu"),
        layer("Multiply", "product", "sum", "gate"),
        layer("Concatenate", "both", "product", "a", axis=-1),
        layer("GlobalAveragePooling2D", "pool", "both"),
        layer("Reshape", "map", "pool", target_shape=[1, 1, 12]),
        layer("Conv2D", "head", "map", kernel_size=[1, 1]),
        layer("Flatten", "flat", "head"),
        layer("Softmax", "soft", "flat"),
    ]
    x = numbers(9, 2, 8, 6, 4)
    first = conv(x, a["a"]["kernel"]) + a["a"]["bias"]
    halves = [conv(x[..., i : i + 2], a["b"]["kernel"][..., j : j + 3], 1, True) for i, j in ((0, 0), (2, 3))]
    total = first + np.concatenate(halves, -1) + a["b"]["bias"]
    gate = np.maximum(conv(total.mean((1, 2), keepdims=True), a["gate"]["kernel"]) + a["gate"]["bias"], 0)
    pooled = np.concatenate([total * gate, first], -1).mean((1, 2))
    expected = softmax(pooled @ a["head"]["kernel"][0, 0] + a["head"]["bias"])
    for path in (
        write_h5(tmp_path / "net.h5", functional(layers), a),
        write_keras(tmp_path / "net.keras", functional(layers), a),
    ):
        assert np.abs(outputs(load(path), x) - expected).max() <= 1e-6


def test_a_series_is_what_numpy_computes(tmp_path: Path) -> None:
    """Conv1D, causal and strided SAME, Dense at each position, pooling over time."""
    a: Arrays = {
        "past": {"kernel": numbers(1, 3, 4, 5), "bias": numbers(2, 5)},
        "next": {"kernel": numbers(3, 3, 5, 6), "bias": numbers(4, 6)},
        "each": {"kernel": numbers(5, 6, 3), "bias": numbers(6, 3)},
    }
    document = chain(
        entry(21, 4),
        layer("Conv1D", "past", kernel_size=[3], padding="causal", dilation_rate=[2]),
        layer("Conv1D", "next", kernel_size=[3], strides=[2], padding="same"),
        layer("Dense", "each", activation="relu"),
        layer("GlobalAveragePooling1D", "pool"),
    )
    x = numbers(9, 2, 21, 4)
    early = np.pad(x, ((0, 0), (4, 0), (0, 0)))
    past = sum(early[:, 2 * i : 2 * i + 21] @ a["past"]["kernel"][i] for i in range(3)) + a["past"]["bias"]
    around = np.pad(past, ((0, 0), (1, 1), (0, 0)))
    following = sum(around[:, i : i + 21 : 2] @ a["next"]["kernel"][i] for i in range(3)) + a["next"]["bias"]
    expected = np.maximum(following @ a["each"]["kernel"] + a["each"]["bias"], 0).mean(1)
    network = load(write_keras(tmp_path / "net.keras", document, a))
    assert network.input_shape == (4, 21)
    assert np.abs(outputs(network, x) - expected).max() <= 1e-6


def test_a_nested_model_finds_its_weights(tmp_path: Path) -> None:
    """Keras 2 keeps a nested model's trained weights in front, and all of a frozen layer's behind them."""
    inner = chain(
        entry(5, 5, 2),
        layer("Conv2D", "c", kernel_size=[3, 3], use_bias=False),
        layer("BatchNormalization", "frozen", trainable=False),
        layer("BatchNormalization", "free"),
    )
    nested = {**inner, "name": "inner", "inbound_nodes": [[["input", 0, 0, {}]]]}
    document = functional([entry(5, 5, 2), nested, layer("Flatten", "flat", "inner")], "flat")
    document["config"]["layers"].append(layer("Dense", "dense", "flat", use_bias=False))
    document["config"]["output_layers"] = [["dense", 0, 0]]
    frozen, free = norm_arrays(1, 2), norm_arrays(9, 2)
    kernel, rows = numbers(20, 3, 3, 2, 2), numbers(21, 18, 3)
    flat = {"c/kernel": kernel, "free/gamma": free["gamma"], "free/beta": free["beta"]}
    flat |= {f"frozen/{k}": v for k, v in frozen.items()}
    flat |= {f"free/{k}": free[k] for k in ("moving_mean", "moving_variance")}
    path = write_h5(tmp_path / "net.h5", document, {"inner": flat, "dense": {"kernel": rows}})
    x = numbers(22, 3, 5, 5, 2)
    expected = norm(norm(conv(x, kernel), frozen), free).reshape(3, -1) @ rows
    assert np.abs(outputs(load(path), x) - expected).max() <= 1e-6


@pytest.mark.parametrize(
    "shape, layers, held",
    [
        ((6, 5), [layer("Reshape", "r", target_shape=[6, 5, 1]), layer("Flatten", "f")], (1, 6, 5)),
        ((6, 5), [layer("Flatten", "f")], (1, 6, 5)),
        ((4, 6, 5), [layer("Permute", "p", dims=[2, 3, 1]), layer("GlobalMaxPooling2D", "g")], (4, 6, 5)),
        ((60,), [layer("Reshape", "r", target_shape=[4, 5, 3]), layer("Flatten", "f")], (60,)),
        ((4, 5, 3), [layer("Flatten", "f")], (3, 4, 5)),
    ],
    ids=["a channel is added", "no channels", "channels first", "there and back", "image"],
)
def test_the_networks_input_is_what_its_data_is(tmp_path: Path, shape: Any, layers: Any, held: Any) -> None:
    """Shape layers in front choose the layout; the rows of the Dense behind them follow."""
    layers = json.loads(json.dumps(layers))
    maximum = layers[-1]["class_name"].startswith("Global")
    features = shape[0] if maximum else int(np.prod(shape))
    rows = numbers(1, features, 3)
    document = chain(entry(*shape), *layers, layer("Dense", "dense", use_bias=False))
    network = load(write_h5(tmp_path / "net.h5", document, {"dense": {"kernel": rows}}))
    assert network.input_shape == held
    x = numbers(2, 2, *shape)
    given = np.moveaxis(x, -1, 1) if held == (shape[-1], *shape[:-1]) else x.reshape(2, *held)
    with torch.no_grad():
        found = network.module(torch.from_numpy(np.ascontiguousarray(given))).numpy()
    expected = (x.max((2, 3)) if maximum else x.reshape(2, -1)) @ rows
    assert np.abs(found - expected).max() <= 1e-6


def test_the_models_scaling_comes_behind_the_given_one(tmp_path: Path) -> None:
    """Normalization in front, and --mean and --std before it, are one preprocessing; further in it is folded."""
    scale = layer("Normalization", "n", axis=[-1], mean=[1.0, 2.0], variance=[4.0, 9.0])
    rows = {"d": {"kernel": numbers(1, 2, 3), "bias": numbers(2, 3)}}
    document = chain(entry(2), scale, layer("Dense", "d"), layer("Rescaling", "s", scale=[1.0, 2.0, 3.0], offset=0.5))
    path = write_h5(tmp_path / "net.h5", document, rows)
    x = numbers(3, 4, 2)

    def expected(t: np.ndarray) -> np.ndarray:
        return ((t - [1, 2]) / [2, 3] @ rows["d"]["kernel"] + rows["d"]["bias"]) * [1, 2, 3] + 0.5

    assert load(path).preprocess == Preprocess((1.0, 2.0), (2.0, 3.0))
    assert np.abs(outputs(load(path), x) - expected(x)).max() <= 1e-6
    both = load(path, preprocess=Preprocess((5.0,), (10.0,)))
    assert np.abs(outputs(both, x) - expected((x - 5) / 10)).max() <= 1e-6


def test_all_that_is_unsupported_is_listed_at_once(tmp_path: Path) -> None:
    """Name, class and reason of each; a Lambda's code is not run."""
    document = chain(
        entry(8, 8, 2),
        layer("Conv2D", "c", kernel_size=[3, 3], activation="mish"),
        layer("LeakyReLU", "leak", negative_slope=0.1),
        layer("ThresholdedReLU", "over"),
        layer("Lambda", "code", function=["4wEAAAA=", None, None]),
        layer("LSTM", "memory"),
        layer("ReLU", "cap", max_value=4.0),
        layer("Dense", "d", activation="softplus"),
    )
    with pytest.raises(UserError) as caught:
        load(write_h5(tmp_path / "net.h5", document, {}))
    text = str(caught.value)
    assert "\n" not in text and "5 unsupported layer(s): c (Conv2D: activation mish); over (ThresholdedReLU); " in text
    assert "code (Lambda: its Python code is never run); memory (LSTM); d (Dense: activation softplus)." in text


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _without(name: str) -> Any:
    def cut(path: Path) -> None:
        with zipfile.ZipFile(path) as old:
            kept = {n: old.read(n) for n in old.namelist() if n != name}
        with zipfile.ZipFile(path, "w") as new:
            for n, content in kept.items():
                new.writestr(n, content)

    return cut


def _edit(change: Any) -> Any:
    def edit(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            change(file)

    return edit


def _nan(file: Any) -> None:
    file["model_weights/d/d/bias:0"][0] = np.nan


def _other_size(file: Any) -> None:
    del file["model_weights/d/d/bias:0"]
    file["model_weights/d/d/bias:0"] = np.zeros(7, np.float32)


def _absent(file: Any) -> None:
    del file["model_weights/d"]


def _elsewhere(file: Any) -> None:
    del file["model_weights/d/d/bias:0"]
    file["model_weights/d/d/bias:0"] = h5py.ExternalLink("other.h5", "/x")


@pytest.mark.parametrize(
    "suffix, spoil, message",
    [
        (".keras", _truncated, "not a Keras file .* bytes"),
        (".keras", _without("config.json"), "no config.json in it"),
        (".keras", _without("model.weights.h5"), "no model.weights.h5 in it"),
        (".h5", _truncated, "not a Keras file .* bytes"),
        (".h5", _edit(lambda f: f.attrs.__delitem__("model_config")), r"weights alone.*net\.json with model\.to_json"),
        (".h5", _edit(lambda f: f.attrs.__setitem__("model_config", "{")), "not valid JSON"),
        (".h5", _edit(lambda f: f.attrs.__setitem__("model_config", '{"class_name": "Mine"}')), "Mine of its own code"),
        (".h5", _edit(lambda f: f.attrs.__setitem__("model_config", "[1]")), "no Keras model in its configuration"),
        (".h5", _edit(_nan), "NaN or infinity in the weights of d"),
        (".h5", _edit(_other_size), r"d \(Dense: bias is 7, not 3\)"),
        (".h5", _edit(_absent), "weights do not fit its layers"),
        (".h5", _edit(_elsewhere), "stands in another file"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path: Path, suffix: str, spoil: Any, message: str) -> None:
    """What is wrong, and where there is one, the next step."""
    document = chain(entry(4), layer("Dense", "d", units=3))
    arrays = {"d": {"kernel": numbers(1, 4, 3), "bias": numbers(2, 3)}}
    path = tmp_path / f"net{suffix}"
    (write_keras if suffix == ".keras" else write_h5)(path, document, arrays)
    load(path)
    spoil(path)
    with pytest.raises(UserError, match=message) as caught:
        load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "layers, message",
    [
        ([layer("Conv2D", "c", kernel_size=[1, 1]), layer("Flatten", "f")], "output .*another order.*global pooling"),
        (
            [layer("GlobalMaxPooling2D", "g", keepdims=True), layer("Permute", "p", dims=[3, 1, 2])],
            "output .has shape 3x1x1 per sample",
        ),
        (
            [layer("MaxPooling2D", "m", pool_size=[2, 2], padding="odd")],
            r"m \(MaxPooling2D: padding odd; only valid and same\)",
        ),
        ([layer("MaxPooling2D", "m", pool_size=2, strides=1, padding="same")], r"m \(.*stride 1 with padding same"),
        ([layer("Reshape", "r", target_shape=[7, 7])], r"r \(Reshape: reshapes"),
        ([layer("BatchNormalization", "b", axis=1)], r"b \(BatchNormalization: "),
    ],
)  # fmt: skip
def test_what_cannot_be_said_names_its_layer(tmp_path: Path, layers: Any, message: str) -> None:
    """One line with the layer's name and class."""
    layers = json.loads(json.dumps(layers))
    arrays: Arrays = {"c": {"kernel": numbers(1, 1, 1, 3, 3), "bias": numbers(2, 3)}, "b": norm_arrays(3, 3)}
    document = chain(entry(4, 6, 3), *layers)
    with pytest.raises(UserError, match=message) as caught:
        load(write_h5(tmp_path / "net.h5", document, arrays))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("named", [{"training": True}, {"training": False}])
def test_a_layer_that_is_called_in_training_mode_is_refused(tmp_path: Path, named: dict[str, bool]) -> None:
    """A norm that uses the batch's own statistics for ever; training=False is what every import does."""
    arrays = {"b": norm_arrays(3, 4), "d": {"kernel": numbers(1, 4, 3), "bias": numbers(2, 3)}}
    old = chain(entry(4), layer("BatchNormalization", "b"), layer("Dense", "d", units=3))
    old["config"]["layers"][1]["inbound_nodes"][0][0][3] = named
    new = modern(chain(entry(4), layer("BatchNormalization", "b"), layer("Dense", "d", units=3)))
    new["config"]["layers"][1]["inbound_nodes"][0]["kwargs"] = named
    for document in (old, new):
        path = write_h5(tmp_path / "net.h5", document, arrays)
        if not named["training"]:
            assert load(path).classes == 3
            continue
        with pytest.raises(UserError, match=r"b \(BatchNormalization: called with training=True"):
            load(path)


def test_an_architecture_without_weights_says_what_is_missing(tmp_path: Path) -> None:
    """The .json alone, and weights of the wrong kind."""
    path = tmp_path / "net.json"
    path.write_text(json.dumps(chain(entry(4), layer("Dense", "d"))))
    with pytest.raises(UserError, match=r"architecture alone.*--weights w\.h5"):
        load(path)
    with pytest.raises(UserError, match=r"are an \.h5 file"):
        load(path, weights=tmp_path / "w.pt")
    with pytest.raises(UserError, match="--weights does not go"):
        load(tmp_path / "net.keras", weights=tmp_path / "w.h5")
