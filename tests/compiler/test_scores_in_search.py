"""What --layer-score and --filter-score decide: which layer, which filters, and what happens to ties."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from policy_runs import search_of, small_network
from torch import nn

from secateur.compiler import methods
from secateur.compiler.budget import Budget
from secateur.compiler.methods import Candidate, Similarity
from secateur.compiler.policies.policy import Exhausted
from secateur.compiler.recovery import recovery_recipe
from secateur.compiler.search import Search, SearchOptions
from secateur.compiler.search_state import step_from
from secateur.errors import UserError
from secateur.models.canonical import to_network
from secateur.models.data import Data, Split
from secateur.models.zoo.resnet1d import ResNet1d
from secateur.passes.network.cut_similarity import CutSimilarity
from secateur.passes.network.removal import Removal
from secateur.passes.network.score_catalogue import LayerKind
from secateur.passes.network.scores import Replicates, Scores
from secateur.passes.network.weight_norms import FilterNorm, LayerNorm
from secateur.targets.target import find


@pytest.fixture(scope="module")
def network():
    """Two stages of four blocks, 8 and 12 channels wide; the last two blocks of all do nothing."""
    torch.manual_seed(0)
    module = ResNet1d(3, 3, widths=(8, 12), blocks=(4, 4), strides=(1, 2)).eval()
    with torch.no_grad():
        for block in (2, 3):
            norm = module.get_submodule(f"stages.1.{block}.bn2")
            norm.weight.zero_()
            norm.bias.zero_()
    return to_network(module, (3, 16), "net")


@pytest.fixture(scope="module")
def data():
    """Three classes that a mean tells apart, 90 samples."""
    rng = np.random.default_rng(0)
    y = (np.arange(90) % 3).astype(np.int64)
    x = (rng.normal(size=(90, 3, 16)) + 0.5 * y[:, None, None]).astype(np.float32)
    cuts = (slice(0, 60), slice(60, 75), slice(75, 90))
    return Data("means", *(Split(x[c], y[c], np.arange(90)[c]) for c in cuts), labels=("a", "b", "c"))


def chosen(network, data, useful, **options):
    """What the method takes of `useful`."""
    method = Similarity(SearchOptions(**options))
    method.candidates(network, network, data, data.recovery)
    return method.choose(network, useful, data.recovery, 0)


def layer(name, saving):
    return Candidate(Removal("layer", f"stages.{name}.conv1..conv2"), saving, None, 0.0)


LAYERS = [layer("0.1", 0.1), layer("0.2", 0.1), layer("0.3", 0.1), layer("1.1", 0.1), layer("1.2", 0.1)]


@pytest.mark.parametrize(
    "options,says",
    [
        ({"layer_score": "cosine"}, "--layer-score cosine: unknown; one of cka, cka-biased, "),
        ({"filter_score": "consensus"}, "--filter-score consensus: unknown; one of auto, reconstruction, "),
        ({"layer_score": "kl", "method": "random"}, "--layer-score kl: --method random has scores of its own"),
        ({"layer_score": "kl", "policy": "filters"}, "--layer-score kl: --policy filters ranks no layers by it"),
        ({"filter_score": "l2", "policy": "layers"}, "--filter-score l2: --policy layers ranks no filters by it"),
        ({"layer_score": "l2", "policy": "growth"}, "--layer-score l2: --policy growth ranks no layers by it"),
        ({"policy": "layers", "method": "uniform"}, "--method uniform: it thins filters, --policy layers leaves them"),
        ({"floor": 0}, "--floor 0: blocks that stay in each stage, at least 1"),
        ({"samples": 39}, "--score-samples 39: at least 40"),
        ({"granularity": 1}, "granularity 1: a share of a group's filters, above 0 and below 1"),
    ],
)
def test_scores_that_would_have_no_say_are_refused(options, says):
    """In one line, before anything is loaded."""
    with pytest.raises(UserError, match=says):
        SearchOptions(**options)


def test_the_layer_score_chooses_where_only_layers_go(network, data):
    """Lowest loss per saving of a loss, the first of a ranking; no filters are scored."""
    norms = LayerNorm(1)(network).values
    savings = np.random.default_rng(0).uniform(0.1, 1, 5)
    useful = [Candidate(c.removal, float(s), None, 0.0) for c, s in zip(LAYERS, savings, strict=True)]
    best = min(useful, key=lambda c: norms[c.removal.unit] / c.saving)
    found = chosen(network, data, useful, policy="layers", layer_score="l1")
    assert found.removal == best.removal and found.loss is None and found.tied == 1
    assert found.removal.unit != min(norms, key=norms.__getitem__)
    first = chosen(network, data, useful[::-1], policy="layers", layer_score="first")
    assert first.removal == LAYERS[0].removal


@pytest.mark.parametrize("score", ["cka", "cka-flow", "kl", "taylor"])
def test_layers_that_do_nothing_go_by_what_they_save(network, data, score):
    """Of two with a loss of 0 the one that saves more, in whatever order they come."""
    for a, b in ((0.2, 0.3), (0.3, 0.2)):
        useful = [*LAYERS[:4], layer("1.2", a), layer("1.3", b)]
        found = chosen(network, data, useful, policy="layers", layer_score=score)
        assert found.removal == max(useful[4:], key=lambda c: c.saving).removal
        assert (found.loss is not None) == (score == "cka")


def uncertain(losses, spread):
    """A layer score that gives these losses to all that it is asked for, each with noise of its own."""
    rng = np.random.default_rng(0)
    noise = {f"stages.{k}.conv1..conv2": v + spread * rng.standard_normal(400) / 20 for k, v in losses.items()}
    values = {f"stages.{k}.conv1..conv2": v for k, v in losses.items()}

    def score(network, units=None):
        kept = [k for k in values if units is None or k in units]
        left_out = Replicates.jackknife({k: noise[k] for k in kept})
        return Scores.measured(network, 400, {k: values[k] for k in kept}, left_out)

    return score


@pytest.mark.parametrize("ranking", [True, False])
def test_a_tie_is_decided_by_the_saving(network, data, monkeypatch, ranking):
    """Within noise of the best the largest saving wins, and how many were alike is said; beyond it the best does."""
    losses = {"0.1": 5.0, "0.2": 0.12, "0.3": 0.1, "1.1": 0.11}
    useful = [layer("0.1", 0.9), layer("0.2", 0.12), layer("0.3", 0.105), layer("1.1", 0.1)]
    for spread, best, tied in ((0.05, useful[1], 3), (1e-5, useful[2], 1)):
        kind = LayerKind(lambda setting, s=spread: uncertain(losses, s), "", ranking, looks=False)
        monkeypatch.setitem(methods.LAYER_SCORES, "kl", kind)
        for order in (useful, useful[::-1]):
            found = chosen(network, data, order, policy="layers", layer_score="kl")
            assert (found.removal, found.tied) == (best.removal, tied)


def test_another_layer_score_sends_its_best_to_compete(network, data, monkeypatch, tmp_path):
    """One layer and all filters are compared by CKA; a dead filter that saves as much is a tie with a dead layer."""
    asked = []
    monkeypatch.setenv("SECATEUR_CACHE", str(tmp_path))

    class Spy(CutSimilarity):
        def __call__(self, network, removals):
            asked.append((tuple(removals), self.replicates))
            return super().__call__(network, removals)

    monkeypatch.setattr(methods, "CutSimilarity", Spy)
    filters = Candidate(Removal("filters", "stages.1.1.conv1", (0, 1, 2)), 0.1, None, 0.0)
    found = chosen(network, data, [*LAYERS, filters], layer_score="kl")
    assert asked == [((LAYERS[4].removal, filters.removal), True)]
    assert found.removal == LAYERS[4].removal and found.loss == pytest.approx(0, abs=1e-9)
    asked.clear()
    chosen(network, data, [*LAYERS, filters], filter_score="l2")
    assert asked == [((*(c.removal for c in LAYERS), filters.removal), True)]
    asked.clear()
    chosen(network, data, [*LAYERS, filters])
    assert asked == [((*(c.removal for c in LAYERS), filters.removal), False)]


def test_without_options_the_ratio_alone_decides(network, data):
    """Of candidates that take no parameters: similarity lost per saving, however uncertain; nothing is called a tie."""
    useful = [Candidate(c.removal, s, None, 0.0) for c, s in zip(LAYERS[:4], (0.1, 0.2, 0.3, 0.4), strict=True)]
    measured = CutSimilarity(data.recovery, samples=60)(network, [c.removal for c in useful])
    best = min(useful, key=lambda c: measured[c.removal] / c.saving)
    found = chosen(network, data, useful)
    assert (found.removal, found.loss, found.tied) == (best.removal, measured[best.removal], 1)


@pytest.mark.parametrize(
    "options, expected",
    [
        ({}, "reconstruction"),
        ({"recovery": "best"}, "reconstruction"),
        ({"reconstruct": "off"}, "plsvip"),
        ({"recovery": "published"}, "plsvip"),
        ({"recovery": "bn"}, "plsvip"),
        ({"recovery": "none", "reconstruct": "on"}, "reconstruction"),
        ({"recovery": "none", "filter_score": "reconstruction"}, "reconstruction"),
    ],
)
def test_filters_are_ranked_by_what_will_be_done(options, expected):
    """What fitting the others gives back is worth nothing where nothing is fitted."""
    chosen = SearchOptions(**options)
    assert chosen.ranks_filters_by == expected
    assert chosen.scores_by_default == ("filter_score" not in options)


def test_the_filter_score_ranks_the_classes(network, data):
    """A step takes the lowest of its group by that score."""
    method = Similarity(SearchOptions(filter_score="l2", policy="filters"))
    norms = FilterNorm(2)(network)
    steps = [r for r in method.candidates(network, network, data, data.recovery) if r.kind == "filters"]
    assert len(steps) == 10
    assert all(r.classes == norms.lowest(r.unit, len(r.classes)) for r in steps)
    usual = Similarity(SearchOptions()).candidates(network, network, data, data.recovery)
    assert {r.unit for r in usual if r.kind == "filters"} == {r.unit for r in steps} and set(usual) != set(steps)


@pytest.mark.slow
def test_a_search_with_other_scores_ends_within_its_budget(network, data, tmp_path, monkeypatch):
    """A tie is told with the step that it decided; a saved state of other scores is not taken up."""
    losses = {f"{s}.{b}": 0.1 + 0.01 * b for s in (0, 1) for b in range(4)}
    monkeypatch.setitem(
        methods.LAYER_SCORES, "kl", LayerKind(lambda setting: uncertain(losses, 0.5), "", True, looks=False)
    )
    target, recipe = find("esp32"), recovery_recipe(network, data, 0)
    options = SearchOptions("layers", layer_score="kl", recovery="none", total_steps=0, samples=60)
    flash = Search(network, data, target, Budget(), options, recipe).limits.cost(network).flash_bytes
    budget = Budget(flash_bytes=flash - 1500).on(target)
    told: list[str] = []
    run = Search(network, data, target, budget, options, recipe, tmp_path, told.append)
    state = run.run(run.start(False))
    assert run.limits.cost(state.network).flash_bytes <= budget.flash_bytes
    assert state.steps[0].unit.startswith("stages.1.") and state.steps[0].similarity is None
    assert told[0].endswith("tie of 6: most saved")
    other = Search(network, data, target, budget, SearchOptions("layers", total_steps=0), recipe, tmp_path)
    assert other.start(True).steps == []


@pytest.mark.parametrize("options", [{}, {"layer_score": "kl", "policy": "layers"}, {"layer_score": "l1"}])
def test_a_choice_says_what_it_rests_on(options):
    """Samples, the margin of the score's two best, its error and whether they are a tie: as the score told them."""
    search = search_of(small_network(), **{"policy": "everything", "recovery": "none", "less": 1500, **options})
    state = search.start(False)
    choice = search.policy.choose(state, search.limits.cost(search.original))
    seen = choice.evidence
    assert seen.samples == 60 and seen.margin >= 0 and seen.margin_error > 0
    assert seen.tie == (seen.margin <= 1.96 * seen.margin_error)
    search._step(state, choice)
    assert state.steps[0].evidence == seen
    assert step_from(json.loads(json.dumps(asdict(state.steps[0])))) == state.steps[0]


