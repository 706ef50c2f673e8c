"""Rewrite a traced module to the canonical vocabulary of `network.py`, or name what has no place in it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, fx, nn

from secateur.errors import UserError
from secateur.models.affine import fold_affine
from secateur.models.network import Network, verify_network
from secateur.models.plain_weights import copied, make_plain
from secateur.models.preprocess import Preprocess
from secateur.models.recognize import recognize
from secateur.models.rewrite import Rewriter
from secateur.models.takes import fold_takes, merge_biases
from secateur.models.trace import DataDependent, trace
from secateur.models.traced import place


def canonicalize(
    module: nn.Module,
    input_shape: tuple[int, ...],
    *,
    cut_at: str | None = None,
    batch: int = 3,
    own: bool = False,
) -> fx.GraphModule:
    """The same network, in eval mode, as a canonical graph with its own copy of the weights.

    Args:
        input_shape: one sample, channels first, without the batch.
        cut_at: name of the node or module whose value becomes the output; what follows is dropped.
        batch: batch size of the trace; another one than 3 only where the network's code fixes it.
        own: nobody else uses `module`, so its weights need no copy.

    Raises:
        UserError: the network cannot be traced on this shape, or it holds unsupported operators (all listed).
    """
    if any(isinstance(m, torch.jit.ScriptModule) for m in module.modules()):
        raise UserError("holds TorchScript, which cannot be traced. Give the Python module, or export it to ONNX.")
    module = (module if own else copied(module)).eval()
    make_plain(module)
    module.float().cpu()
    sample = torch.randn(batch, *input_shape, generator=torch.Generator().manual_seed(0))
    graph, root, expected = _traced(module, sample)
    hooked = [name or "itself" for name, m in module.named_modules() if m._forward_hooks or m._forward_pre_hooks]
    output = _output(graph, cut_at)
    rewriter = Rewriter(root, graph, batch)
    new = rewriter.run(output, to_the_end=cut_at is None)
    result = fx.GraphModule(rewriter.modules, new, class_name="Canonical")
    rewriter.problems += fold_takes(result)
    result.graph.eliminate_dead_code()
    rewriter.problems += recognize(result)
    rewriter.problems += fold_affine(result)
    merge_biases(result)
    if rewriter.problems:
        raise UserError(
            f"{len(rewriter.problems)} unsupported operator(s): {'; '.join(rewriter.problems)}. "
            "Replace them by supported ones (Conv1d/2d, Linear, BatchNorm, ReLU, ReLU6, Sigmoid, Hardsigmoid, Tanh, "
            "SiLU, Hardswish, GELU, ELU, LeakyReLU, PReLU, Add, Mul, Concat, pooling, Flatten, Pad, Slice, Softmax, "
            "LayerNorm, attention), or end the network before them with --cut-at NAME."
        )
    result.graph.eliminate_dead_code()
    result.delete_all_unused_submodules()
    result.recompile()
    result.eval()
    for part in result.modules():
        part._forward_hooks.clear()
        part._forward_pre_hooks.clear()
    if cut_at is None:
        _check_equal(result, sample, expected, hooked)
    return result


def to_network(
    module: nn.Module,
    input_shape: tuple[int, ...],
    name: str,
    labels: tuple[str, ...] = (),
    preprocess: Preprocess = Preprocess(),  # noqa: B008 - frozen
    *,
    cut_at: str | None = None,
    batch: int = 3,
    own: bool = False,
) -> Network:
    """A verified Network of `module`.

    Raises:
        UserError: see `canonicalize`; or the output is not (n, classes); or labels, mean or std do not fit.
    """
    check_scaling(name, preprocess, input_shape[0] if input_shape else 0)
    try:
        canonical = canonicalize(module, input_shape, cut_at=cut_at, batch=batch, own=own)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error.__cause__
    network = Network(name, canonical, tuple(input_shape), preprocess, tuple(labels))
    verify_network(network)
    _check_finite(network)
    last = next(n for n in network.graph.nodes if n.op == "output").args[0]
    shape = network.shapes()[last.name]
    if len(shape) != 1:
        raise UserError(
            f"{name}: output {last.name} has shape {shape} per sample, one dimension (classes) expected. "
            "Add a Flatten, or name another output with --cut-at."
        )
    if labels and len(labels) != shape[0]:
        raise UserError(f"{name}: {len(labels)} labels for {shape[0]} outputs; give one label per output.")
    return network


def _check_finite(network: Network) -> None:
    """Raise UserError where a weight or a norm's statistic is NaN or infinite: nothing downstream could say why."""
    for key, values in network.module.state_dict().items():
        if not bool(torch.isfinite(values).all()):
            raise UserError(f"{network.name}: {key} holds NaN or infinite values; train or export the network again.")


