"""`--data`: a folder, a CSV file, `file.npz`, `file.py:loader` or `zoo:NAME`; and `--labels`."""

from __future__ import annotations

import importlib.util
import logging
import sys
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from secateur.compiler.frontends.arrays import check_classes, data_from_arrays, shared_samples
from secateur.compiler.frontends.data_options import DataOptions, Need, Progress, Tell, quiet
from secateur.compiler.frontends.gather import data_from_folder, data_from_recordings
from secateur.compiler.frontends.sets_text import sets_text
from secateur.compiler.frontends.truth import Wanted, bound, retasked
from secateur.errors import UserError
from secateur.models.data import Data
from secateur.models.front_end.chain import FrontEnd
from secateur.models.front_end.image import ImageChain
from secateur.models.preprocess import AnyFrontEnd
from secateur.models.task import Agreement, Anomaly, Classification
from secateur.models.zoo import catalogue

log = logging.getLogger(__name__)


NORMAL = "normal"
FORMS = "a folder of images, WAV or CSV files, file.csv, file.npz, file.py:loader or zoo:NAME"


def load_data(
    spec: str,
    input_shape: tuple[int, ...],
    labels: tuple[str, ...] = (),
    seed: int = 0,
    options: DataOptions = DataOptions(),  # noqa: B008 - frozen
    front_end: AnyFrontEnd | None = None,
    tell: Tell = quiet,
    progress: Progress = quiet,
    wanted: Wanted = Wanted(),  # noqa: B008 - frozen
) -> Data:
    """Three disjoint sets for a network of `input_shape` (channels first, without the batch).

    Args:
        labels: class names; empty where unknown, then the data names or counts them.
        seed: of the split, where there is one to make. The zoo's sets keep the split of their training.
        options: of recordings: how they are cut, which columns are what.
        front_end: what recordings or pictures go through; None: their windows are samples as they are.
        tell: gets what there is to know of the sets, one line each.
        progress: gets how many files are read.
        wanted: task and metric, where they are not to be found from the labels.

    Raises UserError, one line, for whatever the user can mend.
    """
    if wanted.task == Anomaly.name:
        labels = ()  # of the network: a reconstruction has none, the data's are normal and anomaly
    data, what = _load(spec, Need(input_shape, labels, seed, options, front_end, progress), wanted)
    for line in (*data.notes, *sets_text(data, what)):
        tell(f"{data.name}: {line}")
    return data


def _load(spec: str, need: Need, wanted: Wanted) -> tuple[Data, str]:
    """The sets, and what their samples are called."""
    path, _, function = spec.rpartition(":")
    if path.endswith(".py"):
        return _from_loader(Path(path), function, need, wanted), "samples"
    if not spec.startswith(catalogue.PREFIX) and not spec.endswith(".npz"):
        root = Path(spec)
        if not root.is_dir() and root.suffix.lower() != ".csv":
            raise UserError(f"{spec}: {'no such folder; ' * (not root.exists())}data is {FORMS}")
        if not root.exists():
            raise UserError(f"{spec}: no such file")
        data = _of_classes(data_from_folder(root, need), wanted)
        _check_fit(data, need)
        data.check()
        check_classes(data)
        return data, "windows" if data.streams else "images"
    need.options.refuse(spec, "windows already")
    if spec.endswith(".npz"):
        data = _from_arrays(Path(spec).name, _read_npz(Path(spec)), need, wanted)
    else:
        sound = need.front_end if isinstance(need.front_end, FrontEnd) else None
        data = retasked(catalogue.zoo_data(spec, sound), wanted)
        _check_fit(data, need)
        if data.name in catalogue.FROM_SOUND:
            return data, "windows"
    return _as_they_are(data, need.front_end), "samples"


def _from_arrays(name: str, arrays: Mapping[str, Any], need: Need, wanted: Wanted) -> Data:
    return data_from_arrays(name, arrays, need.input_shape, need.labels, need.seed, wanted)


