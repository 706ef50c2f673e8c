"""Quantized ONNX files for tests: made by ONNX Runtime's own quantizer, and what its runtime answers."""

from __future__ import annotations

import contextlib
import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from secateur.compiler.export.onnx import export_onnx
from secateur.compiler.export.quantize import quantize_samples
from secateur.compiler.export.tflite import tflite_bytes
from secateur.compiler.frontends.onnx_file import load_onnx
from secateur.models.network import Network
from secateur.models.program import Program
from secateur.passes.program.lower import to_channels_last
from secateur.runtime_bench.golden import golden_outputs

Array = npt.NDArray[Any]


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """One sample at a time."""

    def __init__(self, name: str, samples: Array) -> None:
        self.left = iter([{name: s[None]} for s in samples])

    def get_next(self) -> Any:
        return next(self.left, None)


def samples_of(shape: tuple[int, ...], count: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((count, *shape)).astype(np.float32)


def quantize_file(
    floats: Path, out: Path, samples: Array, activations: QuantType = QuantType.QInt8,
    weights: QuantType = QuantType.QInt8, per_channel: bool = True, operators: bool = False, **options: Any,
) -> Path:  # fmt: skip
    """ONNX Runtime's static quantization; `operators`: QLinearConv and its like instead of QDQ."""
    name = onnx.load(str(floats)).graph.input[0].name
    extra = {"ActivationSymmetric": False, "WeightSymmetric": True, **options}
    logging.getLogger().setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()):
        quantize_static(
            str(floats), str(out), Reader(name, samples), QuantFormat.QOperator if operators else QuantFormat.QDQ,
            per_channel=per_channel, activation_type=activations, weight_type=weights, extra_options=extra,
        )  # fmt: skip
    return out


def quantized_network(network: Network, folder: Path, folded: bool = False, **how: Any) -> Path:
    """A Network as a quantized file; `folded`: batch norms first, without which they stay floats as operators."""
    export_onnx(network, folder / "float.onnx")
    if folded:
        quant_pre_process(str(folder / "float.onnx"), str(folder / "float.onnx"))
    return quantize_file(folder / "float.onnx", folder / "int8.onnx", samples_of(network.input_shape, 32), **how)


def _quiet() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return options


def differences(path: Path, program: Program, samples: Array) -> tuple[Array, float]:
    """Steps between ONNX Runtime's outputs and TensorFlow Lite Micro's, and the share of equal classes."""
    session = onnxruntime.InferenceSession(str(path), _quiet(), providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0].name
    outputs = np.concatenate([session.run(None, {entry: s[None]})[0] for s in samples])
    theirs = to_channels_last(outputs).reshape(len(samples), -1)
    end = program.tensors[program.outputs[0]]
    content = quantize_samples(program, to_channels_last(program.preprocess(samples))).reshape(len(samples), -1)
    ours = golden_outputs(tflite_bytes(program), program, content).outputs.astype(np.int64)
    steps = np.rint(theirs / end.scale) + end.zero_point - ours
    # of several equal largest outputs, any is the class
    top = np.take_along_axis(ours, theirs.argmax(1)[:, None], 1)[:, 0] == ours.max(1)
    return np.abs(steps), float(top.mean())


def loaded(path: Path, **how: Any) -> Program:
    program = load_onnx(path, **how)
    assert isinstance(program, Program)
    return program


