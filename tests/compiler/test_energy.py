"""--energy: what an inference takes is arithmetic, and what the search took stays on this machine and in run.json."""

from __future__ import annotations

import importlib.util
import json
import socket
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import secateur
from secateur.compiler.energy import Extras, Meter, Spent, device_energy, run_document
from secateur.compiler.report.facts import spent_lines
from secateur.compiler.session import Request, extras_of
from secateur.errors import UserError
from secateur.models.data import Data, Split
from secateur.targets.target import find

CHIP = replace(
    find("esp32c3"),
    clock_hz=100_000_000,
    other_clocks_hz=(200_000_000, 300_000_000),
    cycles_per_instruction=(1.0, 2.0),
    supply_volts=2.0,
    active_currents_ma=((100e6, 10.0, 20.0), (200e6, 30.0, 40.0)),
    current_source="a data sheet",
)


def deployed(instructions: int | None) -> types.SimpleNamespace:
    return types.SimpleNamespace(instructions=instructions)


def test_energy_is_supply_times_current_times_time():
    """1,000,000 instructions at 100 MHz are 10 to 20 ms; at 2 V and 10 to 20 mA 0.2 to 0.8 mJ. Half of it is saved."""
    found = device_energy(CHIP, deployed(1_000_000), deployed(500_000), 0.5)
    first, second = found.clocks
    assert (first.clock_hz, second.clock_hz, found.why) == (100_000_000, 200_000_000, None)
    np.testing.assert_allclose(first.baseline_mj.value, (0.2, 0.8))
    np.testing.assert_allclose(first.result_mj.value, (0.1, 0.4))
    np.testing.assert_allclose(first.saved_mj.value, (0.1, 0.4))
    np.testing.assert_allclose(first.inferences_per_kwh.value, (9e9, 3.6e10))
    np.testing.assert_allclose(second.baseline_mj.value, (0.3, 0.8))
    assert {first.result_mj.kind, second.saved_mj.kind} == {"predicted"} and "a data sheet" in first.result_mj.source


def test_what_is_not_known_is_said_and_never_0():
    """No saving, no break-even; no current and no instruction count, no number."""
    same = device_energy(CHIP, deployed(10), deployed(10), 0.5).clocks[0]
    assert same.inferences_per_kwh is None and same.saved_mj.value == (0, 0)
    unknown = device_energy(find("qemu-cortex-m4"), deployed(10), deployed(5), 0.5)
    assert unknown.clocks == () and unknown.supply_volts is None and "no current is known" in unknown.why
    assert "no instruction model" in device_energy(CHIP, deployed(None), deployed(5), 0.5).why
    esp32 = device_energy(find("esp32"), deployed(10), deployed(5), 0.5)
    assert [c.clock_hz for c in esp32.clocks] == [160_000_000, 240_000_000] and "40 MHz" in esp32.why


def test_break_even_is_what_was_spent_by_what_is_saved():
    """One Wh is saved again after so many inferences, and CO2 follows the intensity."""
    spent = Spent(10, 12.5, 0.0004, 0.0005, 0.0001, "estimated")
    energy = device_energy(CHIP, deployed(1_000_000), deployed(500_000), 0.5)
    told = run_document(spent, energy, resumed=False)
    assert told["break_even_inferences"] == {"100000000": [9_000_000, 36_000_000], "200000000": [9_000_000, 24_000_000]}
    np.testing.assert_allclose((told["kwh"], told["co2eq_kg"]), (0.001, 0.0005))
    assert told["of"] == "search and recovery" and "processor: estimated" in told["how"]
    nothing = run_document(Spent(), device_energy(CHIP, deployed(10), deployed(10), 0.5), resumed=False)
    assert nothing["how"] == "nothing was searched or trained" and nothing["kwh"] == 0
    lines = spent_lines(told)
    assert "1 Wh, 0.5 g CO2-eq at 0.5 kg/kWh, 12.5 s of processor time" in lines[0]
    assert "after 9,000,000 to 36,000,000 inferences at 100 MHz" in lines[2]
    part = run_document(spent, energy, resumed=True)
    assert set(part["break_even_inferences"].values()) == {None} and part["kwh"] == told["kwh"]
    assert "since it was resumed; what ran before is not counted" in part["of"]
    assert not any("saved again" in line for line in spent_lines(part))


def _needs_codecarbon() -> None:
    if importlib.util.find_spec("codecarbon") is None:
        pytest.skip("CodeCarbon is not installed: pip install 'secateur[energy]'")


