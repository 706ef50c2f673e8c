"""SavedModel folders written by hand: protobuf, function library and tensor bundle, without TensorFlow."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

_TYPES = {"float32": 1, "int32": 3}


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def message(*fields: tuple[int, Any]) -> bytes:
    """(number, int, text, bytes or float) in order."""
    out = b""
    for number, value in fields:
        if isinstance(value, float):
            out += varint(number << 3 | 5) + struct.pack("<f", value)
        elif isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            raw = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(raw)) + raw
    return out


def shape(*sizes: int) -> bytes:
    return message(*[(2, message((1, n))) for n in sizes])


def tensor(values: Any) -> bytes:
    array = np.asarray(values)
    if array.dtype.kind in "SO":
        return message((1, 7), (2, shape(*array.shape)), *[(8, v) for v in array.ravel()])
    return message((1, _TYPES[array.dtype.name]), (2, shape(*array.shape)), (4, array.tobytes()))


def attribute(name: str, value: Any) -> tuple[int, bytes]:
    """A text, truth, number, list of numbers, array, or ("function", NAME)."""
    if isinstance(value, tuple):
        made = message((10, message((1, value[1]))))
    elif isinstance(value, bool):
        made = message((5, int(value)))
    elif isinstance(value, (float, int)):
        made = message((4 if isinstance(value, float) else 3, value))
    elif isinstance(value, list):
        made = message((1, message(*[(3, v) for v in value])))
    elif isinstance(value, str):
        made = message((2, value))
    else:
        made = message((8, tensor(value)))
    return 5, message((1, name), (2, made))


def node(kind: str, name: str, *inputs: str, **attributes: Any) -> bytes:
    return message((1, name), (2, kind), *[(3, i) for i in inputs], *[attribute(k, v) for k, v in attributes.items()])


def function(name: str, arguments: list[str], nodes: list[bytes], results: dict[str, str]) -> bytes:
    signature = [(1, name), *((2, message((1, a))) for a in arguments), *((3, message((1, r))) for r in results)]
    returned = [(4, message((1, k), (2, v))) for k, v in results.items()]
    return message((1, message(*signature)), *[(3, n) for n in nodes], *returned)


def bundle(folder: Path, variables: dict[str, np.ndarray]) -> None:
    """variables.index with a table of one block, prefixes shared, and its data."""
    folder.mkdir()
    entries, data = {b"": message((1, 1))}, b""
    for key in sorted(variables):
        raw = variables[key].tobytes()
        entries[key.encode()] = message((1, 1), (2, shape(*variables[key].shape)), (4, len(data)), (5, len(raw)))
        data += raw
    (folder / "variables.data-00000-of-00001").write_bytes(data)
    rows, before = b"", b""
    for key, value in entries.items():
        shared = next(
            (i for i, (a, b) in enumerate(zip(key, before, strict=False)) if a != b), min(len(key), len(before))
        )
        rows += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    tail = struct.pack("<II", 0, 1)
    first = rows + tail + b"\0" + b"crc!"
    handle = varint(0) + varint(len(rows) + len(tail))
    index = varint(0) + varint(1) + varint(len(handle)) + b"z" + handle + tail + b"\0" + b"crc!"
    footer = varint(0) + varint(0) + varint(len(first)) + varint(len(index) - 5)
    footer = footer.ljust(40, b"\0") + (0xDB4775248B80FB57).to_bytes(8, "little")
    (folder / "variables.index").write_bytes(first + index + footer)


def write_saved_model(
    folder: Path, sample: tuple[int, ...], nodes: list[bytes], result: str, variables: dict[str, np.ndarray]
) -> Path:
    """`nodes`: the body of the served function, of argument "x" and one argument a variable; `result`: "node:y:0"."""
    folder.mkdir()
    names = list(variables)
    inner = function("inner", ["x", *names], nodes, {"out": result})
    call = node("PartitionedCall", "call", "x", *names, f=("function", "inner"))
    outer = function("outer", ["x", *names], [call], {"out": "call:output:0"})
    restoring = [
        node("Const", "names", value=np.array([f"{n}/key".encode() for n in names], object)),
        node("Const", "slices", value=np.array([b""] * len(names), object)),
        node("RestoreV2", "read", "file", "names:output:0", "slices:output:0"),
    ]
    for i, name in enumerate(names):
        restoring.append(node("Identity", f"one{i}", f"read:tensors:{i}"))
        restoring.append(node("AssignVariableOp", f"give{i}", name, f"one{i}:output:0"))
    restore = function("restore", ["file", *names], restoring, {"done": "file"})
    graph = [
        node("Placeholder", "input"), node("Placeholder", "filename"),
        *(node("VarHandleOp", n) for n in names),
        node("StatefulPartitionedCall", "serve", "input", *names, f=("function", "outer")),
        node("StatefulPartitionedCall", "load", "filename", *names, f=("function", "restore")),
    ]  # fmt: skip
    library = message(*[(1, f) for f in (inner, outer, restore)])
    entry = message((1, "input:0"), (2, 1), (3, shape(-1, *sample)))
    signature = message(
        (1, message((1, "x"), (2, entry))), (2, message((1, "y"), (2, message((1, "serve:0"), (2, 1)))))
    )
    meta = message(
        (1, message((4, "serve"), (5, "2.21"))),
        (2, message(*[(1, n) for n in graph], (2, library))),
        (3, message((3, "load"))),
        (5, message((1, "serving_default"), (2, signature))),
    )
    (folder / "saved_model.pb").write_bytes(message((1, 1), (2, meta)))
    bundle(folder / "variables", {f"{n}/key": v for n, v in variables.items()})
    return folder
