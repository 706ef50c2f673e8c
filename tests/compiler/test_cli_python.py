"""`secateur.compile` from Python: light to import, the same errors and files as the command line."""

from __future__ import annotations

import doctest
import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest
from torch import nn

import secateur
from secateur.compiler import api
from secateur.compiler.session import _idle
from secateur.errors import UserError
from secateur.models.data import Data, Split


def striped() -> Data:
    """Two classes that one pixel tells apart, in 90 samples of 1x4x4 and 9 groups."""
    rng = np.random.default_rng(0)
    x = rng.normal(0, 0.1, (90, 1, 4, 4)).astype(np.float32)
    y = np.arange(90) % 2
    x[:, 0, 0, 0] += 4 * y
    groups = np.arange(90) // 10
    cuts = (slice(0, 50), slice(50, 70), slice(70, 90))
    sets = [Split(x[c], y[c].astype(np.int64), groups[c].astype(np.int64)) for c in cuts]
    return Data("striped", *sets, labels=("dark", "bright"))


def reader() -> nn.Module:
    """A trained network for it, by construction."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    weight = np.zeros((2, 16), np.float32)
    weight[:, 0] = -1, 1
    net[1].weight.data = net[1].weight.new_tensor(weight)
    net[1].bias.data = net[1].bias.new_tensor([2.0, -2.0])
    return net


def test_importing_secateur_does_not_load_torch():
    """A script that only wants the version does not wait for it."""
    code = "import secateur, sys; assert secateur.__version__; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_module_and_data_in_memory_compile(tmp_path):
    """A trained module, its data as arrays and a budget in numbers give a report and its files."""
    told: list[str] = []
    found = secateur.compile(
        reader(), target="esp32", data=striped(), input_shape=(1, 4, 4), name="striped", out=tmp_path / "out",
        budget=secateur.Budget(flash_bytes=64 << 10), build=secateur.Build(run="none"), tell=told.append,
    )  # fmt: skip
    assert (found.exit_code, found.report.budget.met, found.report.steps) == (0, "predicted", ())
    assert found.report.result.accuracy_int8.value == 100
    assert found.out == tmp_path / "out"
    assert (found.out / "report.json").is_file() and (found.out / "model.tflite").is_file()
    assert told[0].startswith("baseline: striped")


def test_errors_are_the_command_line_s(tmp_path):
    """What is wrong with the call is a UserError, and nothing is written."""
    call = {"target": "esp32", "data": striped(), "out": tmp_path / "out", "build": secateur.Build(run="none")}
    with pytest.raises(UserError, match="input_shape"):
        secateur.compile(reader(), **call)
    with pytest.raises(UserError, match=r"samples are \(1, 4, 4\)"):
        secateur.compile(reader(), **call, input_shape=(1, 2, 8))
    with pytest.raises(UserError, match="unknown target"):
        secateur.compile(reader(), **{**call, "target": "esp33"}, input_shape=(1, 4, 4))
    assert not (tmp_path / "out").exists()
    with pytest.raises(AttributeError, match="no attribute 'compil'"):
        secateur.compil  # noqa: B018 - the access is the test


@pytest.mark.slow
def test_the_docstring_s_example_runs():
    """The example that a user copies first is executed."""
    assert doctest.testmod(api) == (0, 3)


@pytest.mark.slow
def test_what_compile_wrote_compiles_again(tmp_path, called):
    """OUT/model.tflite takes the preprocess.toml beside it, mean and std alone, here and on the command line."""
    none = secateur.Build(run="none")
    first = secateur.compile(
        "zoo:digits-net", target="esp32", data="zoo:digits", out=tmp_path / "a", build=none,
        search=secateur.SearchOptions(total_steps=0, recovery="none"),
    )  # fmt: skip
    model = tmp_path / "a" / "model.tflite"
    lines: list[str] = []
    second = secateur.compile(
        model, target="esp32", data="zoo:digits", out=tmp_path / "b", build=none, tell=lines.append,
        search=secateur.SearchOptions(total_steps=7),
    )  # fmt: skip
    assert second.report.result.accuracy_int8 == first.report.result.accuracy_int8
    taken = f"preprocessing: {tmp_path}/a/preprocess.toml"
    idle = "model enters as int8, nothing is removed from it: --steps left aside"
    assert taken in lines and idle in lines
    arguments = ["compile", str(model), "-t", "esp32", "--data", "zoo:digits", "--run", "none", "--steps", "7"]
    code, _, said = called([*arguments, "-o", str(tmp_path / "c")])
    assert code == 0 and taken in said and idle in said
    assert (tmp_path / "c" / "report.json").read_bytes() == (tmp_path / "b" / "report.json").read_bytes()
    assert taken in called(["check", str(model), "-t", "esp32"])[2]
    with pytest.raises(UserError, match="--min-accuracy: without --data"):
        secateur.compile(model, target="esp32", out=tmp_path / "d", build=none, budget=secateur.Budget(min_accuracy=90))


def test_every_option_of_the_search_that_an_int8_model_leaves_aside_is_named():
    """All fields but the seed, which divides data; those that the command line has no option for are not asked."""
    inner = {"seed", "short_steps", "samples", "granularity"}
    changed = {
        "policy": "layers", "method": "random", "recovery": "full", "total_steps": 7, "floor": 1, "layer_score": "kl",
        "filter_score": "l1", "distillation": 0.5, "recalibrate": True, "train_only": 0.5, "low_rank": 2,
        "critical_period": True, "quantization_aware": "on", "reconstruct": "off", "calibration": "output",
    }  # fmt: skip
    assert {f.name for f in fields(secateur.SearchOptions)} - inner == set(changed)
    for name, value in changed.items():
        usual = secateur.SearchOptions()
        object.__setattr__(usual, name, value)  # some need others beside them
        assert len(_idle(usual, False)) == 1, name
