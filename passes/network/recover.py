"""Train a network after a cut."""

from __future__ import annotations

import logging

import numpy as np

from secateur.models.data import Split
from secateur.models.network import Network
from secateur.models.training import Recipe, TrainingLog, fit, recalibrate_batch_norm, reinitialize
from secateur.passes.contract import Pass, same_interface
from secateur.passes.network.low_rank import adapt, merged_state
from secateur.passes.network.selective import freeze_others

log = logging.getLogger(__name__)


def step_seed(seed: int, step: int) -> int:
    """The seed of one step of a search: a function of both numbers, unrelated between neighbours."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def same_structure(before: Network, after: Network) -> None:
    """Training changes values, never the graph or a shape."""
    assert before.module.code == after.module.code, "training changed the graph"
    was = {name: value.shape for name, value in before.module.state_dict().items()}
    now = {name: value.shape for name, value in after.module.state_dict().items()}
    assert was == now, f"training changed the shapes of {sorted(k for k in was if was[k] != now.get(k))}"


class Recover(Pass[Network]):
    """Train on the recovery set by a recipe; the given network stays as it was.

    Args:
        split: the recovery set, raw samples.
        recipe: its `steps` is the length; 0 steps and no `recalibrate` changes nothing.
        seed: of the order, the augmentation and, from scratch, the initial weights (see `step_seed`).
        validation: if given, the best state on it is kept, the last otherwise.
        teacher: the network to follow; used as far as `recipe.distillation` says.
        scratch: forget all weights first: the control that asks what the architecture alone is worth.
        recalibrate: measure the batch norms' statistics anew first, in one pass over the set, without a step.
        only: names of the modules that are trained, None: all; the others stay, statistics of norms included.
        rank: train adapters of this rank in the place of weights (`low_rank.py`), 0: none; other parameters stay, but
            those of a layer for which an adapter is too large.

    After a call, `log` holds what the training did.
    """

    ensures = (same_interface, same_structure)

    def __init__(
        self,
        split: Split,
        recipe: Recipe,
        seed: int,
        validation: Split | None = None,
        teacher: Network | None = None,
        scratch: bool = False,
        recalibrate: bool = False,
        only: frozenset[str] | None = None,
        rank: int = 0,
    ) -> None:
        self.split, self.recipe, self.seed = split, recipe, seed
        self.validation, self.teacher = validation, teacher
        self.scratch, self.recalibrate = scratch, recalibrate
        self.only, self.rank = only, rank
        self.log: TrainingLog | None = None

    @property
    def name(self) -> str:
        return f"recover {self.recipe.steps} steps" + (" from scratch" if self.scratch else "")

    def run(self, model: Network) -> Network:
        trained = model.clone()
        trained.module.requires_grad_(True)
        if self.scratch:
            reinitialize(trained.module, self.seed)
        if self.recalibrate:
            recalibrate_batch_norm(trained.module, self.split, trained.preprocess)
        self.log = None
        if self.only is not None:
            freeze_others(trained.module, self.only)
        if self.rank:
            adapt(trained.module, self.only, self.rank, self.seed)
        if self.recipe.steps:
            teacher = self.teacher.clone().module if self.teacher and self.recipe.distillation else None
            self.log = fit(
                trained.module,
                self.split,
                self.recipe,
                self.seed,
                trained.preprocess,
                validation=self.validation,
                teacher=teacher,
            )
            log.info("%s: loss %.4f, state of step %d", self.name, self.log.losses[-1], self.log.best_step)
        if self.rank:  # into a copy: a module that was adapted and merged has its parameters in another order
            state = merged_state(trained.module)
            trained = model.clone()
            trained.module.load_state_dict(state)
        trained.module.requires_grad_(True)
        trained.module.eval()
        return trained
