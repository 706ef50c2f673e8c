"""The order of the operators whose lower bound of the arena is least: exact, for graphs with branches."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from heapq import heappop, heappush
from typing import NamedTuple

from secateur.firmware.kernels.descriptor import Kernel
from secateur.models.program import Op, Program
from secateur.passes.contract import Pass, same_interface
from secateur.passes.program.choose_kernels import Selection, choose_kernels

log = logging.getLogger(__name__)

SETS_A_TRY = 25
"""Sets of operators looked at for each dead end that placement may meet; beyond, the given order is kept."""


def same_operators(before: Program, after: Program) -> None:
    """The very operators, none lost, none twice."""
    assert sorted(map(id, before.ops)) == sorted(map(id, after.ops)), "operators were changed"


class OrderOperators(Pass[Program]):
    """Run the operators in the order that needs the least memory at once, the given one where no other needs less.

    What an operator needs depends only on which ones ran before it, not on their order: a shortest path through the
    sets of operators that can have run (Ahn et al., "Ordering Chaos: Memory-Aware Scheduling of Irregularly Wired
    Neural Networks for Edge Devices", 2020), with the bytes that outputs share with dying inputs taken off. A program
    with states keeps its order: where a state's new value lies depends on more than the set.

    `features`: of the core, for the kernels. `tries`: SETS_A_TRY sets of operators are looked at for each.
    """

    ensures = (same_interface, same_operators)

    def __init__(self, features: tuple[str, ...], tries: int = 400) -> None:
        self.features = features
        self.limit = SETS_A_TRY * tries

    def run(self, model: Program) -> Program:
        if model.states:
            return model
        steps = Steps(model, choose_kernels(model, self.features))
        given = steps.highest(range(len(model.ops)))
        if given == steps.unavoidable:
            return model
        least = _least_peak(steps, given, self.limit)
        if least is None:
            log.info("%s: more than %d sets of operators can have run; their order is kept", model.name, self.limit)
            return model
        if least == given:
            return model
        order = _first_order(steps, least)
        log.info("%s: operators ordered anew, bound %d -> %d bytes", model.name, given, least)
        return replace(model, ops=tuple(model.ops[i] for i in order))


class Moment(NamedTuple):
    """Between two operators: those that ran and those that can run next, as masks, and the bytes that live."""

    done: int
    ready: int
    alive: int


class Steps:
    """What each operator needs while it runs. Sets of operators are bit masks."""

    def __init__(self, program: Program, selection: Selection) -> None:
        self.count = len(program.ops)
        self.group: dict[int, int] = {}  # of a tensor: the memory that it lies in, named by its first tensor
        self.size: dict[int, int] = {}
        self.born: dict[int, int] = {}  # of a group: the operator that writes it, as a mask; 0: an input
        self.readers: dict[int, int] = {}
        self.touches: list[set[int]] = []  # of an operator: the groups that it reads and writes
        self.before = [0] * self.count  # the operators that must have run
        self.shares: list[list[dict[int, int]]] = []
        # of an operator: bytes of working memory, and with those of its outputs
        self.scratch = [kernel.scratch_bytes(program, op) for op, kernel in zip(program.ops, selection, strict=True)]
        self.new = self.scratch.copy()
        writer: dict[int, int] = {}
        for i in program.inputs:
            self._add(program, i, 0)
        for step, (op, kernel) in enumerate(zip(program.ops, selection, strict=True)):
            for i in program.activations(op):
                self.readers[self.group[i]] |= 1 << step
                self.before[step] |= writer.get(i, 0)
            for i in op.outputs:
                writer[i] = 1 << step
                if kernel.name == "reshape_s8" and op.inputs[0] in self.group:
                    self.group[i] = self.group[op.inputs[0]]
                else:
                    self._add(program, i, 1 << step)
                    self.new[step] += self.size[i]
            self.touches.append({self.group[i] for i in (*program.activations(op), *op.outputs)})
            self.shares.append([] if kernel.name == "reshape_s8" else self._shares(program, op, kernel))
        self.kept = {self.group[i] for i in program.outputs if i in self.group}
        self.out = [self.group[op.outputs[0]] for op in program.ops]
        self.followers = [[k for k, b in enumerate(self.before) if b >> step & 1] for step in range(self.count)]
        self.unavoidable = max((self._least(step) for step in range(self.count)), default=0)

    def _add(self, program: Program, tensor: int, born: int) -> None:
        self.group[tensor] = tensor
        self.size[tensor] = program.bytes_of(tensor)
        self.born[tensor] = born
        self.readers[tensor] = 0

    def _shares(self, program: Program, op: Op, kernel: Kernel) -> list[dict[int, int]]:
        """By walk: bytes of the output that may lie over each input, if that dies."""
        found = []
        for walk in kernel.walks:
            over: dict[int, int] = {}
            for position, tensor in enumerate(op.inputs):
                if tensor in self.group and op.inputs.count(tensor) == 1:
                    into = self.group[tensor]
                    share = walk.overlap_bytes(program, op, position)
                    over[into] = min(share, over.get(into, share), self.size[into])
            found.append(over)
        return found

    def start(self) -> Moment:
        ready = sum(1 << step for step in range(self.count) if not self.before[step])
        alive = sum(size for g, size in self.size.items() if not self.born[g] and self._lives(g, 0))
        return Moment(0, ready, alive)

    def needs(self, at: Moment, step: int) -> int:
        """Bytes while operator `step` runs: all that lives, less the most that it may share."""
        return at.alive + self.new[step] - self._saved(step, ~(at.done | 1 << step))

    def then(self, at: Moment, step: int) -> Moment:
        """The moment after operator `step`."""
        done = at.done | 1 << step
        alive = at.alive + self.new[step] - self.scratch[step]
        alive -= sum(self.size[g] for g in self.touches[step] if not self._lives(g, done))
        ready = at.ready & ~(1 << step)
        for after in self.followers[step]:
            if not self.before[after] & ~done:
                ready |= 1 << after
        return Moment(done, ready, alive)

    def highest(self, order: Iterable[int]) -> int:
        """The most that any operator needs in this order."""
        at, peak = self.start(), 0
        for step in order:
            peak = max(peak, self.needs(at, step))
            at = self.then(at, step)
        return peak

    def _lives(self, group: int, done: int) -> bool:
        return group in self.kept or bool(self.readers[group] & ~done)

    def _saved(self, step: int, later: int) -> int:
        """The most that an output shares with its inputs if only the operators of `later` run after it."""
        most = 0
        for over in self.shares[step]:
            dying = [share for g, share in over.items() if g not in self.kept and not self.readers[g] & later]
            most = max(most, sum(dying))
        return min(most, self.size[self.out[step]])

    def _least(self, step: int) -> int:
        """What operator `step` needs in every order: its inputs and outputs, with all inputs dying that ever do."""
        return sum(self.size[g] for g in self.touches[step]) + self.scratch[step] - self._saved(step, 0)


def _least_peak(steps: Steps, given: int, limit: int) -> int | None:
    """The lowest peak of any order, no higher than `given`; None if `limit` sets did not suffice."""
    waiting, seen = [(0, steps.start())], set[int]()
    while waiting:
        peak, at = heappop(waiting)
        if not at.ready:
            return peak
        if at.done in seen:
            continue
        seen.add(at.done)
        if len(seen) > limit:
            return None
        for step in _bits(at.ready):
            after = max(peak, steps.needs(at, step))
            if after <= given and at.done | 1 << step not in seen:
                heappush(waiting, (after, steps.then(at, step)))
    raise AssertionError("the given order is one of those searched")


def _first_order(steps: Steps, peak: int) -> list[int]:
    """The order of that peak which begins most like the given one."""
    order, path, hopeless = list[int](), [steps.start()], set[int]()
    while path[-1].ready:
        at = path[-1]
        fits = (s for s in _bits(at.ready) if at.done | 1 << s not in hopeless and steps.needs(at, s) <= peak)
        step = next(fits, None)
        if step is None:
            hopeless.add(at.done)
            path.pop()
            order.pop()
        else:
            order.append(step)
            path.append(steps.then(at, step))
    return order


def _bits(mask: int) -> Iterator[int]:
    """The positions of the ones, lowest first."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest
