"""PAD in front of a convolution or max pool becomes the operator's own padding: no padded copy in RAM."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from secateur.models.program import Op, Padding, Program, with_ops
from secateur.passes.contract import Pass, same_interface


class FusePadding(Pass[Program]):
    """Move spatial PAD operators into the only operator that reads them.

    Exact: a convolution's tap outside the input counts as the input's zero point, which is what PAD writes;
    a max pool's does not count, which equals the lowest value that PADV2 writes in front of one.
    """

    ensures = (same_interface,)

    def run(self, model: Program) -> Program:
        readers: dict[int, list[Op]] = {}
        for op in model.ops:
            for i in op.inputs:
                readers.setdefault(i, []).append(op)
        pads = {op.outputs[0]: op for op in model.ops if op.kind in ("PAD", "PADV2")}
        fused: dict[int, Op] = {}
        ops: list[Op] = []
        for op in model.ops:
            pad = pads.get(op.inputs[0]) if op.inputs else None
            if pad is not None and len(readers[pad.outputs[0]]) == 1 and pad.outputs[0] not in model.outputs:
                amounts = self._amounts(model, pad, op)
                if amounts is not None:
                    fused[id(pad)] = pad
                    options = replace(op.options, padding=amounts)
                    op = replace(op, inputs=(pad.inputs[0], *op.inputs[1:]), options=options)
            ops.append(op)
        return with_ops(model, [op for op in ops if id(op) not in fused])

    @staticmethod
    def _amounts(model: Program, pad: Op, op: Op) -> Padding | None:
        """The padding that `op` gets, or None where fusing would change a value."""
        amounts = model.tensors[pad.inputs[1]].data
        if amounts is None or amounts.shape != (4, 2) or amounts[[0, 3]].any() or op.options.padding:
            return None
        source, padded = model.tensors[pad.inputs[0]], model.tensors[pad.outputs[0]]
        if source.quantization != padded.quantization:
            return None
        if op.kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            if not FusePadding._pads_with(model, pad, 0.0, source.zero_point if source.quantization else 0):
                return None
        elif op.kind == "MAX_POOL_2D":
            # a window wholly outside would have no value at all
            inside = (amounts[1:3] < np.array(op.options.kernel)[:, None]).all()
            lowest = float(np.finfo(np.float32).min)
            smallest = -32768 if source.dtype == "int16" else -128
            if not inside or not FusePadding._pads_with(model, pad, lowest, smallest):
                return None
        else:
            return None
        (top, bottom), (left, right) = amounts[1].tolist(), amounts[2].tolist()
        return Padding(top, bottom, left, right)

    @staticmethod
    def _pads_with(model: Program, pad: Op, real: float, quantized: int) -> bool:
        source = model.tensors[pad.inputs[0]]
        wanted = real if source.quantization is None else quantized
        if pad.kind == "PAD":
            return wanted == (0.0 if source.quantization is None else source.zero_point)
        value = model.tensors[pad.inputs[2]].data
        return value is not None and float(value.ravel()[0]) == wanted
