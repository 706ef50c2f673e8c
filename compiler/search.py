"""The budget loop: score, choose, cut, recover, cost; again until every limit holds or nothing is left to remove.

Its state is explicit and saved after every step. Killed anywhere, it loses at most the step it was in, and ends
with the same bytes: a step depends on the saved weights, the seed and its number, on nothing else.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file, save_file

from secateur.compiler.budget import Budget, Margins, reached
from secateur.compiler.code_digest import code_digest
from secateur.compiler.limits import Limits
from secateur.compiler.options import LEAST_SAMPLES
from secateur.compiler.policies import POLICIES
from secateur.compiler.policies.policy import Choice, Exhausted
from secateur.compiler.recovery import TOLERATED_POINTS, Recovery, RecoveryOptions, Training
from secateur.compiler.report.words import plural
from secateur.compiler.search_state import SearchState, Step, step_from
from secateur.errors import UserError
from secateur.models.data import Data
from secateur.models.network import Network
from secateur.models.task import strata
from secateur.models.torch_threads import torch_threads
from secateur.models.training import Recipe
from secateur.passes.network.candidates import LEAST_CHANNELS
from secateur.passes.network.removal import RESTORED, Removal, apply_all
from secateur.passes.network.score_catalogue import FILTER_SCORES, LAYER_SCORES
from secateur.passes.network.smallest import smallest
from secateur.targets.target import Target

log = logging.getLogger(__name__)

AUTO = "auto"
ROUNDS = 5  # images that turn out larger than predicted, each followed by more removals
MORE = "the image is larger or slower than predicted: removing more"


@dataclass(frozen=True)
class SearchOptions(RecoveryOptions):
    """`policy`: one of `policies.POLICIES`. `method`: similarity (ours) or a control (`methods.METHODS`).

    `layer_score`, `filter_score`: names of `score_catalogue`; only similarity asks for them. `auto`: reconstruction
    where what is left is fitted, else PLS+VIP. How is trained between and after removals: `RecoveryOptions`. Raises
    UserError where options are unknown or would have no say.
    """

    policy: str = "everything"
    method: str = "similarity"
    samples: int = 256
    granularity: float = 0.2
    floor: int = 2
    layer_score: str = "cka"
    filter_score: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.policy not in POLICIES:
            raise UserError(f"--policy {self.policy}: unknown; one of {', '.join(POLICIES)}")
        policy = POLICIES[self.policy]
        if self.floor < 1:
            raise UserError(f"--floor {self.floor}: blocks that stay in each stage, at least 1")
        if self.samples < LEAST_SAMPLES:
            raise UserError(f"--score-samples {self.samples}: at least {LEAST_SAMPLES}")
        if not 0 < self.granularity < 1:
            raise UserError(f"granularity {self.granularity:g}: a share of a group's filters, above 0 and below 1")
        asked = (
            ("layer", self.layer_score, "cka", LAYER_SCORES, policy.layer_score),
            ("filter", self.filter_score, AUTO, (AUTO, *FILTER_SCORES), policy.filter_score),
        )
        for kind, name, usual, known, has_say in asked:
            option = f"--{kind}-score {name}"
            if name not in known:
                raise UserError(f"{option}: unknown; one of {', '.join(known)}")
            if name != usual and self.method != "similarity":
                raise UserError(f"{option}: --method {self.method} has scores of its own; leave one of the two out")
            if name != usual and not has_say:
                raise UserError(f"{option}: --policy {self.policy} ranks no {kind}s by it; leave one of the two out")
        policy.check(self)

    @property
    def scores_by_default(self) -> bool:
        """Whether layers and filters compete as they do without any option."""
        return (self.policy, self.layer_score, self.filter_score) == ("everything", "cka", AUTO)

    @property
    def ranks_filters_by(self) -> str:
        """The filter score, by its name in the catalogue."""
        if self.filter_score != AUTO:
            return self.filter_score
        return "reconstruction" if self.reconstructs else "plsvip"


class Search:
    """One run of the loop over one network, data set, target and budget.

    `image`: of a network and the margins so far, those that an image of it shows where it breaks the budget, else None.
    It is asked before the last training, whose steps would be lost: size and time hardly depend on the weights.
    """

    def __init__(
        self,
        original: Network,
        data: Data,
        target: Target,
        budget: Budget,
        options: SearchOptions,
        recipe: Recipe,
        checkpoints: Path | None = None,
        tell: Callable[[str], None] = log.info,
        image: Callable[[Network, Margins], Margins | None] = lambda network, margins: None,
    ) -> None:
        self.image = image
        self.original, self.data, self.limits = original, data, Limits(target, budget)
        self.options, self.recipe, self.checkpoints, self.tell = options, recipe, checkpoints, tell
        self.recovery = Recovery(original, data, options, recipe, tell)
        self._best: Network | None = None  # where no checkpoints are kept
        rng = np.random.default_rng(options.seed)
        take = min(options.samples, len(data.recovery))
        self.sample = data.recovery.subset(_balanced(strata(data.recovery.y), take, rng))
        POLICIES[options.policy].check_network(original)
        self.policy = POLICIES[options.policy](self)

    # -- the loop

    def start(self, resume: bool) -> SearchState:
        """The saved state where there is one and `resume` is asked for, else the beginning."""
        saved = self._load() if resume else None
        if resume and self.checkpoints is not None and not (self.checkpoints / "state.json").is_file():
            self.tell(f"nothing is saved in {self.checkpoints}: starting from the beginning")
        if self.checkpoints is not None:
            # What this run will not write again must not stay: a killed write's half, another run's steps.
            for path in self.checkpoints.glob("*.part" if saved else "*"):
                path.unlink()
        return saved or SearchState(self.original)

    def run(self, state: SearchState) -> SearchState:
        """Remove until the predicted cost is within the budget, then recover. Raises Exhausted.

        One thread: the same bytes on machines with other core counts, and no slower for networks of this size.
        """
        with torch_threads(1):
            if not state.steps:
                self._tell_of_both_ends(state)
            return self._run(state)

    def _tell_of_both_ends(self, state: SearchState) -> None:
        """Before anything is searched for: that it needs no removal, or that none can be enough.

        Of a stage whose floor is more blocks than one, which of them stay is for the search to say.
        """
        if self.limits.hold(state.network, state):
            if not self.policy.improves:
                self.tell("the budget holds as it is: nothing is removed, and nothing has to recover")
            return
        if not self.policy.kinds:
            return
        least = smallest(state.network, self.policy.kinds, min(1, self.options.floor))
        if not self.limits.hold(least, state):
            left = {"layer": "one block a stage", "filters": "the fewest filters"}
            what = " and ".join(left[kind] for kind in self.policy.kinds)
            parts = [f"{has} with {what}, {may} allowed" for has, may in self.limits.lacks(least, state)]
            self.tell(f"no removals reach the budget: {'; '.join(parts)}. The search ends with its best attempt")

    def _run(self, state: SearchState) -> SearchState:
        self._remove(state)
        for _ in range(ROUNDS):
            if not self._learns(state):
                break
            self.tell(MORE)
            self._remove(state)
        self._end(state)
        return state

    def _remove(self, state: SearchState) -> None:
        """Step by step until the budget holds, or the policy has nothing more to do."""
        while True:
            now = self.limits.cost(state.network)
            met = self.limits.hold(state.network, state, now)
            if met and (state.finished or not self.policy.improves):
                return
            if state.exhausted is not None and state.exhausted[1] == state.margins:
                raise Exhausted(state.exhausted[0])  # resumed: its last training is done
            if state.finished:
                state.reopen()  # an image taught that more must go
            try:
                chosen = self.policy.choose(state, now)
            except Exhausted as error:
                state.exhausted = (str(error), state.margins)
                # the best attempt is trained like any other: what does not fit is compared at equal training too
                self._end(state)
                raise
            if chosen is None:
                return
            self._step(state, chosen)
            self._save(state)

    def _learns(self, state: SearchState) -> bool:
        """Whether an image taught, before the last training, that more must go."""
        if state.finished or not state.steps or not self.recovery.last_steps(state.trained_steps):
            return False
        learned = self.image(state.network, state.margins)
        if learned is None or learned == state.margins:
            return False
        state.margins = learned
        return True

    def _end(self, state: SearchState) -> None:
        if not state.finished:
            self._finish(state)
            self._save(state)

    def _step(self, state: SearchState, chosen: Choice) -> None:
        smaller = chosen.network
        cut = self.accuracy(smaller)
        fitted = smaller, cut
        notes = [chosen.note] if chosen.note else []
        if self.policy.reconstructs and self.options.reconstructs:
            fitted = self.recovery.reconstructed(state.network, chosen.removals, self.options.floor, *fitted)
            notes += ["its fit cost validation: left out"] if fitted[0] is smaller else []
        recovered, after = self.recovery.remeasured(*fitted)
        trains = self.policy.trains_between and self.recovery.harmed(after)
        steps = max(0, self.recovery.short_steps(state.trained_steps) - chosen.trained) if trains else 0
        kept = 0  # of these steps
        if steps:
            trained = self.recovery.after_cut(recovered, steps, len(state.steps) + 1)
            percent = self.accuracy(trained)
            # Few steps at a recovery's rate can throw a network far off; within the tolerance it has begun to recover.
            if percent >= after - TOLERATED_POINTS:
                recovered, after, kept = trained, percent, steps
            else:
                notes.append(f"{steps} steps of training ended at {percent:.1f} %: undone")
        whole = self.limits.cost(recovered)
        judged = self.limits.judged(recovered, state, whole)
        found = reached(judged, self.limits.target, state.margins)
        removal, *more = chosen.removals
        earlier = state.steps[: chosen.back_to]
        step = Step(
            removal.kind, removal.unit, removal.classes, chosen.similarity, cut, after, chosen.trained + steps,
            judged.macs, found, tuple(more),
            (earlier[-1].network_steps if earlier else 0) + chosen.trained + kept, chosen.evidence,
        )  # fmt: skip
        state.network = recovered
        state.steps.append(step)
        self._keep_best(state, after)
        latency = "" if found.latency_ms is None else f"  latency <= {found.latency_ms:.1f} ms"
        note = "  " + "; ".join(notes) if notes else ""
        what = step.what if step.kind == RESTORED else f"{step.kind} {step.what}"
        verb = "put back" if step.kind == RESTORED else "remove"
        one_piece = whole.ram_bytes + state.margins.ram_bytes
        relieved = f" ({one_piece:,} in one piece)" if one_piece != found.ram_bytes else ""
        self.tell(
            f"{len(state.steps):3d}  {verb} {what:42s} {self.data.task.word} {cut:5.1f} -> {after:5.1f} %  "
            f"RAM {found.ram_bytes:,} B{relieved}  flash {found.flash_bytes:,} B{latency}{note}"
        )

    def exhausted(self, state: SearchState) -> Exhausted:
        """With the limits that are violated and by how much."""
        parts = [f"{has} are the least reached, {may} allowed" for has, may in self.limits.lacks(state.network, state)]
        method = "" if self.options.method == "similarity" else f" --method {self.options.method}"
        stays = {
            "layer": f"stages keep --floor {self.options.floor} blocks",
            "filters": f"groups keep {LEAST_CHANNELS} channels",
        }
        why = ", ".join(stays[kind] for kind in self.policy.kinds) or "secateur inspect: what stays, and why"
        removals = plural(sum(s.kind != RESTORED for s in state.steps), "removal")
        return Exhausted(
            f"{'; '.join(parts)}; after {removals} nothing that --policy "
            f"{self.options.policy}{method} may remove lowers it further ({why})"
        )

    def _finish(self, state: SearchState) -> None:
        """The last recovery, whose outcome goes on the last removal's account."""
        steps = self.recovery.last_steps(state.trained_steps)
        state.finished = True
        if not steps or not state.steps:
            return
        last = state.steps[-1]
        before = (state.network, last)
        begun = self.policy.begins_last(state.network)
        untrained = begun is not state.network  # then what comes of it stays, whatever that is
        ended = self.recovery.end(begun, -math.inf if untrained else last.accuracy_recovered, steps)
        state.before_final = before
        state.steps[-1] = replace(
            last, accuracy_recovered=ended.accuracy, trained_steps=last.trained_steps + ended.steps,
            network_steps=ended.own + (0 if ended.anew else last.network_steps),
        )  # fmt: skip
        state.network, state.trainings = ended.network, ended.trainings
        if ended.kept:
            self._keep_best(state, ended.accuracy)

    def accuracy(self, network: Network) -> float:
        """The task's metric of the float network on validation, percent."""
        return self.recovery.accuracy(network)

    # -- checkpoints

    def key(self) -> str:
        """What a saved state must agree on to be taken up again."""
        facts = {
            "network": self.original.hash(), "target": self.limits.target.name, "budget": asdict(self.limits.budget),
            "set of options": asdict(self.options), "recipe": asdict(self.recipe),
            "data set": self.data.fingerprint(), "version of the code": code_digest(),
            "preprocessing": repr(self.original.preprocess),
        }  # fmt: skip
        return json.dumps(facts, sort_keys=True, default=str)

    def _save(self, state: SearchState) -> None:
        if self.checkpoints is None:
            return
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        name = _checkpoint(state)
        weights = {k: v.detach().contiguous().clone() for k, v in state.network.module.state_dict().items()}
        _replace(self.checkpoints / name, lambda to: save_file(weights, to))
        record = {
            "key": self.key(), "weights": name, "finished": state.finished, "margins": asdict(state.margins),
            "best": state.best, "steps": [asdict(s) for s in state.steps],
            "before_final": asdict(state.before_final[1]) if state.before_final else None,
            "trainings": [asdict(t) for t in state.trainings],
            "exhausted": state.exhausted and (state.exhausted[0], asdict(state.exhausted[1])),
            "aside_steps": state.aside_steps,
        }  # fmt: skip
        text = json.dumps(record, indent=1, sort_keys=True)
        _replace(self.checkpoints / "state.json", lambda to: to.write_text(text))

    def _load(self) -> SearchState | None:
        path = (self.checkpoints or Path()) / "state.json"
        if self.checkpoints is None or not path.is_file():
            return None
        record = json.loads(path.read_text())
        here, there = json.loads(self.key()), json.loads(record.get("key", "{}"))
        other = [name for name in here if here[name] != there.get(name)]
        if other or not (self.checkpoints / record["weights"]).is_file():
            why = f"is of another {', '.join(other)}" if other else f"lacks {record['weights']}"
            self.tell(f"the saved state {why}: starting over")
            return None
        steps = [step_from(s) for s in record["steps"]]
        network = self.replay(steps)
        network.module.load_state_dict(load_file(self.checkpoints / record["weights"]))
        self.tell(f"resumed after {plural(len(steps), 'step')}")
        best = (float(record["best"][0]), str(record["best"][1])) if record["best"] else None
        before = None
        if record["before_final"] is not None:
            earlier = self.replay(steps)
            earlier.module.load_state_dict(load_file(self.checkpoints / f"{len(steps):03d}.safetensors"))
            before = (earlier, step_from(record["before_final"]))
        trainings = tuple(Training(**t) for t in record["trainings"])
        exhausted = None
        if record["exhausted"] is not None:
            exhausted = (str(record["exhausted"][0]), Margins(**record["exhausted"][1]))
        return SearchState(
            network, steps, Margins(**record["margins"]), record["finished"], best, before, trainings, exhausted,
            record["aside_steps"],
        )  # fmt: skip

    def replay(self, steps: list[Step]) -> Network:
        """The architecture that these removals lead to, with the weights of the original that survive."""
        gone: list[list[Removal]] = []
        for step in steps:
            back = {r.unit for r in step.removals if r.kind == RESTORED}
            gone = [[r for r in removals if r.kind != "layer" or r.unit not in back] for removals in gone]
            gone.append([r for r in step.removals if r.kind != RESTORED])
        network = self.original
        for removals in gone:
            network = apply_all(network, removals, self.options.floor)
        return network

    def best_network(self, state: SearchState) -> Network | None:
        """The most accurate network on the way; None where nothing was removed."""
        if state.best is None:
            return None
        if self.checkpoints is None:
            return self._best
        network = self.replay(state.steps[: self.best_step(state)])
        network.module.load_state_dict(load_file(self.checkpoints / state.best[1]))
        return network

    def best_step(self, state: SearchState) -> int:
        """Number of the step that led to it."""
        assert state.best is not None, "no step was taken"
        return int(state.best[1].removesuffix(".safetensors").removesuffix("-final"))

    def _keep_best(self, state: SearchState, accuracy: float) -> None:
        if state.best is None or accuracy >= state.best[0]:
            state.best, self._best = (accuracy, _checkpoint(state)), state.network


def _checkpoint(state: SearchState) -> str:
    """Name of the file with the weights of this state."""
    return f"{len(state.steps):03d}{'-final' if state.finished else ''}.safetensors"


def _balanced(y: np.ndarray[Any, Any], take: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """`take` indices, classes as equally as they allow, in ascending order."""
    order = rng.permutation(len(y))
    rank = np.zeros(len(y), np.int64)
    for label in np.unique(y):
        members = order[y[order] == label]
        rank[members] = np.arange(len(members))
    return np.sort(order[np.argsort(rank[order], kind="stable")][:take])


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Write beside and rename: a killed process leaves the old file or the new one, never half of one."""
    temporary = path.with_name(path.name + ".part")
    write(temporary)
    temporary.replace(path)
