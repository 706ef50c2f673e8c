"""Similarity losses measured before are read from the cache: by weights, data, removals, options and code."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import torch

from secateur.compiler.code_digest import code_digest
from secateur.models.cache_folder import Arrays, kept_arrays
from secateur.models.network import Network
from secateur.passes.network.cut_similarity import CutSimilarity
from secateur.passes.network.removal import Removal
from secateur.passes.network.scores import CutScores, Replicates


def kept_scores(measure: CutSimilarity, network: Network, removals: Sequence[Removal]) -> CutScores:
    """What `measure` gives for the removals of `network`, measured only where the cache does not have it."""
    decides = json.dumps([
        network.hash(), repr(network.preprocess), measure.data.fingerprint(),
        [measure.floor, measure.samples, measure.debiased, measure.seed, measure.blocks, measure.replicates],
        [[r.kind, r.unit, r.classes] for r in removals],
        code_digest(), torch.__version__, torch.get_num_threads(), str(next(network.module.parameters()).device),
    ])  # fmt: skip

    def make() -> Arrays:
        found = measure(network, removals)
        margin = [np.nan if v is None else v for v in (found.margin, found.margin_error)]
        losses = [found[r] for r in removals]
        parts = [found.replicates.values[r] for r in removals] if found.replicates else np.zeros((0, 0))
        about = np.array([found.samples, found.tie])
        return {"losses": np.array(losses), "margin": np.array(margin), "about": about, "parts": np.array(parts)}

    kept = kept_arrays("scores", decides, make)
    values = dict(zip(removals, kept["losses"].tolist(), strict=True))
    margin, error = (None if np.isnan(v) else float(v) for v in kept["margin"])
    samples, tie = kept["about"].tolist()
    parts = kept["parts"]
    replicates = Replicates.jackknife(dict(zip(removals, parts, strict=True))) if len(parts) else None
    return CutScores(network.hash(), int(samples), values, margin, error, bool(tie), replicates)
