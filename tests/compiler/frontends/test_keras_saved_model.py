"""SavedModel folders: what numpy computes is what the Network computes; what is not supported is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from keras_files import conv, depthwise, norm, norm_arrays, numbers, pool, softmax
from saved_models import node, write_saved_model

from secateur.compiler.frontends.load import load_model
from secateur.errors import UserError
from secateur.models.network import Network
from secateur.models.preprocess import Preprocess

WINDOW = {"strides": [1, 2, 2, 1], "padding": "SAME", "dilations": [1, 1, 1, 1], "data_format": "NHWC"}
VALID = {**WINDOW, "strides": [1, 1, 1, 1], "padding": "VALID"}


def read(name: str) -> bytes:
    return node("ReadVariableOp", f"{name}_read", name)


def const(name: str, value: Any, kind: Any = np.int32) -> bytes:
    return node("Const", name, value=np.array(value, kind))


def network(folder: Path, sample: Any, nodes: list[bytes], result: str, variables: Any) -> Network:
    made = load_model(str(write_saved_model(folder, sample, nodes, result, variables)))
    assert isinstance(made, Network)
    return made


def outputs(made: Network, x: np.ndarray) -> np.ndarray:
    moved = np.moveaxis(x, -1, 1).reshape(-1, *made.input_shape)
    with torch.no_grad():
        found: np.ndarray = made.module(torch.from_numpy(made.preprocess(moved))).numpy()
    return found


def test_an_image_network_is_what_numpy_computes(tmp_path: Path) -> None:
    """Calls in calls, SAME, a dilated convolution in blocks, a norm, a computed shape, a permuted flatten."""
    w = norm_arrays(5, 6)
    v = {
        "k": numbers(1, 3, 3, 3, 6), "b": numbers(2, 6), "d": numbers(3, 3, 3, 6, 1), "e": numbers(4, 3, 3, 6, 6), **w,
        "rows": numbers(9, 2 * 2 * 6, 4),
    }  # fmt: skip
    norms = [f"{n}_read:value:0" for n in ("gamma", "beta", "moving_mean", "moving_variance")]
    ends = ("zero:output:0", "one:output:0", "one:output:0")
    nodes = [
        *(read(n) for n in v),
        const("half", 0.5, np.float32), node("Mul", "scaled", "x", "half:output:0"),
        node("Conv2D", "first", "scaled:z:0", "k_read:value:0", **WINDOW),
        node("BiasAdd", "biased", "first:output:0", "b_read:value:0"),
        node("Relu6", "six", "biased:output:0"),
        node("DepthwiseConv2dNative", "depth", "six:activations:0", "d_read:value:0", **WINDOW),
        node("FusedBatchNormV3", "norm", "depth:output:0", *norms, epsilon=0.01, is_training=False),
        const("block", [2, 2]), const("pads", [[2, 3], [2, 2]]), const("crops", [[0, 1], [0, 0]]),
        node("SpaceToBatchND", "apart", "norm:y:0", "block:output:0", "pads:output:0"),
        node("Conv2D", "wide", "apart:output:0", "e_read:value:0", **VALID),
        node("BatchToSpaceND", "together", "wide:output:0", "block:output:0", "crops:output:0"),
        node("AvgPool", "mean", "together:output:0", ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="SAME"),
        node("Shape", "sizes", "mean:output:0"),
        const("zero", [0]), const("one", [1]), const("count", 24),
        node("StridedSlice", "batch", "sizes:output:0", *ends, shrink_axis_mask=1),
        node("Pack", "target", "batch:output:0", "count:output:0", axis=0),
        node("Reshape", "flat", "mean:output:0", "target:output:0"),
        node("MatMul", "dense", "flat:output:0", "rows_read:value:0"),
        node("Softmax", "soft", "dense:product:0"),
    ]  # fmt: skip
    x = numbers(10, 3, 11, 13, 3) * 3
    t = np.clip(conv(x * 0.5, v["k"], 2, True) + v["b"], 0, 6)
    t = norm(depthwise(t, v["d"], 2, True), w, 0.01)
    t = pool(conv(t, v["e"], 1, True, 2), (2, 2), 2, True, False)
    made = network(tmp_path / "net", (11, 13, 3), nodes, "soft:softmax:0", v)
    assert np.abs(outputs(made, x) - softmax(t.reshape(3, -1) @ v["rows"])).max() <= 1e-6
    assert (made.input_shape, made.preprocess, made.name) == ((3, 11, 13), Preprocess((0.0,), (2.0,)), "net")


def test_a_series_is_one_dimensional(tmp_path: Path) -> None:
    """TensorFlow's Conv1D adds a dimension and takes it away; a Dense at each position goes over rows."""
    v = {"k": numbers(1, 3, 4, 5), "rows": numbers(2, 5, 3)}
    nodes = [
        *(read(n) for n in v),
        const("front", 1), const("zero", 0),
        node("ExpandDims", "image", "x", "front:output:0"),
        node("ExpandDims", "kernel", "k_read:value:0", "zero:output:0"),
        node("Conv2D", "conv", "image:output:0", "kernel:output:0", **{**WINDOW, "strides": [1, 1, 2, 1]}),
        node("Squeeze", "line", "conv:output:0", squeeze_dims=[-3]),
        const("flat", [-1, 5]), const("back", [-1, 6, 3]), const("time", [1]),
        node("Reshape", "positions", "line:output:0", "flat:output:0"),
        node("MatMul", "each", "positions:output:0", "rows_read:value:0"),
        node("Reshape", "again", "each:product:0", "back:output:0"),
        node("Relu", "relu", "again:output:0"),
        node("Mean", "mean", "relu:activations:0", "time:output:0", keep_dims=False),
    ]  # fmt: skip
    x = numbers(3, 2, 12, 4)
    around = np.pad(x, ((0, 0), (0, 1), (0, 0)))
    line = sum(around[:, i : i + 11 : 2] @ v["k"][i] for i in range(3))
    made = network(tmp_path / "net", (12, 4), nodes, "mean:output:0", v)
    assert made.input_shape == (4, 12) and type(made.module.get_submodule("conv")).__name__ == "Conv1d"
    assert np.abs(outputs(made, x) - np.maximum(line @ v["rows"], 0).mean(1)).max() <= 1e-6


