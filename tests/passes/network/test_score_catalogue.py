"""What every score promises, whatever it measures."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.compiler import options
from secateur.errors import UserError
from secateur.models.data import Split
from secateur.models.zoo.resnet1d import ResNet1d
from secateur.passes.network.channels import find_filters
from secateur.passes.network.cka import linear_cka
from secateur.passes.network.layers import find_layers
from secateur.passes.network.removal import Removal, apply
from secateur.passes.network.score_catalogue import FILTER_SCORES, LAYER_SCORES, Setting
from secateur.passes.network.work import Work, working

WITHOUT_SAMPLES = {"l1", "l2", "bn-scale", "random", "first"}


def named(names, *slow):
    """Parameters, those that take a second marked as such."""
    return [pytest.param(n, marks=pytest.mark.slow) if n in slow else n for n in names]


def split(network, count=60, classes=3):
    rng = np.random.default_rng(0)
    y = rng.integers(0, classes, count)
    x = rng.normal(size=(count, *network.input_shape)) + 0.5 * y.reshape(-1, *[1] * len(network.input_shape))
    return Split(x.astype(np.float32), y, np.arange(count))


@pytest.fixture
def small(network_of):
    """Two stages of three blocks, 6 and 8 channels wide, with norms."""
    return network_of(ResNet1d(3, 3, widths=(6, 8), blocks=(3, 3), strides=(1, 2)), (3, 12))


def test_the_command_line_knows_all_of_them():
    """Names are written twice, for the catalogue takes seconds to import."""
    assert options.LAYER_SCORES == tuple(LAYER_SCORES)
    assert options.FILTER_SCORES == ("auto", *FILTER_SCORES)


def test_cka_is_debiased_and_its_biased_form_is_not(small, read_by_head):
    """Each name has the form that it says, of the features that a cut network gives."""
    data = split(small)
    reference, unit = read_by_head(small, data), "stages.1.1.conv1..conv2"
    cut = read_by_head(apply(small, Removal("layer", unit)), data)
    for name, debiased in (("cka", True), ("cka-biased", False)):
        found = LAYER_SCORES[name].make(Setting(data))(small)[unit]
        assert found == pytest.approx(1 - linear_cka(reference, cut, debiased), abs=2e-6)
        assert abs(found - (1 - linear_cka(reference, cut, not debiased))) > 5e-5


@pytest.mark.parametrize("name", named(LAYER_SCORES, "consensus"))
def test_layer_scores(small, name):
    """Bound to the network, which stays as it was; every removable layer, in its order whatever order is asked for."""
    before = small.hash()
    small.module.train()
    measure = LAYER_SCORES[name].make(Setting(split(small)))
    scores = measure(small)
    assert small.hash() == before == scores.network_hash and small.module.training
    assert all(p.grad is None for p in small.module.parameters())
    names = [u.name for u in find_layers(small) if u.removable]
    assert list(scores.values) == names and len(set(scores.values.values())) == len(names) == 4
    assert measure(small, names[::-1]) == scores
    assert scores.samples == (0 if name in WITHOUT_SAMPLES else 60)
    assert LAYER_SCORES[name].looks == (name not in WITHOUT_SAMPLES)
    assert scores.margin is not None and (scores.margin_error == 0) == (name in WITHOUT_SAMPLES)
    assert scores.tied()[0] == scores.ranked()[0]
    assert measure(small, []).values == {}


@pytest.mark.parametrize("name", sorted(set(FILTER_SCORES) - {"amp"}))
def test_filter_scores(small, name):
    """Bound to the network, which stays as it was; a number for each class of each removable group, and a margin."""
    before = small.hash()
    small.module.train()
    scores = FILTER_SCORES[name].make(Setting(split(small)))(small)
    assert small.hash() == before == scores.network_hash and small.module.training
    assert all(p.grad is None for p in small.module.parameters())
    sizes = {g.name: g.size for g in find_filters(small) if g.removable}
    assert {n: len(v) for n, v in scores.values.items()} == sizes and len(sizes) == 8
    assert all(np.isfinite(v).all() and len(set(v)) > 1 for v in scores.values.values())
    assert scores.samples == (0 if name in WITHOUT_SAMPLES else 60)
    assert FILTER_SCORES[name].looks == (name not in WITHOUT_SAMPLES)
    assert set(scores.margins) == (set() if name == "cka" else set(sizes))  # moments by block would take too much
    assert any(m.error > 0 for m in scores.margins.values()) == (name not in {"cka", *WITHOUT_SAMPLES})


@pytest.mark.slow
@pytest.mark.parametrize("kind,name", [
    *(("layer", n) for n in sorted(LAYER_SCORES)),
    *(("filter", n) for n in sorted(set(FILTER_SCORES) - {"amp"})),
])  # fmt: skip
def test_each_score_is_heard_of_until_it_ends(small, kind, name):
    """Whatever looks at samples says how far it is, never fewer than before; three threads give the same bits."""
    make = (LAYER_SCORES if kind == "layer" else FILTER_SCORES)[name].make
    alone = make(Setting(split(small)))(small)
    heard = {}
    with working(Work(3, lambda what, done, total: heard.setdefault(what, []).append((done, total)))):
        beside = make(Setting(split(small)))(small)
    assert [np.array_equal(beside.values[k], v) for k, v in alone.values.items()] == [True] * len(alone.values)
    assert beside.margins == alone.margins if kind == "filter" else beside.evidence == alone.evidence
    assert bool(heard) == (name not in WITHOUT_SAMPLES)
    for done in heard.values():
        assert done == sorted(done) and len({total for _, total in done}) == 1 and done[-1][0] == done[-1][1]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["reconstruction", "plsvip", "cipls"])
def test_a_search_asks_for_no_margins(small, name):
    """They take long and decide nothing there; the numbers are the same, and no margin is noise."""
    told = FILTER_SCORES[name].make(Setting(split(small)))(small)
    plain = FILTER_SCORES[name].make(Setting(split(small), filter_margins=False))(small)
    assert all(np.array_equal(plain.values[group], values) for group, values in told.values.items())
    assert all(m.error == 0 for m in plain.margins.values()) and any(m.error > 0 for m in told.margins.values())


@pytest.mark.parametrize("network", ["grouped", "concat", "mlp"], indirect=True)
@pytest.mark.parametrize("name", sorted(set(FILTER_SCORES) - {"amp", "bn-scale", "kl", "cka", "cipls"}))
def test_filter_scores_of_other_graphs(network, name):
    """Grouped convolutions, concatenations and perceptrons have a number for each class as well."""
    scores = FILTER_SCORES[name].make(Setting(split(network)))(network)
    assert {n: len(v) for n, v in scores.values.items()} == {
        g.name: g.size for g in find_filters(network) if g.removable
    }


@pytest.mark.parametrize("name", sorted(set(LAYER_SCORES) - WITHOUT_SAMPLES))
def test_few_samples_are_refused(small, name):
    """Below 40 of them in one line, by every score that looks at samples."""
    with pytest.raises(UserError, match=r"39 samples to compare .*, 40 at least.*--method l1, which looks at none"):
        LAYER_SCORES[name].make(Setting(split(small, 39)))(small)
