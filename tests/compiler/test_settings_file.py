"""`secateur.toml` beside the model: any option of `compile`, tables of the preprocessing; the command line wins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from secateur.models.preprocess import Preprocess
from secateur.models.training import Recipe, fit, reinitialize
from secateur.models.zoo.digits import digits_data

NET = """
from torch import nn

def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
"""
SETTINGS = """
weights = "net.safetensors"
target = "esp32"
out = "made"
data = "zoo:digits"
max-ram = 4096
max-drop = 100
recovery = "none"
run = "none"
input-shape = [1, 1, 8, 8]
mean = [8]
std = 2.5
json = true
"""


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    """Of a network that knows some digits."""
    scope: dict[str, Any] = {}
    exec(NET, scope)
    module: nn.Module = scope["make"]()
    reinitialize(module, 0)
    fit(module, digits_data().recovery, Recipe(steps=100, batch=64, lr=0.05), 0, Preprocess((8.0,), (2.5,)))
    return module.state_dict()


@pytest.fixture
def model(tmp_path, monkeypatch, weights) -> str:
    """A network with settings beside it, seen from another folder."""
    (tmp_path / "net").mkdir()
    save_file(weights, tmp_path / "net" / "net.safetensors")
    (tmp_path / "net" / "net.py").write_text(NET)
    (tmp_path / "net" / "secateur.toml").write_text(SETTINGS)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return str(tmp_path / "net" / "net.py:make")


def beside(model: str) -> Path:
    return Path(model).parent / "secateur.toml"


def test_a_compile_needs_the_model_alone(called, model):
    """Target, data, folder, budget and scaling come from the file; what was taken is said on stderr."""
    code, printed, said = called(["compile", model])
    assert code == 0, said
    report = json.loads(printed)
    assert report["target"]["name"] == "esp32" and report["budget"]["ram_bytes"] == 4096
    assert report["budget"]["max_drop"] == 100
    keys = "weights, target, out, data, max-ram, max-drop, recovery, run, input-shape, mean, std, json"
    assert f"taken from {beside(model)}: {keys}\n" in said
    made = beside(model).parent / "made"
    assert (made / "report.json").is_file()
    assert "mean = [8.0]\nstd = [2.5]\n" in (made / "preprocess.toml").read_text()


def test_the_command_line_wins(called, model):
    """Options that are given, and --all-targets against the file's one target."""
    code, printed, said = called(["check", model, "--target", "esp32c3", "--max-ram", "2K", "--json"])
    assert code == 0, said
    (row,) = json.loads(printed)
    assert (row["target"], row["ram_limit_bytes"]) == ("esp32c3", 2048)
    code, printed, said = called(["check", model, "--all-targets"])
    assert code == 0 and len(json.loads(printed)) > 4, said


def test_paths_are_from_the_files_folder(called, model):
    """Data, class names and weights; what is no file there is taken as it is."""
    folder = beside(model).parent
    beside(model).write_text(SETTINGS.replace('"zoo:digits"', '"mine.py:load"') + 'labels = "names.txt"\n')
    (folder / "mine.py").write_text(
        "from secateur.models.zoo.digits import digits_data\n\ndef load():\n    d = digits_data()\n"
        "    return dict(x_train=d.recovery.x, y_train=d.recovery.y, x_test=d.test.x, y_test=d.test.y)\n"
    )
    code, _, said = called(["compile", model])
    assert code == 2 and f"secateur: {folder}/names.txt: No such file" in said
    (folder / "names.txt").write_text("\n".join("abcdefghij"))
    code, printed, said = called(["compile", model])
    assert code == 0, said
    assert json.loads(printed)["details"]["labels"] == list("abcdefghij")


def test_tables_of_the_preprocessing_may_stand_in_it(called, model):
    """They are those of --preprocess: a front end is counted."""
    beside(model).write_text("[source]\nrate = 50\nchannels = 1\n[window]\nlength = 64\nhop = 32\n")
    arguments = ["check", model, "-t", "esp32", "--input-shape", "1,1,64", "--json"]
    code, printed, said = called(arguments)
    assert code == 0, said
    (row,) = json.loads(printed)
    assert row["front_end_bytes"] > 64 and "its code and time are known once compile has" in row["front_end"]
    (beside(model).parent / "other.toml").write_text("[normalize]\nmean = 8\nstd = 2\n")
    code, printed, said = called([*arguments, "--preprocess", str(beside(model).parent / "other.toml")])
    assert code == 0 and json.loads(printed)[0]["front_end_bytes"] == 0


WRONG = {
    'targt = "esp32"': "unknown targt; options are calibration, carbon-intensity, critical-period, cut-at, data, ",
    "steps = true": "steps is True; a whole number is expected",
    'steps = "many"': "steps is 'many'; a whole number is expected",
    "steps = 1.5": "steps is 1.5; a whole number is expected",
    "resume = 1": "resume is 1; true or false is expected",
    "labels = 3": "labels is 3; a path is expected",
    'mean = ["a"]': "mean is ['a']; text, a number or a list of numbers is expected",
    "data = []": "data is []; text, a number or a list of numbers is expected",
    "steps = ": "not TOML: Invalid value (at ",
    "[window]\nlength = 4\n[strange]": "unknown strange; options are ",
    'preprocess = "p.toml"\n[window]\nlength = 4': "names a file with preprocess, and has [window] itself; keep one",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_in_it_is_one_line(called, model, text):
    """The line names file and key; exit code 2; nothing is written."""
    beside(model).write_text(text + "\n")
    code, printed, said = called(["compile", model, "-t", "esp32", "--data", "zoo:digits", "-o", "made"])
    assert code == 2 and not printed and len(said.splitlines()) == 1
    assert said.startswith(f"secateur: {beside(model)}: {WRONG[text]}"), said
    assert not Path("made").exists()


def test_a_value_out_of_range_is_one_line(called, model):
    """What the command line's own parser refuses names the option."""
    beside(model).write_text("steps = -1\n")
    code, _, said = called(["compile", model, "-t", "esp32", "-o", "made"])
    assert code == 2 and "Invalid value for '--steps': Input should be greater than or equal to 0" in said
