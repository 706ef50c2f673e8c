"""What the C kernels take for granted of an operator: a file that contradicts itself must not become a wrong image."""

from __future__ import annotations

import math

import numpy as np

from secateur.compiler.frontends.tflite_int16 import check_int16
from secateur.compiler.frontends.tflite_recurrent import RECURRENT_KINDS
from secateur.errors import UserError
from secateur.firmware.kernels.elementwise import strides
from secateur.models.program import DTYPES, Op, Program, Tensor
from secateur.models.tables import TABLE_KINDS

LARGEST_DIMENSION = 32767  # int16_t in the kernels' parameter structs
LARGEST_SCALE = 2.0**60
LARGEST_MULTIPLIER = 2.0**30
SUM_FACTOR = 2.0**20  # TFLite adds on this part of twice the larger scale, and only makes the sum smaller
ACTIVATIONS = ("NONE", "RELU", "RELU6", "RELU_N1_TO_1")
FIXED_OUTPUT = ("LOGISTIC", "TANH", "SOFTMAX")
BORDERS = ("QUANTIZE", "DEQUANTIZE", "CAST")
FLOAT_ALONE = ("RELU_N1_TO_1", "NEG", "SQUARE", "EXP", "LOG", "SQRT")
SAME_COUNT = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "RELU", "RELU6", "SOFTMAX", *BORDERS, *TABLE_KINDS, *FLOAT_ALONE)
REDUCTIONS = ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN")
ANY_RANK = (
    *SAME_COUNT[:3],
    *BORDERS,
    "TRANSPOSE",
    "BROADCAST_TO",
    *REDUCTIONS,
    "ARG_MAX",
    "ARG_MIN",
    "CONCATENATION",
    "BATCH_MATMUL",
    "GATHER",
)
BIAS_TYPES = {"int16": ("int32", "int64"), "float32": ("float32",)}  # int32 beside other activations
WEIGHT_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0, "TRANSPOSE_CONV": 0}


def check_program(program: Program, where: str) -> None:
    """Raise UserError if the network's ends are not one computed and one fed activation of int8 each."""
    if not program.ops:
        raise UserError(f"{where}: the file holds no operators")
    if not program.inputs or not program.outputs:
        raise UserError(f"{where}: the file names {len(program.inputs)} inputs and {len(program.outputs)} outputs")
    computed = {i for op in program.ops for i in op.outputs}
    for role, ends, good in (("input", program.inputs, None), ("output", program.outputs, computed)):
        for i in ends:
            if program.tensors[i].data is not None or (good is not None and i not in good):
                raise UserError(
                    f"{where}: {role} {program.tensors[i].name} is a constant or not computed by any operator"
                )
        if len(set(ends)) != len(ends):
            raise UserError(f"{where}: the same {role} is listed twice")


def check_operator(op: Op, tensors: list[Tensor], where: str) -> None:
    """Raise UserError, `where` first, if shapes, options, types or scales of `op` do not fit each other.

    Operators that no kernel computes are left to `choose_kernels`, which names them all at once.
    """
    x, out = tensors[op.inputs[0]], tensors[op.outputs[0]]
    if len(op.outputs) != 1 and op.kind not in RECURRENT_KINDS:
        raise UserError(f"{where}: {len(op.outputs)} outputs; one is known")
    if op.options.activation not in ACTIVATIONS:
        raise UserError(f"{where}: fused activation {op.options.activation}; known: {', '.join(ACTIVATIONS)}")
    for t in (x, out):
        if t.elements == 0 or (len(t.shape) > 4 and op.kind not in ANY_RANK):
            raise UserError(f"{where}: tensor {t.name} has shape {t.shape}")
    _scales(op, tensors, where)
    _windows(op, tensors, where)
    _weights(op, tensors, where)
    _elementwise(op, tensors, where)
    _multipliers(op, tensors, where)
    check_int16(op, tensors, where)


def _scales(op: Op, tensors: list[Tensor], where: str) -> None:
    """Every int8 operand has a scale; activations have one, with a zero point of int8."""
    for i in (*op.inputs, *op.outputs):
        t = tensors[i] if i >= 0 else None
        if (
            t is not None
            and t.nibbles
            and op.kind != "DEQUANTIZE"
            and not (op.kind in WEIGHT_AXIS and i == op.inputs[1])
        ):
            raise UserError(f"{where}: tensor {t.name} is int4; weights alone may be")
        wide = t is not None and t.dtype in ("int16", "uint8") and op.kind in ("QUANTIZE", "DEQUANTIZE")
        if t is None or op.kind == "CAST" or not (t.dtype == "int8" or wide):
            continue
        if t.quantization is None:
            raise UserError(f"{where}: {t.dtype} tensor {t.name} has no scale")
        if not all(1 / LARGEST_SCALE <= s <= LARGEST_SCALE for s in t.quantization.scale):
            raise UserError(f"{where}: tensor {t.name} has scale {min(t.quantization.scale):g}")
        limits = np.iinfo(DTYPES[t.dtype])
        if not all(limits.min <= z <= limits.max for z in t.quantization.zero_point):
            raise UserError(f"{where}: tensor {t.name} has a zero point outside {limits.min}..{limits.max}")
        weights = op.kind in WEIGHT_AXIS and len(op.inputs) > 1 and i == op.inputs[1]
        if t.quantization.per_channel and not weights:
            raise UserError(f"{where}: tensor {t.name} has {len(t.quantization.scale)} scales; weights alone may")


