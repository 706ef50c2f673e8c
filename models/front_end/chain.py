"""The front end as a whole: raw int16 samples, perhaps resampled, perhaps turned into features, cut into windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from secateur.errors import UserError
from secateur.models.front_end.detrend import detrend
from secateur.models.front_end.resample import Resample
from secateur.models.front_end.stage import Counts, Features

Detrend = Literal["none", "mean", "linear"]


@dataclass(frozen=True)
class FrontEnd:
    """`rate_hz`, `channels`: of the raw samples. `window`, `hop`: rows, which are samples, or frames of features.

    `counts_per_unit`: raw counts in one unit of the data (16384 where a sensor's g is that many), one for all channels
    or one a channel.
    """

    rate_hz: float
    channels: int
    window: int
    hop: int
    counts_per_unit: tuple[float, ...] = (1.0,)
    resampler: Resample | None = None
    features: Features | None = None
    detrend: Detrend = "none"

    def __post_init__(self) -> None:
        if self.features is not None and self.channels != 1:
            raise UserError(f"features are made of one channel, the input has {self.channels}; choose one")
        if self.features is not None and self.features.frame_step > self.features.frame_length:
            raise UserError(
                f"a frame of {self.features.frame_length} samples every {self.features.frame_step} leaves samples out; "
                "make the step at most a frame"
            )
        if min(self.window, self.hop) < 1:
            raise UserError(f"window {self.window}, hop {self.hop}: both are at least 1")
        if len(self.counts_per_unit) not in (1, self.channels) or min(self.counts_per_unit) <= 0:
            raise UserError(
                f"counts-per-unit: {len(self.counts_per_unit)} values for {self.channels} channels; "
                "give one, or one a channel, all above 0"
            )

    @property
    def width(self) -> int:
        """Values a row."""
        return self.features.count if self.features is not None else self.channels

    @property
    def window_samples(self) -> int:
        """Samples, after resampling, that one window covers."""
        return self._samples(self.window)

    def _samples(self, rows: int) -> int:
        f = self.features
        return rows if f is None else (rows - 1) * f.frame_step + f.frame_length

    @property
    def hop_samples(self) -> int:
        """Samples, after resampling, from one window to the next."""
        return self.hop if self.features is None else self.hop * self.features.frame_step

    def counts(self, samples: npt.NDArray[np.floating[Any]]) -> Counts:
        """(n, channels) in units to what the sensor would give: rounded half to even, saturated."""
        scaled = np.rint(np.asarray(samples, np.float64) * np.asarray(self.counts_per_unit))
        return np.asarray(np.clip(scaled, -32768, 32767), np.int16)

    def rows(self, counts: Counts) -> Counts:
        """(rows, width) of raw samples (n, channels), from the state after a reset."""
        if self.resampler is not None:
            counts = self.resampler.rows(counts)
        return counts if self.features is None else self.features.rows(np.ascontiguousarray(counts[:, 0]))

    def windows(self, counts: Counts) -> Counts:
        """(windows, window, width) of raw samples (n, channels): every `hop` rows one full window, no padding."""
        rows = self.rows(counts)
        if len(rows) < self.window:
            return np.empty((0, self.window, self.width), np.int16)
        view = np.lib.stride_tricks.sliding_window_view(rows, self.window, axis=0)[:: self.hop]
        found = np.ascontiguousarray(np.moveaxis(view, 1, 2))
        return detrended(found, self.detrend)

    def real(self, windows: Counts) -> npt.NDArray[np.float32]:
        """Counts in units: what a network is trained on, before mean and std."""
        if self.features is not None:
            return np.asarray(windows.astype(np.float64) * self.features.unit, np.float32)
        return np.asarray(windows.astype(np.float64) / np.asarray(self.counts_per_unit), np.float32)

    def back(self, values: npt.NDArray[np.float32]) -> Counts:
        """`real` undone, exactly: the counts that (n, window, width) values came from."""
        unit = np.asarray([self.features.unit]) if self.features is not None else 1 / np.asarray(self.counts_per_unit)
        return np.clip(np.rint(values.astype(np.float64) / unit), -32768, 32767).astype(np.int16)

    def samples(self, units: npt.NDArray[np.floating[Any]], input_shape: Sequence[int]) -> npt.NDArray[np.float32]:
        """Windows of a recording (n, channels) in units, as a network of `input_shape` (channels first) takes them."""
        return self.shaped(self.real(self.windows(self.counts(units))), input_shape)

    def check(self, input_shape: Sequence[int]) -> None:
        """Raise UserError where a network of `input_shape` (channels first) takes something else."""
        if int(np.prod(input_shape)) != self.window * self.width:
            raise UserError(
                f"the front end gives {self.window} rows of {self.width} values, the network takes "
                f"{'x'.join(map(str, input_shape))}; change window or features"
            )

    def shaped(self, windows: npt.NDArray[np.float32], input_shape: Sequence[int]) -> npt.NDArray[np.float32]:
        """(n, window, width) to (n, *input_shape): row by row is the order of the network's input, channels last."""
        self.check(input_shape)
        last = windows.reshape(len(windows), *input_shape[1:], input_shape[0])
        return np.ascontiguousarray(np.moveaxis(last, -1, 1))


def detrended(windows: Counts, kind: Detrend) -> Counts:
    """Each channel of each window without its mean, or without its straight line."""
    return windows if kind == "none" else detrend(windows, kind)
