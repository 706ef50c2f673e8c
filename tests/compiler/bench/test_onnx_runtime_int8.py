"""ONNX Runtime's quantization, which our int8 is measured against."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from torch import nn

from secateur.compiler.bench.onnx_runtime_int8 import outputs_in_int8
from secateur.models.canonical import to_network


def test_outputs_are_those_of_8_bits_and_near(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of 640 numbers at most 256 are different; 25 dB and more; the quantizer leaves neither a line nor a handler."""
    torch.manual_seed(0)
    # a norm in front of the convolution is what it warns about
    layers = [
        nn.BatchNorm2d(2),
        nn.ReLU(),
        nn.Conv2d(2, 8, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 36, 10),
    ]
    network = to_network(nn.Sequential(*layers), (2, 6, 6), "net")
    x = np.random.default_rng(0).normal(size=(64, 2, 6, 6)).astype(np.float32)
    with torch.no_grad():
        exact = network.module.eval()(torch.from_numpy(x)).numpy()
    monkeypatch.setattr(logging.root, "handlers", [])
    level = logging.root.level
    found = outputs_in_int8(network, x[:32], x)
    assert (logging.root.handlers, logging.root.level) == ([], level)
    assert capfd.readouterr() == ("", "")
    assert found.shape == exact.shape == (64, 10)
    assert len(np.unique(found)) <= 256 < len(np.unique(exact))
    assert 10 * np.log10((exact**2).sum() / ((found - exact) ** 2).sum()) >= 25
