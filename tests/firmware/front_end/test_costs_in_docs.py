"""What a front end costs: the table of docs/front-end.md, made and checked here.

`PYTHONPATH=typings:tests python tests/firmware/front_end/test_costs_in_docs.py` prints it anew.
"""
# ruff: noqa: T201 - run by hand, it prints the page's rows

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

import pytest
from c_host import generated, planned
from mel_float import ANOMALY, KWS
from small_streams import Small, small_stream_program

from secateur.compiler.stream_proof import pieces, stream_of
from secateur.firmware.front_end.stream import memory, parts
from secateur.firmware.image import build
from secateur.firmware.project import write_project
from secateur.models.front_end.chain import FrontEnd
from secateur.models.front_end.log_mel import LogMel
from secateur.models.front_end.mfcc import Mfcc
from secateur.models.front_end.micro import Micro
from secateur.models.front_end.resample import Resample, resample_between
from secateur.runtime_bench.emulator import EmulatorRunner
from secateur.targets.target import find

PAGE = Path(__file__).parents[3] / "docs/front-end.md"
MOTION = (50.0, 6, 128, 64, (4096.0,))
CHAINS: dict[str, FrontEnd] = {
    "six axes at 50 Hz, window 128, hop 64": FrontEnd(*MOTION),
    "the same from 100 Hz, resampled 1/2": FrontEnd(100.0, *MOTION[1:], Resample(1, 2)),
    "the same, each window without its mean": FrontEnd(*MOTION, detrend="mean"),
    "the same, each window without its line": FrontEnd(*MOTION, detrend="linear"),
    "MFCC, 10 of 40 filters, 49 frames of 30 ms every 20 ms": FrontEnd(16000, 1, 49, 49, features=Mfcc(**KWS)),
    "log-mel, 40 filters, the same frames": FrontEnd(16000, 1, 49, 49, features=LogMel(**KWS)),
    "log-mel, 128 filters, 5 frames of 64 ms every 32 ms, a hop of 1": FrontEnd(
        16000, 1, 5, 1, features=LogMel(**ANOMALY)
    ),
    "micro, 40 bands, 49 frames of 30 ms every 20 ms": FrontEnd(16000, 1, 49, 49, features=Micro(step_ms=20)),
    "the same from 44.1 kHz": FrontEnd(
        44100, 1, 49, 49, resampler=resample_between(44100, 16000), features=Micro(step_ms=20)
    ),
}
ENVIRONMENT = "qemu-cortex-m4"


def cells(front: FrontEnd, folder: Path) -> tuple[int, int, int, int]:
    """Bytes of state and of the arena's scratch, bytes of flash, instructions from one decision to the next."""
    program = small_stream_program(Small(front))
    made = parts(program)
    assert made is not None
    write_project(folder, generated(planned(program)), find("host"), pieces(program, stream_of(front, ())))
    run = EmulatorRunner(ENVIRONMENT).run(build(folder, ENVIRONMENT), 120)
    assert run.instructions is not None and run.layer_instructions is not None
    scratch = memory(made, program, 0, 0).arena_bytes
    said = subprocess.run(
        ["size", "-A", folder / f".pio/build/{ENVIRONMENT}/model/net_stream.o"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    sections = re.findall(r"^\.(?:text|rodata)\S*\s+(\d+)", said, re.MULTILINE)
    flash = sum(map(int, sections))
    return made.state_bytes, scratch, flash, run.instructions - sum(run.layer_instructions[1:])


def row(name: str, folder: Path) -> str:
    state, scratch, flash, instructions = cells(CHAINS[name], folder)
    return f"| {name} | {state:,} | {scratch:,} | {flash:,} | {instructions:,} |"


@pytest.mark.emulator
@pytest.mark.parametrize("name", list(CHAINS))
def test_the_page_tells_what_a_front_end_costs(name: str, tmp_path: Path) -> None:
    """Bytes and instructions as the page has them; flash and instructions within a twentieth, for other compilers."""
    found = re.search(rf"^\| {re.escape(name)} \|(.*)\|$", PAGE.read_text(), re.MULTILINE)
    assert found is not None
    told = [int(cell.replace(",", "")) for cell in found[1].split("|")]
    state, scratch, flash, instructions = cells(CHAINS[name], tmp_path)
    assert told[:2] == [state, scratch]
    assert told[2:] == [pytest.approx(flash, rel=0.05), pytest.approx(instructions, rel=0.05)]


if __name__ == "__main__":
    for name in CHAINS:
        with tempfile.TemporaryDirectory() as folder:
            print(row(name, Path(folder)), flush=True)
