"""Transformers that torch.onnx or secateur itself wrote become the networks that they were."""

from __future__ import annotations

import warnings

import numpy as np
import onnxruntime
import pytest
import torch
from transformers import WRITTEN

from secateur.compiler.export.onnx import export_onnx
from secateur.compiler.frontends.onnx_file import load_onnx
from secateur.models.canonical import to_network
from secateur.models.tokens import Attention
from secateur.passes.network.channels import find_filters
from secateur.passes.network.macs import network_macs

FAST = ["encoder layer, norm first", "scaled_dot_product_attention", "picture, class token"]
SLOW = ["encoder layer, norm last", "encoder layer, gelu", "encoder layer, tokens first", "multi-head",
        "by hand, wide values", "einsum", "fused, permute", "fused, interleaved", "cross attention"]  # fmt: skip


def sizes(network):
    """Groups of heads and of hidden units."""
    return sorted((g.kind, g.size, g.channels_per_class) for g in find_filters(network) if g.removable)


@pytest.mark.parametrize("name", [*FAST, *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW)])
def test_what_torch_exports_is_recognised(name, tmp_path):
    """The same heads, hidden units and multiplications as from the module; outputs as ONNX Runtime's."""
    make, shape, attentions = WRITTEN[name]
    torch.manual_seed(0)
    module = make().eval()
    path = tmp_path / "net.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (torch.zeros(1, *shape),), str(path), dynamo=False, opset_version=17)
    network, direct = load_onnx(path), to_network(module, shape, "net")
    assert sum(isinstance(m, Attention) for m in network.module.modules()) == attentions
    assert sizes(network) == sizes(direct)
    assert network_macs(network) == network_macs(direct)
    x = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (theirs,) = session.run(None, {session.get_inputs()[0].name: x})
    with torch.no_grad():
        assert np.abs(network.module(torch.from_numpy(x)).numpy() - theirs).max() <= 1e-5


@pytest.mark.parametrize("name", ["by hand, wide values", "picture, class token"])
def test_our_own_file_comes_back(name, tmp_path):
    """What secateur exports it reads again, with its heads."""
    make, shape, _ = WRITTEN[name]
    torch.manual_seed(0)
    network = to_network(make(), shape, "net")
    export_onnx(network, tmp_path / "net.onnx")
    again = load_onnx(tmp_path / "net.onnx")
    assert sizes(again) == sizes(network) and network_macs(again) == network_macs(network)
    x = torch.randn(2, *shape)
    with torch.no_grad():
        assert (again.module(x) - network.module(x)).abs().max() <= 1e-5
