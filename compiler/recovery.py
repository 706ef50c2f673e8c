"""Training between removals and after the last one. What is removed, and when, is `search.py`'s."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import nn
from torch.nn.utils import parametrize

from secateur.compiler.export.post_training import CALIBRATIONS
from secateur.compiler.options import SEEDS
from secateur.compiler.report.words import plural
from secateur.errors import UserError
from secateur.models.augment import NONE
from secateur.models.critical_period import Rule
from secateur.models.data import Data, Split
from secateur.models.network import Network
from secateur.models.task import Agreement
from secateur.models.training import Recipe, TrainingLog, ends_in, predict, seen
from secateur.models.zoo.catalogue import augmentation
from secateur.passes.network.low_rank import adapt, adaptable
from secateur.passes.network.reconstruct import Reconstruct
from secateur.passes.network.recover import Recover
from secateur.passes.network.removal import Removal
from secateur.passes.network.selective import Chosen, Work, choose_layers, training_work

TOLERATED_POINTS = 2.0  # of validation accuracy below the input network's before a removal is followed by training


MODES = ("short", "full", "published", "scratch", "best", "bn", "none")
SHARE = 0.7
"""Of the loss that follows the input network, in recovery that is not the published one."""
USUAL_STEPS = 1000
CLIP_NORM = 1.0  # of gradients, where no batch norm bounds them
TRAINED_CLIP_NORM = 2.0
"""Of gradients of weights that are trained already: following a sure teacher they can be so large that the first steps
throw away what there is. ResNet-20 on CIFAR-10, cut to half: 100 steps take 71.6 % of validation to 32.7 % without."""
_WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Linear)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
EPOCHS, COPIES, BATCH = 200, 3, 128
"""Of the published recipe."""


@dataclass(frozen=True, kw_only=True)
class RecoveryOptions:
    """How a network is trained between and after removals; `recovery` is one of `MODES` (docs/recovery.md).

    `short_steps`: optimizer steps after each removal; `total_steps`: of the whole run, the rest of them after
    the last removal, so that methods with few and with many removals train equally long; None: 1,000, of the
    published recovery its 200 epochs. `distillation`: share of the loss that follows the input network, None: 0.7, of
    the published recovery 0. `recalibrate`: batch norms' statistics are measured anew after each removal. `train_only`:
    share of the layers that is trained, those that change most what goes through them. `low_rank`: rank of the
    adapters that are trained in the place of weights, 0: the weights are. `critical_period`: augmentation stops, and
    the steps of copies with it, when the weights turn slowly. `quantization_aware`: auto (where int8 loses more than
    half a point of float), on or off. `reconstruct`: what a removal leaves is fitted to the values before it; auto
    (with short, full and best), on or off. `calibration`: how int8 is found, one of `CALIBRATIONS`.

    Raises UserError where a value is unknown or out of range, or would have no say.
    """

    recovery: str = "short"
    short_steps: int = 40
    total_steps: int | None = None
    seed: int = 0
    distillation: float | None = None
    recalibrate: bool = False
    train_only: float = 1.0
    low_rank: int = 0
    critical_period: bool = False
    quantization_aware: str = "auto"
    reconstruct: str = "auto"
    calibration: str = "minmax"

    def __post_init__(self) -> None:
        if self.recovery not in MODES:
            raise UserError(f"--recovery {self.recovery}: unknown; one of {', '.join(MODES)}")
        if self.distillation is not None and not 0 <= self.distillation <= 1:
            raise UserError(f"--distill {self.distillation:g}: a share of the loss, 0 to 1")
        if not 0 < self.train_only <= 1:
            raise UserError(f"--train-only {self.train_only:g}: a share of the layers, above 0 and at most 1")
        if self.quantization_aware not in ("auto", "on", "off"):
            raise UserError(f"--quantization-aware {self.quantization_aware}: unknown; one of auto, on, off")
        if self.reconstruct not in ("auto", "on", "off"):
            raise UserError(f"--reconstruct {self.reconstruct}: unknown; one of auto, on, off")
        if self.calibration not in CALIBRATIONS:
            raise UserError(f"--calibration {self.calibration}: unknown; one of {', '.join(CALIBRATIONS)}")
        if self.low_rank < 0:
            raise UserError(f"--low-rank {self.low_rank}: a rank, 1 or more; 0 for none")
        if not 0 <= self.seed < SEEDS:
            raise UserError(f"--seed {self.seed}: 0 to {SEEDS - 1:,}")
        if self.total_steps is not None and self.total_steps < 0:
            raise UserError(f"--steps {self.total_steps}: at least 0")
        if not self.trains or self.total_steps == 0:
            why = "--steps 0 trains nothing" if self.trains else f"--recovery {self.recovery} trains nothing"
            self._no_say(why, train_only=self._share, low_rank=self.low_rank, critical_period=self.critical_period)
            if self.quantization_aware != "on":  # which takes a share of the steps, and the teacher
                self._no_say(why, distill=self.distillation)
                self._no_say(why, steps=self.total_steps or None)
        if self.total_steps == 0 and self.recovery in ("scratch", "best"):
            raise UserError(f"--recovery {self.recovery}: --steps 0 trains nothing; leave one of the two out")
        if self.recovery == "bn":
            self._no_say("--recovery bn measures batch norms anew as it is", recalibrate=self.recalibrate)
        if self.recovery == "scratch":
            self._no_say("--recovery scratch begins without weights", train_only=self._share, low_rank=self.low_rank)
            if self.reconstruct == "on":
                raise UserError("--reconstruct on: --recovery scratch begins without weights; leave one of the two out")

    def _no_say(self, why: str, **given: float | None) -> None:
        for name, value in given.items():
            if value is not None and (value or name == "distill"):
                option = f"--{name.replace('_', '-')}" + ("" if value is True else f" {value:g}")
                raise UserError(f"{option}: {why}; leave one of the two out")

    @property
    def _share(self) -> float | None:
        return None if self.train_only == 1 else self.train_only

    @property
    def trains(self) -> bool:
        """Whether there is any training."""
        return self.recovery not in ("bn", "none")

    @property
    def reconstructs(self) -> bool:
        """Whether what a removal leaves is fitted. Published recovery is as published."""
        return self.reconstruct == "on" or (self.reconstruct == "auto" and self.recovery in ("short", "full", "best"))


@dataclass(frozen=True)
class Training:
    """One of several ways of training that were tried, and what it reached on validation, `percent` of the metric.

    `steps`: optimizer steps in all; `said`: one sentence more.
    """

    name: str
    program: Literal["float", "int8"]
    steps: int
    percent: float
    kept: bool
    said: str = ""


@dataclass(frozen=True)
class Ended:
    """What the last recovery came to. `accuracy`: of `network`, float on validation, percent; `steps`: taken in all.

    `own`: those of `steps` that `network` was trained with; `anew`: from weights without training, so that no earlier
    step is in it.
    """

    network: Network
    accuracy: float
    kept: bool  # False: what was trained is worse than what it began with, which is `network`
    steps: int
    own: int
    anew: bool = False
    trainings: tuple[Training, ...] = ()


def total_steps(options: RecoveryOptions, data: Data) -> int:
    """Optimizer steps of a run: those asked for, else 1,000, or the published length."""
    if options.total_steps is not None:
        return options.total_steps
    if options.recovery != "published":
        return USUAL_STEPS
    size = len(data.recovery)
    return EPOCHS * COPIES * size // max(1, min(BATCH, size))


def recovery_recipe(network: Network, data: Data, steps: int, options: RecoveryOptions = RecoveryOptions()) -> Recipe:
    """The recipe of recovery.

    The input network is the teacher (Hinton et al. 2015), rate and share chosen on the watch data's validation people.
    1,000 steps there: 95.7 % with distillation, 93.6 % (500 steps) without. Published: of Jordao's group
    (docs/recovery.md); theirs penalizes kernels by 1e-4 sum(w^2), whose gradient is a decay of 2e-4.
    """
    share = options.distillation
    if isinstance(data.task, Agreement):
        share = 1.0  # without labels there is nothing but the teacher
    elif share is None:
        share = 0.0 if options.recovery == "published" else SHARE
    clip = CLIP_NORM if _unscaled(network) else data.task.clip_norm()
    usual = Recipe(
        steps=steps, lr=0.05, distillation=share, temperature=4.0, augmentation=augmentation(data), task=data.task,
        clip_norm=clip or TRAINED_CLIP_NORM,
    )  # fmt: skip
    if options.recovery != "published":
        return usual
    return replace(
        usual, lr=0.01, batch=BATCH, schedule="tenths", weight_decay=2e-4, decayed="kernels", copies=COPIES,
        clip_norm=clip,
    )  # fmt: skip


def from_scratch(recipe: Recipe) -> Recipe:
    """The same for weights that are drawn anew, which have nothing to lose and learn less with small steps."""
    return replace(recipe, clip_norm=0.0) if recipe.clip_norm == TRAINED_CLIP_NORM else recipe


def _unscaled(network: Network) -> bool:
    """Whether more than the classifier has no batch norm behind it.

    Then gradients grow with the weights, and a rate chosen on networks with batch norms can throw one far off: ONNX
    files, whose norms are folded, and transformers.
    """
    modules = dict(network.module.named_modules())
    called = {n: modules[str(n.target)] for n in network.graph.nodes if n.op == "call_module"}
    weighted = [n for n, module in called.items() if isinstance(module, _WEIGHTED)]
    return sum(not any(isinstance(called.get(user), _NORMS) for user in n.users) for n in weighted) > 1


def check_recovery(network: Network, data: Data, options: RecoveryOptions) -> None:
    """Raise UserError for options that mean nothing for this network or data."""
    if isinstance(data.task, Agreement) and options.distillation not in (None, 1.0):
        raise UserError(
            f"--distill {options.distillation:g}: {data.name} has no labels, so the input network is all that there is "
            "to follow; leave it out"
        )
    if options.low_rank and not any(adaptable(m) for m in network.module.modules()):
        raise UserError(
            f"--low-rank {options.low_rank}: {network.name} has no linear layer and no 1 x 1 convolution; leave it out"
        )
    chosen = _chosen(network, data, options) if options.train_only < 1 else None  # it raises what it would raise later
    if chosen is not None and len(chosen.layers) == 1:
        raise UserError(
            f"--low-rank {options.low_rank}: only the last layer of {network.name} takes an adapter, so --train-only "
            "has nothing to choose from; leave one of the two out"
        )
    recipe = recovery_recipe(network, data, 0, options)
    if options.critical_period and recipe.augmentation == NONE and recipe.copies == 1:
        raise UserError(
            f"--critical-period: {data.name} has no augmentation and --recovery {options.recovery} takes one copy an "
            "epoch, so there is nothing to stop; leave it out, or take --recovery published"
        )
    asked = "--recovery bn" if options.recovery == "bn" else "--recalibrate" if options.recalibrate else ""
    if asked and not any(isinstance(m, _NORMS) for m in network.module.modules()):
        raise UserError(f"{asked}: {network.name} has no batch norm whose statistics could be measured; leave it out")


def _chosen(network: Network, data: Data, options: RecoveryOptions) -> Chosen:
    """The layers that are trained of `network`, where not all are."""
    return choose_layers(network, options.train_only, data.recovery, options.seed, options.low_rank > 0)


def validation_percent(network: Network, data: Data) -> float:
    """The task's metric of the float network on validation, percent."""
    task, split = data.task, data.validation
    outputs, x = predict(network.module, split.x, network.preprocess), seen(split, network.preprocess, task)
    return task.percent(split, task.answers(outputs, x, ends_in(network.module, nn.Sigmoid)))


