"""ONNX as vendors give it: channels last, scaled inputs, open batches, folded batch norms, heads and tails."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from quantized_onnx import loaded, quantize_each_value, samples_of
from torch import nn

from secateur.compiler.frontends.load import load_model
from secateur.compiler.frontends.onnx_file import load_onnx
from secateur.compiler.session import Request, model_of
from secateur.errors import UserError
from secateur.models.network import Network
from secateur.models.preprocess import Preprocess
from secateur.passes.network.channels import find_filters

Array = npt.NDArray[Any]


def node(kind: str, inputs: str, output: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), output.split(), f"{kind}_{output.split()[0]}", **attributes)


def write(
    path: Path, nodes: list[onnx.NodeProto], shape: list[Any] | None, constants: dict[str, Array],
    kind: int = TensorProto.FLOAT, opset: int = 18, ir: int = 8, outputs: Any = None,
) -> Path:  # fmt: skip
    """A file with input x and output y, or `outputs`."""
    used = {i for n in nodes for i in n.input}
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", kind, shape)],
        outputs or [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items() if k in used],
    )  # fmt: skip
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save_model(helper.make_model(graph, opset_imports=imports, ir_version=ir), str(path))
    return path


def random(*shape: int) -> Array:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


def network_of(path: Path, **how: Any) -> Network:
    found = load_onnx(path, **how)
    assert isinstance(found, Network)
    return found


CONSTANTS = {
    "w": random(6, 3, 3, 3), "b": random(6), "fc": random(6, 4), "fb": random(4), "flat": random(60, 4),
    "mean": np.array([10, 20, 30], np.float32), "std": np.array([2, 3, 4], np.float32), "all": np.float32(255),
    "first": np.array([[[10]], [[20]], [[30]]], np.float32), "shape": ints(-1, 60),
}  # fmt: skip
TAIL = [node("GlobalAveragePool", "c", "g"), node("Flatten", "g", "f"), node("Gemm", "f fc fb")]
BODY = [node("Conv", "t w b", "c"), *TAIL]
FIRST = [0, 3, 1, 2]
LAST: dict[str, tuple[list[onnx.NodeProto], int]] = {
    "a transpose": ([node("Transpose", "x", "t", perm=FIRST), *BODY], TensorProto.FLOAT),
    "bytes, mean and standard deviation": (
        [node("Cast", "x", "q", to=1), node("Sub", "q mean", "r"), node("Div", "r std", "s"),
         node("Transpose", "s", "t", perm=FIRST), *BODY], TensorProto.UINT8,
    ),
    "scaling behind the transpose": (
        [node("Div", "x all", "q"), node("Transpose", "q", "r", perm=FIRST), node("Sub", "r first", "t"), *BODY],
        TensorProto.FLOAT,
    ),
    "flattened with the channels last": (
        [node("Transpose", "x", "t", perm=FIRST), node("Conv", "t k", "c"),
         node("Transpose", "c", "l", perm=[0, 2, 3, 1]),
         node("Relu", "l", "m"), node("Reshape", "m shape", "f"), node("MatMul", "f flat", "h"), node("Add", "h fb")],
        TensorProto.FLOAT,
    ),
    "there and back": (
        [node("Transpose", "x", "t", perm=FIRST), node("Conv", "t w b", "o"),
         node("Transpose", "o", "l", perm=[0, 2, 3, 1]), node("Relu", "l", "m"),
         node("Transpose", "m", "c", perm=FIRST), *TAIL],
        TensorProto.FLOAT,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAST)
def test_channels_last_becomes_channels_first(name: str, tmp_path: Path) -> None:
    """A Transpose at the input is the layout; casts and scaling become preprocessing; the outputs are equal."""
    nodes, kind = LAST[name]
    constants = {**CONSTANTS, "k": random(3, 3, 1, 1)}
    path = write(tmp_path / "net.onnx", nodes, ["n", 4, 5, 3], constants, kind)
    network = network_of(path)
    assert network.input_shape == (3, 4, 5)
    raw = np.random.default_rng(1).integers(0, 256, (6, 4, 5, 3))
    x = raw.astype(np.uint8 if kind == TensorProto.UINT8 else np.float32)
    theirs = onnxruntime.InferenceSession(str(path)).run(None, {"x": x})[0]
    with torch.no_grad():
        ours = network.module(torch.from_numpy(network.preprocess(np.moveaxis(raw, -1, 1)))).numpy()
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 1e-4 * np.abs(theirs).max()


@pytest.mark.parametrize(
    "kind", ["UINT8", "INT8", "UINT16", "INT16", "UINT32", "INT32", "INT64", "FLOAT16", "DOUBLE", "BOOL"]
)
def test_every_type_of_input_is_compared(kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Behind a Cast, ONNX Runtime gets the file's own type; nothing says that it could not run the file."""
    cast = [node("Cast", "x", "q", to=TensorProto.FLOAT), node("Transpose", "q", "t", perm=FIRST), *BODY]
    path = write(tmp_path / "net.onnx", cast, [1, 4, 5, 3], CONSTANTS, getattr(TensorProto, kind))
    assert network_of(path).input_shape == (3, 4, 5)
    assert "not compared" not in caplog.text


