"""A `.tflite` file of int8 or float32, ours or anybody's, as a Program. Malformed files end in one clear line."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from secateur.compiler.frontends.tflite_checks import check_operator, check_program
from secateur.compiler.frontends.tflite_expand import expand
from secateur.compiler.frontends.tflite_float import check_float, fold_floats, half_as_single
from secateur.compiler.frontends.tflite_int16 import int32_sums
from secateur.compiler.frontends.tflite_operands import take_operands
from secateur.compiler.frontends.tflite_recurrent import RECURRENT_KINDS, read_recurrent
from secateur.compiler.frontends.tflite_shapes import fold
from secateur.compiler.frontends.tflite_variables import VARIABLE_KINDS, Variables, variable_name
from secateur.errors import UserError
from secateur.models.program import (
    DTYPES,
    Op,
    Options,
    Padding,
    Program,
    Quantization,
    Tensor,
    verify_program,
    with_ops,
)
from secateur.passes.program.lower import same_padding

KINDS = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
ACTIVATIONS = {v: k for k, v in vars(schema.ActivationFunctionType).items() if isinstance(v, int)}
TYPE_NAMES = {v: k.lower() for k, v in vars(schema.TensorType).items() if isinstance(v, int)}
# Constant operands that become options; they are dropped from the operator's inputs.
SHAPE_OPERANDS = {"RESHAPE": 1, "SQUEEZE": 1, "EXPAND_DIMS": 1}
END_TYPES = ("int8", "uint8", "int16", "int32", "int64", "float32", "bool")
OPTIONS = {
    "CONV_2D": "Conv2DOptions", "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions", "ADD": "AddOptions", "MUL": "MulOptions",
    "MAX_POOL_2D": "Pool2DOptions", "AVERAGE_POOL_2D": "Pool2DOptions", "MEAN": "ReducerOptions",
    "RESHAPE": "ReshapeOptions", "CONCATENATION": "ConcatenationOptions", "PAD": "PadOptions",
    "PADV2": "PadV2Options", "STRIDED_SLICE": "StridedSliceOptions", "SOFTMAX": "SoftmaxOptions",
    "QUANTIZE": "QuantizeOptions", "DEQUANTIZE": "DequantizeOptions", "SUB": "SubOptions", "DIV": "DivOptions",
    "MAXIMUM": "MaximumMinimumOptions", "MINIMUM": "MaximumMinimumOptions", "GELU": "GeluOptions",
    "SQUARED_DIFFERENCE": "SquaredDifferenceOptions", "LEAKY_RELU": "LeakyReluOptions", "ABS": "AbsOptions",
    "HARD_SWISH": "HardSwishOptions", "SLICE": "SliceOptions", "SPLIT": "SplitOptions", "SPLIT_V": "SplitVOptions",
    "UNPACK": "UnpackOptions", "PACK": "PackOptions", "TRANSPOSE": "TransposeOptions", "GATHER": "GatherOptions",
    "SPACE_TO_DEPTH": "SpaceToDepthOptions", "DEPTH_TO_SPACE": "DepthToSpaceOptions",
    "SPACE_TO_BATCH_ND": "SpaceToBatchNDOptions", "BATCH_TO_SPACE_ND": "BatchToSpaceNDOptions",
    "BROADCAST_TO": "BroadcastToOptions", "MIRROR_PAD": "MirrorPadOptions",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions", "SUM": "ReducerOptions", "REDUCE_MAX": "ReducerOptions",
    "REDUCE_MIN": "ReducerOptions", "L2_NORMALIZATION": "L2NormOptions", "ARG_MAX": "ArgMaxOptions",
    "ARG_MIN": "ArgMinOptions", "RESIZE_BILINEAR": "ResizeBilinearOptions",
    "TRANSPOSE_CONV": "TransposeConvOptions", "BATCH_MATMUL": "BatchMatMulOptions", "SVDF": "SVDFOptions",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTMOptions",
}  # fmt: skip
MAY_LACK_OPTIONS = (
    "RESHAPE", "PAD", "PADV2", "STRIDED_SLICE", "QUANTIZE", "DEQUANTIZE", "HARD_SWISH", "ABS", "SLICE", "TRANSPOSE",
    "SPLIT_V", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "GATHER", "BROADCAST_TO", "SPACE_TO_BATCH_ND",
    "BATCH_TO_SPACE_ND",
)  # fmt: skip
ONE_OPERAND = frozenset({
    "RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "LEAKY_RELU", "HARD_SWISH", "ELU", "GELU", "ABS", "NEG", "SQUARE",
    "EXP", "LOG", "SQRT", "RSQRT", "LOGISTIC", "TANH", "SOFTMAX", "L2_NORMALIZATION", "QUANTIZE", "DEQUANTIZE", "CAST",
    "MAX_POOL_2D", "AVERAGE_POOL_2D",
})  # fmt: skip
LEAST_OPERANDS = {
    "CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2, "ADD": 2, "SUB": 2, "MUL": 2, "DIV": 2, "MAXIMUM": 2,
    "MINIMUM": 2, "SQUARED_DIFFERENCE": 2, "PRELU": 2, "PAD": 2, "PADV2": 3, "MIRROR_PAD": 2, "MEAN": 2, "SLICE": 3,
    "STRIDED_SLICE": 4, "SPLIT": 2, "SPLIT_V": 3, "TRANSPOSE": 2, "GATHER": 2, "BROADCAST_TO": 2,
    "SPACE_TO_BATCH_ND": 3, "BATCH_TO_SPACE_ND": 3, "SUM": 2, "REDUCE_MAX": 2, "REDUCE_MIN": 2, "ARG_MAX": 2,
    "ARG_MIN": 2, "RESIZE_BILINEAR": 2, "TRANSPOSE_CONV": 3, "BATCH_MATMUL": 2,
}  # fmt: skip
MAX_BYTES = 256 << 20


def load_tflite(path: Path) -> Program:
    """Read a network, its variables as states.

    Raises UserError: no such file, not a TFLite file or a truncated one, float activations with integer weights, a
    construct that the Program does not have (control flow, computed shapes). Operators without a kernel are found
    later, by `choose_kernels`, all at once.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path}: {path.stat().st_size} bytes; no microcontroller network is above {MAX_BYTES}")
    return parse_tflite(path.read_bytes(), path.stem, str(path))


