"""`secateur bench architectures`: what can be removed from each architecture, proven, and what becomes of the rest.

Weights are seeded and batch norms' statistics are those of the samples, disturbed, so that every channel matters;
nothing is learned, and accuracy is no question here. One network at a time: what is removable and why the rest is
not; removed layers against bypassed ones and cut filters against zeroed ones; then a network with layers and filters
removed trains a step, becomes int8, and its C is compared with the golden runtime on this computer.
"""

from __future__ import annotations

import operator
import re
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from secateur.compiler.bench import saved
from secateur.compiler.bench.keras_networks import keras_resnet, keras_transformer
from secateur.compiler.bench.onnx_runtime_int8 import outputs_in_int8
from secateur.compiler.bench.pictures import accuracy, check_pictures, read_pictures, train
from secateur.compiler.deploy import deploy
from secateur.compiler.export.calibrate import calibrate, float_outputs, rank_errors
from secateur.compiler.export.onnx import check_onnx, export_onnx
from secateur.compiler.export.post_training import to_int8
from secateur.compiler.export.quantize import quantize, quantize_samples
from secateur.compiler.export.tflite import tflite_bytes
from secateur.compiler.frontends.load import load_model
from secateur.compiler.frontends.tflite_file import parse_tflite
from secateur.models.canonical import to_network
from secateur.models.network import Network, verify_network
from secateur.models.program import Program
from secateur.models.zoo.architectures import (
    AutoEncoder,
    DenseNet,
    Vgg16,
    efficientnet_b0,
    mobilenet_v2,
    mobilenet_v3_small,
    resnet18,
    resnet50,
    se_resnet18,
)
from secateur.models.zoo.dscnn import DsCnn
from secateur.models.zoo.har import HarConv, har_resnet
from secateur.models.zoo.mobilenet import MobileNetV1
from secateur.models.zoo.resnet import cifar_resnet, resnet8
from secateur.models.zoo.resnet1d import watch_resnet
from secateur.passes.network.channels import find_filters
from secateur.passes.network.layers import find_layers
from secateur.passes.network.macs import network_macs, network_parameters
from secateur.passes.network.removal import Removal, apply, mask
from secateur.passes.program.lower import lower, to_channels_last
from secateur.runtime_bench.golden import Golden, golden_outputs
from secateur.targets.target import find

F32 = npt.NDArray[np.float32]
T = TypeVar("T")
FLOOR = 1  # of blocks in a stage, where removals are proven: ResNet-18 has two
BRANCH = 0.25
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@dataclass(frozen=True)
class Subject:
    """An architecture and how it comes in: `build` gives it at `shape`. `about`: what differs from the paper."""

    name: str
    route: str
    about: str
    shape: tuple[int, ...]
    build: Callable[[], nn.Module | Network]


@dataclass(frozen=True)
class Options:
    """`layers`, `groups`: how many removals of each kind are proven, all where there are fewer.

    `samples`: of the int8 noise; `compared`: of the image on this computer, 0: no image is built. `calibration`: those
    of min/max, `fitted`: of what `--calibration output` and the rounded input are measured with. `steps`: that what a
    cut left of a network of pictures is trained for on CIFAR-10, before it becomes int8.
    """

    layers: int = 6
    groups: int = 8
    samples: int = 8
    compared: int = 4
    calibration: int = 32
    fitted: int = 256
    steps: int = 0


@dataclass(frozen=True)
class Samples:
    """Of int8: what min/max sees, what `--calibration output` does, and what the noise is measured on."""

    few: F32
    many: F32
    real: F32


@dataclass(frozen=True)
class Row:
    """Differences are the largest |a - b| over the largest |b|. `golden`: the runtime that the image is compared with.

    `sqnr_db`: at the output; `layer_db`: what the layer that int8 disturbs most adds by itself. `output_db`: at the
    output with `--calibration output`; `input_db`: where the input is rounded to int8 and nothing else;
    `onnx_runtime_db`: where ONNX Runtime quantizes, by min/max of the same samples.
    `removable_layers`: of stages that keep two blocks; `..._floor_1`: of stages that keep one. `steps`: of training
    on CIFAR-10; `accuracy`: after it, percent of its test images, None without.
    """

    name: str
    route: str
    about: str
    parameters: int
    macs: int
    layers: int
    removable_layers: int
    removable_layers_floor_1: int
    layers_stay: dict[str, int]
    groups: int
    removable_groups: int
    filters: int
    groups_stay: dict[str, int]
    layers_proven: int
    layer_difference: float
    groups_proven: int
    filter_difference: float
    cut_layers: int
    cut_filters: int
    cut_parameters: int
    loss_before: float
    loss_after: float
    onnx_difference: float
    sqnr_db: float
    layer_db: float
    output_db: float
    input_db: float
    onnx_runtime_db: float
    golden: str
    values: int
    mismatches: int
    steps: int
    accuracy: float | None
    seconds: float

    def document(self) -> dict[str, Any]:
        return asdict(self)


def patterns(shape: tuple[int, ...], count: int, seed: int) -> F32:
    """Seeded samples that differ in more than their noise: smooth random patterns, and a little noise on them."""
    generator = torch.Generator().manual_seed(seed)
    if len(shape) == 1:
        mixed = torch.randn(count, 16, generator=generator) @ torch.randn(
            16, shape[0], generator=torch.Generator().manual_seed(0)
        )
        smooth = mixed / 4
    else:
        coarse = torch.randn(count, shape[0], *[4] * (len(shape) - 1), generator=generator)
        mode = "linear" if len(shape) == 2 else "bilinear"
        smooth = functional.interpolate(coarse, shape[1:], mode=mode, align_corners=True)
    return np.asarray((smooth + 0.3 * torch.randn(smooth.shape, generator=generator)).numpy(), np.float32)


def settle(network: Network, samples: F32, seed: int = 0) -> None:
    """Random scales and shifts for all norms, and statistics near those of the samples. In place.

    A residual branch adds a quarter of that to its stream, as in trained networks: else a hundred layers of random
    weights leave no signal.
    """
    module = network.module
    norms = [m for m in module.modules() if isinstance(m, NORMS)]
    momenta = [m.momentum for m in norms]
    generator = torch.Generator().manual_seed(seed)

    def random(like: Tensor, low: float, high: float) -> Tensor:
        return torch.rand(like.shape, generator=generator) * (high - low) + low

    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for norm in norms:
            norm.weight.copy_(random(norm.weight, 0.5, 1.5))
            norm.bias.copy_(random(norm.bias, -0.3, 0.3))
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all that is seen
        for norm in _branch_ends(network):
            norm.weight.mul_(BRANCH)
            norm.bias.mul_(BRANCH)
        module.train()
        module(torch.from_numpy(samples))
        module.eval()
        for norm, momentum in zip(norms, momenta, strict=True):
            mean, var = norm.running_mean, norm.running_var
            assert mean is not None and var is not None
            mean.add_(random(mean, -0.2, 0.2) * var.sqrt())
            var.mul_(random(var, 0.8, 1.25))
            norm.momentum = momentum


def _branch_ends(network: Network) -> list[nn.BatchNorm1d | nn.BatchNorm2d]:
    """The last norm of every residual branch beside an identity, gated or not."""
    found = []
    for node in network.graph.nodes:
        if node.target is not operator.add:
            continue
        ends = [_norm_behind(network, a) for a in node.args]
        if sum(end is not None for end in ends) == 1:
            found += [end for end in ends if end is not None]
    return found


def _norm_behind(network: Network, node: fx.Node) -> nn.BatchNorm1d | nn.BatchNorm2d | None:
    if node.target is operator.mul:
        node = node.args[0]  # type: ignore[assignment]
    module = network.module.get_submodule(str(node.target)) if node.op == "call_module" else None
    return module if isinstance(module, NORMS) else None