def test_the_files_scaling_is_behind_what_is_given(tmp_path: Path) -> None:
    """--mean and --std first, then the file's own, as one mean and standard deviation a channel."""
    nodes, kind = LAST["bytes, mean and standard deviation"]
    path = write(tmp_path / "net.onnx", nodes, [1, 4, 5, 3], CONSTANTS, kind)
    assert network_of(path).preprocess.mean == pytest.approx((10, 20, 30))
    given = network_of(path, preprocess=Preprocess((1.0,), (0.5,))).preprocess
    assert given.mean == pytest.approx((6, 11, 16))
    assert given.std == pytest.approx((1, 1.5, 2))


def test_a_transpose_that_no_layer_takes_in_is_refused(tmp_path: Path) -> None:
    """By name, with the reason."""
    nodes = [node("Transpose", "x", "t", perm=[0, 2, 3, 1]), node("Conv", "t w5", "c"), *TAIL]
    path = write(tmp_path / "net.onnx", nodes, [1, 3, 4, 5], {**CONSTANTS, "w5": random(6, 4, 2, 2)})
    with pytest.raises(UserError, match=r"Conv_c \(Conv2d: takes \(4, 5, 3\), whose elements are in another order"):
        load_onnx(path)


def test_layout_is_said_where_no_transpose_says_it(tmp_path: Path) -> None:
    """A Flatten of channels-last pixels: --layout nhwc; the columns of the layer behind it move."""
    nodes = [node("Reshape", "x shape", "f"), node("MatMul", "f flat", "h"), node("Add", "h fb")]
    path = write(tmp_path / "net.onnx", nodes, [1, 4, 5, 3], CONSTANTS)
    assert network_of(path).input_shape == network_of(path, layout="nchw").input_shape == (4, 5, 3)
    network = network_of(path, layout="nhwc")
    assert network.input_shape == (3, 4, 5)
    x = random(1, 4, 5, 3)
    theirs = onnxruntime.InferenceSession(str(path)).run(None, {"x": x})[0]
    with torch.no_grad():
        ours = network.module(torch.from_numpy(np.moveaxis(x, -1, 1).copy())).numpy()
    assert np.abs(ours - theirs).max() <= 1e-4 * np.abs(theirs).max()


def test_a_layout_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    """Unknown words, inputs without positions, files that are no ONNX."""
    path = write(tmp_path / "net.onnx", [node("Gemm", "x fc fb")], [1, 6], CONSTANTS)
    with pytest.raises(UserError, match="layout hwc: unknown; one of nchw, nhwc"):
        load_onnx(path, layout="hwc")
    with pytest.raises(UserError, match="--layout nhwc: input x has 2 dimensions; leave the option out"):
        load_onnx(path, layout="nhwc")
    with pytest.raises(UserError, match="--layout"):
        load_model("zoo:digits-net", layout="nhwc")


def test_an_input_shape_is_in_the_files_order(tmp_path: Path) -> None:
    """Rows, columns, channels for a channels-last file whose dimensions are open or missing."""
    for shape in (["n", "h", "w", "c"], ["n", None, None, 3], None):
        path = write(tmp_path / "net.onnx", LAST["a transpose"][0], shape, CONSTANTS)
        assert network_of(path, input_shape=(8, 9, 3)).input_shape == (3, 8, 9)
    path = write(tmp_path / "net.onnx", LAST["a transpose"][0], ["n", None, None, 3], CONSTANTS)
    with pytest.raises(UserError, match=r"input x is \?,\?,3 per sample. Fix it with --input-shape"):
        load_onnx(path)
    with pytest.raises(UserError, match=r"--input-shape 3,8,9 contradicts the file's \?,\?,3"):
        load_onnx(path, input_shape=(3, 8, 9))


