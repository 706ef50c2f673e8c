"""A published network keeps its published accuracy through each front end."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from secateur.compiler.export.onnx import check_onnx, export_onnx
from secateur.compiler.frontends.load import load_model
from secateur.models.network import Network

# CIFAR ResNet with option A shortcuts (He et al. 2015, section 4.2): n blocks in each of three stages.
FACTORY = """
import torch.nn as nn
import torch.nn.functional as F

class Shortcut(nn.Module):
    def __init__(self, planes):
        super().__init__()
        self.planes = planes

    def forward(self, x):
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.planes // 4, self.planes // 4), "constant", 0)

class Block(nn.Module):
    def __init__(self, inputs, planes, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.shortcut = Shortcut(planes) if stride != 1 else nn.Sequential()

    def forward(self, x):
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        out += self.shortcut(x)
        return F.relu(out)

class ResNet(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        for i, (inputs, planes, stride) in enumerate([(16, 16, 1), (16, 32, 2), (32, 64, 2)], 1):
            blocks = [Block(inputs, planes, stride)] + [Block(planes, planes, 1) for _ in range(n - 1)]
            self.add_module(f"layer{i}", nn.Sequential(*blocks))
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        out = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        out = F.avg_pool2d(out, out.size()[3])
        return self.linear(out.view(out.size(0), -1))

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

def resnet20():
    scale = {"mean": [255 * v for v in MEAN], "std": [255 * v for v in STD]}
    return ResNet(3), {"input_shape": (3, 32, 32), **scale}
"""


def _images(shared_data: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(shared_data / "cifar10" / "cifar10_test2k.npz") as file:
        return file["images"].transpose(0, 3, 1, 2), file["labels"]


def _accuracy(network: Network, images: np.ndarray, labels: np.ndarray) -> float:
    with torch.no_grad():
        batches = np.array_split(network.preprocess(images), 20)
        found = np.concatenate([network.module(torch.from_numpy(b)).argmax(1).numpy() for b in batches])
    return 100 * float((found == labels).mean())


@pytest.mark.slow
def test_resnet20_keeps_its_accuracy_through_torch_and_onnx(shared_data: Path, tmp_path: Path) -> None:
    """92.40 % of 2,000 CIFAR-10 test images: factory and state dict, our ONNX, and PyTorch's ONNX."""
    weights = shared_data / "cifar10" / "resnet20_akamaster.pt"
    images, labels = _images(shared_data)
    (tmp_path / "cifar.py").write_text(FACTORY)
    network = load_model(f"{tmp_path / 'cifar.py'}:resnet20", weights)
    assert isinstance(network, Network)
    assert sum(p.numel() for p in network.module.parameters()) == 269722
    assert _accuracy(network, images, labels) == pytest.approx(92.40)

    export_onnx(network, tmp_path / "ours.onnx")
    check_onnx(network, tmp_path / "ours.onnx", network.preprocess(images[:16]))
    ours = load_model(str(tmp_path / "ours.onnx"))
    assert isinstance(ours, Network)
    assert _accuracy(ours, images, labels) == pytest.approx(92.40)

    theirs = tmp_path / "theirs.onnx"
    with warnings.catch_warnings():  # the older exporter, which folds the norms into the convolutions
        warnings.simplefilter("ignore")
        torch.onnx.export(network.module, (torch.zeros(1, 3, 32, 32),), str(theirs), dynamo=False)
    imported = load_model(str(theirs), preprocess=network.preprocess)
    assert isinstance(imported, Network)
    assert _accuracy(imported, images, labels) == pytest.approx(92.40)
