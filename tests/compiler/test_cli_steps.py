"""The steps after compile on a real OUT: build, run, bench device, and flash against a chip's boot loader."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.emulator, pytest.mark.slow]


@pytest.fixture(scope="module")
def out(tmp_path_factory, called):
    """What compile writes for an ESP32, image included."""
    folder = tmp_path_factory.mktemp("steps") / "out"
    code, printed, said = called(
        ["compile", "zoo:digits-net", "--data", "zoo:digits", "-t", "esp32", "--steps", "0", "-o", str(folder)]
    )
    assert code == 0, said
    assert "outputs equal the golden runtime: 32 samples, 320 values, 0 mismatches" in printed
    assert f"flash a board: secateur flash {folder} --port" in printed
    assert max(map(len, [line for line in printed.splitlines() if str(folder) not in line])) <= 80
    return folder


@pytest.fixture
def chip():
    """The address of a program that speaks an ESP32's boot loader protocol."""
    program = shutil.which("esp32-mock-bootloader", path=str(Path(sys.prefix) / "bin"))
    if program is None:
        pytest.skip("esp32-mock-bootloader is not installed (pip install esp32-mock-bootloader)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [program, "run", "--chip", "esp32", "--port", str(port)]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    time.sleep(0.3)
    yield f"socket://127.0.0.1:{port}"
    running.terminate()
    running.wait(10)


def test_run_compares_every_output(called, out):
    """The emulator's values are compared again; the numbers are the report's."""
    code, printed, said = called(["run", str(out), "--json"])
    found, report = json.loads(printed), json.loads((out / "report.json").read_text())
    assert (code, found["values"], found["mismatches"]) == (0, 320, 0), said
    assert found["instructions"] == report["result"]["instructions"]
    assert found["stack_bytes"] == report["result"]["stack_bytes"]


def test_build_says_what_the_image_holds(called, out):
    """Text and JSON tell the same, and nothing else is on stdout."""
    code, printed, _ = called(["build", str(out), "--json"])
    report = json.loads((out / "report.json").read_text())
    assert code == 0 and json.loads(printed)["flash_bytes"] == report["result"]["flash_bytes"]
    code, printed, _ = called(["build", str(out)])
    assert code == 0 and f"{report['result']['flash_bytes']:,}" in printed


def test_bench_device_measures_every_environment(called, out):
    """One row an emulator and the host, every output equal."""
    code, printed, _ = called(["bench", "device", str(out), "--json"])
    rows = {row["environment"]: row for row in json.loads(printed)}
    assert code == 0 and {"host", "qemu-xtensa", "qemu-riscv32", "qemu-cortex-m4"} <= rows.keys()
    assert {row["mismatches"] for row in rows.values()} == {0}


def test_flashing_what_missed_its_budget_says_so(called, out, chip, tmp_path):
    """The chip is written all the same; the warning names the limit."""
    folder = tmp_path / "out"
    shutil.copytree(out, folder)
    report = json.loads((folder / "report.json").read_text())
    violation = {"limit": "flash_bytes", "value": 9, "allowed": 8, "why": "too large"}
    report["budget"] |= {"met": "no", "violations": [violation]}
    (folder / "report.json").write_text(json.dumps(report))
    code, printed, said = called(["flash", str(folder), "--port", chip])
    assert code == 0 and "written, verified and read back" in printed
    assert "warning: this network did not meet its budget (flash_bytes)" in said


def test_flash_writes_verifies_and_reads_back_and_refuses_what_was_changed(called, out, chip):
    """A file that is not the one that was built does not reach the chip; building again mends it."""
    code, printed, said = called(["flash", str(out), "--port", chip])
    assert code == 0 and "written, verified and read back" in printed, said
    image = out / "firmware" / ".pio" / "build" / "esp32" / "constants.bin"
    content = bytearray(image.read_bytes())
    content[7] ^= 1
    image.write_bytes(content)
    code, printed, said = called(["flash", str(out), "--port", chip])
    assert (code, printed) == (5, "") and "constants.bin is not the file that was built" in said
    assert "secateur build" in said and len(said.splitlines()) == 1
    assert called(["build", str(out)])[0] == 0
    code, _, said = called(["flash", str(out), "--port", chip])
    assert code == 0, said
