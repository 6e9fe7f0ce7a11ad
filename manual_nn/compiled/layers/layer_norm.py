"""Layer normalisation, in which each row stays in the processor's cache until it is done.

Axes: `...` any number of axes of rows, R of them in all, D features.
"""

import math

import numpy as np

from manual_nn.arrays import Array
from manual_nn.checks.arrays import check_like, check_params
from manual_nn.compiled.arrays import in_order
from manual_nn.compiled.compiler import compiled
from manual_nn.compiled.copies import copy
from manual_nn.compiled.reductions import (
    BLOCK,
    sum_of,
    sum_of_products,
    sum_of_squares,
    sum_of_triple_products,
)
from manual_nn.layers.layer_norm import Kept, LayerNorm, checked, init

__all__ = ["Kept", "LayerNorm", "backward", "forward", "init"]


def forward(params: LayerNorm, x: Array, *, eps: float = 1e-5) -> tuple[Array, Kept]:
    """Normalise each row to mean 0 and variance 1, weight and shift it; layer_norm.md (1), (2).

    >>> x = np.array([[1.0, 3.0]])
    >>> out, kept = forward(LayerNorm(np.array([1.0, 1.0]), np.array([0.0, 0.5])), x, eps=0.5625)
    >>> out  # mean 2, variance 1
    array([[-0.8,  1.3]])
    """
    eps = checked(params, x, eps)
    weight, bias = map(in_order, params)
    rows = in_order(x).reshape(-1, x.shape[-1])  # (R, D)
    deviation, normal, out = np.empty(len(rows), x.dtype), np.empty_like(rows), np.empty_like(rows)
    _normalise(rows, weight, bias, eps, deviation, normal, out)
    kept = Kept(normal.reshape(x.shape), deviation.reshape(*x.shape[:-1], 1))
    return out.reshape(x.shape), kept


def backward(params: LayerNorm, kept: Kept, d_out: Array) -> tuple[LayerNorm, Array]:
    """Take from each row what the mean and the variance give back; layer_norm.md (3) to (5)."""
    normal, deviation = kept
    check_like(d_out, normal.shape, normal.dtype, name="d_out", like="out")
    check_params(params, LayerNorm, [normal.shape[-1:]] * 2, normal.dtype)
    weight = in_order(params[0])
    rows = normal.reshape(-1, len(weight))  # (R, D)
    d_weight, d_bias, d_x = np.empty_like(weight), np.empty_like(weight), np.empty_like(rows)
    d_rows = in_order(d_out).reshape(rows.shape)
    _normalise_backward(weight, deviation.reshape(-1), rows, d_rows, d_weight, d_bias, d_x)
    return LayerNorm(d_weight, d_bias), d_x.reshape(normal.shape)


@compiled
def _normalise(
    x: Array, weight: Array, bias: Array, eps: float, deviation: Array, normal: Array, out: Array
) -> None:
    R, D = x.shape
    for r in range(R):
        mean = x.dtype.type(sum_of(x[r]) / D)  # (1)
        s = x.dtype.type(math.sqrt(sum_of_squares(x[r], mean) / D + eps))  # (1)
        deviation[r] = s
        for j in range(D):
            n = (x[r, j] - mean) / s  # (1)
            normal[r, j] = n
            out[r, j] = weight[j] * n + bias[j]  # (2)


@compiled
def _normalise_backward(
    weight: Array,
    deviation: Array,
    normal: Array,
    d_out: Array,
    d_weight: Array,
    d_bias: Array,
    d_x: Array,
) -> None:
    R, D = normal.shape
    total_d_weight, total_d_bias = np.zeros(D, np.float64), np.zeros(D, np.float64)
    for start in range(0, R, BLOCK):
        d_weight[:] = 0
        d_bias[:] = 0
        for r in range(start, min(start + BLOCK, R)):
            for j in range(D):
                d_weight[j] += d_out[r, j] * normal[r, j]  # (3)
                d_bias[j] += d_out[r, j]  # (4)
            s = deviation[r]
            along = deviation.dtype.type(sum_of_triple_products(d_out[r], weight, normal[r]) / D)
            # The mean of d_normal - along normal, of which that of normal is 0 but for rounding.
            mean = sum_of_products(d_out[r], weight) / D - along * (sum_of(normal[r]) / D)
            mean_of_all = deviation.dtype.type(mean)
            for j in range(D):
                d_normal = d_out[r, j] * weight[j]
                d_x[r, j] = ((d_normal - normal[r, j] * along) - mean_of_all) / s  # (5)
        total_d_weight += d_weight
        total_d_bias += d_bias
    copy(total_d_weight, d_weight)
    copy(total_d_bias, d_bias)
