"""Activations through export: int8 by TFLite's operators and output scales, ONNX and back, Keras's names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from c_host import generated, planned, run_library
from keras_files import chain, entry, layer, numbers, write_h5, write_keras
from torch import Tensor, nn

from secateur.compiler.export.calibrate import calibrate, float_outputs
from secateur.compiler.export.onnx import check_onnx, export_onnx
from secateur.compiler.export.quantize import quantize, quantize_samples
from secateur.compiler.export.tflite import tflite_bytes
from secateur.compiler.frontends.load import load_model
from secateur.compiler.frontends.onnx_file import load_onnx
from secateur.compiler.frontends.tflite_file import parse_tflite
from secateur.errors import UserError
from secateur.models.canonical import to_network
from secateur.models.network import Network
from secateur.models.program import Program
from secateur.models.reference import run_reference
from secateur.passes.program.cost import plan
from secateur.passes.program.lower import lower, to_channels_last
from secateur.runtime_bench.golden import golden_outputs
from secateur.targets.target import find


def network_of(act: nn.Module, second: nn.Module | None = None) -> Network:
    """One activation behind a norm and once more behind a depthwise convolution."""
    torch.manual_seed(0)
    parts = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), act, nn.Conv2d(8, 8, 3, groups=8), second or act]
    module = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            part.weight.data *= 2
        if isinstance(part, nn.BatchNorm2d) and part.running_mean is not None and part.running_var is not None:
            part.running_mean.uniform_(-0.5, 0.5)
            part.running_var.uniform_(0.1, 0.5)
    return to_network(module.eval(), (3, 10, 9), "act")


def samples(network: Network, count: int = 32) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, *network.input_shape)).astype(np.float32)


def exported(network: Network, real: np.ndarray) -> tuple[Program, bytes, np.ndarray]:
    """The int8 Program as read back from its file, the file, and its inputs."""
    floats, x = lower(network), to_channels_last(real)
    with torch.no_grad():
        expected = network.module(torch.from_numpy(real)).numpy()
    assert np.abs(float_outputs(floats, x).reshape(expected.shape) - expected).max() <= 1e-5 * np.abs(expected).max()
    content = tflite_bytes(quantize(floats, calibrate(floats, x)))
    program = parse_tflite(content, network.name, "act.tflite")
    return program, content, quantize_samples(program, x).reshape(len(x), -1)


def sqnr_db(network: Network, program: Program, golden: np.ndarray, real: np.ndarray) -> float:
    with torch.no_grad():
        exact = network.module(torch.from_numpy(real)).numpy().reshape(len(real), -1)
    out = program.tensors[program.outputs[0]]
    got = (golden.reshape(len(real), -1).astype(np.float64) - out.zero_point) * out.scale
    return float(10 * np.log10((exact**2).sum() / ((got - exact) ** 2).sum()))


CASES: dict[str, tuple[nn.Module, list[str]]] = {
    "sigmoid": (nn.Sigmoid(), ["LOGISTIC"]),
    "hardsigmoid": (nn.Hardsigmoid(), ["MUL"]),
    "tanh": (nn.Tanh(), ["TANH"]),
    "silu": (nn.SiLU(), ["LOGISTIC", "MUL"]),
    "hardswish": (nn.Hardswish(), ["HARD_SWISH"]),
    "gelu": (nn.GELU(), ["GELU"]),
    "gelu tanh": (nn.GELU("tanh"), ["GELU"]),
    "elu": (nn.ELU(), ["ELU"]),
    "elu 1.6": (nn.ELU(1.6), ["ELU", "LEAKY_RELU"]),
    "leaky relu": (nn.LeakyReLU(0.1), ["LEAKY_RELU"]),
    "prelu": (nn.PReLU(8), ["PRELU"]),
    "clamp": (nn.Hardtanh(0, 1), ["MUL"]),
}
SECOND: dict[str, nn.Module] = {"prelu": nn.PReLU(1, 0.4)}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_int8_follows_float_and_the_golden_runtime(name: str) -> None:
    """30 dB and more at the output, no mismatch of our interpreter, and the shapes alone tell the cost."""
    act, kinds = CASES[name]
    network = network_of(act, SECOND.get(name))
    real = samples(network)
    program, content, inputs = exported(network, real)
    found = [op.kind for op in program.ops]
    assert [k for k in found if k not in ("CONV_2D", "DEPTHWISE_CONV_2D")][: len(kinds)] == kinds
    golden = golden_outputs(content, program, inputs)
    assert golden.runtime.startswith("secateur" if name.startswith("gelu") else "TensorFlow Lite Micro")
    assert np.array_equal(run_reference(program, inputs), golden.outputs)
    assert sqnr_db(network, program, golden.outputs, real) >= 30
    assert plan(lower(network), find("esp32")).memory.arena_bytes > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hardsigmoid", "silu", "gelu", "elu 1.6", "prelu"])
def test_generated_c_equals_the_golden(tmp_path: Path, name: str) -> None:
    """Every output byte, on this computer."""
    network = network_of(CASES[name][0], SECOND.get(name))
    program, content, inputs = exported(network, samples(network, 8))
    golden = golden_outputs(content, program, inputs).outputs
    assert np.array_equal(run_library(generated(planned(program)), inputs, tmp_path), golden)


class Excited(nn.Module):
    """Two squeeze-and-excite blocks, by linear layers with Sigmoid and by convolutions with Hardsigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.Hardswish())
        self.down, self.up = nn.Linear(16, 4), nn.Linear(4, 16)
        self.squeeze, self.expand, self.conv = nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1), nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        gate = torch.sigmoid(self.up(torch.relu(self.down(x.mean((2, 3))))))
        x = x * gate.view(-1, 16, 1, 1)
        y = nn.functional.silu(self.conv(x))
        y = y * nn.functional.hardsigmoid(self.expand(torch.relu(self.squeeze(y.mean((2, 3), keepdim=True)))))
        return self.head((x + y).mean((2, 3)))  # type: ignore[no-any-return]


