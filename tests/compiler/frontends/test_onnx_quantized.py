"""Quantized ONNX (QDQ) becomes an exact int8 Program with the file's scales.

python tests/compiler/frontends/test_onnx_quantized.py     # the table of docs/onnx.md
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.shape_inference import quant_pre_process

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from quantized_onnx import differences, loaded, quantize_each_value, quantize_file, quantized_network, samples_of

from secateur.compiler.export.onnx import export_onnx
from secateur.compiler.frontends.onnx_file import load_onnx
from secateur.errors import UserError
from secateur.models.preprocess import Preprocess
from secateur.models.reference import run_reference
from secateur.models.zoo.catalogue import load, zoo_data
from secateur.models.zoo.small import SMALL, small_network

Array = npt.NDArray[Any]

STEPS = {"har": 2}
"""Largest difference from ONNX Runtime; 1 where none is said."""


def node(kind: str, inputs: str, output: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), output.split(), f"{kind}_{output.split()[0]}", **attributes)


def write(path: Path, nodes: list[onnx.NodeProto], shape: list[Any], constants: dict[str, Array], **how: Any) -> Path:
    """A file with input x and output y."""
    kind, opset = how.get("kind", TensorProto.FLOAT), how.get("opset", 21)
    used = {i for n in nodes for i in n.input}
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [tensor(k, v) for k, v in constants.items() if k in used],
    )  # fmt: skip
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    onnx.save_model(helper.make_model(graph, opset_imports=imports, ir_version=10), str(path))
    return path


def tensor(name: str, value: Any) -> onnx.TensorProto:
    return value if isinstance(value, TensorProto) else numpy_helper.from_array(np.asarray(value), name)


def random(*shape: int) -> Array:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["QInt8", "QUInt8"])
@pytest.mark.parametrize("name", SMALL)
def test_a_network_of_onnx_runtime_gives_what_it_gives_there(name: str, kind: str, tmp_path: Path) -> None:
    """To STEPS, the same class every time, whatever the type of the activations."""
    network = small_network(name)
    path = quantized_network(network, tmp_path, activations=QuantType[kind])
    steps, classes = differences(path, loaded(path), samples_of(network.input_shape, 16, 5))
    assert steps.max() <= STEPS.get(name, 1)
    assert (steps == 0).mean() >= 0.5
    assert classes == 1.0


@pytest.mark.parametrize("name", ["concat", "residual-1d"])
def test_one_scale_a_tensor_is_one_scale_a_tensor(name: str, tmp_path: Path) -> None:
    """Weights with one scale, as quantize_static gives them by default."""
    network = small_network(name)
    path = quantized_network(network, tmp_path, per_channel=False)
    program = loaded(path)
    weights = [program.tensors[o.inputs[1]] for o in program.ops if o.kind in ("CONV_2D", "FULLY_CONNECTED")]
    assert weights and all(w.quantization and len(w.quantization.scale) == 1 for w in weights)
    steps, classes = differences(path, program, samples_of(network.input_shape, 16, 5))
    assert (steps.max(), classes) == (1, 1.0)


def test_unsigned_activations_are_the_signed_ones_moved(tmp_path: Path) -> None:
    """uint8 and int8 files of one network become the same Program."""
    programs = []
    for kind in (QuantType.QInt8, QuantType.QUInt8):
        path = quantized_network(small_network("concat"), tmp_path, activations=kind)
        programs.append(loaded(path))
    signed, unsigned = programs
    assert [o.kind for o in signed.ops] == [o.kind for o in unsigned.ops]
    for a, b in zip(signed.tensors, unsigned.tensors, strict=True):
        assert (a.shape, a.dtype, a.quantization) == (b.shape, b.dtype, b.quantization)
        assert (a.data is None and b.data is None) or np.array_equal(a.data, b.data)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["QInt8", "QUInt8"])
@pytest.mark.parametrize("name", SMALL)
def test_integer_operators_are_read_too(name: str, kind: str, tmp_path: Path) -> None:
    """QLinearConv, QGemm and their like of QuantFormat.QOperator: as equal as the QDQ form."""
    network = small_network(name)
    path = quantized_network(network, tmp_path, folded=True, activations=QuantType[kind], operators=True)
    assert any(n.op_type.startswith(("QLinear", "QGemm")) for n in onnx.load(str(path)).graph.node)
    steps, classes = differences(path, loaded(path), samples_of(network.input_shape, 16, 5))
    assert steps.max() <= STEPS.get(name, 1)
    assert (steps == 0).mean() >= 0.5
    assert classes == 1.0


def test_scales_and_integers_are_the_files(tmp_path: Path) -> None:
    """Nothing is calibrated or quantized again."""
    path = quantized_network(small_network("mlp"), tmp_path)
    program = loaded(path)
    held = {i.name: numpy_helper.to_array(i) for i in onnx.load(str(path)).graph.initializer}
    first = next(n for n in onnx.load(str(path)).graph.node if n.op_type == "QuantizeLinear")
    entry = program.tensors[program.inputs[0]]
    assert (entry.scale, entry.zero_point) == (float(held[first.input[1]]), int(held[first.input[2]]))
    weights = [v for v in held.values() if v.dtype == np.int8 and v.ndim == 2]
    ours = [t.data for t in program.tensors if t.dtype == "int8" and t.data is not None]
    assert len(weights) == len(ours) == 3
    assert all(any(np.array_equal(w, o) for o in ours) for w in weights)


W = {"w": random(6, 4, 3, 3), "b": random(6), "d": random(8, 1, 3, 3), "w1": random(6, 4, 3), "k": random(1, 4, 1, 1)}
BN = {"s": random(4), "h": random(4) + 1, "m": random(4), "v": random(4) ** 2 + 0.2}
CASES: dict[str, tuple[list[onnx.NodeProto], list[int], dict[str, Array]]] = {
    "conv, asymmetric pads": ([node("Conv", "x w b", pads=[0, 1, 1, 0], strides=[2, 2])], [1, 4, 7, 8], W),
    "conv, same": ([node("Conv", "x w b", auto_pad="SAME_UPPER", strides=[2, 1])], [1, 4, 7, 8], W),
    "conv, one dimension": ([node("Conv", "x w1 b", pads=[1, 1], strides=[2])], [1, 4, 9], W),
    "conv, multiplied depthwise": ([node("Conv", "x d", group=4, pads=[1, 1, 1, 1])], [1, 4, 7, 8], W),
    "conv, grouped": ([node("Conv", "x g", group=2)], [1, 4, 7, 8], {"g": random(6, 2, 3, 3)}),
    "batch norm": ([node("BatchNormalization", "x s h m v")], [1, 4, 5, 3], BN),
    "batch norm of features": ([node("BatchNormalization", "x s h m v")], [1, 4], BN),
    "gemm": ([node("Gemm", "x w b")], [1, 5], {"w": random(5, 3), "b": random(3)}),
    "gemm, transposed": ([node("Gemm", "x w b", transB=1)], [1, 5], {"w": random(3, 5), "b": random(3)}),
    "gemm behind a flattened map": (
        [node("Flatten", "x", "t"), node("Gemm", "t w b")], [1, 3, 4, 5], {"w": random(60, 7), "b": random(7)},
    ),
    "gemm behind positions first": (
        [node("Transpose", "x", "p", perm=[0, 2, 3, 1]), node("Flatten", "p", "t"), node("Gemm", "t w b")],
        [1, 3, 4, 5], {"w": random(60, 7), "b": random(7)},
    ),
    "matmul and a bias": (
        [node("MatMul", "x w", "t"), node("Add", "t b")], [1, 5], {"w": random(5, 3), "b": random(3)},
    ),
    "relu alone": ([node("Relu", "x")], [1, 4, 5, 3], {}),
    "relu6": ([node("Clip", "x lo hi")], [1, 4, 5, 3], {"lo": np.float32(0), "hi": np.float32(6)}),
    "maximum": ([node("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])], [1, 4, 7, 8], {}),
    "maximum, ceil": ([node("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)], [1, 4, 7, 8], {}),
    "maximum, one dimension": ([node("MaxPool", "x", kernel_shape=[3], strides=[2], pads=[1, 0])], [1, 4, 9], {}),
    "global maximum": ([node("GlobalMaxPool", "x")], [1, 4, 5, 3], {}),
    "average": ([node("AveragePool", "x", kernel_shape=[2, 3], strides=[2, 1])], [1, 4, 7, 8], {}),
    "average, same, not counted": (
        [node("AveragePool", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1])], [1, 4, 7, 8], {},
    ),
    "average, counted": (
        [node("AveragePool", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)], [1, 4, 7, 8], {},
    ),
    "global average": ([node("GlobalAveragePool", "x")], [1, 4, 5, 3], {}),
    "mean": ([node("ReduceMean", "x a", keepdims=0)], [1, 4, 5, 3], {"a": ints(2, 3)}),
    "sum of two": ([node("Relu", "x", "t"), node("Add", "x t")], [1, 4, 5, 3], {}),
    "difference of two": ([node("Relu", "x", "t"), node("Sub", "t x")], [1, 4, 5, 3], {}),
    "product of two": ([node("Relu", "x", "t"), node("Mul", "x t")], [1, 4, 5, 3], {}),
    "constant a channel": ([node("Mul", "x k", "t"), node("Add", "k t")], [1, 4, 5, 3], W),
    "difference of features": ([node("Sub", "k x")], [1, 5], {"k": random(1, 5)}),
    "concat of channels": (
        [node("Relu", "x", "t"), node("Concat", "x t x", axis=1)], [1, 4, 5, 3], {},
    ),
    "concat of rows": ([node("Relu", "x", "t"), node("Concat", "x t", axis=2)], [1, 4, 5, 3], {}),
    "concat of features": (
        [node("Relu", "x", "t"), node("Concat", "x t", "u", axis=-1), node("Gemm", "u w")], [1, 4],
        {"w": random(8, 3)},
    ),
    "pad": ([node("Pad", "x p")], [1, 4, 5, 3], {"p": ints(0, 1, 0, 2, 0, 0, 1, 0)}),
    "slice": ([node("Slice", "x i e a k")], [1, 4, 5, 6], {"i": ints(1, 0), "e": ints(3, 6), "a": ints(1, 3),
                                                          "k": ints(1, 2)}),
    "split": (
        [node("Split", "x", "t u", axis=1, num_outputs=2), node("Add", "t u")], [1, 4, 5, 6], {},
    ),
    "what moves nothing": (
        [node("Unsqueeze", "x a", "t"), node("Squeeze", "t a", "u"), node("Identity", "u", "v"),
         node("Reshape", "v n", "q"), node("Gemm", "q w")], [1, 4, 5],
        {"a": ints(2), "n": ints(0, 20), "w": random(20, 3)},
    ),
    "softmax": ([node("Gemm", "x w", "t"), node("Softmax", "t", axis=-1)], [1, 5], {"w": random(5, 3)}),
    "sigmoid": ([node("Sigmoid", "x")], [1, 4, 5, 3], {}),
    "tanh": ([node("Tanh", "x")], [1, 4, 5, 3], {}),
    "leaky relu": ([node("LeakyRelu", "x", alpha=0.2)], [1, 4, 5, 3], {}),
    "hard swish": ([node("HardSwish", "x")], [1, 4, 5, 3], {}),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("unsigned", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_an_operator_gives_what_onnx_runtime_gives(name: str, unsigned: bool, tmp_path: Path) -> None:
    """To one step where every operator rounds once, each value with scales of its own; through TFLM."""
    nodes, shape, constants = CASES[name]
    floats = write(tmp_path / "float.onnx", nodes, shape, constants)
    samples = samples_of(tuple(shape[1:]), 24)
    path = quantize_each_value(floats, tmp_path / "int8.onnx", samples, unsigned)
    found, _ = differences(path, loaded(path), samples)
    twice = name == "average, same, not counted"  # TFLite's pool keeps the scale, so a QUANTIZE rounds once more
    assert found.max() <= (2 if twice else 1)
    assert (found == 0).mean() >= (0.4 if twice else 0.7)


def test_weights_that_the_file_quantizes_itself_are_folded(tmp_path: Path) -> None:
    """Float weights behind a QuantizeLinear of each filter, as PyTorch's quantization-aware training exports them."""
    constants = {**S, "r": random(3, 5), "rs": np.array([0.01, 0.02, 0.03], np.float32), "rz": np.zeros(3, np.int8)}
    nodes = [
        *ENTRY,
        node("QuantizeLinear", "r rs rz", "rq", axis=0),
        node("DequantizeLinear", "rq rs rz", "wd", axis=0),
    ]
    path = write(tmp_path / "net.onnx", [*nodes, *GEMM], [1, 5], constants)
    program = loaded(path)
    weights = program.tensors[program.ops[0].inputs[1]]
    assert weights.data is not None
    assert np.array_equal(weights.data, np.clip(np.rint(constants["r"] / constants["rs"][:, None]), -128, 127))
    steps, _ = differences(path, program, samples_of((5,), 50))
    assert steps.max() <= 1


