"""Transformers in int8 and in ONNX: exact, close to float, and back again."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch
from c_host import generated, planned, run_library, run_sanitized
from transformers import WRITTEN

from secateur.compiler.export.calibrate import calibrate, float_outputs
from secateur.compiler.export.onnx import check_onnx, export_onnx
from secateur.compiler.export.quantize import quantize, quantize_samples
from secateur.compiler.export.tflite import tflite_bytes
from secateur.compiler.frontends.tflite_file import parse_tflite
from secateur.models.canonical import to_network
from secateur.models.network import Network
from secateur.models.program import Program
from secateur.models.reference import run_reference
from secateur.models.tokens import Attention, ChannelNorm
from secateur.passes.network.macs import network_macs
from secateur.passes.network.removal import Removal, apply
from secateur.passes.program.cost import plan
from secateur.passes.program.lower import lower, to_channels_last
from secateur.runtime_bench.golden import golden_outputs
from secateur.targets.target import find

EXPORTED = ["encoder layer, norm last", "encoder layer, norm first", "encoder layer, gelu", "by hand, wide values",
            "cross attention", "picture, class token", "picture, channels last"]  # fmt: skip
FAST = ("encoder layer, norm first", "picture, class token")


@dataclass(frozen=True)
class Exported:
    network: Network
    floats: Program
    program: Program
    content: bytes
    real: np.ndarray
    inputs: np.ndarray
    golden: np.ndarray


def exported_of(network):
    real = np.random.default_rng(0).normal(size=(24, *network.input_shape)).astype(np.float32)
    floats, x = lower(network), to_channels_last(real)
    content = tflite_bytes(quantize(floats, calibrate(floats, x)))
    program = parse_tflite(content, "net", "net")
    inputs = quantize_samples(program, x)
    golden = golden_outputs(content, program, inputs.reshape(len(inputs), -1)).outputs
    return Exported(network, floats, program, content, real, inputs, golden)


@cache
def exported(name):
    make, shape, _ = WRITTEN[name]
    torch.manual_seed(0)
    return exported_of(to_network(make(), shape, "net"))


def expected(e):
    with torch.no_grad():
        return e.network.module.eval()(torch.from_numpy(e.real)).numpy()


@pytest.mark.parametrize("name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in EXPORTED])
def test_int8_is_exact_and_close_to_float(name, tmp_path):
    """Reference interpreter and C give the golden runtime's bytes; the output keeps 30 dB of the float network's."""
    e = exported(name)
    few = e.inputs[:6].reshape(6, -1)
    assert np.array_equal(run_reference(e.program, few), e.golden[:6])
    run = run_library if name in FAST else run_sanitized
    assert np.array_equal(run(generated(planned(e.program)), few, tmp_path), e.golden[:6])
    exact = expected(e)
    assert np.abs(float_outputs(e.floats, to_channels_last(e.real)).reshape(exact.shape) - exact).max() < 1e-4
    out = e.program.tensors[e.program.outputs[0]]
    got = (e.golden.astype(np.float64).reshape(exact.shape) - out.zero_point) * out.scale
    assert 10 * np.log10((exact**2).sum() / ((got - exact) ** 2).sum()) >= 30


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTED)
def test_onnx_says_the_same(name, tmp_path):
    """ONNX Runtime computes what the network does."""
    e = exported(name)
    export_onnx(e.network, tmp_path / "net.onnx")
    assert check_onnx(e.network, tmp_path / "net.onnx", e.real) <= 1e-5


def test_cost_before_quantization_is_that_of_the_file():
    """The arena and the multiplications that shapes tell are those of the int8 program."""
    e = exported("encoder layer, norm first")
    before, after = (plan(p, find("esp32")) for p in (e.floats, e.program))
    assert before.memory.arena_bytes == after.memory.arena_bytes
    assert e.program.macs == network_macs(e.network) + 8 * 16  # the last norm's gain


def test_cut_heads_are_gone_from_the_file():
    """Two heads less are two heads less in every product, and the image stays exact."""
    cut = exported_of(
        apply(exported("encoder layer, norm first").network, Removal("filters", "blocks.0.self_attn.q", (0, 3)))
    )
    shapes = [cut.program.tensors[op.outputs[0]].shape for op in cut.program.ops if op.kind == "BATCH_MATMUL"]
    assert shapes == [(1, 2, 8, 8), (1, 2, 8, 4), (1, 4, 8, 8), (1, 4, 8, 4)]
    assert np.array_equal(run_reference(cut.program, cut.inputs[:4].reshape(4, -1)), cut.golden[:4])


def test_gains_go_into_the_projections():
    """A norm that only projections read has no operator for its gain; the last one, which the mean reads, has."""
    e = exported("encoder layer, norm first")
    assert sum(isinstance(m, ChannelNorm) for m in e.network.module.modules()) == 5
    assert sum(isinstance(m, Attention) for m in e.network.module.modules()) == 2
    kinds = [op.kind for op in e.program.ops]
    assert kinds.count("L2_NORMALIZATION") == 5 and kinds.count("DEPTHWISE_CONV_2D") == 1
