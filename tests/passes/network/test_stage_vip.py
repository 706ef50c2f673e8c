"""The score of a stage."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from policy_runs import small_data, small_network
from sklearn.cross_decomposition import PLSRegression

from secateur.passes.network.layers import find_layers
from secateur.passes.network.stage_vip import StageVip


def test_it_is_the_mean_importance_in_scikit_learns_pls():
    """Of the last sum of each stage, before its activation, averaged over positions; one PLS a stage."""
    network, data = small_network(), small_data().recovery
    seen = {}
    nodes = {n.name: n for n in network.graph.nodes}
    for stage in (0, 1):
        last = [u for u in find_layers(network) if u.stage == stage][-1]
        relu = next(n for n in nodes[last.exit].users if n.op == "call_module")

        def keep(_module, inputs, stage=stage):
            seen[stage] = inputs[0].detach().double().mean(2).numpy()

        network.module.get_submodule(str(relu.target)).register_forward_pre_hook(keep)
    network.module(torch.from_numpy(network.preprocess(data.x)))
    scores = StageVip(data)(small_network())
    assert list(scores) == [0, 1]
    for stage, x in seen.items():
        pls = PLSRegression(2, scale=True, tol=1e-20, max_iter=100_000).fit(x, np.eye(3)[data.y])
        t, w, q = pls.x_scores_, pls.x_weights_, pls.y_loadings_
        s = np.square(t).sum(0) * np.square(q).sum(0)
        vip = np.sqrt(len(w) * (np.square(w / np.linalg.norm(w, axis=0)) @ s) / s.sum())
        assert scores[stage] == pytest.approx(vip.mean(), rel=1e-5)
