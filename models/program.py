"""Program: the network as a list of NHWC operators in execution order, exact once quantized.

The same record serves twice. Lowering a Network gives a *float* Program (every tensor float32, no
quantization); quantizing it, or reading an int8 `.tflite`, gives an *exact* one, whose every output bit is
defined by the TensorFlow Lite Micro reference kernels. Operators carry TFLite's names and meaning.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from secateur.models.preprocess import IDENTITY, Preprocess

DTYPES: dict[str, Any] = {
    "int8": np.int8,
    "uint8": np.uint8,
    "int16": np.int16,
    "int32": np.int32,
    "int64": np.int64,
    "float32": np.float32,
    "bool": np.bool_,
}


@dataclass(frozen=True)
class Quantization:
    """real = scale * (q - zero_point); one value, or one a channel along `axis`."""

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int = 0

    @property
    def per_channel(self) -> bool:
        return len(self.scale) > 1


@dataclass(frozen=True)
class Tensor:
    """A value: activation (`data` is None) or constant. Activations are NHWC, batch 1.

    `nibbles`: constants that are int4 in the file; kernels that know them keep them two a byte.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    quantization: Quantization | None = None
    data: npt.NDArray[Any] | None = field(default=None, compare=False)
    nibbles: bool = False

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Bytes that the values take; of an activation on the device, see `Program.bytes_of`."""
        return self.elements * int(np.dtype(DTYPES[self.dtype]).itemsize)

    @property
    def scale(self) -> float:
        assert self.quantization is not None, f"tensor {self.name} carries no quantization"
        return self.quantization.scale[0]

    @property
    def zero_point(self) -> int:
        assert self.quantization is not None, f"tensor {self.name} carries no quantization"
        return self.quantization.zero_point[0]


@dataclass(frozen=True)
class Padding:
    """Explicit zero padding in pixels. What is outside counts as the input's zero point."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    def __bool__(self) -> bool:
        return bool(self.top or self.bottom or self.left or self.right)


@dataclass(frozen=True)
class Options:
    """The attributes of one operator; each kind uses the fields that its TFLite table has."""

    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: Padding = Padding()
    kernel: tuple[int, int] = (1, 1)  # pools only; convolutions have it in the weights
    depth_multiplier: int = 1
    activation: str = "NONE"  # NONE, RELU, RELU6, RELU_N1_TO_1
    axis: int = 0  # CONCATENATION, ARG_MAX, ARG_MIN, GATHER
    batch_dims: int = 0  # GATHER: so many dimensions are the same of both operands
    beta: float = 1.0  # SOFTMAX
    alpha: float = 0.0  # LEAKY_RELU
    approximate: bool = False  # GELU
    permutation: tuple[int, ...] = ()  # TRANSPOSE
    align_corners: bool = False  # RESIZE_*
    half_pixel_centers: bool = False
    keep_dims: bool = False  # MEAN and other reductions
    adjoint: tuple[bool, bool] = (False, False)  # BATCH_MATMUL: of either operand, rows and columns are swapped
    rank: int = 1  # SVDF
    time_major: bool = False  # UNIDIRECTIONAL_SEQUENCE_LSTM
    cell_clip: float = 0.0
    begin: tuple[int, ...] = ()  # STRIDED_SLICE, all dimensions
    strides: tuple[int, ...] = ()  # STRIDED_SLICE
    in_place: bool = False  # STRIDED_SLICE, CONCATENATION of whole rows: nothing is moved, the planner places them so


@dataclass(frozen=True)
class Op:
    """One operator. Inputs and outputs are tensor indices; -1 stands for an absent optional input.

    Outputs after the first are states after it (SVDF, UNIDIRECTIONAL_SEQUENCE_LSTM).
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Options = Options()
    name: str = ""


@dataclass(frozen=True)
class State:
    """Memory from call to call: tensor `before` holds it when an inference starts, `after` when it has ended.

    `initial`: its value before the first call, of the tensors' shape and type.
    """

    before: int
    after: int
    initial: npt.NDArray[Any] = field(compare=False)


@dataclass(frozen=True)
class Program:
    """Operators in execution order over a table of tensors. Passes return a new one.

    `preprocess`: what turns a raw sample into the real values that the input is quantized from.
    `shape_only`: lowered from a float network, to be quantized; its float32 activations are costed as int8.
    """

    name: str
    tensors: tuple[Tensor, ...]
    ops: tuple[Op, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    labels: tuple[str, ...] = ()
    states: tuple[State, ...] = ()
    shape_only: bool = False
    preprocess: Preprocess = IDENTITY

    def bytes_of(self, tensor: int) -> int:
        """Bytes that an activation takes on the device."""
        found = self.tensors[tensor]
        return found.elements if self.shape_only else found.size_bytes

    def activations(self, op: Op) -> tuple[int, ...]:
        """Indices of the inputs of `op` that are computed or fed, not constants."""
        return tuple(i for i in op.inputs if i >= 0 and self.tensors[i].data is None)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of convolutions and fully connected layers; everything else counts 0."""
        return sum(op_macs(self, op) for op in self.ops)

    @property
    def parameters(self) -> int:
        """Elements of weights and biases."""
        used = {i for op in self.ops if op.kind in (*WEIGHTED, "TRANSPOSE_CONV") for i in op.inputs[1:3] if i >= 0}
        return sum(self.tensors[i].elements for i in used)


