"""--slow-ram from the command line to the image: what went where is in the image, the report and the verdict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from exported import sample

from secateur.errors import ToolError
from secateur.firmware.image import build


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> Path:
    path: Path = tmp_path_factory.mktemp("given") / "net.tflite"
    path.write_bytes(sample("residual-2d").content)
    return path


def least(called, path: Path, *more: str) -> dict:
    """The row of `check`."""
    _, printed, said = called(["check", str(path), "--target", "qemu-cortex-m4", "--json", *more])
    (row,) = json.loads(printed)
    assert "Traceback" not in said
    return row


@pytest.mark.emulator
@pytest.mark.slow
def test_a_network_that_ram_cannot_hold_runs_from_both_memories(called, given, tmp_path):
    """Exit 0 with slow memory, all outputs exact in the emulator; 3 without. A machine that has none says so."""
    whole = least(called, given)
    limit = str(whole["ram_bytes"] - whole["arena_bytes"] // 2)
    command = ["compile", str(given), "--target", "qemu-cortex-m4", "--max-ram", limit, "--patches", "off", "--json"]
    code, printed, said = called([*command, "--slow-ram", "1M", "-o", str(tmp_path / "out")])
    found = json.loads(printed)
    assert (code, found["budget"]["met"], found["verification"]["mismatches"]) == (0, "emulated", 0), said
    assert found["result"]["ram_bytes"] <= int(limit) < found["baseline"]["ram_bytes"]
    memory = found["details"]["memory_result"]
    ends = {"ram": 0, "slow": 0}
    for t in memory["tensors"]:
        ends[t["region"]] = max(ends[t["region"]], t["offset_bytes"] + t["size_bytes"])
    assert ends == {"ram": memory["arena_bytes"], "slow": memory["slow_arena_bytes"]} and ends["slow"] > 0
    assert 0 < memory["slow_accesses"] < memory["accesses"]
    note = f"{memory['slow_arena_bytes']:,} bytes of slow memory hold"
    assert note in " ".join(found["details"]["notes"]) and note in said
    assert "without what slow memory takes longer" in found["provenance"]["/result/latency_ms_high"]["source"]
    assert "in slow memory" in (tmp_path / "out" / "report.html").read_text()
    image = build(tmp_path / "out" / "firmware", "qemu-cortex-m4")
    assert (image.arena_bytes, image.slow_arena_bytes) == (memory["arena_bytes"], memory["slow_arena_bytes"])
    assert "_SLOW_ARENA_BYTES" in (tmp_path / "out" / "firmware" / "README.txt").read_text()
    with pytest.raises(ToolError, match="this machine has none"):
        build(tmp_path / "out" / "firmware", "qemu-riscv32")

    code, printed, _ = called([*command, "-o", str(tmp_path / "without")])
    assert (code, [v["limit"] for v in json.loads(printed)["budget"]["violations"]]) == (3, ["ram_bytes"])
    assert json.loads(printed)["details"]["memory_result"]["slow_arena_bytes"] == 0


def test_a_latency_that_slow_memory_leaves_unknown_is_no_evidence(called, given, tmp_path):
    """With a latency limit the verdict is 3 and says why, in `compile` and in `check`; without one it is 0."""
    whole = least(called, given)
    options = ("--max-ram", str(whole["ram_bytes"] - whole["arena_bytes"] // 2), "--patches", "off", "--slow-ram", "1M")
    assert least(called, given, *options)["fits"]
    row = least(called, given, *options, "--max-latency", "60s")
    assert not row["fits"] and "the latency is not known" in row["why"] and row["slow_arena_bytes"] > 0
    assert "slow memory hold" in row["slow_memory"] and "slow memory hold" not in row["why"]  # told once
    command = ["compile", str(given), "--target", "qemu-cortex-m4", "--run", "none", "--json", *options]
    code, printed, _ = called([*command, "--max-latency", "60s", "-o", str(tmp_path / "out")])
    assert "were compared" not in " ".join(json.loads(printed)["details"]["notes"])  # nothing ran
    (violation,) = json.loads(printed)["budget"]["violations"]
    assert (code, violation["limit"]) == (3, "evidence") and "their time is not modelled" in violation["why"]


def test_a_limit_out_of_reach_promises_nothing_for_a_tflite(called, given):
    """From a file nothing is removed, patches that do not hold the limit do not claim to, and rows count as often as
    they are computed again."""
    row = least(called, given, "--max-ram", "1K")
    assert not row["fits"] and row["why"].endswith("give the float network that it was made from")
    assert "for the RAM limit" in row["patches"] and row["patches"].endswith("MACs computed again")


@pytest.mark.parametrize(
    "command",
    [
        ("compile", "--target", "esp32", "--slow-ram", "1M"),
        ("check", "--target", "esp32", "--slow-ram", "1M"),
        ("check", "--target", "qemu-cortex-m4", "--slow-ram", "5M"),
        ("check", "--all-targets", "--slow-ram", "1M"),
    ],
)
def test_more_slow_memory_than_there_is_is_one_line(called, given, tmp_path, command):
    """It says how much the device has, and nothing is written."""
    out = tmp_path / "out"
    where = ["-o", str(out)] if command[0] == "compile" else []
    code, printed, said = called([command[0], str(given), *where, *command[1:]])
    wanted = {
        "esp32": "esp32 has: none that its bare image can use. Leave it out",
        "qemu-cortex-m4": "qemu-cortex-m4 has: 4,194,304 bytes. Ask for less",
        "--slow-ram": "--slow-ram goes with --target",
    }[command[2]]
    assert code == 2 and wanted in said and not printed and not out.exists()
    assert len(said.strip().splitlines()) == 1
