"""`zoo:NAME`: what is in the zoo, as Network with weights, as Data. A new entry is one line of `ENTRIES`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import fx, nn

from secateur.errors import UserError
from secateur.models.augment import NONE, Augmentation
from secateur.models.data import Data
from secateur.models.front_end.chain import FrontEnd
from secateur.models.front_end.decide import Decisions
from secateur.models.network import MODULES, Network, verify_network
from secateur.models.preprocess import Preprocess
from secateur.models.training import reinitialize
from secateur.models.zoo import digits, keywords, watch
from secateur.models.zoo.digits_net import DigitsNet
from secateur.models.zoo.dscnn import DsCnn
from secateur.models.zoo.har import HarConv, har_resnet
from secateur.models.zoo.mlp import Mlp
from secateur.models.zoo.mobilenet import MobileNetV1
from secateur.models.zoo.resnet import cifar_resnet, resnet8
from secateur.models.zoo.resnet1d import watch_resnet
from secateur.models.zoo.transformer import watch_transformer

PREFIX = "zoo:"
WEIGHTS = Path(__file__).parents[1] / "weights"
ABOUT = "secateur"
"""The one metadata entry of a weights file."""

FROM_SOUND = ("zoo:keywords",)
"""Data whose windows the front end makes that `zoo_data` is given."""

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
KEYWORDS = (
    "down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes", "silence", "unknown",
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One network. `data` is None and `trained` False where the zoo ships only the definition.

    `front_end`, `decisions`: what it was trained behind, and what is made of its outputs.
    """

    description: str
    build: Callable[[], nn.Module]
    input_shape: tuple[int, ...]
    labels: tuple[str, ...]
    data: Callable[[], Data] | None = None
    trained: bool = False
    front_end: FrontEnd | None = None
    decisions: Decisions = Decisions()  # noqa: RUF009 - frozen


def _numbered(classes: int) -> tuple[str, ...]:
    return tuple(str(i) for i in range(classes))


ENTRIES: dict[str, Entry] = {
    "watch-resnet": Entry(
        "1-D residual network, smartwatch exercises", watch_resnet, watch.INPUT_SHAPE, watch.LABELS,
        watch.watch_data, trained=True,
    ),
    "watch-transformer": Entry(
        "transformer of 3 blocks, smartwatch exercises", watch_transformer, watch.INPUT_SHAPE, watch.LABELS,
        watch.watch_data, trained=True,
    ),
    "digits-net": Entry(
        "small residual network, scikit-learn digits", DigitsNet, digits.INPUT_SHAPE, digits.LABELS,
        digits.digits_data, trained=True,
    ),
    "keywords-dscnn": Entry(
        "keyword spotting from 16 kHz audio, synthetic speech", keywords.keywords_net, keywords.INPUT_SHAPE,
        keywords.LABELS, keywords.keywords_data, trained=True, front_end=keywords.FRONT_END,
        decisions=keywords.DECISIONS,
    ),
    "digits-mlp": Entry(
        "perceptron 64-32-10, scikit-learn digits", lambda: Mlp((1, 8, 8), (32,), 10), digits.INPUT_SHAPE,
        digits.LABELS, digits.digits_data,
    ),
    "resnet8": Entry("MLPerf Tiny image classifier, 32x32", resnet8, (3, 32, 32), CIFAR10),
    "resnet20": Entry("CIFAR ResNet-20, option B", lambda: cifar_resnet(20), (3, 32, 32), CIFAR10),
    "resnet20a": Entry("CIFAR ResNet-20, option A", lambda: cifar_resnet(20, "A"), (3, 32, 32), CIFAR10),
    "resnet32": Entry("CIFAR ResNet-32, option B", lambda: cifar_resnet(32), (3, 32, 32), CIFAR10),
    "resnet44": Entry("CIFAR ResNet-44, option B", lambda: cifar_resnet(44), (3, 32, 32), CIFAR10),
    "resnet56": Entry("CIFAR ResNet-56, option B", lambda: cifar_resnet(56), (3, 32, 32), CIFAR10),
    "resnet56a": Entry("CIFAR ResNet-56, option A", lambda: cifar_resnet(56, "A"), (3, 32, 32), CIFAR10),
    "resnet110": Entry("CIFAR ResNet-110, option B", lambda: cifar_resnet(110), (3, 32, 32), CIFAR10),
    "ds-cnn": Entry("keyword spotting, 49x10 MFCC", DsCnn, (1, 49, 10), KEYWORDS),
    "mobilenet": Entry("MobileNet V1 0.25, 96x96, person", MobileNetV1, (3, 96, 96), ("none", "person")),
    "har-conv": Entry("1-D convolutions, 6 channels, 50 samples", HarConv, (6, 50), _numbered(6)),
    "har-resnet": Entry("1-D residual network, 6 channels, 50 samples", har_resnet, (6, 50), _numbered(6)),
}  # fmt: skip


