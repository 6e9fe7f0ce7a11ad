"""RMS normalisation, in which each row stays in the processor's cache until it is done.

Axes: `...` any number of axes of rows, R of them in all, D features.
"""

import math

import numpy as np

from manual_nn.arrays import Array
from manual_nn.checks.arrays import check_like, check_params
from manual_nn.compiled.arrays import in_order
from manual_nn.compiled.compiler import compiled
from manual_nn.compiled.copies import copy
from manual_nn.compiled.reductions import BLOCK, sum_of_squares, sum_of_triple_products
from manual_nn.layers.rms_norm import Kept, RMSNorm, checked, init

__all__ = ["Kept", "RMSNorm", "backward", "forward", "init"]


def forward(params: RMSNorm, x: Array, *, eps: float = 1e-6) -> tuple[Array, Kept]:
    """Divide each row by the root of its mean square, and weight it; rms_norm.md (1), (2).

    >>> out, kept = forward(RMSNorm(np.array([1.0, 2.0])), np.array([[1.0, 7.0]]), eps=11.0)
    >>> out  # the mean square is 25, and 6 the root
    array([[0.16666667, 2.33333333]])
    """
    eps = checked(params, x, eps)
    rows = in_order(x).reshape(-1, x.shape[-1])  # (R, D)
    rms, normal, out = np.empty(len(rows), x.dtype), np.empty_like(rows), np.empty_like(rows)
    _normalise(rows, in_order(params.weight), eps, rms, normal, out)
    return out.reshape(x.shape), Kept(normal.reshape(x.shape), rms.reshape(*x.shape[:-1], 1))


def backward(params: RMSNorm, kept: Kept, d_out: Array) -> tuple[RMSNorm, Array]:
    """Take from each row what its root mean square gives back; rms_norm.md (3), (4)."""
    normal, rms = kept
    check_like(d_out, normal.shape, normal.dtype, name="d_out", like="out")
    check_params(params, RMSNorm, [normal.shape[-1:]], normal.dtype)
    weight = in_order(params.weight)
    rows = normal.reshape(-1, len(weight))  # (R, D)
    d_weight, d_x = np.empty_like(weight), np.empty_like(rows)
    d_rows = in_order(d_out).reshape(rows.shape)
    _normalise_backward(weight, rms.reshape(-1), rows, d_rows, d_weight, d_x)
    return RMSNorm(d_weight), d_x.reshape(normal.shape)


@compiled
def _normalise(x: Array, weight: Array, eps: float, rms: Array, normal: Array, out: Array) -> None:
    R, D = x.shape
    for r in range(R):
        s = x.dtype.type(math.sqrt(sum_of_squares(x[r], x.dtype.type(0)) / D + eps))  # (1)
        rms[r] = s
        for j in range(D):
            n = x[r, j] / s  # (1)
            normal[r, j] = n
            out[r, j] = weight[j] * n  # (2)


@compiled
def _normalise_backward(
    weight: Array, rms: Array, normal: Array, d_out: Array, d_weight: Array, d_x: Array
) -> None:
    R, D = normal.shape
    total = np.zeros(D, np.float64)
    for start in range(0, R, BLOCK):
        d_weight[:] = 0
        for r in range(start, min(start + BLOCK, R)):
            s = rms[r]
            along = rms.dtype.type(sum_of_triple_products(d_out[r], weight, normal[r]) / D)
            for j in range(D):
                d_weight[j] += d_out[r, j] * normal[r, j]  # (3)
                d_normal = d_out[r, j] * weight[j]
                d_x[r, j] = (d_normal - normal[r, j] * along) / s  # (4)
        total += d_weight
    copy(total, d_weight)
