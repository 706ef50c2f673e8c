"""Sections and symbols of an ELF file, 32 or 64 bits, little-endian: all that sizes and addresses need."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from secateur.errors import ToolError

ALLOC, NOBITS, SYMTAB = 2, 8, 2


@dataclass(frozen=True)
class Section:
    """`loaded`: it has bytes in the file that reach the device; otherwise it is only reserved memory."""

    name: str
    address: int
    size_bytes: int
    allocated: bool
    loaded: bool


@dataclass(frozen=True)
class Elf:
    """`symbols`: name -> value, global ones included."""

    sections: tuple[Section, ...]
    symbols: dict[str, int]

    def size(self, *names: str) -> int:
        """Bytes of the sections with these exact names; 0 for one that is absent."""
        return sum(s.size_bytes for s in self.sections if s.name in names)


def read_elf(path: Path) -> Elf:
    """Raises ToolError when the file is missing or no little-endian ELF."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ToolError(f"cannot read {path.name}: {error.strerror}; build it again") from error
    if data[:4] != b"\x7fELF" or len(data) < 64 or data[5] != 1:
        raise ToolError(f"{path.name} is no little-endian ELF file; build it again")
    wide = data[4] == 2
    table, entry_size, count, names_index = (
        (struct.unpack_from("<Q", data, 40)[0], *struct.unpack_from("<HHH", data, 58))
        if wide
        else (struct.unpack_from("<I", data, 32)[0], *struct.unpack_from("<HHH", data, 46))
    )
    # name, type, flags, address, offset, size, link (section header in both widths)
    layout = "<IIQQQQI" if wide else "<IIIIIII"
    headers = [struct.unpack_from(layout, data, table + i * entry_size) for i in range(count)]

    def text(string_table: int, at: int) -> str:
        start = headers[string_table][4] + at
        return data[start : data.index(b"\0", start)].decode()

    sections = tuple(
        Section(
            text(names_index, name),
            address,
            size,
            bool(flags & ALLOC),
            bool(flags & ALLOC) and kind != NOBITS,
        )
        for name, kind, flags, address, _offset, size, _link in headers
    )
    symbols: dict[str, int] = {}
    for _name, kind, _flags, _address, offset, size, link in headers:
        if kind != SYMTAB:
            continue
        for at in range(offset, offset + size, 24 if wide else 16):
            if wide:
                name, _info, _other, _index, value = struct.unpack_from("<IBBHQ", data, at)
            else:
                name, value = struct.unpack_from("<II", data, at)
            if name:
                symbols[text(link, name)] = value
    return Elf(sections, symbols)
