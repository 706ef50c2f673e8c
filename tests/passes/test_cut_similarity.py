"""Loss of similarity: equal to its definition, cheap to get, and honest about noise."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from secateur.errors import UserError
from secateur.models.data import Split
from secateur.models.preprocess import Preprocess
from secateur.passes.network import cut_similarity
from secateur.passes.network.candidates import candidates
from secateur.passes.network.channels import find_filters
from secateur.passes.network.cka import StoredCKA, linear_cka
from secateur.passes.network.cut_similarity import CutSimilarity
from secateur.passes.network.filter_vip import FilterVip
from secateur.passes.network.layer_similarity import LayerSimilarity
from secateur.passes.network.layers import feature_node, find_layers
from secateur.passes.network.prefix_walk import PrefixWalk
from secateur.passes.network.removal import Removal, apply, mask
from secateur.passes.network.samples import balanced
from secateur.passes.network.scores import Scores


def split(network, count=120, classes=3, seed=0):
    """Noise with a class signal in every channel."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, count)
    x = rng.normal(size=(count, *network.input_shape)) + 0.5 * y.reshape(-1, *[1] * len(network.input_shape))
    return Split(x.astype(np.float32), y, np.arange(count))


def features(network, x):
    """Whatever enters the last weighted layer, by a hook."""
    weighted = [m for m in network.module.modules() if isinstance(m, (nn.Conv1d, nn.Conv2d, nn.Linear))]
    last = {n.name: n for n in network.graph.nodes}[feature_node(network)]
    (target,) = [u.target for u in last.users]
    module = network.module.get_submodule(target)
    assert module in weighted
    seen = []
    handle = module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].flatten(1)))
    with torch.no_grad():
        network.module.eval()(torch.from_numpy(x))
    handle.remove()
    return seen[0].numpy()


@pytest.mark.slow
def test_losses_are_those_of_the_cut_networks(network):
    """One walk gives for layers and filters what cutting, running and comparing each of them gives."""
    data = split(network, 40)
    removals = candidates(network, FilterVip(data)(network), floor=1)
    losses = CutSimilarity(data, floor=1, blocks=10)(network, removals)
    assert losses.network_hash == network.hash() and losses.samples == 40
    reference = features(network, data.x)
    for removal in removals:
        alone = 1 - linear_cka(reference, features(apply(network, removal, floor=1), data.x))
        assert losses[removal] == pytest.approx(alone, abs=2e-6), removal


def test_what_begins_at_one_node_is_not_mistaken_for_another(make):
    """A bypass that ends in a layer, and filters that the same layer reads: whichever of them comes first."""
    network = make("bare")
    data = split(network, 40)
    removals = candidates(network, FilterVip(data)(network), floor=1)
    assert {r.kind for r in removals} == {"layer", "filters"}
    losses = CutSimilarity(data, floor=1, blocks=10)(network, removals)
    turned = CutSimilarity(data, floor=1, blocks=10)(network, removals[::-1])
    reference = features(network, data.x)
    for removal in removals:
        alone = 1 - linear_cka(reference, features(apply(network, removal, floor=1), data.x))
        assert losses[removal] == turned[removal] == pytest.approx(alone, abs=2e-6), removal


def test_masked_filters_lose_what_cut_ones_lose(make):
    """Channels at zero and channels gone are the same to CKA, though the widths differ."""
    network = make("resnet_b")
    data = split(network)
    removal = Removal("filters", "stages.2.0.conv2", (0, 3, 9))
    reference = features(network, data.x)
    cut, masked = (features(n, data.x) for n in (apply(network, removal), mask(network, removal)))
    assert (cut.shape[1], masked.shape[1]) == (29, 32)
    assert linear_cka(reference, cut) == pytest.approx(linear_cka(reference, masked), abs=1e-5)


@pytest.mark.slow
def test_resnet_56_takes_327_block_evaluations(make):
    """The walk runs each candidate's suffix only: 27 + 300 blocks, where 25 whole runs take 675."""
    network = make("cifar-56-B")
    runs = []
    for name, module in network.module.named_modules():
        if name.endswith("conv1"):
            module.register_forward_hook(lambda *_: runs.append(1))
    removals = [Removal("layer", u.name) for u in find_layers(network) if u.removable]
    walk = PrefixWalk(network, removals)
    runs.clear()
    reference, others = walk.features(torch.randn(1, 3, 32, 32))
    assert len(runs) == 327
    assert reference.shape == (1, 64) and len(others) == 24


