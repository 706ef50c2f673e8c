"""Progress of what takes long: a bar on stderr where that is a terminal, now and then a line where it is not."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

PATIENCE_S = 1.0
"""A read that is done by then shows nothing."""
LINE_S = 10.0


class ReadingBar:
    """Called with what is done, how many files (or `unit`s) of it, and of how many; the bar is gone when all are."""

    def __init__(self, tell: Callable[[str], None], console: Console | None = None, unit: str = "files") -> None:
        self._console = console or Console(file=sys.stderr)
        self._tell, self._task, self._unit = tell, TaskID(0), unit
        self._bar: Progress | None = None
        self._what, self._since, self._told, self._first = "", 0.0, 0.0, 0

    def __enter__(self) -> ReadingBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def tell(self, line: str) -> None:
        """A line of something else: the bar makes room."""
        self._stop()
        self._tell(line)

    def of(self, unit: str) -> Callable[[str, int, int], None]:
        """The same bar for things of another name."""

        def told(what: str, done: int, total: int) -> None:
            self._unit = unit
            self(what, done, total)

        return told

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if what != self._what:
            self._stop()
            self._what, self._since, self._told, self._first = what, now, now, done
        if now - self._since >= PATIENCE_S:
            self._show(now, done, total)
        if done >= total:
            self._stop()
            self._what = ""  # the next one of this name has a clock of its own

    def _show(self, now: float, done: int, total: int) -> None:
        if not self._console.is_terminal:
            if now - self._told >= LINE_S:
                self._told = now
                left = (now - self._since) / max(1, done - self._first) * (total - done)
                self._tell(f"{self._what}: {done} of {total} {self._unit}, {_span(left)} left")
            return
        if self._bar is None:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._task = self._bar.add_task(self._what, total=total)
            self._bar.start()
        self._bar.update(self._task, completed=done)

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
