"""KL of outputs: that of the networks that are really cut, by its definition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from secateur.errors import UserError
from secateur.models.data import Split
from secateur.models.task import MultiLabel, Regression
from secateur.models.zoo.resnet1d import ResNet1d
from secateur.passes.network.layers import find_layers
from secateur.passes.network.output_divergence import FilterDivergence, LayerDivergence, OutputDivergence
from secateur.passes.network.removal import Removal, apply


def split(network, count=40):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, *network.input_shape)).astype(np.float32)
    return Split(x, np.arange(count) % 3, np.arange(count))


def outputs(network, data):
    with torch.no_grad():
        return network.module.eval()(torch.from_numpy(data.x)).double().numpy()


def softmax(v):
    e = np.exp(v - v.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def kl(q, p):
    return float((q * np.log(q / p)).sum(1).mean())


@pytest.fixture
def small(network_of):
    """Two stages, 6 and 8 channels wide, ending in logits."""
    return network_of(ResNet1d(3, 3, widths=(6, 8), blocks=(3, 3), strides=(1, 2)), (3, 12))


def test_layers(small):
    """Of every cut network, of it from the one before; the two directions differ."""
    data = split(small)
    scores = LayerDivergence(OutputDivergence(data))(small)
    before = softmax(outputs(small, data))
    for unit in [u.name for u in find_layers(small) if u.removable]:
        after = softmax(outputs(apply(small, Removal("layer", unit)), data))
        assert scores.values[unit] == pytest.approx(kl(after, before), rel=1e-4)
        assert scores.values[unit] != pytest.approx(kl(before, after), rel=1e-2)


def test_filters(network_of):
    """Of every network without one channel, of a residual stream and of a block's own alike."""
    module = nn.Sequential(nn.Conv1d(3, 5, 3), nn.ReLU(), nn.Conv1d(5, 4, 3), nn.BatchNorm1d(4), nn.ReLU())
    network = network_of(nn.Sequential(*module, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 3)), (3, 12))
    data = split(network)
    scores = FilterDivergence(OutputDivergence(data))(network)
    assert {name: len(v) for name, v in scores.values.items()} == {"0": 5, "2": 4} and scores.samples == 40
    before = softmax(outputs(network, data))
    for name, values in scores.values.items():
        for i, value in enumerate(values):
            after = softmax(outputs(apply(network, Removal("filters", name, (i,))), data))
            assert value == pytest.approx(kl(after, before), rel=1e-4)


def test_errors_are_those_of_means(small):
    """The jackknife by block of a difference of means of samples."""
    data = split(small)
    scores = LayerDivergence(OutputDivergence(data, blocks=20))(small)
    best, second = scores.ranked()[:2]
    before = softmax(outputs(small, data))
    per_sample = []
    for unit in (best, second):
        q = softmax(outputs(apply(small, Removal("layer", unit)), data))
        per_sample.append((q * np.log(q / before)).sum(1))
    difference = per_sample[1] - per_sample[0]
    assert scores.margin == pytest.approx(difference.mean(), rel=1e-3)
    assert scores.margin_error == pytest.approx(difference.std(ddof=1) / np.sqrt(40), rel=0.3)


def test_one_softmax_or_two(small, network_of):
    """Probabilities are taken as they are; twice is the released code's, of logits and of probabilities alike."""
    data = split(small)
    unit = "stages.1.1.conv1..conv2"
    cut = apply(small, Removal("layer", unit))
    q, p = softmax(outputs(cut, data)), softmax(outputs(small, data))
    once = LayerDivergence(OutputDivergence(data))(small).values[unit]
    twice = LayerDivergence(OutputDivergence(data, double_softmax=True))(small).values[unit]
    assert once == pytest.approx(kl(q, p), rel=1e-4)
    assert twice == pytest.approx(kl(softmax(q), softmax(p)), rel=1e-4) and twice < once / 2
    ended = network_of(ResNet1d(3, 3, widths=(6, 8), blocks=(3, 3), strides=(1, 2)), (3, 12))
    ended.module.add_submodule("softmax", nn.Softmax(1))
    output = next(n for n in ended.graph.nodes if n.op == "output")
    with ended.graph.inserting_before(output):
        output.args = (ended.graph.call_module("softmax", (output.args[0],)),)
    ended.module.recompile()
    ended = replace(ended)  # what is known of its structure is gone
    assert LayerDivergence(OutputDivergence(data))(ended).values[unit] == pytest.approx(once, rel=1e-4)
    again = LayerDivergence(OutputDivergence(data, double_softmax=True))(ended).values[unit]
    assert again == pytest.approx(twice, rel=1e-4)


def test_several_labels_are_so_many_coins(small):
    """The sum over labels of the divergence of two values, by the logistic function."""
    data = split(small)
    rows = Split(data.x, np.eye(3, dtype=np.int64)[data.y], data.groups)
    unit = "stages.1.1.conv1..conv2"
    q, p = (1 / (1 + np.exp(-outputs(n, data))) for n in (apply(small, Removal("layer", unit)), small))
    expected = kl(q, p) + kl(1 - q, 1 - p)
    task = MultiLabel("macro-f1")
    assert LayerDivergence(OutputDivergence(rows, task))(small).values[unit] == pytest.approx(expected, rel=1e-4)


def test_outputs_that_are_no_probabilities_are_refused(small):
    """Numbers have no divergence: one line that says so."""
    task = Regression("mae")
    with pytest.raises(UserError, match="the outputs of regression are no probabilities"):
        LayerDivergence(OutputDivergence(split(small), task))(small)
