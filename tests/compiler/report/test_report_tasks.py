"""The report of a task that is not judged by accuracy: its own words everywhere, its own range in the schema."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from secateur.compiler.report.document import ReportError, from_json, to_document, to_json, validate
from secateur.compiler.report.facts import headline, verdict
from secateur.compiler.report.html import render
from secateur.compiler.report.record import Measure, Measured, Report, Violation
from secateur.compiler.report.terminal import summary
from secateur.models.task import TASKS, WORDS

MAE = Measure("MAE", "units of y", Measured(39.83, "measured", "test"), Measured(39.28, "measured", "test"))
RECALL = Measure("recall of <row>", "%", None, Measured(93.333, "measured", "test"), 30)


@pytest.fixture
def numbers(example: Report) -> Report:
    """The demo's report as if it were a regression's, below its floor."""
    why = "int8 MAE skill on validation is 91.30 %, the floor 91.50 %"
    budget = replace(example.budget, met="no", violations=(Violation("accuracy", 91.3, 91.5, why),))
    details = replace(
        example.details, confusion_baseline=None, confusion_result=None, measures=(MAE, RECALL), notes=(), controls=(),
        certificate=replace(example.details.certificate, why="two groups"),
    )  # fmt: skip
    return replace(example, task="regression", metric="mae", budget=budget, details=details)


def printed(report: Report) -> str:
    text = StringIO()
    Console(file=text, width=100).print(summary(report))
    return text.getvalue()


def test_accuracy_is_named_only_where_it_is_accuracy(numbers: Report, example: Report) -> None:
    """Table, verdict, terminal and page say the metric; json keeps its fields' names and says of what they are."""
    assert [r.label for r in headline(numbers) if "skill" in r.label] == ["MAE skill, float", "MAE skill, int8"]
    assert verdict(numbers).headline == "The budget is not met: MAE skill"
    assert any(line.startswith("MAE skill lost on validation 0.7 points") for line in verdict(numbers).lines)
    page = render(numbers)
    for text in (printed(numbers), page.replace("accuracy_", "")):
        assert "ccuracy" not in text
        assert "39.83 units of y" in text and "39.28 units of y" in text and "93.3 %" in text
    assert "<h2>MAE skill</h2>" in page and "recall of &lt;row&gt;" in page and "validation MAE skill" in page
    document = to_document(numbers)
    assert (document["task"], document["metric"]) == ("regression", "mae")
    assert document["details"]["measures"][1] == {
        "name": "recall of <row>", "unit": "%", "before": None, "after": 93.333, "samples": 30,
    }  # fmt: skip
    assert from_json(to_json(numbers)) == from_json(to_json(from_json(to_json(numbers))))
    assert "<h2>Accuracy</h2>" in render(example) and "Accuracy, int8" in printed(example)


def test_the_recalls_of_classes_are_for_the_page(example: Report) -> None:
    """A hundred classes would push the verdict off a terminal; report.html and report.json hold them."""
    told = replace(example, details=replace(example.details, measures=(RECALL,)))
    assert "recall of" not in printed(told)
    assert "recall of &lt;row&gt;" in render(told)


def test_only_a_skill_may_be_below_zero(numbers: Report) -> None:
    """A constant can err less than a network that was cut too far; no other metric goes below 0, none above 100."""
    worse = replace(numbers, result=replace(numbers.result, accuracy_int8=Measured(-250.0, "measured", "test")))
    validate(to_document(worse))
    for metric in sorted(set(WORDS) - {"mae"}):
        with pytest.raises(ReportError, match="/result/accuracy_int8: -250"):
            validate(to_document(replace(worse, metric=metric)))
    over = replace(numbers, result=replace(numbers.result, accuracy_int8=Measured(101.0, "measured", "test")))
    with pytest.raises(ReportError, match="/result/accuracy_int8: 101"):
        validate(to_document(over))


def test_the_schema_knows_every_task_and_metric(numbers: Report) -> None:
    """Names in the schema and in the strategies are the same; another name is refused."""
    for task in TASKS.values():
        for metric in task.metrics:
            validate(to_document(replace(numbers, task=task.name, metric=metric)))
    with pytest.raises(ReportError, match="/task: 'sorting'"):
        validate(to_document(replace(numbers, task="sorting")))
    assert {m for t in TASKS.values() for m in t.metrics} == set(WORDS)
