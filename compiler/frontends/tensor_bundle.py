"""Protobuf's wire format, and TensorFlow's tensor bundle (variables.index, a table of LevelDB, and its data)."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Message = dict[int, list[Any]]
"""Field number to its values in order: int for varints and fixed sizes, bytes for the rest."""

DTYPES: dict[int, type[np.generic]] = {
    1: np.float32, 2: np.float64, 3: np.int32, 4: np.uint8, 5: np.int16, 6: np.int8, 9: np.int64, 10: np.bool_,
    17: np.uint16, 19: np.float16, 22: np.uint32, 23: np.uint64,
}  # fmt: skip
FLOAT, STRING, RESOURCE = 1, 7, 20
MAX_ELEMENTS = 1 << 26
_MAGIC = 0xDB4775248B80FB57


class Damaged(Exception):
    """The bytes are not what their format says. The text is the reason."""


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A number and the position behind it."""
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise Damaged(f"a number is cut off at byte {at}")
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not data[at - 1] & 0x80:
            return value & (1 << 64) - 1, at


def parse(data: bytes) -> Message:
    """The fields of one message."""
    found: Message = {}
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        kind, number = key & 7, key >> 3
        value: Any
        if kind == 0:
            value, at = varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            value, at = int.from_bytes(data[at : at + size], "little"), at + size
        elif kind == 2:
            size, at = varint(data, at)
            value, at = data[at : at + size], at + size
        else:
            raise Damaged(f"wire type {kind} at byte {at}")
        if at > len(data) or number == 0:
            raise Damaged(f"field {number} is cut off at byte {at}")
        found.setdefault(number, []).append(value)
    return found


def text(message: Message, number: int) -> str:
    value = message.get(number, [b""])[-1]
    if not isinstance(value, bytes):
        raise Damaged(f"field {number} is no text")
    return value.decode("utf-8", "replace")


def integer(message: Message, number: int) -> int:
    """A signed number, 0 where it is absent."""
    value = message.get(number, [0])[-1]
    if not isinstance(value, int):
        raise Damaged(f"field {number} is no number")
    return value - (1 << 64) if value >= 1 << 63 else value


def messages(message: Message, number: int) -> list[Message]:
    values = message.get(number, [])
    if not all(isinstance(v, bytes) for v in values):
        raise Damaged(f"field {number} is no message")
    return [parse(v) for v in values]


def packed(message: Message, number: int) -> list[int]:
    """Repeated whole numbers, packed or one by one."""
    found: list[int] = []
    for value in message.get(number, []):
        if isinstance(value, int):
            found.append(value)
            continue
        at = 0
        while at < len(value):
            one, at = varint(value, at)
            found.append(one)
    return [v - (1 << 64) if v >= 1 << 63 else v for v in found]


def shape_of(message: Message) -> tuple[int, ...] | None:
    """A TensorShapeProto; -1 where a dimension is open, None where the rank is."""
    if integer(message, 3):
        return None
    return tuple(integer(d, 1) for d in messages(message, 2))


def tensor(message: Message) -> npt.NDArray[Any]:
    """A TensorProto's values; texts as an array of bytes objects."""
    dtype = integer(message, 1)
    shapes = messages(message, 2)
    shape = shape_of(shapes[-1]) if shapes else ()
    if shape is None or any(n < 0 for n in shape) or math.prod(shape) > MAX_ELEMENTS:
        raise Damaged(f"a constant of shape {shape}")
    count = math.prod(shape)
    if dtype == STRING:
        return np.array([*message.get(8, [])][:count], object)
    if dtype not in DTYPES:
        raise Damaged(f"a constant of type {dtype}")
    kind = np.dtype(DTYPES[dtype])
    content = message.get(4, [b""])[-1]
    if content:
        if not isinstance(content, bytes) or len(content) != count * kind.itemsize:
            raise Damaged(f"a constant of {count} elements in {len(content)} bytes")
        return np.frombuffer(content, kind).reshape(shape)
    values = _values(message, dtype)
    if not values:
        values = [0]
    if len(values) > max(count, 1):
        raise Damaged(f"a constant of {count} elements with {len(values)} values")
    values += values[-1:] * (count - len(values))  # the last one stands for the rest
    try:
        return np.array(values[:count]).astype(kind).reshape(shape)
    except (OverflowError, ValueError) as error:
        raise Damaged(str(error)) from error


