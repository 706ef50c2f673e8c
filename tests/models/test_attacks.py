"""Attacks: what they may do, what they do, and that they do it the same way each time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from transformers import Encoder, torch_layer

from secateur.models.attacks import Ball, Gradient, cross_entropy, fgsm, pgd
from secateur.models.canonical import to_network
from secateur.models.data import Split
from secateur.models.network import Network
from secateur.models.preprocess import Preprocess
from secateur.models.task import CLASSIFICATION, MultiLabel, Regression
from secateur.models.training import predict
from secateur.models.zoo.catalogue import load, zoo_data

RANGE = 16.0


@pytest.fixture(scope="module")
def digits() -> tuple[Network, Split]:
    """A trained network, and 64 samples that it was not trained on."""
    return load("digits-net"), zoo_data("digits").test.subset(np.arange(64))


def ball(eps: float, channels: int = 1, low: float = 0.0, high: float = RANGE) -> Ball:
    return Ball(*(np.full(channels, v, np.float32) for v in (eps, low, high)))


def right(network: Network, x: np.ndarray, y: np.ndarray) -> float:
    return float((predict(network.module, x, network.preprocess).argmax(1) == y).mean())


@pytest.mark.slow
def test_an_eps_of_0_changes_nothing(digits):
    """Neither attack moves a value by a bit, also where samples lie outside the range that was stated."""
    network, split = digits
    for limits in (ball(0), ball(0, high=9)):
        np.testing.assert_array_equal(fgsm(network, split, CLASSIFICATION, limits), split.x)
        step = np.full(1, 0.5, np.float32)
        np.testing.assert_array_equal(pgd(network, split, CLASSIFICATION, limits, step), split.x)


def test_attacks_stay_in_the_ball_and_in_the_range(digits):
    """Each value moves by eps at most and ends in 0 to 16; FGSM moves by eps wherever there is room."""
    network, split = digits
    eps = np.float32(RANGE * 8 / 255)
    found = fgsm(network, split, CLASSIFICATION, ball(eps))
    again = pgd(network, split, CLASSIFICATION, ball(eps), np.full(1, eps / 4, np.float32), seed=3)
    for moved in (found, again):
        assert np.abs(moved - split.x).max() <= eps * (1 + 1e-5)
        assert moved.min() >= 0 and moved.max() <= RANGE
        assert not np.array_equal(moved, split.x)
    middle = (split.x >= eps) & (split.x <= RANGE - eps)
    np.testing.assert_allclose(np.abs(found - split.x)[middle], eps, rtol=1e-4)


@pytest.mark.slow
def test_pgd_is_at_least_as_strong_as_fgsm(digits):
    """At equal eps the trained network gets no more right after ten steps than after one, and fewer than clean."""
    network, split = digits
    clean, known = right(network, split.x, split.y), []
    for eps in (RANGE * 16 / 255, RANGE * 32 / 255):
        limits = ball(eps)
        one = right(network, fgsm(network, split, CLASSIFICATION, limits), split.y)
        step = np.full(1, eps / 4, np.float32)
        ten = right(network, pgd(network, split, CLASSIFICATION, limits, step), split.y)
        assert ten <= one < clean
        known.append(ten)
    assert known[1] < known[0]


def test_the_fgsm_of_a_linear_model_is_its_closed_form():
    """Of two classes the gradient is (p - onehot) W / std, whose sign is that of the other class's weights less one's
    own; with and without a softmax in the network, and where float32 would see a gradient of 0."""
    random = np.random.default_rng(0)
    weights = random.normal(size=(2, 12)).astype(np.float32)
    x = random.normal(size=(40, 3, 2, 2)).astype(np.float32)
    y = random.integers(2, size=40)
    split, eps = Split(x, y, y), np.float32([0.1, 0.2, 0.3])
    limits = Ball(eps, np.full(3, -9, np.float32), np.full(3, 9, np.float32))
    pre = Preprocess((0.1, 0.2, 0.3), (1.0, 2.0, 0.5))
    away = np.sign(weights[1 - y] - weights[y]).reshape(x.shape)
    for scale in (1.0, 20.0):
        linear = nn.Linear(12, 2)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weights * np.float32(scale)))
            linear.bias.zero_()
        for end in ((), (nn.Softmax(dim=1),)):
            module = nn.Sequential(nn.Flatten(), linear, *end)
            network = to_network(module, (3, 2, 2), "linear", (), pre)
            found = fgsm(network, split, CLASSIFICATION, limits)
            np.testing.assert_allclose(found, x + eps.reshape(1, 3, 1, 1) * away, rtol=0, atol=1e-6)


def test_the_loss_is_the_cross_entropy():
    """Of moderate logits, where PyTorch's is exact too; its gradient as well."""
    logits = torch.randn(20, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    y = torch.arange(20) % 5
    ours, theirs = cross_entropy(logits, y), nn.functional.cross_entropy(logits, y, reduction="sum")
    torch.testing.assert_close(ours, theirs)
    (mine,), (known,) = torch.autograd.grad(ours, logits), torch.autograd.grad(theirs, logits)
    torch.testing.assert_close(mine, known)


def test_the_same_seed_gives_the_same_bytes_and_the_network_is_left_alone(digits):
    """Another seed gives others; weights, modes and what needs a gradient stay as they were."""
    network, split = digits
    before = network.hash()
    network.module.train()
    step = np.full(1, 0.1, np.float32)
    first, same, other = (
        pgd(network, split, CLASSIFICATION, ball(0.4), step, steps=3, seed=s) for s in (1, 1, 2)
    )  # fmt: skip
    assert network.module.training and network.hash() == before
    network.module.eval()
    assert all(p.requires_grad and p.grad is None for p in network.module.parameters())
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(first, pgd(network, split, CLASSIFICATION, ball(0.4), step, steps=3, seed=1))


def test_a_transformer_is_attacked_too():
    """Attention and layer norms have a float64 gradient, that of finite differences."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = to_network(Encoder(torch_layer()).eval(), (6, 24), "encoder")
    x = np.random.default_rng(0).normal(size=(3, 6, 24)).astype(np.float32)
    split = Split(x, np.array([0, 1, 4]), np.arange(3))
    gradient = Gradient(network, CLASSIFICATION)
    found = gradient(split.x, split.y)
    step = np.float32(1 / 64)
    losses = []
    for sign in (1, -1):
        moved = x.copy()
        moved[:, 2, 7] += sign * step
        output = gradient.module(torch.from_numpy(moved.astype(np.float64)))
        losses.append(float(cross_entropy(output, torch.from_numpy(split.y))))
    np.testing.assert_allclose(found[:, 2, 7].sum(), (losses[0] - losses[1]) / (2 * step), rtol=1e-2)
    moved = fgsm(network, split, CLASSIFICATION, ball(0.1, 6, -9, 9))
    np.testing.assert_allclose(np.abs(moved - x), 0.1, rtol=1e-4)


def test_another_tasks_loss_has_a_gradient_too():
    """A regression is moved away from its true value."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False))
    with torch.no_grad():
        module[1].weight.copy_(torch.tensor([[1.0, -2.0, 3.0, -4.0]]))
    network = to_network(module, (1, 2, 2), "sum", (), Preprocess())
    x = np.zeros((2, 1, 2, 2), np.float32)
    split = Split(x, np.float32([[1.0], [-1.0]]), np.arange(2))
    task = replace(Regression(), median=(0.0,), spread=(1.0,))
    found = np.sign(Gradient(network, task)(split.x, split.y)).reshape(2, 4)
    np.testing.assert_array_equal(found, [[-1, 1, -1, 1], [1, -1, 1, -1]])


def test_the_gradient_is_of_logits_where_labels_end_in_a_logistic_function():
    """Several labels have one loss with it and without; a value between 0 and 1 is attacked as it is."""

    def made(*last: nn.Module) -> Network:
        torch.manual_seed(0)
        return to_network(nn.Sequential(nn.Flatten(), nn.Linear(4, 3), *last), (1, 2, 2), "labels")

    x = 9 * np.random.default_rng(0).normal(size=(5, 1, 2, 2)).astype(np.float32)
    y = (np.arange(15).reshape(5, 3) % 2).astype(np.int64)
    ends = made(), made(nn.Sigmoid())
    logits, probable = (Gradient(network, MultiLabel())(x, y) for network in ends)
    np.testing.assert_array_equal(probable, logits)
    task = replace(Regression(), median=(0.5,) * 3, spread=(1.0,) * 3)
    values = [Gradient(network, task)(x, y.astype(np.float32)) for network in ends]
    assert not np.allclose(*values)
