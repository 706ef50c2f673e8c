"""Pictures cropped, resized and recoloured: what the code generator needs to know."""

from __future__ import annotations

from collections.abc import Sequence

from secateur.firmware.front_end.stage import StageCode
from secateur.firmware.kernels.descriptor import Constant
from secateur.models.front_end.image import ImageChain

_ORDERS = ("rgb", "bgr", "grey", "rgb565")
_RESIZES = ("nearest", "bilinear", "area")
"""The enumerations of sec_image.h."""


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
