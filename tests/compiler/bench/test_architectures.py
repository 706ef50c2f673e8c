"""Any architecture: what can go is found, cuts are exact, the rest trains, is exported and is exact in int8."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from torch import nn

from secateur.compiler.bench import architectures
from secateur.compiler.bench.architectures import (
    SUBJECTS,
    Options,
    Row,
    Subject,
    measure,
    network_of,
    patterns,
    spread,
)
from secateur.compiler.bench.architectures_tables import document, markdown
from secateur.compiler.bench.pictures import read_pictures
from secateur.errors import UserError
from secateur.models.zoo.architectures import (
    AutoEncoder,
    DenseNet,
    Vgg16,
    efficientnet_b0,
    mobilenet_v2,
    mobilenet_v3_small,
    resnet18,
    resnet50,
    se_resnet18,
)
from secateur.passes.network.channels import find_filters
from secateur.passes.network.layers import find_layers

FEW = Options(layers=2, groups=3, samples=4, compared=0, calibration=16, fitted=16)
TINY: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], tuple[int, int]]] = {
    # builder, input, layers that may go at the usual floor and at a floor of one block
    "resnet-18": (lambda: resnet18(1 / 8), (3, 32, 32), (0, 4)),
    "resnet-50": (lambda: resnet50(1 / 8), (3, 32, 32), (12, 12)),
    "se-resnet-18": (lambda: se_resnet18(1 / 8), (3, 32, 32), (0, 4)),
    "mobilenet-v2": (lambda: mobilenet_v2(0.1), (3, 32, 32), (9, 10)),
    "mobilenet-v3-small": (lambda: mobilenet_v3_small(0.1), (3, 32, 32), (8, 11)),
    "efficientnet-b0": (lambda: efficientnet_b0(0.1), (3, 32, 32), (11, 17)),
    "vgg-16-bn": (lambda: Vgg16(1 / 16), (3, 32, 32), (6, 8)),
    "densenet-bc": (lambda: DenseNet((2, 2, 2), 8), (3, 16, 16), (0, 0)),
    "autoencoder": (lambda: AutoEncoder(64, 16, 4), (64,), (6, 6)),
}


def tiny(name: str, route: str = "PyTorch") -> Subject:
    build, shape, _ = TINY[name]
    return Subject(name, route, "tiny", shape, build)


def check(row: Row) -> None:
    """What every architecture must hold."""
    assert row.layer_difference == 0
    assert row.groups_proven and row.filter_difference <= 1e-5
    assert row.cut_filters and row.cut_parameters < row.parameters
    assert row.loss_after != row.loss_before and row.onnx_difference <= 1e-4
    assert row.mismatches == 0 and row.sqnr_db > 3
    assert row.sqnr_db > row.onnx_runtime_db - 4  # on four samples


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_cuts_are_exact_and_what_is_left_trains_and_exports(name: str) -> None:
    """Layers, filters, one step of training, ONNX and int8 of every topology, at a small width."""
    row = measure(tiny(name), FEW)
    check(row)
    assert (row.removable_layers, row.removable_layers_floor_1) == TINY[name][2]


@pytest.mark.slow
def test_the_other_routes_give_the_same_entries() -> None:
    """Squeeze-and-excite by PyTorch's ONNX exporter and by a Keras file; the image's outputs equal the golden's."""
    here, onnx = (measure(tiny("se-resnet-18", route), FEW) for route in ("PyTorch", "ONNX"))
    for row in (here, onnx):
        check(row)
    for name in ("layers", "removable_layers", "layers_stay", "groups", "removable_groups", "groups_stay", "filters"):
        assert getattr(here, name) == getattr(onnx, name), name
    keras = next(s for s in SUBJECTS if (s.name, s.route) == ("se-resnet-20", "Keras"))
    row = measure(keras, replace(FEW, compared=1))
    check(row)
    assert (row.removable_layers, row.values, row.golden) == (6, 10, "TensorFlow Lite Micro (tflite-micro wheel)")
    text = markdown([here, onnx, row])
    assert "| se-resnet-18 | ONNX | tiny |" in text and "10 output values compared, 0 mismatches" in text
    assert document([row], FEW)["rows"][0]["layers_stay"]["first block of its stage"] == 1


