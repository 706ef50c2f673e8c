"""What a task makes of outputs, labels and losses, against scikit-learn and by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from secateur.errors import UserError
from secateur.models.data import Data, Split
from secateur.models.task import (
    Agreement,
    Anomaly,
    Classification,
    MultiLabel,
    Regression,
    Task,
    average_precision,
    pure_groups,
    strata,
)

RNG = np.random.default_rng(5)
GROUPS = np.arange(60) // 5
X = RNG.normal(size=(60, 4)).astype(np.float32)


def split(y) -> Split:
    return Split(X, np.asarray(y), GROUPS)


def measures(task: Task, y, answers, labels) -> dict[str, float]:
    return {m.name: m.value for m in task.measures(split(y), answers, labels)}


def test_classes_are_told_by_recall_and_by_the_metrics_not_chosen():
    """Whatever the metric, every class's recall and sample count is scikit-learn's; an absent class is left out."""
    y, outputs = RNG.integers(0, 3, 60), RNG.normal(size=(60, 4))
    task = Classification("balanced")
    answers = task.answers(outputs, X, False)
    assert task.percent(split(y), answers) == pytest.approx(
        100 * reference.recall_score(y, answers, labels=[0, 1, 2], average="macro")
    )
    found = measures(task, y, answers, ("a", "b", "c", "d"))
    assert found.keys() == {"accuracy", "macro F1", "recall of a", "recall of b", "recall of c"}
    assert found["accuracy"] == pytest.approx(100 * reference.accuracy_score(y, answers))
    assert found["macro F1"] == pytest.approx(100 * reference.f1_score(y, answers, average="macro"))
    recalls = reference.recall_score(y, answers, labels=[0, 1, 2], average=None)
    assert [found[f"recall of {c}"] for c in "abc"] == pytest.approx(100 * recalls)
    counts = [m.samples for m in task.measures(split(y), answers, tuple("abcd"))[2:]]
    assert counts == np.bincount(y).tolist()


def test_chance_is_what_needs_no_network():
    """The commonest class, in the metric that is asked for; every label; a constant; a guess."""
    y = np.r_[np.zeros(45, int), np.ones(15, int)]
    assert Classification().chance(split(y))[0] == 75
    assert Classification("balanced").chance(split(y))[0] == 50
    assert Classification("macro-f1").chance(split(y))[0] == pytest.approx(100 * 2 * 45 / (45 + 60) / 2)
    assert MultiLabel().chance(split(np.stack([y, 1 - y], 1)))[0] == pytest.approx(50 * (30 / 75 + 90 / 105))
    assert Regression(median=(0.0,), spread=(1.0,)).chance(split(y))[0] == 0
    assert Anomaly().chance(split(y))[0] == 50


def test_labels_are_said_above_half_by_logits_and_by_probabilities():
    """A logit of 0 and a probability of 0.5 say nothing; F1 and mean average precision are scikit-learn's."""
    y, logits = (RNG.random((60, 3)) < 0.4).astype(np.int64), RNG.normal(size=(60, 3))
    task, labels = MultiLabel(), ("a", "b", "c")
    assert (
        (task.answers(np.zeros((1, 3)), X, False) > 0).sum()
        == (task.answers(np.full((1, 3), 0.5), X, True) > 0).sum()
        == 0
    )
    said = task.answers(logits, X, False)
    assert np.array_equal(said > 0, task.answers(1 / (1 + np.exp(-logits)), X, True) > 0)
    assert task.percent(split(y), said) == pytest.approx(100 * reference.f1_score(y, logits > 0, average="macro"))
    found = measures(task, y, said, labels)
    expected = 100 * reference.average_precision_score(y, logits, average="macro")
    assert found["mean average precision"] == pytest.approx(expected)
    assert found["recall of b"] == pytest.approx(100 * reference.recall_score(y[:, 1], logits[:, 1] > 0))


def test_average_precision_takes_equal_scores_together():
    """Scores of few values, as int8 gives them: scikit-learn's value."""
    scores, positive = RNG.integers(0, 5, 200), RNG.random(200) < 0.3
    assert average_precision(scores, positive) == pytest.approx(reference.average_precision_score(positive, scores))


