"""The golden runtime: TensorFlow Lite Micro on the `.tflite` file as it was written, before any simplification.

Where its wheel does not exist (anything but Linux on x86-64), and for the few operators that it lacks or gets wrong,
our integer reference interpreter stands in, which the tests prove equal to it, or there to LiteRT's reference kernels;
the report names which one ran. It is also the golden runtime of a program that computes with floats, and TensorFlow
Lite Micro the witness: `float_golden.py` has that rule.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from secateur.errors import MismatchError
from secateur.models.program import Op, Program, pack, unpack
from secateur.models.reference import run_reference
from secateur.models.reference_float import ULPS
from secateur.models.tables import div_shift
from secateur.runtime_bench.float_golden import (
    borders,
    computes_floats,
    float_places,
    one_no_number,
    same_bits,
    witness,
)

log = logging.getLogger(__name__)

TFLM_MISSING = frozenset({"GELU", "RELU_N1_TO_1", "RELU_0_TO_1"})
"""Operators that we compute and TensorFlow Lite Micro does not."""

TFLM_NOT_INT16 = frozenset({
    "SPACE_TO_DEPTH", "DEPTH_TO_SPACE", "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND", "GATHER", "MIRROR_PAD",
    "REDUCE_MAX", "REDUCE_MIN",
})  # fmt: skip
"""Operators that it computes, but not of int16."""


@dataclass(frozen=True)
class Golden:
    """`outputs`: (samples, output bytes). `runtime`: what computed them. `values`: of one sample; None: one a byte.

    `floats`: where float32 is among the bytes, [start, end).
    """

    runtime: str
    outputs: npt.NDArray[np.int8]
    values: int | None = None
    floats: tuple[tuple[int, int], ...] = ()


def tflm_available() -> bool:
    """True where the tflite-micro wheel is installed."""
    return importlib.util.find_spec("tflite_micro") is not None


def tflm_lacks(content: bytes) -> str | None:
    """Why TensorFlow Lite Micro is no reference for this file, None where it is."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content)
    names = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
    codes = [names.get(max(c.builtinCode, c.deprecatedBuiltinCode), "") for c in model.operatorCodes]
    missing = sorted(set(codes) & TFLM_MISSING)
    if missing:
        return f"it has no {', '.join(missing)}"
    for graph in model.subgraphs:
        for op in graph.operators:
            reason = _lacks(codes[op.opcodeIndex], op, graph.tensors, model.buffers)
            if reason is not None:
                return reason
    return None


def _lacks(kind: str, op: Any, tensors: Any, buffers: Any) -> str | None:
    """Why TensorFlow Lite Micro is no reference for one operator, None where it is."""
    from ai_edge_litert import schema_py_generated as schema

    if kind in ("ARG_MAX", "ARG_MIN") and tensors[op.outputs[0]].type != schema.TensorType.INT32:
        return f"its {kind} gives int32 alone"
    if kind == "DEQUANTIZE" and tensors[op.inputs[0]].type == schema.TensorType.FLOAT16:
        return "its DEQUANTIZE takes no float16"
    if kind in TFLM_NOT_INT16 and tensors[op.outputs[0]].type == schema.TensorType.INT16:
        return f"its {kind} takes no int16"
    if kind == "GATHER" and tensors[op.inputs[1]].type != schema.TensorType.INT32:
        return "its GATHER takes indices of int32 alone"
    if kind == "CONCATENATION" and len(op.inputs) > 10:
        return "its CONCATENATION takes 10 inputs at most"
    if kind == "SOFTMAX" and tensors[op.inputs[0]].shape[-1] > 511:
        return "its SOFTMAX of more than 511 values stops where they are equal"
    if kind == "FULLY_CONNECTED" and tensors[op.inputs[1]].type == schema.TensorType.INT4:
        quantization = tensors[op.inputs[1]].quantization
        if quantization is not None and quantization.scale is not None and len(quantization.scale) > 1:
            return "its FULLY_CONNECTED takes int4 weights of one scale alone"
    if kind == "SPACE_TO_BATCH_ND":
        pads = buffers[tensors[op.inputs[2]].buffer].data
        if pads is not None and np.any(pads):
            return "its SPACE_TO_BATCH_ND pads with a value that it does not set"
    return None


def golden_outputs(content: bytes, program: Program, samples: npt.NDArray[np.int8]) -> Golden:
    """Outputs of the `.tflite` bytes `content`, whose Program is `program`, for samples (n, input bytes) in a row.

    Inputs and outputs are pieces of bytes, as `models.program.pack` makes them.
    """
    values = sum(program.tensors[i].elements for i in program.outputs)
    judged = tflm_available() and tflm_lacks(content) is None
    judged = judged and not any(op.kind == "DIV" and _shifts_too_far(program, op) for op in program.ops)
    stopped = "secateur reference interpreter (TensorFlow Lite Micro stops on this file)"
    if computes_floats(program):
        runtime, outputs = "secateur reference interpreter", run_reference(program, samples)
        exact = same_bits(program) and not (judged and _asks_library(content))
        watched = [] if exact else [program.tensors[op.outputs[0]].name for op in borders(program)]
        if judged and len(_places(content, watched)) < len(watched):
            runtime = f"{runtime} (tensors share a name: TensorFlow Lite Micro's cannot be followed)"
        elif judged:
            try:
                theirs, seen = _run_tflm(content, program, samples, watched)
            except RuntimeError as error:
                log.warning("%s: TensorFlow Lite Micro stops on this file: %s", program.name, error)
                runtime = stopped
            else:
                runtime = f"{runtime}, which is {witness(program, samples, outputs, theirs, seen, exact)}"
        return Golden(runtime, outputs, values, float_places(program))
    if judged:
        try:
            outputs = run_tflm(content, program, samples)
        except RuntimeError as error:  # it says on stderr why
            log.warning("%s: TensorFlow Lite Micro stops on this file: %s", program.name, error)
            return Golden(stopped, run_reference(program, samples), values)
        return Golden("TensorFlow Lite Micro (tflite-micro wheel)", outputs, values)
    return Golden("secateur reference interpreter", run_reference(program, samples), values)