def test_squeeze_and_excite_is_exact_in_int8(tmp_path: Path) -> None:
    """Both forms: 30 dB and more, no mismatch of the interpreter and of the generated C."""
    torch.manual_seed(0)
    network = to_network(Excited().eval(), (3, 10, 9), "excited")
    real = samples(network)
    program, content, inputs = exported(network, real)
    golden = golden_outputs(content, program, inputs)
    assert golden.runtime.startswith("TensorFlow Lite Micro")
    assert {"LOGISTIC", "HARD_SWISH", "MUL", "MEAN"} <= {op.kind for op in program.ops}
    assert np.array_equal(run_reference(program, inputs), golden.outputs)
    assert sqnr_db(network, program, golden.outputs, real) >= 30
    assert np.array_equal(run_library(generated(planned(program)), inputs, tmp_path), golden.outputs)


class Ends(nn.Module):
    """Outputs of fixed scales that are pooled, padded, reshaped, and joined with what they cannot hold."""

    def __init__(self, act: nn.Module, gain: float) -> None:
        super().__init__()
        self.a, self.b, self.gate = nn.Conv1d(3, 4, 3, padding=1), nn.Conv1d(3, 4, 3, padding=1), nn.Linear(4, 4)
        self.act, self.gain, self.head = act, gain, nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        a = self.act(self.a(x))
        gate = self.act(self.gate(a.mean(-1))).unsqueeze(-1)
        both = torch.cat([nn.functional.max_pool1d(a, 2), torch.relu(self.gain * self.b(x)[..., ::2])], 1)
        both = torch.cat([both, nn.functional.max_pool1d(a * gate, 2)], 1)
        return self.head(both.mean(-1))  # type: ignore[no-any-return]


@pytest.mark.parametrize("act", [nn.Sigmoid(), nn.Tanh()])
@pytest.mark.parametrize("gain", [0.1, 9.0])
def test_fixed_outputs_keep_their_scale_or_are_requantized(act: nn.Module, gain: float) -> None:
    """What moves values shares the scale; a QUANTIZE stands where wider values are joined, and only there."""
    torch.manual_seed(0)
    network = to_network(Ends(act, gain).eval(), (3, 8), "ends")
    real = samples(network)
    program, content, inputs = exported(network, real)
    scale = 1 / 256 if isinstance(act, nn.Sigmoid) else 1 / 128
    made = {op.outputs[0]: op.kind for op in program.ops}
    for op in program.ops:
        tensors = [program.tensors[i] for i in (op.inputs[0], op.outputs[0])]
        if op.kind in ("MAX_POOL_2D", "RESHAPE") and made.get(op.inputs[0]) in ("LOGISTIC", "TANH"):
            assert [t.scale for t in tensors] == [scale, scale]
        if op.kind == "CONCATENATION":
            scales = {program.tensors[i].quantization for i in (*op.inputs, *op.outputs)}
            assert len(scales) == 1
    assert ("QUANTIZE" in made.values()) == (gain > 1)
    golden = golden_outputs(content, program, inputs).outputs
    assert np.array_equal(run_reference(program, inputs), golden)
    assert sqnr_db(network, program, golden, real) >= 30