MOVING = (
    "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "CONCATENATION", "STRIDED_SLICE", "TRANSPOSE", "BROADCAST_TO", "TAKE",
    "GATHER", "CAST",
)  # fmt: skip
"""Kinds whose output holds values of their first operand (CONCATENATION: of any), perhaps of another type."""

WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


def op_macs(program: Program, op: Op) -> int:
    """Multiply-accumulates of one operator (padding counted, as everybody does)."""
    if op.kind not in (*WEIGHTED, "TRANSPOSE_CONV", "BATCH_MATMUL"):
        return 0
    out = program.tensors[op.outputs[0]].elements
    weights = program.tensors[op.inputs[1]]
    if op.kind == "BATCH_MATMUL":
        return out * weights.shape[-1 if op.options.adjoint[1] else -2]
    if op.kind == "TRANSPOSE_CONV":
        return program.tensors[op.inputs[0]].elements * weights.elements // weights.shape[3]
    if op.kind == "FULLY_CONNECTED":
        return out * weights.shape[-1]
    per_output = weights.shape[1] * weights.shape[2]
    return out * per_output * (weights.shape[3] if op.kind == "CONV_2D" else 1)


SLOT_ALIGNMENT = 16
"""Bytes: where each of several inputs or outputs begins when they are passed as one piece."""


