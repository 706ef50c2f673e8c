"""Corners of int8 quantization that trained networks do reach: dead channels, tiny weights, odd padding."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from c_host import WARNINGS, generated, planned, run_sanitized
from torch import nn

from secateur.compiler.export.calibrate import calibrate, float_outputs
from secateur.compiler.export.quantize import quantize, quantize_samples
from secateur.compiler.export.tflite import tflite_bytes
from secateur.compiler.frontends.tflite_file import parse_tflite
from secateur.models.canonical import to_network
from secateur.models.preprocess import Preprocess
from secateur.passes.program.lower import lower, to_channels_last
from secateur.runtime_bench.golden import run_tflm


def _conv(weights: float, bias: float) -> nn.Module:
    torch.manual_seed(0)
    conv = nn.Conv1d(2, 3, 3, padding=1)
    with torch.no_grad():
        conv.weight[1] *= weights
        conv.bias[1] = bias
    return nn.Sequential(conv, nn.ReLU(), nn.Conv1d(3, 2, 1))


CASES = {
    "tiny weights, ordinary bias": (_conv(1e-9, 0.5), 1.0),
    "no weights, ordinary bias": (_conv(0.0, 0.4), 255.0),
    "padding with one": (nn.Sequential(nn.ConstantPad1d(2, 1.0), nn.Conv1d(2, 3, 3)), 1.0),
}


@pytest.mark.emulator
@pytest.mark.parametrize("name", list(CASES))
def test_int8_follows_float_and_c_follows_tflm(name: str, tmp_path: Path) -> None:
    """The int8 error stays within two output steps, and the C is exact and free of overflow."""
    module, reach = CASES[name]
    head = nn.Sequential(module, nn.AdaptiveAvgPool1d(1), nn.Flatten())
    network = to_network(head.eval(), (2, 12), "corner")
    x = to_channels_last((np.random.default_rng(0).random((32, 2, 12)) * reach).astype(np.float32))
    floats = lower(network)
    content = tflite_bytes(quantize(floats, calibrate(floats, x)))
    program = parse_tflite(content, "corner", "corner")
    inputs = quantize_samples(program, x)
    golden = run_tflm(content, program, inputs)
    out = program.tensors[program.outputs[0]]
    real = (golden.astype(np.float64) - out.zero_point) * out.scale
    assert np.abs(real - float_outputs(floats, x).reshape(len(x), -1)).max() <= 6 * out.scale
    model = generated(planned(program))
    assert np.array_equal(run_sanitized(model, inputs.reshape(len(x), -1), tmp_path), golden)


@pytest.mark.emulator
@pytest.mark.parametrize("mean,std", [((12.5,), (3.7,)), ((12.5, -0.3), (3.7, 0.011)), ((0.0,), (1.0,))])
def test_the_header_quantizes_raw_samples_as_the_compiler_does(
    mean: tuple[float, ...], std: tuple[float, ...], tmp_path: Path
) -> None:
    """`NAME_quantize_raw` for every raw value and channel equals `Preprocess` and `quantize_samples`, to the byte."""
    preprocess = Preprocess(mean, std)
    module = nn.Sequential(nn.Conv1d(2, 3, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    network = to_network(module.eval(), (2, 12), "raw", preprocess=preprocess)
    raw = (np.random.default_rng(0).normal(size=(400, 2, 12)) * 30).astype(np.float32)
    x = to_channels_last(preprocess(raw))
    floats = lower(network)
    program = quantize(floats, calibrate(floats, x[:32]))
    entry = program.tensors[program.inputs[0]]
    below = np.float32(entry.scale) * np.nextafter(np.float32(0.5), np.float32(0))  # half a step, less the least
    assert below / np.float32(entry.scale) < 0.5
    raw[0, :, 0] = below, -below
    x = to_channels_last(preprocess(raw))
    expected = quantize_samples(program, x).reshape(-1)
    if mean == (0.0,):
        assert expected[:2].tolist() == [entry.zero_point] * 2
    for path, text in generated(planned(program), "raw").files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    (tmp_path / "glue.c").write_text(
        '#include "raw.h"\nvoid all(const float *in, signed char *out, int n);\n'
        "void all(const float *in, signed char *out, int n) {\n"
        "    for (int i = 0; i < n; i++) out[i] = raw_quantize_raw(in[i], i % 2);\n}\n"
    )
    library = tmp_path / "glue.so"
    command = ["gcc", *WARNINGS, "-shared", "-fPIC", "-o", str(library)]
    subprocess.run([*command, str(tmp_path / "glue.c")], check=True)
    found = np.empty(expected.size, np.int8)
    values = np.ascontiguousarray(to_channels_last(raw)).reshape(-1)
    function = ctypes.CDLL(str(library)).all
    function(values.ctypes.data_as(ctypes.c_void_p), found.ctypes.data_as(ctypes.c_void_p), values.size)
    assert np.array_equal(found, expected)
