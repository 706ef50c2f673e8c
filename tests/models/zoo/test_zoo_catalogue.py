"""The zoo: every entry loads and is canonical; sizes are exact; shipped weights are as good as they say."""

from __future__ import annotations

import functools
import importlib.util

import numpy as np
import pytest
import torch

from secateur.errors import UserError
from secateur.models.augment import NONE
from secateur.models.network import verify_network
from secateur.models.training import Recipe, predict
from secateur.models.zoo import catalogue, digits, train, watch
from secateur.passes.network.layers import find_layers
from secateur.passes.network.macs import network_macs, network_parameters

installed = pytest.mark.skipif(importlib.util.find_spec("seglearn") is None, reason=f"no seglearn; {watch.INSTALL}")


_network = functools.cache(catalogue.load)


@pytest.mark.slow
@pytest.mark.parametrize("name", catalogue.ENTRIES)
def test_every_entry_is_a_canonical_network(name):
    """It loads, verifies, has an output a label, and loads twice to the same hash."""
    network = _network(name)
    verify_network(network)
    assert network.classes == len(network.labels)
    assert not network.module.training
    if name == "watch-resnet":
        assert catalogue.load(name).hash() == network.hash()


# The ResNet figures with 1x1 shortcuts are those that the literature gives for 5 and 18 blocks a stage.
@pytest.mark.parametrize(
    "name, macs",
    [
        ("watch-resnet", 3_795_504),
        ("watch-transformer", 467_168),
        ("resnet8", 12_501_632),
        ("resnet32", 69_124_736),
        ("resnet56", 125_747_840),
        ("resnet110", 253_149_824),
        ("resnet20a", 40_551_040),
        ("digits-mlp", 2_368),
    ],
)
def test_sizes_are_exact(name, macs):
    """Multiply-accumulates of the definitions."""
    assert network_macs(_network(name)) == macs


def test_the_demo_network_has_nine_identity_blocks():
    """Nine layers of watch-resnet could go if stages had no floor; it has more than 150,000 parameters."""
    network = catalogue.load("zoo:watch-resnet")
    assert len([u for u in find_layers(network, floor=0) if u.name.endswith("conv1..conv2")]) == 9
    assert network_parameters(network) > 150_000


def test_option_a_shortcuts_are_sliced_and_padded():
    """Option A: every second pixel and zero channels, as in the reference formula."""
    shortcut = catalogue.cifar_resnet(20, "A").stages[1][0].shortcut
    x = torch.randn(2, 16, 32, 32)
    expected = torch.nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 8, 8))
    assert torch.equal(shortcut(x), expected)


@pytest.mark.slow
@installed
@pytest.mark.parametrize("key", ["watch-resnet", "watch-transformer"])
def test_watch_weights_recognise_people_they_never_met(key):
    """More than 90 % on validation and on test people, and exactly what the file says of itself."""
    network, data = catalogue.load(key), catalogue.zoo_data(f"zoo:{key}")
    about = catalogue.about_weights(key)
    assert about["command"].startswith(f"python -m secateur.models.zoo.train {key}")
    for name in ("validation", "test"):
        split = getattr(data, name)
        assert about["groups"][name] == np.unique(split.groups).tolist()
        found = 100 * (predict(network.module, split.x, network.preprocess).argmax(1) == split.y).mean()
        assert found > 90
        assert found == pytest.approx(about["accuracy_percent"][name], abs=0.2)  # another processor may round otherwise
    assert network.preprocess == watch.standardize(data.recovery.x)


def test_digits_weights_are_good():
    """More than 97 % on the digits' test blocks."""
    network, data = catalogue.load("digits-net"), catalogue.zoo_data("digits-net")
    assert (predict(network.module, data.test.x, network.preprocess).argmax(1) == data.test.y).mean() > 0.97
    assert "does not name its writers" in data.notes[0]


def test_digits_blocks_stay_whole():
    """40 pseudo groups of consecutive samples, 24, 8 and 8."""
    data = digits.digits_data()
    sides = [np.unique(s.groups) for s in (data.recovery, data.validation, data.test)]
    assert [len(s) for s in sides] == [24, 8, 8]
    assert sorted(np.concatenate(sides)) == list(range(40))


def test_shipped_files_are_small():
    """Under 2 MB each."""
    for name, entry in catalogue.ENTRIES.items():
        if entry.trained:
            assert catalogue.weights_path(name).stat().st_size < 2_000_000


@pytest.mark.slow
def test_training_writes_a_file_that_loads(tmp_path, monkeypatch):
    """A run of a few steps ends in a file with the same bytes each time, which the catalogue reads back."""
    monkeypatch.setitem(train.RECIPES, "digits-net", Recipe(steps=4, batch=32, evaluations=2))
    monkeypatch.setattr(catalogue, "WEIGHTS", tmp_path)
    threads = torch.get_num_threads()
    found = train.train("digits-net", tmp_path / "digits-net.safetensors")
    train.train("digits-net", tmp_path / "again.safetensors")
    torch.set_num_threads(threads)
    assert (tmp_path / "digits-net.safetensors").read_bytes() == (tmp_path / "again.safetensors").read_bytes()
    network, data = catalogue.load("digits-net"), catalogue.zoo_data("digits-net")
    right = predict(network.module, data.test.x, network.preprocess).argmax(1) == data.test.y
    assert 100 * right.mean() == pytest.approx(found["test"])


def test_augmentation_belongs_to_the_data():
    """Nothing is assumed of data from outside the zoo."""
    data = digits.digits_data()
    assert catalogue.augmentation(data) == digits.AUGMENTATION
    from dataclasses import replace

    assert catalogue.augmentation(replace(data, name="mine.npz")) == NONE


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: catalogue.load("zoo:nothing"), "zoo:nothing is unknown; the zoo has watch-resnet, "),
        (lambda: catalogue.zoo_data("zoo:nothing"), "zoo:nothing is unknown; data: digits"),
        (lambda: catalogue.zoo_data("zoo:resnet8"), "zoo:resnet8 comes without data"),
    ],
)
def test_unknown_names_list_the_known_ones(call, message):
    """One line with what there is."""
    with pytest.raises(UserError, match=message):
        call()


def test_broken_weights_are_named(tmp_path, monkeypatch):
    """A truncated file and another network's file are one line, not a traceback."""
    whole = catalogue.weights_path("watch-resnet").read_bytes()
    monkeypatch.setattr(catalogue, "WEIGHTS", tmp_path)
    for content in (whole[: len(whole) // 2], b"", None):
        path = tmp_path / "digits-net.safetensors"
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UserError, match=r"digits-net\.safetensors: not the weights of this network"):
            catalogue.load("digits-net")
    path.write_bytes(whole)
    with pytest.raises(UserError, match="not the weights of this network") as caught:
        catalogue.load("digits-net")
    assert "\n" not in str(caught.value)