def check_scaling(name: str, preprocess: Preprocess, channels: int) -> None:
    """Raise UserError where mean and std are not one positive pair, or one a channel."""
    for what, values in (("mean", preprocess.mean), ("std", preprocess.std)):
        if len(values) not in (0, 1, channels):
            raise UserError(f"{name}: {len(values)} values of {what} for {channels} input channels; give {channels}.")
    if len(preprocess.mean) != len(preprocess.std):
        raise UserError(f"{name}: {len(preprocess.mean)} means and {len(preprocess.std)} stds; give as many of each.")
    if not all(s > 0 and math.isfinite(s) for s in preprocess.std):
        raise UserError(f"{name}: std {preprocess.std} must be positive in every channel.")


def _traced(module: nn.Module, sample: Tensor) -> tuple[fx.Graph, nn.Module, Any]:
    """The trace, the root of its targets, and what `module` gives when it runs as it is."""
    shape = tuple(sample.shape[1:])
    try:
        graph, root = trace(module, sample.clone())  # a module may work in place on its input
        with torch.no_grad():
            result = module(sample.clone())
        return graph, root, result[0] if isinstance(result, (tuple, list)) and len(result) == 1 else result
    except DataDependent as error:
        raise UserError(
            f"cannot be traced: {error}. Export it to ONNX (torch.onnx.export) with a fixed input and give the .onnx."
        ) from error
    except UserError:
        raise
    except Exception as error:  # the user's own code may raise anything
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise UserError(
            f"does not run on a batch of inputs of shape {shape}: {type(error).__name__}: {reason}. "
            f"Check --input-shape (channels first, with a batch of 1 in front; this was {_with_batch(shape)}), "
            "or export the network to ONNX."
        ) from error


def _with_batch(shape: tuple[int, ...]) -> str:
    return ",".join(map(str, (1, *shape)))


def _output(graph: fx.Graph, cut_at: str | None) -> fx.Node:
    """The node whose value is the network's output."""
    nodes: list[fx.Node] = [n for n in graph.nodes if n.op != "output"]
    if cut_at is not None:
        path = "whole." + cut_at
        named = [n for n in nodes if cut_at in (n.name, n.meta["where"], place(n)) or n.target == path]
        if not named:
            known = ", ".join(place(n) for n in nodes[-8:] if n.op != "placeholder")
            raise UserError(f"--cut-at {cut_at}: no such node; the last ones are {known}.")
        return named[-1]
    result: Any = next(n for n in graph.nodes if n.op == "output").args[0]
    if isinstance(result, (tuple, list)) and len(result) == 1:
        result = result[0]
    if not isinstance(result, fx.Node) or not isinstance(result.meta["value"], Tensor):
        if isinstance(result, dict):
            listed = ", ".join(map(str, result))
            raise UserError(f"returns a dict ({listed}), one tensor expected; choose one with --cut-at NAME.")
        count = len(result) if isinstance(result, (tuple, list)) else 0
        raise UserError(f"returns {count} values, one tensor expected; choose one with --cut-at NAME.")
    node: fx.Node = result
    return node


def _check_equal(result: fx.GraphModule, sample: Tensor, expected: Tensor, hooked: list[str]) -> None:
    """Raise UserError where the canonical network gives something else than the module itself."""
    with torch.no_grad():
        worst = float((result(sample) - expected).abs().max())
    scale = float(expected.abs().max())
    if worst <= 1e-4 * (scale + 1e-6) or not math.isfinite(scale):
        return
    hooks = f"forward hooks ({', '.join(hooked)}), " if hooked else ""
    raise UserError(
        f"gives other outputs than its operators, off by {worst:.3g} of {scale:.3g}. What cannot be followed: {hooks}"
        "functional dropout without training=self.training, random numbers, changes in place of a part or of a "
        "reshaped value. Take it out, or export the network to ONNX; where it has none of these, please report it."
    )
