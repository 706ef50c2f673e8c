"""A real FFT in 16 bits, bit for bit the one of TFLite Micro's audio front end (kissfft's fixed-point arithmetic).

A complex FFT of half the length by radix 4, the innermost stage by radix 2 where the length asks for it. Before each
stage values are divided by its radix, so the result is 1/length of the sum. Sums wrap at 16 bits.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int32]
Shorts = npt.NDArray[np.int16]


def stages(half: int) -> list[tuple[int, int]]:
    """(radix, length of the parts that it joins) of a complex FFT of `half` points, in the order of computation.

    >>> stages(256), stages(8)
    ([(4, 1), (4, 4), (4, 16), (4, 64)], [(2, 1), (4, 2)])
    """
    found, length = [], 1
    if half.bit_length() % 2 == 0:
        found, length = [(2, 1)], 2
    while length < half:
        found.append((4, length))
        length *= 4
    return found


@lru_cache(maxsize=8)
def twiddles(half: int) -> Shorts:
    """(half, 2): real and imaginary parts of exp(-2 pi i k / half) in Q15."""
    angle = -2 * np.pi * np.arange(half) / half
    return _q15(angle)


@lru_cache(maxsize=8)
def split_twiddles(half: int) -> Shorts:
    """(half / 2, 2): of exp(-pi i (k / half + 1/2)), k from 1, for even and odd samples' spectra put together."""
    return _q15(-np.pi * (np.arange(1, half // 2 + 1) / half + 0.5))


def _q15(angle: npt.NDArray[np.float64]) -> Shorts:
    both = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.asarray(np.floor(0.5 + 32767 * both), np.int16)


def _wrap(x: Ints) -> Ints:
    return x.astype(np.int16).astype(np.int32)


def _scaled(x: Ints, by: int) -> Ints:
    return (x * (32767 // by) + (1 << 14)) >> 15


def _times(re: Ints, im: Ints, w: Shorts) -> tuple[Ints, Ints]:
    """Complex product with w (k, 2) along the axis before the last, rounded half up, wrapped."""
    c, s = w[:, :1].astype(np.int32), w[:, 1:].astype(np.int32)
    return _wrap((re * c - im * s + (1 << 14)) >> 15), _wrap((re * s + im * c + (1 << 14)) >> 15)


def real_fft(x: Shorts) -> tuple[Ints, Ints]:
    """Real and imaginary parts (length / 2 + 1, n) of n signals (length, n); length is a power of 2, at least 8."""
    half = len(x) // 2
    re, im = _complex_fft(x[0::2].astype(np.int32), x[1::2].astype(np.int32))
    out_re, out_im = np.zeros((half + 1, x.shape[1]), np.int32), np.zeros((half + 1, x.shape[1]), np.int32)
    re, im = _scaled(re, 2), _scaled(im, 2)
    out_re[0], out_re[half] = _wrap(re[0] + im[0]), _wrap(re[0] - im[0])
    k = np.arange(1, half // 2 + 1)
    even_re, even_im = _wrap(re[k] + re[half - k]), _wrap(im[k] - im[half - k])
    odd_re, odd_im = _wrap(re[k] - re[half - k]), _wrap(im[k] + im[half - k])
    odd_re, odd_im = _times(odd_re, odd_im, split_twiddles(half))
    out_re[k], out_im[k] = (even_re + odd_re) >> 1, (even_im + odd_im) >> 1
    # At the middle k and half - k are one: this is the one that stays.
    out_re[half - k], out_im[half - k] = (even_re - odd_re) >> 1, (odd_im - even_im) >> 1
    return out_re, out_im


def _complex_fft(re: Ints, im: Ints) -> tuple[Ints, Ints]:
    half, n = re.shape
    order = digit_reversed(half)
    re, im, w = re[order], im[order], twiddles(half)
    for radix, length in stages(half):
        groups = half // (radix * length)
        shape = (groups, radix, length, n)
        a, b = _scaled(re, radix).reshape(shape), _scaled(im, radix).reshape(shape)
        at = np.arange(length) * groups
        parts = [(a[:, 0], b[:, 0])] + [_times(a[:, j], b[:, j], w[j * at]) for j in range(1, radix)]
        re, im = np.empty(shape, np.int32), np.empty(shape, np.int32)
        if radix == 2:
            (r0, i0), (r1, i1) = parts
            re[:, 0], im[:, 0], re[:, 1], im[:, 1] = r0 + r1, i0 + i1, r0 - r1, i0 - i1
        else:
            (r0, i0), (r1, i1), (r2, i2), (r3, i3) = parts
            re[:, 0], im[:, 0] = r0 + r2 + r1 + r3, i0 + i2 + i1 + i3
            re[:, 1], im[:, 1] = r0 - r2 + i1 - i3, i0 - i2 - r1 + r3
            re[:, 2], im[:, 2] = r0 + r2 - r1 - r3, i0 + i2 - i1 - i3
            re[:, 3], im[:, 3] = r0 - r2 - i1 + i3, i0 - i2 + r1 - r3
        re, im = _wrap(re).reshape(half, n), _wrap(im).reshape(half, n)
    return re, im


@lru_cache(maxsize=8)
def digit_reversed(half: int) -> npt.NDArray[np.int64]:
    """Which input stands at each place before the first stage."""
    radices = [radix for radix, _ in stages(half)]
    return np.arange(half).reshape(radices).transpose().ravel()
