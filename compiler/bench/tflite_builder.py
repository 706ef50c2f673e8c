"""Build any `.tflite` by hand, operator by operator: for tests of the reader, the kernels and the golden runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

TYPES = {
    "float32": schema.TensorType.FLOAT32, "int8": schema.TensorType.INT8, "int16": schema.TensorType.INT16,
    "int32": schema.TensorType.INT32, "int64": schema.TensorType.INT64, "uint8": schema.TensorType.UINT8,
    "bool": schema.TensorType.BOOL, "resource": schema.TensorType.RESOURCE, "int4": schema.TensorType.INT4,
}  # fmt: skip
# Tables of options whose name does not follow from the operator's.
OPTIONS = {
    "CONV_2D": "Conv2D", "DEPTHWISE_CONV_2D": "DepthwiseConv2D", "MAX_POOL_2D": "Pool2D", "AVERAGE_POOL_2D": "Pool2D",
    "MEAN": "Reducer", "SUM": "Reducer", "REDUCE_MAX": "Reducer", "REDUCE_MIN": "Reducer", "PADV2": "PadV2",
    "SPLIT_V": "SplitV", "L2_NORMALIZATION": "L2Norm", "BATCH_MATMUL": "BatchMatMul", "MAXIMUM": "MaximumMinimum",
    "MINIMUM": "MaximumMinimum", "SPACE_TO_BATCH_ND": "SpaceToBatchND", "BATCH_TO_SPACE_ND": "BatchToSpaceND",
    "SVDF": "SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTM", "ARG_MAX": "ArgMax",
    "ARG_MIN": "ArgMin", "LOGISTIC": "", "TANH": "", "RELU": "", "RELU6": "", "RELU_N1_TO_1": "", "ELU": "",
    "PRELU": "", "RSQRT": "", "LOG": "", "SQRT": "",
}  # fmt: skip


class TfliteBuilder:
    """Tensors and operators by index; `graph` opens a further subgraph, `finish` gives the file's bytes."""

    def __init__(self) -> None:
        self.buffers: list[Any] = [schema.BufferT()]
        self.codes: list[tuple[str, int]] = []
        self.graphs: list[Any] = []
        self.graph()

    def graph(self) -> None:
        found = schema.SubGraphT()
        found.tensors, found.operators, found.name = [], [], f"graph{len(self.graphs)}"
        found.inputs = found.outputs = np.zeros(0, np.int32)
        self.graphs.append(found)

    def tensor(
        self,
        shape: Sequence[int],
        dtype: str = "int8",
        scale: float | Sequence[float] | None = None,
        zero_point: int = 0,
        data: npt.ArrayLike | None = None,
        axis: int = 0,
        variable: bool = False,
        name: str = "",
    ) -> int:
        """Index of a new tensor of the newest subgraph. `data` makes it a constant."""
        record = schema.TensorT()
        tensors = self.graphs[-1].tensors
        record.name, record.type, record.isVariable = name or f"t{len(tensors)}", TYPES[dtype], variable
        record.shape = np.array(shape, np.int32)
        record.buffer = 0
        if data is not None:
            buffer = schema.BufferT()
            content = np.ascontiguousarray(data, np.uint8 if dtype == "int4" else dtype)
            buffer.data = np.frombuffer(content.tobytes(), np.uint8)
            self.buffers.append(buffer)
            record.buffer = len(self.buffers) - 1
        if scale is not None:
            q = schema.QuantizationParametersT()
            q.scale = np.atleast_1d(np.array(scale, np.float32))
            q.zeroPoint = np.full(q.scale.shape, zero_point, np.int64)
            q.quantizedDimension = axis
            record.quantization = q
        tensors.append(record)
        return len(tensors) - 1

    def op(
        self, kind: str, inputs: Sequence[int], outputs: Sequence[int], version: int = 1, options: str = "",
        **fields: Any,
    ) -> None:  # fmt: skip
        """Append an operator; `fields` are those of its options table (`options` names an unusual one)."""
        record = schema.OperatorT()
        if (kind, version) not in self.codes:
            self.codes.append((kind, version))
        record.opcodeIndex = self.codes.index((kind, version))
        record.inputs, record.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
        table = options or OPTIONS.get(kind, "".join(part.capitalize() for part in kind.split("_")))
        if table:
            made = getattr(schema, f"{table}OptionsT")()
            for name, value in fields.items():
                if not hasattr(made, name):
                    raise AssertionError(f"{table}Options has no field {name}: {sorted(vars(made))}")
                setattr(made, name, np.array(value, np.int32) if isinstance(value, (list, tuple)) else value)
            record.builtinOptions = made
            record.builtinOptionsType = getattr(schema.BuiltinOptions, f"{table}Options")
        self.graphs[-1].operators.append(record)

    def finish(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """The file; `inputs` and `outputs` are the first subgraph's."""
        self.graphs[0].inputs, self.graphs[0].outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
        model = schema.ModelT()
        model.version, model.buffers, model.subgraphs = 3, self.buffers, self.graphs
        model.operatorCodes = []
        for kind, version in self.codes:
            code = schema.OperatorCodeT()
            code.builtinCode = getattr(schema.BuiltinOperator, kind)
            code.deprecatedBuiltinCode = min(code.builtinCode, 127)
            code.version = version
            model.operatorCodes.append(code)
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())
