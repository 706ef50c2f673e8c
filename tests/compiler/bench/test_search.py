"""`bench search`: a fair plain way, counted work, the same scores."""

from __future__ import annotations

import inspect
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from secateur.compiler.bench import search
from secateur.compiler.bench.mac_counter import MacCounter
from secateur.compiler.bench.pictures import SCALE, TRAINING_IMAGES, read_images
from secateur.compiler.bench.search import Options, Subject, compare, same_ranking
from secateur.compiler.cli import app
from secateur.errors import UserError
from secateur.models.zoo.catalogue import CIFAR10, to_network
from secateur.models.zoo.resnet import cifar_resnet
from secateur.passes.network import channel_deletion
from secateur.passes.network.macs import network_macs
from secateur.passes.network.prefix_walk import PrefixWalk

BLOCK = 4_718_592  # multiply-accumulates of an identity block, in every stage


@pytest.fixture(autouse=True)
def without_data(monkeypatch, tmp_path):
    """Noise and seeded weights, whatever lies beside the repository."""
    monkeypatch.setenv("SECATEUR_DATA", str(tmp_path))


def quiet(*_):
    """Nobody listens."""


def test_the_plain_way_is_short():
    """At most 30 lines: what it does is there to be read."""
    assert len(inspect.getsource(search.naive).splitlines()) <= 30


def test_layers_of_resnet_20_by_both_sides():
    """57 block evaluations against 30, stem and all counted, equal scores, whatever the batches are."""
    images, source = search.read_images(5)
    found = compare(search.layers(20), images, source, Options(5, 1, 3), quiet, quiet)
    stem, head, shortcuts = 442_368, 640, 2 * 131_072
    whole = network_macs(search.layers(20).network)
    assert whole == stem + head + 9 * BLOCK - 2 * 1_179_648 + shortcuts
    assert found.naive_macs == 5 * (7 * (whole - head) - 6 * BLOCK)
    assert found.ours_macs == 5 * (whole - head + 21 * BLOCK - 6 * (1_179_648 - 131_072))
    assert found.same_ranking and found.largest_difference < 1e-9 and found.candidates == 6
    assert found.document()["images_from"] == "seeded noise"


def test_filters_of_resnet_8_by_both_sides():
    """Scores by subtraction are those of the zeroed network; only what follows the block runs."""
    subject = search.filters(8)
    assert len(subject.removals) == 16 + 32 + 64
    subject = replace(subject, removals=subject.removals[::9])
    images, source = search.read_images(4)
    found = compare(subject, images, source, Options(4, 1, 4), quiet, quiet)
    whole = network_macs(subject.network) - 640
    assert found.naive_macs == 4 * whole * (1 + found.candidates)
    assert found.ours_macs / found.naive_macs < 0.4
    assert found.same_ranking and found.largest_difference < 1e-6


