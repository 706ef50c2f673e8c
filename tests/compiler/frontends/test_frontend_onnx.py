"""ONNX of both PyTorch exporters, and of other hands, imported as a trainable network with the same outputs."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from secateur.compiler.frontends.onnx_file import load_onnx
from secateur.errors import UserError
from secateur.models.network import Network

Array = npt.NDArray[Any]


def write(
    path: Path,
    nodes: list[onnx.NodeProto],
    shape: list[int | str],
    constants: dict[str, Array] | None = None,
    opset: int = 18,
) -> Path:
    """A file with input x and output y."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(v, k) for k, v in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save_model(model, str(path))
    return path


def node(kind: str, inputs: str, output: str = "y", **attributes: Any) -> onnx.NodeProto:
    """`inputs`: names, `-` for one that is left out. The node's name is the operator's with its output."""
    names = ["" if n == "-" else n for n in inputs.split()]
    return helper.make_node(kind, names, output.split(), f"{kind}_{output.split()[0]}", **attributes)


def random(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


def check(path: Path, batch: int = 1) -> None:
    """The import equals ONNX Runtime to 1e-4 of the output's range, and computes on other batch sizes."""
    network = load_onnx(path)
    x = np.random.default_rng(1).standard_normal((batch, *network.input_shape)).astype(np.float32)
    theirs = onnxruntime.InferenceSession(str(path)).run(None, {"x": x})[0]
    with torch.no_grad():
        ours = network.module(torch.from_numpy(x)).numpy()
        assert network.module(torch.zeros(5, *network.input_shape)).shape[0] == 5
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 1e-4 * np.abs(theirs).max()


C = {"w": random(6, 4, 3, 3), "b": random(6)}
FLAT = node("Flatten", "t")
CASES: dict[str, tuple[list[onnx.NodeProto], list[int | str], dict[str, Array], int]] = {
    "asymmetric pads": ([node("Conv", "x w b", "t", pads=[0, 1, 1, 0], strides=[2, 2]), FLAT], [1, 4, 7, 7], C, 18),
    "same upper": ([node("Conv", "x w", "t", auto_pad="SAME_UPPER", strides=[2, 2]), FLAT], [1, 4, 8, 8], C, 18),
    "same lower": ([node("Conv", "x w", "t", auto_pad="SAME_LOWER", strides=[2, 2]), FLAT], [1, 4, 8, 8], C, 11),
    "valid": ([node("Conv", "x w", "t", auto_pad="VALID", dilations=[2, 1]), FLAT], [1, 4, 8, 8], C, 13),
    "grouped, one-dimensional": (
        [node("Conv", "x w", "t", group=2, pads=[1, 1]), FLAT], [1, 4, 9], {"w": random(6, 2, 3)}, 18,
    ),
    "batch norm, one and two dimensions": (
        [
            node("BatchNormalization", "x s b m v", "a", epsilon=1e-2), node("Relu", "a", "c"),
            node("Flatten", "c", "d"), node("MatMul", "d w", "e"), node("BatchNormalization", "e s b m v"),
        ],
        [1, 4, 3, 2],
        {"s": random(4), "b": random(4) + 2, "m": random(4), "v": random(4) ** 2 + 0.1, "w": random(24, 4)}, 15,
    ),
    "gemm with factors": (
        [node("Gemm", "x w b", alpha=0.5, beta=2.0)], ["n", 5], {"w": random(5, 3), "b": random(1, 3)}, 18,
    ),
    "matmul and add": (
        [node("MatMul", "x w", "t"), node("Add", "b t")], ["n", 5], {"w": random(5, 3), "b": random(3)}, 18,
    ),
    "clip, input minimum and maximum": (
        [node("Clip", "x lo hi", "t"), node("Clip", "t lo -")], [1, 5],
        {"lo": np.array(0, np.float32), "hi": np.array(6, np.float32)}, 18,
    ),
    "flatten by reshape, zeros allowed": (
        [node("Reshape", "x s", allowzero=1)], [1, 3, 4, 4], {"s": ints(1, 48)}, 18,
    ),
    "flatten by reshape, zero copies": ([node("Reshape", "x s")], ["n", 3, 4, 4], {"s": ints(0, -1)}, 18),
    "flatten by a computed shape": (
        [
            node("Shape", "x", "s"), node("Gather", "s i", "n"), node("Unsqueeze", "n a", "n1"),
            node("Concat", "n1 m", "t", axis=0), node("Reshape", "x t"),
        ],
        ["n", 3, 4, 4], {"i": np.array(0, np.int64), "a": ints(0), "m": ints(-1)}, 13,
    ),
    "shape with start and end": (
        [node("Shape", "x", "n", start=0, end=1), node("Concat", "n m", "t", axis=0), node("Reshape", "x t")],
        ["n", 3, 4], {"m": ints(-1)}, 15,
    ),
    "global average as the newer exporter writes it in one dimension": (
        [
            node("Unsqueeze", "x a", "t"), node("ReduceMean", "t r", "u", keepdims=1), node("Squeeze", "u a", "v"),
            node("Reshape", "v s", allowzero=1),
        ],
        [1, 3, 8], {"a": ints(2), "r": ints(-1, -2), "s": ints(1, 3)}, 18,
    ),
    "mean by attribute": ([node("ReduceMean", "x", axes=[2, 3], keepdims=0)], [1, 3, 4, 4], {}, 13),
    "global maximum": ([node("GlobalMaxPool", "x", "t"), FLAT], [1, 3, 4, 5], {}, 18),
    "pools": (
        [
            node("MaxPool", "x", "a", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
            node("AveragePool", "a", "c", kernel_shape=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1),
            node("AveragePool", "c", "t", kernel_shape=[2, 2], pads=[1, 1, 1, 1]), FLAT,
        ],
        [1, 3, 8, 8], {}, 18,
    ),
    "asymmetric maximum behind a relu": (
        [
            node("Relu", "x", "a"),
            node("MaxPool", "a", "t", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"), FLAT,
        ],
        [1, 3, 8, 8], {}, 18,
    ),
    "asymmetric maximum of any values": (
        [node("MaxPool", "x", "t", kernel_shape=[3, 2], strides=[2, 2], auto_pad="SAME_UPPER"), FLAT],
        [1, 3, 8, 7], {}, 18,
    ),
    "asymmetric average of what is inside": (
        [node("AveragePool", "x", "t", kernel_shape=[3, 3], strides=[2, 2], pads=[0, 1, 1, 1]), FLAT],
        [1, 3, 8, 7], {}, 18,
    ),
    "asymmetric average that counts": (
        [node("AveragePool", "x", "t", kernel_shape=[2], pads=[0, 1], count_include_pad=1), FLAT], [1, 3, 7], {}, 18,
    ),
    "pad by input and by axes": (
        [node("Pad", "x p v", "a"), node("Pad", "a q v r", "t"), FLAT], [1, 2, 4, 4],
        {"p": ints(0, 1, 0, 0, 0, 0, 2, 1), "q": ints(1, 2), "r": ints(-1), "v": np.array(0.5, np.float32)}, 18,
    ),
    "slices and splits": (
        [
            node("Slice", "x s e a k", "c"), node("Split", "c", "d f", axis=1, num_outputs=2),
            node("Concat", "f d f", "t", axis=1), FLAT,
        ],
        [1, 5, 8],
        {"s": ints(-4, 0), "e": ints(2**62, 7), "a": ints(1, 2), "k": ints(1, 3)}, 18,
    ),
    "products, sums and constants": (
        [
            node("Conv", "x w", "a"), node("Mul", "a h", "b1"), node("Sub", "b1 h", "c"), node("Div", "c h", "d"),
            node("Mul", "d a", "e"), node("Sum", "e a d", "f"), node("Neg", "f", "g"), node("Sub", "h g", "t"), FLAT,
        ],
        [1, 4, 5, 5], {**C, "h": np.array([0.5], np.float32)}, 18,
    ),
    "what changes nothing": (
        [
            node("Identity", "x", "a"), node("Dropout", "a", "b1"), node("Cast", "b1", "c", to=1),
            node("Transpose", "c", "d", perm=[0, 2, 1, 3]), node("Squeeze", "d a1", "e"), node("Softmax", "e", axis=-1),
        ],
        [1, 3, 1, 1], {"a1": ints(1, 3)}, 18,
    ),
    "opset 23": ([node("Conv", "x w", "t"), node("Relu", "t", "u"), node("Flatten", "u")], ["n", 4, 5, 5], C, 23),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_an_operator_gives_what_onnx_runtime_gives(tmp_path: Path, name: str) -> None:
    """Each form of each operator, old opsets and new, fixed batch and open."""
    nodes, shape, constants, opset = CASES[name]
    used = {i for n in nodes for i in n.input}
    check(write(tmp_path / "net.onnx", nodes, shape, {k: v for k, v in constants.items() if k in used}, opset))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU6())
        self.conv = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.bn = nn.BatchNorm2d(4)
        self.fc = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = F.relu(self.bn(self.conv(x)) + x)
        x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
        return torch.as_tensor(self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1)))


class Wave(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv1d(6, 8, 5, 2, 2), nn.Conv1d(6, 4, 1, 2)
        self.bn, self.fc = nn.BatchNorm1d(8), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([F.max_pool1d(F.relu(self.bn(self.a(x))), 2), F.avg_pool1d(self.b(x), 2)], 1)
        return F.softmax(self.fc(F.adaptive_avg_pool1d(x, 1).squeeze(-1)), dim=1)


def export(module: nn.Module, shape: tuple[int, ...], path: Path, dynamo: bool, open_batch: bool) -> None:
    """As a user would, with one of PyTorch's two exporters."""
    more: dict[str, Any] = {}
    if open_batch and dynamo:
        more["dynamic_shapes"] = ({0: torch.export.Dim("n")},)
    elif open_batch:
        more["dynamic_axes"] = {"x": {0: "n"}}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sample = torch.randn(2 if open_batch else 1, *shape)
        torch.onnx.export(
            module, (sample,), str(path), input_names=["x"], dynamo=dynamo, verbose=False, external_data=False, **more
        )


@pytest.mark.parametrize("open_batch", [False, True])
@pytest.mark.parametrize("dynamo", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("module, shape", [(Residual(), (3, 8, 8)), (Wave(), (6, 16))])
def test_both_exporters_of_pytorch_are_understood(
    tmp_path: Path, module: nn.Module, shape: tuple[int, ...], dynamo: bool, open_batch: bool
) -> None:
    """The import equals the module that was exported, and trains."""
    module.eval()
    export(module, shape, tmp_path / "net.onnx", dynamo, open_batch)
    network = load_onnx(tmp_path / "net.onnx")
    x = torch.randn(4, *shape)
    with torch.no_grad():
        assert torch.allclose(network.module(x), module(x), rtol=1e-4, atol=1e-6)
    network.module.train()
    network.module(x).square().sum().backward()
    assert all(p.grad is not None for p in network.module.parameters())


def test_weights_keep_the_names_of_the_file(tmp_path: Path) -> None:
    """`conv.weight` becomes the parameter of a module `conv`."""
    nodes = [node("Conv", "x stage.0.conv.weight", "t"), FLAT]
    path = write(tmp_path / "net.onnx", nodes, [1, 4, 5, 5], {"stage.0.conv.weight": C["w"]})
    assert list(load_onnx(path).module.state_dict()) == ["stage.0.conv.weight"]


def test_all_unsupported_operators_are_listed_at_once(tmp_path: Path) -> None:
    """By the node's name, with the reason where it is how the operator is used, and its domain."""
    nodes = [
        node("Mish", "x", "a"), node("Conv", "a w", "b1"),
        node("MaxPool", "b1", "c", kernel_shape=[2, 2], dilations=[2, 2]),
        node("Softplus", "c", "d"), node("Exp", "d"),
    ]  # fmt: skip
    path = write(tmp_path / "net.onnx", nodes, [1, 4, 8, 8], {"w": C["w"]}, 20)
    with pytest.raises(UserError) as caught:
        load_onnx(path)
    message = str(caught.value)
    assert "4 unsupported operator(s): Mish_a (Mish); MaxPool_c (MaxPool: dilations [2, 2]); " in message
    assert "Softplus_d (Softplus); Exp_y (Exp)" in message and "\n" not in message


def test_what_torch_cannot_place_is_named_as_in_the_file(tmp_path: Path) -> None:
    """A softmax over a wrong axis is found behind the operators, and carries the node's name."""
    path = write(tmp_path / "net.onnx", [node("Softmax", "x", "t", axis=3), FLAT], [1, 4, 8, 8])
    with pytest.raises(UserError, match=r"Softmax_t \(softmax: softmax over dimension 3"):
        load_onnx(path)


@pytest.mark.parametrize(
    "nodes, opset, message",
    [
        ([node("Conv", "x w", "a"), node("Softmax", "a", "t", axis=1), FLAT], 12, r"all dimensions from 1 on.*before"),
        ([node("Conv", "x w", "a"), node("PRelu", "a s", "t"), FLAT], 18, r"PRelu_t .*slope of shape .6,."),
    ],
)
def test_what_means_other_axes_than_the_channels_is_refused(
    tmp_path: Path, nodes: list[onnx.NodeProto], opset: int, message: str
) -> None:
    """Before opset 13 Softmax takes all that follows its axis; a slope of one dimension lies along the last."""
    constants = {"w": np.ones((6, 4, 3, 3), np.float32), "s": np.linspace(0.1, 0.6, 6, dtype=np.float32)}
    used = {name: value for name, value in constants.items() if any(name in n.input for n in nodes)}
    with pytest.raises(UserError, match=message):
        load_onnx(write(tmp_path / "net.onnx", nodes, [1, 4, 8, 8], used, opset))


def test_cut_at_ends_the_network_before_what_is_unsupported(tmp_path: Path) -> None:
    """By a value or a node; the tail is not even looked at."""
    nodes = [node("Flatten", "x", "t"), node("Exp", "t")]
    path = write(tmp_path / "net.onnx", nodes, [1, 4, 2])
    assert load_onnx(path, cut_at="t").classes == load_onnx(path, cut_at="Flatten_t").classes == 8
    with pytest.raises(UserError, match="no such node or value; the last ones are Flatten_t, Exp_y"):
        load_onnx(path, cut_at="z")


def test_an_open_dimension_asks_for_the_input_shape(tmp_path: Path) -> None:
    """Given, it is fixed; contradicting, it is refused."""
    nodes = [node("Conv", "x w", "a"), node("GlobalAveragePool", "a", "t"), FLAT]
    path = write(tmp_path / "net.onnx", nodes, ["n", 4, "h", "w"], {"w": C["w"]})
    with pytest.raises(UserError, match=r"input x is 4,\?,\? per sample. Fix it with --input-shape"):
        load_onnx(path)
    assert load_onnx(path, input_shape=(4, 9, 5)).input_shape == (4, 9, 5)
    with pytest.raises(UserError, match=r"--input-shape 3,9,5 contradicts the file's 4,\?,\?"):
        load_onnx(path, input_shape=(3, 9, 5))


def test_an_open_batch_may_be_one_inside(tmp_path: Path) -> None:
    """A Reshape to (1, -1), as exporters leave it where the code has a batch of 1; the network takes any batch."""
    nodes = [node("Conv", "x w", "a"), node("Reshape", "a r", "t"), node("MatMul", "t v")]
    constants = {"w": C["w"], "r": np.array([1, -1])}
    constants["v"] = np.random.default_rng(0).normal(size=(C["w"].shape[0] * 4, 3)).astype(np.float32)
    size = [2 + k - 1 for k in C["w"].shape[2:]]
    path = write(tmp_path / "net.onnx", nodes, ["n", C["w"].shape[1], *size], constants)
    network = load_onnx(path)
    assert isinstance(network, Network) and network.classes == 3
    assert network.module(torch.zeros(5, *network.input_shape)).shape == (5, 3)


@pytest.mark.parametrize("opset, message", [(9, "opset 9, supported are 11 to 23"), (24, "opset 24, supported")])
def test_an_opset_out_of_range_is_refused(tmp_path: Path, opset: int, message: str) -> None:
    """With the range and what to do."""
    with pytest.raises(UserError, match=message):
        load_onnx(write(tmp_path / "net.onnx", [node("Relu", "x")], [1, 4], opset=opset))


def test_several_inputs_outputs_and_other_types_are_refused(tmp_path: Path) -> None:
    """One float input, one output."""
    info = helper.make_tensor_value_info
    opset = [helper.make_opsetid("", 18)]
    x, z = info("x", TensorProto.FLOAT, [1, 2]), info("z", TensorProto.FLOAT, [1, 2])
    y = info("y", TensorProto.FLOAT, [1, 2])
    integer, integer_y = (info(name, TensorProto.INT32, [1, 2]) for name in "xy")
    for inputs, outputs, nodes, message in (
        ([x, z], [y], [node("Add", "x z")], r"2 inputs \(x, z\)"),
        ([x], [y, z], [node("Relu", "x"), node("Neg", "x", "z")], r"2 outputs \(y, z\).*--cut-at"),
        ([integer], [integer_y], [node("Abs", "x")], "input x is INT32"),
    ):
        model = helper.make_model(helper.make_graph(nodes, "g", inputs, outputs), opset_imports=opset, ir_version=8)
        onnx.save_model(model, str(tmp_path / "net.onnx"))
        with pytest.raises(UserError, match=message):
            load_onnx(tmp_path / "net.onnx")


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    """Absent, empty, nonsense, or cut off anywhere."""
    path = write(tmp_path / "net.onnx", CASES["pools"][0], [1, 3, 8, 8])
    whole = path.read_bytes()
    with pytest.raises(UserError, match="no such file"):
        load_onnx(tmp_path / "absent.onnx")
    for data in (b"", b"nonsense", *(whole[:n] for n in range(1, len(whole), 17))):
        path.write_bytes(data)
        with pytest.raises(UserError, match=r"no ONNX network|not a valid ONNX file") as caught:
            load_onnx(path)
        assert "\n" not in str(caught.value)


def test_missing_external_weights_are_one_line(tmp_path: Path) -> None:
    """The data file beside the .onnx is gone."""
    path = write(tmp_path / "net.onnx", CASES["valid"][0], [1, 4, 8, 8], {"w": C["w"]})
    model = onnx.load(str(path))
    onnx.save_model(model, str(path), save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(UserError, match="not a valid ONNX file") as caught:
        load_onnx(path)
    assert "\n" not in str(caught.value)
