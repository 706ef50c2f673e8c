"""The command line in this process, for tests of what it prints and how it ends."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Sequence

import pytest

from secateur.compiler import cli


@pytest.fixture(scope="session")
def called() -> Callable[[Sequence[str]], tuple[int, str, str]]:
    """Calls `secateur` with arguments and gives its exit code, stdout and stderr."""
    return _called


def _called(arguments: Sequence[str]) -> tuple[int, str, str]:
    printed, said, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["secateur", *arguments]
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
            try:
                cli.main()
            except SystemExit as stop:
                return int(stop.code or 0), printed.getvalue(), said.getvalue()
    finally:
        sys.argv = before
    raise AssertionError("the command line always ends in an exit code")
