"""The verdict and the numbers in words."""

from dataclasses import replace

import pytest

from secateur.compiler.report import facts, words
from secateur.compiler.report.record import Measured, Side, Violation


@pytest.mark.parametrize(
    ("n", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (46_182, "45.1 KiB"), (4_194_304, "4,096 KiB")],
)
def test_bytes(n, text):
    """One unit from a KiB on, so that sizes compare."""
    assert words.bytes_text(n) == text


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0.0, "0 ms"), (0.01234, "0.0123 ms"), (1.234, "1.23 ms"), (12.34, "12.3 ms"), (1234.5, "1,234 ms")],
)
def test_milliseconds(ms, text):
    """Three digits, in no exponent."""
    assert words.ms_text(ms) == text


def test_the_board_number_replaces_the_range(example):
    """latency_ms, where a board gave it, is the latency."""
    side = replace(example.result, latency_ms=Measured(250.0, "measured", "cycles of a board"))
    found = facts.latency(side)
    assert found is not None and found.value == (250.0, 250.0) and found.kind == "measured"


def test_half_a_range_is_unknown():
    """A low end without a high end says nothing about a limit."""
    assert facts.latency(Side(latency_ms_low=Measured(1.0, "predicted", "x"))) is None


def test_rounding_never_hides_the_side_of_the_limit(example):
    """8,193 bytes against 8 KiB are written in bytes."""
    budget = replace(example.budget, met="no", violations=(Violation("ram_bytes", 8193, 8192, "one byte too much"),))
    over = replace(example, budget=budget, result=replace(example.result, ram_bytes=Measured(8193, "exact", "elf")))
    lines = facts.verdict(over).lines
    assert lines[0] == "RAM 8,193 of 8,192 bytes (exact)"


def test_all_violations_are_named_once(example):
    """Several limits and the evidence asked for, in one headline."""
    bad = tuple(Violation(n, None, None, f"because {n}") for n in ("ram_bytes", "accuracy", "evidence", "accuracy"))
    verdict = facts.verdict(replace(example, budget=replace(example.budget, met="no", violations=bad)))
    assert verdict.headline == "The budget is not met: RAM, accuracy and evidence weaker than asked for"
    assert not verdict.met and "because ram_bytes. because accuracy." in verdict.how


def test_verification_line_is_the_promised_one(example, bare):
    """Scripts read it."""
    assert facts.verification_line(example) == (
        "outputs equal the golden runtime: 32 samples, 224 values, 0 mismatches"
    )
    wrong = replace(example, verification=replace(example.verification, mismatches=1))
    assert facts.verification_line(wrong).endswith(
        "outputs differ from the golden runtime: 32 samples, 224 values, 1 mismatch"
    )
    assert "not compared" in facts.verification_line(bare)
