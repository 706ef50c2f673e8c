"""Train a network as it will compute in int8."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from secateur.models.data import Split
from secateur.models.fake_quantize import FakeQuantized, Grid
from secateur.models.network import Network
from secateur.models.training import Recipe, fit
from secateur.passes.contract import Pass, same_interface
from secateur.passes.network.recover import same_structure

log = logging.getLogger(__name__)


class QuantizationAware(Pass[Network]):
    """Train on the recovery set with weights and values rounded to int8; the given network stays as it was.

    Grids are measured anew before each look at validation, so that a state is judged on the grids of its own export.

    Args:
        grids: the grids of a network's values by node name, by calibration.
        teacher: the network to follow, in float; used as far as `recipe.distillation` says.
        others: as `Recover` has them.
    """

    ensures = (same_interface, same_structure)

    def __init__(
        self,
        split: Split,
        recipe: Recipe,
        seed: int,
        grids: Callable[[Network], Mapping[str, Grid]],
        validation: Split | None = None,
        teacher: Network | None = None,
    ) -> None:
        self.split, self.recipe, self.seed, self.grids = split, recipe, seed, grids
        self.validation, self.teacher = validation, teacher

    def run(self, model: Network) -> Network:
        trained = model.clone()
        trained.module.requires_grad_(True)
        module = FakeQuantized(trained.module, self.grids(trained))
        looks = self.recipe.evaluations
        marks = {round(self.recipe.steps * (i + 1) / looks) for i in range(looks)}

        def regrid(step: int, loss: float) -> None:
            if step in marks:
                module.grids = dict(self.grids(trained))

        teacher = self.teacher.clone().module if self.teacher and self.recipe.distillation else None
        found = fit(
            module, self.split, self.recipe, self.seed, trained.preprocess, self.validation, teacher, on_step=regrid
        )
        log.info("%s: loss %.4f, state of step %d", self.name, found.losses[-1], found.best_step)
        trained.module.eval()
        return trained
