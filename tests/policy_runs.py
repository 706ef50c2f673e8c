"""A residual network of some thousand weights, data that it can learn, and searches over both."""

from __future__ import annotations

import numpy as np
import torch
from transformers import Encoder, torch_layer

from secateur.compiler.budget import Budget
from secateur.compiler.recovery import recovery_recipe
from secateur.compiler.search import Search, SearchOptions
from secateur.models.canonical import to_network
from secateur.models.data import Data, Split
from secateur.models.network import Network
from secateur.models.zoo.resnet1d import ResNet1d
from secateur.targets.target import find

STEPS = 8


def small_network(blocks: int = 3) -> Network:
    """Two stages, 8 and 12 channels wide."""
    torch.manual_seed(0)
    return to_network(ResNet1d(3, 3, widths=(8, 12), blocks=(blocks,) * 2, strides=(1, 2)).eval(), (3, 16), "net")


def small_transformer() -> Network:
    """Three blocks of 8 tokens and 16 channels, with 4 heads and 24 hidden units each."""
    torch.manual_seed(0)
    return to_network(Encoder(*(torch_layer(norm_first=True) for _ in range(3))).eval(), (6, 24), "former")


def small_data(shape: tuple[int, ...] = (3, 16)) -> Data:
    """Three classes that a mean tells apart, 90 samples."""
    rng = np.random.default_rng(0)
    y = (np.arange(90) % 3).astype(np.int64)
    x = (rng.normal(size=(90, *shape)) + 0.5 * y[:, None, None]).astype(np.float32)
    cuts = (slice(0, 60), slice(60, 75), slice(75, 90))
    return Data("means", *(Split(x[c], y[c], np.arange(90)[c]) for c in cuts), labels=("a", "b", "c"))


def search_of(network, policy, folder=None, tell=lambda line: None, *, flash=None, less=2500, **options) -> Search:
    """For `flash` bytes, or for `less` bytes less than the network takes."""
    data, target = small_data(network.input_shape), find("esp32")
    steps = None if options.get("recovery") == "none" else STEPS
    chosen = SearchOptions(policy, **{"total_steps": steps, "short_steps": 2, "samples": 60, "floor": 1, **options})
    recipe = recovery_recipe(network, data, STEPS)
    if flash is None:
        flash = Search(network, data, target, Budget(), chosen, recipe).limits.cost(network).flash_bytes - less
    return Search(network, data, target, Budget(flash_bytes=flash).on(target), chosen, recipe, folder, tell)
