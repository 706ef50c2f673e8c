"""Recordings on their way from a file to windows: one rate, one number of channels, one rule to cut."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from secateur.compiler.frontends.data_options import DataOptions
from secateur.errors import UserError
from secateur.models.data import CHUNK_BYTES
from secateur.models.front_end.chain import FrontEnd

Samples = npt.NDArray[np.float32]

SAME_RATE = 0.02
"""Rates that differ by less are one: clocks of two devices, a median of rounded timestamps."""


class Unreadable(Exception):
    """A file cannot be used; the message says why, without the file's name. It is listed, the others go on."""


@dataclass(frozen=True)
class Remark:
    """Something to know about a file. `text` has {files} and, where amounts are added up, {n}."""

    text: str
    n: int = 0


@dataclass(frozen=True)
class Piece:
    """A stretch of one file without gaps (length, channels), or an image (c, h, w). `rate_hz`: 0 where unknown."""

    samples: Samples
    rate_hz: float
    label: str
    group: str
    source: str
    remarks: tuple[Remark, ...] = ()


PADDED_SHARE = 4
"""A clip of at least a window divided by this is one window, the rest of it silence."""


def padded(piece: Piece, window: int) -> Piece:
    """A clip that is shorter than `window` samples, but not by much, with zeros at its end; others as they are."""
    length = len(piece.samples)
    if length >= window or PADDED_SHARE * length < window:
        return piece
    remark = Remark(f"{{files}} are shorter than one window of {window} samples: zeros were added at their end")
    longer = np.pad(piece.samples, ((0, window - length), (0, 0)))
    return replace(piece, samples=longer, remarks=(*piece.remarks, remark))


Cutter = Callable[[Piece], Iterator[Samples]]
"""A piece to windows (n, *input_shape), some at a time."""


def at_rate(samples: Samples, rate_hz: float, wanted_hz: float) -> Samples:
    """(n, channels) at another rate, by a polyphase filter with the rates' own ratio."""
    from scipy.signal import resample_poly

    ratio = Fraction(wanted_hz).limit_denominator(10**6) / Fraction(rate_hz).limit_denominator(10**6)
    ratio = ratio.limit_denominator(1000)
    if ratio <= 0:
        raise Unreadable(f"{rate_hz:g} Hz is too far from {wanted_hz:g} Hz to resample")
    return np.asarray(resample_poly(samples, ratio.numerator, ratio.denominator, axis=0), dtype=np.float32)


def resampled(piece: Piece, front_end: FrontEnd | None) -> Piece:
    """The piece at the front end's rate, with remarks where that changed it, and where int16 does not hold it."""
    if front_end is None:
        return piece
    piece = _clipped(piece, front_end)
    if piece.rate_hz == 0 or piece.rate_hz == front_end.rate_hz:
        return piece
    changed = at_rate(piece.samples, piece.rate_hz, front_end.rate_hz)
    remark = Remark(f"{{files}} were resampled from {piece.rate_hz:g} to {front_end.rate_hz:g} Hz")
    return Piece(changed, front_end.rate_hz, piece.label, piece.group, piece.source, (*piece.remarks, remark))


def _clipped(piece: Piece, front_end: FrontEnd) -> Piece:
    """With a remark on the values that the device would clip: `counts-per-unit` is of other units, mostly."""
    per_unit = np.asarray(front_end.counts_per_unit)
    if len(per_unit) not in (1, piece.samples.shape[1]):
        return piece
    beyond = int((np.abs(piece.samples * per_unit) > 32768.5).sum())
    if not beyond:
        return piece
    told = ", ".join(f"{c:g}" for c in dict.fromkeys(front_end.counts_per_unit))
    text = f"Values beyond int16 at counts-per-unit {told} are clipped, as on the device: {{n}}, in {{files}}"
    return replace(piece, remarks=(*piece.remarks, Remark(text, beyond)))


def cutter(
    name: str, input_shape: tuple[int, ...], options: DataOptions, front_end: FrontEnd | None
) -> tuple[Cutter, Callable[[int], int]]:
    """How recordings of this data become windows, and how many raw samples `n` windows of them take.

    Raises UserError where options and front end, or recording and network, do not go together.
    """
    if front_end is not None:
        asked = (("--window", options.window, front_end.window), ("--hop", options.hop, front_end.hop))
        for option, given, has in asked:
            if given is not None and given != has:
                raise UserError(f"{option} {given}: the front end has {has}; give it there, or leave it out here")
        chain = front_end

        def through(piece: Piece) -> Iterator[Samples]:
            if piece.samples.shape[1] != chain.channels:
                found = f"{piece.source} has {piece.samples.shape[1]} channels"
                raise UserError(f"{name}: {found}, the front end takes {chain.channels}")
            yield chain.samples(piece.samples, input_shape)

        return through, lambda n: _raw_samples(chain, n)

    def plainly(piece: Piece) -> Iterator[Samples]:
        window = plain_window(name, piece, input_shape)
        if options.window not in (None, window):
            raise UserError(
                f"--window {options.window}: the network takes {window} samples of {piece.samples.shape[1]} channels; "
                f"leave --window out"
            )
        yield from cut(piece.samples, window, options.hop or max(1, window // 2), input_shape)

    def length(n: int) -> int:
        window = options.window or max(input_shape)
        return window + (n - 1) * (options.hop or max(1, window // 2))

    return plainly, length


def _raw_samples(front_end: FrontEnd, n: int) -> int:
    count = front_end.window_samples + (n - 1) * front_end.hop_samples
    resampler = front_end.resampler
    return count if resampler is None else math.ceil(count * resampler.down / resampler.up)


def plain_window(name: str, piece: Piece, input_shape: tuple[int, ...]) -> int:
    """Samples in a window when nothing but samples goes into the network, one row of channels after the other.

    Raises UserError unless one axis of the network is time and another, or none, the recording's channels.
    """
    channels = int(piece.samples.shape[1])
    long = [size for size in input_shape if size != 1]
    rows = len(input_shape) > 1 and input_shape[0] == channels and sum(size != 1 for size in input_shape[1:]) <= 1
    rows = rows or (len(input_shape) == 3 and input_shape[0] == 1 and input_shape[-1] == channels)
    flat = len(long) <= 1 and int(np.prod(input_shape)) % channels == 0 and (channels == 1 or len(input_shape) == 1)
    if not (rows or flat):
        hint = "If it takes features, say with --preprocess how they are made"
        if channels > 1:
            hint = (
                "Name the columns that are no channels: --time-column, --group-column, --label-column, --skip-columns"
            )
        raise UserError(
            f"{name}: {piece.source} has {channels} channel{'s' * (channels != 1)}, the network takes "
            f"{'x'.join(map(str, input_shape))}: no window of samples has that shape. {hint}"
        )
    return math.prod(input_shape) // channels


def cut(samples: Samples, window: int, hop: int, input_shape: tuple[int, ...]) -> Iterator[Samples]:
    """Windows (n, *input_shape) of (length, channels): every `hop` samples a full one, no padding."""
    if len(samples) < window:
        return
    view = np.lib.stride_tricks.sliding_window_view(samples, window, axis=0)[::hop]
    step = max(1, CHUNK_BYTES // (4 * math.prod(input_shape)))
    for start in range(0, len(view), step):
        rows = np.moveaxis(view[start : start + step], 1, 2)  # (n, window, channels)
        last = np.ascontiguousarray(rows, dtype=np.float32).reshape(len(rows), *input_shape[1:], input_shape[0])
        yield np.ascontiguousarray(np.moveaxis(last, -1, 1))