def test_a_branch_that_joins_after_the_features_loses_nothing(network_of):
    """The representation before the last weighted layer does not see it; the walk says 0 and does not stumble."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.side, self.relu, self.flatten = nn.Linear(6, 8), nn.ReLU(), nn.Flatten(1)
            self.out, self.main, self.head = nn.Linear(8, 3), nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, x):
            x = self.flatten(x)
            return self.out(self.relu(self.side(x))) + self.head(self.main(x))

    network = network_of(Net(), (6,))
    side, main = (Removal("filters", name, (1, 2)) for name in ("side", "main"))
    found = CutSimilarity(split(network), blocks=10)(network, [side, main])
    assert found[side] == pytest.approx(0, abs=1e-12) and found[main] > 1e-3


def test_the_walk_keeps_training_mode_and_weights(make):
    """Measuring leaves the network as it found it."""
    network = make("residual_1d")
    network.module.train()
    before = network.hash()
    LayerSimilarity(split(network))(network)
    assert network.hash() == before and network.module.training


@pytest.mark.slow
@pytest.mark.parametrize("debiased", [True, False])
def test_streamed_and_stored_samples_give_the_same(make, monkeypatch, debiased):
    """Whichever form the number of samples calls for, losses and margins agree."""
    network = make("residual_1d")
    data = split(network, 1700)
    streamed = LayerSimilarity(data, 1700, debiased=debiased)(network)
    assert streamed.samples >= 4 * 20 * 20  # 20 features in 20 blocks: moments are smaller than rows
    monkeypatch.setattr(cut_similarity, "StreamingCKA", StoredCKA)
    again = LayerSimilarity(data, 1700, debiased=debiased)(network)
    for name, loss in again.values.items():
        assert streamed.values[name] == pytest.approx(loss, abs=1e-9)
    assert streamed.margin == pytest.approx(again.margin, abs=1e-9)
    assert streamed.margin_error == pytest.approx(again.margin_error, rel=1e-5)


def test_order_of_candidates_does_not_change_the_winner(make):
    """Scores come in network order and with the same values, however the units were named."""
    network = make("resnet_a")
    measure = LayerSimilarity(split(network))
    names = [u.name for u in find_layers(network) if u.removable]
    forward, backward = measure(network, names), measure(network, names[::-1])
    assert forward == backward
    assert list(backward.values) == names
    assert forward.ranked()[0] == min(names, key=forward.values.__getitem__)


def test_equal_scores_go_in_network_order():
    """Of two layers with one loss the one nearer to the input is the first."""
    assert Scores("", 4, {"a": 0.2, "b": 0.1, "c": 0.1}).ranked() == ("b", "c", "a")


def test_a_layer_that_does_nothing_loses_nothing(make):
    """A block whose last norm is zero has loss 0, wins, and its twin makes a tie."""
    network = make("resnet_b").clone()
    for block in ("stages.0.1", "stages.2.1"):
        norm = network.module.get_submodule(f"{block}.bn2")
        for tensor in (norm.weight.data, norm.bias.data, norm.running_mean):
            tensor.zero_()
    scores = LayerSimilarity(split(network))(network)
    assert scores.ranked()[0] == "stages.0.1.conv1..conv2"
    assert scores.values["stages.0.1.conv1..conv2"] == pytest.approx(0, abs=1e-12)
    assert scores.tie and scores.margin == pytest.approx(0, abs=1e-12)


def test_margin_error_is_that_of_the_difference(make):
    """Two filters that do the same: each loss is uncertain, their difference is not."""
    network = make("residual_1d").clone()
    with torch.no_grad():
        for name, tensor in network.module.state_dict().items():
            if name.startswith(("blocks.2.conv1", "blocks.2.bn1")) and tensor.dim():
                tensor[5] = tensor[2]
            if name == "blocks.2.conv2.weight":
                tensor[:, 5] = tensor[:, 2]
    alone, twin = (Removal("filters", "blocks.2.conv1", (i,)) for i in (2, 5))
    found = CutSimilarity(split(network), blocks=10)(network, [alone, twin])
    assert found[alone] == pytest.approx(found[twin], abs=1e-7) and found[alone] > 1e-3
    assert found.margin_error < 1e-7


@pytest.mark.slow
def test_margin_error_says_how_far_other_samples_would_move_it(make):
    """Over 30 fresh draws the margin scatters as its jackknife error says, within a factor of two."""
    network = make("residual_1d")
    units = ["blocks.1.conv1..conv2", "blocks.2.conv1..conv2"]
    found = [LayerSimilarity(split(network, 200, seed=s))(network, units) for s in range(30)]
    signed = [f.values[units[0]] - f.values[units[1]] for f in found]
    error = np.mean([f.margin_error for f in found])
    assert 0.5 < np.std(signed, ddof=1) / error < 2


def test_samples_are_balanced_by_class():
    """Equal numbers as far as classes go, seeded, no sample twice."""
    y = np.repeat([0, 1, 2], [500, 40, 9])
    chosen = balanced(y, 60, seed=1)
    assert np.bincount(y[chosen]).tolist() == [26, 25, 9] or np.bincount(y[chosen]).tolist() == [25, 26, 9]
    assert len(set(chosen.tolist())) == 60
    assert np.array_equal(chosen, balanced(y, 60, seed=1)) and not np.array_equal(chosen, balanced(y, 60, seed=2))
    assert len(balanced(y, 10_000)) == 549


def test_the_network_gets_preprocessed_samples(make):
    """Raw samples far off give the same losses through the preprocessing saved with the network."""
    network = make("residual_1d")
    data = split(network)
    raw = Split(data.x * np.float32(8) + np.float32(64), data.y, data.groups)
    scaled = dataclasses.replace(network, preprocess=Preprocess((64.0,) * 6, (8.0,) * 6))
    a, b = LayerSimilarity(data)(network), LayerSimilarity(raw)(scaled)
    assert b.values == pytest.approx(a.values, abs=1e-5)
    vip, again = FilterVip(data)(network), FilterVip(raw)(scaled)
    assert all(np.allclose(vip.values[g], again.values[g], atol=1e-4) for g in vip.values)


def test_data_that_cannot_tell_is_refused(make):
    """Too few samples; features that are the same for every sample."""
    network = make("residual_1d")
    with pytest.raises(UserError, match="30 samples to compare representations on, 40 at least"):
        LayerSimilarity(split(network, 30))(network)
    data = split(network)
    dead = Split(np.zeros_like(data.x), data.y, data.groups)
    with pytest.raises(UserError, match="the same for all 120 samples"):
        LayerSimilarity(dead)(network)


def test_a_network_without_removable_layers_has_no_scores(make):
    """No candidate, no score, no error."""
    network = make("concat")
    scores = LayerSimilarity(split(network))(network)
    assert scores.values == {} and scores.margin is None and not scores.tie
    assert [g.name for g in find_filters(network) if g.removable] == ["stem", "a", "b", "c", "d"]
