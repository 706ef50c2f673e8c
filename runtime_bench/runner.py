"""One interface to everything that runs a compiled model: this computer, an emulator, a board."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from secateur.firmware.image import Image

Kind = Literal["host", "emulated", "measured"]


@dataclass(frozen=True)
class Run:
    """What one run showed; None where the machine cannot tell.

    `outputs`: (samples, output_bytes) int8. `instructions`, `cycles`: one inference, harness excluded, the
    largest over the samples. `layer_instructions` (on a board: cycles): of that inference, one a layer.
    `stack_bytes`: high water of the model's stack. `arena_bytes`: what the model says that it uses.
    """

    environment: str
    kind: Kind
    outputs: npt.NDArray[np.int8]
    instructions: int | None
    cycles: int | None
    layer_instructions: tuple[int, ...] | None
    stack_bytes: int | None
    arena_bytes: int


class Runner(Protocol):
    """Runs an image's embedded samples."""

    def run(self, image: Image, timeout_s: float) -> Run:
        """Raises ToolError when the machine is missing, fails, or does not end in `timeout_s` seconds."""
        ...


def runner_for(environment: str, port: str | None = None) -> Runner:
    """The runner of an environment; a board's when `port` names its serial port or socket.

    Raises UserError for an environment that nothing here can run.
    """
    from secateur.runtime_bench.board import BoardRunner
    from secateur.runtime_bench.emulator import EmulatorRunner
    from secateur.runtime_bench.host import HostRunner

    if port is not None:
        return BoardRunner(environment, port)
    if environment == "host":
        return HostRunner()
    return EmulatorRunner(environment)
