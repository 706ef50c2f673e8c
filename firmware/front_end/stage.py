"""What a stage of the front end tells the code generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from secateur.firmware.kernels.descriptor import Constant


@dataclass(frozen=True)
class StageCode:
    """One stage in C.

    `header`: beside this file; it declares `<name>_params` and the functions of its kind:

        features   void <name>_reset(const <name>_params *p, void *state);
                   void <name>_frame(const <name>_params *p, void *state, void *scratch,
                                     const int16_t *frame, int16_t *features);
        resampler  void <name>_reset(const <name>_params *p, void *state);
                   int <name>_push(const <name>_params *p, void *state, const int16_t *sample, int16_t *outputs);
                   takes one sample of all channels, returns how many output samples it wrote
        detrend    void <name>_window(const <name>_params *p, void *scratch, int16_t *window);   in place
        image      void <name>_window(const <name>_params *p, void *scratch, const uint8_t *pixels, uint8_t *out);

    `params`: initialisers by field name; a Constant becomes a table, its field a pointer to it.
    `state_bytes`: kept from call to call; `scratch_bytes`: needed during a call; both are aligned to 8.
    """

    name: str
    header: str
    params: Mapping[str, int | Sequence[int] | Constant]
    state_bytes: int = 0
    scratch_bytes: int = 0
