"""The terminal's table: readable at 80 columns, plain in a pipe."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from secateur.compiler.report.terminal import summary


def printed(report, width=80, **options):
    out = io.StringIO()
    Console(file=out, width=width, **options).print(summary(report, "out/report.html", "secateur flash out"))
    return out.getvalue()


@pytest.mark.parametrize("name", ["example", "bare"])
def test_a_pipe_gets_plain_ascii_lines_of_80(name, request):
    """No colour codes, no box drawing, nothing beyond the edge."""
    text = printed(request.getfixturevalue(name))
    assert text.isascii() and "\x1b" not in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80


def test_it_says_what_the_demo_must_show(example):
    """Before, after, each removal, the golden line, the verdict, the report's path, the command to flash."""
    text = printed(example)
    for row in (
        "MACs",
        "RAM",
        "stack",
        "Flash",
        "Instructions",
        "Latency",
        "Accuracy, float",
        "Accuracy, int8",
    ):
        assert row in text
    assert "200 to 399 ms" in text and "87.2 to 94.9 %" in text
    assert "outputs equal the golden runtime: 32 samples, 224 values, 0 mismatches\n" in text
    assert "The budget is met, emulated" in text and "Nothing has run on silicon." in text
    assert "report: out/report.html\n" in text and "secateur flash out" in text
    for number, step in enumerate(example.steps, 1):
        assert any(line.split()[:2] == [str(number), step.unit.split()[0]] for line in text.splitlines())


def test_large_networks_fit_too(example):
    """Nine-digit counts and long unit names fold; they lose no character."""
    steps = tuple(replace(s, unit="module.features.stage4.block12.conv_and_everything") for s in example.steps)
    text = printed(replace(example, steps=steps))
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("#"))
    left, right = lines[first].index("removed"), lines[first].index("  CKA")  # over 0.971
    folded = "".join(line[left:right].strip() for line in lines[first + 1 :])
    assert "module.features.stage4.block12.conv_and_everything" in folded


def test_unknowns_stand_as_unknown(bare):
    """No step table, no number made up."""
    text = printed(bare)
    assert "unknown" in text and "remove_" not in text and "not compared" in text
    assert "The budget is not met: RAM." in text


def test_names_are_not_markup(example):
    """A unit called [red] is text."""
    steps = (replace(example.steps[0], unit="[red]x[/]"),)
    assert "[red]x[/]" in printed(replace(example, steps=steps))


def test_a_terminal_gets_colour(example):
    """Where there is a terminal, the verdict stands out."""
    assert "\x1b[" in printed(example, force_terminal=True, color_system="standard")


def test_what_was_put_back_does_not_stand_under_removed(example):
    """Growth removes first, then puts back."""
    first, *others = example.steps
    steps = (first, *(replace(s, pass_name="restore_layer", unit=f"stage{i}") for i, s in enumerate(others)))
    text = printed(replace(example, steps=steps))
    assert "put back stage0" in text and "put back block" not in text
    assert "removed or put back" in " ".join(text.split())
    assert "put back" not in printed(example)
