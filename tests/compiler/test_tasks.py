"""Tasks beyond accuracy, compiled: networks trained here on scikit-learn's digits and diabetes, and their floors."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn import metrics as reference
from sklearn.datasets import load_diabetes, load_digits

import secateur
from secateur.compiler.frontends.arrays import data_from_arrays
from secateur.compiler.frontends.data import load_data
from secateur.compiler.frontends.truth import Wanted
from secateur.compiler.judge import ends_in_logistic, real_output
from secateur.compiler.session import Result
from secateur.errors import UserError
from secateur.models.canonical import to_network
from secateur.models.data import Data
from secateur.models.front_end.decide import Decisions
from secateur.models.network import Network
from secateur.models.preprocess import Preprocess
from secateur.models.program import Op, Program, Quantization, Tensor, pack
from secateur.models.task import Anomaly, Classification, Regression
from secateur.models.training import Recipe, fit, predict
from secateur.models.zoo.mlp import Mlp

Arrays = dict[str, np.ndarray]


def trained(module: torch.nn.Module, name: str, data: Data, preprocess: Preprocess, steps: int, lr: float) -> Network:
    torch.manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, torch.nn.Linear):
            layer.reset_parameters()
    if isinstance(data.task, Regression):  # the way from 0 to the median is long in steps of its own spread
        torch.nn.init.constant_(list(module.parameters())[-1], data.task.median[0])
    recipe = Recipe(steps=steps, lr=lr, task=data.task, clip_norm=1.0)
    fit(module, data.recovery, recipe, 0, preprocess, data.validation)
    return to_network(module, data.recovery.x.shape[1:], name, (), preprocess)


def diabetes() -> Arrays:
    """One number, the progression of the disease in a year, of ten measured ones."""
    table = load_diabetes()
    x, y = table.data.astype(np.float32), table.target
    return {"x_train": x[:250], "y_train": y[:250], "x_test": x[250:], "y_test": y[250:]}


def labelled() -> Arrays:
    """Digits that are even, above four, prime: none, some or all of them."""
    table = load_digits()
    x, t = table.images[:, np.newaxis].astype(np.float32), table.target
    y = np.stack([t % 2 == 0, t > 4, np.isin(t, (2, 3, 5, 7))], axis=1).astype(np.int64)
    return {"x_train": x[:1000], "y_train": y[:1000], "x_test": x[1000:], "y_test": y[1000:]}


def strange() -> Arrays:
    """1, 7 and 9 are normal; recordings are of two digits, each wholly normal or wholly not."""
    table = load_digits()
    x, t = (table.images.reshape(-1, 64) / 16).astype(np.float32), table.target
    normal, other = x[np.isin(t, (1, 7, 9))], x[~np.isin(t, (1, 7, 9))][:240]
    count = len(normal) // 2 * 2 - 300
    return {
        "x_train": normal[:300], "x_test": np.concatenate([normal[300 : 300 + count], other]),
        "y_test": np.r_[np.zeros(count, int), np.ones(240, int)],
        "groups_train": np.arange(300) // 2, "groups_test": 1000 + np.arange(count + 240) // 2,
    }  # fmt: skip


@pytest.fixture(scope="module")
def regression() -> tuple[Network, Data]:
    data = data_from_arrays("diabetes", diabetes(), (10,), (), 0, Wanted(outputs=1))
    module = Mlp((10,), (32, 16), 1)
    return trained(module, "progression", data, Preprocess((0.0,), (0.0476,)), 300, 0.05), data


@pytest.fixture(scope="module")
def labels() -> tuple[Network, Data]:
    data = data_from_arrays("digits-labels", labelled(), (1, 8, 8), ("even", "high", "prime"), 0, Wanted(outputs=3))
    return trained(Mlp((1, 8, 8), (48, 24), 3), "labels", data, Preprocess((0.0,), (16.0,)), 250, 0.1), data


@pytest.fixture(scope="module")
def anomaly() -> tuple[Network, Data]:
    data = data_from_arrays("digits-anomaly", strange(), (64,), (), 0, Wanted(outputs=64))
    return trained(Mlp((64,), (32, 8, 32), 64), "autoencoder", data, Preprocess(), 400, 0.2), data


def compiled(pair: tuple[Network, Data], out: Path, steps: int = 0, **budget) -> Result:
    return secateur.compile(
        pair[0], target="esp32", data=pair[1], out=out / "out", budget=secateur.Budget(**budget),
        build=secateur.Build(run="none"), search=secateur.SearchOptions(total_steps=steps),
    )  # fmt: skip


def told(found: Result) -> dict:
    return json.loads((found.out / "report.json").read_text())


def test_regression_is_judged_by_skill_and_told_in_units(regression, tmp_path):
    """Percent is 100 less the error as a share of the constant's, on the test set, float and int8; MAE beside it."""
    network, data = regression
    found = compiled(regression, tmp_path)
    report = told(found)
    assert (report["task"], report["metric"], found.exit_code) == ("regression", "mae", 0)
    y, said = data.test.y[:, 0], predict(network.module, data.test.x, network.preprocess)[:, 0]
    constant = reference.mean_absolute_error(y, np.full(len(y), np.median(data.recovery.y)))
    error = reference.mean_absolute_error(y, said)
    measures = {m["name"]: m for m in report["details"]["measures"]}
    assert measures["MAE"]["before"] == pytest.approx(error, rel=1e-5)
    assert report["baseline"]["accuracy_float"] == pytest.approx(100 * (1 - error / constant), abs=1e-3)
    assert report["result"]["accuracy_int8"] == pytest.approx(100 * (1 - measures["MAE"]["after"] / constant), abs=1e-3)
    assert abs(measures["MAE"]["after"] - error) < 0.05 * error  # int8 of 60 points of disease is close to float
    low, high = report["result"]["accuracy_interval"]
    assert low < report["result"]["accuracy_int8"] < high
    assert report["details"]["confusion_result"] is None
    page = (found.out / "report.html").read_text()
    assert "<h2>MAE skill</h2>" in page and "units of y" in page and "ccuracy" not in page.replace("accuracy_", "")


