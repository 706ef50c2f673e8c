"""Every filter's own effect, in one pass, is that of the network without it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from secateur.errors import UserError
from secateur.models.data import Split
from secateur.passes.network import filter_effect
from secateur.passes.network.channels import find_filters
from secateur.passes.network.cka import StreamingCKA
from secateur.passes.network.cut_similarity import CutSimilarity
from secateur.passes.network.filter_effect import FilterEffect
from secateur.passes.network.output_divergence import FilterDivergence, OutputDivergence, logits_node
from secateur.passes.network.prefix_walk import PrefixWalk
from secateur.passes.network.removal import Removal, mask


def split(network, count=48):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, *network.input_shape)).astype(np.float32)
    return Split(x, np.arange(count) % 4, np.arange(count))


def divergence(network, removal, x):
    """Mean KL(without || with) by torch, on the outputs of the masked network."""
    module = network.module.eval()
    with torch.no_grad():
        p, q = (m(torch.from_numpy(x)).double() for m in (module, mask(network, removal).module.eval()))
    if isinstance(list(module.modules())[-1], torch.nn.Softmax):
        return float((q * (q.log() - p.log())).sum(1).mean())
    p, q = p.log_softmax(1), q.log_softmax(1)
    return float(torch.nn.functional.kl_div(p, q, log_target=True, reduction="batchmean"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["residual_1d", "concat", "mlp", "grouped"])
def test_divergence_is_that_of_the_masked_network(make, name):
    """All groups, one value a class; a network that ends in a softmax is compared before it."""
    network = make(name)
    data = split(network)
    found = FilterDivergence(OutputDivergence(data))(network)
    groups = [g for g in find_filters(network) if g.removable]
    assert {g.name: g.size for g in groups} == {k: len(v) for k, v in found.values.items()}
    for group in groups[:: -(-len(groups) // 3)]:
        expected = divergence(network, Removal("filters", group.name, (1,)), data.x)
        assert found.values[group.name][1] == pytest.approx(expected, rel=1e-3, abs=1e-9)
        assert expected > 0


def test_similarity_is_that_of_cuts(make):
    """1 - CKA of the features, as CutSimilarity has it."""
    network = make("concat")
    data = split(network)
    found = FilterEffect(data)(network)
    removals = [Removal("filters", "b", (i,)) for i in (0, 9)]
    cut = CutSimilarity(data, samples=48)(network, removals)
    assert found.samples == 48 and found.network_hash == network.hash()
    assert [found.values["b"][i] for i in (0, 9)] == pytest.approx([cut[r] for r in removals], abs=1e-9)


def test_batches_change_nothing_and_leave_nothing(make, monkeypatch):
    """Batches of 16 give the values of one of 48, and what is kept afterwards is as large."""
    network = make("mlp")
    data, kept = split(network), []
    values = StreamingCKA.values

    def measured(cka):
        kept.append(sum(m.xy.size for block in cka.sums for m in block))
        return values(cka)

    monkeypatch.setattr(StreamingCKA, "values", measured)
    whole = FilterEffect(data)(network)
    monkeypatch.setattr(filter_effect, "chunk", lambda _: 16)
    parts = FilterEffect(data)(network)
    assert all(np.allclose(parts.values[g], whole.values[g], atol=1e-9) for g in whole.values)
    assert kept[0] == kept[1]


def test_the_walk_goes_to_any_node(make):
    """Removals are followed to the logits as they are to the features."""
    network = make("residual_1d")
    x = torch.from_numpy(split(network, 3).x)
    removal = Removal("layer", "blocks.2.conv1..conv2")
    rows, (found,) = PrefixWalk(network, [removal], 1, target=logits_node(network)).features(x)
    with torch.no_grad():
        assert torch.equal(rows.softmax(1), network.module.eval()(x))
        masked = mask(network, removal, floor=1).module.eval()(x)
    assert torch.allclose(found.softmax(1), masked, atol=1e-6) and not torch.allclose(rows, found)


def test_what_cannot_be_scored_is_refused(make):
    """Three samples have no CKA."""
    network = make("mlp")
    with pytest.raises(UserError, match="3 samples to score filters on, 4 at least"):
        FilterEffect(split(network, 3))(network)