def _asks_library(content: bytes) -> bool:
    """Whether TensorFlow Lite Micro asks its C library, be it for what is a constant here since the file was read."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content)
    kinds = {getattr(schema.BuiltinOperator, kind) for kind in ULPS}
    asking = [max(c.builtinCode, c.deprecatedBuiltinCode) in kinds for c in model.operatorCodes]
    return any(
        asking[op.opcodeIndex] and graph.tensors[op.inputs[0]].type == schema.TensorType.FLOAT32
        for graph in model.subgraphs for op in graph.operators
    )  # fmt: skip


def _shifts_too_far(program: Program, op: Op) -> bool:
    """Whether a DIV of int8 by a constant shifts some quotient by more than 31 bits, which C leaves open: TFLM's values
    differ from processor to processor then, ours are 0."""
    x, b, out = (program.tensors[i] for i in (*op.inputs[:2], op.outputs[0]))
    if x.dtype != "int8" or b.data is None:
        return False
    return div_shift(x, out, int(b.data.ravel()[0]), b) < -31


def run_tflm(content: bytes, program: Program, samples: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """TFLite Micro's outputs, (n, output bytes)."""
    return _run_tflm(content, program, samples, [])[0]


def _run_tflm(
    content: bytes, program: Program, samples: npt.NDArray[np.int8], watched: Sequence[str]
) -> tuple[npt.NDArray[np.int8], list[dict[str, npt.NDArray[Any]]]]:
    """TFLite Micro's outputs, and of every sample the tensors that alone bear one of the names `watched`."""
    from tflite_micro.python.tflite_micro import runtime

    # TFLM wants its arena's size: activations of all operators at once, and its own records, are never exceeded.
    arena = 65536 + 2 * sum(t.size_bytes for t in program.tensors if t.data is None) + 4096 * len(program.ops)
    places = _places(content, watched)
    keep = runtime.InterpreterConfig.kPreserveAllTensors if places else runtime.InterpreterConfig.kAllocationRecording
    interpreter = runtime.Interpreter.from_bytes(content, arena_size=arena, intrepreter_config=keep)
    outputs, seen = [], []
    for sample in samples:
        for number, value in enumerate(unpack(program, program.inputs, sample)):
            interpreter.set_input(value, number)
        interpreter.invoke()
        found = [np.asarray(interpreter.get_output(i)) for i in range(len(program.outputs))]
        outputs.append(pack(program, program.outputs, found))
        seen.append({name: np.array(interpreter.GetTensor(i, 0)["tensor_data"]) for name, i in places.items()})
    return (np.stack(outputs) if outputs else np.empty((0, 0), np.int8)), seen


def _places(content: bytes, names: Sequence[str]) -> dict[str, int]:
    """Index in the file of the tensors of the first subgraph that alone bear one of `names`."""
    if not names:
        return {}
    from ai_edge_litert import schema_py_generated as schema

    tensors = schema.ModelT.InitFromPackedBuf(content).subgraphs[0].tensors
    given = [t.name.decode() if isinstance(t.name, bytes) else str(t.name or "") for t in tensors]
    return {name: given.index(name) for name in names if given.count(name) == 1}


@dataclass(frozen=True)
class Comparison:
    """`values` output values of `samples` samples compared with the runtime named `golden`."""

    golden: str
    samples: int
    values: int
    mismatches: int


def compare(golden: Golden, outputs: npt.NDArray[np.int8], where: str) -> Comparison:
    """Every output value against the golden one.

    Raises MismatchError at the first difference: it is our bug, never a warning.
    """
    if outputs.shape != golden.outputs.shape:
        raise MismatchError(f"{where}: outputs {outputs.shape}, golden {golden.outputs.shape}")
    found, expected = (one_no_number(o, golden.floats) for o in (outputs, golden.outputs))
    wrong = np.argwhere(found != expected)
    if len(wrong):
        sample, value = (int(i) for i in wrong[0])
        unit = "value" if golden.values in (None, outputs.shape[1]) else "byte"
        raise MismatchError(
            f"{where}: {len(wrong)} of {outputs.size} output {unit}s differ from {golden.runtime}; first: sample "
            f"{sample}, {unit} {value}: {outputs[sample, value]} instead of {golden.outputs[sample, value]}"
        )
    values = outputs.size if golden.values is None else len(outputs) * golden.values
    return Comparison(golden.runtime, len(outputs), values, 0)
