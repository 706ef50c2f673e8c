"""The training loop: the same bytes twice, no global state, and it learns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from secateur.errors import UserError
from secateur.models.augment import Augmentation
from secateur.models.data import Split
from secateur.models.preprocess import Preprocess
from secateur.models.tokens import Bias, ChannelNorm
from secateur.models.training import (
    Recipe,
    ends_in_softmax,
    fit,
    learning_rate,
    predict,
    recalibrate_batch_norm,
    reinitialize,
)

EVERYTHING = Augmentation(
    warp=0.2, shift=2, rates=(2,), mirror=(0,), rotation_degrees=20, triads=((0, 1, 2),), scale=0.1, jitter=0.1
)
RECIPE = Recipe(steps=30, batch=16, lr=0.1, augmentation=EVERYTHING, label_smoothing=0.05)


def _module(seed: int = 0) -> nn.Module:
    module = nn.Sequential(
        nn.Conv1d(3, 8, 3, padding=1), nn.BatchNorm1d(8), nn.ReLU(), nn.Flatten(1), nn.Linear(8 * 12, 3)
    )
    reinitialize(module, seed)
    return module


def _split(n: int = 120, seed: int = 0) -> Split:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    x = rng.normal(scale=0.5, size=(n, 3, 12))
    x[np.arange(n), y] += 2.0
    return Split(x.astype(np.float32), y, np.arange(n) // 10)


def _bytes(module: nn.Module) -> bytes:
    return b"".join(v.numpy().tobytes() for v in module.state_dict().values())


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_same_seed_gives_the_same_bytes(optimizer):
    """Twice the same, whatever the global random state is; another seed gives other bytes."""
    found = []
    for noise, seed in ((1, 5), (2, 5), (2, 6)):
        torch.manual_seed(noise)
        np.random.seed(noise)
        module = _module()
        fit(module, _split(), replace(RECIPE, optimizer=optimizer), seed, Preprocess())
        found.append(_bytes(module))
    assert found[0] == found[1]
    assert found[1] != found[2]


def test_global_random_state_is_left_alone():
    """A training neither reads nor moves torch's global generator."""
    module = _module()
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    fit(module, _split(), RECIPE, 0, Preprocess())
    assert torch.equal(torch.rand(4), expected)


def test_it_learns_and_counts_its_steps():
    """A separable problem is learned; steps, samples, losses and calls agree."""
    calls: list[int] = []
    module = _module()
    log = fit(module, _split(), RECIPE, 0, Preprocess(), on_step=lambda step, loss: calls.append(step))
    assert calls == list(range(1, 31))
    assert (log.steps, log.samples, len(log.losses), log.best_step) == (30, 480, 30, 30)
    test = _split(seed=9)
    assert (predict(module, test.x, Preprocess()).argmax(1) == test.y).mean() > 0.9
    assert not module.training


def test_the_best_state_on_validation_is_kept():
    """After a training that ends in ruin, the module holds the state of the best measured step."""
    module, validation = _module(), _split(seed=9)
    recipe = replace(RECIPE, lr=3.0, schedule="constant", evaluations=10)
    log = fit(module, _split(), recipe, 0, Preprocess(), validation=validation)
    found = float((predict(module, validation.x, Preprocess()).argmax(1) == validation.y).mean())
    assert [step for step, _ in log.validation] == list(range(3, 31, 3))
    assert found == pytest.approx(max(value for _, value in log.validation))
    assert dict(log.validation)[log.best_step] == pytest.approx(found)


def test_a_student_follows_its_teacher():
    """With distillation alone, the student's answers become the teacher's, labels notwithstanding."""
    split = _split()
    teacher = _module(1)
    fit(teacher, replace(split, y=(split.y + 1) % 3), RECIPE, 0, Preprocess())
    student = _module(2)
    fit(student, split, replace(RECIPE, distillation=1.0, augmentation=Augmentation()), 0, Preprocess(), None, teacher)
    same = predict(student, split.x, Preprocess()).argmax(1) == predict(teacher, split.x, Preprocess()).argmax(1)
    assert same.mean() > 0.9


def test_probabilities_and_logits_train_alike():
    """A network that ends in Softmax is trained on the logarithm of its outputs, not on a second softmax."""
    plain = torch.fx.symbolic_trace(_module())
    soft = torch.fx.symbolic_trace(nn.Sequential(*_module().children(), nn.Softmax(1)))
    assert ends_in_softmax(soft)
    assert not ends_in_softmax(plain)
    first = fit(plain, _split(), replace(RECIPE, steps=3), 0, Preprocess()).losses
    assert fit(soft, _split(), replace(RECIPE, steps=3), 0, Preprocess()).losses == pytest.approx(first, rel=1e-4)


def test_copies_show_each_sample_so_often_an_epoch():
    """Of three copies in batches of 40, nine batches hold each of 120 samples three times, in another order."""
    module, seen = _module(), []
    split = replace(_split(), x=np.arange(120, dtype=np.float32)[:, None, None] + np.zeros((120, 3, 12), np.float32))
    module.register_forward_pre_hook(lambda _, given: seen.append(given[0][:, 0, 0].int().tolist()))
    fit(module, split, Recipe(steps=9, batch=40, copies=3, lr=1e-6), 0, Preprocess())
    every = [i for batch in seen for i in batch]
    assert sorted(every) == sorted(list(range(120)) * 3)
    assert sorted(every[:120]) != list(range(120))


