"""Where int8 loses more than float allows for: train once more as int8 will compute, and keep it where int8 gains."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from secateur.compiler.code_digest import code_digest
from secateur.compiler.export.post_training import find_ranges
from secateur.compiler.export.quantize import quantize
from secateur.compiler.recovery import RecoveryOptions, total_steps
from secateur.errors import UserError
from secateur.models.data import Data
from secateur.models.fake_quantize import Grid
from secateur.models.network import Network
from secateur.models.torch_threads import torch_threads
from secateur.models.training import Recipe
from secateur.passes.network.quantization_aware import QuantizationAware
from secateur.passes.program.centred import without_means
from secateur.passes.program.lower import lower, to_channels_last

LOST_POINTS = 0.5
"""Of validation, float less int8, above which `auto` trains."""
STEPS_SHARE = 0.2
"""Of a run's steps, taken in addition to them."""
RATE_SHARE = 0.05
"""Of the recovery's rate: norms that do not learn statistics do not hold larger steps."""
CLIP_NORM = 1.0
"""Largest norm of a gradient; without it a rate of 0.001 diverges on zoo:digits-net."""
CALIBRATION_SAMPLES = 512
FILE = "quantization-aware.safetensors"


def calibration_samples(network: Network, data: Data) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """`calibration_inputs`, channels last."""
    found: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = to_channels_last(calibration_inputs(network, data))
    return found


def calibration_inputs(network: Network, data: Data) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Preprocessed, channels first: of the recovery set; of a reconstruction of validation too.

    Its recovery set holds nothing but normal samples: what lies outside the range of int8 would be clipped, and its
    error with it.
    """
    sets = (data.recovery, data.validation) if data.task.reconstructs else (data.recovery,)
    seen = [s.x[:: max(1, len(s) // CALIBRATION_SAMPLES)] for s in sets]
    return network.preprocess(np.concatenate(seen))


def grids(network: Network, data: Data, calibration: str = "minmax") -> dict[str, Grid]:
    """The int8 grids of a network's values, by node name, as an export now would choose them.

    With `output` those before the export brings channels nearer to one range: it rounds quiet channels finer than this.
    """
    floats = lower(network)
    quantized = quantize(floats, find_ranges(floats, calibration_samples(network, data), calibration))
    return {t.name: (t.scale, t.zero_point) for t in quantized.tensors if t.data is None and t.quantization is not None}


def wanted(options: RecoveryOptions, data: Data, lost_points: float) -> int:
    """Steps of quantization-aware training; 0: none. `lost_points`: of validation, float less int8."""
    auto = options.trains and lost_points > LOST_POINTS
    if options.quantization_aware == "off" or (options.quantization_aware == "auto" and not auto):
        return 0
    return round(STEPS_SHARE * total_steps(options, data))


def check_quantization_aware(options: RecoveryOptions, data: Data) -> None:
    """Raise UserError where it is asked for and would have no step."""
    if options.quantization_aware == "on" and not wanted(options, data, 0.0):
        raise UserError(
            f"--quantization-aware on: it takes a fifth of --steps, which of {total_steps(options, data)} is none; "
            "give 3 at least"
        )


def trained(
    network: Network, teacher: Network, data: Data, options: RecoveryOptions, recipe: Recipe, steps: int, file: Path
) -> Network:
    """`network` after these steps; read from `file`, or one like it beside it, where it began with the same network."""
    slow = replace(recipe, steps=steps, schedule="cosine", lr=RATE_SHARE * recipe.lr, copies=1, clip_norm=CLIP_NORM)
    facts = {
        "network": network.hash(), "teacher": teacher.hash(), "data": data.fingerprint(), "recipe": asdict(slow),
        "seed": options.seed, "calibration": options.calibration, "code": code_digest(),
    }  # fmt: skip
    key = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
    for path in sorted(file.parent.glob(f"*{FILE}")):
        with safe_open(path, "pt") as saved:
            known = (saved.metadata() or {}).get("key")
        if known == key:
            found = network.clone()
            found.module.load_state_dict(load_file(path))
            return found
    train = QuantizationAware(
        data.recovery,
        slow,
        options.seed * 10_007,
        lambda now: grids(now, data, options.calibration),
        data.validation,
        teacher,
    )
    with torch_threads(1):
        found = train(without_means(network))
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    save_file({k: v.contiguous().clone() for k, v in found.module.state_dict().items()}, part, {"key": key})
    part.replace(file)
    return found