def quantize_each_value(floats: Path, out: Path, samples: Array, unsigned: bool = False) -> Path:
    """A QuantizeLinear and DequantizeLinear behind the input and every operator, whatever ONNX Runtime thinks of it.

    Weights are int8, one scale a filter, biases int32, other constants int8 with a zero point.
    """
    model = onnx.shape_inference.infer_shapes(onnx.load(str(floats)))
    graph, ranges = model.graph, _ranges(model, samples)
    constants = {i.name: onnx.numpy_helper.to_array(i) for i in graph.initializer}
    scales: dict[str, float] = {}
    nodes: list[onnx.NodeProto] = []
    real = {k for k, v in constants.items() if v.dtype == np.float32}
    names = {}

    def put(name: str, value: Array) -> str:
        if name not in constants:
            constants[name] = value
            graph.initializer.append(onnx.numpy_helper.from_array(value, name))
        return name

    def through(name: str) -> None:
        low, high = ranges[name]
        scales[name] = scale = float(np.float32(max(high - low, 1e-3) / 255))
        zero = round(-128 - low / scale) + (128 if unsigned else 0)
        parts = [
            put(f"{name}_s", np.float32(scale)),
            put(f"{name}_z", np.array(zero, np.uint8 if unsigned else np.int8)),
        ]
        nodes.append(onnx.helper.make_node("QuantizeLinear", [name, *parts], [f"{name}_q"]))
        nodes.append(onnx.helper.make_node("DequantizeLinear", [f"{name}_q", *parts], [f"{name}_dq"]))
        names[name] = f"{name}_dq"

    def constant(node: onnx.NodeProto, place: int, name: str) -> str:
        value, axis = constants[name], 0
        weighted = node.op_type in ("Conv", "Gemm", "MatMul")
        if weighted and place == 1:
            axis = 0 if node.op_type == "Conv" or any(a.name == "transB" and a.i for a in node.attribute) else 1
            other = tuple(i for i in range(value.ndim) if i != axis)
            scale = np.float32(np.abs(value).max(other) / 127)
            q = np.rint(value / scale.reshape([-1 if i == axis else 1 for i in range(value.ndim)])).astype(np.int8)
        elif weighted:
            scale = np.float32(scales[node.input[0]] * constants[f"{node.input[1]}_s"])
            q = np.rint(value / scale).astype(np.int32)
        else:
            low, high = min(float(value.min()), 0.0), max(float(value.max()), 0.0)
            scale = np.float32((high - low) / 255)
            zero = round(-128 - low / float(scale))
            q = np.clip(np.rint(value / scale) + zero, -128, 127).astype(np.int8)
        parts = [put(f"{name}_q", q), put(f"{name}_s", np.asarray(scale))]
        if not weighted:
            parts.append(put(f"{name}_z", np.array(zero, np.int8)))
        if f"{name}_dq" not in {n.output[0] for n in nodes}:
            nodes.append(onnx.helper.make_node("DequantizeLinear", parts, [f"{name}_dq"], axis=axis))
        return f"{name}_dq"

    through(graph.input[0].name)
    for node in list(graph.node):
        bare = node.op_type in ("BatchNormalization", "Clip", "Pad")
        inputs = [
            constant(node, i, name) if name in real and not bare else names.get(name, name)
            for i, name in enumerate(node.input)
        ]
        made = onnx.NodeProto()
        made.CopyFrom(node)
        del made.input[:]
        made.input.extend(inputs)
        nodes.append(made)
        for name in node.output:
            through(name)
    del graph.node[:]
    graph.node.extend(nodes)
    graph.output[0].name = names[graph.output[0].name]
    onnx.checker.check_model(model)
    onnx.save_model(model, str(out))
    return out


def _ranges(model: onnx.ModelProto, samples: Array) -> dict[str, tuple[float, float]]:
    """Least and largest of every value, 0 included."""
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    produced = [o for n in model.graph.node for o in n.output]
    del whole.graph.output[:]
    whole.graph.output.extend(onnx.helper.make_tensor_value_info(o, onnx.TensorProto.FLOAT, None) for o in produced)
    session = onnxruntime.InferenceSession(whole.SerializeToString(), _quiet(), providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0].name
    found = {entry: (min(0.0, float(samples.min())), max(0.0, float(samples.max())))}
    runs = [session.run(None, {entry: s[None]}) for s in samples]
    for i, name in enumerate(produced):
        values = np.stack([run[i] for run in runs])
        found[name] = min(0.0, float(values.min())), max(0.0, float(values.max()))
    return found
