"""Steps of filter removal: of the lowest scores, to widths that kernels like, never below the minimum."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.passes.network.candidates import candidates, filter_step
from secateur.passes.network.channels import FilterGroup, find_filters
from secateur.passes.network.removal import Removal, apply
from secateur.passes.network.scores import FilterScores


def group(size, channels_per_class=1):
    return FilterGroup("g", size, channels_per_class, ("g",), ("h",), False, True)


@pytest.mark.parametrize(
    ("size", "step"),
    [(64, 8), (32, 4), (16, 4), (8, 4), (7, 3), (5, 1), (4, 0), (3, 0), (18, 2), (10, 2), (100, 12), (128, 16)],
)
def test_steps_end_on_multiples_of_four(size, step):
    """About an eighth, more if needed to reach a multiple of 4, nothing once 4 are left."""
    assert filter_step(group(size)) == step
    assert step == 0 or (size - step) % 4 == 0


def test_steps_count_channels_where_classes_hold_several():
    """Classes of 2 channels: 6 classes are 12 channels, 8 stay; of 4 channels: any number fits."""
    assert filter_step(group(6, 2)) == 2
    assert filter_step(group(6, 4)) == 1
    assert filter_step(group(1, 8)) == 0


def test_step_size_multiple_and_minimum_are_the_callers():
    """The three settings do what they say."""
    assert filter_step(group(64), granularity=0.5) == 32
    assert filter_step(group(64), multiple=16) == 16
    assert filter_step(group(64), multiple=1) == 8
    assert filter_step(group(16), minimum=16) == 0
    assert filter_step(group(6), multiple=1, minimum=1) == 1


@pytest.mark.slow
def test_candidates_are_layers_then_the_lowest_filters(make):
    """Every removable layer and one step of every removable group, ready to apply."""
    network = make("resnet_b")
    rng = np.random.default_rng(0)
    values = {g.name: rng.random(g.size) for g in find_filters(network)}
    found = candidates(network, FilterScores(network.hash(), 1, values))
    assert [r.unit for r in found if r.kind == "layer"] == [
        f"stages.{s}.{b}.conv1..conv2" for s in range(3) for b in (1, 2)
    ]
    filters = {r.unit: r.classes for r in found if r.kind == "filters"}
    assert set(filters) == {g.name for g in find_filters(network) if g.removable}
    assert filters["stem.0"] == tuple(sorted(np.argsort(values["stem.0"])[:4].tolist()))
    for removal in found:
        apply(network, removal)


def test_without_scores_there_are_layers_only(make):
    """Filters take scores; the floor is passed on."""
    network = make("resnet_b")
    assert [r.kind for r in candidates(network)] == ["layer"] * 6
    assert candidates(network, floor=3) == []


def test_ties_go_in_channel_order(make):
    """Equal scores: the first channels."""
    network = make("mlp")
    values = {g.name: np.ones(g.size) for g in find_filters(network)}
    found = candidates(network, FilterScores(network.hash(), 1, values))
    assert Removal("filters", "layers.1", (0, 1, 2, 3)) in found


def test_scores_of_another_network_are_refused(make):
    """Positions in a group mean nothing on another network."""
    with pytest.raises(AssertionError, match="another network"):
        candidates(make("mlp"), FilterScores("other", 1, {}))