def test_what_is_unsupported_is_listed(tmp_path: Path) -> None:
    """Name and operator of each, also behind another."""
    nodes = [node("Exp", "a", "x"), node("Relu", "b", "a:y:0"), node("Sinh", "c", "b:activations:0")]
    with pytest.raises(UserError, match=r"2 unsupported operator\(s\): a \(Exp\); c \(Sinh\)\.") as caught:
        network(tmp_path / "net", (4,), nodes, "c:y:0", {})
    assert "\n" not in str(caught.value)


def test_two_layers_of_one_variable_are_refused(tmp_path: Path) -> None:
    """Shared weights would be trained apart."""
    nodes = [
        read("w"),
        node("MatMul", "a", "x", "w_read:value:0"),
        node("MatMul", "b", "a:product:0", "w_read:value:0"),
    ]
    with pytest.raises(UserError, match=r"b \(MatMul: shares its weights with a\)"):
        network(tmp_path / "net", (3,), nodes, "b:product:0", {"w": numbers(1, 3, 3)})


@pytest.mark.parametrize(
    "name, change, message",
    [
        ("saved_model.pb", lambda b: b[: len(b) // 2], "no SavedModel that can be read"),
        ("saved_model.pb", lambda b: b"", "no graph in it"),
        ("saved_model.pb", lambda b: b.replace(b"outer", b"utter", 1), "unknown function"),
        ("variables/variables.index", lambda b: b[:-1] + b"x", "variables.index is no table"),
        ("variables/variables.data-00000-of-00001", lambda b: b[:-4], "is missing or too short for variable w/key"),
        ("variables/variables.data-00000-of-00001", lambda b: b"\xff" * len(b), "NaN or infinity in w"),
    ],
)
def test_a_damaged_folder_is_one_line(tmp_path: Path, name: str, change: Any, message: str) -> None:
    """What is wrong, and in which part."""
    nodes = [read("w"), node("MatMul", "a", "x", "w_read:value:0")]
    folder = write_saved_model(tmp_path / "net", (3,), nodes, "a:product:0", {"w": numbers(1, 3, 2)})
    load_model(str(folder / "saved_model.pb"))
    (folder / name).write_bytes(change((folder / name).read_bytes()))
    with pytest.raises(UserError, match=message) as caught:
        load_model(str(folder))
    assert "\n" not in str(caught.value)
