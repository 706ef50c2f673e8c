"""Operators that read nothing but constants become constants, evaluated once by the reference interpreter."""

from __future__ import annotations

from dataclasses import replace

from secateur.models.program import WEIGHTED, Op, Program, Tensor, with_ops
from secateur.models.reference import run_values
from secateur.passes.contract import Pass, same_interface
from secateur.passes.program.promises import exact_activations, no_more_macs, no_more_operators, same_ends
from secateur.passes.program.value_ranges import has_constant_weights

KNOWN = (
    "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "MUL", "MAX_POOL_2D", "AVERAGE_POOL_2D", "MEAN",
    "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "CONCATENATION", "PAD", "PADV2", "STRIDED_SLICE", "QUANTIZE", "RELU", "RELU6",
    "SOFTMAX",
)  # fmt: skip
"""Kinds that models/reference.py computes; what it does not know stays as it is."""

TAKE_CONSTANTS = ("ADD", "MUL")
"""Kinds whose kernels read an operand from a constant table."""


class FoldConstants(Pass[Program]):
    """Evaluate operators of constants, as far as every reader takes a constant or is evaluated as well.

    What writes a Program's output or state stays an operator: both are computed.
    """

    requires = (exact_activations,)
    ensures = (same_interface, same_ends, no_more_macs, no_more_operators)

    def run(self, model: Program) -> Program:
        folded = self._foldable(model)
        if not folded:
            return model
        tensors = list(model.tensors)
        for op in model.ops:
            if op.outputs[0] in folded:
                tensors[op.outputs[0]] = _evaluated(replace(model, tensors=tuple(tensors)), op)
        return with_ops(model, [op for op in model.ops if op.outputs[0] not in folded], tensors)

    @staticmethod
    def _foldable(model: Program) -> set[int]:
        """Outputs of operators to evaluate: known forwards, then what a remaining reader cannot take is struck."""
        constant = {i for i, t in enumerate(model.tensors) if t.data is not None}
        found: set[int] = set()
        for op in model.ops:
            if _known(model, op) and all(i < 0 or i in constant or i in found for i in op.inputs):
                found |= set(op.outputs)
        found -= {*model.outputs, *(s.after for s in model.states)}
        for op in reversed(model.ops):
            if op.outputs[0] not in found and op.kind not in TAKE_CONSTANTS:
                found -= set(op.inputs)
        return found


def _known(model: Program, op: Op) -> bool:
    """models/reference.py computes `op`: its kinds, on int8, and with windows for batch 1 only."""
    x = model.tensors[op.inputs[0]]
    if op.kind not in KNOWN or x.dtype != "int8":
        return False
    if op.kind in WEIGHTED:
        return has_constant_weights(model, op)
    return not op.kind.endswith("POOL_2D") or x.shape[0] == 1


def _evaluated(model: Program, op: Op) -> Tensor:
    """The output of `op` as a constant."""
    first, out = model.tensors[op.inputs[0]].data, op.outputs[0]
    assert first is not None
    alone = replace(model, ops=(op,), inputs=op.inputs[:1], outputs=(out,), states=())
    return replace(model.tensors[out], data=run_values(alone, first)[out])
