"""From raw samples to decisions, the whole way: sounds in class folders, a front end, an image, decisions equal."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from machine_sounds import NET, PREPROCESS, write_sounds
from safetensors.torch import save_file

import secateur
from secateur.compiler.frontends.data import load_data
from secateur.compiler.frontends.preprocess_file import read_preprocess
from secateur.compiler.frontends.truth import Wanted
from secateur.models.preprocess import Preprocess

log = logging.getLogger(__name__)

pytestmark = [pytest.mark.emulator, pytest.mark.slow]

SETTINGS = """
target = "qemu-cortex-m4"
data = "sounds"
task = "anomaly"
weights = "net.safetensors"
input-shape = [1, 80]
recovery = "none"
max-ram = "16K"
max-flash = "48K"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Sounds, a trained autoencoder of their log-mel windows, and the settings beside it."""
    root = tmp_path_factory.mktemp("machine")
    write_sounds(root / "sounds")
    (root / "net.py").write_text(NET)
    (root / "pre.toml").write_text(PREPROCESS)
    (root / "secateur.toml").write_text(SETTINGS + PREPROCESS)
    pre = read_preprocess(root / "pre.toml")
    data = load_data(str(root / "sounds"), (80,), front_end=pre.front_end, wanted=Wanted("anomaly"))
    scope: dict[str, object] = {}
    exec(NET, scope)
    torch.manual_seed(0)
    net = scope["autoencoder"]()
    x = torch.from_numpy(pre(data.recovery.x))
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(300):
        batch = x[torch.randperm(len(x))[:64]]
        loss = ((net(batch) - batch) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    save_file(net.state_dict(), root / "net.safetensors")
    return root


@pytest.fixture(scope="module")
def out(folder, called) -> Path:
    """What `secateur compile net.py:autoencoder` writes, everything else being in secateur.toml."""
    code, printed, said = called(["compile", f"{folder}/net.py:autoencoder", "-o", str(folder / "out")])
    assert code == 0, printed + said
    return folder / "out"


def test_a_compile_from_sounds_is_exact_and_finds_what_is_broken(out):
    """Every decision of the recordings equals Python's; the front end stands in the report beside the layers."""
    report = json.loads((out / "report.json").read_text())
    assert report["task"] == "anomaly" and report["metric"] == "auc"
    assert report["result"]["accuracy_int8"] > 95
    verification = report["verification"]
    assert verification["samples"] > 20 and verification["mismatches"] == 0
    layers = {layer["name"]: layer["instructions"] for layer in report["result"]["layers"]}
    assert layers["front end"] > 100_000  # five FFTs of 1,024
    assert sum(layers.values()) <= report["result"]["instructions"]


def test_the_steps_after_compile_compare_decisions(called, out):
    """`run` and `bench device` start from raw samples too, on every emulator and the host."""
    code, printed, said = called(["run", str(out), "--json"])
    found, report = json.loads(printed), json.loads((out / "report.json").read_text())
    assert code == 0 and found["mismatches"] == 0, said
    assert found["values"] == report["verification"]["outputs"]
    code, printed, said = called(["bench", "device", str(out), "--json"])
    rows = {row["environment"]: row for row in json.loads(printed)}
    for name, row in rows.items():
        layers = row["layer_instructions"] or [0]
        total = row["instructions"] or 0
        log.info(
            "%s: %d values, %d mismatches, front end %d instructions, network %d",
            name, row["values"], row["mismatches"], total - sum(layers[1:]), sum(layers[1:]),
        )  # fmt: skip
    assert code == 0 and {"host", "qemu-xtensa", "qemu-riscv32", "qemu-cortex-m4"} <= rows.keys(), said
    assert {(row["values"], row["mismatches"]) for row in rows.values()} == {(found["values"], 0)}


def test_another_threshold_is_seen_by_the_comparison(called, out, tmp_path):
    """The check is checked: decisions that Python makes otherwise are a mismatch, exit code 1."""
    path = out / "preprocess.toml"
    text = path.read_text()
    try:
        path.write_text(text.replace("steps = ", "steps = 1 # "))
        code, _, said = called(["run", str(out)])
    finally:
        path.write_text(text)
    assert code == 1 and "BUG" in said


def test_from_python_it_is_the_same_file(folder, out):
    """`secateur.compile` takes the preprocessing as a file, or as a record."""
    for given in (folder / "pre.toml", read_preprocess(folder / "pre.toml")):
        assert isinstance(given, (Path, Preprocess))
        found = secateur.compile(
            f"{folder}/net.py:autoencoder", weights=folder / "net.safetensors", data=folder / "sounds",
            input_shape=(80,), task="anomaly", preprocess=given, target="qemu-cortex-m4", out=folder / "python",
            search=secateur.SearchOptions(total_steps=0), build=secateur.Build(run="none"),
        )  # fmt: skip
        assert (found.out / "model.tflite").read_bytes() == (out / "model.tflite").read_bytes()
        assert (found.out / "preprocess.toml").read_bytes() == (out / "preprocess.toml").read_bytes()
