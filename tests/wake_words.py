"""microWakeWord's networks as their own Python package runs them, with our features, quantizer and golden runtime."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from secateur.compiler.frontends.tflite_file import parse_tflite
from secateur.models.front_end.chain import FrontEnd
from secateur.models.front_end.decide import Decisions
from secateur.models.front_end.micro import Micro
from secateur.models.front_end.quantizer import make_quantizer
from secateur.models.front_end.stage import Counts
from secateur.models.preprocess import Preprocess
from secateur.models.program import Program
from secateur.runtime_bench.golden import run_tflm


class WakeWord:
    """One of the package's networks, from its JSON file.

    It takes 3 rows a call (30 ms, its stride) and keeps its own state; the word is heard where the mean of the last 5
    calls' probabilities is above the cutoff.
    """

    def __init__(self, config: Path) -> None:
        document = json.loads(config.read_text())
        self.content = (config.parent / document["model"]).read_bytes()
        self.smooth = int(document["micro"]["sliding_window_size"])
        self.cutoff = float(document["micro"]["probability_cutoff"])
        self.program: Program = parse_tflite(self.content, config.stem, config.stem)
        entry = self.program.tensors[self.program.inputs[0]]
        self.front = FrontEnd(16000, 1, entry.shape[-2], entry.shape[-2], features=Micro())
        unit = (Micro().unit,)
        self.quantizer = make_quantizer(unit, (0.0,), (1.0,), entry.scale, entry.zero_point, entry.dtype)
        least = math.floor(self.cutoff * 256 * self.smooth) + 1  # above the cutoff, not at it
        decisions = Decisions(self.smooth, threshold=least)
        self.program = replace(
            self.program, labels=(config.stem,), preprocess=Preprocess(front_end=self.front, decisions=decisions)
        )

    def calls(self, samples: Counts) -> npt.NDArray[np.int8]:
        """(calls, input bytes)"""
        windows = self.front.windows(samples[:, None])
        return np.asarray(self.quantizer(windows), np.int8).reshape(len(windows), -1)

    def tflm(self, samples: Counts) -> npt.NDArray[np.float64]:
        """Probability after each call, by TensorFlow Lite Micro."""
        return run_tflm(self.content, self.program, self.calls(samples)).view(np.uint8).ravel() / 256

    def litert(self, samples: Counts) -> npt.NDArray[np.float64]:
        """The same by LiteRT's fast kernels, whose rounding is the package's."""
        kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        made = Interpreter(model_content=self.content, experimental_op_resolver_type=kernels, num_threads=1)
        made.allocate_tensors()
        entry, out = made.get_input_details()[0], made.get_output_details()[0]
        found = []
        for call in self.calls(samples):
            made.set_tensor(entry["index"], call.reshape(entry["shape"]))
            made.invoke()
            found.append(made.get_tensor(out["index"]).item() / 256)
        return np.array(found)

    def heard(self, probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """After each call."""
        means = np.convolve(probabilities, np.ones(self.smooth))[: len(probabilities)] / self.smooth
        return np.asarray((means > self.cutoff) & (np.arange(len(means)) >= self.smooth - 1))
