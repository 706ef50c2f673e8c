"""An int8 `.tflite` file, ours or anybody's, as a Program. Malformed files end in one clear line."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from secateur.compiler.frontends.tflite_checks import check_operator, check_program
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
SHAPE_OPERANDS = {"RESHAPE": 1, "SQUEEZE": 1, "EXPAND_DIMS": 1, "STRIDED_SLICE": 1}
OPTIONS = {
    "CONV_2D": "Conv2DOptions", "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions", "ADD": "AddOptions", "MUL": "MulOptions",
    "MAX_POOL_2D": "Pool2DOptions", "AVERAGE_POOL_2D": "Pool2DOptions", "MEAN": "ReducerOptions",
    "RESHAPE": "ReshapeOptions", "CONCATENATION": "ConcatenationOptions", "PAD": "PadOptions",
    "PADV2": "PadV2Options", "STRIDED_SLICE": "StridedSliceOptions", "SOFTMAX": "SoftmaxOptions",
    "QUANTIZE": "QuantizeOptions",
}  # fmt: skip
MAY_LACK_OPTIONS = ("RESHAPE", "PAD", "PADV2", "STRIDED_SLICE", "QUANTIZE")
MAX_BYTES = 256 << 20


def load_tflite(path: Path) -> Program:
    """Read one subgraph of int8 operators.

    Raises UserError: no such file, not a TFLite file or a truncated one, a float network, a construct that
    the Program does not have (several subgraphs, computed shapes). Operators without a kernel are found later,
    by `choose_kernels`, all at once.
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


