"""Batch normalisation, in which all channels of a row are computed at once.

Axes: N examples, `...` any number of axes of places, R rows, of examples times places, C channels.
"""

import numpy as np

from manual_nn.arrays import Array
from manual_nn.checks.arrays import check_like, check_params
from manual_nn.compiled.arrays import in_order
from manual_nn.compiled.compiler import compiled
from manual_nn.compiled.copies import copy
from manual_nn.compiled.reductions import BLOCK, sum_of_rows, sum_of_rows_squared
from manual_nn.layers.batch_norm import BatchNorm, Kept, Moments, checked, init, updated

__all__ = ["BatchNorm", "Kept", "Moments", "backward", "forward", "init", "updated"]


def forward(
    params: BatchNorm, x: Array, *, running: Moments | None = None, eps: float = 1e-5
) -> tuple[Array, Kept]:
    """Normalise each channel, then weight and shift it; batch_norm.md (1), (2), (3).

    >>> x = np.array([[1.0], [3.0]])
    >>> out, kept = forward(BatchNorm(np.array([1.0]), np.array([0.5])), x, eps=0.5625)
    >>> out  # mean 2, variance 1
    array([[-0.3],
           [ 1.3]])
    """
    eps = checked(params, x, running, eps)
    weight, bias = map(in_order, params)
    rows = in_order(x).reshape(-1, x.shape[-1])  # (R, C)
    moments = Moments(*(_moments(rows) if running is None else running))
    mean, deviation = in_order(moments.mean), np.sqrt(moments.variance + eps)  # (C,)
    normal, out = np.empty_like(rows), np.empty_like(rows)  # (R, C)
    normalise(rows, mean, deviation, weight, bias, normal, out)
    kept = Kept(normal.reshape(x.shape), moments, eps, training=running is None)
    return out.reshape(x.shape), kept


def backward(params: BatchNorm, kept: Kept, d_out: Array) -> tuple[BatchNorm, Array]:
    """Take from each row what the moments give back, in training; batch_norm.md (4) to (7)."""
    normal = kept.normal
    check_like(d_out, normal.shape, normal.dtype, name="d_out", like="out")
    check_params(params, BatchNorm, [normal.shape[-1:]] * 2, normal.dtype)
    weight, _ = params
    scale = weight / np.sqrt(kept.moments.variance + kept.eps)  # (C,)
    rows = normal.reshape(-1, len(weight))  # (R, C)
    d_weight, d_bias, d_x = np.empty_like(scale), np.empty_like(scale), np.empty_like(rows)
    d_rows = in_order(d_out).reshape(rows.shape)
    _normalise_backward(scale, rows, d_rows, kept.training, d_weight, d_bias, d_x)
    return BatchNorm(d_weight, d_bias), d_x.reshape(normal.shape)


@compiled
def _moments(x: Array) -> tuple[Array, Array]:
    R, C = x.shape
    mean, variance = np.empty(C, x.dtype), np.empty(C, x.dtype)
    copy(sum_of_rows(x) / R, mean)  # (1)
    copy(sum_of_rows_squared(x, mean) / R, variance)  # (1)
    return mean, variance


@compiled
def normalise(
    x: Array, mean: Array, deviation: Array, weight: Array, bias: Array, normal: Array, out: Array
) -> None:
    """Normalise, weight and shift the columns of x, (R, C), each by numbers of its own, (C,)."""
    R, C = x.shape
    for r in range(R):
        for c in range(C):
            normal[r, c] = (x[r, c] - mean[c]) / deviation[c]  # (2)
        for c in range(C):
            out[r, c] = weight[c] * normal[r, c] + bias[c]  # (2)


@compiled
def sums_backward(x: Array, centre: Array, d_out: Array) -> tuple[Array, Array, Array]:
    """Add up d_out (x - centre), d_out and x - centre over rows, (R, C), each in float64, (C,).

    They go together through blocks of rows, which the processor's cache holds.
    """
    R, C = x.shape
    of_both, of_d_out, of_centred = np.zeros(C), np.zeros(C), np.zeros(C)
    parts = np.empty((3, C), x.dtype)
    for start in range(0, R, BLOCK):
        parts[:] = 0
        for r in range(start, min(start + BLOCK, R)):
            for c in range(C):
                parts[0, c] += d_out[r, c] * (x[r, c] - centre[c])
            for c in range(C):
                parts[1, c] += d_out[r, c]
            for c in range(C):
                parts[2, c] += x[r, c] - centre[c]
        of_both += parts[0]
        of_d_out += parts[1]
        of_centred += parts[2]
    return of_both, of_d_out, of_centred


@compiled
def _normalise_backward(
    scale: Array,
    normal: Array,
    d_out: Array,
    training: bool,  # noqa: FBT001, Numba passes by position
    d_weight: Array,
    d_bias: Array,
    d_x: Array,
) -> None:
    R, C = normal.shape
    along, total, of_normal = sums_backward(normal, np.zeros_like(scale), d_out)
    copy(along, d_weight)  # (4)
    copy(total, d_bias)  # (5)
    if not training:
        for r in range(R):
            for c in range(C):
                d_x[r, c] = scale[c] * d_out[r, c]  # (7)
        return
    part, mean = np.empty_like(d_weight), np.empty_like(d_weight)
    for c in range(C):
        part[c] = d_weight[c] / R
        mean[c] = (total[c] - part[c] * of_normal[c]) / R  # of d_out - part normal
    for r in range(R):
        for c in range(C):
            d_x[r, c] = scale[c] * ((d_out[r, c] - normal[r, c] * part[c]) - mean[c])  # (6)
