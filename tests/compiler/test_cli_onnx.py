"""ONNX files through the command line: quantized, channels last, cut, and without labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType
from quantized_onnx import quantize_file
from sklearn.datasets import load_digits

from secateur.compiler.export.onnx import export_onnx
from secateur.compiler.frontends.load import load_model
from secateur.models.network import Network


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A folder with digits.npz, plain.npz (no labels) and the digits network as float.onnx, int8.onnx, uint8.onnx."""
    folder = tmp_path_factory.mktemp("onnx")
    table = load_digits()
    x = table.images[:, np.newaxis].astype(np.float32)
    np.savez(folder / "digits.npz", x_train=x[:1200], y_train=table.target[:1200], x_test=x[1200:],
             y_test=table.target[1200:])  # fmt: skip
    np.savez(folder / "last.npz", x_train=np.moveaxis(x[:1200], 1, -1), y_train=table.target[:1200],
             x_test=np.moveaxis(x[1200:], 1, -1), y_test=table.target[1200:])  # fmt: skip
    np.savez(folder / "plain.npz", x_train=x[:1000], x_test=x[1000:])
    network = load_model("zoo:digits-net")
    assert isinstance(network, Network)
    export_onnx(network, folder / "float.onnx")
    samples = network.preprocess(x[:64])
    quantize_file(folder / "float.onnx", folder / "int8.onnx", samples)
    quantize_file(folder / "float.onnx", folder / "uint8.onnx", samples, QuantType.QUInt8)
    return folder


@pytest.mark.emulator
@pytest.mark.slow
def test_a_quantized_file_is_inspected_checked_and_compiled(called, digits, tmp_path):
    """As a .tflite is: exact against TFLM, nothing pruned; signed and unsigned activations give the same image."""
    path = str(digits / "int8.onnx")
    code, printed, said = called(["inspect", path, "--json"])
    found = json.loads(printed)
    assert (code, found["filters"], found["layers"]) == (0, [], []), said
    code, printed, said = called(["check", path, "-t", "esp32", "--json"])
    assert (code, json.loads(printed)[0]["fits"]) == (0, True), said
    contents = []
    for kind in ("int8", "uint8"):
        out = tmp_path / kind
        code, printed, said = called(["compile", str(digits / f"{kind}.onnx"), "-t", "host", "--recovery", "full",
                                      "--data", str(digits / "digits.npz"), "-o", str(out)])  # fmt: skip
        assert code == 0, said
        assert "outputs equal the golden runtime: 32 samples, 320 values, 0 mismatches" in printed
        report = json.loads((out / "report.json").read_text())
        assert report["result"]["accuracy_int8"] > 93
        assert report["steps"] == []
        contents.append((out / "model.tflite").read_bytes())
    assert contents[0] == contents[1]
    code, _, said = called(
        ["compile", path, "-t", "host", "--data", str(digits / "plain.npz"), "-o", str(tmp_path / "p")]
    )
    assert code == 2
    assert "has no labels, and int8 has no float network to agree with" in said.splitlines()[-1]


@pytest.mark.slow
def test_a_channels_last_onnx_takes_data_of_either_layout(called, digits, tmp_path):
    """A Transpose in front of the same network; both npz give the same report."""
    model = onnx.load(str(digits / "float.onnx"))
    entry = model.graph.input[0]
    shape = entry.type.tensor_type.shape
    first, height, width = (shape.dim[i].dim_value for i in (1, 2, 3))
    for i, size in enumerate((height, width, first), 1):
        shape.dim[i].dim_value = size
    inner, entry.name = entry.name, "image"
    model.graph.node.insert(0, helper.make_node("Transpose", ["image"], [inner], "to_first", perm=[0, 3, 1, 2]))
    onnx.save_model(model, str(tmp_path / "last.onnx"))
    found = []
    for data in ("digits", "last"):
        out = tmp_path / data
        code, _, said = called(
            ["compile", str(tmp_path / "last.onnx"), "-t", "esp32", "--data", str(digits / f"{data}.npz"),
             "--run", "none", "--recovery", "none", "-o", str(out)]
        )  # fmt: skip
        assert code == 0, said
        found.append(json.loads((out / "report.json").read_text())["result"])
    assert found[0] == found[1]
    assert found[0]["accuracy_float"] > 93


@pytest.mark.slow
def test_an_onnx_without_labels_is_pruned_to_agree_with_itself(called, digits, tmp_path):
    """Recovery distils from the input network, and the report says that accuracy is agreement with it."""
    out = tmp_path / "out"
    code, printed, said = called(
        ["compile", str(digits / "float.onnx"), "-t", "esp32", "--data", str(digits / "plain.npz"), "--run", "none",
         "--max-flash", "40000", "--max-drop", "5", "--steps", "100", "-o", str(out)]
    )  # fmt: skip
    assert code == 0, said
    report = json.loads((out / "report.json").read_text())
    assert (report["task"], report["metric"], report["baseline"]["accuracy_float"]) == ("agreement", "agreement", 100)
    assert report["steps"]
    assert report["result"]["accuracy_int8"] > 90
    assert any("There are no labels" in note for note in report["details"]["notes"])
    assert "Agreement, int8" in printed


def test_a_tail_is_proposed_and_cut_on_the_command_line(called, digits, tmp_path):
    """One line with exit code 2, whose name is then taken by inspect."""
    model = onnx.load(str(digits / "float.onnx"))
    logits = model.graph.output[0].name
    model.graph.initializer.append(numpy_helper.from_array(np.array([3], np.int64), "three"))
    model.graph.node.append(helper.make_node("TopK", [logits, "three"], ["best", "places"], "best_three"))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("best", TensorProto.FLOAT, None))
    path = tmp_path / "top.onnx"
    onnx.save_model(model, str(path))
    code, _, said = called(["inspect", str(path)])
    assert code == 2
    assert said.count("\n") == 1
    assert f"best_three (TopK). Replace them, or end the network before them with --cut-at NAME: {logits}." in said
    code, printed, said = called(["inspect", str(path), "--cut-at", logits])
    assert code == 0, said
    assert "conv_2d" in printed


def test_layout_of_what_is_no_onnx_is_refused(called):
    """One line, exit code 2."""
    code, _, said = called(["check", "zoo:digits-net", "-t", "esp32", "--layout", "nhwc"])
    assert (code, said.count("\n")) == (2, 1)
    assert "--layout does not go with this kind of model" in said
    code, _, said = called(["inspect", str(Path(__file__).with_name("absent.onnx")), "--layout", "nhwc"])
    assert "no such file" in said
