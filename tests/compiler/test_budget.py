"""Budgets: sizes and times as users write them, which limits are broken, and what a removal saves of them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from secateur.compiler.budget import Budget, Margins, Reached, excess, parse_bytes, parse_ms, saving, violated
from secateur.errors import UserError
from secateur.targets.target import find


@dataclass(frozen=True)
class FakeCost:
    """What `excess` reads of a cost."""

    ram_bytes: int
    flash_bytes: int
    arena_bytes: int
    live_bytes: tuple[int, ...]
    instructions: int | None = None


@pytest.mark.parametrize(
    "text,value",
    [("9216", 9216), ("64K", 65536), ("64k", 65536), ("64KiB", 65536), ("1.5M", 1572864), (" 1 M ", 1 << 20)],
)
def test_sizes_are_read_as_written(text, value):
    """K is 1024, M its square; fractions and the unit's tail are fine."""
    assert parse_bytes(text) == value


@pytest.mark.parametrize("text", ["", "-1", "0", "K", "64G", "1e3", "64K K", "nan", "inf", "9" * 20])
def test_what_is_no_size_is_refused(text):
    """Negative, empty, zero, unknown units, absurd sizes."""
    with pytest.raises(UserError, match="size"):
        parse_bytes(text)


@pytest.mark.parametrize("text,value", [("20", 20), ("20ms", 20), ("0.5s", 500), ("900 us", 0.9)])
def test_times_are_read_as_written(text, value):
    """Milliseconds where no unit stands."""
    assert parse_ms(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "0", "-1ms", "1h", "nan", "1 2"])
def test_what_is_no_time_is_refused(text):
    """Negative, empty, zero, unknown units."""
    with pytest.raises(UserError, match="time"):
        parse_ms(text)


def test_the_device_s_own_limits_hold_where_none_is_asked_for_and_above_what_is():
    """A budget never allows more than there is."""
    target = find("esp32")
    assert Budget().on(target).ram_bytes == target.ram_bytes
    asked = Budget(ram_bytes=1 << 30, flash_bytes=1000, latency_ms=5).on(target)
    assert (asked.ram_bytes, asked.flash_bytes, asked.latency_ms) == (target.ram_bytes, 1000, 5)


def test_the_floor_is_a_drop_or_an_accuracy():
    """--min-accuracy replaces --max-drop."""
    assert Budget(max_drop=1.5).floor(90) == 88.5
    assert Budget(max_drop=1.5, min_accuracy=80).floor(90) == 80


def test_a_limit_is_broken_above_it_and_an_unknown_breaks_none():
    """At the limit holds; a latency that nobody knows is no violation by itself."""
    budget = Budget(100, 100, 10.0)
    assert violated(Reached(100, 100, 10.0), budget) == {}
    assert violated(Reached(101, 99, None), budget) == {"ram_bytes": (101, 100)}
    assert violated(Reached(0, 0, 11.0), budget) == {"latency_ms": (11.0, 10.0)}


def test_lowering_one_of_several_peaks_is_progress():
    """Two operators share the peak: cutting one saves half of the excess above the arena's own."""
    target, budget = find("esp32"), Budget(ram_bytes=1000)
    before = excess(FakeCost(1300, 0, 1200, (1200, 1200, 10)), target, budget, Margins())
    after = excess(FakeCost(1300, 0, 1200, (1200, 900, 10)), target, budget, Margins())
    assert before == {"ram_bytes": 300 + 300 + 300}
    assert saving(before, after) == pytest.approx(1 / 3)


def test_only_limits_still_broken_count():
    """Flash that fits saves nothing, however much of it goes."""
    target, budget = find("esp32"), Budget(ram_bytes=1000, flash_bytes=5000)
    before = excess(FakeCost(1300, 4000, 1200, (1200,)), target, budget, Margins())
    after = excess(FakeCost(1300, 100, 1200, (1200,)), target, budget, Margins())
    assert "flash_bytes" not in before and saving(before, after) == 0


def test_what_images_taught_is_added_to_predictions():
    """A margin makes a prediction that looked fine a violation."""
    target, budget = find("esp32"), Budget(flash_bytes=5000)
    cost = FakeCost(0, 4990, 0, ())
    assert excess(cost, target, budget, Margins()) == {}
    assert excess(cost, target, budget, Margins(flash_bytes=20)) == {"flash_bytes": 10}
