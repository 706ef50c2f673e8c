"""The same network quantized by ONNX Runtime: what int8 costs where somebody else chooses its scales."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from secateur.compiler.export.onnx import export_onnx
from secateur.models.network import Network

F32 = npt.NDArray[np.float32]


class _Samples:
    """One sample at a time: what quantize_static asks of a CalibrationDataReader."""

    def __init__(self, name: str, samples: F32) -> None:
        self.left = iter([{name: x[None]} for x in samples])

    def get_next(self) -> dict[str, F32] | None:
        return next(self.left, None)


@contextmanager
def _silent_root() -> Iterator[None]:
    """The quantizer logs to the root logger, once a weight, and gives it a handler where it has none."""
    root = logging.root
    level, handlers = root.level, list(root.handlers)
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers


def outputs_in_int8(network: Network, calibration: F32, x: F32) -> F32:
    """Outputs (n, ...) of `x` by ONNX Runtime's static quantization: min/max of `calibration`, one scale a channel of
    the weights of convolutions, 8-bit activations; both (n, *input shape), float32.

    Rounded values are computed with in float32: what its integer kernels add depends on the processor. Norms that no
    convolution takes up have weights of 8 bits there, and a hard-swish is two operators with 8 bits between.
    """
    with TemporaryDirectory() as folder:
        plain, prepared, int8 = (Path(folder) / name for name in ("plain.onnx", "prepared.onnx", "int8.onnx"))
        export_onnx(network, plain)
        options = SessionOptions()
        options.graph_optimization_level = GraphOptimizationLevel.ORT_DISABLE_ALL
        with _silent_root():
            quant_pre_process(plain, prepared, skip_symbolic_shape=True)
            name = InferenceSession(prepared, providers=["CPUExecutionProvider"]).get_inputs()[0].name
            quantize_static(
                prepared, int8, _Samples(name, calibration), QuantFormat.QDQ, per_channel=True,
                activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
            )  # fmt: skip
        session = InferenceSession(int8, options, providers=["CPUExecutionProvider"])
        found: list[Any] = [session.run(None, {name: sample[None]})[0] for sample in x]
    return np.concatenate(found).astype(np.float32)
