"""The pass contract: `requires`, `run`, `ensures`, checked on both sides, with the model verified after.

A pass is a small class. A broken one fails at its own border, under its own name, with the passes before it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

from secateur.models.network import Network, verify_network
from secateur.models.program import Program, verify_program

M = TypeVar("M", Network, Program)

Check = Callable[[M], None]
"""Raises AssertionError, with the reason, where the model does not hold."""

Promise = Callable[[M, M], None]
"""Raises AssertionError, with the reason, where (before, after) does not hold."""


class PassError(AssertionError):
    """A pass broke its contract: our bug. Names the pass and the ones before it."""


class Pass(ABC, Generic[M]):
    """A change of a model. `requires` holds before `run`, `ensures` holds for (before, after)."""

    requires: tuple[Check[M], ...] = ()
    ensures: tuple[Promise[M], ...] = ()

    @property
    def name(self) -> str:
        return type(self).__name__

    @abstractmethod
    def run(self, model: M) -> M:
        """Return the changed model; the given one stays as it was."""

    def __call__(self, model: M) -> M:
        for check in self.requires:
            self._hold(model, partial(check, model), "requires")
        changed = self.run(model)
        self._hold(model, partial(_verify, changed), "verify")
        for promise in self.ensures:
            self._hold(model, partial(promise, model, changed), "ensures")
        return _remember(changed, self.name)

    def _hold(self, model: M, check: Callable[[], None], side: str) -> None:
        try:
            check()
        except (AssertionError, RuntimeError) as error:
            before = " after " + ", ".join(model.history) if isinstance(model, Network) and model.history else ""
            raise PassError(f"{self.name}{before}: {side}: {error}") from error


def _remember(model: M, name: str) -> M:
    """A Network knows the passes that made it; a Program carries nothing."""
    if isinstance(model, Program):
        return model
    return model.made_by(name)


def _verify(model: Network | Program) -> None:
    if isinstance(model, Network):
        verify_network(model)
    else:
        verify_program(model)


def same_interface(before: M, after: M) -> None:
    """Inputs and outputs keep their shapes."""
    if isinstance(before, Network) and isinstance(after, Network):
        assert before.input_shape == after.input_shape, f"input {before.input_shape} became {after.input_shape}"
        assert before.classes == after.classes, f"{before.classes} outputs became {after.classes}"
    elif isinstance(before, Program) and isinstance(after, Program):
        for side in ("inputs", "outputs"):
            was = [before.tensors[i].shape for i in getattr(before, side)]
            now = [after.tensors[i].shape for i in getattr(after, side)]
            assert was == now, f"{side} {was} became {now}"