def network_of(subject: Subject) -> Network:
    """The subject as a Network with seeded weights."""
    samples = patterns(subject.shape, 32, 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = subject.build()
    network = built if isinstance(built, Network) else to_network(built, subject.shape, subject.name)
    settle(network, samples)
    if subject.route != "ONNX":
        return network
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter says that it is old; it writes what files in use look like
        path = Path(folder) / f"{subject.name}.onnx"
        torch.onnx.export(network.module, (torch.zeros(1, *subject.shape),), str(path), dynamo=False)
        made = load_model(str(path))
    assert isinstance(made, Network)
    return made


def _keras(write: Callable[[Path], Path]) -> Network:
    with TemporaryDirectory() as folder:
        made = load_model(str(write(Path(folder) / "keras.h5")))
    assert isinstance(made, Network)
    return made


def _torch(name: str, about: str, shape: tuple[int, ...], build: Callable[[], nn.Module]) -> Subject:
    return Subject(name, "PyTorch", about, shape, build)


CIFAR, SMALL = (3, 32, 32), (3, 64, 64)
SUBJECTS: tuple[Subject, ...] = (
    _torch("resnet-8", "as MLPerf Tiny's", CIFAR, resnet8),
    *(_torch(f"resnet-{n}", "as published", CIFAR, lambda n=n: cifar_resnet(n)) for n in (20, 32, 44, 56)),  # type: ignore[misc]
    _torch("resnet-56-a", "as published, zero-padded shortcuts", CIFAR, lambda: cifar_resnet(56, "A")),
    _torch("resnet-110", "as published", CIFAR, lambda: cifar_resnet(110)),
    _torch("resnet-18", "width 1/4, 64x64", SMALL, lambda: resnet18(0.25)),
    _torch("resnet-50", "width 1/4, 64x64", SMALL, lambda: resnet50(0.25)),
    _torch("se-resnet-18", "width 1/4, 64x64, linear squeeze-and-excite", SMALL, lambda: se_resnet18(0.25)),
    _torch("mobilenet-v1", "width 1/4 as MLPerf Tiny's, 96x96", (3, 96, 96), MobileNetV1),
    _torch("mobilenet-v2", "width 0.35, 64x64", SMALL, lambda: mobilenet_v2(0.35)),
    _torch("mobilenet-v3-small", "width 1/2, 64x64", SMALL, lambda: mobilenet_v3_small(0.5)),
    _torch("efficientnet-b0", "width 1/4, 64x64", SMALL, lambda: efficientnet_b0(0.25)),
    _torch("vgg-16-bn", "width 1/4, 32x32", CIFAR, lambda: Vgg16(0.25)),
    _torch("densenet-bc", "40 layers, growth 12", CIFAR, DenseNet),
    _torch("ds-cnn", "as MLPerf Tiny's", (1, 49, 10), DsCnn),
    _torch("har-conv", "as in the zoo, 1-D", (6, 50), HarConv),
    _torch("har-resnet", "as in the zoo, 1-D", (6, 50), har_resnet),
    _torch("watch-resnet", "as in the zoo, 1-D", (6, 128), watch_resnet),
    _torch("autoencoder", "as MLPerf Tiny's", (640,), AutoEncoder),
    Subject("resnet-20", "ONNX", "as published, norms folded by PyTorch's exporter", CIFAR, lambda: cifar_resnet(20)),
    Subject("se-resnet-18", "ONNX", "width 1/4, 64x64", SMALL, lambda: se_resnet18(0.25)),
    Subject("mobilenet-v3-small", "ONNX", "width 1/2, 64x64", SMALL, lambda: mobilenet_v3_small(0.5)),
    Subject("resnet-20", "Keras", "as published", CIFAR, lambda: _keras(lambda p: keras_resnet(p, 3, False))),
    Subject("se-resnet-20", "Keras", "squeeze-and-excite by Dense layers", CIFAR,
            lambda: _keras(lambda p: keras_resnet(p, 3, True))),
    Subject("transformer", "Keras", "3 blocks of 32 channels, 4 heads, 16 patches, 1-D", (6, 128),
            lambda: _keras(lambda p: keras_transformer(p, (128, 6), 8, 32, 4, 64, 3, 7))),
)  # fmt: skip


def measure(subject: Subject, options: Options) -> Row:
    """One row. Raises AssertionError where a promise does not hold, MismatchError where the image is not exact."""
    begun = time.perf_counter()
    network = network_of(subject)
    verify_network(network)
    units, groups = find_layers(network), find_filters(network)
    able = [u.name for u in find_layers(network, FLOOR) if u.removable]
    cuttable = [g for g in groups if g.removable]
    x = torch.from_numpy(patterns(subject.shape, 4, 2))
    layers = [Removal("layer", name) for name in spread(able, options.layers)]
    random = np.random.default_rng(0)
    filters = [
        Removal("filters", g.name, tuple(sorted(random.choice(g.size, max(1, g.size // 3), replace=False).tolist())))
        for g in spread(cuttable, options.groups)
    ]
    layer_difference = max((difference(network, r, x) for r in layers), default=0.0)
    filter_difference = max((difference(network, r, x) for r in filters), default=0.0)
    cut, taken, gone = cut_down(network, options.groups)
    trained, before, after = train_step(cut, subject)
    trained, learned, samples = _learned(trained, subject, options)
    onnx_difference = _onnx(trained, subject)
    exact = outputs(trained, torch.from_numpy(samples.real)).numpy()
    sqnr, alone, fitted, entry, golden, values, mismatches = _int8(trained, subject, samples, exact, options.compared)
    theirs = _decibels(exact, outputs_in_int8(trained, samples.few, samples.real))
    return Row(
        subject.name, subject.route, subject.about, network_parameters(network), network_macs(network),
        len(units), sum(u.removable for u in units), len(able), _reasons(u.reason for u in units),
        len(groups), len(cuttable), sum(g.size for g in cuttable), _reasons(g.reason for g in groups),
        len(layers), layer_difference, len(filters), filter_difference, taken, gone, network_parameters(trained),
        before, after, onnx_difference, sqnr, alone, fitted, entry, theirs, golden, values, mismatches,
        0 if learned is None else options.steps, learned, time.perf_counter() - begun,
    )  # fmt: skip


def spread(items: Sequence[T], count: int) -> list[T]:
    """At most `count` of them, the first and the last included, evenly apart."""
    if len(items) <= count:
        return list(items)
    return [items[round(i * (len(items) - 1) / max(1, count - 1))] for i in range(count)]


def outputs(network: Network, x: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = network.module.eval()(x)
    return found


def difference(network: Network, removal: Removal, x: Tensor) -> float:
    """Of the network without the unit, and the whole one with the layer bypassed or the filters zero."""
    expected = outputs(mask(network, removal, FLOOR), x)
    felt = bool((expected != outputs(network, x)).any())  # the ReLU of a gate's few hidden units may have none left
    assert felt or removal.kind == "filters", f"{network.name}: {removal.unit} had no effect"
    return float((outputs(apply(network, removal, FLOOR), x) - expected).abs().max() / expected.abs().max())


def cut_down(network: Network, most: int) -> tuple[Network, int, int]:
    """Without up to three layers and a quarter of the filters of up to `most` groups; how many layers and filters."""
    taken = gone = 0
    for _ in range(3):
        able = [u.name for u in find_layers(network, FLOOR) if u.removable]
        if able:
            network, taken = apply(network, Removal("layer", able[len(able) // 2]), FLOOR), taken + 1
    groups = [g for g in find_filters(network) if g.removable]
    for group in spread(groups, most):
        count = max(1, group.size // 4)
        network = apply(network, Removal("filters", group.name, tuple(range(0, 2 * count, 2))))
        gone += count
    return network, taken, gone


def train_step(network: Network, subject: Subject) -> tuple[Network, float, float]:
    """The network after a step of SGD, and the loss before and after it; the graph must be as it was."""
    trained = network.clone()
    module, x = trained.module, torch.from_numpy(patterns(subject.shape, 16, 3))
    classes = network.classes
    truth = torch.arange(16) % classes

    def loss() -> Tensor:
        found = module(x)
        return functional.mse_loss(found, x) if classes == x[0].numel() else functional.cross_entropy(found, truth)

    with torch.no_grad():
        before = float(loss())
    module.train()
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-3, foreach=False)
    loss().backward()  # type: ignore[no-untyped-call]
    missing = [name for name, p in module.named_parameters() if p.grad is None]
    assert not missing, f"{network.name}: no gradient for {', '.join(missing)}"
    optimizer.step()
    module.eval()
    with torch.no_grad():
        after = float(loss())
    assert after != before and trained.shapes() == network.shapes() and module.code == network.module.code
    return trained, before, after


def _onnx(network: Network, subject: Subject) -> float:
    """Largest difference of the exported file under ONNX Runtime, over the largest output."""
    x = patterns(subject.shape, 4, 4)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        export_onnx(network, path)
        return check_onnx(network, path, x) / float(outputs(network, torch.from_numpy(x)).abs().max())


def _learned(network: Network, subject: Subject, options: Options) -> tuple[Network, float | None, Samples]:
    """The network, trained further where that is asked for and it takes pictures; its accuracy; what int8 sees."""
    shape, many = subject.shape, max(options.calibration, options.fitted)
    if not options.steps or len(shape) != 3 or shape[0] != 3:
        samples = (patterns(shape, n, seed) for n, seed in ((options.calibration, 5), (many, 5), (options.samples, 6)))
        return network, None, Samples(*samples)
    training, test = read_pictures(shape[-1], network.classes)
    trained = train(network, training, options.steps)
    seen = Samples(training.x[: options.calibration], training.x[:many], test.x[: options.samples])
    return trained, accuracy(trained, test), seen


def _int8(
    network: Network, subject: Subject, samples: Samples, exact: F32, compared: int
) -> tuple[float, float, float, float, str, int, int]:
    """Signal to noise in dB: at the output, of the worst layer by itself, with the output's calibration, of the input.

    `exact`: the float network's outputs of `samples.real`. Then the image against the golden.
    """
    floats, real = lower(network), samples.real
    quantized = quantize(floats, calibrate(floats, to_channels_last(samples.few)))
    sqnr, content, program, inputs, golden = _judged(quantized, subject, real, exact)
    _, fitted = to_int8(floats, to_channels_last(samples.many), "output")
    better = _judged(fitted, subject, real, exact)[0]
    entry = fitted.tensors[fitted.inputs[0]]
    levels = quantize_samples(fitted, to_channels_last(real)).reshape(to_channels_last(real).shape)
    rounded = ((levels.astype(np.float64) - entry.zero_point) * entry.scale).astype(np.float32)
    at_entry = _decibels(exact, float_outputs(floats, rounded))
    alone = rank_errors(floats, quantized, to_channels_last(real))[0].sqnr_db
    if not compared:
        return sqnr, alone, better, at_entry, golden.runtime, 0, 0
    name = re.sub(r"\W+", "_", subject.name)
    with TemporaryDirectory() as folder:
        found = deploy(
            content, program, name, find("host"), inputs[:compared], Path(folder), optimize="size",
            limits="none",
        ).comparison  # fmt: skip
    assert found is not None
    return sqnr, alone, better, at_entry, found.golden, found.values, found.mismatches


def _judged(
    quantized: Program, subject: Subject, real: F32, exact: F32
) -> tuple[float, bytes, Program, npt.NDArray[np.int8], Golden]:
    """Signal to noise in dB of a Program's file under the golden runtime; the file, its Program, inputs and outputs."""
    content = tflite_bytes(quantized)
    program = parse_tflite(content, subject.name, f"{subject.name}.tflite")
    inputs = quantize_samples(program, to_channels_last(real)).reshape(len(real), -1)
    golden = golden_outputs(content, program, inputs)
    out = program.tensors[program.outputs[0]]
    got = (golden.outputs.reshape(len(real), -1).astype(np.float64) - out.zero_point) * out.scale
    return _decibels(exact, got), content, program, inputs, golden


def _decibels(exact: F32, got: npt.NDArray[Any]) -> float:
    expected = exact.reshape(len(exact), -1)
    return float(10 * np.log10((expected**2).sum() / ((got.reshape(expected.shape) - expected) ** 2).sum()))


def _reasons(found: Any) -> dict[str, int]:
    """Why units stay, without names and numbers."""
    plain = [re.sub(r"stage -?\d+.*", "its stage", r) if r.startswith("first") else r.split(":")[0] for r in found if r]
    return dict(sorted(Counter(plain).items()))


def bench(names: Sequence[str], options: Options, tell: Callable[[str], None], out: Path | None = None) -> list[Row]:
    """All rows, or those of `names`; what the same code measured before is read from `out`."""
    rows = []
    if options.steps:
        check_pictures()
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    for subject in SUBJECTS:
        if names and subject.name not in names:
            continue
        path = None if out is None else out / f"{subject.name}-{subject.route}.json"
        key = {"about": subject.about, **asdict(options)}
        known = None if path is None else saved.read(path, key)
        row = measure(subject, options) if known is None else Row(**known)
        rows.append(row)
        if path is not None and known is None:
            saved.write(path, key, asdict(row))
        tell(
            f"{row.name} from {row.route}: {row.sqnr_db:.1f} dB, calibrated by its output {row.output_db:.1f} dB, "
            f"{row.values} values, {row.mismatches} mismatches, {row.seconds:.0f} s"
        )
    return rows