@pytest.mark.parametrize("opset,ir", [(11, 4), (11, 6), (12, 7), (13, 7), (14, 8), (15, 8), (17, 8), (18, 9), (21, 10)])
@pytest.mark.parametrize("batch", [1, 4, -1, "batch_size", None])
def test_every_batch_and_version_that_vendors_give(batch: Any, opset: int, ir: int, tmp_path: Path) -> None:
    """A number, -1, a symbol or nothing; opsets 11 to 21."""
    path = write(tmp_path / "net.onnx", BODY_FIRST, [batch, 3, 8, 8], CONSTANTS, opset=opset, ir=ir)
    network = network_of(path)
    assert network.input_shape == (3, 8, 8)
    x = random(4 if batch != 1 else 1, 3, 8, 8)
    theirs = onnxruntime.InferenceSession(str(path)).run(None, {"x": x})[0]
    with torch.no_grad():
        ours = network.module(torch.from_numpy(x)).numpy()
        assert network.module(torch.zeros(5, 3, 8, 8)).shape == (5, 4)
    assert np.abs(ours - theirs).max() <= 1e-4 * np.abs(theirs).max()


BODY_FIRST = [node("Conv", "x w b", "c"), *TAIL]


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.n = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.b, self.m = nn.Conv2d(8, 10, 3, padding=1, bias=False), nn.BatchNorm2d(10)
        self.fc = nn.Linear(10, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.m(self.b(torch.relu(self.n(self.a(x))))))
        return torch.as_tensor(self.fc(x.mean((2, 3))))


@pytest.mark.parametrize("folded", [True, False])
def test_folded_and_unfolded_batch_norms_leave_the_same_filters_to_remove(folded: bool, tmp_path: Path) -> None:
    """The exporter folds them into biases, or leaves them behind the convolution."""
    path = tmp_path / "net.onnx"
    torch.manual_seed(0)
    module = Normed().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, (torch.randn(1, 3, 8, 8),), str(path), dynamo=False, do_constant_folding=folded,
            training=torch.onnx.TrainingMode.EVAL if folded else torch.onnx.TrainingMode.PRESERVE,
        )  # fmt: skip
    kinds = [n.op_type for n in onnx.load(str(path)).graph.node]
    assert kinds.count("BatchNormalization") == (0 if folded else 2)
    groups = find_filters(network_of(path))
    assert [g.size for g in groups if g.removable] == [8, 10]


def maps(name: str) -> onnx.ValueInfoProto:
    """A sequence of maps, as scikit-learn's classifiers give."""
    pair = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    return helper.make_value_info(name, helper.make_sequence_type_proto(pair))


