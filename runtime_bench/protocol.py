"""Read what the test harness reports (version 1; the records are described in the harness's main.c).

Every line carries its own CRC-32 and the last one counts the others, so a cut or damaged log is an error,
never a shorter result.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from secateur.errors import MismatchError, ToolError

VERSION = 1
LINE = re.compile(r"(@sec [^*\r\n]*) \*([0-9a-f]{8})\s*$")
LAST = re.compile(r"@sec (end|error) [^*\r\n]*\*[0-9a-f]{8}\s", re.M)
INITIALISING = 0xFFFFFFFF


@dataclass
class Log:
    """Raw numbers of one run; ticks in the machine's unit, not calibrated.

    `outputs`: (samples, output_bytes) int8. `layer_ticks` belong to sample `hooked_sample`.
    """

    name: str
    outputs: npt.NDArray[np.int8]
    layers: int
    arena_bytes: int
    counter_bits: int
    empty_ticks: int
    first_ticks: int
    hook_ticks: int
    ticks: dict[int, int] = field(default_factory=dict)
    hooked_sample: int = 0
    layer_ticks: dict[int, int] = field(default_factory=dict)
    stack_reserved_bytes: int | None = None
    stack_bytes: int | None = None


def finished(text: str) -> bool:
    """True once the last record has arrived whole; what follows it does not matter."""
    return LAST.search(text) is not None


def parse(text: str, source: str) -> Log:
    """The log of one complete run. `source` names the machine in errors.

    Other lines (a boot ROM's messages) are skipped. When a board was reset while we listened, the last
    beginning counts.

    Raises:
        ToolError: the log is cut, damaged or of another version; the model or its stack failed.
        MismatchError: one input gave two different outputs.
    """
    records = _records(text, source)
    starts = [i for i, record in enumerate(records) if record[0] == "begin"]
    if not starts:
        raise ToolError(f"{source}: the harness reported nothing; last output: {_tail(text)}")
    records = records[starts[-1] :]
    log = _begin(records[0], source)
    seen = np.zeros(log.outputs.shape, dtype=bool)
    for count, (kind, values) in enumerate(records[1:], start=1):
        if kind == "end":
            _check_complete(log, seen, count, int(values[0], 16), source)
            return log
        _take(log, seen, kind, values, source)
    raise ToolError(f"{source}: the log is cut after {len(records)} records; last output: {_tail(text)}")


def _records(text: str, source: str) -> list[tuple[str, list[str]]]:
    records = []
    for line in text.splitlines():
        start = line.find("@sec ")
        if start < 0:
            continue
        match = LINE.fullmatch(line, start)
        if match is None or zlib.crc32(match[1].encode()) != int(match[2], 16):
            raise ToolError(f"{source}: damaged line in the log: {line[start : start + 80]!r}; run it again")
        kind, *values = match[1].split()[1:]
        records.append((kind, values))
    return records


def _begin(record: tuple[str, list[str]], source: str) -> Log:
    version, name, *numbers = record[1]
    if int(version, 16) != VERSION or len(numbers) != 8:
        raise ToolError(f"{source}: the harness speaks version {version}, we {VERSION}; build it again")
    samples, output_bytes, layers, arena, bits, empty, first, hook = (int(n, 16) for n in numbers)
    outputs = np.zeros((samples, output_bytes), dtype=np.int8)
    return Log(name, outputs, layers, arena, bits, empty, first, hook)


def _take(log: Log, seen: npt.NDArray[np.bool_], kind: str, values: list[str], source: str) -> None:
    if kind == "out":
        sample, offset = int(values[0], 16), int(values[1], 16)
        data = np.frombuffer(bytes.fromhex(values[2]), dtype=np.int8)
        if sample >= len(log.outputs) or offset + len(data) > log.outputs.shape[1]:
            raise ToolError(f"{source}: output {sample}/{offset} lies outside {log.outputs.shape}")
        log.outputs[sample, offset : offset + len(data)] = data
        seen[sample, offset : offset + len(data)] = True
        return
    numbers = [int(v, 16) for v in values]
    if kind == "ticks":
        log.ticks[numbers[0]] = numbers[1]
    elif kind == "layer":
        log.layer_ticks[numbers[0]] = numbers[1]
    elif kind == "layers":
        log.hooked_sample = numbers[0]
        if numbers[1] != 1:
            raise MismatchError(f"{source}: sample {numbers[0]} gave other outputs when it ran a second time")
    elif kind == "stack":
        log.stack_reserved_bytes, log.stack_bytes = numbers[0], numbers[1]
        if numbers[2] != 1:
            raise ToolError(
                f"{source}: the stack overflowed its {numbers[0]} bytes; "
                "build with a larger stack (limits 'none') to see how much it needs"
            )
    elif kind == "error":
        where = "initialising" if numbers[0] == INITIALISING else f"sample {numbers[0]}"
        raise ToolError(f"{source}: {log.name} returned error {numbers[1]} at {where}")
    else:
        raise ToolError(f"{source}: unknown record '{kind}' in the log; build the harness again")


def _check_complete(log: Log, seen: npt.NDArray[np.bool_], count: int, said: int, source: str) -> None:
    samples = len(log.outputs)
    counted = log.counter_bits == 0 or (
        log.ticks.keys() == set(range(samples)) and log.layer_ticks.keys() == set(range(log.layers))
    )
    if count != said or not seen.all() or not counted:
        raise ToolError(
            f"{source}: the log is incomplete: {count} of {said} records, "
            f"{int(seen.all(axis=1).sum())} of {samples} samples; run it again"
        )


def _tail(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return repr(lines[-1][-80:]) if lines else "none"
