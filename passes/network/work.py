"""How scoring works, whatever is scored: how many threads it may use, and who hears how far it is.

Both leave every value as it is, so they are no arguments of the scores: whoever runs them says so around the call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, TypeVar

import torch
from torch import Tensor

P = TypeVar("P")
T = TypeVar("T")


def _nobody(what: str, done: int, total: int) -> None:
    pass


@dataclass(frozen=True)
class Work:
    """`jobs`: threads that run candidates beside each other. `told`: hears what is done, how many, of how many."""

    jobs: int = 1
    told: Callable[[str, int, int], None] = _nobody


_ALONE = Work()
_WORK: ContextVar[Work] = ContextVar("work", default=_ALONE)


@contextmanager
def working(work: Work) -> Iterator[None]:
    """Scoring inside is done like this."""
    token = _WORK.set(work)
    try:
        yield
    finally:
        _WORK.reset(token)


def current_work() -> Work:
    """What the innermost `working` says; one thread, telling nobody, outside of any."""
    return _WORK.get()


def counted(parts: Sequence[P], what: str = "scoring") -> Iterator[P]:
    """The parts, one after the other; `current_work` hears how many are done."""
    told = current_work().told
    for done, part in enumerate(parts, 1):
        yield part
        told(what, done, len(parts))


def each(what: str, run: Callable[[P], T], parts: Sequence[P], before: int = 0, total: int | None = None) -> list[T]:
    """`run` of every part, in their order, on as many threads as `current_work` allows, which hears what is done.

    `before`: of `total` are done already, of all that is told under this name.
    """
    work, whole = current_work(), len(parts) if total is None else total
    pool = ThreadPoolExecutor(work.jobs) if work.jobs > 1 else None
    found = []
    try:
        for one in map(run, parts) if pool is None else pool.map(run, parts):
            found.append(one)
            work.told(what, before + len(found), whole)
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)  # an interrupt does not wait for what has not begun
    return found


class Beside(Generic[P, T]):
    """Runs branches beside the main path. Each is computed as it would be without threads, to the same bits.

    Not more than `jobs` are under way, for each holds the values of the main path that it starts from.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self.pool = ThreadPoolExecutor(jobs) if jobs > 1 else None
        self.waiting: deque[tuple[P, Future[T]]] = deque()

    def __enter__(self) -> Beside[P, T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)

    def start(
        self, run: Callable[[P, Mapping[str, Tensor]], T], part: P, values: Mapping[str, Tensor]
    ) -> list[tuple[P, T]]:
        """Begin with a part; returns what had to be finished first."""
        if self.pool is None:
            return [(part, run(part, values))]
        done = [self._first() for _ in range(len(self.waiting) - self.jobs + 1)]
        self.waiting.append((part, self.pool.submit(torch.no_grad()(run), part, dict(values))))
        return done

    def finish(self) -> list[tuple[P, T]]:
        """All that is still under way."""
        return [self._first() for _ in range(len(self.waiting))]

    def _first(self) -> tuple[P, T]:
        part, future = self.waiting.popleft()
        return part, future.result()
