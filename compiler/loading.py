"""A MODEL with its preprocessing, loaded in one way for the command line and for Python."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from secateur.compiler.frontends.load import content_of, load_model
from secateur.compiler.frontends.preprocess_file import NAME, read_preprocess, read_scaling
from secateur.errors import UserError
from secateur.models.front_end.decide import Decisions
from secateur.models.network import Network
from secateur.models.preprocess import Preprocess
from secateur.models.probabilities import for_decisions
from secateur.models.program import Program


@dataclass(frozen=True)
class How:
    """What is said of a MODEL in a file. `scaling`: wins over the mean and std of `preprocess`, a file.

    `beside`: without either file or scaling of `preprocess`, a preprocess.toml beside MODEL is read.
    """

    weights: Path | None = None
    input_shape: tuple[int, ...] | None = None
    labels: tuple[str, ...] = ()
    cut_at: str | None = None
    layout: str | None = None
    scaling: Preprocess | None = None
    preprocess: Path | None = None
    beside: bool = True


def load(model: str, how: How, tell: Callable[[str], None]) -> tuple[Network | Program, bytes | None]:
    """MODEL as the pipeline takes it, and the bytes of what enters as a Program. Raises UserError."""
    path = how.preprocess
    if path is None and how.beside:
        path = _beside(model)
        if path is not None:
            tell(f"preprocessing: {path}")
    given = how.scaling or (None if path is None else read_scaling(path))
    # behind it the model's own scaling of its input, where the file has one
    loaded = load_model(model, how.weights, how.input_shape, how.labels, how.cut_at, given, how.layout)
    if isinstance(loaded, Network):
        return finished(loaded, path), None
    content = content_of(model, loaded)
    if how.scaling is not None and model.lower().endswith(".tflite"):
        loaded = replace(loaded, preprocess=how.scaling)
    return finished(replace(loaded, labels=how.labels or loaded.labels), path), content


def finished(model: Network | Program, path: Path | None) -> Network | Program:
    """With what the preprocess.toml at `path` says. Raises UserError where it does not fit the model."""
    shape = sample_shape(model)
    if path is not None:
        written = read_preprocess(path, shape)
        kept = model.preprocess if model.preprocess.mean else written
        model = replace(model, preprocess=replace(written, mean=kept.mean, std=kept.std))
    pre = model.preprocess
    if isinstance(model, Program):
        if pre.front_end is not None:
            return model
        if pre.decisions != Decisions():
            raise UserError(
                f"{path or model.name}: [decisions] of an int8 model take a front end: [source] and [window], "
                "or [image]"
            )
    if len(pre.mean) not in (0, 1, shape[0]):
        raise UserError(f"--mean: {len(pre.mean)} values for {shape[0]} input channels")
    return for_decisions(model) if isinstance(model, Network) else model


def sample_shape(model: Network | Program) -> tuple[int, ...]:
    """A sample as data sets have it: (features,), (c, l) or (c, h, w)."""
    if isinstance(model, Network):
        return model.input_shape
    shape = model.tensors[model.inputs[0]].shape
    if len(shape) != 4:
        return tuple(shape[1:])
    _, h, w, c = shape
    return (c, w) if h == 1 else (c, h, w)


def _beside(model: str) -> Path | None:
    """The preprocess.toml in the folder of MODEL's file, as `compile` leaves it in OUT."""
    beside = Path(model).parent / NAME
    return beside if Path(model).is_file() and beside.is_file() else None
