"""Equal constant tensors become one tensor."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from secateur.models.program import Program, with_ops
from secateur.passes.contract import Pass, same_interface
from secateur.passes.program.promises import exact_activations, no_more_constants, same_ends


class ShareConstants(Pass[Program]):
    """Every operator reads the first of the constants that are equal in shape, type, quantization and bytes."""

    requires = (exact_activations,)
    ensures = (same_interface, same_ends, no_more_constants)

    def run(self, model: Program) -> Program:
        first: dict[Any, int] = {}
        one = {-1: -1}
        for i, t in enumerate(model.tensors):
            key: Any = i if t.data is None else (t.shape, t.dtype, t.quantization, t.data.tobytes())
            one[i] = first.setdefault(key, i)
        if all(i == j for i, j in one.items()):
            return model
        return with_ops(model, [replace(op, inputs=tuple(one[i] for i in op.inputs)) for op in model.ops])
