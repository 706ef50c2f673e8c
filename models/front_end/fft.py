"""The power spectrum of real frames in 32-bit fixed point, and square roots and logarithms by table."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

Wide = npt.NDArray[np.int64]
Unsigned = npt.NDArray[np.uint64]

SHORTEST, LONGEST = 16, 4096


@cache
def twiddles(length: int) -> Wide:
    """cos(2 pi k / length) for k = 0..length - 1 in Q31, within +-(2^31 - 1)."""
    turn = np.cos(2 * np.pi * np.arange(length) / length)
    return np.asarray(np.clip(np.rint(turn * 2**31), -(2**31) + 1, 2**31 - 1), np.int64)


@cache
def _order(half: int) -> npt.NDArray[np.intp]:
    """Indices with their bits reversed."""
    order = np.zeros(1, np.intp)
    while len(order) < half:
        order = np.concatenate([2 * order, 2 * order + 1])
    return order


def _turned(re: Wide, im: Wide, cos: Wide, sin: Wide) -> tuple[Wide, Wide]:
    """Half of (re + i im) (cos - i sin), rounded down: the high words of the products."""
    return (re * cos + im * sin) >> 32, (im * cos - re * sin) >> 32


def power_spectrum(frames: Wide) -> Unsigned:
    """|X_k|^2 of frames (n, length), |values| <= 2^30, for k = 0..length / 2 - 1; index 0 is left at 0.

    X_k is the sum over t of x_t exp(-2 pi i k t / length), divided by length, so that nothing overflows; re and im are
    rounded. Even samples are taken as real, odd ones as imaginary parts of a complex FFT of half the length, radix 4
    after bit reversal; where that length is no power of four, the first stage is radix 2.
    """
    count, length = frames.shape
    half = length // 2
    cosine = twiddles(length)
    re, im = (frames[:, part::2][:, _order(half)] for part in (0, 1))

    def stage(a: Wide) -> Wide:
        """Blocks (n, groups, parts, size) of the current stage."""
        return a.reshape(count, -1, parts, size)

    size, parts = (1, 4) if half.bit_length() % 2 else (1, 2)
    r, i = stage(re), stage(im)
    if parts == 2:
        re = np.stack([r[:, :, 0] + r[:, :, 1], r[:, :, 0] - r[:, :, 1]], 2)
        im = np.stack([i[:, :, 0] + i[:, :, 1], i[:, :, 0] - i[:, :, 1]], 2)
    else:
        re, im = _butterfly([(r[:, :, p] >> 1, i[:, :, p] >> 1) for p in (0, 2, 1, 3)])
    re, im = (re + 2) >> 2, (im + 2) >> 2
    size *= parts
    parts = 4
    while size < half:
        r, i = stage(re), stage(im)
        k = np.arange(size) * (length // (4 * size))
        terms = [(r[:, :, 0] >> 1, i[:, :, 0] >> 1)]
        for turn, p in ((1, 2), (2, 1), (3, 3)):
            # -sin is the cosine a quarter of a turn on
            terms.append(_turned(r[:, :, p], i[:, :, p], cosine[turn * k], -cosine[turn * k + length // 4]))
        re, im = _butterfly(terms)
        re, im = (re + 1) >> 1, (im + 1) >> 1
        size *= 4
    return _split(re.reshape(count, half), im.reshape(count, half), cosine)


def _butterfly(terms: list[tuple[Wide, Wide]]) -> tuple[Wide, Wide]:
    """A DFT of four."""
    (ar, ai), (br, bi), (cr, ci), (dr, di) = terms
    evens, odds = (ar + cr, ar - cr, ai + ci, ai - ci), (br + dr, br - dr, bi + di, bi - di)
    re = [evens[0] + odds[0], evens[1] + odds[3], evens[0] - odds[0], evens[1] - odds[3]]
    im = [evens[2] + odds[2], evens[3] - odds[1], evens[2] - odds[2], evens[3] + odds[1]]
    return np.stack(re, 2), np.stack(im, 2)


def _split(re: Wide, im: Wide, cosine: Wide) -> Unsigned:
    """The half-length spectrum, of even samples + i odd ones, to that of the real frame, squared."""
    half = re.shape[1]
    k = np.arange(1, half // 2)
    power = np.zeros(re.shape, np.uint64)
    even_re, even_im = (re[:, k] + re[:, half - k]) >> 1, (im[:, k] - im[:, half - k]) >> 1
    turned_re, turned_im = _turned(
        re[:, k] - re[:, half - k], im[:, k] + im[:, half - k], cosine[k], -cosine[k + half // 2]
    )
    for at, r, i in (
        (k, even_re + turned_im, even_im - turned_re),
        (half - k, even_re - turned_im, even_im + turned_re),
        (half // 2, re[:, half // 2], im[:, half // 2]),
    ):
        power[:, at] = (r * r + i * i).astype(np.uint64)
    return power


def bits(values: Unsigned) -> Wide:
    """The number of bits of each value, 0 for 0."""
    high = values >> np.uint64(32)
    # 32 bits are exact in float64, where 64 would round up to the next power of two
    upper, lower = (np.frexp(v.astype(np.float64))[1] for v in (high, values & np.uint64(0xFFFFFFFF)))
    return np.where(high > 0, upper + 32, lower).astype(np.int64)


def _moved(values: Unsigned, left: Wide) -> Wide:
    """values << left, or >> -left: 32 bits remain."""
    up, down = np.maximum(left, 0).astype(np.uint64), np.maximum(-left, 0).astype(np.uint64)
    return ((values >> down) << up).astype(np.int64)


ROOTS = np.minimum(np.rint(np.sqrt(np.arange(32, 129) * 2.0**25)), 65535).astype(np.int64)
"""sqrt(i * 2^25), i = 32..128"""

LOGARITHMS = np.rint(np.log2(1 + np.arange(65) / 64) * 2**15).astype(np.int64)
"""log2(1 + i / 64) in Q15, i = 0..64"""


def root(values: Unsigned) -> Wide:
    """sqrt of values below 2^62, from a table with straight lines between: within 5e-5, then rounded down."""
    pairs = (bits(values) + 1) // 2
    mantissa = _moved(values, 32 - 2 * pairs)
    at = np.maximum(mantissa >> 25, 32) - 32  # the lower end is for 0, which is shifted out below
    line = (ROOTS[at] << 16) + (ROOTS[at + 1] - ROOTS[at]) * ((mantissa >> 9) & 0xFFFF)
    return np.asarray(line >> (32 - pairs), np.int64)


def log2_q15(values: Unsigned) -> Wide:
    """log2 in Q15 of values from 1 to 2^64 - 1, within 6e-5; of 0 that of 1/2 (-32768), for the caller to replace."""
    count = bits(values)
    mantissa = _moved(values, 32 - count)
    at = (mantissa >> 25) & 63
    line = (LOGARITHMS[at] << 16) + (LOGARITHMS[at + 1] - LOGARITHMS[at]) * ((mantissa >> 9) & 0xFFFF)
    return np.asarray(((count - 1) << 15) + ((line + (1 << 15)) >> 16), np.int64)
