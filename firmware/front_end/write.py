"""A stage's parameters as C text."""

from __future__ import annotations

from secateur.firmware.cgen import initialiser, table
from secateur.firmware.front_end.stage import StageCode
from secateur.firmware.kernels.descriptor import Constant


def stage_tables(prefix: str, code: StageCode) -> tuple[str, str]:
    """Declarations of a stage's tables, named `<prefix>_<role>`, and the initialiser of its parameters.

    >>> import numpy as np
    >>> taps = Constant("taps", "int16_t", np.array([1, -2]))
    >>> print(*stage_tables("audio", StageCode("sec_x", "sec_x.h", {"up": 2, "taps": taps})), sep="\\n")
    static const int16_t audio_taps[2] = {
        1, -2
    };
    <BLANKLINE>
    {.up = 2, .taps = audio_taps}
    """
    tables, fields = [], []
    for name, value in code.params.items():
        if not isinstance(value, Constant):
            fields.append(initialiser({name: value}))
            continue
        of = f"{prefix}_{value.role}"
        tables.append(f"static const {value.ctype} {of}[{value.values.size}] = {{\n    {table(value.values)}\n}};\n")
        fields.append(f".{name} = {of}")
    return "".join(tables), "{" + ", ".join(fields) + "}"
