"""Average pooling: the mean of each window, channel by channel.

average_pool.md derives the equations. Axes: N examples; `...` one axis of places of a sequence, two
of an image (height, width), and so on, of the input's or the output's size; C channels.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from manual_nn.arrays import Array
from manual_nn.checks.arguments import as_bool
from manual_nn.checks.arrays import check_like
from manual_nn.layers.convolution import Geometry, Padding, places_of
from manual_nn.layers.max_pool import pool_geometry, within_x


class Kept(NamedTuple):
    """What the backward pass needs from the forward pass."""

    counts: Array  # (..., 1) or (1, ..., 1), by which the sum of each window is divided
    geometry: Geometry
    shape: tuple[int, ...]  # of out


def forward(
    params: tuple[()],
    x: Array,
    *,
    window: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: Padding = "valid",
    count_include_pad: bool = True,
) -> tuple[Array, Kept]:
    """Take the mean of each window; eq. (1), (2).

    out[n, t] = sum over the window's places w of x[n, stride t + w] / count, where x is padded with
    zeros.

    Args:
        params: there are none: ().
        x: (N, ..., C), float32 or float64.
        window: places of a window, one number or one for each axis.
        stride: steps of the input between windows, likewise; by default those of the window, so
            that windows lie side by side.
        padding: zeros around the input, as for a convolution, fewer than the window has places.
        count_include_pad: divide by the places of the window, and not by those within x alone.

    Returns:
        out, (N, ..., C), and what `backward` needs.

    Raises:
        TypeError: an argument has another type or dtype than these.
        ValueError: the shapes do not fit, or a window is larger than the padded input.

    >>> x = np.array([1.0, 3.0, 2.0, 6.0]).reshape(1, 4, 1)
    >>> out, kept = forward((), x, window=2)
    >>> out[0, :, 0]
    array([2., 4.])
    >>> backward((), kept, np.ones((1, 2, 1)))[1][0, :, 0]
    array([0.5, 0.5, 0.5, 0.5])
    """
    kept = counted(x, window, stride, padding, include_pad=count_include_pad)
    counts, geometry, shape = kept
    padded = np.pad(x, ((0, 0), *geometry.padding, (0, 0)))  # (N, ..., C)
    out = np.zeros(shape, x.dtype)  # (N, ..., C)
    for _, places in places_of(geometry):
        out += padded[places]
    out /= counts
    return out, kept


def backward(params: tuple[()], kept: Kept, d_out: Array) -> tuple[tuple[()], Array]:
    """Give each place of a window its part of the window's gradient; eq. (3).

    Args:
        params: there are none: ().
        kept: what `forward` has kept.
        d_out: (N, ..., C), the derivative of the loss with respect to out.

    Returns:
        (), and d_x, (N, ..., C).

    Raises:
        TypeError: d_out is not an array of the dtype of out.
        ValueError: d_out has another shape than out.
    """
    counts, geometry, shape = kept
    check_like(d_out, shape, counts.dtype, name="d_out", like="out")
    d_sum = d_out / counts  # (N, ..., C)
    d_padded = np.zeros((len(d_out), *geometry.padded, d_out.shape[-1]), counts.dtype)
    for _, places in places_of(geometry):
        d_padded[places] += d_sum
    return (), d_padded[:, *geometry.inside]  # (N, ..., C)


def counted(
    x: Array,
    window: int | Sequence[int],
    stride: int | Sequence[int] | None,
    padding: Padding,
    *,
    include_pad: bool,
) -> Kept:
    """Check what `forward` is given, and count the places of each window; eq. (1), (2)."""
    include_pad = as_bool(include_pad, name="count_include_pad")
    geometry = pool_geometry(x, window, stride, padding)
    counts = _counts(geometry, include_pad=include_pad).astype(x.dtype)  # (..., 1)
    return Kept(counts, geometry, (len(x), *geometry.size, x.shape[-1]))


def _counts(geometry: Geometry, *, include_pad: bool) -> Array:
    """Count the places of each window, or those within x alone; eq. (1), (2).

    The count of all places is one for all windows, (1, ..., 1), that of those within x (..., 1).
    """
    if include_pad:
        return np.full([1] * (len(geometry.size) + 1), math.prod(geometry.window), float)
    counts = np.zeros(geometry.size)
    for within in within_x(geometry):
        counts += within
    return counts[..., np.newaxis]
