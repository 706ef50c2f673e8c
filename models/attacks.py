"""Adversarial examples of a Network: FGSM and PGD on its raw samples, through its preprocessing, in eval mode.

Sources: Goodfellow, Shlens, Szegedy, "Explaining and harnessing adversarial examples", 2015, section 4 (FGSM);
Madry et al., "Towards deep learning models resistant to adversarial attacks", 2018, section 2.1 (PGD). Deviations:
gradients are those of a float64 copy and, of classes or labels that end in a softmax or a logistic function, of its
logits, and the cross entropy is summed without the true class, because otherwise the gradient of a sample that the
network is sure of rounds to 0, which would be no attack.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx, nn

from secateur.models.data import Split
from secateur.models.network import Network
from secateur.models.preprocess import Preprocess
from secateur.models.task import Classification, MultiLabel, Task
from secateur.models.training import EVALUATION_BATCH, ends_in_probabilities

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Ball:
    """What an attack may do to a sample: `eps` is the most a value may move, `low` and `high` the input's range.

    Each is of one value a channel, (c,). A sample that lies outside the range may stay where it is, not go further.
    """

    eps: Floats
    low: Floats
    high: Floats

    def into(self, moved: npt.NDArray[np.floating], x: Floats) -> Floats:
        """`moved` (n, c, ...) with every value brought back to the ball around `x`, and to the range."""
        eps, low, high = (_a_channel(v, x.ndim) for v in (self.eps, self.low, self.high))
        start = x.astype(np.float64)
        near = np.clip(moved, start - eps, start + eps)
        return np.asarray(np.clip(near, np.minimum(low, start), np.maximum(high, start)), np.float32)


def fgsm(network: Network, split: Split, task: Task, ball: Ball) -> Floats:
    """x + eps sign(gradient of the task's loss), in the ball and in the range; raw samples, (n, c, ...)."""
    x = np.asarray(split.x, np.float32)
    return ball.into(x + _a_channel(ball.eps, x.ndim) * np.sign(Gradient(network, task)(x, split.y)), x)


def pgd(network: Network, split: Split, task: Task, ball: Ball, step: Floats, steps: int = 10, seed: int = 0) -> Floats:
    """`steps` steps of `step` (c,) up the gradient's sign from a random start, each brought back into the ball."""
    x = np.asarray(split.x, np.float32)
    gradient, random = Gradient(network, task), np.random.default_rng(seed)
    moved = ball.into(x + _a_channel(ball.eps, x.ndim) * random.uniform(-1, 1, x.shape), x)
    for _ in range(steps):
        moved = ball.into(moved + _a_channel(step, x.ndim) * np.sign(gradient(moved, split.y)), x)
    return moved


class Gradient:
    """Of the task's loss by raw samples. The network itself is left as it is."""

    def __init__(self, network: Network, task: Task) -> None:
        module = copy.deepcopy(network.module)
        if isinstance(task, (Classification, MultiLabel)):  # what else ends so is a value itself
            _to_logits(module)
        self.module = module.double().eval()
        for parameter in self.module.parameters():
            parameter.requires_grad_(False)
        self.preprocess, self.task = network.preprocess, task

    def __call__(self, x: Floats, y: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
        """(n, c, ...) of samples (n, c, ...) and what the task takes of each, batch by batch."""
        parts = [self._of(x[i : i + EVALUATION_BATCH], y[i : i + EVALUATION_BATCH])
                 for i in range(0, len(x), EVALUATION_BATCH)]  # fmt: skip
        return np.concatenate(parts)

    def _of(self, x: Floats, y: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
        truth = self.task.truth(y)
        truth = truth.double() if truth.is_floating_point() else truth
        with torch.enable_grad():
            raw = torch.from_numpy(np.asarray(x, np.float64)).requires_grad_()
            seen = scaled(raw, self.preprocess)
            output = self.module(seen)
            if isinstance(self.task, Classification):
                loss = cross_entropy(output, truth)
            else:
                loss = self.task.loss(output, truth, seen.detach(), False)
            (found,) = torch.autograd.grad(loss, raw)
        return np.asarray(found.numpy(), np.float64)


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Sum over the batch of log(1 + sum over the other classes of exp(z - z_y)): exact where p_y is all but 1."""
    others = (logits - logits.gather(1, y[:, None])).scatter(1, y[:, None], -torch.inf)
    return nn.functional.softplus(others.logsumexp(1), threshold=torch.inf).sum()


def scaled(x: Tensor, preprocess: Preprocess) -> Tensor:
    """What `Preprocess` computes, (x - mean) / std, of a tensor that keeps its gradient."""
    if not preprocess.mean:
        return x
    shape = (1, -1) + (1,) * (x.ndim - 2)
    mean, std = (torch.tensor(v, dtype=x.dtype).reshape(shape) for v in (preprocess.mean, preprocess.std))
    return (x - mean) / std


def _to_logits(module: fx.GraphModule) -> None:
    """End it before its softmax or logistic function, where it has one; in place."""
    if ends_in_probabilities(module):
        output = next(n for n in module.graph.nodes if n.op == "output")
        last = output.args[0]
        assert isinstance(last, fx.Node)
        output.replace_input_with(last, last.all_input_nodes[0])
        module.recompile()


def _a_channel(values: Floats, dimensions: int) -> npt.NDArray[np.float64]:
    """(c,) as (1, c, 1, ...)."""
    return np.asarray(values, np.float64).reshape(1, -1, *[1] * (dimensions - 2))
