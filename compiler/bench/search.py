"""`secateur bench search`: scores of all layers of ResNet-110 and all filters of ResNet-56, the plain way and ours.

Both sides get the same weights, images, batches, threads and float32, in turn, `repeats` times; the first is the
plain one. Multiply-accumulates are counted as they run, on both sides and in every repeat. A repeat takes an hour and
more at 1,000 images, so each is saved where a folder is given, and a stopped run continues.
"""

from __future__ import annotations

import hashlib
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from secateur.compiler.bench import pictures, saved
from secateur.compiler.bench.mac_counter import MacCounter
from secateur.errors import UserError
from secateur.models.network import Network
from secateur.models.torch_threads import torch_threads
from secateur.models.training import reinitialize
from secateur.models.zoo.catalogue import CIFAR10, to_network
from secateur.models.zoo.resnet import Block2d, ResNet, cifar_resnet
from secateur.passes.network.channel_deletion import single_filters
from secateur.passes.network.channels import trace_channels
from secateur.passes.network.cka import StreamingCKA, linear_cka
from secateur.passes.network.layers import find_layers
from secateur.passes.network.prefix_walk import PrefixWalk, evaluating
from secateur.passes.network.removal import Removal

F64 = npt.NDArray[np.float64]
Told = Callable[[str, int, int], None]
"""What is being done, how much of it is, of how much."""

SAME = 1e-6  # scores nearer than this are equal: float32 features differ by their rounding
SIDES = ("naive", "ours")
PRETRAINED = "cifar10/resnet56_akamaster.npz"


@dataclass(frozen=True)
class Subject:
    """A network, its module in the plain form of the zoo (one set of weights), and the removals to score."""

    name: str
    model: ResNet
    network: Network
    removals: tuple[Removal, ...]
    weights: str


@dataclass(frozen=True)
class Options:
    """`batch`: images that run through an operation at a time. `jobs`: threads of torch."""

    images: int = 1000
    repeats: int = 5
    batch: int = 100
    jobs: int = 1


