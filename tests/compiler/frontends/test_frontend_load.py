"""MODEL is dispatched by its form, and what does not go with it is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from secateur.compiler.frontends.load import load_model
from secateur.errors import UserError


@pytest.mark.parametrize(
    "spec, message",
    [
        ("net", r"unknown kind of model \(no such file either\).*net.onnx.*zoo:NAME"),
        ("net.xyz", "unknown kind of model"),
        ("net.h5", "no such file"),
        ("net.keras", "no such file"),
        ("net.pt", "weights alone.*file.py:FACTORY --weights net.pt"),
        ("net.onnx", "no such file"),
        ("net.tflite", "net.tflite"),
        ("net.py", "no such file"),
        ("zoo:nothing", "zoo:nothing"),
    ],
)
def test_what_is_no_model_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, message: str) -> None:
    """Each says what is accepted, or what to do."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        load_model(spec)
    assert "\n" not in str(caught.value)


def test_a_saved_model_folder_is_named(tmp_path: Path) -> None:
    """A folder with saved_model.pb is TensorFlow's."""
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(UserError, match="no SavedModel that can be read: no graph in it"):
        load_model(str(tmp_path))


def test_options_that_do_not_go_with_the_model_are_refused(tmp_path: Path) -> None:
    """Never read and never ignored."""
    with pytest.raises(UserError, match="--weights does not go"):
        load_model("net.onnx", weights=tmp_path / "w.pt")
    with pytest.raises(UserError, match="--input-shape does not go"):
        load_model("net.tflite", input_shape=(1, 2))
    with pytest.raises(UserError, match="--input-shape says"):
        load_model("zoo:digits-net", input_shape=(9, 9, 9))
    with pytest.raises(UserError, match="1 labels for 10 outputs"):
        load_model("zoo:digits-net", labels=("a",))


def test_a_network_of_the_zoo_loads() -> None:
    """By name, without another option."""
    assert load_model("zoo:digits-net").name == "digits-net"
