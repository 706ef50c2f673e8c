"""How data is read: the options that go with `--data`, and who hears of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from secateur.errors import UserError
from secateur.models.preprocess import AnyFrontEnd

Tell = Callable[[str], None]
"""Gets one line at a time."""

Progress = Callable[[str, int, int], None]
"""Gets what is done ("reading"), how many files of it are done, and how many there are."""


def quiet(*_: object) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class DataOptions:
    """`window`, `hop`: samples of a recording, by default the network's and half of it. Columns: names in a CSV.

    `skip_columns`: those that are left out.
    """

    window: int | None = None
    hop: int | None = None
    group_column: str | None = None
    time_column: str | None = None
    label_column: str | None = None
    skip_columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, value in (("--window", self.window), ("--hop", self.hop)):
            if value is not None and value < 1:
                raise UserError(f"{name} {value}: at least 1 sample is expected")
        for key in ("group", "time", "label"):
            if getattr(self, f"{key}_column") in self.skip_columns:
                name = getattr(self, f"{key}_column")
                raise UserError(f"--skip-columns {name}: it is the --{key}-column too; leave it out of one of the two")

    def refuse(self, name: str, what: str, windows: bool = True, columns: bool = True) -> None:
        """Raise UserError for an option that has no meaning for this kind of data."""
        given: list[tuple[str, object]] = [("--window", self.window), ("--hop", self.hop)] if windows else []
        if columns:
            given += [(f"--{key}-column", getattr(self, f"{key}_column")) for key in ("group", "time", "label")]
            given += [("--skip-columns", self.skip_columns or None)]
        for option, value in given:
            if value is not None:
                raise UserError(f"{option} does not go with {name}, which is {what}; leave it out")


@dataclass(frozen=True)
class Need:
    """What is to be made of data: for which network, cut how, behind which front end, split by which seed.

    `input_shape`: channels first, without the batch. `labels`: class names of the network; empty where unknown.
    """

    input_shape: tuple[int, ...]
    labels: tuple[str, ...]
    seed: int
    options: DataOptions
    front_end: AnyFrontEnd | None
    progress: Progress

    @property
    def decisive(self) -> tuple[object, ...]:
        """All that the sets depend on."""
        return self.input_shape, self.labels, self.seed, self.options, self.front_end
