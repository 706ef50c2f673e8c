"""Progress of a long read."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from secateur.compiler import reading_bar
from secateur.compiler.reading_bar import ReadingBar


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass as the test says."""
    now = [0.0]
    monkeypatch.setattr(reading_bar.time, "monotonic", lambda: now[0])
    return now


def read(bar: ReadingBar, clock: list[float], seconds: float, files: int = 40) -> None:
    """Files of one read, each of which takes as long."""
    for done in range(1, files + 1):
        clock[0] += seconds
        bar("reading", done, files)


def test_a_short_read_shows_nothing(clock):
    """Nobody waits for half a second's worth of files."""
    told: list[str] = []
    screen = Console(file=io.StringIO(), force_terminal=True)
    with ReadingBar(told.append, screen) as bar:
        read(bar, clock, 0.01)
    assert told == [] and screen.file.getvalue() == ""


def test_a_file_gets_lines_now_and_then(clock):
    """No terminal: a line each ten seconds, with how far it is and what is left."""
    told: list[str] = []
    with ReadingBar(told.append, Console(file=io.StringIO())) as bar:
        read(bar, clock, 1.0)
        bar.tell("sets")
    assert told == [
        "reading: 11 of 40 files, 29 s left", "reading: 21 of 40 files, 19 s left", "reading: 31 of 40 files, 9 s left",
        "sets",
    ]  # fmt: skip


def test_a_terminal_gets_a_bar_that_goes_away(clock):
    """A bar with its name; lines come after it is gone; what is left unfinished is taken away too."""
    told: list[str] = []
    screen = Console(file=io.StringIO(), force_terminal=True, width=80)
    with ReadingBar(told.append, screen) as bar:
        read(bar, clock, 1.0, files=39)
        bar.tell("a line")
        assert told == ["a line"]
        bar("looking", 1, 9)
        clock[0] += 5
        bar("looking", 2, 9)
    shown = screen.file.getvalue()
    assert "reading" in shown and "39/39" in shown and "looking" in shown
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 2  # the cursor is back


def test_the_next_one_of_a_name_has_its_own_clock(clock):
    """What was waited before it says nothing of what is left."""
    told: list[str] = []
    with ReadingBar(told.append, Console(file=io.StringIO())) as bar:
        read(bar, clock, 1.0, files=9)
        clock[0] += 60
        bar("reading", 0, 3)
    assert told == []
