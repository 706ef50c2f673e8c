"""Which task `y` is for: what is found, what is asked for, and that a doubt stays an error of classes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from secateur.compiler.frontends.arrays import data_from_arrays
from secateur.compiler.frontends.data import load_data
from secateur.compiler.frontends.truth import Wanted, agreed, retasked
from secateur.errors import UserError
from secateur.models.data import Data, Split
from secateur.models.task import Agreement, Anomaly, Classification, MultiLabel, Regression
from secateur.models.zoo.small import small_network
from secateur.passes.program.lower import lower

N = 120
X = np.random.default_rng(0).normal(size=(N, 6)).astype(np.float32)
CLASSES = np.arange(N) % 3
HOT = np.eye(3)[CLASSES]
SEVERAL = np.clip(HOT + np.eye(3)[(CLASSES + 1) % 3], 0, 1)
FLAG = np.arange(N) % 2
NORMAL = np.zeros(N, int)


def load(y_train, y_test, seed=0, **wanted) -> Data:
    more = {k: wanted.pop(k) for k in list(wanted) if k.startswith(("groups", "x_"))}
    table = {"x_train": X, "x_test": X, "y_train": y_train, "y_test": y_test, **more}
    return data_from_arrays("d", {k: v for k, v in table.items() if v is not None}, (6,), (), seed, Wanted(**wanted))


@pytest.mark.parametrize(
    "y, outputs, kind, told",
    [
        (CLASSES, 3, Classification, ""),
        (HOT, 3, Classification, ""),
        (CLASSES.astype(float), 3, Classification, ""),
        (SEVERAL, 3, MultiLabel, "rows of y hold several ones"),
        (SEVERAL.astype(bool), None, MultiLabel, "rows of y hold several ones"),
        (FLAG, 1, MultiLabel, "the network has one output, and y is 0 and 1"),
        (CLASSES * 10, 1, Regression, "the network has one output"),
        (X[:, 0], 1, Regression, "the network has one output"),
        (X[:, :1], 1, Regression, "the network has one output"),
        (X[:, :4], 4, Regression, "y are not whole numbers"),
    ],
)
def test_a_task_is_found_where_nothing_else_is_possible(y, outputs, kind, told):
    """And a note says which and why; where classes are possible, they are classes, without a note."""
    data = load(y, y, outputs=outputs)
    assert type(data.task) is kind
    assert any(f"taken to be {kind.name}: {told} (--task" in note for note in data.notes) == bool(told)


def test_reconstruction_is_found_and_needs_no_training_labels():
    """As many outputs as inputs, y of 0 and 1, normal samples alone in training."""
    for y_train in (None, NORMAL):
        data = load(y_train, FLAG, outputs=6)
        assert type(data.task) is Anomaly and data.labels == ("normal", "anomaly")
        assert not data.recovery.y.any() and len(np.unique(data.validation.y)) == len(np.unique(data.test.y)) == 2
    assert type(load(FLAG, FLAG, outputs=2).task) is Classification
    with pytest.raises(UserError, match="misses y_train"):
        load(None, FLAG, outputs=2)


def test_anomalies_in_training_are_left_out_and_told():
    """Recovery learns what is normal; the count is in the notes."""
    data = load(FLAG, FLAG, task="anomaly")
    assert len(data.recovery) == N // 2
    assert "60 anomalies of 120 training samples were left out of recovery." in data.notes
    with pytest.raises(UserError, match="train holds anomalies only"):
        load(NORMAL + 1, FLAG, task="anomaly")


def test_recordings_of_one_kind_are_one_answer_each():
    """Groups wholly normal or anomalous: both kinds reach validation and test, AUC is of groups; mixed: of samples."""
    groups = 100 + np.arange(N) // 10
    data = load(None, groups % 2, task="anomaly", groups_train=np.arange(N) // 10, groups_test=groups)
    assert data.task == Anomaly(by_group=True)
    assert "mean score of each of the 6 groups" in data.notes[-1]
    assert len(np.unique(data.validation.y)) == 2
    for seed in range(8):  # two strange recordings of twelve: one each
        few = load(
            None, np.isin(groups, (103, 108)), seed, task="anomaly", groups_train=np.arange(N) // 10, groups_test=groups
        )
        few.check()
    mixed = load(None, FLAG, task="anomaly", groups_train=np.arange(N) // 10, groups_test=groups)
    assert mixed.task == Anomaly() and "groups mix normal samples and anomalies" in mixed.notes[-1]
    invented = load(None, groups % 2, task="anomaly")
    assert invented.task == Anomaly() and "no groups were given" in invented.notes[-1]


def test_regression_learns_its_median_from_recovery_alone():
    """The constant that a skill is compared with never sees validation or test."""
    y = X[:, 0] * 3 + 40
    data = load(y, y + 100, outputs=1)
    assert data.task == Regression().of(data.recovery.y)
    assert data.task.median == pytest.approx((float(np.median(y)),))
    assert data.recovery.y.shape == (N, 1) and data.labels == ("value",)


@pytest.mark.parametrize(
    "y, wanted, message",
    [
        (X[:, 0], {"outputs": 3}, "is not a whole number"),
        (X[:, 0], {}, "is not a whole number"),
        (np.full(N, np.nan), {"outputs": 3}, "label 0 is NaN"),
        (np.full(N, np.nan), {"outputs": 1}, "value 0 is NaN"),
        (np.abs(HOT - 0.1), {"outputs": 4}, r"labels are \(120, 3\)"),
        (HOT * 0.8 + 0.2 / 3, {"outputs": 3}, r"labels are \(120, 3\)"),  # soft labels are no numbers to predict
        (SEVERAL, {"outputs": 5}, r"labels are \(120, 3\)"),
        (SEVERAL, {"task": "classification"}, r"labels are \(120, 3\)"),
        (CLASSES, {"task": "multi-label"}, "train: y holds 2; multi-label takes 0 and 1"),
        (np.array(["a", "b"])[FLAG], {"task": "regression"}, "y is of type <U1; regression takes numbers"),
        (CLASSES, {"task": "anomaly"}, "y holds 2; anomaly takes 0 and 1"),
        (SEVERAL * (1, 1, 0), {"task": "multi-label"}, r"1 of 3 labels have no recovery sample: 2 \(label 2\)"),
        (CLASSES, {"task": "sorting"}, "--task sorting: unknown; one of classification, multi-label"),
        (CLASSES, {"metric": "loss"}, "--metric loss: unknown; one of accuracy"),
        (CLASSES, {"metric": "auc"}, "--metric auc: classification is judged by"),
        (None, {"task": "regression"}, "misses y_train, y_test"),
        (None, {"task": "anomaly"}, "misses y_test"),
    ],
)  # fmt: skip
def test_a_doubt_is_an_error_of_one_line(y, wanted, message):
    """Numbers for a network of several outputs, labels of another number of them, and every wrong value."""
    with pytest.raises(UserError, match=message) as caught:
        load(y, y, **wanted)
    assert "\n" not in str(caught.value)


def test_a_metric_alone_goes_with_the_task_that_is_found():
    """`--metric macro-f1` fits classes and labels; both get it."""
    assert load(CLASSES, CLASSES, metric="macro-f1").task == Classification("macro-f1")
    assert load(SEVERAL, SEVERAL, metric="macro-f1").task == MultiLabel()


def test_without_labels_the_input_network_gives_them():
    """Its classes, in all three sets, with its number of them; notes say what accuracy is then."""
    network = small_network("mlp")
    x = np.random.default_rng(1).normal(size=(N, 20)).astype(np.float32)
    data = data_from_arrays("d", {"x_train": x, "x_test": x}, (20,), (), 0, Wanted(outputs=3))
    assert data.task == Agreement() and (data.recovery.y == -1).all()
    named = agreed(network, data)
    named.check()
    assert named.labels == ("0", "1", "2") and "agreement with its classes" in named.notes[-1]
    from secateur.models.training import predict

    for split in (named.recovery, named.validation, named.test):
        assert np.array_equal(split.y, predict(network.module, split.x, network.preprocess).argmax(1))
    with pytest.raises(UserError, match="has no labels, and mlp has no float network to agree with"):
        agreed(lower(network), data)
    with pytest.raises(UserError, match="misses y_train; it holds"):
        load(None, CLASSES)


def test_data_in_memory_takes_a_task_too():
    """A loader's Data with numbers: asked for, or found where y are no classes; classes stay classes."""
    sets = [Split(X, X[:, 0], np.arange(N) + 1000 * i) for i in range(3)]
    data = Data("d", *sets, labels=())
    for wanted in (Wanted("regression"), Wanted(outputs=1)):
        found = retasked(data, wanted)
        found.check()
        assert isinstance(found.task, Regression) and found.recovery.y.shape == (N, 1)
    sets = [Split(X, CLASSES, np.arange(N) + 1000 * i) for i in range(3)]
    classes = Data("d", *sets, labels=("a", "b", "c"))
    assert retasked(classes, Wanted(outputs=1)) == classes
    assert retasked(classes, Wanted(metric="balanced")).task == Classification("balanced")
    assert retasked(found, Wanted(metric="mae")).task == found.task
    silent = agreed(small_network("mlp"), classes)
    assert silent is classes