def _values(message: Message, dtype: int) -> list[Any]:
    if dtype in (1, 2):
        number, form = {1: (5, "f"), 2: (6, "d")}[dtype]
        found: list[Any] = []
        size = struct.calcsize(form)
        for value in message.get(number, []):
            raw = value.to_bytes(size, "little") if isinstance(value, int) else value
            if len(raw) % size:
                raise Damaged("a constant whose values are cut off")
            found += struct.unpack(f"<{len(raw) // size}{form}", raw)
        return found
    number = {9: 10, 10: 11, 19: 13, 22: 16, 23: 17}.get(dtype, 7)
    found = packed(message, number)
    return [np.uint16(v & 0xFFFF).view(np.float16) for v in found] if dtype == 19 else found


class Bundle:
    """The variables of a SavedModel, read one by one."""

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self.entries = {k.decode("utf-8", "replace"): v for k, v in _table(_index(prefix)).items()}
        header = parse(self.entries.pop("", b""))
        self.shards = integer(header, 1)
        if integer(header, 2) != 0:
            raise Damaged("variables of a big-endian machine")

    def read(self, key: str) -> npt.NDArray[Any]:
        if key not in self.entries:
            raise Damaged(f"no variable {key}")
        entry = parse(self.entries[key])
        dtype, shapes = integer(entry, 1), messages(entry, 2)
        shape = shape_of(shapes[-1]) if shapes else ()
        if dtype not in DTYPES or shape is None or entry.get(7):
            raise Damaged(f"variable {key} is of type {dtype}, or in slices")
        kind = np.dtype(DTYPES[dtype])
        offset, size = integer(entry, 4), integer(entry, 5)
        if any(n < 0 for n in shape) or math.prod(shape) * kind.itemsize != size or size > MAX_ELEMENTS * 8:
            raise Damaged(f"variable {key} of shape {shape} has {size} bytes")
        path = Path(f"{self.prefix}.data-{integer(entry, 3):05d}-of-{self.shards:05d}")
        if not path.is_file() or offset < 0 or offset + size > path.stat().st_size:
            raise Damaged(f"{path.name} is missing or too short for variable {key}")
        with path.open("rb") as file:
            file.seek(offset)
            return np.frombuffer(file.read(size), kind).reshape(shape)


def _index(prefix: Path) -> bytes:
    path = Path(f"{prefix}.index")
    if not path.is_file():
        raise Damaged(f"no {path.name} in {path.parent.name}")
    return path.read_bytes()


def _table(data: bytes) -> dict[bytes, bytes]:
    """All keys and values of a LevelDB table."""
    if len(data) < 48 or int.from_bytes(data[-8:], "little") != _MAGIC:
        raise Damaged("variables.index is no table")
    footer = data[-48:]
    _, at = varint(footer, 0)
    _, at = varint(footer, at)
    found: dict[bytes, bytes] = {}
    for _, handle in _block(data, footer, at):
        found |= dict(_block(data, handle, 0))
    return found


def _block(data: bytes, handle: bytes, at: int) -> Iterator[tuple[bytes, bytes]]:
    offset, at = varint(handle, at)
    size, at = varint(handle, at)
    if offset + size + 5 > len(data) or size < 4:
        raise Damaged("a block of variables.index lies outside of it")
    if data[offset + size] != 0:
        raise Damaged("variables.index is compressed")
    block = data[offset : offset + size]
    end = size - 4 * (int.from_bytes(block[-4:], "little") + 1)
    key, at = b"", 0
    while at < end:
        shared, at = varint(block, at)
        fresh, at = varint(block, at)
        length, at = varint(block, at)
        if at + fresh + length > size or shared > len(key):
            raise Damaged("an entry of variables.index is cut off")
        key = key[:shared] + block[at : at + fresh]
        yield key, block[at + fresh : at + fresh + length]
        at += fresh + length
