"""Connection sensitivity of whole layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from policy_runs import small_data, small_network
from torch import nn

from secateur.passes.network.snip import LayerSnip


def test_it_is_the_gradient_of_the_mean_loss_times_the_weights():
    """By one backward pass over all samples; a margin comes from leaving parts of them out."""
    network, data = small_network(), small_data().recovery
    scores = LayerSnip(data)(network)
    logits = network.module(torch.from_numpy(network.preprocess(data.x)))
    nn.functional.cross_entropy(logits, torch.from_numpy(data.y)).backward()
    for unit, value in scores.values.items():
        block = unit.split(".conv1")[0]
        convs = [network.module.get_submodule(f"{block}.{c}").weight for c in ("conv1", "conv2")]
        assert value == pytest.approx(sum(float((w * w.grad).detach().abs().sum()) for w in convs), rel=1e-4)
    assert list(scores.values) == [f"stages.{s}.{b}.conv1..conv2" for s in (0, 1) for b in (1, 2)]
    assert scores.samples == 60 and scores.margin_error > 0 and np.isfinite(scores.margin_error)