def _windows(op: Op, tensors: list[Tensor], where: str) -> None:
    """Sizes of convolutions and pools follow from each other and fit the kernels' int16 fields."""
    x, out = tensors[op.inputs[0]], tensors[op.outputs[0]]
    if op.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D", "MAX_POOL_2D", "AVERAGE_POOL_2D"):
        return
    if len(x.shape) != 4 or len(out.shape) != 4 or x.shape[0] != out.shape[0]:
        raise UserError(f"{where}: shapes {x.shape} to {out.shape}; four dimensions and one batch are expected")
    pool = op.kind.endswith("POOL_2D")
    if pool:
        kernel = op.options.kernel
    elif len(tensors[op.inputs[1]].shape) == 4:
        kernel = (tensors[op.inputs[1]].shape[1], tensors[op.inputs[1]].shape[2])
    else:
        raise UserError(f"{where}: weights {tensors[op.inputs[1]].shape}; four dimensions are expected")
    o, p = op.options, op.options.padding
    if max(*x.shape, *out.shape, *kernel, *o.stride, *o.dilation, p.top, p.left) > LARGEST_DIMENSION:
        raise UserError(f"{where}: a dimension above {LARGEST_DIMENSION}")
    for size, pads, k, s, d, found in zip(
        x.shape[1:3], ((p.top, p.bottom), (p.left, p.right)), kernel, o.stride, o.dilation, out.shape[1:3], strict=True
    ):
        if min(s, d, k) < 1 or (size + sum(pads) - (k - 1) * d - 1) // s + 1 != found:
            raise UserError(f"{where}: output {out.shape} does not follow from input {x.shape}")
    if pool and x.shape[3] != out.shape[3]:
        raise UserError(f"{where}: {x.shape[3]} channels in, {out.shape[3]} out")