class _Reader:
    def __init__(self, model: Any, name: str, where: str) -> None:
        self.model, self.name, self.where = model, name, where
        if not model.subgraphs:
            raise UserError(f"{where}: the file holds no network")
        if len(model.subgraphs) > 1:
            raise UserError(f"{where}: {len(model.subgraphs)} subgraphs (control flow or variables); one is supported")
        self.graph = model.subgraphs[0]

    def program(self) -> Program:
        tensors = [self.tensor(t) for t in self.graph.tensors]
        inputs, outputs = (tuple(int(i) for i in x) for x in (self.graph.inputs, self.graph.outputs))
        self.refuse_float(tensors, (*inputs, *outputs))
        ops = [self.op(record, tensors, position) for position, record in enumerate(self.graph.operators)]
        program = Program(self.name, tuple(tensors), tuple(ops), inputs, outputs)
        verify_program(program)
        check_program(program, self.where)
        return with_ops(program, ops)

    def refuse_float(self, tensors: list[Tensor], ends: tuple[int, ...]) -> None:
        activations = [t for t in tensors if t.data is None]
        if activations and all(t.dtype == "float32" for t in activations):
            raise UserError(
                f"{self.where}: a float32 network; an int8 .tflite is needed here. "
                "Give the float network as PyTorch or ONNX with --data, and it is quantized"
            )
        for i in ends:
            if tensors[i].dtype != "int8":
                raise UserError(
                    f"{self.where}: input or output {tensors[i].name} is {tensors[i].dtype}; int8 is supported. "
                    "Convert with inference_input_type and inference_output_type int8"
                )

    def tensor(self, record: Any) -> Tensor:
        kind = TYPE_NAMES.get(record.type, str(record.type))
        name = (record.name or b"").decode() if isinstance(record.name, bytes) else str(record.name or "")
        if kind not in DTYPES:
            raise UserError(f"{self.where}: tensor {name} has type {kind}, which is not supported")
        shape = tuple(int(n) for n in record.shape) if record.shape is not None else ()
        if any(n < 0 for n in shape) or int(np.prod(shape, dtype=np.float64)) > MAX_BYTES:
            raise UserError(f"{self.where}: tensor {name} has shape {shape}")
        return Tensor(name, shape, kind, self.quantization(record.quantization), self.data(record, kind, shape))

    def quantization(self, record: Any) -> Quantization | None:
        if record is None or record.scale is None or len(record.scale) == 0:
            return None
        scale = tuple(float(s) for s in record.scale)
        given = record.zeroPoint
        zero_point = (0,) * len(scale) if given is None or len(given) == 0 else tuple(int(z) for z in given)
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
        values = np.frombuffer(content, DTYPES[kind])
        return values.reshape(shape).copy()

    def op(self, record: Any, tensors: list[Tensor], position: int) -> Op:
        code = self.model.operatorCodes[record.opcodeIndex]
        number = max(int(code.builtinCode), int(code.deprecatedBuiltinCode))
        kind = KINDS.get(number, f"operator {number}")
        if kind == "CUSTOM":
            kind = f"CUSTOM {code.customCode!r}"
        inputs = tuple(int(i) for i in record.inputs) if record.inputs is not None else ()
        outputs = tuple(int(i) for i in record.outputs) if record.outputs is not None else ()
        if not outputs or (not inputs and kind not in ("VAR_HANDLE",)):
            raise UserError(f"{self.where}: operator {position} {kind} has no inputs or no outputs")
        self.check_operands(kind, inputs, tensors, position)
        options = self.options(kind, record.builtinOptions, inputs, outputs, tensors, position)
        keep = SHAPE_OPERANDS.get(kind, len(inputs))
        op = Op(kind, inputs[:keep], outputs, options, tensors[outputs[0]].name)
        check_operator(op, tensors, f"{self.where}: operator {position} {op.kind} {op.name}")
        return op

    def check_operands(self, kind: str, inputs: tuple[int, ...], tensors: list[Tensor], position: int) -> None:
        least = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2, "ADD": 2, "MUL": 2, "PAD": 2,
                 "PADV2": 3, "MEAN": 2, "STRIDED_SLICE": 4}.get(kind, 1)  # fmt: skip
        if len(inputs) < least or any(not -1 <= i < len(tensors) for i in inputs) or -1 in inputs[:least]:
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
        outputs: tuple[int, ...],
        tensors: list[Tensor],
        position: int,
    ) -> Options:
        found = Options()
        values: dict[str, Any] = {}
        self.check_options_type(kind, o, position)
        if o is None:
            return self.slice_options(inputs, outputs, tensors, position, 0, 0) if kind == "STRIDED_SLICE" else found
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
        if kind == "MEAN":
            values["keep_dims"] = bool(o.keepDims)
        if kind == "STRIDED_SLICE":
            if o.ellipsisMask or o.newAxisMask or getattr(o, "offset", False):
                raise UserError(f"{self.where}: operator {position} STRIDED_SLICE with an ellipsis or new axis")
            return self.slice_options(inputs, outputs, tensors, position, o.beginMask, o.shrinkAxisMask, o.endMask)
        return Options(**values)

    def slice_options(
        self,
        inputs: tuple[int, ...],
        outputs: tuple[int, ...],
        tensors: list[Tensor],
        position: int,
        begin_mask: int,
        shrink: int,
        end_mask: int = 0,
    ) -> Options:
        shape = tensors[inputs[0]].shape
        begin, end, strides = (tensors[i].data for i in inputs[1:4])
        if begin is None or strides is None or end is None:
            raise UserError(f"{self.where}: operator {position} STRIDED_SLICE with computed bounds")
        if (strides < 1).any() or len(begin) != len(shape) or len(strides) != len(shape) or len(shape) > 4:
            raise UserError(f"{self.where}: operator {position} STRIDED_SLICE with strides {strides.tolist()}")
        starts = [
            0 if begin_mask >> i & 1 else int(b) + (n if b < 0 else 0)
            for i, (b, n) in enumerate(zip(begin, shape, strict=True))
        ]
        out = list(tensors[outputs[0]].shape)
        for axis in range(len(shape)):
            if shrink >> axis & 1:
                out.insert(axis, 1)
        steps = tuple(int(s) for s in strides)
        if len(end) != len(shape):
            raise UserError(f"{self.where}: operator {position} STRIDED_SLICE with {len(end)} ends for {shape}")
        ends = [
            b + 1 if shrink >> i & 1 else n if end_mask >> i & 1 else min(n, int(e) + (n if e < 0 else 0))
            for i, (b, e, n) in enumerate(zip(starts, end, shape, strict=True))
        ]
        if out != [-(-(e - b) // s) for b, e, s in zip(starts, ends, steps, strict=True)]:
            raise UserError(
                f"{self.where}: operator {position} STRIDED_SLICE: output {out} does not follow from {shape}"
            )
        if len(out) != len(shape) or any(
            not 0 <= b or b + (n - 1) * s >= size for b, n, s, size in zip(starts, out, steps, shape, strict=False)
        ):
            raise UserError(f"{self.where}: operator {position} STRIDED_SLICE reads outside its input {shape}")
        if shrink and tuple(out) != tensors[outputs[0]].shape:
            raise UserError(f"{self.where}: operator {position} STRIDED_SLICE that drops an axis")
        return Options(begin=tuple(starts), strides=steps)