def test_a_task_of_the_datas_own_learns_its_data():
    """Regression() of a loader or of the API gets its median, Anomaly() its groups; once, with the metric it had."""
    sets = [Split(X, X[:, :2], np.arange(N) + 1000 * i) for i in range(3)]
    for wanted in (Wanted(), Wanted("regression", "mae")):
        found = retasked(Data("d", *sets, labels=("a", "b"), task=Regression()), wanted)
        assert found.task == Regression().of(X[:, :2]) and len(found.task.median) == 2
        assert retasked(found, wanted) == found
    flat = [replace(s, y=X[:, 0]) for s in sets]
    with pytest.raises(UserError, match=r"values are \(120,\); \(n, 1\) numbers are expected"):
        retasked(Data("d", *flat, labels=("a",), task=Regression()), Wanted())
    groups = np.arange(N) // 10
    sets = [Split(X, groups % 2 * bool(i), groups + 100 * i) for i in range(3)]
    found = retasked(Data("d", *sets, labels=("normal", "anomaly"), task=Anomaly()), Wanted())
    assert found.task == Anomaly(by_group=True) and "AUC is of groups" in found.notes[-1]
    sets = [Split(X, NORMAL if i == 0 else FLAG, groups + 100 * i) for i in range(3)]
    found = retasked(Data("d", *sets, labels=("normal", "anomaly"), task=Anomaly()), Wanted())
    assert found.task == Anomaly() and "AUC is of single samples" in found.notes[-1]
    assert retasked(found, Wanted()) == found


@pytest.mark.parametrize(
    "y, told",
    [
        (SEVERAL, "label 0 80, label 1 80, label 2 80"),
        (X[:, 0] * 0 + np.arange(N), "value 0 to 119"),
        (CLASSES, "0 40, 1 40, 2 40"),
        (None, "no labels"),
    ],
)
def test_what_a_set_holds_is_told_for_every_task(y, told, tmp_path):
    """Samples of a class or with a label, the range of numbers, or that there are none, before anything is compiled."""
    np.savez(tmp_path / "d.npz", x_train=X, x_test=X, **({} if y is None else {"y_train": y, "y_test": y}))
    lines: list[str] = []
    outputs = 1 if told.startswith("value") else 3
    load_data(str(tmp_path / "d.npz"), (6,), tell=lines.append, wanted=Wanted(outputs=outputs))
    (recovery,) = [line for line in lines if "recovery:" in line and " samples: " in line]
    assert recovery.endswith(f" samples: {told}")