@pytest.mark.parametrize("name", CASES)
def test_onnx_says_the_same_and_comes_back(tmp_path: Path, name: str) -> None:
    """ONNX Runtime agrees, and the file becomes the same modules again."""
    network = network_of(CASES[name][0], SECOND.get(name))
    real = samples(network, 4)
    path = tmp_path / "net.onnx"
    export_onnx(network, path)
    check_onnx(network, path, real)
    again = load_onnx(path)
    kinds = [type(n.module.get_submodule(str(o.target))).__name__ for n in (network, again)
             for o in n.graph.nodes if o.op == "call_module"]  # fmt: skip
    assert kinds[: len(kinds) // 2] == kinds[len(kinds) // 2 :]
    with torch.no_grad():
        a, b = (n.module(torch.from_numpy(real)) for n in (network, again))
    assert (a - b).abs().max() <= 1e-5 * a.abs().max()


def keras_functions(x: np.ndarray) -> dict[str, np.ndarray]:
    """Keras's activations in numpy."""
    sigmoid = 1 / (1 + np.exp(-x))
    gelu = 0.5 * x * (1 + torch.erf(torch.from_numpy(x) / np.sqrt(2)).numpy())
    return {
        "sigmoid": sigmoid, "tanh": np.tanh(x), "silu": x * sigmoid, "swish": x * sigmoid, "gelu": gelu,
        "elu": np.where(x > 0, x, np.expm1(np.minimum(x, 0))), "leaky_relu": np.where(x > 0, x, 0.2 * x),
        "hard_silu": x * np.clip(x / 6 + 0.5, 0, 1),
    }  # fmt: skip


def keras_network(tmp_path: Path, form: str, *layers: dict[str, Any], **arrays: dict[str, np.ndarray]) -> Network:
    document = chain(entry(6, 5, 4), *layers, layer("GlobalAveragePooling2D", "pool"))
    write = write_keras if form == "keras" else write_h5
    network = load_model(str(write(tmp_path / f"net.{form}", document, arrays)))
    assert isinstance(network, Network)
    return network


def run(network: Network, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(network.module(torch.from_numpy(np.moveaxis(x, -1, 1).copy())).numpy())


def test_keras_activations_are_what_numpy_computes(tmp_path: Path) -> None:
    """By name; and the layers LeakyReLU, ELU, PReLU and ReLU with a slope."""
    x = numbers(1, 2, 6, 5, 4) * 6
    for name, expected in keras_functions(x).items():
        network = keras_network(tmp_path, "keras", layer("Activation", "act", activation=name))
        assert np.abs(run(network, x) - expected.mean((1, 2))).max() <= 1e-5, name
    slopes = np.abs(numbers(2, 1, 1, 4))
    for one, arrays, expected in (
        (layer("LeakyReLU", "act", alpha=0.25), {}, np.where(x > 0, x, 0.25 * x)),
        (layer("ELU", "act", alpha=0.5), {}, np.where(x > 0, x, 0.5 * np.expm1(np.minimum(x, 0)))),
        (layer("PReLU", "act", shared_axes=[1, 2]), {"act": {"alpha": slopes}}, np.where(x > 0, x, slopes * x)),
        (layer("ReLU", "act", negative_slope=0.125), {}, np.where(x > 0, x, 0.125 * x)),
    ):
        assert np.abs(run(keras_network(tmp_path, "h5", one, **arrays), x) - expected.mean((1, 2))).max() <= 1e-5


def test_hard_sigmoid_of_keras_depends_on_its_version(tmp_path: Path) -> None:
    """The .keras file says 3; an .h5 without a version is refused, with version 2 it is the steeper one."""
    import h5py

    x = numbers(1, 2, 6, 5, 4) * 6
    act = layer("Activation", "act", activation="hard_sigmoid")
    network = keras_network(tmp_path, "keras", act)
    assert np.abs(run(network, x) - np.clip(x / 6 + 0.5, 0, 1).mean((1, 2))).max() <= 1e-5
    document = chain(entry(6, 5, 4), act, layer("GlobalAveragePooling2D", "pool"))
    path = write_h5(tmp_path / "old.h5", document, {})
    with pytest.raises(UserError, match="act: hard_sigmoid is another function in Keras 2"):
        load_model(str(path))
    with h5py.File(path, "a") as file:
        file.attrs["keras_version"] = "2.15.0"
    network = load_model(str(path))
    assert isinstance(network, Network)
    assert np.abs(run(network, x) - np.clip(0.2 * x + 0.5, 0, 1).mean((1, 2))).max() <= 1e-5