END = [*BODY_FIRST[:-1], node("Gemm", "f fc fb", "logits")]
TAILS: dict[str, tuple[list[onnx.NodeProto], Any]] = {
    "ArgMax": ([node("ArgMax", "logits", "a", axis=1), node("Cast", "a", "y", to=1)], None),
    "TopK": ([node("TopK", "logits one", "y i", axis=1)], None),
    "Greater": (
        [node("Sigmoid", "logits", "s"), node("Greater", "s half", "big"), node("Cast", "big", "y", to=1)], None,
    ),
    "ZipMap": (
        [node("ZipMap", "logits", domain="ai.onnx.ml", classlabels_int64s=[*range(4)])],
        [maps("y")],
    ),
    "NonMaxSuppression": (
        [node("Unsqueeze", "logits zero", "boxes"), node("Unsqueeze", "logits both", "scores"),
         node("NonMaxSuppression", "boxes scores", "n"), node("Cast", "n", "y", to=1)], None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TAILS)
def test_an_unsupported_tail_proposes_where_to_cut_it_off(name: str, tmp_path: Path) -> None:
    """The name in the error, given to --cut-at, is a network."""
    nodes, outputs = TAILS[name]
    constants = {**CONSTANTS, "one": ints(1), "zero": ints(0), "both": ints(1, 2), "half": np.float32(0.5)}
    path = write(tmp_path / "net.onnx", [*END, *nodes], [1, 3, 8, 8], constants, outputs=outputs)
    with pytest.raises(UserError, match=rf"\({'ai.onnx.ml.' * (name == 'ZipMap')}{name}") as caught:
        load_onnx(path)
    line = str(caught.value)
    assert "\n" not in line
    proposed = line.split("with --cut-at NAME: ")[1].split(". Supported")[0]
    assert proposed == ("s" if name == "Greater" else "logits")
    assert network_of(path, cut_at=proposed).classes == 4


def test_no_name_is_proposed_where_none_is_a_row_a_sample(tmp_path: Path) -> None:
    """A backbone alone, or a Resize at the input: it says what else to do."""
    constants = {**CONSTANTS, "up": np.array([1, 1, 2, 2], np.float32), "none": np.zeros(0, np.float32)}
    path = write(tmp_path / "net.onnx", [node("Conv", "x w b", "c"), node("Cos", "c")], [1, 3, 8, 8], constants)
    with pytest.raises(UserError, match=r"Cos_y \(Cos\). Replace them; nothing before them can be the network's"):
        load_onnx(path)
    head = [node("Resize", "x none up", "t"), *BODY]
    with pytest.raises(UserError, match=r"Resize_t \(Resize\).*what only prepares the input x is cut off with onnx"):
        load_onnx(write(tmp_path / "net.onnx", head, [1, 3, 8, 8], constants))


def test_a_feature_map_as_output_proposes_a_row_before_it(tmp_path: Path) -> None:
    """Not one number a class: the last value that is."""
    nodes = [*END, node("Unsqueeze", "logits both", "y")]
    path = write(tmp_path / "net.onnx", nodes, [1, 3, 8, 8], {**CONSTANTS, "both": ints(2, 3)})
    with pytest.raises(UserError, match=r"output y has shape \(4, 1, 1\) per sample.*--cut-at logits\."):
        load_onnx(path)


def test_a_quantized_file_is_cut_too(tmp_path: Path) -> None:
    """The name in the error is a Program, and ends in the integers that were read."""
    floats = write(
        tmp_path / "float.onnx", [*END[:-1], node("Gemm", "f fc fb")], [1, 3, 8, 8], CONSTANTS, opset=21, ir=10
    )
    path = quantize_each_value(floats, tmp_path / "int8.onnx", samples_of((3, 8, 8), 8))
    model = onnx.load(str(path))
    model.graph.node.append(node("ArgMax", "y_dq", "best", axis=1))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("best", TensorProto.INT64, None))
    onnx.save_model(model, str(path))
    with pytest.raises(UserError, match=r"ArgMax_best \(ArgMax: no integer arithmetic.*--cut-at NAME: y_dq\.$"):
        load_onnx(path)
    assert [o.kind for o in loaded(path, cut_at="y_dq").ops] == ["CONV_2D", "MEAN", "RESHAPE", "FULLY_CONNECTED"]
    assert loaded(path, cut_at="c").ops[-1].kind == "CONV_2D"


def test_a_quantized_channels_last_file_has_no_transpose_left(tmp_path: Path) -> None:
    """Whether the integers or the floats are moved; scaling in front is preprocessing."""
    nodes = [node("Sub", "x mean", "r"), node("Transpose", "r", "t", perm=FIRST), *BODY]
    floats = write(tmp_path / "float.onnx", nodes[1:], [1, 8, 8, 3], {**CONSTANTS}, opset=21, ir=10)
    floats_graph = onnx.load(str(floats))
    floats_graph.graph.node[0].input[0] = "x"
    onnx.save_model(floats_graph, str(floats))
    path = quantize_each_value(floats, tmp_path / "int8.onnx", samples_of((8, 8, 3), 8))
    program = loaded(path)
    assert program.tensors[program.inputs[0]].shape == (1, 8, 8, 3)
    assert "TRANSPOSE" not in {o.kind for o in program.ops}
    model = onnx.load(str(path))
    for n in model.graph.node:
        n.input[:] = ["r" if i == "x" else i for i in n.input]
    model.graph.node.insert(0, nodes[0])
    model.graph.initializer.append(numpy_helper.from_array(CONSTANTS["mean"], "mean"))
    onnx.save_model(model, str(path))
    scaled = loaded(path)
    assert scaled.preprocess.mean == (10.0, 20.0, 30.0)
    assert [o.kind for o in scaled.ops] == [o.kind for o in program.ops]


def test_a_preprocess_file_stands_in_front_of_the_files_own_scaling(tmp_path: Path) -> None:
    """Its mean and std first, then those of the graph; its decisions stay."""
    nodes, kind = LAST["bytes, mean and standard deviation"]
    path = write(tmp_path / "net.onnx", nodes, [1, 4, 5, 3], CONSTANTS, kind)
    (tmp_path / "p.toml").write_text("[normalize]\nmean = [1.0]\nstd = [0.5]\n")
    request = Request(model=str(path), target="esp32", preprocess=tmp_path / "p.toml")
    model, content = model_of(request, lambda line: None)
    assert content is None
    assert model.preprocess.mean == pytest.approx((6, 11, 16))
    assert model.preprocess.std == pytest.approx((1, 1.5, 2))
