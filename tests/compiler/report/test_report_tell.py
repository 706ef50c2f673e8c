"""The report of a real compile: what `to_report` makes of it, not of a record written by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from secateur.compiler.report.facts import verdict
from secateur.compiler.session import Request, Result, compile_to


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Nothing removed, nothing built: float against int8 on eight test groups."""
    request = Request("zoo:digits-net", "esp32", "zoo:digits", steps=0, run="none", max_flash="1M")
    return compile_to(request, tmp_path_factory.mktemp("tell") / "out", lambda line: None)


def test_the_interval_of_the_test_drop_holds_the_drop_in_points(digits: Result) -> None:
    """Low, drop, high in this order, and none of them more than 100 points."""
    found = digits.report.details.certificate
    assert found is not None and found.test_drop is not None and found.test_drop_interval is not None
    low, high = found.test_drop_interval.value
    assert -100 <= low <= found.test_drop.value <= high <= 100
    assert high - low < 20  # of some hundred samples, one is not worth ten points


def test_the_verdict_tells_the_test_set_too(digits: Result) -> None:
    """Beside validation, where the budget is held, stands what was lost where nothing was chosen."""
    lines = verdict(digits.report).lines
    assert any(line.startswith("On the test set ") for line in lines), lines


def test_weights_of_the_report_are_those_of_the_tables(digits: Result, tmp_path: Path) -> None:
    """Predicted without an image, and never more than the flash that they are part of."""
    side = digits.report.result
    assert side.weights_bytes is not None and side.flash_bytes is not None
    assert 0 < side.weights_bytes.value < side.flash_bytes.value
    assert side.stack_bytes is not None and side.stack_bytes.kind == "predicted"