@pytest.mark.slow
def test_the_meter_opens_no_connection_and_leaves_no_file(tmp_path, monkeypatch, capfd):
    """Even where CodeCarbon's own settings ask for both, and it says nothing; its two parts add up."""
    _needs_codecarbon()
    for name in [name for name in sys.modules if name.split(".")[0] == "codecarbon"]:  # its import sets up its log
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CODECARBON_EMISSIONS_ENDPOINT", "http://127.0.0.1:9/")
    monkeypatch.setenv("CODECARBON_OUTPUT_METHODS", "csv,api,prometheus")
    monkeypatch.setenv("CODECARBON_CLOUD_PROVIDER", "gcp")

    def connect(*given: object) -> None:
        raise AssertionError(f"a connection to {given[1:]}")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket.socket, "connect_ex", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)
    meter = Meter()
    assert meter.spent.kwh == 0
    with meter:
        x = np.ones((300, 300))
        for _ in range(30):
            x = x @ x / 300
    once = meter.spent
    assert once.seconds > 0 and once.processor_seconds > 0 and once.kwh > 0 and once.how != "nothing was measured"
    with pytest.raises(KeyError), meter:
        raise KeyError
    assert meter.spent.kwh > once.kwh and meter.spent.seconds > once.seconds
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().err == ""


def test_without_codecarbon_the_command_that_brings_it_is_said(monkeypatch):
    """One line, before anything is done."""
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "codecarbon" else found(name))
    with pytest.raises(UserError, match=r"--energy: CodeCarbon is not installed.*pip install 'secateur\[energy\]'"):
        Meter()
    with pytest.raises(UserError, match="--carbon-intensity -1"):
        Extras(carbon_intensity=-1)


def test_an_option_without_its_flag_is_refused():
    """Nothing is ignored in silence; with the flags, what is not said has its default."""
    request = Request("zoo:digits-net", "esp32")
    for option in ({"robustness_samples": 8}, {"carbon_intensity": 0.1}):
        with pytest.raises(UserError, match=r"without --(robustness|energy) this says nothing"):
            extras_of(replace(request, **option))
    assert extras_of(request) == Extras()
    assert extras_of(replace(request, robustness=True, energy=True)) == Extras(256, True, 0.432)
    assert extras_of(replace(request, energy=True, carbon_intensity=0.0)).carbon_intensity == 0


def bright_or_dark(out: Path, extras: Extras) -> None:
    """Compile a threshold on one pixel, whose 90 samples are two classes in 9 groups."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(0, 0.1, (90, 1, 4, 4)).astype(np.float32), np.arange(90) % 2
    x[:, 0, 0, 0] += 4 * y
    cuts = (slice(0, 50), slice(50, 70), slice(70, 90))
    data = Data("bright", *(Split(x[c], y[c], np.arange(90)[c] // 10) for c in cuts), labels=("dark", "bright"))
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    weight = np.zeros((2, 16), np.float32)
    weight[:, 0] = -1, 1
    net[1].weight.data = net[1].weight.new_tensor(weight)
    net[1].bias.data = net[1].bias.new_tensor([2.0, -2.0])
    secateur.compile(
        net, target="esp32c3", data=data, input_shape=(1, 4, 4), name="bright", out=out,
        build=secateur.Build(run="none"), extras=extras,
    )  # fmt: skip


def test_the_report_is_the_same_bytes_and_run_json_has_what_is_not(tmp_path):
    """Two runs with both flags: one report, of the device's energy and of robustness; the search's is beside it."""
    _needs_codecarbon()
    for name in ("one", "two"):
        bright_or_dark(tmp_path / name, Extras(robustness=4, energy=True, carbon_intensity=0.1))
    first, second = ((tmp_path / name / "report.json").read_bytes() for name in ("one", "two"))
    assert first == second
    assert (tmp_path / "one/report.html").read_bytes() == (tmp_path / "two/report.html").read_bytes()
    report = json.loads(first)
    assert report["energy"]["carbon_intensity"] == 0.1 and len(report["energy"]["clocks"]) == 2
    assert report["robustness"]["samples"] == 4
    run = json.loads((tmp_path / "one/run.json").read_text())["energy"]
    assert run["carbon_intensity_kg_per_kwh"] == 0.1 and run["seconds"] >= 0 and "processor" in run["how"]
    page = (tmp_path / "one/report.html").read_text()
    assert "Energy of an inference" in page and "Robustness" in page and "FGSM 8/255" in page
    bright_or_dark(tmp_path / "plain", Extras())
    plain = json.loads((tmp_path / "plain/report.json").read_text())
    assert plain["energy"] is plain["robustness"] is None
    assert "energy" not in json.loads((tmp_path / "plain/run.json").read_text())


@pytest.mark.slow
def test_of_a_resumed_search_no_break_even_is_told(tmp_path):
    """What ran before is in no meter; asked for where nothing is saved, it resumes nothing."""
    _needs_codecarbon()

    def told() -> dict[str, Any]:
        secateur.compile(
            "zoo:digits-net", target="esp32c3", data="zoo:digits", out=tmp_path, resume=True,
            budget=secateur.Budget(flash_bytes=45_000, max_drop=90.0), build=secateur.Build(run="none"),
            search=secateur.SearchOptions(recovery="none", method="first"), extras=Extras(energy=True),
        )  # fmt: skip
        found: dict[str, Any] = json.loads((tmp_path / "run.json").read_text())["energy"]
        return found

    first, second = told(), told()
    assert None not in first["break_even_inferences"].values() and "resumed" not in first["of"]
    assert set(second["break_even_inferences"].values()) == {None} and "resumed" in second["of"]