def test_skill_is_what_a_constant_would_err_and_units_are_told():
    """100 is exact, 0 the median, below 0 worse than it; two outputs of other sizes weigh alike."""
    y = RNG.normal(size=(60, 2)) * (1, 1000) + (5, 0)
    task = Regression().of(y)
    assert task.median == pytest.approx(np.median(y, axis=0))
    assert task.percent(split(y), y) == 100
    assert task.percent(split(y), np.tile(task.median, (60, 1))) == pytest.approx(0)
    half = y + np.array([0.5, 0]) * np.abs(y - task.median).mean(axis=0)
    assert task.percent(split(y), half) == pytest.approx(75)
    assert task.percent(split(y), -y - 100) < 0
    found = measures(task, y, half, ("height", "weight"))
    assert found["MAE of height"] == pytest.approx(reference.mean_absolute_error(y[:, 0], half[:, 0]))
    assert found["RMSE of height"] == pytest.approx(np.sqrt(reference.mean_squared_error(y[:, 0], half[:, 0])))
    one = Regression().of(y[:, :1])
    assert measures(one, y[:, :1], half[:, :1], ("v",)).keys() == {
        "MAE", "RMSE", f"MAE of always saying {task.median[0]:.6g}",
    }  # fmt: skip


def test_a_recording_is_one_answer_where_it_is_of_one_kind():
    """Scores are mean squared errors; the area is scikit-learn's of samples, or of the groups' means."""
    y = (GROUPS % 3 == 0).astype(np.int64)
    outputs = X + RNG.normal(size=X.shape) * (1 + 0.3 * y[:, None])
    scores = Anomaly().answers(outputs, X, False)
    assert scores == pytest.approx(np.mean((outputs - X) ** 2, axis=1))
    assert Anomaly().percent(split(y), scores) == pytest.approx(100 * reference.roc_auc_score(y, scores))
    means = scores.reshape(12, 5).mean(axis=1)
    by_group = Anomaly(by_group=True)
    expected = 100 * reference.roc_auc_score(y[::5], means)
    assert by_group.percent(split(y), scores) == pytest.approx(expected)
    assert by_group.tally(split(y), scores).groups == 12
    assert measures(by_group, y, scores, ("n", "a"))["AUC of single samples"] == pytest.approx(
        100 * reference.roc_auc_score(y, scores)
    )
    assert pure_groups(y, GROUPS)
    assert not pure_groups(np.arange(60) % 2, GROUPS)
    assert not pure_groups(y, np.arange(60))  # every sample its own recording


def test_samples_are_drawn_by_class_by_the_rarest_label_or_alike():
    """What balancing balances; a row without labels is a kind of its own."""
    assert strata(np.array([3, 1])).tolist() == [3, 1]
    rows = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 1], [0, 1, 1], [0, 0, 0], [0, 1, 0], [1, 0, 0]])
    assert strata(rows).tolist() == [1, 0, 2, 2, -1, 1, 0]
    assert strata(np.array([0.5, 2.0])).tolist() == [0, 0]


@pytest.mark.parametrize(
    "task, y, exact, wrong",
    [
        (Classification(), [0, 1, 1], [[9, -9], [-9, 9], [-9, 9]], [[-9, 9], [9, -9], [9, -9]]),
        (MultiLabel(), [[0, 1], [1, 1], [0, 0]], [[-9, 9], [9, 9], [-9, -9]], [[9, -9], [-9, -9], [9, 9]]),
        (
            Regression(median=(0.0, 0.0), spread=(1.0, 100.0)),
            [[1, 100], [2, 200], [0, -50]], [[1, 100], [2, 200], [0, -50]], [[2, 0], [0, 0], [1, 50]],
        ),
        (Anomaly(), [0, 0, 0], [[1, 0], [0, 1], [2, 2]], [[0, 1], [1, 0], [0, 0]]),
    ],
    ids=lambda v: v.name if isinstance(v, Task) else "",
)  # fmt: skip
def test_losses_are_least_where_the_answer_is_right(task, y, exact, wrong):
    """Near zero for the truth, least for the teacher's own outputs, and a gradient that leads towards the truth."""
    x = torch.tensor([[1.0, 0], [0, 1], [2, 2]])
    truth = task.truth(np.array(y))
    good, bad = torch.tensor(exact).float(), torch.tensor(wrong).float().requires_grad_()
    assert float(task.loss(good, truth, x, False)) < 1e-3
    loss = task.loss(bad, truth, x, False)
    loss.backward()
    assert float(loss.detach()) > 0.1
    stepped = bad.detach() - 1e-3 * bad.grad
    assert float(task.loss(stepped, truth, x, False)) < float(loss.detach())
    same, other = (float(task.follow(o, good, (False, False), 2.0)) for o in (good, bad.detach()))
    assert same < other / 5