def test_labels_are_judged_by_their_f1(labels, tmp_path):
    """scikit-learn's macro F1 of the float network above probability one half; int8 within two points of it."""
    network, data = labels
    report = told(compiled(labels, tmp_path, max_drop=2.0))
    outputs = predict(network.module, data.test.x, network.preprocess)
    f1 = 100 * reference.f1_score(data.test.y, outputs > 0, average="macro")
    assert report["baseline"]["accuracy_float"] == pytest.approx(f1, abs=1e-3)
    assert abs(report["result"]["accuracy_int8"] - f1) < 2
    names = [m["name"] for m in report["details"]["measures"]]
    assert names == ["mean average precision", "recall of even", "recall of high", "recall of prime"]


def test_reconstruction_is_judged_by_the_area_of_recordings(anomaly, tmp_path):
    """scikit-learn's area of the groups' mean errors; the exported file, compiled as it is, has the int8 one's."""
    network, data = anomaly
    found = compiled(anomaly, tmp_path)
    report = told(found)
    assert data.task == Anomaly(by_group=True)
    score = np.square(predict(network.module, data.test.x, network.preprocess) - data.test.x).mean(axis=1)
    groups = np.unique(data.test.groups)
    means = [score[data.test.groups == g].mean() for g in groups]
    kinds = [data.test.y[data.test.groups == g].max() for g in groups]
    assert report["baseline"]["accuracy_float"] == pytest.approx(100 * reference.roc_auc_score(kinds, means), abs=1e-3)
    assert any("AUC is of groups" in note for note in report["details"]["notes"])
    again = secateur.compile(
        found.out / "model.tflite", target="esp32", data=data, out=tmp_path / "again",
        budget=secateur.Budget(min_accuracy=99.99), build=secateur.Build(run="none"),
    )  # fmt: skip
    assert again.report.result.accuracy_int8 == found.report.result.accuracy_int8
    assert again.exit_code == 4


@pytest.mark.parametrize("name", ["regression", "labels", "anomaly"])
def test_a_floor_above_what_is_reached_ends_in_4(name, tmp_path, request):
    """--min-accuracy is the metric's percentage, and the words name the metric."""
    found = compiled(request.getfixturevalue(name), tmp_path, min_accuracy=99.99)
    word = {"regression": "MAE skill", "labels": "macro F1", "anomaly": "AUC"}[name]
    assert found.exit_code == 4
    (broken,) = found.report.budget.violations
    assert broken.limit == "accuracy" and broken.why.startswith(f"int8 {word} on validation is ")


@pytest.mark.parametrize(
    "name, how, doubted",
    [
        ("regression", "the recovery set's median", "channel order), and the unit and the order of the values?"),
        ("labels", "saying every label", "channel order), and the order of the labels?"),
        ("anomaly", "guessing", "channel order)?"),
    ],
)
def test_a_network_that_knows_nothing_stops_at_once(name, how, doubted, tmp_path, request):
    """Weights of zero, or normal taken for strange: one line that asks for the preprocessing, whatever the task."""
    network, data = request.getfixturevalue(name)
    if name == "anomaly":
        data = replace(data, validation=replace(data.validation, y=1 - data.validation.y))
    else:
        network = network.clone()
        for parameter in network.module.parameters():
            parameter.data.zero_()
    with pytest.raises(UserError, match="Is the preprocessing right") as caught:
        compiled((network, data), tmp_path)
    assert how in str(caught.value) and str(caught.value).endswith(doubted)