S = {"s": np.float32(0.05), "z": np.int8(3), "ws": np.float32(0.01), "w": np.ones((3, 5), np.int8), "r": random(3, 5)}
ENTRY = [node("QuantizeLinear", "x s z", "xq"), node("DequantizeLinear", "xq s z", "xd")]
EXIT = [node("QuantizeLinear", "t s z", "tq"), node("DequantizeLinear", "tq s z", "y")]
GEMM = [node("Gemm", "xd wd", "t", transB=1), *EXIT]
REFUSED: dict[str, tuple[list[onnx.NodeProto], dict[str, Any], str]] = {
    "asymmetric weights": (
        [*ENTRY, node("DequantizeLinear", "w ws wz", "wd"), *GEMM], {"wz": np.int8(4)},
        r"Gemm_t \(Gemm: asymmetric weights \(zero point 4 of int8\); quantize them with .*WeightSymmetric=True",
    ),
    "weights that are no integers": ([*ENTRY, node("Gemm", "xd r", "t", transB=1), *EXIT], {}, "not quantized"),
    "blocks of weights": (
        [*ENTRY, node("DequantizeLinear", "w bs", "wd", axis=1, block_size=5), *GEMM],
        {"bs": np.full((3, 1), 0.1, np.float32)}, "scales in blocks; one a tensor or one a channel are known",
    ),
    "weights of four bits": (
        [*ENTRY, node("DequantizeLinear", "w4 ws", "wd"), *GEMM],
        {"w4": helper.make_tensor("w4", TensorProto.INT4, (3, 5), [1] * 15)}, "a constant of int4; int8, uint8",
    ),
    "activations of sixteen bits": (
        [node("QuantizeLinear", "x s z", "xq"), node("DequantizeLinear", "xq s z", "y")], {"z": np.int16(0)},
        "activations of int16; int8 and uint8 are known",
    ),
    "a scale that is no number": (
        [ENTRY[0], node("DequantizeLinear", "xq s z")], {"s": np.float32(np.nan)}, "scale nan",
    ),
    "a scale of each channel": (
        [ENTRY[0], node("DequantizeLinear", "xq s z")],
        {"s": np.full(5, 0.1, np.float32), "z": np.zeros(5, np.int8)}, "5 scales of an activation; one is known",
    ),
    "an operator without integers": (
        [*ENTRY, node("Erf", "xd", "t"), *EXIT, node("ArgMax", "y", "a")], {},
        r"1 operator\(s\) have no int8 form: Erf_t \(Erf: no integer arithmetic for it",
    ),
    "an operator between floats": (
        [node("Relu", "x", "f"), node("QuantizeLinear", "f s z", "tq"), node("DequantizeLinear", "tq s z", "y")], {},
        r"Relu_f \(Relu: its input is not quantized; quantize the whole network with",
    ),
    "dynamic quantization": (
        [node("DynamicQuantizeLinear", "x", "q c z"), node("Cast", "q", "y", to=1)], {},
        "dynamically quantized ONNX .1 operators, first DynamicQuantizeLinear_q.* Give the float network",
    ),
    "an integer operator that is not known": (
        [ENTRY[0], node("QLinearWhere", "c xq s z xq s z s z", "tq", domain="com.microsoft"), EXIT[1]],
        {"c": np.ones(5, bool)}, r"QLinearWhere_tq \(QLinearWhere: no integer arithmetic for it",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_exact_form_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    """What, where, and what to do."""
    nodes, constants, message = REFUSED[name]
    path = write(tmp_path / "net.onnx", nodes, [1, 5], {**S, **constants})
    with pytest.raises(UserError, match=message) as caught:
        load_onnx(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_a_file_of_unsigned_integers_takes_the_samples_that_they_stand_for(tmp_path: Path) -> None:
    """A uint8 input with its DequantizeLinear: the Program's input has its scale, moved by 128."""
    nodes = [node("DequantizeLinear", "x s z", "xd"), node("DequantizeLinear", "w ws", "wd"), *GEMM]
    constants = {**S, "z": np.uint8(131), "w": np.arange(15, dtype=np.int8).reshape(3, 5)}
    path = write(tmp_path / "net.onnx", nodes, [1, 5], constants, kind=TensorProto.UINT8)
    program = loaded(path)
    entry = program.tensors[program.inputs[0]]
    assert (entry.scale, entry.zero_point, entry.shape) == (float(np.float32(0.05)), 3, (1, 5))
    samples = np.random.default_rng(0).integers(0, 256, (20, 5), dtype=np.uint8)
    theirs = onnxruntime.InferenceSession(str(path)).run(None, {"x": samples[:1]})[0]
    ours = run_reference(program, (samples[:1].astype(np.int64) - 128).astype(np.int8).reshape(1, 1, 5))
    assert np.abs(np.rint(theirs / 0.05) + 3 - ours.reshape(1, 3)).max() <= 1


ALONE: dict[str, dict[str, Any]] = {
    "QLinearSigmoid": {}, "QLinearLeakyRelu": {"alpha": 0.1}, "QLinearSoftmax": {"axis": 1, "opset": 13},
    "QLinearAveragePool": {"kernel_shape": [2, 2], "strides": [2, 2]}, "QLinearGlobalAveragePool": {},
}  # fmt: skip


@pytest.mark.parametrize("zero", [np.int8(3), np.uint8(131)])
@pytest.mark.parametrize("kind", ALONE)
def test_an_integer_operator_alone(kind: str, zero: Any, tmp_path: Path) -> None:
    """Those that no small network holds."""
    constants = {"s": np.float32(0.04), "z": zero, "t": np.float32(1 / 128), "u": np.array(5, zero.dtype)}
    nodes = [
        node("QuantizeLinear", "x s z", "q"), node(kind, "q s z t u", "r", domain="com.microsoft", **ALONE[kind]),
        node("DequantizeLinear", "r t u"),
    ]  # fmt: skip
    path = write(tmp_path / "net.onnx", nodes, [1, 4, 6, 6], constants)
    program = loaded(path)
    found, _ = differences(path, program, samples_of((4, 6, 6), 20))
    assert found.max() <= (2 if kind == "QLinearAveragePool" else 1)


def test_softmax_before_opset_13_is_over_all_that_follows_its_axis(tmp_path: Path) -> None:
    """Of places too, which is refused; of channels alone it is the same, and without an axis those are meant."""
    own = node("QLinearSoftmax", "xq s z p q", "tq", axis=1, opset=12, domain="com.microsoft")
    out = [node("QuantizeLinear", "t p q", "tq"), node("DequantizeLinear", "tq p q", "y")]
    constants = {**S, "p": np.float32(1 / 256), "q": np.int8(-128)}
    for nodes, opset in (([*ENTRY, node("Softmax", "xd", "t", axis=1), *out], 12), ([ENTRY[0], own, out[1]], 21)):
        with pytest.raises(UserError, match="over all dimensions from 1 on, as before opset 13"):
            load_onnx(write(tmp_path / "net.onnx", nodes, [1, 4, 2, 2], constants, opset=opset))
    path = write(tmp_path / "net.onnx", [*ENTRY, node("Softmax", "xd", "t"), *out], [1, 4, 1, 1], constants, opset=12)
    assert differences(path, loaded(path), samples_of((4, 1, 1), 20))[0].max() <= 1


def main() -> None:
    """Print the rows of docs/onnx.md."""
    rows = [(name, small_network(name), samples_of(SMALL[name][1], 232, 5), False) for name in SMALL]
    for name in ("digits-net", "watch-resnet"):
        network, data = load(name), zoo_data(name)
        samples = network.preprocess(data.test.x[:232])
        rows += [(name, network, samples, False), (f"{name}, batch norms folded", network, samples, True)]
    for name, network, samples, folded in rows:
        with tempfile.TemporaryDirectory() as folder:
            export_onnx(network, Path(folder) / "float.onnx")
            if folded:
                quant_pre_process(f"{folder}/float.onnx", f"{folder}/float.onnx")
            path = quantize_file(Path(folder) / "float.onnx", Path(folder) / "int8.onnx", samples[:32])
            program = replace(loaded(path), preprocess=Preprocess())  # the samples have it
            steps, classes = differences(path, program, samples[32:])
        shares = " | ".join(f"{100 * (steps <= n).mean():.1f} %" for n in (0, 1))
        sys.stdout.write(f"| {name} | {steps.max():.0f} | {shares} | {100 * classes:.1f} % |\n")


if __name__ == "__main__":
    main()
