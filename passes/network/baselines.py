"""Baselines that every criterion must beat: any unit at random, and the first in network order.

The released code of one published criterion removed the first block each time, whatever its scores were: without
these two nobody would have seen it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from secateur.models.network import Network
from secateur.passes.network.channels import find_filters
from secateur.passes.network.layers import find_layers, removable_layers
from secateur.passes.network.scores import FilterScores, Scores


@dataclass(frozen=True)
class RandomLayers:
    """Numbers in [0, 1) that depend on the seed and on how many layers are left."""

    seed: int = 0
    floor: int = 2

    def __call__(self, network: Network, units: Collection[str] | None = None) -> Scores:
        layers = find_layers(network, self.floor)
        drawn = np.random.default_rng([self.seed, len(layers)]).random(len(layers))
        numbers = {u.name: float(x) for u, x in zip(layers, drawn, strict=True)}
        return Scores.measured(
            network, 0, {u.name: numbers[u.name] for u in removable_layers(network, self.floor, units)}
        )


@dataclass(frozen=True)
class FirstLayers:
    """Positions in network order."""

    floor: int = 2

    def __call__(self, network: Network, units: Collection[str] | None = None) -> Scores:
        able = removable_layers(network, self.floor, units)
        return Scores.measured(network, 0, {u.name: float(i) for i, u in enumerate(able)})


@dataclass(frozen=True)
class RandomFilters:
    """Numbers in [0, 1) that depend on the seed and on how many filters are left."""

    seed: int = 0

    def __call__(self, network: Network) -> FilterScores:
        groups = find_filters(network)
        rng = np.random.default_rng([self.seed, sum(g.size for g in groups)])
        drawn = {g.name: rng.random(g.size) for g in groups}
        return FilterScores.measured(network, 0, {g.name: drawn[g.name] for g in groups if g.removable})


@dataclass(frozen=True)
class FirstFilters:
    """Positions in channel order."""

    def __call__(self, network: Network) -> FilterScores:
        groups = [g for g in find_filters(network) if g.removable]
        return FilterScores.measured(network, 0, {g.name: np.arange(g.size, dtype=np.float64) for g in groups})
