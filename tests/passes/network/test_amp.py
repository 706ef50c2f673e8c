"""Scores of heads and hidden units."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import SHAPE, WRITTEN

from secateur.errors import UserError
from secateur.models.canonical import to_network
from secateur.models.data import Split
from secateur.passes.network.amp import Amp
from secateur.passes.network.channels import find_filters
from secateur.passes.network.removal import Removal, mask
from secateur.passes.network.score_catalogue import FILTER_SCORES, LAYER_SCORES, Setting


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return to_network(WRITTEN["encoder layer, norm first"][0](), SHAPE, "net")


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 5, 60)
    x = rng.normal(size=(60, *SHAPE)) + 0.5 * y[:, None, None]
    return Split(x.astype(np.float32), y, np.arange(60))


def read_by(network, target, data):
    """What a layer reads, (n, channels, tokens)."""
    found = []
    hook = network.module.get_submodule(target).register_forward_hook(lambda m, given, out: found.append(given[0]))
    with torch.no_grad():
        network.module.eval()(torch.from_numpy(data.x))
    hook.remove()
    return found[0].double().numpy()


def test_amp_is_what_its_source_says(encoder, data):
    """Heads: mean L1 norm of x_h W_O[h] over tokens; hidden units: mean absolute activation."""
    scores = Amp(data)(encoder)
    assert set(scores.values) == {g.name for g in find_filters(encoder) if g.removable}
    assert scores.samples == 60 and all(m.error > 0 for m in scores.margins.values())
    x = read_by(encoder, "blocks.1.self_attn.out", data).transpose(0, 2, 1)
    rows = encoder.module.get_submodule("blocks.1.self_attn.out").weight.detach().double().numpy()[:, :, 0].T
    heads = [np.abs(x[..., 4 * h : 4 * h + 4] @ rows[4 * h : 4 * h + 4]).sum(-1).mean() for h in range(4)]
    np.testing.assert_allclose(scores.values["blocks.1.self_attn.q"], heads, rtol=1e-9)
    hidden = np.abs(read_by(encoder, "blocks.0.linear2", data)).mean((0, 2))
    np.testing.assert_allclose(scores.values["blocks.0.linear1"], hidden, rtol=1e-9)


def test_amp_of_a_head_that_does_nothing(encoder, data):
    """Zeroed heads and units are scored 0 and go first."""
    masked = mask(encoder, Removal("filters", "blocks.0.self_attn.q", (2,)))
    masked = mask(masked, Removal("filters", "blocks.0.linear1", (5,)))
    scores = Amp(data)(masked)
    assert scores.values["blocks.0.self_attn.q"][2] == 0 and scores.lowest("blocks.0.self_attn.q", 1) == (2,)
    assert scores.values["blocks.0.linear1"][5] == 0


def test_networks_without_heads_are_refused(data):
    """In one line that names another score."""
    net = to_network(
        torch.nn.Sequential(torch.nn.Conv1d(6, 8, 3), torch.nn.Flatten(), torch.nn.Linear(176, 5)), SHAPE, "net"
    )
    with pytest.raises(UserError, match=r"no attention heads and no hidden units .* such as plsvip"):
        Amp(data)(net)


@pytest.mark.parametrize("name", sorted(set(FILTER_SCORES) - {"bn-scale"}))
def test_every_filter_score_knows_heads(encoder, data, name):
    """A number for each head and hidden unit; whatever looks at the data finds a head that does nothing."""
    masked = mask(encoder, Removal("filters", "blocks.0.self_attn.q", (2,)))
    scores = FILTER_SCORES[name].make(Setting(data))(masked)
    sizes = {g.name: g.size for g in find_filters(encoder) if g.removable}
    assert {n: len(v) for n, v in scores.values.items()} == sizes
    if name not in ("random", "first", "plsvip", "cipls"):
        assert scores.lowest("blocks.0.self_attn.q", 1) == (2,)


@pytest.mark.parametrize("name", ["cka", "cka-flow", "kl", "taylor", "l1"])
def test_layer_scores_know_sub_blocks(encoder, data, name):
    """Attention and feed-forward sub-blocks have numbers that differ."""
    values = LAYER_SCORES[name].make(Setting(data))(encoder).values
    assert list(values) == ["blocks.0.linear1..linear2", "blocks.1.self_attn.q..out", "blocks.1.linear1..linear2"]
    assert len(set(values.values())) == 3
