"""Group normalisation, in which all channels of a row are computed at once.

What is kept is x itself: n = (x - mean) / deviation is computed anew where it is needed, and the
division by the deviation, which is the same for all places, comes after the sums over them. Axes: N
examples, `...` any number of axes of places, of which there are P in all, C channels, in G groups
of C / G each.
"""

import math
from typing import NamedTuple

import numpy as np

from manual_nn.arrays import Array
from manual_nn.checks.arrays import check_like, check_params
from manual_nn.compiled.arrays import in_order
from manual_nn.compiled.compiler import compiled
from manual_nn.compiled.copies import copy
from manual_nn.compiled.layers.batch_norm import sums_backward
from manual_nn.compiled.reductions import sum_of_rows, sum_of_rows_squared
from manual_nn.layers.group_norm import GroupNorm, checked, init

__all__ = ["GroupNorm", "Kept", "backward", "forward", "init"]


class Kept(NamedTuple):
    """What the backward pass needs from the forward pass."""

    x: Array  # (N, ..., C)
    mean: Array  # (N, 1, G, 1)
    deviation: Array  # (N, 1, G, 1)


def forward(params: GroupNorm, x: Array, *, groups: int, eps: float = 1e-5) -> tuple[Array, Kept]:
    """Normalise each group of each example to mean 0 and variance 1; group_norm.md (1), (2).

    >>> x = np.array([[1.0, 3.0, 0.0, 20.0]])
    >>> out, kept = forward(GroupNorm(np.ones(4), np.zeros(4)), x, groups=2)
    >>> out.round(3)
    array([[-1.,  1., -1.,  1.]])
    """
    eps = checked(params, x, groups, eps)
    weight, bias = map(in_order, params)
    rows = in_order(x).reshape(len(x), -1, x.shape[-1])  # (N, P, C)
    mean, deviation = (np.empty((len(x), 1, groups, 1), x.dtype) for _ in range(2))
    out = np.empty_like(rows)
    _normalise(rows, weight, bias, eps, mean[:, 0, :, 0], deviation[:, 0, :, 0], out)
    return out.reshape(x.shape), Kept(x, mean, deviation)


def backward(params: GroupNorm, kept: Kept, d_out: Array) -> tuple[GroupNorm, Array]:
    """Take from each group what its mean and variance give back; group_norm.md (3) to (5)."""
    x, mean, deviation = kept
    check_like(d_out, x.shape, x.dtype, name="d_out", like="out")
    check_params(params, GroupNorm, [x.shape[-1:]] * 2, x.dtype)
    weight = in_order(params[0])
    rows, d_rows = (in_order(part).reshape(len(x), -1, len(weight)) for part in (x, d_out))
    d_weight, d_bias, d_x = np.empty_like(weight), np.empty_like(weight), np.empty_like(rows)
    moments = mean[:, 0, :, 0], deviation[:, 0, :, 0]
    _normalise_backward(weight, *moments, rows, d_rows, d_weight, d_bias, d_x)
    return GroupNorm(d_weight, d_bias), d_x.reshape(x.shape)


@compiled
def _normalise(
    x: Array, weight: Array, bias: Array, eps: float, mean: Array, deviation: Array, out: Array
) -> None:
    N, P, C = x.shape
    G = mean.shape[1]
    centre, variance, scale = np.empty_like(weight), np.empty_like(weight), np.empty_like(weight)
    for n in range(N):
        _mean_of_groups(sum_of_rows(x[n]), P, G, centre)  # (1)
        _mean_of_groups(sum_of_rows_squared(x[n], centre), P, G, variance)  # (1)
        for c in range(C):
            s = math.sqrt(variance[c] + eps)  # (1)
            mean[n, c // (C // G)] = centre[c]
            deviation[n, c // (C // G)] = s
            scale[c] = weight[c] / s
        for p in range(P):
            for c in range(C):
                out[n, p, c] = scale[c] * (x[n, p, c] - centre[c]) + bias[c]  # (2)


@compiled
def _normalise_backward(
    weight: Array,
    mean: Array,
    deviation: Array,
    x: Array,
    d_out: Array,
    d_weight: Array,
    d_bias: Array,
    d_x: Array,
) -> None:
    N, P, C = x.shape
    G = mean.shape[1]
    total_d_weight, total_d_bias = np.zeros(C), np.zeros(C)
    centre, s, scale = np.empty_like(weight), np.empty_like(weight), np.empty_like(weight)
    along, rest = np.empty_like(weight), np.empty_like(weight)
    for n in range(N):
        for c in range(C):
            centre[c], s[c] = mean[n, c // (C // G)], deviation[n, c // (C // G)]
            scale[c] = weight[c] / s[c]
        of_both, of_d_out, of_centred = sums_backward(x[n], centre, d_out[n])
        of_both /= s  # now of d_out normal
        total_d_weight += of_both
        total_d_bias += of_d_out
        _mean_of_groups(weight * of_both, P, G, along)  # of d_normal normal
        along /= s * s
        _mean_of_groups(scale * of_d_out - along * of_centred, P, G, rest)  # of what that leaves
        for p in range(P):
            for c in range(C):
                centred = x[n, p, c] - centre[c]
                d_x[n, p, c] = (scale[c] * d_out[n, p, c] - along[c] * centred) - rest[c]  # (5)
    copy(total_d_weight, d_weight)  # (3)
    copy(total_d_bias, d_bias)  # (4)


@compiled
def _mean_of_groups(of_channels: Array, P: int, G: int, mean: Array) -> None:
    """Give each channel the mean of its group, made of the channels' sums over P places; (1)."""
    width = len(mean) // G
    for g in range(G):
        total = 0.0
        for c in range(g * width, (g + 1) * width):
            total += of_channels[c]
        mean[g * width : (g + 1) * width] = total / (P * width)
