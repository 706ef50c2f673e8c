"""A compile that is killed and resumed ends with the bytes of one that was left alone."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from multiprocessing import get_context
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from secateur.compiler import cli

POINTS = 10
ARGUMENTS = (
    "compile", "zoo:digits-net", "--data", "zoo:digits", "--target", "esp32", "--max-flash", "40K",
    "--max-drop", "20", "--steps", "30", "--run", "none",
)  # fmt: skip
COMMAND = (sys.executable, "-c", "from secateur.compiler.cli import main; main()", *ARGUMENTS)
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def files(out: Path) -> dict[str, bytes]:
    """Everything in OUT but what is volatile: the record of the run, and build folders with absolute paths."""
    found = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if path.is_file() and name != "run.json" and ".pio/" not in name:
            found[name] = path.read_bytes()
    return found


def differing(a: dict[str, bytes], b: dict[str, bytes]) -> list[str]:
    """Names that are in one only, or hold other bytes."""
    return sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))


def start(out: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*COMMAND, "-o", str(out)], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.fixture(scope="module")
def forks() -> Iterator[BaseContext]:
    """Processes that begin with everything imported, which takes as long as the compile does."""
    context, heavy = get_context("forkserver"), ["secateur.compiler.session", "sklearn.datasets", "torch._dynamo"]
    assert all(find_spec(name) for name in heavy)  # the server would not say that one is gone
    context.set_forkserver_preload(heavy)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("OMP_NUM_THREADS", "1")
        patched.setenv("PYTHONWARNINGS", "ignore:resource_tracker")  # what is killed leaves its semaphores behind
        ready = context.Process(target=time.sleep, args=(0,))
        ready.start()
        ready.join()
        yield context


def fork(context: BaseContext, out: Path, monkeypatch: pytest.MonkeyPatch) -> BaseProcess:
    """The compile into `out`, resumed where there is something; a forked process has its parent's arguments."""
    process = context.Process(target=cli.main)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "argv", ["secateur", *ARGUMENTS, "-o", str(out), "--resume"])
        process.start()
    return process


@pytest.mark.slow
def test_killed_at_ten_random_points_and_resumed_it_ends_with_the_same_bytes(tmp_path, forks, monkeypatch):
    """SIGKILL anywhere loses at most a step; what an undisturbed run writes is written byte for byte."""
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "killed"

    def finish(process: BaseProcess, out: Path) -> dict[str, bytes]:
        process.join(timeout=300)
        process.kill()  # one that hangs; of one that has ended nothing is left
        assert process.exitcode == 0
        return files(out)

    began = time.monotonic()
    expected = finish(fork(forks, undisturbed, monkeypatch), undisturbed)
    seconds, draw, kills = time.monotonic() - began, random.Random(0), 0
    assert {"report.json", "report.html", "trace.jsonl", "model.onnx", "model.tflite"} <= expected.keys()
    for _ in range(10 * POINTS):
        process = fork(forks, out, monkeypatch)
        process.join(timeout=seconds * draw.uniform(0.05, 0.75))
        if process.exitcode is None:
            process.kill()
            process.join()
            kills += 1
            if kills == POINTS:
                break
        else:  # done before the shot: as good as a run that was resumed, and the next starts from nothing
            assert differing(finish(process, out), expected) == []
            for path in (out / "checkpoints").iterdir():
                path.unlink()
    assert kills == POINTS
    assert differing(finish(fork(forks, out, monkeypatch), out), expected) == []


@pytest.mark.slow
def test_ctrl_c_ends_in_a_hint_and_130(tmp_path):
    """An interrupted compile says in one line how to go on."""
    out = tmp_path / "out"
    process = start(out)
    deadline = time.monotonic() + 120
    while not (out / "run.json").is_file() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    printed, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert printed == b""
    last = said.decode().splitlines()[-1]
    assert last.startswith("secateur: interrupted") and "--resume" in last
    assert b"Traceback" not in said
    assert not (out / "report.json").exists()
