"""Published Keras and SavedModel networks compute what their own float .tflite computes, and keep their accuracy.

python tests/compiler/frontends/test_keras_real_networks.py     # by hand; prints the table of docs/keras.md
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter

from secateur.compiler.frontends.load import load_model
from secateur.models.network import Network
from secateur.passes.program.lower import lower, to_channels_last

TINY = "mlperf_tiny"


@dataclass(frozen=True)
class Case:
    """A file, the .tflite of the same weights where there is one (else RECORDED), and what is known of the network."""

    model: str
    judge: str
    macs: int
    parameters: int
    limit: float


CASES = {
    "ad01": Case(f"{TINY}/anomaly_detection/ad01.h5", "", 264_192, 267_928, 1e-5),
    "pretrainedResnet": Case(
        f"{TINY}/image_classification/pretrainedResnet.h5",
        f"{TINY}/image_classification/pretrainedResnet.tflite",
        12_501_632,
        78_186,
        1e-5,
    ),
    "vww_96": Case(
        f"{TINY}/visual_wake_words/vww_96.h5",
        f"{TINY}/visual_wake_words/vww_96_float.tflite",
        7_489_664,
        216_322,
        1e-5,
    ),
    "kws_ref_model": Case(f"{TINY}/keyword_spotting/kws_ref_model", "", 2_656_768, 23_756, 1e-5),
    "str_ww_ref_model": Case(
        f"{TINY}/streaming_wakeword/str_ww_ref_model.h5",
        f"{TINY}/streaming_wakeword/str_ww_ref_model.tflite",
        826_368,
        46_875,
        0.06,
    ),
}


# First outputs of TensorFlow 2.21 (kws_ref_model) and Keras 3.15 (ad01) for sin(0.1 i) times 5 and times 10, element i
# of the sample, channels last. The .tflite files beside these two are of other weights.
RECORDED = {
    "kws_ref_model": (5, [8.36645849631168e-05, 2.135125964919382e-10, 0.9695004820823669, 0.023907167837023735]),
    "ad01": (10, [-34.18367004394531, -14.783882141113281, -1.8768762350082397, 1.1511350870132446]),
}


def samples(name: str, shared: Path, network: Network) -> np.ndarray:
    """Raw samples as the network takes them, channels first."""
    if name == "pretrainedResnet":
        with np.load(shared / "cifar10" / "cifar10_test2k.npz") as file:
            return file["images"][:64].transpose(0, 3, 1, 2).astype(np.float32)
    if name == "vww_96":
        with np.load(shared / "vww" / "vww01_96_500.npz") as file:
            return (file["images"][:32].transpose(0, 3, 1, 2) / 255).astype(np.float32)
    if name == "str_ww_ref_model":
        with np.load(shared / TINY / "streaming_wakeword" / "calibration_samples.npz") as file:
            return np.moveaxis(file["specs"], -1, 1).astype(np.float32)
    wave = np.sin(np.arange(np.prod(network.input_shape)) * 0.1) * RECORDED[name][0]
    return wave.reshape(1, *network.input_shape).astype(np.float32)  # of one channel, or flat: also channels last


def judged(path: Path, x: np.ndarray) -> np.ndarray:
    """What LiteRT gives for samples, channels last; of an int8 file, quantized and back."""
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    entry, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    found = []
    for sample in to_channels_last(x):
        one = sample.reshape(entry["shape"])
        if entry["dtype"] == np.int8:
            scale, zero = entry["quantization"]
            one = np.clip(np.round(one / scale) + zero, -128, 127).astype(np.int8)
        interpreter.set_tensor(entry["index"], one)
        interpreter.invoke()
        y = interpreter.get_tensor(result["index"]).ravel()
        if result["dtype"] == np.int8:
            scale, zero = result["quantization"]
            y = (y.astype(np.float32) - zero) * scale
        found.append(y)
    return np.stack(found)


def row(name: str, shared: Path) -> tuple[Network, int, int, float, float]:
    """(network, MACs, parameters, largest difference, largest output)"""
    case = CASES[name]
    network = load_model(str(shared / case.model))
    assert isinstance(network, Network)
    x = samples(name, shared, network)
    with torch.no_grad():
        ours = network.module(torch.from_numpy(network.preprocess(x))).numpy()
    if case.judge:
        theirs = judged(shared / case.judge, x)
    else:
        theirs = np.array([RECORDED[name][1]])
        ours = ours[:, : theirs.shape[1]]
    parameters = sum(p.numel() for p in network.module.parameters())
    return network, lower(network).macs, parameters, float(np.abs(ours - theirs).max()), float(np.abs(theirs).max())


@pytest.mark.parametrize("name", CASES)
def test_a_published_network_is_its_tflite(shared_data: Path, name: str) -> None:
    """Outputs within float32 of LiteRT's or TensorFlow's (of an int8 file: within its steps), MACs exact."""
    case = CASES[name]
    _, macs, parameters, worst, largest = row(name, shared_data)
    assert (macs, parameters) == (case.macs, case.parameters)
    assert worst <= case.limit * max(1.0, largest)


def accuracy(network: Network, images: np.ndarray, labels: np.ndarray) -> float:
    with torch.no_grad():
        batches = np.array_split(network.preprocess(images), 20)
        found = np.concatenate([network.module(torch.from_numpy(b)).argmax(1).numpy() for b in batches])
    return 100 * float((found == labels).mean())


def cifar(shared: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(shared / "cifar10" / "cifar10_test2k.npz") as file:
        return file["images"].transpose(0, 3, 1, 2).astype(np.float32), file["labels"]


@pytest.mark.slow
def test_pretrained_resnet_keeps_its_accuracy(shared_data: Path) -> None:
    """87.35 % of 2,000 CIFAR-10 test images, as its float .tflite."""
    network = load_model(str(shared_data / CASES["pretrainedResnet"].model))
    assert isinstance(network, Network)
    assert accuracy(network, *cifar(shared_data)) == pytest.approx(87.35)


if __name__ == "__main__":
    data = Path(os.environ.get("SECATEUR_DATA", "../shared/data"))
    for name in CASES:
        _, macs, parameters, worst, largest = row(name, data)
        sys.stdout.write(f"| {name} | {macs:,} | {parameters:,} | {worst:.1e} of {largest:.3g} |\n")
