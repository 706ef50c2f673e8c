"""A Program as a `.tflite` file, through the schema that ai-edge-litert carries. Same Program, same bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from secateur import __version__
from secateur.models.program import Op, Padding, Program, Tensor
from secateur.passes.program.lower import same_padding

TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "int8": schema.TensorType.INT8,
    "int16": schema.TensorType.INT16,
    "int32": schema.TensorType.INT32,
    "int64": schema.TensorType.INT64,
    "uint8": schema.TensorType.UINT8,
    "bool": schema.TensorType.BOOL,
}
VERSIONS = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4, "ADD": 2, "MUL": 2, "MEAN": 2, "PAD": 2,
            "PADV2": 2, "MAX_POOL_2D": 2, "AVERAGE_POOL_2D": 2, "SOFTMAX": 2, "CONCATENATION": 2, "STRIDED_SLICE": 2,
            "RELU": 2, "RELU6": 2, "QUANTIZE": 2, "SUB": 2, "LEAKY_RELU": 2, "LOGISTIC": 2, "TANH": 2,
            "GELU": 2, "BATCH_MATMUL": 2, "TRANSPOSE": 2, "L2_NORMALIZATION": 2}  # fmt: skip

PER_CHANNEL_FULLY_CONNECTED = 12


def write_tflite(program: Program, path: Path) -> None:
    """Write `program` to `path`. Its padding must be SAME or none, as `lower` leaves it."""
    path.write_bytes(tflite_bytes(program))


def tflite_bytes(program: Program) -> bytes:
    """The file's content."""
    return _Writer(program).content()


