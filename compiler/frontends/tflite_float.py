"""Float32 in a `.tflite` file: constants computed when it is read, and what is neither float nor integer refused."""

from __future__ import annotations

import numpy as np

from secateur.errors import UserError
from secateur.models.program import Op, Program, Tensor
from secateur.models.reference import run_values
from secateur.models.reference_float import FLOAT

FOLDED = frozenset((*FLOAT, "DEQUANTIZE", "QUANTIZE", "CAST", "RESHAPE", "TRANSPOSE", "BROADCAST_TO", "PAD", "PADV2",
                    "CONCATENATION", "STRIDED_SLICE", "TAKE"))  # fmt: skip
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL")


def check_float(op: Op, tensors: list[Tensor], where: str) -> None:
    """Raise UserError for weights of other types than the activations, and for constants that are no numbers."""
    x = tensors[op.inputs[0]]
    weights = tensors[op.inputs[1]] if op.kind in WEIGHTED else x
    if x.dtype == "float32" and weights.dtype != "float32":
        raise UserError(
            f"{where}: {weights.dtype} weights for float32 activations (dynamic-range quantization); convert with full "
            "integer quantization (a representative dataset, int8 alone), or without quantization"
        )
    for i in op.inputs:
        data = tensors[i].data if i >= 0 else None
        if data is not None and data.dtype == np.float32 and not np.isfinite(data).all():
            raise UserError(f"{where}: the constant {tensors[i].name} holds values that are no finite numbers")


def fold_floats(op: Op, tensors: list[Tensor]) -> bool:
    """Make the output of `op` a constant where its operands are and floats take part; False where it has to run."""
    operands = [tensors[i] for i in op.inputs if i >= 0]
    if op.kind not in FOLDED or len(op.outputs) != 1 or any(t.data is None for t in operands):
        return False
    out = tensors[op.outputs[0]]
    if "float32" not in (out.dtype, *(t.dtype for t in operands)):
        return False
    if op.kind == "DEQUANTIZE" and operands[0].dtype == "float32":  # it was float16, see `half_as_single`
        tensors[op.outputs[0]] = Tensor(out.name, out.shape, out.dtype, out.quantization, operands[0].data)
        return True
    alone = Program("constants", tuple(tensors), (op,), (), op.outputs)
    value = run_values(alone, np.zeros(0, np.int8))[op.outputs[0]]
    tensors[op.outputs[0]] = Tensor(out.name, out.shape, out.dtype, out.quantization, value)
    return True


def half_as_single(content: bytes) -> bytes:
    """Constants of float16 as float32: every value is kept."""
    return np.frombuffer(content, np.float16).astype(np.float32).tobytes()