def test_a_tenth_from_the_half_on():
    """The published schedule: the rate, a tenth of it from the half on, a hundredth from three quarters on."""
    recipe = Recipe(steps=8, lr=1.0, schedule="tenths")
    assert [learning_rate(recipe, step) for step in range(1, 9)] == [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01]


def test_decay_of_kernels_spares_linear_layers():
    """With a gradient of zero, only the convolution's kernel shrinks."""
    module = _module()
    before = {k: v.clone() for k, v in module.named_parameters()}
    for parameter in module.parameters():
        parameter.register_hook(torch.zeros_like)
    fit(module, _split(), Recipe(steps=5, lr=0.1, weight_decay=0.1, decayed="kernels"), 0, Preprocess())
    changed = {name for name, value in module.named_parameters() if not torch.equal(value, before[name])}
    assert changed == {"0.weight"}


@pytest.mark.parametrize("decayed,shrinks", [
    ("weights", {"0.weight", "2.weight", "6.weight"}), ("kernels", {"0.weight"}),
    ("matrices", {"0.weight", "1.bias", "2.weight", "6.weight"}),
])  # fmt: skip
def test_decay_spares_positions_and_of_kernels_what_is_linear_on_tokens(decayed, shrinks):
    """Position embeddings have two dimensions and are no weights; a 1 x 1 convolution of tokens is a linear layer."""
    module = nn.Sequential(
        nn.Conv1d(3, 8, 3), Bias((8, 10)), nn.Conv1d(8, 8, 1), ChannelNorm(8), nn.AdaptiveAvgPool1d(1), nn.Flatten(),
        nn.Linear(8, 3),
    )  # fmt: skip
    reinitialize(module, 0)
    before = {k: v.clone() for k, v in module.named_parameters()}
    for parameter in module.parameters():
        parameter.register_hook(torch.zeros_like)
    fit(module, _split(), Recipe(steps=2, lr=0.1, weight_decay=0.1, decayed=decayed), 0, Preprocess())
    assert {name for name, value in module.named_parameters() if not torch.equal(value, before[name])} == shrinks


def test_what_needs_no_gradient_stays_with_its_statistics():
    """A frozen convolution and its norm are the same after a training, the running mean included."""
    module = _module()
    module[0].requires_grad_(False)
    module[1].requires_grad_(False)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    fit(module, _split(), RECIPE, 0, Preprocess(), validation=_split(seed=9))
    changed = {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"4.weight", "4.bias"}


def test_weight_decay_spares_biases_and_norms():
    """With a gradient of zero, only tensors of two dimensions and more shrink."""
    module = _module()
    before = {k: v.clone() for k, v in module.named_parameters()}
    for parameter in module.parameters():
        parameter.register_hook(torch.zeros_like)
    fit(module, _split(), Recipe(steps=5, lr=0.1, weight_decay=0.1), 0, Preprocess())
    for name, value in module.named_parameters():
        assert torch.equal(value, before[name]) == (value.ndim == 1), name


def test_recalibration_restores_the_statistics_of_the_data():
    """Spoilt running statistics become the mean and variance of what reaches the norm; weights stay."""
    module, split = _module(), _split()
    module[1].running_mean.fill_(50)
    weights = module[0].weight.clone()
    recalibrate_batch_norm(module, split, Preprocess(), batch=40)
    with torch.no_grad():
        reached = module[0](torch.from_numpy(split.x))
    torch.testing.assert_close(module[1].running_mean, reached.mean((0, 2)))
    torch.testing.assert_close(module[1].running_var, reached.var((0, 2)), rtol=0.05, atol=0.01)
    assert torch.equal(module[0].weight, weights)
    assert module[1].momentum == 0.1


def test_the_schedules_begin_and_end_where_they_should():
    """Cosine falls from the peak towards 0; one-cycle rises first and peaks at 30 %."""
    cosine, cycle = Recipe(steps=100, lr=1.0), Recipe(steps=100, lr=1.0, schedule="one-cycle")
    assert learning_rate(cosine, 1) == 1.0
    assert learning_rate(cosine, 100) < 0.001
    rates = [learning_rate(cycle, step) for step in range(1, 101)]
    assert rates[0] == pytest.approx(0.04)
    assert int(np.argmax(rates)) == 30
    assert rates[-1] < 0.01


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: Recipe(steps=-1, lr=0), "steps -1, lr 0"),
        (lambda: Recipe(steps=1, optimizer="lion"), "optimizer lion"),
        (lambda: fit(_module(), _split(1), RECIPE, 0, Preprocess()), "recovery set has 1 samples"),
        (lambda: fit(_module(), _split(), replace(RECIPE, distillation=0.5), 0, Preprocess()), "needs a teacher"),
        (lambda: fit(nn.ReLU(), _split(), RECIPE, 0, Preprocess()), "no trainable parameters"),
    ],
)
def test_wrong_settings_are_the_users_errors(call, message):
    """Settings out of range are named, all at once."""
    with pytest.raises(UserError, match=message):
        call()


def test_nothing_learned_stays() -> None:
    """Of any module with parameters: two networks that learned different things begin alike."""

    def learned(value: float) -> nn.Module:
        kinds = [nn.Conv1d(2, 2, 3, padding=1), nn.BatchNorm1d(2), nn.PReLU(2), ChannelNorm(2), Bias((2, 8))]
        module = nn.Sequential(*kinds, nn.Flatten(), nn.Linear(16, 2))
        for parameter in module.parameters():
            nn.init.constant_(parameter, value)
        reinitialize(module, 0)
        return module

    first, second = (learned(v).state_dict() for v in (0.5, 0.7))
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
