"""Our exp, log, tanh and their like: the C and the numpy reference give the same bits, and those are near the truth."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import erfc

from secateur.firmware.codegen import KERNEL_FOLDER
from secateur.models import reference_float_functions as functions

Floats = npt.NDArray[np.float32]


def _logistic(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """With TensorFlow Lite's pieces: below -9 it takes exp(x) for it, which is 1e-4 more."""
    return np.where(x < -9, np.exp(x), 1 / (1 + np.exp(-x)))


TRUTH: dict[str, tuple[Callable[..., Any], float, float, float]] = {
    # the function, between which values it is looked at closely, and the largest error in units of the last place
    "exp": (np.exp, -104, 89, 1.0), "exp_less_one": (np.expm1, -20, 79, 1.5), "tanh": (np.tanh, -11, 11, 2.5),
    "logistic": (_logistic, -104, 20, 2.0), "log": (np.log, 0.3, 3, 1.0), "sqrt": (np.sqrt, 0, 9, 0.5),
    "gelu": (lambda x: 0.5 * x * erfc(x * -np.sqrt(0.5)), -15, 6, 5.0),
    "gelu_tanh": (lambda x: x / (1 + np.exp(-2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))), -11, 6, 210.0),
}  # fmt: skip


def _values(low: float, high: float) -> Floats:
    """Every 1499th float there is, and many where the function is neither flat nor off the scale."""
    random = np.random.default_rng(0)
    every = np.arange(0, 2**32, 1499, dtype=np.uint64).astype(np.uint32).view(np.float32)
    near = [random.uniform(a, b, 500_000) for a, b in ((low, high), (-1, 1), (-1e-3, 1e-3))]
    special = [0.0, -0.0, np.inf, -np.inf, np.nan]
    return np.concatenate([every, *(np.asarray(part, np.float32) for part in (*near, special))])


@pytest.mark.slow
@pytest.mark.parametrize("name", list(TRUTH))
def test_error_is_bounded(name: str) -> None:
    """In units of the last place of the true value, by float64, for all of float32."""
    function, low, high, bound = TRUTH[name]
    x = _values(low, high)
    if name == "exp_less_one":
        x = x[~(x >= 80)]
    with np.errstate(all="ignore"):
        truth, found = function(x.astype(np.float64)), getattr(functions, name)(x)
        nearest = truth.astype(np.float32)
        unit = np.spacing(np.maximum(np.abs(nearest), np.float32(2.0**-126))).astype(np.float64)
        error = np.abs(found.astype(np.float64) - truth) / unit
    settled = (found == nearest) | (np.isnan(found) & np.isnan(nearest))
    error = np.where(settled & ~np.isfinite(error), 0, error)
    assert error.max() <= bound, (x[np.argmax(error)], error.max())


@pytest.mark.emulator
@pytest.mark.parametrize("name", list(TRUTH))
def test_c_has_the_bits_of_the_reference(name: str, tmp_path: Path) -> None:
    """For every kind of float."""
    source, library = tmp_path / "all.c", tmp_path / "all.so"
    source.write_text(
        f'#include "sec_float.h"\nvoid run(int n, const float *x, float *y);\nvoid run(int n, const float *x, float *y)'
        f" {{\n    for (int i = 0; i < n; ++i) {{\n        y[i] = sec_{name}(x[i]);\n    }}\n}}\n"
    )
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-O2", "-ffp-contract=off", "-shared", "-fPIC"]
    subprocess.run(["gcc", *flags, f"-I{KERNEL_FOLDER}", "-o", str(library), str(source)], check=True)
    x = _values(*TRUTH[name][1:3])
    if name == "exp_less_one":
        x = x[~(x >= 80)]
    found, expected = np.empty_like(x), getattr(functions, name)(x)
    ctypes.CDLL(str(library)).run(len(x), x.ctypes.data_as(ctypes.c_void_p), found.ctypes.data_as(ctypes.c_void_p))
    same = (found.view(np.uint32) == expected.view(np.uint32)) | (np.isnan(found) & np.isnan(expected))
    assert same.all(), x[~same][:5]
