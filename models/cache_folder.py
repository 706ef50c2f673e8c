"""Where files are kept that can be made again, and arrays kept there under a name made from what decides them."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

log = logging.getLogger(__name__)

Arrays = dict[str, npt.NDArray[Any]]


def cache_folder() -> Path:
    """`SECATEUR_CACHE`, else `secateur` in `XDG_CACHE_HOME`, else in ~/.cache."""
    if os.environ.get("SECATEUR_CACHE"):
        return Path(os.environ["SECATEUR_CACHE"])
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "secateur"


def kept_arrays(kind: str, decides: str, make: Callable[[], Arrays]) -> Arrays:
    """What `make` gives, from the cache where it was made before from the same `decides`.

    An entry is whole or absent; a damaged one is made again. Where nothing can be written, nothing is kept.
    """
    path = cache_folder() / kind / f"{hashlib.sha256(decides.encode()).hexdigest()}.npz"
    try:
        # Opened here: numpy leaves a broken file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            found = {key: archive[key] for key in archive.files if key != "digest"}
            if str(archive["digest"]) == _digest(found):
                return found
        log.info("%s: has changed; it is made again", path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        log.info("%s: %s; it is made again", path, error)
    made = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".part-", delete=False) as part:
            np.savez(part, digest=np.array(_digest(made)), **made)  # type: ignore[arg-type]
        Path(part.name).replace(path)
    except OSError as error:
        log.warning("%s: %s; it is not kept, choose another folder with SECATEUR_CACHE", path, error.strerror)
    return made


def _digest(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    whole = hashlib.sha256()
    for key in sorted(arrays):
        whole.update(f"{key} {arrays[key].dtype.str} {arrays[key].shape}".encode())
        whole.update(np.ascontiguousarray(arrays[key]).tobytes())
    return whole.hexdigest()