def read_labels(path: Path) -> tuple[str, ...]:
    """Class names from a text file, one a line, in the order of the network's outputs."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; --labels takes a text file, one class a line") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start} is not UTF-8; --labels takes a text file") from None
    names = [line.strip() for line in lines]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise UserError(f"{path}: no labels; one class a line is expected")
    for number, label in enumerate(names):
        if not label:
            raise UserError(f"{path}: line {number + 1} is empty; one class a line is expected")
        if names.index(label) != number:
            raise UserError(f"{path}: {label!r} stands on lines {names.index(label) + 1} and {number + 1}")
    return tuple(names)


def _read_npz(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise UserError(f"{path}: no such file")
    try:
        with path.open("rb") as file:  # numpy leaves a broken file open
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise UserError(f"{path}: a single array, not an archive; write it with numpy.savez")
            with archive:
                return {key: archive[key] for key in archive.files}
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise UserError(f"{path}: broken archive ({_line(error)}); copy or write the file again") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or _line(error)}") from None
    except ValueError as error:
        if "pickle" in str(error).lower():
            raise UserError(
                f"{path}: holds Python objects or is no npz; pickles are not opened, because they can run any "
                "code; save plain arrays with numpy.savez"
            ) from None
        raise UserError(f"{path}: broken array ({_line(error)}); write the file again") from None


def _from_loader(path: Path, function: str, need: Need, wanted: Wanted) -> Data:
    found = call_loader(path, function)
    name = f"{path.name}:{function}"
    if isinstance(found, Data | Mapping):
        need.options.refuse(name, "windows already")
    if isinstance(found, Mapping):
        return _as_they_are(_from_arrays(name, found, need, wanted), need.front_end)
    if isinstance(found, Data):
        data = _as_they_are(retasked(found, wanted), need.front_end)
    elif isinstance(found, Iterable) and not isinstance(found, str | bytes | np.ndarray):
        first = [found]  # a generator runs once

        def again() -> Iterator[Any]:
            return _iterate(first.pop() if first else call_loader(path, function), path, function)

        data = _of_classes(data_from_recordings(name, again, need), wanted)
    else:
        raise UserError(
            f"{name} returned a {type(found).__name__}; Data or a dict of arrays is expected, or Recordings one by one"
        )
    data.check()
    _check_fit(data, need)
    check_classes(data)
    return replace(data, notes=(*data.notes, *shared_samples(data.recovery, data.validation, data.test)))


def _of_classes(data: Data, wanted: Wanted) -> Data:
    """Data whose labels are names, with the metric that is wanted; for anomalies, one of them is "normal"."""
    if wanted.task == Anomaly.name:
        return bound(_normal_or_not(data), Anomaly, wanted, "")
    if wanted.task not in (None, Classification.name):
        raise UserError(
            f"{data.name}: folders and recordings hold classes; --task {wanted.task} takes file.npz or file.py:loader "
            "that gives arrays"
        )
    return retasked(data, wanted)


def _normal_or_not(data: Data) -> Data:
    """Two classes of what has many; recovery keeps the normal samples alone."""
    if NORMAL not in data.labels or len(data.labels) < 2:
        raise UserError(
            f"{data.name}: --task anomaly takes a class called {NORMAL!r} and at least one more; here are "
            f"{', '.join(data.labels)}"
        )
    normal = data.labels.index(NORMAL)
    sets = [replace(s, y=(s.y != normal).astype(np.int64)) for s in (data.recovery, data.validation, data.test)]
    only = sets[0].subset(np.flatnonzero(sets[0].y == 0))
    return replace(data, recovery=only, validation=sets[1], test=sets[2], labels=(NORMAL, "anomaly"))


def _as_they_are(data: Data, front_end: AnyFrontEnd | None) -> Data:
    """With a note where windows stand beside a front end."""
    if front_end is None:
        return data
    if isinstance(front_end, ImageChain):
        return _pictures_as_they_are(data)
    note = "The windows came as they are: they were not made by the front end, only rounded to its counts."
    return replace(data, notes=(*data.notes, note))


def _pictures_as_they_are(data: Data) -> Data:
    for split in (data.recovery, data.validation, data.test):
        low, high = float(split.x.min()), float(split.x.max())
        if low < 0 or high > 255 or high <= 1:
            raise UserError(
                f"{data.name}: values are {low:g} to {high:g}; with a front end of pictures they are pixels, 0 to 255 "
                "(mean and std, in the same numbers, make something else of them)"
            )
    note = "The pictures came as they are: they were not made by the front end, only rounded to whole pixel values."
    return replace(data, notes=(*data.notes, note))


def _iterate(found: Iterable[Any], path: Path, function: str) -> Iterator[Any]:
    """What the user's function yields; it runs now, not when it was called."""
    folder = str(path.resolve().parent)
    steps = iter(found)
    while True:
        sys.path.insert(0, folder)
        try:
            item = next(steps)
        except StopIteration:
            return
        except (Exception, SystemExit) as error:
            log.debug("%s", path, exc_info=True)
            raise UserError(_theirs(error, path, function)) from error
        finally:
            sys.path.remove(folder)
        yield item


def call_loader(path: Path, function: str) -> Any:
    """What the user's function returns. An exception in it is theirs: one line with the place."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    module_name = f"secateur_user_data_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their module up
    sys.path.insert(0, str(path.resolve().parent))  # as python itself does for a script
    try:
        spec.loader.exec_module(module)
        loader = getattr(module, function, None)
        if not callable(loader):
            raise UserError(f"{path}: no function {function!r}; give file.py:function")
        return loader()
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        log.debug("%s", path, exc_info=True)
        raise UserError(_theirs(error, path, function)) from error
    finally:
        sys.path.remove(str(path.resolve().parent))
        del sys.modules[module_name]


def _theirs(error: BaseException, path: Path, function: str) -> str:
    return f"{path}:{function}: {_place(error, path)}{type(error).__name__}: {_line(error)}"


def _place(error: BaseException, path: Path) -> str:
    trace, line = error.__traceback__, 0
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename) == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    return f"line {line}: " if line else ""


def _check_fit(data: Data, need: Need) -> None:
    shape, input_shape, labels = data.recovery.x.shape[1:], need.input_shape, need.labels
    if shape != input_shape:
        raise UserError(f"{data.name}: samples are {shape}, the network takes {input_shape} (channels first)")
    if labels and len(labels) != len(data.labels) and not isinstance(data.task, Anomaly | Agreement):
        raise UserError(f"{data.name}: {len(data.labels)} classes, the network has {len(labels)}")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