def test_outputs_that_are_not_the_task_s_are_one_line(regression, labels, anomaly, tmp_path):
    """Another number of outputs than values, labels or inputs; a softmax under several labels."""
    for network, data, message in (
        (regression[0], labels[1], r"samples are \(1, 8, 8\), progression takes \(10,\)"),
        (to_network(Mlp((10,), (8,), 2), (10,), "two"), regression[1], "1 values a sample, two has 2 outputs"),
        (to_network(Mlp((1, 8, 8), (8,), 4), (1, 8, 8), "four"), labels[1], "3 labels, four has 4 outputs"),
        (to_network(Mlp((64,), (8,), 2), (64,), "two"), anomaly[1], "two: 2 outputs for 64 input values"),
        (
            to_network(torch.nn.Sequential(Mlp((1, 8, 8), (8,), 3), torch.nn.Softmax(1)), (1, 8, 8), "soft"),
            labels[1], "soft: ends in a softmax, .* --cut-at",
        ),
    ):  # fmt: skip
        with pytest.raises(UserError, match=message):
            compiled((network, data), tmp_path)
    assert not (tmp_path / "out").exists()


def test_decisions_and_folders_are_of_classes(regression, tmp_path):
    """A preprocess.toml that smooths decisions, and a folder of recordings, with numbers to predict: one line each."""
    network, data = regression
    smoothed = replace(network, preprocess=replace(network.preprocess, decisions=Decisions(smooth=3)))
    with pytest.raises(UserError, match=r"decisions are between classes, or anomalies .*, not for regression"):
        compiled((smoothed, data), tmp_path)
    for number, name in enumerate(["walk/ann", "walk/bob", "walk/eve", "run/joe", "run/kim", "run/lea"]):
        (tmp_path / "csv" / name).mkdir(parents=True)
        rows = [f"{i},{(i * number) % 7}" for i in range(40)]
        (tmp_path / "csv" / name / "a.csv").write_text("\n".join(["x,y", *rows]) + "\n")
    load = partial(load_data, str(tmp_path / "csv"), (2, 10))
    with pytest.raises(UserError, match="folders and recordings hold classes; --task regression takes "):
        load(wanted=Wanted("regression", outputs=2))
    assert load(wanted=Wanted(metric="balanced", outputs=2)).task == Classification("balanced")


def test_a_folder_with_a_class_called_normal_shows_anomalies(tmp_path):
    """Whatever the other classes are called; recovery keeps normal windows only. Without `normal`: one line."""
    for number in range(18):
        (tmp_path / "csv" / ("normal", "worn", "loose")[number % 3]).mkdir(parents=True, exist_ok=True)
        rows = [f"{i},{(i * number) % 7}" for i in range(40)]
        file = tmp_path / "csv" / ("normal", "worn", "loose")[number % 3] / f"{number}.csv"
        file.write_text("\n".join(["x,y", *rows]) + "\n")
    wanted = Wanted("anomaly", outputs=20)
    data = load_data(str(tmp_path / "csv"), (2, 10), wanted=wanted)
    assert data.task == Anomaly() and data.labels == ("normal", "anomaly")
    assert not data.recovery.y.any() and set(data.validation.y) == set(data.test.y) == {0, 1}
    (tmp_path / "csv" / "normal").rename(tmp_path / "csv" / "fine")
    with pytest.raises(UserError, match="takes a class called 'normal' and at least one more; here are fine, loose, w"):
        load_data(str(tmp_path / "csv"), (2, 10), wanted=wanted)


def test_int8_outputs_are_read_in_their_scale():
    """The first output of several, dequantized; a logistic function is found behind a requantization."""
    tensors = (
        Tensor("x", (1, 2), "int8", Quantization((0.1,), (3,))),
        Tensor("y", (1, 2), "int8", Quantization((1 / 256,), (-128,))),
        Tensor("z", (1, 2), "int8", Quantization((0.5,), (-1,))),
    )
    ops = (Op("LOGISTIC", (0,), (1,)), Op("QUANTIZE", (1,), (2,)))
    program = Program("p", tensors, ops, (0,), (2, 1))
    piece = pack(program, program.outputs, [np.array([-1, 7]), np.array([0, 0])])
    assert real_output(program, piece).tolist() == [0.0, 4.0]
    assert ends_in_logistic(program)
    assert not ends_in_logistic(replace(program, ops=(Op("TANH", (0,), (1,)), ops[1])))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["regression", "labels", "anomaly"])