def test_the_anomalies_of_validation_are_no_aim():
    """The loss that chooses between states of equal area is of normal samples alone."""
    x = torch.tensor([[1.0, 0], [0, 1], [5, 5]])
    output = torch.tensor([[1.0, 0], [0, 1], [0, 0]])
    assert float(Anomaly().loss(output, torch.tensor([0, 0, 1]), x, False)) == 0
    assert float(Anomaly().loss(output, torch.tensor([0, 0, 0]), x, False)) > 1


def test_long_reconstructions_are_projected():
    """640 inputs are more than the scores of filters need as responses; distances stay within a few percent."""
    x = RNG.normal(size=(50, 640))
    y = np.zeros(50, int)
    assert np.array_equal(Anomaly().response(x[:, :100], y, y), x[:, :100])
    short = Anomaly().response(x, y, y)
    assert short.shape == (50, 256)
    distance, kept = (np.linalg.norm(v[:25] - v[25:], axis=1) for v in (x, short / 16))
    assert kept == pytest.approx(distance, rel=0.2)


def data(task: Task, y, labels, recovery=None) -> Data:
    """Three sets with the same `y`, another for recovery if given."""
    sets = [
        Split(X, np.asarray(v), GROUPS + 100 * i) for i, v in enumerate((y if recovery is None else recovery, y, y))
    ]
    return Data("d", *sets, labels=labels, task=task)


NORMAL, MIXED = np.zeros(60, int), np.arange(60) % 2
GAP = np.ones((60, 1))
GAP[7] = np.nan


@pytest.mark.parametrize(
    "found, message",
    [
        (data(Classification(), GAP, ("a",)), r"d: recovery: labels are float64 \(60, 1\); \(n,\) class numbers"),
        (data(Classification(), MIXED + 1, ("a", "b")), "d: recovery labels run from 1 to 2"),
        (data(MultiLabel(), np.eye(3, dtype=int)[MIXED], ("a", "b")), r"\(60, 3\); \(n, 2\) of 0 and 1"),
        (data(MultiLabel(), np.full((60, 1), 2), ("a",)), "row 0 of the labels holds 2"),
        (data(MultiLabel(), np.zeros((60, 1), int), ("a",)), "no sample has any label"),
        (data(Regression(), GAP, ("v",)), "d: recovery: value 7 is NaN"),
        (data(Regression(), np.ones((60, 1)), ("v",)), "v is 1 in all 60 samples"),
        (data(Regression(), X[:, :2], ("v",)), r"values are \(60, 2\); \(n, 1\)"),
        (data(Anomaly(), MIXED, ("n", "a")), "30 of 60 samples are anomalies; normal ones only train"),
        (data(Anomaly(), NORMAL, ("n", "a")), "d: validation: all 60 samples are n"),
        (data(Anomaly(), MIXED + 1, ("n", "a"), NORMAL), r"of 0 \(normal\) and 1 \(anomaly\) are expected"),
    ],
)  # fmt: skip
def test_labels_that_are_not_the_task_s_are_one_line(found, message):
    """Set, shape and value are named."""
    with pytest.raises(UserError, match=message) as caught:
        found.check()
    assert "\n" not in str(caught.value)


def test_labels_that_are_the_task_s_pass():
    """The same builders, with what each task takes."""
    for good in (
        data(Classification(), MIXED, ("a", "b")),
        data(MultiLabel(), np.stack([MIXED, 1 - MIXED], 1), ("a", "b")),
        data(Regression(), X[:, :2], ("v", "w")),
        data(Anomaly(), MIXED, ("n", "a"), NORMAL),
        data(Agreement(), np.full(60, -1), ()),
    ):
        good.check()
    assert (
        data(Classification(), MIXED, ("a",)).fingerprint()
        != data(Classification("balanced"), MIXED, ("a",)).fingerprint()
    )


def test_a_metric_goes_with_its_task():
    """The error names what there is."""
    with pytest.raises(UserError, match="--metric auc: classification is judged by accuracy or balanced or macro-f1"):
        Classification("auc")
    assert replace(Regression().of(X[:, :1]), metric="mae").word == "MAE skill"
