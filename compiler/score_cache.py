"""Scores measured before are read from the cache: by weights, data, what is scored, options and code."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import fields
from typing import TypeVar

import numpy as np
import torch

from secateur.compiler.code_digest import code_digest
from secateur.models.cache_folder import Arrays, kept_arrays
from secateur.models.data import Split
from secateur.models.network import Network
from secateur.passes.network.consensus import METRICS, ConsensusScores
from secateur.passes.network.cut_similarity import CutSimilarity
from secateur.passes.network.removal import Removal
from secateur.passes.network.score_catalogue import FILTER_SCORES, LAYER_SCORES, Setting
from secateur.passes.network.scores import CutScores, FilterScores, Losses, Margin, Replicates, Scores

K = TypeVar("K")


def kept_scores(measure: CutSimilarity, network: Network, removals: Sequence[Removal]) -> CutScores:
    """What `measure` gives for the removals of `network`, measured only where the cache does not have it."""
    options = [measure.floor, measure.samples, measure.debiased, measure.seed, measure.blocks, measure.replicates]
    what = [[r.kind, r.unit, r.classes] for r in removals]
    kept = _kept(network, measure.data, [*options, what], lambda: _losses(measure(network, removals), removals))
    return CutScores(network.hash(), *_parts(kept, removals))


def kept_layer_scores(name: str, setting: Setting, network: Network, units: Collection[str] | None = None) -> Scores:
    """The layer score `name` of these layers, None: of all; one that looks at no samples is never kept."""
    kind = LAYER_SCORES[name]
    if not kind.looks:
        return kind.make(setting)(network, units)

    def make() -> Arrays:
        found = kind.make(setting)(network, units)
        metrics = {"metrics": np.array(list(found.metrics.values()))} if isinstance(found, ConsensusScores) else {}
        return {"names": np.array(list(found.values), np.str_), **_losses(found, list(found.values)), **metrics}

    asked = None if units is None else sorted(units)
    kept = _kept(network, setting.data, ["layers", name, *_told(setting), asked], make)
    found = network.hash(), *_parts(kept, kept["names"].tolist())
    if "metrics" in kept:  # which decide between equal sums of ranks
        return ConsensusScores(*found, metrics=dict(zip(METRICS, kept["metrics"], strict=True)))
    return Scores(*found)


def kept_filter_scores(name: str, setting: Setting, network: Network) -> FilterScores:
    """The filter score `name` of all groups, the same way."""
    kind = FILTER_SCORES[name]
    if not kind.looks:
        return kind.make(setting)(network)

    def make() -> Arrays:
        found = kind.make(setting)(network)
        margins = [(m.value, m.error, m.tie) for m in found.margins.values()]
        return {
            "samples": np.array(found.samples), "names": np.array(list(found.values), np.str_),
            "sizes": np.array([len(v) for v in found.values.values()], np.int64),
            "values": np.concatenate([np.zeros(0), *found.values.values()]),
            "margins": np.array(margins, np.float64), "compared": np.array(list(found.margins), np.str_),
        }  # fmt: skip

    kept = _kept(network, setting.data, ["filters", name, *_told(setting)], make)
    groups = np.split(kept["values"], np.cumsum(kept["sizes"]))[:-1]
    margins = [Margin(float(value), float(error), bool(tie)) for value, error, tie in kept["margins"].reshape(-1, 3)]
    return FilterScores(
        network.hash(), int(kept["samples"]), dict(zip(kept["names"].tolist(), groups, strict=True)),
        dict(zip(kept["compared"].tolist(), margins, strict=True)),
    )  # fmt: skip


def _told(setting: Setting) -> list[object]:
    """All of it but the samples, which every key holds."""
    return [[f.name, repr(getattr(setting, f.name))] for f in fields(setting) if f.name != "data"]


def _kept(network: Network, data: Split, options: list[object], make: Callable[[], Arrays]) -> Arrays:
    decides = json.dumps([
        network.hash(), repr(network.preprocess), data.fingerprint(), options, code_digest(), torch.__version__,
        np.__version__, torch.get_num_threads(), str(next(network.module.parameters()).device),
    ])  # fmt: skip
    return kept_arrays("scores", decides, make)


def _losses(found: Losses[K], candidates: Sequence[K]) -> Arrays:
    noise = found.replicates
    return {
        "losses": np.array([found[c] for c in candidates]),
        "margin": np.array([np.nan if v is None else v for v in (found.margin, found.margin_error)]),
        "about": np.array([found.samples, found.tie]),
        "parts": np.array([noise.values[c] for c in candidates] if noise else np.zeros((0, 0))),
        "weight": np.array(noise.weight if noise else np.nan),
    }


def _parts(
    kept: Arrays, candidates: Sequence[K]
) -> tuple[int, dict[K, float], float | None, float | None, bool, Replicates[K] | None]:
    """`_losses` again, in the order of the fields of `Losses` after the network's hash."""
    values = dict(zip(candidates, kept["losses"].tolist(), strict=True))
    margin, error = (None if np.isnan(v) else float(v) for v in kept["margin"])
    samples, tie = kept["about"].tolist()
    noise = None
    if not np.isnan(kept["weight"]):
        noise = Replicates(dict(zip(candidates, kept["parts"], strict=True)), float(kept["weight"]))
    return int(samples), values, margin, error, bool(tie), noise
