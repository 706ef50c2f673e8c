"""Python values as C text: identifiers, initialisers, tables."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_C_AND_CPP = """
auto break case char const continue default do double else enum extern float for goto if inline int long register
restrict return short signed sizeof static struct switch typedef union unsigned void volatile while
alignas alignof and and_eq asm bitand bitor bool catch char8_t char16_t char32_t class compl concept consteval constexpr
constinit const_cast co_await co_return co_yield decltype delete dynamic_cast explicit export false friend mutable
namespace new noexcept not not_eq nullptr operator or or_eq private protected public reinterpret_cast requires
static_assert static_cast template this thread_local throw true try typeid typename using virtual wchar_t xor xor_eq
"""
KEYWORDS = frozenset(_C_AND_CPP.split())
"""C++ includes the generated header too."""

_HEADERS = """
assert complex ctype errno features fenv float inttypes iso646 limits locale math setjmp signal stdarg stdbool stddef
stdint stdio stdlib string tgmath time wchar wctype main port samples harness kernels after sec
"""
HEADERS = frozenset(_HEADERS.split())
"""A model of such a name would stand in for a header of C's library or of the harness."""


def comment(text: str) -> str:
    """`text` made harmless inside a C comment, whoever chose it.

    >>> comment("a/*b*/ x")
    'a__b__ x'
    """
    return re.sub(r"[^A-Za-z0-9_ .:;()-]", "_", text)


def identifier(name: str) -> str:
    """`name` as a lower-case C identifier.

    >>> identifier("Watch ResNet-8")
    'watch_resnet_8'
    >>> identifier("8bit"), identifier("int")
    ('model_8bit', 'model_int')
    """
    found = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "model"
    taken = found[0].isdigit() or found in KEYWORDS or found in HEADERS or found.startswith("sec_")
    return f"model_{found}" if taken else found


def number(value: int) -> str:
    """An int32 constant. C has no negative literals, so the lowest value is written as a difference."""
    return "(-2147483647 - 1)" if value == -(1 << 31) else str(value)


def real(value: float) -> str:
    """A float constant: nine digits are exact, and older C++ knows no hexadecimal ones.

    >>> real(0.1), real(1)
    ('0.100000001f', '1.0f')
    """
    text = f"{np.float32(value):.9g}"
    return f"{text}f" if any(c in text for c in ".en") else f"{text}.0f"


def table(values: npt.NDArray[Any], per_line: int = 24) -> str:
    """The elements of an array initialiser, integers or float32, a line every `per_line`."""
    one = real if values.dtype == np.float32 else number
    flat = [one(v) for v in values.ravel().tolist()]
    lines = [", ".join(flat[i : i + per_line]) for i in range(0, len(flat), per_line)]
    return ",\n    ".join(lines)


def initialiser(fields: Mapping[str, int | float | Sequence[int]]) -> str:
    """Designated initialisers of a parameter struct.

    >>> initialiser({"in_h": 1, "step": (1, 2)})
    '.in_h = 1, .step = {1, 2}'
    >>> initialiser({"scale": 0.5})
    '.scale = 0x1.0000000000000p-1f'
    """

    def value(v: int | float | Sequence[int]) -> str:
        if isinstance(v, float):
            return f"{v.hex()}f"  # hexadecimal: the very bits
        return number(v) if isinstance(v, int) else "{" + ", ".join(number(int(x)) for x in v) + "}"

    return ", ".join(f".{name} = {value(v)}" for name, v in fields.items())


def string(text: str) -> str:
    """A C string literal; anything beyond printable ASCII as octal escapes of its UTF-8 bytes.

    >>> string('a "b" \\u00e9')
    '"a \\\\"b\\\\" \\\\303\\\\251"'
    """
    out = []
    for byte in text.encode():
        char = chr(byte)
        if char in '"\\?':
            out.append("\\" + char)
        else:
            out.append(char if 32 <= byte < 127 else f"\\{byte:03o}")
    return '"' + "".join(out) + '"'