def test_progress_is_told_to_the_end():
    """Both sides say how many scores there are and end with all of them."""
    heard = []
    images, source = search.read_images(4)
    subject = search.layers(20)
    compare(
        replace(subject, removals=subject.removals[4:]),
        images,
        source,
        Options(4, 1, 2),
        lambda *a: heard.append(a),
        quiet,
    )
    assert [h for h in heard if h[1] == h[2]] == [
        ("resnet20 naive 1/1: one after the other", 2, 2), ("resnet20 ours 1/1: all in one walk", 4, 4),
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("part,depth,limit", [("layers", 110, 0.51), ("filters", 56, 0.34)])
def test_operation_ratios_of_the_full_networks(part, depth, limit, monkeypatch):
    """What one image costs where no filter is zero, counted on torch's meta device: at most 0.51 and 0.34."""
    monkeypatch.setattr(channel_deletion, "live_channels", lambda values: [True] * values.shape[1])
    subject: Subject = getattr(search, part)(depth)
    network = to_network("counted", cifar_resnet(depth, "B" if part == "layers" else "A"), (3, 32, 32), CIFAR10, SCALE)
    walk = PrefixWalk(network, subject.removals, together=1000)
    network.module.to("meta")
    with MacCounter() as counter:
        walk.features(torch.zeros(1, 3, 32, 32, device="meta"))
    runs = 1 + len(subject.removals)
    naive = runs * (network_macs(subject.network) - 640) - (BLOCK * len(subject.removals) if part == "layers" else 0)
    assert len(subject.removals) == {"layers": 51, "filters": 1008}[part]
    assert 0.49 * (part == "layers") < counter.macs / naive <= limit


def test_rankings_may_differ_where_scores_are_equal():
    """Pairs within 1e-6 may change places, others not, however far apart the places are."""
    a = np.array([0.1, 0.2, 0.3, 0.3 + 5e-7])
    assert same_ranking(a, a) and same_ranking(a, np.array([1.0, 2.0, 4.0, 3.0]))
    assert not same_ranking(a, np.array([2.0, 1.0, 3.0, 4.0]))
    assert not same_ranking(a, np.array([4.0, 1.0, 2.0, 3.0]))
    steps = 9e-7 * np.arange(3)  # neighbours are equal, the ends are not
    assert not same_ranking(steps, -steps)


def test_scores_that_change_between_repeats_are_a_fault(monkeypatch):
    """A side that does not repeat itself has no ranking."""
    scores = iter([np.zeros(6), np.zeros(6), np.ones(6), np.zeros(6)])
    monkeypatch.setattr(search, "naive", lambda *_: next(scores))
    monkeypatch.setattr(search, "ours", lambda *_: next(scores))
    images, source = search.read_images(4)
    with pytest.raises(AssertionError, match="naive: other scores in repeat 2"):
        compare(search.layers(20), images, source, Options(4, 2, 4), quiet, quiet)


def test_saved_repeats_are_not_run_again(tmp_path, monkeypatch):
    """A stopped run continues from its first repeat, digit for digit; another batch size or network starts anew."""
    subject, (images, source) = search.layers(20), search.read_images(4)
    runs, plain = [], search.naive
    monkeypatch.setattr(search, "naive", lambda *a: (runs.append(a), plain(*a))[1])
    first = compare(subject, images, source, Options(4, 1, 2), quiet, quiet, tmp_path)
    heard = []
    again = compare(subject, images, source, Options(4, 1, 2), quiet, heard.append, tmp_path)
    assert again == first and len(runs) == 1 and all(h.endswith("G MAC, saved before") for h in heard)
    assert compare(subject, images, source, Options(4, 3, 2), quiet, quiet, tmp_path).repeats == 3 and len(runs) == 3
    compare(subject, images, source, Options(4, 1, 4), quiet, quiet, tmp_path)
    compare(replace(subject, removals=subject.removals[:2]), images, source, Options(4, 1, 4), quiet, quiet, tmp_path)
    compare(replace(subject, removals=subject.removals[:2]), -images, source, Options(4, 1, 4), quiet, quiet, tmp_path)
    assert len(runs) == 6


def test_medians_are_of_all_repeats(tmp_path):
    """Seconds of saved repeats, the middle one of three; a side that counts other work is a fault."""
    subject, (images, source) = search.layers(20), search.read_images(4)
    options = Options(4, 3, 4)
    compare(subject, images, source, options, quiet, quiet, tmp_path)
    records = {n: json.loads((tmp_path / f"resnet20-{n}.json").read_text()) for n in (1, 2, 3)}
    for n, (naive, ours) in {1: (10.0, 4.0), 2: (30.0, 2.0), 3: (20.0, 9.0)}.items():
        records[n]["run"]["naive"].update(seconds=naive, cpu_seconds=naive / 2)
        records[n]["run"]["ours"].update(seconds=ours, cpu_seconds=ours / 4)
        (tmp_path / f"resnet20-{n}.json").write_text(json.dumps(records[n]))
    found = compare(subject, images, source, options, quiet, quiet, tmp_path)
    assert (found.naive_s, found.ours_s, found.ratio) == (20.0, 4.0, 0.2)
    assert (found.naive_cpu_s, found.ours_cpu_s, found.cpu_ratio) == (10.0, 1.0, 0.1)
    records[3]["run"]["ours"]["macs"] += 1
    (tmp_path / "resnet20-3.json").write_text(json.dumps(records[3]))
    with pytest.raises(AssertionError, match="ours: other work in repeat 3"):
        compare(subject, images, source, options, quiet, quiet, tmp_path)


def test_files_that_do_not_fit_are_refused(tmp_path):
    """Too few images; weights of another network."""
    (tmp_path / "cifar10").mkdir()
    np.savez(tmp_path / TRAINING_IMAGES, images=np.zeros((3, 32, 32, 3), np.uint8), labels=np.zeros(3))
    with pytest.raises(UserError, match=r"--images 4: .* has 3"):
        search.read_images(4)
    np.savez(tmp_path / search.PRETRAINED, conv1=np.zeros(3))
    with pytest.raises(UserError, match=r"conv1\.weight is missing or of another shape"):
        search.filters()


@pytest.mark.slow
def test_published_weights_are_read_right(shared_data, monkeypatch):
    """akamaster's ResNet-56 knows its training images."""
    monkeypatch.setenv("SECATEUR_DATA", str(shared_data))
    subject = search.filters()
    labels = read_images(shared_data / TRAINING_IMAGES)[1][:100]
    with torch.no_grad():
        answers = subject.network.module.eval()(search.read_images(100)[0]).argmax(1).numpy()
    assert (answers == labels).mean() > 0.97 and subject.weights == "resnet56_akamaster.npz"


@pytest.mark.slow
def test_command(tmp_path):
    """One JSON document on stdout."""
    arguments = ["bench", "search", "--only", "layers", "--images", "8", "--repeats", "1", "--json"]
    document = json.loads(CliRunner().invoke(app, arguments).stdout)
    assert document["layers"]["same_ranking"] is True and document["layers"]["ops_ratio"] <= 0.51
    assert document["layers"]["images"] == 8 and document["layers"]["candidates"] == 51
    assert "filters" not in document and document["jobs"] == 1