class Recovery:
    """The training of one search; its teacher is the network that the search began with."""

    def __init__(
        self, original: Network, data: Data, options: RecoveryOptions, recipe: Recipe, tell: Callable[[str], None]
    ) -> None:
        self.original, self.data, self.options, self.recipe, self.tell = original, data, options, recipe, tell
        self.total_steps = total_steps(options, data)
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
        if self.options.recovery not in ("short", "best"):
            return 0
        left = self.total_steps // 3 - trained
        return max(0, min(self.options.short_steps, left))

    def reconstructed(
        self, whole: Network, removals: Sequence[Removal], floor: int, cut: Network, accuracy: float
    ) -> tuple[Network, float]:
        """What `removals` made of `whole`, fitted to its values, where that is wanted and validation does not fall.

        `accuracy`: of `cut`, percent; that of what is returned comes with it.
        """
        if not self.options.reconstructs:
            return cut, accuracy
        fitted = Reconstruct(whole, removals, self.data.recovery, floor, self.options.seed)(cut)
        after = self.accuracy(fitted)
        return (fitted, after) if after >= accuracy else (cut, accuracy)

    def remeasured(self, network: Network, accuracy: float) -> tuple[Network, float]:
        """With batch norms' statistics measured anew, where that is asked for and validation does not fall by it.

        `accuracy`: the network's, percent; that of what is returned comes with it.
        """
        if self.options.recovery != "bn" and not self.options.recalibrate:
            return network, accuracy
        again = Recover(self.data.recovery, replace(self.recipe, steps=0), seed=0, recalibrate=True)(network)
        after = self.accuracy(again)
        return (again, after) if after >= accuracy else (network, accuracy)

    def after_cut(self, network: Network, steps: int, number: int) -> Network:
        """The short training after removal `number`, from 1."""
        return self.train(network, replace(self.recipe, schedule="constant", lr=self.recipe.lr / 5), steps, number)

    def last_steps(self, trained: int) -> int:
        """Steps that are left for after the last removal; 0: no training."""
        return max(0, self.total_steps - trained) if self.options.trains else 0

    def end(self, network: Network, before: float, steps: int) -> Ended:
        """The training after the last removal, of a network that reaches `before` percent."""
        if self.options.recovery != "best":
            return self._once(network, before, steps, self.options.recovery == "scratch")
        recovered = self._once(network, before, steps, scratch=False)
        scratch = self._once(network, before, self.total_steps, scratch=True)
        return self._better(recovered, scratch, self.total_steps - steps)

    def _better(self, recovered: Ended, scratch: Ended, earlier: int) -> Ended:
        """The better of two on validation; of equals the recovered one, which was trained `earlier` steps before."""
        won = scratch if scratch.accuracy > recovered.accuracy else recovered
        word, both = self.data.task.word, (earlier + recovered.steps, scratch.steps)
        after = f"{both[0]} steps each" if both[0] == both[1] else f"{both[0]} and {both[1]} steps"
        self.tell(
            f"     validation {word} after {after}: recovered {recovered.accuracy:.1f} %, from scratch "
            f"{scratch.accuracy:.1f} %; {'from scratch' if won is scratch else 'the recovered network'} is kept"
        )
        trainings = tuple(
            Training(name, "float", steps, ended.accuracy, ended is won)
            for name, steps, ended in zip(("recovered", "from scratch"), both, (recovered, scratch), strict=True)
        )
        return replace(won, steps=recovered.steps + scratch.steps, trainings=trainings)

    def _once(self, network: Network, before: float, steps: int, scratch: bool) -> Ended:
        anew = scratch or before == -math.inf  # what is untrained has no percentage: it begins where scratch does
        rule: Rule = "never"
        if self.options.critical_period:
            rule = "angle" if anew else "relative"
        recipe = from_scratch(self.recipe) if anew else self.recipe
        trained, taken = self._trained(network, recipe, steps, 0, self.data.validation, scratch, rule)
        after = self.accuracy(trained)
        if after < before and not scratch:  # few steps at a full rate can harm a trained network
            self.tell(
                f"     recovery of {taken} steps ended at {after:.1f} % on validation: the network before it stays"
            )
            return Ended(network, before, False, taken, 0)
        how = "trained from scratch" if scratch else "trained" if anew else "recovered"
        self.tell(f"     {how} with {taken} steps: validation {self.data.task.word} {after:.1f} % (float)")
        return Ended(trained, after, True, taken, taken, anew)

    def train(self, network: Network, recipe: Recipe, steps: int, number: int) -> Network:
        """One training, whose seed is the run's and its `number`."""
        return self._trained(network, recipe, steps, number)[0]

    def _trained(
        self,
        network: Network,
        recipe: Recipe,
        steps: int,
        number: int,
        validation: Split | None = None,
        scratch: bool = False,
        rule: Rule = "never",
    ) -> tuple[Network, int]:
        """The same, with the steps it took; with `validation`, the last one, whose best state on it is kept."""
        chosen = None
        if self.options.train_only < 1 and not scratch:
            chosen = _chosen(network, self.data, self.options)
        rank = 0 if scratch else self.options.low_rank
        if validation is not None and (chosen is not None or rank):
            self._tell_share(network, chosen, rank)
        train = Recover(
            self.data.recovery,
            replace(recipe, steps=steps, critical_period=rule),
            seed=self.options.seed * 10_007 + number,
            validation=validation,
            teacher=self.original if recipe.distillation else None,
            scratch=scratch,
            only=None if chosen is None else chosen.modules,
            rank=rank,
        )
        trained = train(network)
        taken = 0 if train.log is None else train.log.steps
        if rule != "never" and train.log is not None:
            self.tell(_period_text(train.log, steps))
        return trained, taken

    def _tell_share(self, network: Network, chosen: Chosen | None, rank: int) -> None:
        """What a training leaves out, counted."""
        only = None if chosen is None else chosen.modules
        whole, work = training_work(network), training_work(network, only)
        what = "all layers" if chosen is None else f"{len(chosen.layers)} of {chosen.of} layers"
        if rank:
            adapted = {
                name for name, m in network.module.named_modules() if adaptable(m) and (only is None or name in only)
            }
            module = network.clone().module
            work = Work(training_work(network, adapted).backward_macs, adapt(module, only, rank, seed=0))
            real = sum(parametrize.is_parametrized(part, "weight") for part in module.modules())
            plain = len(adapted) - real
            small = f" and the weights of {plain}, which are no more," if plain else ""
            what = f"adapters of rank {rank} in {plural(real, 'operation')}{small} of {what}"
        self.tell(
            f"     trains {what}: {work.parameters:,} of {whole.parameters:,} parameters, "
            f"{work.backward_macs:,} of {whole.backward_macs:,} MACs backward a sample"
        )

    def accuracy(self, network: Network) -> float:
        """See `validation_percent`."""
        return validation_percent(network, self.data)


def _period_text(log: TrainingLog, steps: int) -> str:
    """When the critical period ended, and what that saved of the training's steps and augmented samples."""
    if log.critical_step is None:
        return f"     critical period: not over within {steps} steps; nothing is saved"
    plain = log.steps - log.critical_step
    return (
        f"     critical period: over at step {log.critical_step} of {steps}; {steps - log.steps} steps are left out "
        f"({100 * (steps - log.steps) / steps:.0f} % of the work), {plain} take samples as they are"
    )
