"""Threads and progress change no score."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from secateur.models.data import Split
from secateur.models.network import Network
from secateur.models.task import CLASSIFICATION
from secateur.models.zoo.catalogue import load
from secateur.passes.network.candidates import candidates
from secateur.passes.network.cut_similarity import CutSimilarity
from secateur.passes.network.filter_effect import FilterEffect
from secateur.passes.network.output_divergence import FilterDivergence, OutputDivergence
from secateur.passes.network.weight_norms import filter_l1
from secateur.passes.network.work import Beside, Work, current_work, each, working


@pytest.fixture(scope="module")
def digits_net() -> Network:
    return load("digits-net")


@pytest.fixture(scope="module")
def samples() -> Split:
    rng = np.random.default_rng(0)
    return Split(rng.normal(size=(70, 1, 8, 8)).astype(np.float32), np.arange(70) % 10, np.arange(70))


def scores(digits_net: Network, samples: Split) -> list[Callable[[], dict[object, list[float]]]]:
    def values(found: object) -> dict[object, list[float]]:
        return {k: np.atleast_1d(v).tolist() for k, v in found.values.items()}  # type: ignore[attr-defined]

    return [
        lambda: values(CutSimilarity(samples, samples=70)(digits_net, candidates(digits_net, filter_l1(digits_net)))),
        lambda: values(FilterEffect(samples, 70)(digits_net)),
        lambda: values(FilterDivergence(OutputDivergence(samples, CLASSIFICATION, 70))(digits_net)),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 1, 2])
def test_threads_give_the_same_bits_and_progress_ends_at_all(digits_net: Network, samples: Split, which: int) -> None:
    """One thread or three; each score hears of every candidate of every batch, never of fewer than before."""
    heard: list[tuple[int, int]] = []
    run = scores(digits_net, samples)[which]
    alone = run()
    with working(Work(3, lambda what, done, total: heard.append((done, total)))):
        assert run() == alone
    done = [d for d, _ in heard]
    assert done == sorted(done) and len({t for _, t in heard}) == 1 and heard[-1][0] == heard[-1][1] > 1
    assert current_work() == Work()


def test_what_stops_one_part_leaves_out_those_that_have_not_begun() -> None:
    """Order and progress are those of the parts; an error, as an interrupt, waits for what runs and no longer."""
    begun: list[int] = []
    heard: list[tuple[int, int]] = []

    def run(part: int) -> float:
        begun.append(part)
        time.sleep(0.01 if part else 0)
        return 1 / part

    with working(Work(2, lambda what, done, total: heard.append((done, total)))):
        assert each("trying", lambda part: part * part, range(4), 6, 12) == [0, 1, 4, 9]
        assert heard == [(7, 12), (8, 12), (9, 12), (10, 12)]
        with pytest.raises(ZeroDivisionError):
            each("trying", run, range(400))
    assert len(begun) < 400


def test_no_more_parts_are_under_way_than_jobs() -> None:
    """A third part waits until the first is done, and what a thread raises is raised."""
    with Beside[int, int](2) as beside:
        finished = [beside.start(lambda part, values: part * part, part, {}) for part in range(4)]
        assert finished == [[], [], [(0, 0)], [(1, 1)]]
        assert beside.finish() == [(2, 4), (3, 9)]
        beside.start(lambda part, values: 1 // part, 0, {})
        with pytest.raises(ZeroDivisionError):
            beside.finish()
