"""docs/tutorial.md works as printed: its files are written, its commands run, its outputs compared."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from own_recordings import write_recordings

PAGE = Path(__file__).parents[1] / "docs/tutorial.md"
PORT = "/dev/ttyUSB0"


@dataclass(frozen=True)
class Command:
    text: str
    output: tuple[str, ...]


def blocks(kind: str) -> list[str]:
    """The page's fenced blocks of a kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)


def files() -> dict[str, str]:
    """Name, from the first line's comment, -> text."""
    found = {}
    for kind, opening, closing in (("toml", "# ", ""), ("python", "# ", ""), ("c", "/* ", " */")):
        for block in blocks(kind):
            first = block.splitlines()[0]
            assert first.startswith(opening) and first.endswith(closing)
            found[first[len(opening) : len(first) - len(closing)]] = block
    return found


def commands() -> list[Command]:
    """A line that begins with "$ ", with those that its backslashes join; then what is printed."""
    found: list[Command] = []
    for block in blocks("console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            lines = part.splitlines()
            end = next(i for i, line in enumerate(lines) if not line.endswith("\\")) + 1
            found.append(Command("\n".join(lines[:end]), tuple(lines[end:])))
    return found


def bare(line: str, trained: bool) -> str:
    """A line without what may differ: columns' widths, and numbers that hang on a training."""
    words = " ".join(line.split())
    return re.sub(r"\d[\d,.]*", "#", words) if trained and "mismatches" not in words else words


def missing(wanted: tuple[str, ...], printed: list[str], trained: bool) -> str | None:
    """The first quoted line that is not printed in its place; "..." stands for any lines."""
    at, anywhere = 0, False
    for line in wanted:
        if line == "...":
            anywhere = True
            continue
        seen = [bare(text, trained) for text in printed]
        while anywhere and at < len(seen) and seen[at] != bare(line, trained):
            at += 1
        if at >= len(seen) or seen[at] != bare(line, trained):
            return line
        at, anywhere = at + 1, False
    return None if anywhere or at == len(printed) else f"(nothing after line {at}): {printed[at]}"


TRAINED = ("train.py", "check", "compile", "-example", "./app")
"""Commands whose numbers hang on a training, or on the compiler's version."""


@pytest.fixture(scope="module")
def printed(tmp_path_factory) -> dict[str, tuple[int, list[str]]]:
    """Command -> (exit status, what it printed), all in one folder, one after the other."""
    folder = tmp_path_factory.mktemp("tutorial")
    write_recordings(folder / "recordings")
    for name, text in files().items():
        (folder / name).write_text(text)
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "LC_ALL": "C", "COLUMNS": "80",
        "SECATEUR_CACHE": str(folder / "cache"),
    }  # fmt: skip
    found = {}
    for command in commands():
        text = command.text.replace(PORT, str(folder / "no-board"))
        done = subprocess.run(
            ["bash", "-c", text], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=600,
        )  # fmt: skip
        lines = done.stdout.replace(str(folder / "no-board"), PORT).splitlines()
        found[command.text] = (done.returncode, lines)
    return found


@pytest.mark.emulator
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None, reason="cc is not installed")
@pytest.mark.parametrize("command", commands(), ids=lambda command: command.text.splitlines()[0][:40])
def test_every_command_prints_what_the_page_says(command, printed):
    """It succeeds, or ends in the one line that the page quotes."""
    status, lines = printed[command.text]
    fails = any(line.startswith("secateur: ") for line in command.output)
    assert (status != 0) == fails, "\n".join(lines)
    trained = any(word in command.text for word in TRAINED)
    assert missing(command.output, lines, trained) is None, "\n".join(lines)


@pytest.mark.emulator
@pytest.mark.slow
def test_the_program_on_the_computer_names_the_recordings_own_class(printed):
    """Most decisions about a person's waving are "wave"; a confidence is a probability."""
    status, lines = printed[next(c.text for c in commands() if c.text.startswith("./app"))]
    labels = [line.split()[0] for line in lines]
    assert status == 0 and labels.count("wave") > len(labels) / 2 and len(labels) == 29
    assert all(0 <= float(line.split()[1]) <= 1 for line in lines)


def test_lines_are_compared_in_order_and_to_the_end():
    """What is quoted must stand there, next to its neighbours, and nothing may follow that is not quoted."""
    printed = ["a 1", "b  2", "c 3"]
    assert missing(("a 1", "b 2", "c 3"), printed, False) is None
    assert missing(("a 1", "..."), printed, False) is None
    assert missing(("...", "c 3"), printed, False) is None
    assert missing(("a 9", "...", "c 9"), printed, True) is None
    assert missing(("a 1", "c 3"), printed, False) == "c 3"
    assert missing(("a 9", "..."), printed, False) == "a 9"
    assert missing(("2 mismatches",), ["0 mismatches"], True) == "2 mismatches"
    assert missing(("a 1", "b 2"), printed, False) == "(nothing after line 2): c 3"
    assert missing(("...", "b 2"), printed, False) is not None


def test_the_page_names_its_files_and_has_all_its_steps():
    """The files that the commands read are on the page."""
    assert set(files()) == {"front.toml", "net.py", "train.py", "app.c"}
    text = " ".join(command.text for command in commands())
    assert all(f"secateur {step}" in text for step in ("check", "compile", "run", "flash"))
