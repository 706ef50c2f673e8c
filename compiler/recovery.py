"""Training between removals and after the last one. What is removed, and when, is `search.py`'s."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from secateur.models.data import Data
from secateur.models.network import Network
from secateur.models.task import Agreement
from secateur.models.training import Recipe, predict, seen
from secateur.models.zoo.catalogue import augmentation
from secateur.passes.network.recover import Recover

TOLERATED_POINTS = 2.0  # of validation accuracy below the input network's before a removal is followed by training


@dataclass(frozen=True, kw_only=True)
class RecoveryOptions:
    """`recovery`: short (after cuts that harm, and at the end), full (at the end), scratch or none.

    `short_steps`: optimizer steps after each removal; `total_steps`: of the whole run, the rest of them after
    the last removal, so that methods with few and with many removals train equally long.
    """

    recovery: str = "short"
    short_steps: int = 40
    total_steps: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class Ended:
    """What the last recovery came to. `accuracy`: of `network`, float on validation, percent."""

    network: Network
    accuracy: float
    kept: bool  # False: what was trained is worse than what it began with, which is `network`


def recovery_recipe(data: Data, steps: int) -> Recipe:
    """The recipe of recovery: the input network is the teacher (Hinton et al. 2015), rate and share chosen on the
    watch data's validation people. 1,000 steps there: 95.7 % with distillation, 93.6 % (500 steps) without."""
    share = 1.0 if isinstance(data.task, Agreement) else 0.7  # without labels there is nothing but the teacher
    return Recipe(
        steps=steps, lr=0.05, distillation=share, temperature=4.0, augmentation=augmentation(data), task=data.task,
        clip_norm=data.task.clip_norm(),
    )  # fmt: skip


def validation_percent(network: Network, data: Data) -> float:
    """The task's metric of the float network on validation, percent."""
    task, split = data.task, data.validation
    outputs = predict(network.module, split.x, network.preprocess)
    return task.percent(split, task.answers(outputs, seen(split, network.preprocess, task), False))


class Recovery:
    """The training of one search; its teacher is the network that the search began with."""

    def __init__(
        self, original: Network, data: Data, options: RecoveryOptions, recipe: Recipe, tell: Callable[[str], None]
    ) -> None:
        self.original, self.data, self.options, self.recipe, self.tell = original, data, options, recipe, tell
        self._baseline: float | None = None

    def harmed(self, accuracy: float) -> bool:
        """Whether a cut cost so much that it is trained at once.

        One that cost next to nothing is trained after a later one: the steps saved go to the last recovery.
        """
        if self._baseline is None:
            self._baseline = self.accuracy(self.original)
        return accuracy < self._baseline - TOLERATED_POINTS

    def short_steps(self, trained: int) -> int:
        """Steps after a removal when `trained` were taken before; two thirds of all are kept for after the last one."""
        if self.options.recovery in ("none", "scratch", "full"):
            return 0
        left = self.options.total_steps // 3 - trained
        return max(0, min(self.options.short_steps, left))

    def after_cut(self, network: Network, steps: int, number: int) -> Network:
        """The short training after removal `number`, from 1."""
        return self.train(network, steps, number, schedule="constant")

    def last_steps(self, trained: int) -> int:
        """Steps that are left for after the last removal; 0: no training."""
        return 0 if self.options.recovery == "none" else max(0, self.options.total_steps - trained)

    def end(self, network: Network, before: float, steps: int) -> Ended:
        """The training after the last removal, of a network that reaches `before` percent."""
        scratch = self.options.recovery == "scratch"
        trained = self.train(network, steps, 0, schedule="cosine", scratch=scratch)
        after = self.accuracy(trained)
        if after < before and not scratch:  # few steps at a full rate can harm a trained network
            self.tell(
                f"     recovery of {steps} steps ended at {after:.1f} % on validation: the network before it stays"
            )
            return Ended(network, before, False)
        self.tell(f"     recovered with {steps} steps: validation {self.data.task.word} {after:.1f} % (float)")
        return Ended(trained, after, True)

    def train(self, network: Network, steps: int, number: int, schedule: str, scratch: bool = False) -> Network:
        """One training, whose seed is the run's and its `number`; cosine keeps the best state on validation."""
        rate = self.recipe.lr if schedule == "cosine" else self.recipe.lr / 5
        recipe = replace(self.recipe, steps=steps, schedule=schedule, lr=rate)
        return Recover(
            self.data.recovery,
            recipe,
            seed=self.options.seed * 10_007 + number,
            validation=self.data.validation if schedule == "cosine" else None,
            teacher=self.original if recipe.distillation else None,
            scratch=scratch,
        )(network)

    def accuracy(self, network: Network) -> float:
        """See `validation_percent`."""
        return validation_percent(network, self.data)