def _weights(op: Op, tensors: list[Tensor], where: str) -> None:
    """Weights, biases and their scales fit the channels."""
    if op.kind not in WEIGHT_AXIS:
        return
    x, w, out = (tensors[i] for i in (op.inputs[0], op.inputs[1], op.outputs[0]))
    shape = w.shape
    if op.kind == "CONV_2D":
        c = x.shape[3]
        good = shape[0] == out.shape[3] and shape[3] > 0 and c % shape[3] == 0 and shape[0] % (c // shape[3]) == 0
    elif op.kind == "DEPTHWISE_CONV_2D":
        depth = op.options.depth_multiplier
        good = shape[0] == 1 and shape[3] == out.shape[3] == x.shape[3] * depth
    elif op.kind == "TRANSPOSE_CONV":
        good = len(shape) == 4 and shape[0] == out.shape[3] and shape[3] == x.shape[3]
    else:
        good = len(shape) == 2 and min(shape) > 0 and x.elements % shape[1] == 0 and out.shape[-1:] == shape[:1]
        good = good and out.elements == x.elements // shape[1] * shape[0]
    if not good:
        raise UserError(f"{where}: weights {shape} do not fit input {x.shape} and output {out.shape}")
    channels = out.shape[-1]
    if len(op.inputs) > 2 and op.inputs[2] >= 0:
        bias = tensors[op.inputs[2]]
        known = BIAS_TYPES.get(x.dtype, ("int32",))
        if bias.dtype not in known or bias.elements != channels:
            raise UserError(
                f"{where}: {bias.elements} biases of {bias.dtype} for {channels} channels; {known[0]} is known"
            )
        if bias.data is None:
            raise UserError(f"{where}: the bias {bias.name} is computed, not constant")
    q = w.quantization
    if q is not None and len(q.scale) not in (1, channels):
        raise UserError(f"{where}: {len(q.scale)} weight scales for {channels} channels")
    if q is not None and q.per_channel and q.axis != WEIGHT_AXIS[op.kind]:
        raise UserError(f"{where}: weight scales along dimension {q.axis}; {WEIGHT_AXIS[op.kind]} is expected")


def _elementwise(op: Op, tensors: list[Tensor], where: str) -> None:
    """Output shapes of everything that is no convolution, pool or fully connected layer."""
    x, out = tensors[op.inputs[0]], tensors[op.outputs[0]]
    moved = op.kind in (
        "ADD", "MUL", "SUB", "SQUARED_DIFFERENCE", "MAXIMUM", "MINIMUM", "PRELU", "CONCATENATION", "PAD", "PADV2",
        "STRIDED_SLICE", *REDUCTIONS, "TRANSPOSE", "BROADCAST_TO", "TAKE",
    )  # fmt: skip
    if (
        moved
        and max(n for i in (*op.inputs, *op.outputs) if i >= 0 for n in (1, *tensors[i].shape)) > LARGEST_DIMENSION
    ):
        raise UserError(f"{where}: a dimension above {LARGEST_DIMENSION}")
    bad = op.kind in SAME_COUNT and x.elements != out.elements
    broadcasts = op.kind in ("ADD", "MUL", "SUB", "SQUARED_DIFFERENCE", "MAXIMUM", "MINIMUM", "PRELU")
    if broadcasts or (op.kind == "DIV" and x.dtype == "float32"):
        pair = [tensors[i] for i in op.inputs]
        bad = len(pair) != 2 or any(len(t.shape) > 4 for t in pair)
        bad = bad or tuple(np.broadcast_shapes(*(t.shape for t in pair))) != out.shape
        bad = bad or any(len(strides(t, out)) != 4 for t in pair)
    elif op.kind == "CONCATENATION":
        axis, rank = op.options.axis, len(out.shape)
        shapes = [tensors[i].shape for i in op.inputs]
        bad = rank == 0 or not -rank <= axis < rank or any(len(s) != rank for s in shapes)
        if not bad:
            axis %= rank
            rest = {s[:axis] + s[axis + 1 :] for s in (*shapes, out.shape)}
            bad = len(rest) != 1 or sum(s[axis] for s in shapes) != out.shape[axis]
    elif op.kind in ("PAD", "PADV2"):
        amounts = tensors[op.inputs[1]]
        if amounts.data is not None:
            bad = amounts.dtype not in ("int32", "int64") or amounts.shape != (len(x.shape), 2)
            bad = (
                bad or tuple(n + int(a) + int(b) for n, (a, b) in zip(x.shape, amounts.data, strict=True)) != out.shape
            )
        if op.kind == "PADV2":
            value = tensors[op.inputs[2]]
            bad = bad or value.elements != 1 or value.dtype != out.dtype or value.quantization != out.quantization
    elif op.kind in REDUCTIONS:
        axes = tensors[op.inputs[1]]
        if axes.data is not None:
            bad = axes.dtype != "int32" or any(not -len(x.shape) <= int(a) < len(x.shape) for a in axes.data.ravel())
            over = {int(a) % len(x.shape) for a in axes.data.ravel()} if not bad else set()
            kept = tuple(1 if i in over else n for i, n in enumerate(x.shape) if op.options.keep_dims or i not in over)
            bad = bad or kept != out.shape
    elif op.kind == "L2_NORMALIZATION":
        bad = not out.shape or x.shape != out.shape
    elif op.kind == "SOFTMAX":
        bad = bad or not out.shape or x.shape != out.shape or not 0 < op.options.beta < LARGEST_SCALE
    if bad:
        given = " and ".join(str(tensors[i].shape) for i in op.inputs if i >= 0)
        raise UserError(f"{where}: output {out.shape} does not follow from {given} and the options")


def _multipliers(op: Op, tensors: list[Tensor], where: str) -> None:
    """No rescaling is by 2**30 or more: the fixed-point shift would leave its range; of a sum, 2**19: TFLM aborts."""
    if op.kind in FIXED_OUTPUT:  # not rescaled from input to output
        return
    used = [tensors[i] for i in (*op.inputs, *op.outputs) if i >= 0 and tensors[i].quantization is not None]
    if not used or (any(t.dtype not in ("int8", "int32") for t in used) and op.kind != "QUANTIZE"):
        return
    out = tensors[op.outputs[0]]
    if out.quantization is None:
        return
    factors = [max(q.scale) for i in op.inputs[:2] if i >= 0 and (q := tensors[i].quantization) is not None]
    if not factors:
        return
    real = math.prod(factors) if op.kind in (*WEIGHT_AXIS, "MUL", "PRELU", "BATCH_MATMUL") else max(factors)
    if op.kind == "LEAKY_RELU":
        real *= max(1.0, abs(op.options.alpha))
    limit = SUM_FACTOR / 2 if op.kind in ("ADD", "SUB") else LARGEST_MULTIPLIER
    if real / out.scale >= limit:
        raise UserError(f"{where}: scales {', '.join(f'{f:g}' for f in factors)} to {out.scale:g} are out of range")
