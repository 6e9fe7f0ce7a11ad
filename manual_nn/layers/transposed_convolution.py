"""Transposed convolution: each place of the input lays the window down, times what it holds.

transposed_convolution.md derives the equations. Axes: N examples; `...` one axis of a sequence, two
of an image, and so on, of the input's or the output's size; `w...` the same axes of a window; C
channels in, K channels out, in G groups of c and k of them; P places of all inputs.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.checks.arguments import as_count
from manual_nn.checks.arrays import check_like
from manual_nn.layers import convolution
from manual_nn.layers.convolution import (
    Geometry,
    Padding,
    by_group,
    geometry_of,
    joined,
    per_axis,
    places_of,
    rows_by_group,
    window_and_groups,
)
from manual_nn.sums import sum_rows


class TransposedConvolution(NamedTuple):
    """What is laid down for each channel in, and the offset of each channel out."""

    weight: Array  # (w..., c, K)
    bias: Array  # (K,)


class Kept(NamedTuple):
    """What the backward pass needs from the forward pass."""

    x: Array  # (N, ..., C)
    geometry: Geometry  # of the convolution whose input is out and whose output is x
    groups: int


def forward(
    params: TransposedConvolution,
    x: Array,
    *,
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
    padding: Padding = "valid",
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
) -> tuple[Array, Kept]:
    """Add up the windows that all places lay down, and cut the padding off; eq. (1), (2), (6).

    out[n, stride t + dilation w] = bias + the sum over such t and w of x[n, t] weight[w]. To x it
    does what a convolution with these options does to its d_out.

    Args:
        params: weight, (w..., C / groups, K), and bias, (K,).
        x: (N, ..., C), float32 or float64 as are the parameters.
        stride: steps of the output between windows, one number or one for each axis.
        dilation: steps of the output between places of a window, likewise.
        padding: how much of the output is cut off before and after, a pair for each axis; or
            "valid", nothing, or "same", as much as makes its size that of x times the stride.
        output_padding: places that are added after the last of the output, one number or one for
            each axis, below the stride, in which there may be no window; with "same" it must be 0.
        groups: into how many parts the channels are divided, those in and those out alike: what a
            channel lays down is on the channels of its own part.

    Returns:
        out, (N, ..., K), and what `backward` needs.

    Raises:
        TypeError: an argument has another type or dtype than these.
        ValueError: the shapes do not fit, or nothing is left of the output.

    Source: Dumoulin and Visin, A Guide to Convolution Arithmetic for Deep Learning, 2016,
    arXiv:1603.07285.

    >>> twice = TransposedConvolution(np.array([1.0, 10.0]).reshape(2, 1, 1), np.zeros(1))
    >>> out, kept = forward(twice, np.array([1.0, 2.0]).reshape(1, 2, 1), stride=2)
    >>> out[0, :, 0]
    array([ 1., 10.,  2., 20.])
    """
    kept = checked(
        params,
        x,
        stride=stride,
        dilation=dilation,
        padding=padding,
        output_padding=output_padding,
        groups=groups,
    )
    x, geometry, groups = kept
    K = len(params.bias)
    padded = np.zeros((groups, len(x), *geometry.padded, K // groups), x.dtype)  # (G, N, ..., k)
    of_groups = by_group(x, groups)  # (G, N, ..., c)
    for w, places in places_of(geometry):
        weight = by_group(params.weight[w], groups)  # (G, c, k)
        weight = np.expand_dims(weight, tuple(range(1, x.ndim - 1)))  # (G, 1..., c, k)
        padded[:, *places] += np.matmul(of_groups, weight)
    return joined(padded[:, :, *geometry.inside]) + params.bias, kept


def backward(
    params: TransposedConvolution, kept: Kept, d_out: Array
) -> tuple[TransposedConvolution, Array]:
    """Convolve d_out, which is what the forward pass was the transpose of; eq. (3), (4), (5).

    Args:
        params: as in `forward`.
        kept: what `forward` has kept.
        d_out: (N, ..., K), the derivative of the loss with respect to out.

    Returns:
        d_params, shaped like params, and d_x, (N, ..., C).

    Raises:
        TypeError: d_out is not an array of the dtype of out.
        ValueError: d_out has another shape than out.
    """
    (weight, bias), (x, geometry, G) = params, kept
    K = len(bias)
    check_like(d_out, (len(x), *geometry.unpadded, K), x.dtype, name="d_out", like="out")
    d_padded = np.pad(d_out, ((0, 0), *geometry.padding, (0, 0)))  # (N, ..., K)
    x_rows = rows_by_group(x, G)  # (G, P, c)
    d_weight = np.empty(weight.shape, weight.dtype)  # (w..., c, K)
    d_x = np.zeros(x.shape, x.dtype)  # (N, ..., C)
    for w, places in places_of(geometry):
        d_rows = rows_by_group(d_padded[places], G)  # (G, P, k)
        d_weight[w] = joined(np.matmul(x_rows.swapaxes(1, 2), d_rows))  # (c, K)
        below = np.matmul(d_rows, by_group(weight[w], G).swapaxes(1, 2))  # (G, P, c)
        d_x += joined(below).reshape(x.shape)
    return TransposedConvolution(d_weight, sum_rows(d_out.reshape(-1, K))), d_x


def init(
    window: Sequence[int],
    C: int,
    K: int,
    *,
    groups: int = 1,
    rng: "np.random.Generator",
    dtype: npt.DTypeLike = np.float64,
) -> TransposedConvolution:
    """Draw the weight of eq. (1), (6) as that of a convolution is drawn, and set the bias to 0.

    Raises:
        TypeError: a size is not a whole number, the dtype is neither float32 nor float64, or rng is
            not a generator.
        ValueError: a size is below 1, or groups does not divide the channels.
    """
    return TransposedConvolution(
        *convolution.init(window, C, K, groups=groups, rng=rng, dtype=dtype)
    )


def checked(
    params: TransposedConvolution,
    x: Array,
    *,
    stride: int | Sequence[int],
    dilation: int | Sequence[int],
    padding: Padding,
    output_padding: int | Sequence[int],
    groups: int,
) -> Kept:
    """Check what `forward` is given, and find where the windows lie; eq. (1), (2), (6)."""
    window, groups = window_and_groups(params, TransposedConvolution, x, groups)
    steps, apart = per_axis(stride, "stride", window), per_axis(dilation, "dilation", window)
    size = _output_size(
        x.shape[1:-1], window, steps, apart, padding=padding, output_padding=output_padding
    )
    geometry = geometry_of(size, window, steps, apart, padding, name="params.weight")
    return Kept(x, geometry, groups)


def _output_size(
    size: tuple[int, ...],
    window: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    *,
    padding: Padding,
    output_padding: int | Sequence[int],
) -> tuple[int, ...]:
    """Compute stride (T - 1) + extent - padding + output_padding in each axis; eq. (2)."""
    added = output_padding if isinstance(output_padding, Sequence) else [output_padding] * len(size)
    if len(added) != len(size):
        msg = f"output_padding must have {len(size)} numbers, one an axis, got {output_padding!r}"
        raise ValueError(msg)
    for more, step in zip(added, stride, strict=True):
        if as_count(more, name="output_padding", minimum=0) >= step:
            raise ValueError(f"output_padding must be below the stride, {step}, got {more}")
    if isinstance(padding, str) and padding == "same":
        if any(added):
            raise ValueError(f'output_padding must be 0 with "same", got {output_padding!r}')
        return tuple(step * n for step, n in zip(stride, size, strict=True))
    whole = tuple(
        step * (n - 1) + gap * (m - 1) + 1
        for n, m, step, gap in zip(size, window, stride, dilation, strict=True)
    )
    pairs = geometry_of(whole, window, stride, dilation, padding, name="params.weight").padding
    left = tuple(n - sum(pair) + more for n, pair, more in zip(whole, pairs, added, strict=True))
    if min(left) < 1:
        raise ValueError(f"padding must leave something of the output, {whole}, got {padding!r}")
    return left
