"""The samples embedded in a project's harness, read back: what a run's outputs belong to."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from secateur.errors import UserError


def read_samples(project: Path) -> npt.NDArray[np.int8]:
    """(n, input bytes) from `harness/samples.c`, as `write_project` wrote it."""
    path = project / "harness" / "samples.c"
    if not path.is_file():
        raise UserError(f"{path}: no samples there; run secateur compile again")
    body = path.read_text().partition("= {")[2]
    rows = [row for row in re.findall(r"\{([^{}]*)\}", body) if row.strip()]
    try:
        return np.array([[int(v) for v in row.split(",") if v.strip()] for row in rows], np.int8)
    except (ValueError, OverflowError) as error:
        raise UserError(f"{path}: not as secateur wrote it ({error}); run secateur compile again") from error
