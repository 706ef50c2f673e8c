"""Transposes inside an ONNX file that move elements: followed until a fully connected layer takes them in.

Files of tf2onnx have them, where a channels-last Flatten stands before a Dense layer. Nothing is moved: the layer's
weights are.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from secateur.compiler.frontends.onnx_operators import Refused

KEEP = (
    *("Relu", "Clip", "Identity", "Dropout", "Cast", "Sigmoid", "HardSigmoid", "Tanh", "HardSwish", "Swish", "Gelu"),
    *("Elu", "LeakyRelu", "Erf"),
)


class Moved:
    """Values that are computed in another order of dimensions, or of columns, than the file's."""

    def __init__(self) -> None:
        self.orders: dict[str, tuple[int, ...]] = {}
        self.columns: dict[str, npt.NDArray[np.int64]] = {}

    def shape(self, name: str, computed: tuple[int, ...]) -> tuple[int, ...]:
        """The file's shape of a value."""
        return tuple(computed[i] for i in self.orders.get(name, range(len(computed))))

    def transposes(self, name: str, computed: tuple[int, ...], order: list[int]) -> tuple[int, ...] | None:
        """The order behind a Transpose of `name`; None where nothing but dimensions of 1 move."""
        whole = tuple(self.orders.get(name, tuple(range(len(computed))))[i] for i in order)
        long = [i for i in whole if computed[i] != 1]
        if name not in self.orders and long == sorted(long):
            return None
        if whole[0] != 0:
            raise Refused(f"perm {order} moves the batch")
        return whole

    def refuse(self, op: str, names: list[str]) -> None:
        """Raise Refused for an operator behind a Transpose that needs the file's order."""
        moved = [n for n in names if n in self.orders or n in self.columns]
        if moved and op not in (*KEEP, "Reshape", "Flatten", "Gemm", "MatMul"):
            raise Refused(
                f"behind a Transpose that moves {moved[0]}; only activations, Flatten and fully connected layers may be"
            )

    def passes(
        self, op: str, names: list[str], outputs: list[str], before: tuple[int, ...], after: tuple[int, ...]
    ) -> None:
        """Note what `op` makes of moved inputs; `before`, `after`: the shapes that are computed. Raises Refused."""
        moved = [n for n in names if n in self.orders or n in self.columns]
        if not moved:
            return
        name = moved[0]
        if op in KEEP:
            if name in self.orders:
                self.orders[outputs[0]] = self.orders[name]
            else:
                self.columns[outputs[0]] = self.columns[name]
        elif op in ("Reshape", "Flatten") and name in self.orders and len(after) == 2 and after[0] == before[0]:
            order = [i - 1 for i in self.orders[name][1:]]
            places = np.arange(math.prod(before[1:])).reshape(before[1:])
            self.columns[outputs[0]] = places.transpose(order).ravel()
        elif not (op in ("Gemm", "MatMul") and moved == names[:1] and name in self.columns):
            raise Refused(f"behind a Transpose that moves {name}; only to one row a sample, and as the first factor")

    def weights(self, name: str, weight: npt.NDArray[Any], axis: int) -> npt.NDArray[Any]:
        """The weights of a layer that reads `name`, its inputs along `axis`, for the order that is computed."""
        columns = self.columns.get(name)
        if columns is None or weight.shape[axis] != columns.size:
            return weight
        found = np.empty_like(weight)
        np.moveaxis(found, axis, 0)[columns] = np.moveaxis(weight, axis, 0)
        return found