def test_filters_go_and_recovery_keeps_the_metric(name, tmp_path, request):
    """A fifth less flash: removals, a loss that fits the task, at most four points lost; too few allowed is exit 4."""
    pair = request.getfixturevalue(name)
    whole = compiled(pair, tmp_path / "whole")
    room = int(0.8 * whole.report.result.flash_bytes.value)
    cut = compiled(pair, tmp_path / "cut", steps=300, flash_bytes=room, max_drop=4.0)
    assert (cut.exit_code, len(cut.report.steps) > 0) == (0, True)
    assert cut.report.result.flash_bytes.value <= room
    assert cut.report.details.certificate.validation_drop.value <= 4.0
    tight = int(whole.report.result.flash_bytes.value - 0.6 * whole.report.result.params.value)
    harmed = secateur.compile(
        pair[0], target="esp32", data=pair[1], out=tmp_path / "harmed", build=secateur.Build(run="none"),
        budget=secateur.Budget(flash_bytes=tight, max_drop=0.01),
        search=secateur.SearchOptions(total_steps=0, recovery="none", method="first"),
    )  # fmt: skip
    assert harmed.exit_code == 4
    assert {a.name for a in harmed.report.details.attempts} == {"best fitting", "most accurate"}


@pytest.mark.slow
def test_without_labels_the_result_agrees_with_the_input_network(tmp_path):
    """Samples alone: the baseline is 100 % by definition, recovery follows it, and the report calls it agreement."""
    table = load_digits()
    x = table.images[:, np.newaxis].astype(np.float32)
    np.savez(tmp_path / "d.npz", x_train=x[:1000], x_test=x[1000:])
    found = secateur.compile(
        "zoo:digits-net", target="esp32", data=tmp_path / "d.npz", out=tmp_path / "out",
        build=secateur.Build(run="none"),
        budget=secateur.Budget(flash_bytes=40_000, max_drop=3.0), search=secateur.SearchOptions(total_steps=150),
    )  # fmt: skip
    report = told(found)
    assert (report["task"], report["metric"], found.exit_code) == ("agreement", "agreement", 0)
    assert report["baseline"]["accuracy_float"] == 100 > report["result"]["accuracy_float"] - 1e-9
    assert report["result"]["accuracy_int8"] > 95 and report["steps"]
    assert any("There are no labels" in note for note in report["details"]["notes"])
    with pytest.raises(UserError, match="has no labels, and model has no float network"):
        secateur.compile(
            found.out / "model.tflite", target="esp32", data=tmp_path / "d.npz", out=tmp_path / "again",
            build=secateur.Build(run="none"),
        )  # fmt: skip


FACTORY = """
from secateur.models.zoo.mlp import Mlp

def network():
    return Mlp((10,), (32, 16), 1), {"input_shape": (10,), "mean": (0.0,) , "std": (0.0476,)}
"""


@pytest.mark.slow
def test_the_command_line_takes_task_and_metric(called, regression, tmp_path):
    """A factory, its weights and an npz; the table names the metric; a wrong task or metric is one line and 2."""
    (tmp_path / "net.py").write_text(FACTORY)
    module = Mlp((10,), (32, 16), 1)
    names = list(module.state_dict())
    values = list(regression[0].module.state_dict().values())
    save_file(dict(zip(names, values, strict=True)), tmp_path / "w.safetensors")
    np.savez(tmp_path / "d.npz", **diabetes())
    command = [
        "compile", f"{tmp_path}/net.py:network", "--weights", f"{tmp_path}/w.safetensors", "-t", "esp32",
        "--data", f"{tmp_path}/d.npz", "-o", f"{tmp_path}/out", "--run", "none",
    ]  # fmt: skip
    code, printed, said = called([*command, "--task", "regression", "--max-drop", "3"])
    assert (code, "MAE skill, int8" in printed, "units of y" in printed) == (0, True, True), said
    assert "ccuracy" not in printed
    for more, message in (
        (["--task", "sorting"], "--task sorting: unknown"),
        (["--metric", "auc"], "--metric auc: regression is judged by mae"),
        (["--task", "classification"], "of 347 classes have no recovery sample"),
    ):
        code, printed, said = called([*command, *more])
        assert (code, printed) == (2, "") and message in said and said.count("\n") == 1