class _Writer:
    def __init__(self, program: Program) -> None:
        self.program = program
        empty = schema.BufferT()
        self.buffers: list[Any] = [empty]
        self.tensors = [self.tensor(t) for t in program.tensors]

    def content(self) -> bytes:
        program = self.program
        kinds = sorted({op.kind for op in program.ops})
        model, graph = schema.ModelT(), schema.SubGraphT()
        model.version = 3
        model.description = f"secateur {__version__}"
        model.operatorCodes = [self.code(kind) for kind in kinds]
        graph.name = "main"
        graph.operators = [self.operator(op, kinds.index(op.kind)) for op in program.ops]
        graph.tensors = self.tensors
        graph.inputs = np.array(program.inputs, np.int32)
        graph.outputs = np.array(program.outputs, np.int32)
        model.subgraphs = [graph]
        model.buffers = self.buffers
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def per_channel(self, op: Op) -> bool:
        quantization = self.program.tensors[op.inputs[1]].quantization
        return quantization is not None and quantization.per_channel

    def code(self, kind: str) -> Any:
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, kind)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = VERSIONS.get(kind, 1)
        if kind == "FULLY_CONNECTED" and any(self.per_channel(op) for op in self.program.ops if op.kind == kind):
            code.version = PER_CHANNEL_FULLY_CONNECTED
        return code

    def buffer(self, content: bytes) -> int:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(content, np.uint8)
        self.buffers.append(buffer)
        return len(self.buffers) - 1

    def tensor(self, tensor: Tensor) -> Any:
        record = schema.TensorT()
        record.name = tensor.name
        record.shape = np.array(tensor.shape, np.int32)
        record.type = TYPES[tensor.dtype]
        record.buffer = 0 if tensor.data is None else self.buffer(np.ascontiguousarray(tensor.data).tobytes())
        if tensor.quantization is not None:
            q = schema.QuantizationParametersT()
            q.scale = np.array(tensor.quantization.scale, np.float32)
            q.zeroPoint = np.array(tensor.quantization.zero_point, np.int64)
            q.quantizedDimension = tensor.quantization.axis
            record.quantization = q
        return record

    def add_constant(self, name: str, data: np.ndarray[Any, Any], dtype: str) -> int:
        self.tensors.append(self.tensor(Tensor(name, data.shape, dtype, data=data)))
        return len(self.tensors) - 1

    def operator(self, op: Op, code: int) -> Any:
        record = schema.OperatorT()
        record.opcodeIndex = code
        inputs = list(op.inputs)
        name = self.program.tensors[op.outputs[0]].name
        if op.kind == "RESHAPE":
            shape = np.array(self.program.tensors[op.outputs[0]].shape, np.int32)
            inputs.append(self.add_constant(f"{name}_shape", shape, "int32"))
        if op.kind == "TRANSPOSE":
            inputs.append(self.add_constant(f"{name}_axes", np.array(op.options.permutation, np.int32), "int32"))
        if op.kind == "STRIDED_SLICE":
            out = self.program.tensors[op.outputs[0]].shape
            o = op.options
            end = [b + (n - 1) * s + 1 for b, n, s in zip(o.begin, out, o.strides, strict=True)]
            for role, values in (("begin", o.begin), ("end", end), ("strides", o.strides)):
                inputs.append(self.add_constant(f"{name}_{role}", np.array(values, np.int32), "int32"))
        record.inputs = np.array(inputs, np.int32)
        record.outputs = np.array(op.outputs, np.int32)
        record.builtinOptionsType, record.builtinOptions = self.options(op)
        return record

    def options(self, op: Op) -> tuple[int, Any]:
        types = schema.BuiltinOptions
        build: dict[str, tuple[int, Callable[[], Any]]] = {
            "CONV_2D": (types.Conv2DOptions, schema.Conv2DOptionsT),
            "DEPTHWISE_CONV_2D": (types.DepthwiseConv2DOptions, schema.DepthwiseConv2DOptionsT),
            "FULLY_CONNECTED": (types.FullyConnectedOptions, schema.FullyConnectedOptionsT),
            "ADD": (types.AddOptions, schema.AddOptionsT),
            "MUL": (types.MulOptions, schema.MulOptionsT),
            "MAX_POOL_2D": (types.Pool2DOptions, schema.Pool2DOptionsT),
            "AVERAGE_POOL_2D": (types.Pool2DOptions, schema.Pool2DOptionsT),
            "MEAN": (types.ReducerOptions, schema.ReducerOptionsT),
            "RESHAPE": (types.ReshapeOptions, schema.ReshapeOptionsT),
            "CONCATENATION": (types.ConcatenationOptions, schema.ConcatenationOptionsT),
            "PAD": (types.PadOptions, schema.PadOptionsT),
            "PADV2": (types.PadV2Options, schema.PadV2OptionsT),
            "STRIDED_SLICE": (types.StridedSliceOptions, schema.StridedSliceOptionsT),
            "SOFTMAX": (types.SoftmaxOptions, schema.SoftmaxOptionsT),
            "QUANTIZE": (types.QuantizeOptions, schema.QuantizeOptionsT),
            "SUB": (types.SubOptions, schema.SubOptionsT),
            "LEAKY_RELU": (types.LeakyReluOptions, schema.LeakyReluOptionsT),
            "HARD_SWISH": (types.HardSwishOptions, schema.HardSwishOptionsT),
            "GELU": (types.GeluOptions, schema.GeluOptionsT),
            "BATCH_MATMUL": (types.BatchMatMulOptions, schema.BatchMatMulOptionsT),
            "TRANSPOSE": (types.TransposeOptions, schema.TransposeOptionsT),
            "L2_NORMALIZATION": (types.L2NormOptions, schema.L2NormOptionsT),
        }
        if op.kind in ("RELU", "RELU6", "RELU_N1_TO_1", "LOGISTIC", "TANH", "ELU", "PRELU"):
            return types.NONE, None
        number, make = build[op.kind]
        record, o = make(), op.options
        if hasattr(record, "fusedActivationFunction"):
            record.fusedActivationFunction = getattr(schema.ActivationFunctionType, o.activation)
        if hasattr(record, "strideH"):
            record.strideH, record.strideW = o.stride
            record.padding = self.padding(op)
        if hasattr(record, "dilationHFactor"):
            record.dilationHFactor, record.dilationWFactor = o.dilation
        if hasattr(record, "depthMultiplier"):
            record.depthMultiplier = o.depth_multiplier
        if hasattr(record, "filterHeight"):
            record.filterHeight, record.filterWidth = o.kernel
        if op.kind == "MEAN":
            record.keepDims = o.keep_dims
        if op.kind == "RESHAPE":
            record.newShape = np.array(self.program.tensors[op.outputs[0]].shape, np.int32)
        if op.kind == "CONCATENATION":
            record.axis = o.axis
        if op.kind == "SOFTMAX":
            record.beta = o.beta
        if op.kind == "BATCH_MATMUL":
            record.adjX, record.adjY = o.adjoint
        if op.kind == "LEAKY_RELU":
            record.alpha = o.alpha
        if op.kind == "GELU":
            record.approximate = o.approximate
        return number, record

    def padding(self, op: Op) -> int:
        o, source = op.options, self.program.tensors[op.inputs[0]].shape
        if not o.padding:
            return int(schema.Padding.VALID)
        kernel = o.kernel if op.kind.endswith("POOL_2D") else self.program.tensors[op.inputs[1]].shape[1:3]
        same = Padding(
            *same_padding(source[1], kernel[0], o.stride[0], o.dilation[0]),
            *same_padding(source[2], kernel[1], o.stride[1], o.dilation[1]),
        )
        assert o.padding == same, f"{op.name}: padding {o.padding} is neither SAME nor none"
        return int(schema.Padding.SAME)