def names() -> tuple[tuple[str, str], ...]:
    """(name, one-line description) of every network, trained ones first."""
    note = {True: "trained", False: "definition only, seeded weights"}
    listed = sorted(ENTRIES.items(), key=lambda item: not item[1].trained)
    return tuple((name, f"{entry.description} ({note[entry.trained]})") for name, entry in listed)


def load(name: str) -> Network:
    """The network, with or without the prefix `zoo:`; weights as shipped, or seeded where none are.

    Raises UserError for an unknown name and for a weights file that does not fit.
    """
    key, entry = _entry(name)
    module = entry.build()
    if entry.trained:
        preprocess = _read_weights(module, weights_path(key))
    else:
        reinitialize(module, seed=0)
        preprocess = Preprocess()
    preprocess = replace(preprocess, front_end=entry.front_end, decisions=entry.decisions)
    return to_network(key, module, entry.input_shape, entry.labels, preprocess)


def zoo_data(name: str, front_end: FrontEnd | None = None) -> Data:
    """The data that goes with a network (`zoo:watch-resnet`, or `watch`), split as at its training.

    `front_end`: what sound goes through, where it is another than that of the training; windows stay as they are.
    """
    key = name.removeprefix(PREFIX)
    loaders = {k: e.data for k, e in ENTRIES.items() if e.data is not None}
    loaders |= {"watch": watch.watch_data, "digits": digits.digits_data, "keywords": keywords.keywords_data}
    if front_end is not None and loaders.get(key) is keywords.keywords_data:
        return keywords.keywords_data(front_end)
    if key in loaders:
        return loaders[key]()
    if key in ENTRIES:
        raise UserError(f"zoo:{key} comes without data; give a file, or one of {', '.join(sorted(loaders))}")
    raise UserError(f"zoo:{key} is unknown; data: {', '.join(sorted(loaders))}")


def augmentation(data: Data) -> Augmentation:
    """What may be changed in the samples of a zoo data set; for any other data nothing is assumed."""
    return {
        "zoo:watch": watch.AUGMENTATION,
        "zoo:digits": digits.AUGMENTATION,
        "zoo:keywords": keywords.AUGMENTATION,
    }.get(data.name, NONE)


def to_network(
    name: str,
    module: nn.Module,
    input_shape: tuple[int, ...],
    labels: tuple[str, ...],
    preprocess: Preprocess,
) -> Network:
    """A Network from a module of the zoo, whose parts are canonical as they stand; it is checked."""
    module.eval()
    graph = _Tracer().trace(module)
    network = Network(name, fx.GraphModule(module, graph), input_shape, preprocess, labels)
    verify_network(network)
    return network


def weights_path(name: str) -> Path:
    return WEIGHTS / f"{name}.safetensors"


class _Tracer(fx.Tracer):
    """Stops at the canonical modules, our Pad and Slice included."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, MODULES)


def _entry(name: str) -> tuple[str, Entry]:
    key = name.removeprefix(PREFIX)
    if key not in ENTRIES:
        raise UserError(f"zoo:{key} is unknown; the zoo has {', '.join(ENTRIES)}")
    return key, ENTRIES[key]


def write_weights(module: nn.Module, path: Path, about: dict[str, Any]) -> None:
    """The module's state, float32 (counters int64), and what there is to know of it.

    `about` goes in as one JSON text: safetensors writes several entries in any order, and the same training
    must give the same bytes.
    """
    tensors = {name: value.detach().contiguous() for name, value in module.state_dict().items()}
    save_file(tensors, path, metadata={ABOUT: json.dumps(about, sort_keys=True)})
    path.chmod(0o644)  # safetensors writes for the owner only


def about_weights(name: str) -> dict[str, Any]:
    """How the shipped weights came about: command, groups of each set, accuracy, preprocessing."""
    with safe_open(str(weights_path(name)), framework="pt") as file:
        found: dict[str, Any] = json.loads(file.metadata()[ABOUT])
    return found


def _read_weights(module: nn.Module, path: Path) -> Preprocess:
    try:
        with safe_open(str(path), framework="pt") as file:
            scale = json.loads((file.metadata() or {})[ABOUT])["preprocess"]
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
        module.load_state_dict(state)
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        line = " ".join(str(error).split())
        raise UserError(f"{path}: not the weights of this network ({line}); reinstall secateur") from None
    return Preprocess(tuple(scale["mean"]), tuple(scale["std"]))