@pytest.mark.slow
def test_what_is_left_is_trained_on_pictures(shared_data, monkeypatch) -> None:
    """Some steps on CIFAR-10 teach it something, and int8 is measured on test images; 1-D networks take none."""
    monkeypatch.setenv("SECATEUR_DATA", str(shared_data))
    row = measure(tiny("vgg-16-bn"), replace(FEW, steps=80))
    check(row)
    assert row.steps == 80 and row.accuracy is not None and row.accuracy > 15
    plain = measure(tiny("autoencoder"), replace(FEW, steps=80))
    assert (plain.steps, plain.accuracy) == (0, None)
    assert f"| vgg-16-bn | PyTorch | 80 | {row.accuracy:.1f} |" in markdown([row])


@pytest.mark.slow
def test_pictures_are_scaled_and_never_both_learned_and_judged(shared_data, monkeypatch) -> None:
    """Training and test images of their own, in the size and the classes of the network."""
    monkeypatch.setenv("SECATEUR_DATA", str(shared_data))
    training, test = read_pictures(16, 2)
    assert training.x.shape[1:] == test.x.shape[1:] == (3, 16, 16) and {*training.y} == {*test.y} == {0, 1}
    whole = read_pictures(32, 10)[1]
    assert (whole.y % 2 == test.y).all() and np.allclose(whole.x.mean((2, 3)), test.x.mean((2, 3)), atol=0.1)
    assert not {x.tobytes() for x in training.x} & {x.tobytes() for x in test.x}


def test_pictures_that_are_not_there_are_told_before_anything_is_proven(tmp_path, monkeypatch) -> None:
    """In one line, with the variable that names their folder."""
    monkeypatch.setenv("SECATEUR_DATA", str(tmp_path))
    monkeypatch.setattr(architectures, "measure", None)
    with pytest.raises(UserError, match=r"--steps: .*cifar10_train10k.npz is not there; .* SECATEUR_DATA"):
        architectures.bench(["resnet-110"], replace(FEW, steps=2), print)


@pytest.mark.slow
def test_a_transformer_from_keras_is_exact() -> None:
    """Heads, hidden units and blocks of a Keras file go, and the image's outputs equal TensorFlow Lite Micro's."""
    row = measure(next(s for s in SUBJECTS if s.name == "transformer"), replace(FEW, compared=1))
    check(row)
    assert (row.removable_layers, row.removable_groups, row.filters) == (5, 6, 3 * (4 + 64))
    assert (row.values, row.golden) == (7, "TensorFlow Lite Micro (tflite-micro wheel)")


def test_squeeze_and_excite_has_its_own_units() -> None:
    """A gate's hidden units are a group; its outputs go with the stream that they multiply; a block goes whole."""
    network = network_of(tiny("mobilenet-v3-small"))
    groups = {g.name: g for g in find_filters(network)}
    hidden = [g for g in groups.values() if g.name.endswith(".down")]
    assert len(hidden) == 9 and all(g.removable and g.producers == (g.name,) for g in hidden)
    gated = [g for g in groups.values() if any(p.endswith(".up") for p in g.producers)]
    assert len(gated) == 9 and all(len(g.producers) >= 2 for g in gated)
    assert sum(u.removable for u in find_layers(network, 1)) == 11


def test_samples_and_choices_are_seeded() -> None:
    """The same patterns every time, other ones for other seeds; the first and the last of a longer list."""
    assert (patterns((3, 8, 8), 2, 1) == patterns((3, 8, 8), 2, 1)).all()
    assert (patterns((16,), 2, 1) != patterns((16,), 2, 2)).any()
    assert spread(range(10), 4) == [0, 3, 6, 9] and spread([1, 2], 4) == [1, 2] and spread([1, 2, 3], 1) == [1]
