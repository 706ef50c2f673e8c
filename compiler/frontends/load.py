"""MODEL of the command line to a Network, or to a Program where it is already int8."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from secateur.compiler.export.tflite import tflite_bytes
from secateur.compiler.frontends.keras_file import load_keras
from secateur.compiler.frontends.onnx_file import load_onnx
from secateur.compiler.frontends.saved_model import load_saved_model
from secateur.compiler.frontends.tflite_file import load_tflite
from secateur.compiler.frontends.torch_module import load_torch
from secateur.errors import UserError
from secateur.models.network import Network
from secateur.models.preprocess import Preprocess
from secateur.models.program import Program

ACCEPTED = (
    "net.onnx (float32 or QDQ int8), net.tflite (int8 or float32), net.keras, net.h5, "
    "net.json with --weights net.h5, a SavedModel folder, file.py:FACTORY or pkg.mod:FACTORY with --weights, zoo:NAME"
)
_KERAS = (".keras", ".h5", ".hdf5", ".json")
_WEIGHTS = (".pt", ".pth", ".th", ".safetensors", ".ckpt", ".bin")


def load_model(
    spec: str,
    weights: Path | None = None,
    input_shape: tuple[int, ...] | None = None,
    labels: tuple[str, ...] = (),
    cut_at: str | None = None,
    preprocess: Preprocess | None = None,
    layout: str | None = None,
) -> Network | Program:
    """Load MODEL by its form; what is given here wins over what the model says about itself.

    Raises:
        UserError: MODEL has no accepted form, an option does not go with it, or it does not load.
    """
    path, suffix = Path(spec), Path(spec).suffix.lower()
    if spec.startswith("zoo:"):
        _refuse(spec, weights=weights, cut_at=cut_at, layout=layout)
        return _zoo(spec, input_shape, labels, preprocess)
    if suffix == ".onnx":
        _refuse(spec, weights=weights)
        return load_onnx(path, path.stem, input_shape, labels, cut_at, preprocess, layout)
    _refuse(spec, layout=layout)
    if suffix == ".tflite":
        _refuse(spec, weights=weights, cut_at=cut_at, input_shape=input_shape)
        return load_tflite(path)
    if suffix in _KERAS:
        _refuse(spec, weights=None if suffix == ".json" else weights)
        return load_keras(path, weights, input_shape, labels, cut_at, preprocess)
    if (path / "saved_model.pb").is_file() or path.name == "saved_model.pb":
        _refuse(spec, weights=weights)
        return load_saved_model(path if path.is_dir() else path.parent, input_shape, labels, cut_at, preprocess)
    if suffix in _WEIGHTS:
        raise UserError(
            f"{spec}: these are weights alone. Give the network: file.py:FACTORY --weights {spec} (of a state_dict; a "
            "pickled module is not read, it would run its code)."
        )
    if ":" in spec or suffix == ".py":
        return load_torch(spec, weights, input_shape, labels, cut_at, preprocess)
    missing = "" if path.exists() else " (no such file either)"
    raise UserError(f"{spec}: unknown kind of model{missing}. MODEL is one of {ACCEPTED}.")


def content_of(spec: str, program: Program) -> bytes:
    """The `.tflite` of a Program that `load_model` gave: the file itself, or, of quantized ONNX, one written here."""
    path = Path(spec)
    return path.read_bytes() if path.suffix.lower() == ".tflite" else tflite_bytes(program)


def _refuse(spec: str, **options: object) -> None:
    for name, value in options.items():
        if value is not None:
            raise UserError(f"{spec}: --{name.replace('_', '-')} does not go with this kind of model. Leave it out.")


def _zoo(
    spec: str, input_shape: tuple[int, ...] | None, labels: tuple[str, ...], preprocess: Preprocess | None
) -> Network:
    from secateur.models.zoo import catalogue  # the zoo's definitions are many, and most runs need none

    network = catalogue.load(spec)
    if input_shape is not None and input_shape != network.input_shape:
        raise UserError(f"{spec}: its input is {network.input_shape}, --input-shape says {input_shape}. Leave it out.")
    if labels and len(labels) != network.classes:
        raise UserError(f"{spec}: {len(labels)} labels for {network.classes} outputs; give one label per output.")
    return replace(network, labels=labels or network.labels, preprocess=preprocess or network.preprocess)
