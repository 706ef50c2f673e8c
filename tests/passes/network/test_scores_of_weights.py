"""Norms, scales and baselines: numbers that need no samples."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.errors import UserError
from secateur.passes.network.baselines import FirstFilters, FirstLayers, RandomFilters, RandomLayers
from secateur.passes.network.candidates import candidates
from secateur.passes.network.layers import find_layers
from secateur.passes.network.norm_scale import FilterScale, LayerScale
from secateur.passes.network.removal import Removal, apply
from secateur.passes.network.weight_norms import FilterNorm, LayerNorm


def test_l2_norms_are_roots_of_squares(make):
    """A filter's own, and the mean of a convolution's filters summed over a block."""
    network = make("resnet_b")
    weight = {n: p.detach().double().numpy() for n, p in network.module.named_parameters() if n.endswith("weight")}
    one, two = (np.sqrt(np.square(weight[f"stages.2.1.conv{i}.weight"]).sum((1, 2, 3))) for i in (1, 2))
    assert np.allclose(FilterNorm(2)(network).values["stages.2.1.conv1"], one)
    scores = LayerNorm(2)(network)
    assert scores.values["stages.2.1.conv1..conv2"] == pytest.approx(one.mean() + two.mean(), rel=1e-12)
    assert scores.samples == 0 and scores.margin_error == 0 and not scores.tie


def test_scales_are_those_of_the_norms(make):
    """A block's own channels: its norm's; a stream's: the mean over all norms on it; a layer: its last norm's mean."""
    network = make("resnet_a")
    gamma = {n: p.detach().double().abs().numpy() for n, p in network.module.named_parameters() if "bn" in n}
    scores = FilterScale()(network)
    assert np.allclose(scores.values["stages.0.1.conv1"], gamma["stages.0.1.bn1.weight"])
    stem = network.module.get_submodule("stem.1").weight.detach().double().abs().numpy()
    stream = np.mean([stem, *(gamma[f"stages.0.{b}.bn2.weight"] for b in range(3))], axis=0)
    wide = scores.values["stem.0"]
    assert len(wide) == 8 and not np.allclose(wide, stem)
    layers = LayerScale()(network)
    assert layers.values["stages.2.1.conv1..conv2"] == pytest.approx(gamma["stages.2.1.bn2.weight"].mean(), rel=1e-12)
    mine = make("residual_1d")
    norms = ["bn", *(f"blocks.{b}.bn2" for b in range(5))]
    stream = np.mean([mine.module.get_submodule(n).weight.detach().double().abs().numpy() for n in norms], axis=0)
    assert np.allclose(FilterScale()(mine).values["stem"], stream)


def test_groups_without_a_norm_have_no_scale_and_stay(make):
    """Of five groups two are normed: only they are candidates; where none is, one line says so."""
    network = make("concat")
    scores = FilterScale()(network)
    assert list(scores.values) == ["a", "b"]
    assert {r.unit for r in candidates(network, scores)} == {"a", "b"}
    with pytest.raises(UserError, match="mlp: no batch norm scales what may be removed"):
        FilterScale()(make("mlp"))
    with pytest.raises(UserError, match="mlp: no batch norm scales what may be removed"):
        LayerScale()(make("mlp"))


def test_first_is_network_order_and_random_is_not(make):
    """First: the first of those asked for. Random: by the seed, anew after every removal, the same for any subset."""
    network = make("residual_1d")
    names = [u.name for u in find_layers(network) if u.removable]
    assert FirstLayers()(network).ranked() == tuple(names)
    assert FirstLayers()(network, names[:1:-1]).ranked() == tuple(names[2:])
    assert FirstFilters()(network).lowest("stem", 3) == (0, 1, 2)
    first = {RandomLayers(seed)(network).ranked()[0] for seed in range(8)}
    assert len(first) >= 3
    one = RandomLayers(3)(network)
    some = RandomLayers(3)(network, names[1:4])
    assert some.values == {n: one.values[n] for n in names[1:4]}
    after = RandomLayers(3)(apply(network, Removal("layer", names[-1])))
    assert all(after.values[n] != one.values[n] for n in after.values)
    drawn = [RandomFilters(s)(network).values["stem"] for s in (1, 1, 2)]
    assert np.array_equal(drawn[0], drawn[1]) and not np.array_equal(drawn[0], drawn[2])
