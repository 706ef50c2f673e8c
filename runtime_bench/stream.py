"""Read a report that comes from something which never ends by itself: a chip, real or emulated."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable

from secateur.errors import ToolError
from secateur.runtime_bench.protocol import finished


def read_report(read: Callable[[], bytes], source: str, timeout_s: float) -> str:
    """Call `read` (short blocking, b"" when nothing came) until the last record is there.

    Raises ToolError after `timeout_s`.
    """
    data = bytearray()
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        chunk = read()
        data += chunk
        if chunk and finished(data.decode(errors="replace")):
            return data.decode(errors="replace")
    lines = data.decode(errors="replace").split("\n")
    raise ToolError(f"{source}: no complete report in {timeout_s:g} s, {len(data)} bytes came, last: {lines[-1][:80]!r}")


def read_process(command: list[str], source: str, timeout_s: float) -> str:
    """The report on a program's standard output; the program is stopped afterwards."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        pipe = process.stdout
        assert pipe is not None
        watchdog = threading.Timer(timeout_s, process.kill)  # a read on a silent pipe would wait for ever
        watchdog.start()
        try:
            return read_report(lambda: _chunk(process), source, timeout_s)
        finally:
            watchdog.cancel()
            process.kill()


def _chunk(process: subprocess.Popen[bytes]) -> bytes:
    pipe, errors = process.stdout, process.stderr
    assert pipe is not None and errors is not None
    data: bytes = pipe.read1(65536)  # type: ignore[attr-defined]
    if not data and process.poll() is not None:
        said = errors.read().decode(errors="replace").strip().splitlines()
        raise ToolError(f"emulator ended with {process.returncode}: {said[-1] if said else 'without a report'}")
    return data
