"""A PyTorch factory from a file or a package, with weights of any usual kind."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from secateur.compiler.frontends.torch_module import load_torch
from secateur.errors import UserError

CODE = """
import sys
import torch.nn as nn
from sibling import CHANNELS

NUMBER = 3

def make():
    print("made")
    return nn.Sequential(nn.Conv2d(CHANNELS, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))

def described():
    return make(), {"input_shape": (3, 8, 8), "labels": ["a", "b"], "mean": [1, 2, 3], "std": [4, 5, 6]}

def misspelt():
    return make(), {"shape": (3, 8, 8)}

def divides():
    return 1 / 0

def leaves():
    sys.exit(3)

def texts():
    return "a network"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "sibling.py").write_text("CHANNELS = 3\n")
    path = tmp_path / "mynet.py"
    path.write_text(CODE)
    return path


def _state() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    parts = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    return nn.Sequential(*parts).state_dict()


def test_a_factory_describes_its_network(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Shape, labels and scale come from its dict; what it prints does not reach stdout."""
    network = load_torch(f"{file}:described")
    assert (network.input_shape, network.labels, network.preprocess.std) == ((3, 8, 8), ("a", "b"), (4.0, 5.0, 6.0))
    assert network.name == file.stem  # the function is often called factory
    captured = capsys.readouterr()
    assert captured.out == "" and "made" in captured.err


@pytest.mark.parametrize(
    "wrap",
    ["nn.DataParallel", pytest.param("torch.compile", marks=pytest.mark.slow)],  # whose import takes seconds
)
def test_a_wrapped_module_is_looked_into(tmp_path: Path, wrap: str) -> None:
    """What DataParallel and torch.compile give is the module inside, with its weights' plain names."""
    code = (
        f"import torch\nfrom torch import nn\ndef make(): return {wrap}(nn.Sequential(nn.Flatten(), nn.Linear(6, 2)))\n"
    )
    (tmp_path / "wrapped.py").write_text(code)
    save_file(nn.Sequential(nn.Flatten(), nn.Linear(6, 2)).state_dict(), tmp_path / "w.safetensors")
    network = load_torch(f"{tmp_path / 'wrapped.py'}:make", str(tmp_path / "w.safetensors"), (6,))
    assert sorted(network.module.state_dict()) == ["1.bias", "1.weight"]


def test_what_the_caller_gives_wins(file: Path) -> None:
    """Labels given on the command line replace the factory's."""
    assert load_torch(f"{file}:described", labels=("x", "y")).labels == ("x", "y")


def test_without_weights_the_network_is_the_same_each_time(file: Path) -> None:
    """Seeded, and the caller's random state is left alone."""
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    hashes = {load_torch(f"{file}:make", input_shape=(3, 8, 8)).hash() for _ in range(2)}
    assert len(hashes) == 1 and torch.equal(torch.rand(1), expected)


def test_files_of_one_name_in_two_folders_do_not_meet(file: Path, tmp_path: Path) -> None:
    """Another folder's sibling.py is read, not the first one's; nothing stays on the path."""
    load_torch(f"{file}:make", input_shape=(3, 8, 8))
    other = tmp_path / "other"
    other.mkdir()
    (other / "sibling.py").write_text("CHANNELS = 1\n")
    (other / "mynet.py").write_text(CODE)
    assert load_torch(f"{other / 'mynet.py'}:make", input_shape=(1, 8, 8)).input_shape == (1, 8, 8)
    assert str(tmp_path) not in sys.path and "sibling" not in sys.modules


def test_a_package_module_is_a_source_too(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    """pkg.mod:factory is imported from the current folder."""
    monkeypatch.chdir(file.parent)
    assert load_torch("mynet:make", input_shape=(3, 8, 8)).classes == 2
    for name in ("mynet", "sibling"):
        del sys.modules[name]


@pytest.mark.parametrize("kind", ["pt", "checkpoint", "data parallel", "compiled", "safetensors", "old batch norm"])
def test_weights_of_each_usual_kind(file: Path, tmp_path: Path, kind: str) -> None:
    """The tensors of the file are the network's."""
    state, path = _state(), tmp_path / "w.pt"
    if kind == "safetensors":
        path = tmp_path / "w.safetensors"
        save_file(state, str(path))
    else:
        prefixed = {f"module.{k}": v for k, v in state.items()}
        content: Any = {
            "pt": state,
            "checkpoint": {"epoch": 3, "state_dict": prefixed, "best": 0.9},
            "data parallel": prefixed,
            "compiled": {"model": {f"_orig_mod.{k}": v for k, v in prefixed.items()}},
            "old batch norm": {k: v for k, v in state.items() if "batches" not in k},
        }[kind]
        torch.save(content, path)
    loaded = load_torch(f"{file}:make", path, (3, 8, 8)).module.state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in state.items())


def _broken(state: dict[str, torch.Tensor]) -> dict[str, Any]:
    missing = {k: v for k, v in state.items() if not k.startswith("4")}
    return {
        "missing": (missing, r"2 missing \(4.weight, 4.bias\)"),
        "unexpected": ({**state, "extra": torch.zeros(2)}, r"1 unexpected \(extra\)"),
        "size": ({**state, "4.bias": torch.zeros(3)}, r"4.bias \(3,\) for \(2,\)"),
        "nan": ({**state, "4.bias": torch.full((2,), float("nan"))}, "NaN or infinity"),
        "pickle": (nn.Linear(2, 2), r"would run code.*state_dict\(\)"),
        "list": ([1, 2], "holds a list"),
        "no tensors": ({"lr": 0.1}, "no tensors among its keys"),
    }


@pytest.mark.parametrize("kind", [*_broken(_state()), "nonsense", "truncated", "empty", "absent", "safetensors"])
def test_weights_at_fault_are_one_line(file: Path, tmp_path: Path, kind: str) -> None:
    """A few of the names, the sizes, and what to do."""
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pt")
    if kind in _broken(_state()):
        content, message = _broken(_state())[kind]
        torch.save(content, path)
    else:
        torch.save(_state(), path)
        whole = path.read_bytes()
        data, message = {
            "nonsense": (b"nonsense", "neither a zip archive nor a pickle"),
            "truncated": (whole[: len(whole) // 2], "unreadable.*Is the file complete"),
            "empty": (b"", "unreadable .0 bytes"),
            "absent": (None, "no such file"),
            "safetensors": (b"nonsense", "unreadable .8 bytes"),
        }[kind]
        path.unlink() if data is None else path.write_bytes(data)
    with pytest.raises(UserError, match=message) as caught:
        load_torch(f"{file}:make", path, (3, 8, 8))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "spec, message",
    [
        ("{}", "name the function"),
        ("{}:none", "no none in .*make, described"),
        ("{}:NUMBER", "NUMBER is a int"),
        ("{}:divides", r"divides\(\) raised ZeroDivisionError at mynet.py:19"),
        ("{}:leaves", r"leaves\(\) raised SystemExit"),
        ("{}:texts", "returns a str"),
        ("{}:misspelt", "its dict holds shape; known are input_shape"),
        ("{}:make", "Give --input-shape"),
        ("absent.py:make", "no such file"),
        ("no_such_package.net:make", "ModuleNotFoundError"),
        (":make", "name the function"),
    ],
)
def test_a_factory_at_fault_is_one_line(file: Path, spec: str, message: str) -> None:
    """Where the user's code raised, and what was expected."""
    with pytest.raises(UserError, match=message) as caught:
        load_torch(spec.format(file))
    assert "\n" not in str(caught.value)


def test_code_that_does_not_compile_is_the_users_error(tmp_path: Path) -> None:
    """The line number is in the message."""
    (tmp_path / "bad.py").write_text("def make(:\n")
    with pytest.raises(UserError, match=r"SyntaxError.*line 1"):
        load_torch(f"{tmp_path / 'bad.py'}:make")
