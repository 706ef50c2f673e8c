"""The report of a real compile: what `to_report` makes of it, not of a record written by hand."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from secateur.compiler.report.facts import verdict
from secateur.compiler.report.record import Violation
from secateur.compiler.session import Request, Result, compile_to

pytestmark = pytest.mark.slow  # a compile each, or one for all


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


def test_a_drop_that_does_not_hold_says_how_large_it_may_be(tmp_path: Path) -> None:
    """Enough samples to certify 50 points, and more are lost: the reason is the drop, not the data."""
    request = Request(
        "zoo:digits-net", "esp32", "zoo:digits", recovery="none", run="none", max_flash="20K", max_drop=50
    )
    found = compile_to(request, tmp_path / "out", lambda line: None).report.details.certificate
    assert found is not None and found.test_drop is not None and found.test_drop.value > 50 and found.certified is False
    most = re.fullmatch(r"it may be ([\d.]+) points at 90 %, 50 may be lost", found.why)
    assert most is not None and float(most[1]) >= found.test_drop.value


def test_one_reason_for_two_limits_is_told_once(digits: Result) -> None:
    """The end of a search is why each of them is broken."""
    broken = tuple(Violation(limit, 2, 1, "nothing more may go") for limit in ("ram_bytes", "flash_bytes"))
    told = verdict(replace(digits.report, budget=replace(digits.report.budget, met="no", violations=broken)))
    assert told.headline == "The budget is not met: RAM and flash" and told.how == "nothing more may go."


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
