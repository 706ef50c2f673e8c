"""Pictures cropped, resized and recoloured: what the code generator needs to know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from secateur.errors import UserError
from secateur.firmware import cgen
from secateur.firmware.front_end.stage import StageCode
from secateur.firmware.front_end.stream import decision_context, int64, quantizer_between
from secateur.firmware.front_end.write import stage_tables
from secateur.firmware.generated import HEADER_BYTES, PictureShape
from secateur.firmware.kernels.descriptor import Constant
from secateur.models.front_end.image import ImageChain
from secateur.models.front_end.quantizer import Quantizer, make_quantizer
from secateur.models.program import Program

_ORDERS = ("rgb", "bgr", "grey", "rgb565")
_RESIZES = ("nearest", "bilinear", "area")
"""The enumerations of sec_image.h."""
FORMATS = {
    "rgb": "three bytes a pixel: red, green, blue",
    "bgr": "three bytes a pixel: blue, green, red",
    "grey": "a byte a pixel",
    "rgb565": "two bytes a pixel: red's five bits and green's upper three first",
}


def image_code(chain: ImageChain) -> StageCode:
    """The C stage of a camera's pictures; it needs no memory of its own."""
    row = chain.width * chain.pixel_bytes
    params: dict[str, int | Sequence[int] | Constant] = {
        "order": _ORDERS.index(chain.order),
        "out_order": _ORDERS.index(chain.out_order),
        "resize": _RESIZES.index(chain.resize),
        "pixel_bytes": chain.pixel_bytes,
        "row_bytes": row,
        "first": chain.top * row + chain.left * chain.pixel_bytes,
        "height": chain.crop_height,
        "width": chain.crop_width,
        "out_height": chain.out_height,
        "out_width": chain.out_width,
        "rows": Constant("rows", "int32_t", chain.rows),
        "columns": Constant("columns", "int32_t", chain.columns),
    }
    return StageCode("sec_image", "sec_image.h", params)


COUNTERS = ("vote", "voted", "quiet", "due")


@dataclass(frozen=True)
class Parts:
    """A front end of pictures in C."""

    chain: ImageChain
    code: StageCode
    quantizer: Quantizer
    outputs: int
    smooth: int

    @property
    def offset(self) -> int | None:
        """What all pixel values move by, where mean, std and the input's scale come to no more than that."""
        pixels = np.arange(256, dtype=np.int16)[:, np.newaxis]
        moved = self.quantizer(pixels).astype(np.int64) - pixels
        return int(moved[0, 0]) if (moved == moved[0, 0]).all() else None

    @property
    def constant_bytes(self) -> int:
        """Flash of the tables and of the quantizer."""
        tables = sum(v.size_bytes for v in self.code.params.values() if isinstance(v, Constant))
        return tables + (0 if self.offset is not None else 12 * len(self.quantizer.multiplier))

    @property
    def state_bytes(self) -> int:
        """What `NAME_state` holds beyond the pointers, as a 32-bit compiler lays it out."""
        return -(-self.outputs * (1 + self.smooth) // 4) * 4 + 4 * len(COUNTERS)

    def shape(self, output_bytes: int) -> PictureShape:
        return PictureShape(self.chain.frame_bytes, HEADER_BYTES + output_bytes)

    def context(self, program: Program, prefix: str) -> dict[str, Any]:
        """What `picture.c.j2` and the header's part of pictures need."""
        tables, initialiser = stage_tables(f"{prefix}_image", self.code)
        q = self.quantizer
        return {
            "chain": self.chain, "tables": tables, "initialiser": initialiser, "classes": self.outputs,
            "offset": self.offset, "quantizer": q, "columns": len(q.multiplier),
            "multiplier": ", ".join(cgen.number(m) for m in q.multiplier),
            "bias": ", ".join(int64(b) for b in q.bias),
        } | decision_context(program)  # fmt: skip


def parts(program: Program) -> Parts | None:
    """The C of a Program's front end of pictures; None where it has none.

    Raises UserError where its input or output is of a type that no front end serves.
    """
    pre = program.preprocess
    chain = pre.front_end
    if not isinstance(chain, ImageChain):
        return None
    if pre.decisions.reconstructs:
        raise UserError(f"{program.name}: reconstruction is judged on streams, not on pictures")
    outputs = program.tensors[program.outputs[0]].elements
    quantizer = quantizer_between(program, pixel_quantizer)
    return Parts(chain, image_code(chain), quantizer, outputs, pre.decisions.smooth)


def pixel_quantizer(program: Program) -> Quantizer:
    """Pixel values to the input's integers. Raises UserError where the two do not go together."""
    pre, entry = program.preprocess, program.tensors[program.inputs[0]]
    chain = pre.front_end
    assert isinstance(chain, ImageChain)
    if entry.dtype not in ("int8", "uint8"):
        raise UserError(f"{program.name}: its input is {entry.dtype}; a front end feeds int8 or uint8 inputs")
    if len(entry.shape) != 4:
        raise UserError(
            f"{program.name}: its input is {'x'.join(map(str, entry.shape))}, no picture; leave [image] out"
        )
    _, height, width, channels = entry.shape
    chain.check((channels, height, width))
    mean, std = pre.mean or (0.0,), pre.std or (1.0,)
    for what, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, channels):
            raise UserError(
                f"{program.name}: {len(values)} values of {what} for {channels} channels; give one, or one a channel"
            )
    return make_quantizer((1.0,), mean, std, entry.scale, entry.zero_point, entry.dtype)
