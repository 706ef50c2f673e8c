"""The examples behind a front end of pictures: plain C prints Python's decisions, the boards' mains compile."""

from __future__ import annotations

import re
import shlex
import subprocess
from fractions import Fraction
from pathlib import Path

import pytest
from c_host import SANITIZERS, WARNINGS, generated, planned
from small_pictures import noise_frames, small_picture_program

from secateur.compiler.picture_proof import frames_of, picture_inputs
from secateur.compiler.stream_proof import decisions_of
from secateur.firmware.image import build
from secateur.firmware.project import write_project
from secateur.models.front_end.decide import Decisions
from secateur.models.front_end.image import ImageChain
from secateur.models.reference import run_reference
from secateur.runtime_bench.console import console
from secateur.targets.target import find

pytestmark = pytest.mark.emulator

STUBS = Path(__file__).parents[1] / "vendor_stubs"


def project(root: Path) -> list[str]:
    """A project; returns the lines that its plain example must print."""
    chain = ImageChain(24, 32, 12, 12, "rgb565")
    program = small_picture_program(chain, Decisions(2, 195), (120.0,), (60.0,), (0.02, 3))
    frames = noise_frames(chain, 8)
    write_project(root, generated(planned(program)), find("esp32"), frames_of(chain, frames))
    inputs = picture_inputs(program, frames)
    lines = []
    for i, decision in enumerate(decisions_of(program, inputs, run_reference(program, inputs))):
        if decision is not None:
            thousandths = int(Fraction(float(decision.confidence)) * 1000 + Fraction(1, 2))
            label = "unknown" if decision.label < 0 else program.labels[decision.label]
            lines.append(f"{i}: {label} {thousandths // 1000}.{thousandths % 1000:03}")
    assert len(lines) == 7 and len({line.split()[1] for line in lines}) > 1
    return lines


def test_the_command_in_the_plain_example_builds_it_and_it_prints_pythons_decisions(tmp_path):
    """One cc command on this computer, strict and under the sanitizers."""
    lines = project(tmp_path)
    found = re.search(r"^ +(cc -O2 .*)$", (tmp_path / "examples/plain/main.c").read_text(), re.MULTILINE)
    assert found is not None
    command = [*shlex.split(found[1]), *WARNINGS, *SANITIZERS]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:3000]
    said = subprocess.run([tmp_path / "example"], capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == lines


@pytest.mark.slow
@pytest.mark.parametrize("environment", ["qemu-cortex-m4", "qemu-xtensa"])
def test_the_plain_example_prints_them_in_an_emulator(environment, tmp_path):
    """Built by the project's own environment."""
    lines = project(tmp_path)
    assert console(build(tmp_path, f"{environment}-example"), 60).splitlines() == lines


@pytest.mark.parametrize("kind", ["esp-idf", "arduino"])
def test_the_boards_mains_compile_against_their_headers(kind, tmp_path):
    """The vendors' headers are stubs; the frame stands for a camera's."""
    project(tmp_path)
    main = {"esp-idf": "examples/esp-idf/main/main.c", "arduino": "libraries/net/examples/net/net.ino"}[kind]
    compiler = ["g++", "-std=c++11", "-x", "c++"] if kind == "arduino" else ["gcc", "-std=c99"]
    command = [*compiler, "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I", STUBS / kind, "-I", STUBS, "-I",
               tmp_path / "libraries/net/src", tmp_path / main]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:3000]
    assert "net_picture(&state, camera_frame())" in (tmp_path / main).read_text()
