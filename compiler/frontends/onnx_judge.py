"""ONNX Runtime as the judge of an import: equal outputs, and whose fault it is where there is none."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from secateur.compiler.frontends.onnx_head import Head, input_type
from secateur.errors import UserError
from secateur.models.network import Network

log = logging.getLogger(__name__)


def compare(network: Network, head: Head, path: Path, batch: int) -> None:
    """The import is checked against ONNX Runtime, 1e-4 of the output's range."""
    raw = head.raw(batch, network.input_shape, 1)
    try:
        session = _session(path)
        entry = session.get_inputs()[0]
        raw = raw.astype(input_type(entry.type)).astype(np.float32)  # what the type leaves of it
        theirs = session.run(None, {entry.name: head.fed(raw, entry.type)})[0]
    except Exception as error:  # noqa: BLE001 - onnxruntime's own exception classes are not public
        log.warning("%s: import not compared, ONNX Runtime cannot run the file: %s", path, _line(error))
        return
    with torch.no_grad():
        ours = network.module(torch.from_numpy(head.preprocess(None)(raw))).numpy()
    if not np.isfinite(ours).all() or not np.isfinite(theirs).all():
        raise UserError(
            f"{path}: on random input its values overflow float32. Are the weights damaged? Export it again."
        )
    worst, scale = float(np.abs(ours - theirs).max()), float(np.abs(theirs).max()) + 1e-6
    assert worst <= 1e-4 * scale, f"{path}: import is off by {worst} of {scale}"


def objection(path: Path, shape: tuple[int, ...]) -> str | None:
    """Why ONNX Runtime does not run the file on one sample of `shape`, as the file has it; None where it does."""
    try:
        session = _session(path)
        entry = session.get_inputs()[0]
        batch = entry.shape[0] if entry.shape and isinstance(entry.shape[0], int) else 1
        session.run(None, {entry.name: np.zeros((batch, *shape), input_type(entry.type))})
    except Exception as error:  # noqa: BLE001 - onnxruntime's own exception classes are not public
        return _line(error)
    return None


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0][:200]