def parse_tflite(content: bytes, name: str, where: str) -> Program:
    """The Program in the bytes of a `.tflite` file; `where` opens every error line."""
    if len(content) < 8 or content[4:8] != b"TFL3":
        raise UserError(f"{where}: not a TFLite file (no TFL3 mark in its first 8 bytes)")
    try:
        model = schema.ModelT.InitFromPackedBuf(content)
        program = _Reader(model, name, where).program()
        verify_program(program)
    except UserError:
        raise
    except (struct.error, IndexError, ValueError, TypeError, KeyError, AttributeError, OverflowError,
            UnicodeDecodeError, AssertionError, MemoryError, ZeroDivisionError) as error:  # fmt: skip
        detail = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise UserError(f"{where}: truncated or malformed TFLite file ({detail}); export it again") from error
    return program


def _read_ops(program: Program) -> list[Op]:
    """The operators that an output or a state hangs on: what nobody reads need not be known."""
    wanted = {*program.outputs, *(s.after for s in program.states)}
    kept = []
    for op in reversed(program.ops):
        if wanted & set(op.outputs):
            wanted |= set(op.inputs)
            kept.append(op)
    return kept[::-1]


class _Reader:
    def __init__(self, model: Any, name: str, where: str) -> None:
        self.model, self.name, self.where = model, name, where
        if not model.subgraphs:
            raise UserError(f"{where}: the file holds no network")
        self.graph = model.subgraphs[0]
        self.variables = Variables(tensors={i for i, t in enumerate(self.graph.tensors) if t.isVariable})

    def program(self) -> Program:
        tensors = [self.tensor(t) for t in self.graph.tensors]
        inputs, outputs = (tuple(int(i) for i in x) for x in (self.graph.inputs, self.graph.outputs))
        self.check_ends(tensors, (*inputs, *outputs))
        ops: list[Op] = []
        for position, record in enumerate(self.graph.operators):
            ops += self.ops(record, tensors, position)
        states = self.variables.states(tensors)
        outputs = tuple(self.variables.now(i) for i in outputs)
        program = Program(self.name, tuple(tensors), tuple(ops), inputs, outputs, states=states)
        verify_program(program)
        check_program(program, self.where)
        return with_ops(program, _read_ops(program))

    def check_ends(self, tensors: list[Tensor], ends: tuple[int, ...]) -> None:
        for i in ends:
            if tensors[i].dtype not in END_TYPES:
                raise UserError(f"{self.where}: input or output {tensors[i].name} is {tensors[i].dtype}")

    def tensor(self, record: Any) -> Tensor:
        kind = TYPE_NAMES.get(record.type, str(record.type))
        name = (record.name or b"").decode() if isinstance(record.name, bytes) else str(record.name or "")
        if kind == "resource":
            return Tensor(name, (), "int32")  # a variable's handle: followed by name, never computed
        if kind == "int4":
            kind = "int8"  # constants alone; two a byte in the file, one a byte here
        if kind == "float16" and self.model.buffers[record.buffer].data is not None:
            kind = "float32"  # constants alone, behind a DEQUANTIZE: the values are the same
        if kind not in DTYPES:
            raise UserError(f"{self.where}: tensor {name} has type {kind}, which is not supported")
        shape = tuple(int(n) for n in record.shape) if record.shape is not None else ()
        if any(n < 0 for n in shape) or int(np.prod(shape, dtype=np.float64)) > MAX_BYTES:
            raise UserError(f"{self.where}: tensor {name} has shape {shape}")
        data, nibbles = self.data(record, kind, shape), record.type == schema.TensorType.INT4
        if nibbles and data is None:
            raise UserError(f"{self.where}: tensor {name} is computed or fed and int4; constant weights alone may be")
        quantization = None if kind == "float32" else self.quantization(record.quantization)
        return Tensor(name, shape, kind, quantization, data, nibbles)

    def quantization(self, record: Any) -> Quantization | None:
        if record is None or record.scale is None or len(record.scale) == 0:
            return None
        scale = tuple(float(s) for s in record.scale)
        given = record.zeroPoint
        zero_point = () if given is None else tuple(int(z) for z in given)
        if len(zero_point) == 1 and len(scale) > 1:
            zero_point *= len(scale)
        if not all(np.isfinite(scale)) or min(scale) <= 0 or len(zero_point) != len(scale):
            raise UserError(
                f"{self.where}: a tensor's scales are not positive numbers, or do not match its zero points"
            )
        return Quantization(scale, zero_point, int(record.quantizedDimension) if len(scale) > 1 else 0)

    def data(self, record: Any, kind: str, shape: tuple[int, ...]) -> npt.NDArray[Any] | None:
        buffer = self.model.buffers[record.buffer]
        if buffer.data is None or len(buffer.data) == 0 or record.isVariable:
            return None
        if getattr(record, "sparsity", None) is not None:
            raise UserError(f"{self.where}: a sparse tensor; densify it when converting")
        content = np.asarray(buffer.data, np.uint8).tobytes()
        if record.type == schema.TensorType.INT4:
            packed = np.frombuffer(content, np.uint8)
            nibbles = np.stack([packed & 15, packed >> 4], 1).ravel()[: int(np.prod(shape, dtype=np.int64))]
            content = np.where(nibbles > 7, nibbles.astype(np.int8) - 16, nibbles).astype(np.int8).tobytes()
        if record.type == schema.TensorType.FLOAT16:
            content = half_as_single(content)
        values = np.frombuffer(content, DTYPES[kind])
        return values.reshape(shape).copy()

    def ops(self, record: Any, tensors: list[Tensor], position: int) -> list[Op]:
        """What one record of the file becomes: nothing where it is about variables or shapes, else operators."""
        kind = self.kind(record)
        inputs = tuple(int(i) for i in record.inputs) if record.inputs is not None else ()
        outputs = tuple(int(i) for i in record.outputs) if record.outputs is not None else ()
        where = f"{self.where}: operator {position} {kind}"
        if kind == "CALL_ONCE":
            self.call_once(int(record.builtinOptions.initSubgraphIndex), where)
            return []
        if any(not -1 <= i < len(tensors) for i in inputs) or any(not 0 <= i < len(tensors) for i in outputs):
            raise UserError(f"{where} has operands {inputs} and outputs {outputs} of {len(tensors)} tensors")
        if kind in VARIABLE_KINDS:
            self.variables.access(kind, record.builtinOptions, inputs, outputs, tensors, where)
            return []
        given, inputs = inputs, tuple(self.variables.now(i) for i in inputs)
        if not outputs or not inputs:
            raise UserError(f"{where} has no inputs or no outputs")
        self.check_operands(kind, inputs, tensors, position)
        self.check_options_type(kind, record.builtinOptions, position)
        if fold(kind, record.builtinOptions, inputs, outputs, tensors):
            return []
        try:
            ops: list[Op] | None
            if kind in RECURRENT_KINDS:
                ops = [read_recurrent(kind, record.builtinOptions, given, outputs, tensors, self.variables)]
            else:
                ops = expand(kind, record.builtinOptions, inputs, outputs, tensors)
            if ops is None:
                ops = take_operands(kind, record.builtinOptions, inputs, outputs, tensors)
        except UserError as error:
            raise UserError(f"{where} {tensors[outputs[0]].name}: {error}") from error
        if ops is None:
            options = self.options(kind, record.builtinOptions, inputs, tensors, position)
            keep = SHAPE_OPERANDS.get(kind, len(inputs))
            operands = int32_sums(kind, record.builtinOptions, inputs[:keep], tensors)
            ops = [Op(kind, operands, outputs, options, tensors[outputs[0]].name)]
        left: list[Op] = []
        for op in ops:
            place = f"{self.where}: operator {position} {op.kind} {op.name}"
            check_operator(op, tensors, place)
            check_float(op, tensors, place)
            if not fold_floats(op, tensors):
                left.append(op)
        return left

    def kind(self, record: Any) -> str:
        code = self.model.operatorCodes[record.opcodeIndex]
        number = max(int(code.builtinCode), int(code.deprecatedBuiltinCode))
        kind = KINDS.get(number, f"operator {number}")
        return f"CUSTOM {code.customCode!r}" if kind == "CUSTOM" else kind

    def call_once(self, number: int, where: str) -> None:
        """A subgraph that gives variables their first values."""
        if not 0 < number < len(self.model.subgraphs):
            raise UserError(f"{where} of subgraph {number}; the file has {len(self.model.subgraphs)}")
        graph = self.model.subgraphs[number]
        tensors = [self.tensor(t) for t in graph.tensors]
        handles: dict[int, str] = {}
        for record in graph.operators:
            kind = self.kind(record)
            if kind == "VAR_HANDLE":
                handles[int(record.outputs[0])] = variable_name(record.builtinOptions)
            elif kind == "ASSIGN_VARIABLE" and tensors[record.inputs[1]].data is not None:
                self.variables.initial[handles[int(record.inputs[0])]] = tensors[record.inputs[1]].data
            else:
                raise UserError(f"{where}: {kind} in the subgraph that starts variables; constants alone are known")

    def check_operands(self, kind: str, inputs: tuple[int, ...], tensors: list[Tensor], position: int) -> None:
        least = LEAST_OPERANDS.get(kind, 1)
        most = 1 if kind in ONE_OPERAND else len(inputs)
        if not least <= len(inputs) <= most or any(not -1 <= i < len(tensors) for i in inputs) or -1 in inputs[:least]:
            raise UserError(f"{self.where}: operator {position} {kind} has operands {inputs}")

    def check_options_type(self, kind: str, o: Any, position: int) -> None:
        """The table of options is the operator's own; those that mean something by their absence may be absent."""
        found = type(o).__name__.removesuffix("T")
        if kind in OPTIONS and found != OPTIONS[kind] and (o is not None or kind not in MAY_LACK_OPTIONS):
            raise UserError(f"{self.where}: operator {position} {kind} carries {found}, not {OPTIONS[kind]}")

    def options(
        self,
        kind: str,
        o: Any,
        inputs: tuple[int, ...],
        tensors: list[Tensor],
        position: int,
    ) -> Options:
        values: dict[str, Any] = {}
        if o is None:
            return Options()
        if hasattr(o, "fusedActivationFunction"):
            number = o.fusedActivationFunction
            values["activation"] = ACTIVATIONS.get(number, f"number {number}")
        if getattr(o, "weightsFormat", 0):
            raise UserError(f"{self.where}: operator {position} {kind} with shuffled weights")
        if kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "MAX_POOL_2D", "AVERAGE_POOL_2D"):
            pool = kind.endswith("POOL_2D")
            kernel = (o.filterHeight, o.filterWidth) if pool else tensors[inputs[1]].shape[1:3]
            dilation = (1, 1) if pool else (int(o.dilationHFactor), int(o.dilationWFactor))
            stride = (int(o.strideH), int(o.strideW))
            values |= {"stride": stride, "dilation": dilation}
            if pool:
                values["kernel"] = (int(kernel[0]), int(kernel[1]))
            if o.padding == schema.Padding.SAME:
                sizes = tensors[inputs[0]].shape[1:3]
                sides = [
                    same_padding(n, int(k), s, d) for n, k, s, d in zip(sizes, kernel, stride, dilation, strict=True)
                ]
                values["padding"] = Padding(*sides[0], *sides[1])
            if kind == "DEPTHWISE_CONV_2D":
                values["depth_multiplier"] = int(o.depthMultiplier)
        if kind == "CONCATENATION":
            values["axis"] = int(o.axis)
        if kind == "SOFTMAX":
            values["beta"] = float(o.beta)
        if kind == "LEAKY_RELU":
            values["alpha"] = float(o.alpha)
        if kind == "GELU":
            values["approximate"] = bool(o.approximate)
        if hasattr(o, "keepDims"):
            values["keep_dims"] = bool(o.keepDims)
        if not all(np.isfinite(value) for value in values.values() if isinstance(value, float)):
            raise UserError(f"{self.where}: operator {position} {kind} has an option that is no number")
        return Options(**values)