@pytest.mark.parametrize("options", [{"method": "l1"}, {"layer_score": "cka-biased", "policy": "layers"}])
def test_only_debiased_cka_is_called_similarity(options):
    """Weight mass and the biased form are none of it."""
    search = search_of(small_network(), **{"policy": "everything", "recovery": "none", "less": 1500, **options})
    assert search.policy.choose(search.start(False), search.limits.cost(search.original)).similarity is None


def test_a_choice_without_a_score_rests_on_nothing():
    """Random choice measures nothing."""
    search = search_of(small_network(), "everything", method="random", recovery="none", less=1500)
    assert search.policy.choose(search.start(False), search.limits.cost(search.original)).evidence is None


class PartlyNormed(nn.Module):
    """Four residual blocks; the first two have a batch norm between their convolutions, the others none."""

    def __init__(self, normed: int) -> None:
        super().__init__()
        self.stem, self.relu = nn.Conv1d(3, 8, 3, padding=1), nn.ReLU()
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(8, 16, 3, padding=1), nn.BatchNorm1d(16) if i < normed else nn.Identity(), nn.ReLU(),
                nn.Conv1d(16, 8, 3, padding=1),
            )
            for i in range(4)
        )  # fmt: skip
        self.pool, self.flatten, self.head = nn.AdaptiveAvgPool1d(1), nn.Flatten(1), nn.Linear(8, 3)

    def forward(self, x):
        x = self.relu(self.stem(x))
        for block in self.blocks:
            x = x + block(x)
        return self.head(self.flatten(self.pool(x)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{"layer_score": "bn-scale"}, {"filter_score": "bn-scale"}, {"layer_score": "bn-scale", "policy": "layers"}],
)
def test_what_a_score_says_nothing_of_stays(options):
    """Layers, or filters, without a norm stay where norms are the score, and the search ends as any other does."""
    torch.manual_seed(0)
    network = to_network(PartlyNormed(2).eval(), (3, 16), "partly")
    search = search_of(network, **{"policy": "everything", "recovery": "none", "flash": 100, **options})
    state = search.start(False)
    with pytest.raises(Exhausted, match="are the least reached, 100 allowed"):
        search.run(state)
    gone = {s.unit for s in state.steps if s.kind == ("layer" if "layer_score" in options else "filters")}
    assert gone and not any("blocks.2" in unit or "blocks.3" in unit for unit in gone)


def test_a_score_that_says_nothing_at_all_is_refused_at_once():
    """Before any step, with what it lacks."""
    torch.manual_seed(0)
    network = to_network(PartlyNormed(0).eval(), (3, 16), "normless")
    for option in ("layer_score", "filter_score"):
        with pytest.raises(UserError, match="normless: no batch norm scales what may be removed"):
            search_of(network, "everything", **{option: "bn-scale"}, recovery="none", flash=100)
    with pytest.raises(UserError, match="normless: no attention heads and no hidden units"):
        search_of(network, "everything", filter_score="amp", recovery="none", flash=100)
