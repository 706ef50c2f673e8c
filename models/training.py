"""One deterministic training loop, for the zoo's weights and for recovery between cuts.

Length is counted in optimizer steps, so that methods can be compared at equal training.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx, nn

from secateur.errors import UserError
from secateur.models.augment import NONE, Augmentation
from secateur.models.critical_period import LEAST_LOOKS, CriticalPeriod, Rule
from secateur.models.data import Split
from secateur.models.fake_quantize import FakeQuantized
from secateur.models.preprocess import Preprocess
from secateur.models.task import CLASSIFICATION, Task
from secateur.models.tokens import Attention, Bias, ChannelNorm, Tokens

log = logging.getLogger(__name__)

EVALUATION_BATCH = 256


LEAST_MOMENTUM = 0.1
"""Of batch norm while it is trained. Keras' default, 0.01 in PyTorch's terms, needs hundreds of steps to follow weights
that a short recovery changes."""


@dataclass(frozen=True)
class Recipe:
    """How to train. `steps` of `batch` samples; `lr` is the peak of the schedule."""

    steps: int
    batch: int = 64
    lr: float = 0.05
    optimizer: str = "sgd"
    """`sgd` (Nesterov, momentum 0.9) or `adamw`."""
    schedule: str = "cosine"
    """`cosine` (peak to 0), `one-cycle` (30 % linear rise from a 25th, then cosine to 0), `constant`, or `tenths`
    (a tenth from the half on, a hundredth from three quarters on)."""
    weight_decay: float = 1e-4
    """On weights only: biases, normalization parameters and position embeddings are left alone."""
    decayed: str = "weights"
    """`weights` of convolutions and linear layers; `kernels`: of convolutions only, a linear layer on tokens is none;
    `matrices`: whatever has two dimensions or more, position embeddings too."""
    copies: int = 1
    """How often an epoch shows each sample, augmented anew each time."""
    critical_period: Rule = "never"
    """When augmentation and copies stop for good; the steps that the other copies would have taken are left out."""
    label_smoothing: float = 0.0
    augmentation: Augmentation = NONE
    clip_norm: float = 0.0
    """Gradients are scaled down to this Euclidean norm; 0: never."""
    distillation: float = 0.0
    """Share of the loss that follows the teacher, 0 to 1 (Hinton, Vinyals, Dean 2015, section 2)."""
    temperature: float = 2.0
    evaluations: int = 10
    """How often validation is measured, when it is given."""
    task: Task = CLASSIFICATION
    """What the outputs are for: the loss, and what a better state is."""

    def __post_init__(self) -> None:
        wrong = [
            f"{name} {value}"
            for name, value, good in (
                ("steps", self.steps, self.steps >= 0),
                ("batch", self.batch, self.batch >= 2),
                ("lr", self.lr, self.lr > 0),
                ("optimizer", self.optimizer, self.optimizer in ("sgd", "adamw")),
                ("schedule", self.schedule, self.schedule in ("cosine", "one-cycle", "constant", "tenths")),
                ("decayed", self.decayed, self.decayed in ("weights", "kernels", "matrices")),
                ("copies", self.copies, self.copies >= 1),
                ("critical_period", self.critical_period, self.critical_period in ("never", "angle", "relative")),
                ("distillation", self.distillation, 0 <= self.distillation <= 1),
                ("temperature", self.temperature, self.temperature > 0),
                ("evaluations", self.evaluations, self.evaluations >= 1),
            )
            if not good
        ]
        if wrong:
            raise UserError(f"recipe: out of range: {', '.join(wrong)}")


@dataclass(frozen=True)
class TrainingLog:
    """What a training did. `losses`: one a step.

    `steps`: that were taken; `critical_step`: the one after which augmentation stopped, None if it did not.
    `validation`: (step, the task's metric, 1 is best), empty without validation.
    """

    steps: int
    samples: int
    losses: tuple[float, ...]
    validation: tuple[tuple[int, float], ...]
    best_step: int
    """The step whose state the module now holds."""
    critical_step: int | None = None


def fit(
    module: nn.Module,
    split: Split,
    recipe: Recipe,
    seed: int,
    preprocess: Preprocess,
    validation: Split | None = None,
    teacher: nn.Module | None = None,
    on_step: Callable[[int, float], None] | None = None,
) -> TrainingLog:
    """Train `module` in place on `split` (raw samples); with `validation`, end with the best state on it.

    The same arguments, library versions and thread count give the same bytes; no global random state is read
    or changed. A state is better by the task's metric, then by loss. `on_step(step, loss)` is called after each step.
    Parameters that need no gradient stay, and so do the statistics of norms whose weights do. The module is left in
    eval mode.
    """
    if len(split) < 2:
        raise UserError(f"training: the recovery set has {len(split)} samples; two at least are needed")
    if recipe.distillation and teacher is None:
        raise UserError(f"training: distillation {recipe.distillation} needs a teacher")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # for modules that draw themselves, such as dropout
        return _Trainer(module, split, recipe, seed, preprocess, validation, teacher).run(on_step)


class _Trainer:
    def __init__(
        self,
        module: nn.Module,
        split: Split,
        recipe: Recipe,
        seed: int,
        preprocess: Preprocess,
        validation: Split | None,
        teacher: nn.Module | None,
    ) -> None:
        self.module, self.recipe, self.preprocess = module, recipe, preprocess
        self.validation = validation
        self.teacher = teacher if recipe.distillation else None
        self.x = torch.from_numpy(np.ascontiguousarray(split.x, dtype=np.float32))
        self.y = recipe.task.truth(split.y)
        self.generator = torch.Generator().manual_seed(seed)
        self.order = torch.empty(0, dtype=torch.long)
        self.optimizer = _optimizer(module, recipe)
        self.normalized = ends_in_probabilities(module)
        self.norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
        self.momenta = [m.momentum for m in self.norms]
        self.frozen = [m for m in self.norms if m.weight is not None and not m.weight.requires_grad]
        self.augmentation, self.copies = recipe.augmentation, recipe.copies

    def run(self, on_step: Callable[[int, float], None] | None) -> TrainingLog:
        recipe = self.recipe
        losses: list[float] = []
        seen: list[tuple[int, float]] = []
        best: tuple[float, float] | None = None
        best_step, best_state = 0, None
        marks = {round(recipe.steps * (i + 1) / recipe.evaluations) for i in range(recipe.evaluations)}
        if self.teacher is not None:
            self.teacher.eval()
        for norm in self.norms:
            if norm.momentum is not None:
                norm.momentum = max(norm.momentum, LEAST_MOMENTUM)
        self._train_mode()
        step, done, critical_step = 0, 0, None  # `done`: of the recipe's steps, those left out are among them
        watch, looks = self._critical_period()
        while done < recipe.steps:
            step, before = step + 1, done
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(recipe, done + 1)
            losses.append(self._step())
            done = min(recipe.steps, done + (1 if critical_step is None else recipe.copies))
            if watch is not None and done in looks and watch.over():
                log.info("step %d: the critical period is over", step)
                watch, critical_step = None, step
                self.augmentation, self.copies, self.order = NONE, 1, self.order[:0]
            if on_step is not None:
                on_step(step, losses[-1])
            if self.validation is not None and any(before < mark <= done for mark in marks):
                metric, loss = _measure(self.module, self.validation, self.preprocess, recipe.task)
                log.debug("step %d: validation %.4f, loss %.4f", step, metric, loss)
                seen.append((step, metric))
                if best is None or (metric, -loss) > best:
                    best, best_step = (metric, -loss), step
                    best_state = copy.deepcopy(self.module.state_dict())
                self._train_mode()
        if best_state is not None:
            self.module.load_state_dict(best_state)
        for norm, momentum in zip(self.norms, self.momenta, strict=True):
            norm.momentum = momentum
        self.module.eval()
        best_step = step if best_state is None else best_step
        samples = step * self._batch_size
        return TrainingLog(step, samples, tuple(losses), tuple(seen), best_step, critical_step)

    def _train_mode(self) -> None:
        self.module.train()
        for norm in self.frozen:
            norm.eval()

    def _critical_period(self) -> tuple[CriticalPeriod | None, frozenset[int]]:
        """What watches the training, and the steps after which it looks."""
        recipe = self.recipe
        if recipe.critical_period == "never":
            return None, frozenset()
        epochs = recipe.steps * self._batch_size // (recipe.copies * len(self.x))
        looks = min(recipe.steps, max(LEAST_LOOKS, epochs))
        at = frozenset(round(recipe.steps * (i + 1) / looks) for i in range(looks))
        return CriticalPeriod(self.module, recipe.critical_period, looks), at

    @property
    def _batch_size(self) -> int:
        return min(self.recipe.batch, len(self.x))

    def _next(self) -> Tensor:
        """Indices of the next batch. A short tail is dropped: batch norm cannot take a batch of one."""
        size = self._batch_size
        if len(self.order) < size:
            self.order = torch.randperm(self.copies * len(self.x), generator=self.generator) % len(self.x)
        now, self.order = self.order[:size], self.order[size:]
        return now

    def _step(self) -> float:
        recipe = self.recipe
        index = self._next()
        x = self.augmentation.geometry(self.x[index], self.generator)
        x = torch.from_numpy(self.preprocess(x.numpy()))
        noisy = self.augmentation.noise(x, self.generator)
        self.optimizer.zero_grad(set_to_none=True)
        output = self.module(noisy)
        loss = recipe.task.loss(output, self.y[index], x, self.normalized, recipe.label_smoothing)
        if self.teacher is not None:
            with torch.no_grad():
                goal = self.teacher(noisy)
            normalized = self.normalized, ends_in_probabilities(self.teacher)
            follow = recipe.task.follow(output, goal, normalized, recipe.temperature)
            loss = (1 - recipe.distillation) * loss + recipe.distillation * follow
        loss.backward()  # type: ignore[no-untyped-call]
        if recipe.clip_norm:
            nn.utils.clip_grad_norm_(self.module.parameters(), recipe.clip_norm)
        self.optimizer.step()
        return float(loss.detach())


def learning_rate(recipe: Recipe, step: int) -> float:
    """Rate of step 1 .. steps."""
    if recipe.schedule == "constant":
        return recipe.lr
    done = (step - 1) / max(recipe.steps, 1)
    if recipe.schedule == "tenths":
        return recipe.lr * (1 if done < 0.5 else 0.1 if done < 0.75 else 0.01)
    if recipe.schedule == "one-cycle":
        rise = 0.3
        if done < rise:
            return recipe.lr * (0.04 + 0.96 * done / rise)
        done = (done - rise) / (1 - rise)
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * done))


def predict(module: nn.Module, x: npt.NDArray[np.float32], preprocess: Preprocess) -> npt.NDArray[np.float32]:
    """Outputs (n, classes) of the module in eval mode for raw samples; its mode is put back afterwards."""
    was = module.training
    module.eval()
    parts = []
    with torch.no_grad():
        for start in range(0, len(x), EVALUATION_BATCH):
            parts.append(module(torch.from_numpy(preprocess(x[start : start + EVALUATION_BATCH]))).numpy())
    module.train(was)
    return np.concatenate(parts) if parts else np.empty((0, 0), dtype=np.float32)


def seen(split: Split, preprocess: Preprocess, task: Task) -> npt.NDArray[np.float32]:
    """What the network was given, (n, inputs); without columns where the task does not look."""
    if not task.reconstructs:
        return np.empty((len(split), 0), np.float32)
    return preprocess(split.x).reshape(len(split), -1)


def recalibrate_batch_norm(module: nn.Module, split: Split, preprocess: Preprocess, batch: int = 256) -> None:
    """Replace the running mean and variance of every batch norm by the plain average over `split`, in order.

    Weights stay. For use after a cut, when statistics belong to a network that is gone. In place.
    """
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    if not norms:
        return
    momenta = [m.momentum for m in norms]
    mode = module.training
    module.eval()  # only the norms learn: a dropout must stay off
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # PyTorch: cumulative average
        norm.train()
    with torch.no_grad():
        # Equal batches, so that the average over batches is the average over samples.
        for part in np.array_split(np.arange(len(split)), max(1, round(len(split) / batch))):
            module(torch.from_numpy(preprocess(split.x[part])))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    module.train(mode)


def reinitialize(module: nn.Module, seed: int) -> None:
    """He-normal convolutions, uniform linear layers, identity norms, small positions, PReLU at 0.25. In place.

    Nothing learned stays.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for part in module.modules():
            if isinstance(part, nn.Conv1d | nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
                if part.bias is not None:
                    nn.init.zeros_(part.bias)
            elif isinstance(part, nn.Linear | nn.BatchNorm1d | nn.BatchNorm2d):
                part.reset_parameters()
            elif isinstance(part, ChannelNorm):
                nn.init.ones_(part.weight)
                nn.init.zeros_(part.bias)
            elif isinstance(part, Bias):
                nn.init.normal_(part.bias, std=0.02)
            elif isinstance(part, nn.PReLU):
                nn.init.constant_(part.weight, 0.25)


def ends_in_softmax(module: nn.Module) -> bool:
    """Whether the outputs are probabilities of one class each. Known for fx graphs; any other module gives logits."""
    return ends_in(module, nn.Softmax)


def ends_in_probabilities(module: nn.Module) -> bool:
    """Whether the outputs are a softmax's, or a logistic function's."""
    return ends_in(module, nn.Softmax, nn.Sigmoid)


def ends_in(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Whether a module of `kinds` makes the outputs of an fx graph."""
    if isinstance(module, FakeQuantized):
        module = module.network
    if not isinstance(module, fx.GraphModule):
        return False
    output = next(n for n in module.graph.nodes if n.op == "output").args[0]
    if not isinstance(output, fx.Node) or output.op != "call_module":
        return False
    return isinstance(module.get_submodule(str(output.target)), kinds)


def _measure(module: nn.Module, split: Split, preprocess: Preprocess, task: Task) -> tuple[float, float]:
    outputs, x = predict(module, split.x, preprocess), seen(split, preprocess, task)
    metric = task.percent(split, task.answers(outputs, x, ends_in(module, nn.Sigmoid))) / 100
    normalized = ends_in_probabilities(module)
    loss = task.loss(torch.from_numpy(outputs), task.truth(split.y), torch.from_numpy(x), normalized)
    return metric, float(loss)


def _spared(module: nn.Module, decayed: str) -> set[int]:
    """Ids of the parameters that decay passes by although they have its dimensions: positions, linear on tokens."""
    if decayed == "matrices":
        return set()
    modules = list(module.modules())
    spared = {id(m.bias) for m in modules if isinstance(m, Bias)}
    if decayed == "kernels" and any(isinstance(m, Attention | Bias | Tokens) for m in modules):
        spared |= {id(m.weight) for m in modules if isinstance(m, nn.Conv1d) and m.kernel_size == (1,)}
    return spared


def _optimizer(module: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    parameters = [p for p in module.parameters() if p.requires_grad]
    if not parameters:
        raise UserError("training: the network has no trainable parameters")
    least = 3 if recipe.decayed == "kernels" else 2
    spared = _spared(module, recipe.decayed)
    takes = [p.ndim >= least and id(p) not in spared for p in parameters]
    groups = [
        {"params": [p for p, taken in zip(parameters, takes, strict=True) if taken == whether], "weight_decay": decay}
        for whether, decay in ((True, recipe.weight_decay), (False, 0.0))
    ]
    # foreach and fused variants sum in another order; one plain loop gives the same bytes everywhere.
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr, foreach=False)
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=0.9, nesterov=True, foreach=False)