@dataclass(frozen=True)
class Comparison:
    """Both sides over all repeats: medians of seconds (`_s`) and of processor seconds (`_cpu_s`), which other work on
    the machine disturbs less. `same_ranking`: candidates come in one order but for pairs within 1e-6 of each other."""

    network: str
    weights: str
    images_from: str
    candidates: int
    images: int
    repeats: int
    naive_macs: int
    ours_macs: int
    ops_ratio: float
    naive_s: float
    ours_s: float
    ratio: float
    naive_cpu_s: float
    ours_cpu_s: float
    cpu_ratio: float
    same_ranking: bool
    largest_difference: float

    def document(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Timed:
    """One side in one repeat. `losses`: a score for each removal."""

    seconds: float
    cpu_seconds: float
    macs: int
    losses: list[float]


def naive(model: ResNet, batches: list[Tensor], removals: tuple[Removal, ...], told: Told) -> F64:
    """1 - CKA of every removal the plain way: the network over all images, once for each, without what is removed."""
    blocks: dict[str, Block2d] = {n: m for n, m in model.named_modules() if isinstance(m, Block2d)}

    def features(skip: str = "") -> npt.NDArray[np.float32]:
        rows = []
        for x in batches:
            h = model.stem(x)
            for name, block in blocks.items():
                if name != skip:
                    h = block(h)
            rows.append(model.flatten(model.pool(h)))
        return torch.cat(rows).cpu().numpy()

    reference, losses = features(), []
    for done, removal in enumerate(removals):
        name = removal.unit.split(".conv1")[0]
        if removal.kind == "layer":
            other = features(skip=name)
        else:  # a norm of weight and bias 0 makes its channel 0
            norm = blocks[name].bn1
            state = {key: value.clone() for key, value in norm.state_dict().items()}
            norm.weight[list(removal.classes)] = norm.bias[list(removal.classes)] = 0.0
            other = features()
            norm.load_state_dict(state)
        losses.append(1 - linear_cka(reference, other))
        told("one after the other", done + 1, len(removals))
    return np.array(losses)


def ours(network: Network, batches: list[Tensor], removals: tuple[Removal, ...], told: Told) -> F64:
    """The same scores by one walk over the images, with moments in place of features."""
    walk = PrefixWalk(network, removals, together=max(map(len, batches)))
    cka = StreamingCKA(len(removals))
    for i, x in enumerate(batches):
        done = i * len(removals)

        def heard(count: int, done: int = done) -> None:
            told("all in one walk", done + count, len(batches) * len(removals))

        rows, others = walk.features(x, heard)
        cka.update(rows.cpu().numpy(), [f.cpu().numpy() for f in others])
    return 1 - cka.values()


def bench(part: str, options: Options, told: Told, tell: Callable[[str], None], out: Path | None = None) -> Comparison:
    """Compare both sides on `part`, layers or filters. Repeats of the same code on the same machine are read from
    `out`, and saved there."""
    images, source = read_images(options.images)
    return compare(layers() if part == "layers" else filters(), images, source, options, told, tell, out)


def compare(
    subject: Subject, images: Tensor, source: str, options: Options, told: Told, tell: Callable[[str], None],
    out: Path | None = None,
) -> Comparison:  # fmt: skip
    """Run both sides in turn. Raises AssertionError if a side gives other scores, or other work, a second time."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    key = {
        "network": subject.network.hash(), "images": hashlib.sha256(images.numpy().tobytes()).hexdigest(),
        "removals": [str(r) for r in subject.removals], "batch": options.batch, "jobs": options.jobs,
        "device": device, "machine": machine(),
    }  # fmt: skip
    subject.model.to(device)
    batches = list(torch.split(images.to(device), options.batch))
    repeats: list[dict[str, Timed]] = []
    with torch.no_grad(), evaluating(subject.model), torch_threads(options.jobs):
        for repeat in range(options.repeats):
            turn = f"{repeat + 1}/{options.repeats}"
            path = None if out is None else out / f"{subject.name}-{repeat + 1}.json"
            known = None if path is None else saved.read(path, key)
            if known is not None:
                sides = {side: Timed(**found) for side, found in known.items()}
            else:
                sides = _both_sides(subject, batches, turn, told)
                if path is not None:
                    saved.write(path, key, {side: asdict(found) for side, found in sides.items()})
            for side, found in sides.items():
                first = repeats[0][side] if repeats else found
                assert found.losses == first.losses, f"{side}: other scores in repeat {repeat + 1}"
                assert found.macs == first.macs, f"{side}: other work in repeat {repeat + 1}"
                tell(
                    f"{subject.name} {side} {turn}: {found.seconds:.1f} s, {found.cpu_seconds:.1f} s of processor, "
                    f"{found.macs / 1e9:,.1f} G MAC{'' if known is None else ', saved before'}"
                )
            repeats.append(sides)
    plain, walked = (repeats[0][side] for side in SIDES)
    naive_s, ours_s = (statistics.median(r[side].seconds for r in repeats) for side in SIDES)
    naive_cpu_s, ours_cpu_s = (statistics.median(r[side].cpu_seconds for r in repeats) for side in SIDES)
    scores = np.array([plain.losses, walked.losses])
    return Comparison(
        subject.name, subject.weights, source, len(subject.removals), len(images), options.repeats,
        plain.macs, walked.macs, walked.macs / plain.macs,
        naive_s, ours_s, ours_s / naive_s, naive_cpu_s, ours_cpu_s, ours_cpu_s / naive_cpu_s,
        same_ranking(*scores), float(np.abs(scores[0] - scores[1]).max()),
    )  # fmt: skip


def _both_sides(subject: Subject, batches: list[Tensor], turn: str, told: Told) -> dict[str, Timed]:
    """One repeat; `told` hears how far each side is."""
    sides = {}
    for side in SIDES:
        heard = partial(_labelled, told, f"{subject.name} {side} {turn}: ")
        begun, used = time.perf_counter(), time.process_time()
        with MacCounter() as counter:
            if side == "naive":
                losses = naive(subject.model, batches, subject.removals, heard)
            else:
                losses = ours(subject.network, batches, subject.removals, heard)
        took = (time.perf_counter() - begun, time.process_time() - used)
        sides[side] = Timed(*took, counter.macs, losses.tolist())
    return sides


def _labelled(told: Told, label: str, what: str, done: int, total: int) -> None:
    told(label + what, done, total)


def same_ranking(a: F64, b: F64) -> bool:
    """Whether sorting by b sorts a, but for pairs of a that are within 1e-6 of each other."""
    in_order = a[np.argsort(b, kind="stable")]
    return bool((np.maximum.accumulate(in_order) - in_order < SAME).all())


def layers(depth: int = 110) -> Subject:
    """All removable blocks, by similarity. No trained weights are at hand: seeded ones."""
    name, model = f"resnet{depth}", cifar_resnet(depth)
    reinitialize(model, seed=0)
    network = to_network(name, model, (3, 32, 32), CIFAR10, pictures.SCALE)
    removals = tuple(Removal("layer", u.name) for u in find_layers(network) if u.removable)
    return Subject(name, model, network, removals, "seeded, not trained")


def filters(depth: int = 56) -> Subject:
    """Every filter inside a block; ResNet-56 with akamaster's weights where the data folder has them."""
    name, model = f"resnet{depth}a", cifar_resnet(depth, "A")
    reinitialize(model, seed=0)
    weights, path = "seeded, not trained", pictures.data_folder() / PRETRAINED
    if depth == 56 and path.is_file():
        _read_akamaster(model, path)
        weights = path.name
    network = to_network(name, model, (3, 32, 32), CIFAR10, pictures.SCALE)
    channels = trace_channels(network)
    inside = [g.name for g in channels.groups if g.name.endswith(".conv1")]
    return Subject(name, model, network, tuple(single_filters(network, channels, inside)), weights)


def _read_akamaster(model: nn.Module, path: Path) -> None:
    """Weights under the names of akamaster/pytorch_resnet_cifar10."""
    state = model.state_dict()
    with np.load(path) as archive:
        for key in state:
            if key.endswith("num_batches_tracked"):
                continue
            theirs = key.replace("stem.0", "conv1").replace("stem.1", "bn1").replace("head", "linear")
            parts = theirs.split(".")
            if parts[0] == "stages":
                theirs = ".".join([f"layer{int(parts[1]) + 1}", *parts[2:]])
            if theirs not in archive.files or archive[theirs].shape != tuple(state[key].shape):
                raise UserError(f"{path}: {theirs} is missing or of another shape; it is not akamaster's ResNet-56")
            state[key] = torch.from_numpy(archive[theirs])
    model.load_state_dict(state)


def read_images(count: int) -> tuple[Tensor, str]:
    """Preprocessed images (count, 3, 32, 32) and where they come from: CIFAR-10's training images, else noise."""
    path = pictures.data_folder() / pictures.TRAINING_IMAGES
    if not path.is_file():
        noise = np.random.default_rng(0).normal(size=(count, 3, 32, 32))
        return torch.from_numpy(noise.astype(np.float32)), "seeded noise"
    found, _ = pictures.read_images(path)
    if len(found) < count:
        raise UserError(f"--images {count}: {path} has {len(found)}")
    return torch.from_numpy(found[:count]), path.name


def machine() -> str:
    """Processor and torch, for the table."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = lines[0] if lines else model
    if torch.cuda.is_available():
        model = torch.cuda.get_device_name()
    return f"{model}, {os.cpu_count()} cores, torch {torch.__version__}"


def document(found: dict[str, Comparison], options: Options) -> dict[str, Any]:
    """For `--json`."""
    return {
        **{part: comparison.document() for part, comparison in found.items()},
        "batch": options.batch, "jobs": options.jobs, "dtype": "float32",
        "device": "cuda" if torch.cuda.is_available() else "cpu", "machine": machine(),
        "same_within": SAME,
    }  # fmt: skip


def markdown(found: dict[str, Comparison], options: Options) -> str:
    """The table, plain and ours a line each."""
    lines = [
        "| scores | candidates | images | way | G MAC | × | seconds | × | processor seconds | × | same ranking |",
        "|---|---:|---:|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for part, c in found.items():
        lines += [
            f"| {part} of {c.network} | {c.candidates:,} | {c.images:,} | plain | {c.naive_macs / 1e9:,.1f} | "
            f"| {c.naive_s:.1f} | | {c.naive_cpu_s:.1f} | | |",
            f"| | | | ours | {c.ours_macs / 1e9:,.1f} | {c.ops_ratio:.4f} | {c.ours_s:.1f} | {c.ratio:.3f} "
            f"| {c.ours_cpu_s:.1f} | {c.cpu_ratio:.3f} | {'yes' if c.same_ranking else 'NO'} |",
        ]
    repeats = ", ".join(f"{part} {c.repeats}" for part, c in found.items())
    weights = ", ".join(f"{c.network}: {c.weights}" for c in found.values())
    lines.append(
        f"\nMedian of repeats ({repeats}); batches of {options.batch}, {options.jobs} threads, float32; images: "
        f"{next(iter(found.values())).images_from}; weights: {weights}. {machine()}."
    )
    return "\n".join(lines) + "\n"
