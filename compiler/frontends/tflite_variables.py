"""Variables of a `.tflite` (VAR_HANDLE, READ_VARIABLE, ASSIGN_VARIABLE) as states: values that pass from call to call.

A variable that is read before it is assigned is a state; a read after an assignment is that value; one that is never
assigned is a constant.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from secateur.errors import UserError
from secateur.models.program import DTYPES, State, Tensor

VARIABLE_KINDS = ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE")


def variable_name(options: Any) -> str:
    """What makes two handles one variable."""
    parts = (options.container, options.sharedName)
    return "/".join(p.decode() if isinstance(p, bytes) else str(p or "") for p in parts)


@dataclass
class Variables:
    """`initial`: first values that the file sets; `handles`: tensor -> variable; `current`: variable -> its tensor
    at this point; `before`: variable -> the tensor that holds it when an inference starts; `tensors`: those that the
    file marks as variable, which operators change in place."""

    initial: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    handles: dict[int, str] = field(default_factory=dict)
    current: dict[str, int] = field(default_factory=dict)
    before: dict[str, int] = field(default_factory=dict)
    aliases: dict[int, int] = field(default_factory=dict)
    tensors: set[int] = field(default_factory=set)

    def now(self, tensor: int) -> int:
        """The tensor that stands for `tensor`, which may have been read from a variable."""
        return self.aliases.get(tensor, tensor)

    def keep(self, tensor: int, tensors: list[Tensor]) -> tuple[int, int]:
        """(value before, value after) of a variable tensor at the operator that changes it."""
        if tensor not in self.tensors:
            raise UserError(f"its state {tensors[tensor].name} is not a variable tensor")
        name = f"tensor {tensor}"
        old = self.current.setdefault(name, tensor)
        self.before.setdefault(name, tensor)
        tensors.append(replace(tensors[tensor], name=f"{tensors[tensor].name}_after"))
        self.current[name] = self.aliases[tensor] = len(tensors) - 1
        return old, len(tensors) - 1

    def access(
        self, kind: str, options: Any, inputs: tuple[int, ...], outputs: tuple[int, ...], tensors: list[Tensor],
        where: str,
    ) -> None:  # fmt: skip
        """Follow one operator on variables."""
        if kind == "VAR_HANDLE":
            self.handles[outputs[0]] = variable_name(options)
            return
        if not inputs or inputs[0] not in self.handles:
            raise UserError(f"{where}: its variable has no handle")
        name = self.handles[inputs[0]]
        if kind == "ASSIGN_VARIABLE":
            value = self.now(inputs[1])
            if name in self.current:
                old, new = tensors[self.current[name]], tensors[value]
                if (old.shape, old.dtype) != (new.shape, new.dtype):
                    raise UserError(
                        f"{where}: variable {name} is {old.dtype} {old.shape}, then {new.dtype} {new.shape}"
                    )
            self.current[name] = value
        elif name in self.current:
            self.aliases[outputs[0]] = self.current[name]
        else:
            self.current[name] = self.before[name] = outputs[0]

    def states(self, tensors: list[Tensor]) -> tuple[State, ...]:
        """The states; variables that are never assigned become constants in `tensors`."""
        found = []
        for name, before in self.before.items():
            tensor, after = tensors[before], self.current[name]
            zero = tensor.quantization.zero_point[0] if tensor.quantization and tensor.dtype == "int8" else 0
            start = self.initial.get(name, np.full(tensor.shape, zero, DTYPES[tensor.dtype]))
            start = np.broadcast_to(np.asarray(start, DTYPES[tensor.dtype]), tensor.shape).copy()
            if after == before:
                tensors[before] = replace(tensor, data=start)
            else:
                found.append(State(before, after, start))
        return tuple(found)