def slots(program: Program, tensors: tuple[int, ...]) -> tuple[int, ...]:
    """Byte offset of each of `tensors` (a Program's inputs or outputs) in one piece, and the piece's size last."""
    offsets, end = [], 0
    for i in tensors:
        start = -(-end // SLOT_ALIGNMENT) * SLOT_ALIGNMENT
        offsets.append(start)
        end = start + program.bytes_of(i)
    return (*offsets, end)


def pack(program: Program, tensors: tuple[int, ...], values: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.int8]:
    """The values of `tensors` as one piece of bytes."""
    *offsets, size = slots(program, tensors)
    piece = np.zeros(size, np.int8)
    for i, offset, value in zip(tensors, offsets, values, strict=True):
        content = np.ascontiguousarray(value, DTYPES[program.tensors[i].dtype]).reshape(-1).view(np.int8)
        piece[offset : offset + content.size] = content
    return piece


def unpack(program: Program, tensors: tuple[int, ...], piece: npt.NDArray[np.int8]) -> list[npt.NDArray[Any]]:
    """The reverse of `pack`, each in its tensor's shape and type."""
    found = []
    piece = np.ascontiguousarray(piece).reshape(-1)
    for i, offset in zip(tensors, slots(program, tensors), strict=False):
        tensor = program.tensors[i]
        content = piece[offset : offset + tensor.size_bytes].copy()
        found.append(content.view(DTYPES[tensor.dtype]).reshape(tensor.shape))
    return found


def random_inputs(program: Program, samples: int, seed: int) -> npt.NDArray[np.int8]:
    """Seeded inputs, (samples, input bytes): integers of every value, floats over what is quantized and a bit more.

    Indices of a GATHER lie inside the axis that they are of.
    """
    random = np.random.default_rng(seed)
    pieces = []
    for _ in range(samples):
        values = []
        for i in program.inputs:
            tensor, inside = program.tensors[i], _index_limit(program, i)
            if inside is not None:
                values.append(_indices(random, tensor, inside))
            elif tensor.dtype == "float32":
                low, high = _quantized_range(program, i) or _any_size(random)
                values.append(random.uniform(low, high, tensor.shape).astype(np.float32))
            elif tensor.dtype == "bool":
                values.append(random.integers(0, 2, tensor.shape).astype(np.bool_))
            else:
                limits = np.iinfo(DTYPES[tensor.dtype])
                values.append(
                    random.integers(limits.min, limits.max, tensor.shape, DTYPES[tensor.dtype], endpoint=True)
                )
        pieces.append(pack(program, program.inputs, values))
    return np.stack(pieces)


def _index_limit(program: Program, tensor: int) -> int | None:
    """Size of the smallest axis that values of `tensor`, moved or cast, are the indices of in a GATHER, if any."""
    same, found = {tensor}, []
    for op in program.ops:
        if op.kind == "GATHER" and op.inputs[1] in same:
            found.append(program.tensors[op.inputs[0]].shape[op.options.axis])
        moved = op.inputs if op.kind == "CONCATENATION" else op.inputs[:1]
        if op.kind in MOVING and same & set(moved):
            same.add(op.outputs[0])
    return min(found, default=None)


def _indices(random: np.random.Generator, tensor: Tensor, size: int) -> npt.NDArray[Any]:
    """Values from 0 to `size` - 1, as far as the type reaches; floats are cut off to those."""
    dtype = DTYPES[tensor.dtype]
    if tensor.dtype == "float32":
        return random.uniform(0, size - 0.5, tensor.shape).astype(np.float32)
    largest = 1 if tensor.dtype == "bool" else int(np.iinfo(dtype).max)
    return np.asarray(random.integers(0, min(size - 1, largest), tensor.shape, endpoint=True).astype(dtype))


def _quantized_range(program: Program, tensor: int) -> tuple[float, float] | None:
    """A quarter more than the real values that the QUANTIZE behind a float input keeps, so that it saturates too."""
    for op in program.ops:
        out = program.tensors[op.outputs[0]]
        if op.kind == "QUANTIZE" and op.inputs[0] == tensor and out.quantization is not None:
            limits = np.iinfo(DTYPES[out.dtype])
            low, high = (1.25 * out.scale * (int(end) - out.zero_point) for end in (limits.min, limits.max))
            return low, high
    return None


def _any_size(random: np.random.Generator) -> tuple[float, float]:
    """Both ends of a range: functions are flat at one size and saturate at another."""
    largest = 2.0 ** int(random.integers(-9, 8))
    return -largest, largest


def with_ops(program: Program, ops: list[Op], tensors: list[Tensor] | None = None) -> Program:
    """`program` with other operators, tensors that nobody uses dropped and indices closed up."""
    table = list(program.tensors) if tensors is None else tensors
    kept = {i for s in program.states for i in (s.before, s.after)} | {*program.inputs, *program.outputs}
    used = sorted({i for op in ops for i in (*op.inputs, *op.outputs) if i >= 0} | kept)
    index = {old: new for new, old in enumerate(used)} | {-1: -1}
    return replace(
        program,
        tensors=tuple(table[i] for i in used),
        ops=tuple(
            replace(op, inputs=tuple(index[i] for i in op.inputs), outputs=tuple(index[i] for i in op.outputs))
            for op in ops
        ),
        inputs=tuple(index[i] for i in program.inputs),
        outputs=tuple(index[i] for i in program.outputs),
        states=tuple(replace(s, before=index[s.before], after=index[s.after]) for s in program.states),
    )


def verify_program(program: Program) -> None:
    """Raise AssertionError, naming the place, if the record contradicts itself.

    Checked: indices in range, every activation written once and before it is read, data of the declared
    shape and type, outputs written.
    """
    size = len(program.tensors)
    fed = (*program.inputs, *(s.before for s in program.states))
    known = set(fed) | {i for i, t in enumerate(program.tensors) if t.data is not None}
    assert len(set(fed)) == len(fed), f"{program.name}: one tensor is fed twice"
    for position, op in enumerate(program.ops):
        where = f"{program.name}: op {position} {op.kind} {op.name}"
        for i in op.inputs:
            assert -1 <= i < size, f"{where}: tensor index {i} of {size}"
            assert i == -1 or i in known, f"{where}: reads {program.tensors[i].name} before it is written"
        for i in op.outputs:
            assert 0 <= i < size, f"{where}: tensor index {i} of {size}"
            assert i not in known, f"{where}: writes {program.tensors[i].name} a second time"
            known.add(i)
    for s in program.states:
        before, after = program.tensors[s.before], program.tensors[s.after]
        where = f"{program.name}: state {before.name}"
        assert s.after in known, f"{where} is never written"
        assert (before.shape, before.dtype) == (after.shape, after.dtype), f"{where} changes its shape or type"
        assert s.initial.shape == before.shape, f"{where} starts with {s.initial.shape}"
    for i in program.outputs:
        assert i in known, f"{program.name}: output {program.tensors[i].name} is never written"
    for t in program.tensors:
        assert t.dtype in DTYPES, f"{program.name}: tensor {t.name} has type {t.dtype}"
        if t.data is not None:
            assert t.data.shape == t.shape, f"{program.name}: {t.name} holds {t.data.shape}, declares {t.shape}"
            assert t.data.dtype == DTYPES[t.dtype], f"{program.name}: {t.name} holds {t.data.dtype}, declares {t.dtype}"
